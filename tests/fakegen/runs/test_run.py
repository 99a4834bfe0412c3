"""Errors about missing or damaged files of a run folder say what is wrong and what to do."""

import json
import shutil

import pytest

import fakegen
from fakecore.errors import UserError
from fakecore.files import read_json
from fakegen.runs.run import open_run


@pytest.fixture
def copy(run, tmp_path):
    """A copy of the finished run that may be damaged."""
    return shutil.copytree(run, tmp_path / "copy")


def altered(path, change):
    facts = read_json(path)
    change(facts)
    path.write_text(json.dumps(facts))


def refused(action, *arguments, **options) -> str:
    with pytest.raises(UserError) as caught:
        action(*arguments, **options)
    text = str(caught.value)
    for raw in ("Error", "codec", "delimiter", "positional", "unexpected keyword", "Traceback", "None"):
        assert raw not in text, text
    return text


NEEDED = ("version", "preset", "source", "seed", "split", "count", "precision", "device", "threads", "epoch", "step")


@pytest.mark.parametrize("name", [*NEEDED, "timings", "preset.name", "source.fingerprint", "timings.train_s"])
def test_every_command_names_a_field_missing_in_run_json(copy, tmp_path, name):
    outer, _, inner = name.partition(".")
    altered(copy / "run.json", lambda facts: facts[outer].pop(inner) if inner else facts.pop(outer))
    for text in (refused(fakegen.resume, copy), refused(fakegen.sample, copy, tmp_path / "set", count=3)):
        assert f"run.json: {name} is missing. Copy it again" in text
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"split": [80, 20]}, "split cannot be used"),
        ({"seed": "0"}, "seed cannot be used"),
        ({"epoch": True}, "epoch cannot be used"),
        ({"version": 2}, "another format version (got 2; expected 1)"),
    ],
)
def test_a_field_of_the_wrong_type_is_named(copy, change, words):
    altered(copy / "run.json", lambda facts: facts.update(change))
    assert words in refused(open_run, copy)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"g_wdth": 8}, "no field 'g_wdth'"), ({"resolution": "large"}, "resolution could not be read")],
)
def test_an_invalid_preset_in_run_json_is_reported_with_its_file(copy, change, words):
    altered(copy / "run.json", lambda facts: facts["preset"].update(change))
    text = refused(open_run, copy)
    assert "run.json: preset" in text and words in text


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe"])
def test_an_invalid_run_json_is_reported(copy, content):
    (copy / "run.json").write_bytes(content)
    assert "run.json" in refused(open_run, copy)


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_an_incomplete_checkpoint_is_refused_not_skipped(copy, tmp_path, suffix):
    lost = copy / "checkpoints" / f"epoch-0002{suffix}"
    lost.unlink()
    text = refused(fakegen.sample, copy, tmp_path / "set", count=3)
    assert text == f"{lost} is missing. Choose another epoch: --epoch 1."
    assert fakegen.sample(copy, tmp_path / "set", count=3, epoch=1)["origin"]["epoch"] == 1


def test_a_truncated_checkpoint_is_a_one_line_error_with_another_epoch(copy, tmp_path):
    weights = copy / "checkpoints" / "epoch-0002.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    text = refused(fakegen.sample, copy, tmp_path / "set", count=3)
    assert "epoch-0002.safetensors is truncated or damaged" in text and text.endswith("--epoch 1.")


@pytest.mark.parametrize("name", ["kind", "architecture", "generator", "value_range", "precision", "epoch", "sha256"])
def test_a_field_missing_in_a_checkpoint_json_is_named(copy, tmp_path, name):
    altered(copy / "checkpoints" / "epoch-0002.json", lambda facts: facts.pop(name))
    assert f"epoch-0002.json: {name} is missing" in refused(fakegen.sample, copy, tmp_path / "set", count=3)


@pytest.mark.parametrize("name", ["resolution", "channels", "z_dim", "width"])
def test_a_missing_generator_argument_is_named(copy, tmp_path, name):
    altered(copy / "checkpoints" / "epoch-0002.json", lambda facts: facts["generator"].pop(name))
    assert f"generator.{name} is missing" in refused(fakegen.sample, copy, tmp_path / "set", count=3)


def test_an_unknown_generator_argument_is_named(copy, tmp_path):
    altered(copy / "checkpoints" / "epoch-0002.json", lambda facts: facts["generator"].update(depth=3))
    assert "generator.depth is unknown" in refused(fakegen.sample, copy, tmp_path / "set", count=3)


def test_a_run_without_a_checkpoint_says_how_to_resume(copy, tmp_path):
    shutil.rmtree(copy / "checkpoints")
    assert f"generate --resume --out {copy}" in refused(fakegen.sample, copy, tmp_path / "set", count=3)


def further(copy, **options):
    """Resume with an epoch more than the run has."""
    shutil.rmtree(copy / "set")
    return fakegen.resume(copy, changes={"epochs": 3}, device="cpu", **options)


@pytest.mark.parametrize("damage", ["cut short", "missing", "another file"])
def test_a_damaged_state_is_replaced_by_the_previous_one_with_the_same_result(run, copy, damage, capsys, tmp_path):
    whole = further(shutil.copytree(run, tmp_path / "whole")).run
    latest = copy / "state" / "latest.safetensors"
    if damage == "cut short":
        latest.write_bytes(latest.read_bytes()[:1000])
    elif damage == "missing":
        latest.unlink()
    else:
        shutil.copy(copy / "checkpoints" / "epoch-0002.safetensors", latest)
    made = further(copy)
    assert "resuming from the previous state" in capsys.readouterr().err
    for name in ("epoch-0002", "epoch-0003"):
        end = f"checkpoints/{name}.safetensors"
        assert (made.run / end).read_bytes() == (whole / end).read_bytes()


def test_with_both_states_damaged_the_remedy_works(run, copy):
    for path in (copy / "state").iterdir():
        path.write_bytes(path.read_bytes()[:1000])
    shutil.rmtree(copy / "set")
    text = refused(fakegen.resume, copy, device="cpu")
    assert "state/latest.safetensors is truncated or damaged" in text and f"Delete {copy / 'state'}" in text
    shutil.rmtree(copy / "state")
    fakegen.resume(copy, device="cpu")
    end = "checkpoints/epoch-0002.safetensors"
    assert (copy / end).read_bytes() == (run / end).read_bytes()


def test_a_last_checkpoint_damaged_before_the_set_is_written_can_be_remade(run, copy):
    weights = copy / "checkpoints" / "epoch-0002.safetensors"
    weights.write_bytes(b"")
    shutil.rmtree(copy / "set")
    assert f"Delete {copy}/state" in refused(fakegen.resume, copy, device="cpu")
    shutil.rmtree(copy / "state")
    fakegen.resume(copy, device="cpu")
    assert weights.read_bytes() == (run / "checkpoints" / "epoch-0002.safetensors").read_bytes()


def test_a_run_older_than_a_field_is_resumed_with_its_default(run, tmp_path):
    """Otherwise no older run could be read after a new field is added."""
    import shutil

    import fakegen

    old = shutil.copytree(run, tmp_path / "old")
    facts = json.loads((old / "run.json").read_text())
    del facts["preset"]["noise_epochs"]
    (old / "run.json").write_text(json.dumps(facts))
    assert fakegen.resume(old).epochs == facts["epoch"]

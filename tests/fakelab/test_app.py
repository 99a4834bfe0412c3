"""The command line: exit codes, streams, one line per error."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]

SMALL = ["--set", "resolution=16", "--set", "g_width=8", "--set", "d_width=8", "--set", "batch=16"]


@pytest.fixture(scope="module")
def loop(fakelab_process, tmp_path_factory):
    """generate and detect-train in a new folder, with default names."""
    home = tmp_path_factory.mktemp("home")
    made = fakelab_process("generate", "digits-32", "--real", "digits:3", "--epochs", 4, *SMALL, "--json", cwd=home)
    assert made.returncode == 0, made.stderr
    trained = fakelab_process("detect-train", "--set", "epochs=3", "--set", "blocks=1", "--json", cwd=home)
    assert trained.returncode == 0, trained.stderr
    return home, json.loads(made.stdout), json.loads(trained.stdout)


def test_three_commands_work_with_default_names(loop, fakelab_process):
    home, made, trained = loop
    assert made["run"] == "runs/digits-32" and trained["detector"] == "runs/digits-32-cnn"
    assert (home / trained["report"]).is_file()
    assert trained["test_metrics"]["n_fake"] > 0
    scored = fakelab_process("score", "runs/digits-32/set/test", "--json", cwd=home)
    assert scored.returncode == 0, scored.stderr
    rows = [json.loads(line) for line in scored.stdout.splitlines()]
    assert len(rows) == trained["test_metrics"]["n_fake"] + trained["test_metrics"]["n_real"]
    assert {"path", "status", "kind", "p_fake", "verdict", "threshold", "outside_domain", "error"} <= rows[0].keys()
    mean = {label: np.mean([r["p_fake"] for r in rows if f"/{label}/" in r["path"]]) for label in ("real", "fake")}
    assert mean["fake"] > mean["real"]


def test_a_second_run_takes_the_next_free_name(loop, fakelab):
    home, *_ = loop
    again = fakelab("generate", "digits-32", "--real", "digits:3", "--epochs", 0, "--count", 3, *SMALL, cwd=home)
    assert again.returncode == 0 and "runs/digits-32-2" in again.stdout


def test_results_go_to_stdout_and_the_rest_to_stderr(loop, fakelab_process):
    home, *_ = loop
    scored = fakelab_process("score", "runs/digits-32/set/test/fake", "--detector", "runs/digits-32-cnn", cwd=home)
    lines = scored.stdout.splitlines()
    assert all(line.split()[1] in ("real", "fake", "unsure") for line in lines)
    assert f"{len(lines)} files" in scored.stderr and "\r" not in scored.stderr  # no progress bar into a pipe


def test_a_detector_trains_on_shards(loop, fakelab):
    home, *_ = loop
    made = fakelab("sample", "runs/digits-32", "--count", 200, "--format", "webdataset", "--out", "shards", cwd=home)
    assert made.returncode == 0 and (home / "shards" / "train" / "fake-000000.tar").is_file(), made.stderr
    words = ("--real", "digits:3", "--fake", "shards", "--set", "epochs=1", "--set", "blocks=1", "--json")
    trained = fakelab("detect-train", *words, "--out", "from-shards", cwd=home)
    assert trained.returncode == 0, trained.stderr
    assert json.loads(trained.stdout)["test_metrics"]["n_fake"] > 0


def test_evaluate_reports_on_another_set(loop, fakelab):
    home, *_ = loop
    done = fakelab("evaluate", "runs/digits-32-cnn", "runs/digits-32", "--json", cwd=home)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert 0 <= facts["metrics"]["auroc"] <= 1 and facts["metrics"]["seen"] == 0
    assert (home / facts["report"]).is_file()


def test_presets_list_names_sizes_and_sources(fakelab):
    rows = json.loads(fakelab("presets", "--json").stdout)
    assert {"digits", "dcgan-64"} <= {row["name"] for row in rows}
    assert rows[0].keys() >= {"name", "real", "resolution", "z_dim", "params_g", "params_d", "rate", "batch", "epochs"}
    assert "dcgan-64" in fakelab("presets").stdout


def test_the_tables_of_presets_are_readable_in_80_columns(fakelab, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = fakelab("presets").stdout.splitlines()
    assert lines[0].split() == ["name", "pixels", "reals", "G", "D", "batch", "length"]
    place = next(number for number, line in enumerate(lines) if line.startswith("dcgan-64"))
    assert lines[place].split() == ["dcgan-64", "64", "celeba", "3.58", "M", "2.77", "M", "128", "5", "epochs"]
    assert "1,000 steps: " in " ".join(lines[place + 1 : place + 4])
    assert lines[place + 1].startswith("    DCGAN for faces as published")
    for line in [*lines[:-2], *fakelab("presets", "digits").stdout.splitlines()]:  # the last two are the hint
        assert len(line) <= 80


def test_a_preset_is_listed_with_every_field_its_value_and_reason(fakelab):
    from dataclasses import asdict, fields

    from fakegen import PRESETS, Preset
    from fakegen.architectures.registry import unused_fields
    from fakegen.presets.preset import FIXED

    text = fakelab("presets", "digits-32").stdout
    flat = " ".join(text.split())
    assert text.startswith("digits-32: handwritten digits")
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line and not line.startswith(" ")}
    for field in fields(Preset):
        if field.name not in {*FIXED, *unused_fields(PRESETS["digits-32"])}:
            value = str(getattr(PRESETS["digits-32"], field.name))
            assert rows[field.name][0] == value if value else field.name in rows
            assert field.metadata["why"] in flat
    assert "name" not in rows and "(8 to 512)" in flat
    listed = json.loads(fakelab("presets", "digits-32", "--json").stdout)
    layers, seconds = listed.pop("layers"), listed.pop("s_per_1000_steps")
    assert listed == asdict(PRESETS["digits-32"])
    assert layers["generator"][-1]["output"] == "1 x 32 x 32"
    assert seconds > 0 and "1,000 steps take about" in flat


def test_fields_that_a_preset_does_not_use_are_not_listed(fakelab):
    assert "g_upsampling" not in fakelab("presets", "mnist-digit").stdout


@pytest.mark.parametrize("words", [["--help"], ["generate", "--help"], ["presets"], ["presets", "digits"]])
def test_help_and_tables_start_on_the_first_line(fakelab, words):
    assert fakelab(*words).stdout.splitlines()[0].strip()


@pytest.mark.parametrize("words", ["--help", "presets", "presets nothing"])
@pytest.mark.parametrize("reader", ["| true", "2>&1 | true", "| head -c 1 > /dev/null", ">&-", "> /dev/full"])
def test_a_closed_output_is_no_error(tmp_path, words, reader):
    """The exit code is that of the command; only a full disk is an error."""
    script = f"{sys.executable} {ROOT / 'cli.py'} {words} {reader}; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True)
    expected = 2 if words == "presets nothing" or reader == "> /dev/full" else 0
    assert int(done.stdout.splitlines()[-1]) == expected, done.stderr
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr and "Exception ignored" not in done.stderr


def test_scoring_into_a_pipe_that_closes_is_quiet_and_ends_with_0(loop):
    home, *_ = loop
    script = f"{sys.executable} {ROOT / 'cli.py'} score runs/digits-32/set | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=home, check=True)
    assert done.stdout.splitlines()[-1] == "0" and len(done.stdout.splitlines()) == 2
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["generat"], "generat"),
        (["generate", "digts"], "Did you mean 'digits'"),
        (["generate", "digits-32", "--set", "epoch=3"], "Did you mean 'epochs'"),
        (["generate", "digits-32", "--set", "epochs"], "field=value"),
        (["generate", "digits-32", "--epochs", "many"], "--epochs"),
        (["generate", "digits-32", "--split", "80,20"], "80,10,10"),
        (["generate", "digits-32", "--real", "no/such/folder"], "no folder"),
        (["generate", "digits-32", "--real", "digts"], "Did you mean 'digits'"),
        (["generate", "digits-32", "--real", ""], "the name of the image source is empty"),
        (["generate", "digits-32", "--device", "gpu"], "device"),
        (["generate", "digits-32", "--seed", "-1"], "0 or more"),
        (["presets", "digts"], "Did you mean 'digits'"),
        (["generate", "--resume"], "no run to resume"),
        (["generate", "--resume", "--out", "nowhere"], "no run in nowhere"),
        (["sample", "nowhere", "--count", "3", "--out", "x"], "no run in nowhere"),
        (["measure", "nowhere"], "no run in nowhere"),
        (["detect-train"], "no finished run"),
        (["score", "x", "--fps", "abc"], "--fps needs a valid number. See:"),
        (["detect-train", "nowhere"], "nowhere"),
        (["detect-train", "--real", "digits"], "--fake is missing"),
        (["detect-train", "--real", "digits", "--fake", "digits", "--model", "cnm"], "Did you mean 'cnn'"),
        (["evaluate", "nowhere", "nowhere"], "not a detector"),
        (["score", "x.jpg", "--detector", "nowhere"], "not a detector"),
        (["score"], "PATH"),
    ],
)
def test_an_invalid_request_is_one_line_and_exit_code_2(fakelab, tmp_path, words, expected):
    done = fakelab(*words, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == "" and expected in done.stderr
    assert done.stderr.startswith("error: ") and len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())  # nothing was written


def test_no_command_prints_help(fakelab):
    done = fakelab()
    assert done.returncode == 0 and "detect-train" in done.stdout


def test_images_that_cannot_be_used_give_exit_code_1_and_a_line_each(fakelab, tmp_path):
    source = tmp_path / "photos"
    source.mkdir()
    random = np.random.default_rng(0)
    for number in range(40):
        Image.fromarray(random.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(source / f"{number}.png")
    (source / "broken.png").write_bytes(b"\x89PNG broken")
    done = fakelab("generate", "digits-32", "--real", source, "--epochs", 1, *SMALL, "--out", tmp_path / "run")
    assert done.returncode == 1
    assert f"{str(source / 'broken.png')!r}: unreadable" in done.stderr and "Traceback" not in done.stderr
    assert (tmp_path / "run" / "set" / "imageset.json").is_file()


def test_at_most_ten_unused_files_are_printed_and_all_are_in_unused_jsonl(fakelab, tmp_path):
    source = tmp_path / "photos"
    source.mkdir()
    random = np.random.default_rng(0)
    for number in range(30):
        Image.fromarray(random.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(source / f"{number}.png")
    for number in range(14):
        (source / f"bad{number}.png").write_bytes(b"\x89PNG broken")
    (source / "loop.png").symlink_to("loop.png")
    run = tmp_path / "run"
    done = fakelab("generate", "digits-32", "--real", source, "--epochs", 0, *SMALL, "--out", run)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("not used: ")]
    assert len(lines) == len(set(lines)) == 11
    assert lines[-1] == f"not used: 5 more (all of them: {run}/unused.jsonl)"
    listed = [json.loads(line)["path"] for line in (run / "unused.jsonl").read_text().splitlines()]
    assert len(listed) == 15 and all(Path(path).parent == source for path in listed)


def test_a_run_of_zero_epochs_is_called_not_trained(fakelab, tmp_path):
    done = fakelab(
        "generate", "digits-32", "--real", "digits:3", "--epochs", 0, "--count", 3, *SMALL, "--out", tmp_path / "run"
    )
    assert done.returncode == 0 and "the GAN is not trained" in done.stderr
    assert "not trained (0 epochs); 3 fakes" in done.stdout
    plots = done.stdout.splitlines()[1].partition("plots: ")[2].split(", ")
    assert all((tmp_path / "run" / "plots" / name).is_file() for name in plots)


def test_a_count_of_one_is_singular(fakelab, tmp_path):
    run = tmp_path / "run"
    done = fakelab("generate", "digits-32", "--real", "digits:3", "--epochs", 1, "--count", 3, *SMALL, "--out", run)
    assert f"{run}: 1 epoch in " in done.stdout
    assert ": 1 fake of epoch 1," in fakelab("sample", run, "--count", 1, "--out", tmp_path / "set").stdout


def test_the_demo_refuses_a_used_folder_before_it_trains(fakelab, tmp_path):
    (tmp_path / "demo-cnn").mkdir()
    (tmp_path / "demo-cnn" / "detector.json").write_text("{}")
    done = fakelab("demo", "--out", tmp_path / "demo")
    assert done.returncode == 2 and "already holds a detector" in done.stderr
    assert not (tmp_path / "demo").exists()


def test_a_full_disk_is_one_line_and_the_run_can_be_resumed(fakelab, fakelab_process, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        words = ["generate", "digits-32", "--real", "digits:3", "--epochs", 12, *SMALL, "--out", disk / "run"]
        full = fakelab_process(*words)
        assert full.returncode == 2 and full.stderr.splitlines()[-1].startswith("error: the disk is full")
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        done = fakelab("generate", "--resume", "--out", disk / "run")
        assert done.returncode == 0, done.stderr
        assert (disk / "run" / "checkpoints" / "epoch-0012.safetensors").is_file()
    finally:
        subprocess.run(["umount", disk], check=False)

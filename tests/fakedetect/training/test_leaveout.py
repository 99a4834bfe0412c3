"""Several sources of fakes: joined, left out in turn, and resumed."""

import json
import shutil

import numpy as np
import pytest

import fakedetect
from fakecore.errors import UserError
from fakedetect import Detector
from fakedetect.data.joining import join, load_sources, split_places
from fakedetect.training.leaveout import sources_of

SMALL = {"model": "cnn", "epochs": 1, "batch": 16, "jpeg": 0, "blur": 0, "resize": 0}


@pytest.fixture(scope="module")
def sources(tmp_path_factory, pictures):
    """A folder of reals, and three of fakes: two with a checkerboard and one without any trace."""
    from fakecore.media.pixels import encode_png

    root = tmp_path_factory.mktemp("sources")
    made = {"real": ("real", 1), "one": ("fake", 2), "two": ("fake", 3), "traceless": ("real", 4)}
    for name, (kind, seed) in made.items():
        (root / name).mkdir()
        for number, image in enumerate(pictures(90, kind, seed)):
            (root / name / f"{number:03}.png").write_bytes(encode_png(image, "real"))
    return root


@pytest.fixture(scope="module")
def made(sources, tmp_path_factory):
    fakes = [str(sources / name) for name in ("one", "two", "traceless")]
    out = tmp_path_factory.mktemp("detector") / "dct"
    return fakedetect.train(real=str(sources / "real"), fake=fakes, out=out, changes={"model": "dct"}, device="cpu")


def test_joined_sources_share_their_reals_and_know_who_made_each_fake(sources):
    parts = split_places(
        {
            "place": None,
            "real": str(sources / "real"),
            "fake": [str(sources / "one"), str(sources / "two")],
            "data_root": None,
        }
    )
    data = join(load_sources(parts, seed=0), parts)
    assert sources_of(data) == ["one", "two"]
    assert [int((data.generators == name).sum()) for name in ("", "one", "two")] == [90, 90, 90]
    assert len(set(data.paths)) == len(data.paths) == len(data.images)
    assert set(data.generators[data.labels == 0]) == {""} and "" not in data.generators[data.labels == 1]


def test_sources_of_one_name_are_refused(sources, tmp_path):
    shutil.copytree(sources / "one", tmp_path / "one")
    with pytest.raises(UserError, match=r"same name.*one"):
        fakedetect.train(
            real=str(sources / "real"), fake=[str(sources / "one"), str(tmp_path / "one")], out=tmp_path / "out"
        )


def test_a_source_that_was_left_out_is_tested_without_having_been_seen(made):
    rows = made.left_out["sources"]
    assert list(rows) == ["one", "two", "traceless"]
    assert min(rows["one"]["auroc"], rows["two"]["auroc"]) > 0.9  # each is found from the other
    assert 0.2 < rows["traceless"]["auroc"] < 0.8  # nothing that the others have
    assert made.left_out["auroc"] == pytest.approx(np.mean([row["auroc"] for row in rows.values()]))


def test_the_detector_states_what_to_expect_of_unseen_generators(made, sources, tmp_path):
    from fakedetect.models.facts import expectation

    detector = Detector.load(made.detector, "cpu")
    assert detector.facts["left_out"] == made.left_out
    assert "trained without it" in detector.thresholds.chosen_on
    words = expectation(detector.facts)
    assert "3 sources" in words and "Worst: traceless" in words
    assert words in made.report.read_text() and "left out of training" in made.report.read_text()


def test_one_source_cannot_be_left_out(sources, tmp_path):
    with pytest.raises(UserError, match="needs several sources"):
        fakedetect.train(
            real=str(sources / "real"),
            fake=str(sources / "one"),
            out=tmp_path / "out",
            changes={"leave_one_out": True, "model": "dct"},
        )


def test_whole_networks_are_trained_without_each_source_and_resumed_from_their_record(sources, tmp_path, fakelab):
    out = tmp_path / "cnn"
    fakes = [word for name in ("one", "two") for word in ("--fake", sources / name)]
    words = ["--real", sources / "real", *fakes, "--leave-one-out", "--out", out]
    sets = [word for name, value in {**SMALL, "blocks": 1}.items() for word in ("--set", f"{name}={value}")]
    done = fakelab("detect-train", *words, *sets, "--json")
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["left_out"]["sources"]) == {"one", "two"}
    assert (out / "left-out" / "one" / "history.jsonl").is_file()
    record = json.loads((out / "training.json").read_text())
    assert [name.rsplit("/", 1)[-1] for name in record["images"]["fake"]] == ["one", "two"]
    (out / "detector.json").unlink()
    again = fakelab("detect-train", "--resume", "--out", out, "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["left_out"] == json.loads(done.stdout)["left_out"]


def test_findings_of_every_source_are_kept_with_its_name():
    from fakedetect.audits.audit import join_audits

    one = {"metadata_auroc": 0.9, "leaks": ["format"], "warnings": []}
    other = {"metadata_auroc": None, "leaks": ["copies"], "warnings": ["grey"]}
    assert join_audits([one, other], ["a", "b"]) == {
        "metadata_auroc": 0.9, "leaks": ["a: format", "b: copies"], "warnings": ["b: grey"],
    }  # fmt: skip


def test_thresholds_name_each_real_once(made):
    facts = json.loads((made.detector / "detector.json").read_text())
    chosen_on = facts["thresholds"]["chosen_on"]
    counts = facts["training"]["counts"]["val"]
    assert chosen_on.startswith(f"validation split: {counts['real']} real, {counts['fake']} fake"), chosen_on

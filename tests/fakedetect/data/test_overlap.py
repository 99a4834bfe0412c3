import hashlib

import numpy as np
import pytest

import fakedetect
from fakecore.errors import UserError
from fakedetect.data.overlap import carried_with, count_seen, remember


def digests(*texts: str) -> list[str]:
    return [hashlib.sha256(text.encode()).hexdigest() for text in texts]


def facts_of(recorded: str | None) -> dict:
    return {"training": {"seen_sha256": recorded}}


def test_each_image_that_was_met_counts_even_when_the_test_holds_it_twice(tmp_path):
    recorded = remember(tmp_path, digests("a", "b", "b"))
    assert count_seen(tmp_path, facts_of(recorded), digests("a", "c", "a", "b")) == 3
    assert count_seen(tmp_path, facts_of(recorded), digests("c", "d")) == 0
    assert count_seen(tmp_path, facts_of(recorded), []) == 0


def test_without_the_list_or_without_its_record_it_is_unknown(tmp_path):
    recorded = remember(tmp_path, digests("a"))
    assert count_seen(tmp_path, facts_of(None), digests("c")) is None
    (tmp_path / "seen.npy").unlink()
    assert count_seen(tmp_path, facts_of(recorded), digests("c")) is None


@pytest.mark.parametrize("damage", ["cut short", "emptied", "of another detector"])
def test_a_list_that_is_not_the_one_recorded_is_refused_in_one_line_with_a_remedy(tmp_path, damage):
    recorded = remember(tmp_path, digests("a", "b"))
    path = tmp_path / "seen.npy"
    if damage == "of another detector":
        np.save(path, np.array([1, 2], dtype=np.uint64))
    else:
        path.write_bytes(path.read_bytes()[: 100 if damage == "cut short" else 0])
    with pytest.raises(UserError, match=r"seen\.npy.*truncated or was replaced.*delete it"):
        count_seen(tmp_path, facts_of(recorded), digests("a"))


def test_evaluate_without_the_list_claims_nothing(trained, small_set, tmp_path):
    """The training images themselves, in another set: without the list it must not be called a fair test."""
    import shutil

    shutil.copytree(trained.detector, tmp_path / "det", ignore=shutil.ignore_patterns("seen.npy", "evaluations"))
    found = fakedetect.evaluate(tmp_path / "det", small_set, device="cpu")
    page = found.report.read_text()
    assert found.metrics["seen"] is None
    assert "it is unknown whether it was trained on any of them" in page
    assert "Whether this is a fair test is unknown" in page
    assert "none of these files was used in training" not in page


def test_a_detector_records_its_list(trained, detector):
    written = hashlib.sha256((trained.detector / "seen.npy").read_bytes()).hexdigest()
    assert detector.facts["training"]["seen_sha256"] == written
    assert len(np.load(trained.detector / "seen.npy", allow_pickle=False)) == 160


def test_a_list_that_an_onnx_file_carries_goes_before_any_folder_and_is_checked_alike(tmp_path):
    recorded = remember(tmp_path, digests("a", "b"))
    carried = facts_of(recorded) | carried_with((tmp_path / "seen.npy").read_bytes())
    assert count_seen(tmp_path / "far.onnx", carried, digests("a", "c")) == 1
    for damaged in (carried["seen"][:40], "no base64", 7):
        with pytest.raises(UserError, match=r"far\.onnx: its metadata seen.*truncated or was replaced"):
            count_seen(tmp_path / "far.onnx", carried | {"seen": damaged}, digests("a"))

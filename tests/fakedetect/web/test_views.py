"""What templates show: values as words."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from fakedetect.web import views
from fakedetect.web.store import Job, StoredFile
from tests.fakedetect.web.offered import JUDGE, OFFERED


def job_of(*files: tuple[str, str, dict | None], finished: float | None = 60.0) -> Job:
    stored = [
        StoredFile("j", place, name, "", 2048, state, 1, row) for place, (name, state, row) in enumerate(files)
    ]  # fmt: skip
    return Job("j", "anyone", 0.0, finished, {"detector": "default"}, stored)


def row(**changes) -> dict:
    base = {"status": "ok", "kind": "image", "p_fake": 0.96, "verdict": "fake", "threshold": 0.7, "real_below": 0.1}
    return base | {"outside_domain": False, "error": None, "note": None, "detector": JUDGE["id"]} | changes


def shown(found: dict) -> views.FileView:
    job = job_of(("a", "done", found))
    return views.file_view(job, job.files[0], Path("nowhere"), OFFERED)


def test_verdicts_are_words_with_what_they_rest_on():
    found = shown(
        row(p_fake_range=[0.9, 0.999], stable=True, faces=[{"box": [1, 2, 11, 32], "p_fake": 0.96, "verdict": "fake"}])
    )
    assert (found.heading, found.p_fake, found.judge["name"]) == ("Looks fake", "0.96", "faces")
    assert ("p_fake after light re-encoding", "0.90 to >0.99") in found.facts and (
        "Verdicts after it",
        "all the same",
    ) in found.facts
    assert found.bar == {"x": 960, "low": 900, "width": 99, "real_x": 100, "fake_x": 700}
    assert (found.faces[0]["where"], found.faces[0]["size"]) == ("1, 2", "10 × 30")
    assert found.range == "0.90 to >0.99 after light re-encoding" and shown(row()).range is None
    assert not (found.has_picture or found.has_video or found.has_heat) and found.has_report


def test_what_limits_a_verdict_is_said():
    flipped = shown(row(verdict="unsure", stable=False, p_fake_range=[0.05, 0.96]))
    assert (
        "after light re-encoding" in flipped.meaning
        and ("Verdicts after it", "changes between real and fake") in flipped.facts
    )
    crossing = dict(shown(row(p_fake=0.15, verdict="unsure", stable=True, p_fake_range=[0.06, 0.3])).facts)[
        "Verdicts after it"
    ]
    assert "crosses the threshold for real, 0.10;" in crossing and "for fake" not in crossing
    outside = shown(row(outside_domain=True, note="out of domain: unlike the training images"))
    assert outside.caution == "Out of domain: unlike the training images."
    assert shown(row(detector="withdrawn")).judge is None
    failed = shown(row(status="no_face", verdict=None, p_fake=None, error="no face of at least 60 pixels"))
    assert (failed.outcome, failed.caution) == ("failed", "No face of at least 60 pixels.")
    assert "Judge whole frames" in failed.meaning


def test_a_marked_video_that_could_not_be_made_is_explained():
    file = replace(
        job_of(("a.mp4", "done", row())).files[0], marked="failed", marked_error="drawing it took longer than 1 s"
    )
    found = views.file_view(replace(job_of(), files=[file]), file, Path("nowhere"), OFFERED)
    assert ("Marked video", "It could not be made: drawing it took longer than 1 s.") in found.facts
    assert (found.marked, found.outcome) == ("failed", "fake"), "the verdict stays"


def test_provenance_is_shown_if_a_file_says_something():
    found = {"points_to": "generated", "findings": [{"says": "made by X", "where": "XMP", "strength": "strong"}]}
    assert "was generated" in shown(row(provenance=found)).provenance["heading"]
    assert shown(row(provenance=found)).claim == "The file itself says that a generator made it."
    real = shown(row(provenance=found, p_fake=0.01, verdict="real"))
    assert "generator made it. The detector found no trace" in real.claim and real.heading == "Looks real"
    for nothing in (None, {"points_to": "nothing", "findings": []}):
        assert shown(row(provenance=nothing)).provenance is None
        assert shown(row(provenance=nothing)).claim is None


def test_a_file_without_a_visible_name_has_a_stand_in():
    for name in ("  ", "", "\u200b"):
        job = job_of((name, "done", row()))
        assert views.job_view(job, 24).title == "(file without a name)"
        assert views.file_view(job, job.files[0], Path("nowhere"), OFFERED).name == "(file without a name)"


def test_files_are_sorted():
    job = job_of(("b", "done", row(p_fake=0.2)), ("A", "queued", None), ("c", "done", row(p_fake=0.9)))
    files = [views.file_view(job, one, Path("nowhere"), OFFERED) for one in job.files]
    assert [one.name for one in views.in_order(files, "p_fake")] == ["c", "b", "A"]
    assert [one.name for one in views.in_order(files, "name")] == ["A", "b", "c"]
    assert [one.name for one in views.in_order(files, "sent")] == ["b", "A", "c"]


def test_a_timeline_has_fakes_at_the_top_and_time_to_the_right():
    line = views.timeline([[0.0, 0.0], [5.0, 1.0]], 10.0, 0.7, 0.1)
    assert line.line == "0.0,100.0 500.0,0.0" and (line.fake_y, line.real_y, line.end) == (30.0, 90.0, "10.0 s")
    assert "1 of 2 times" in line.summary and "at 5.0 s" in line.summary
    assert views.timeline([], 10.0, 0.7, 0.1) is None
    assert views.timeline([[0.0, 0.5]], 0.0, 0.7, 0.1).line == "0.0,50.0"


def test_a_job_is_summed_up():
    done = views.job_view(job_of(("a", "done", row()), ("b", "done", row(status="unreadable"))), 24)
    assert (done.title, done.summary) == ("a and 1 other file", "All 2 files are done")
    assert done.counts == [("fake", "1 fake"), ("failed", "1 not judged")]
    assert done.deleted - done.finished == timedelta(hours=24)
    waits = views.job_view(job_of(("a", "done", row()), ("b", "queued", None), finished=None), 24)
    assert (waits.summary, waits.deleted, waits.is_done) == ("1 of 2 files done", None, False)


@pytest.mark.parametrize(("hours", "text"), [(0.5, "30 minutes"), (1, "1 hour"), (24, "24 hours"), (168, "7 days")])
def test_times_are_words(hours, text):
    assert views.hours_text(hours) == text


@pytest.mark.parametrize(
    ("size", "text"), [(3, "3 bytes"), (2048, "2 KiB"), (2411585, "2.3 MiB"), (3 << 30, "3.0 GiB")]
)
def test_sizes_are_words(size, text):
    assert views.size_text(size) == text

"""Reading rows: all kinds of files alike, any condition on a row and nothing else, and counts that are right."""

import json
import os
from pathlib import Path

import fsspec
import pytest

from fakecore import storage
from fakecore.errors import UserError
from fakedetect.engine import reading
from fakedetect.engine.job import Job, Progress
from fakedetect.engine.merging import merge
from fakedetect.engine.page import write_report_page
from fakedetect.engine.reading import Rows
from fakedetect.engine.request import Request
from fakedetect.engine.rows import write_part
from fakedetect.engine.summary import summarise
from fakedetect.engine.writing import write_rows
from fakedetect.scoring.columns import COLUMNS
from fakedetect.scoring.records import csv_bytes, json_bytes
from tests.stores import BUCKET, s3_store

BASE = dict.fromkeys(COLUMNS) | {"status": "ok", "kind": "image", "detector": "ab12", "judged_by": "faces"}
VERDICTS = {"fake": 0.9, "unsure": 0.4, "real": 0.1}


def row(path: str, verdict: str | None = "real", **changes) -> dict:
    if verdict is None:
        return BASE | {"path": path, "status": "unreadable", "error": "no such file"} | changes
    judged = {
        "verdict": verdict,
        "p_fake": VERDICTS[verdict],
        "threshold": 0.5,
        "real_below": 0.2,
        "outside_domain": False,
    }
    return BASE | {"path": path} | judged | changes


GENERATED = {"points_to": "generated", "findings": [{"says": "x", "strength": "weak", "points_to": "generated"}]}
ROWS = [
    row("in/a.jpg", "fake", p_fake=1.0),
    row("in/b.jpg", "fake", p_fake=0.95, detector="cd34", judged_by="photos"),
    row("in/b.jpg", "unsure"),  # by another detector
    row("out/c.jpg", provenance=GENERATED, outside_domain=True),
    row("d'oh.jpg", None),
    row(os.fsdecode(b"out/caf\xe9.jpg"), "fake"),
    row(r"out/caf\xe9.jpg", "real"),  # looks the same when its bytes are written out
    row("in/a.jpg", "fake", p_fake=1.0),
]


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict[str, str]:
    """The same rows as each kind of file, in a folder whose name DuckDB would take for a pattern."""
    folder = tmp_path_factory.mktemp("results") / "it's [1]*"
    (folder / "job" / "parts").mkdir(parents=True)
    for number, part in enumerate((ROWS[:3], [], ROWS[3:])):
        write_part(folder / "job" / "parts" / f"part-{number:08d}.parquet", part, detectors={})
    (folder / "job" / "parts" / ".tmp-part.parquet").write_bytes(b"half written")
    listed = ["in/a.jpg", "in/b.jpg", "out/c.jpg", "later.jpg"]
    Job.create(str(folder / "job"), Request(None, {"ab12": "faces"}), ["in", "out"], listed, part_files=1)
    (folder / "rows.csv").write_bytes(csv_bytes(ROWS, header=True))
    (folder / "rows.jsonl").write_bytes(json_bytes(ROWS))
    write_part(folder / "rows.parquet", ROWS, detectors={})
    memory = fsspec.filesystem("memory")
    memory.pipe("/job/parts/part-00000000.parquet", (folder / "rows.parquet").read_bytes())
    memory.pipe("/rows.jsonl", json_bytes(ROWS))
    own = {"job": "job", "parquet": "rows.parquet", "csv": "rows.csv", "jsonl": "rows.jsonl"}
    return {kind: str(folder / name) for kind, name in own.items()} | {
        "url": "memory://job",
        "file at a url": "memory:///rows.jsonl",
    }


@pytest.mark.parametrize("kind", ["job", "parquet", "csv", "jsonl", "url", "file at a url"])
def test_all_kinds_of_files_have_the_same_summary(results, kind):
    with Rows([results[kind]]) as rows:
        found = summarise(rows)
    assert found.rows == 8 and found.status == {"ok": 7, "unreadable": 1} and found.kinds == {"image": 8}
    assert found.verdicts == {"fake": 4, "unsure": 1, "real": 2}
    names = (None, None) if kind == "csv" else ("faces", "photos")
    counts = [(one["id"], one["name"], one["rows"], one["fake"], one["real"]) for one in found.detectors]
    assert counts == [("ab12", names[0], 7, 3, 2), ("cd34", names[1], 1, 1, 0)]
    assert found.histogram[19] == {"fake": 3, "unsure": 0, "real": 0}  # 0.95 and 1.0: the last bin has its end
    assert found.histogram[18]["fake"] == 1 and found.histogram[2]["real"] == 2 and found.histogram[8]["unsure"] == 1
    assert (found.outside_domain, found.domain_assessed) == (1, 7)
    assert found.points_to == {"generated": 1} and found.generated_called_real == 1
    assert found.folders == [{"folder": "in", "rows": 4, "fake": 3}, {"folder": "out", "rows": 3, "fake": 1}]
    assert found.folders_total == 3
    assert (found.repeated_paths, found.repeated_rows) == (2, 2)
    assert [one["path"] for one in found.top[:4]] == [
        "in/a.jpg",
        "in/a.jpg",
        "in/b.jpg",
        os.fsdecode(b"out/caf\xe9.jpg"),
    ]
    json.dumps(found.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ("p_fake > .9", 3),
        ("P_FAKE between 0.1 and 0.4 -- a comment", 3),
        ("path like 'in/%' and not (verdict = 'fake')", 1),
        ("regexp_matches(lower(path), '^out/') or error is not null", 4),
        ("points_to = 'generated' and outside_domain", 1),
        ("coalesce(p_fake, 1)::int = 1", 5),
        ("verdict in ('real', 'unsure')", 3),
    ],
)
def test_a_condition_chooses_rows(results, where, count):
    with Rows([results["job"]], where) as rows:
        assert rows.query("SELECT count(*) FROM rows") == [(count,)]
        assert summarise(rows).rows == count


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("", "not a valid condition"),
        ("p_fake >", "not a valid condition"),
        ("pfake > 1", "Did you mean 'p_fake'?"),
        ('verdict = "real"', "text is written in single quotes"),
        ("every.p_fake > 0", "there is no column"),
        ("exists(select 1 from read_text('/etc/hostname'))", "a subquery"),
        ("p_fake > (select max(p_fake) from every)", "a subquery"),
        ("true) union all select * from read_csv('/etc/hostname') --", "not a valid condition"),
        ("true union all select * from every", "--where"),
        ("true; copy (select 1) to 'x.csv'", "not a valid condition"),
        ("true order by p_fake limit 1", "more than a condition"),
        ("true group by path", "more than a condition"),
        ("row_number() over () = 1", "a window function"),
        ("sum(p_fake) > 1", "cannot use sum()"),
        ("getvariable('x') = 1", "cannot use getvariable()"),
        ("current_setting('threads') = '1'", "cannot use current_setting()"),
        ("random() < 0.5", "cannot use random()"),
        ("error('x')", "cannot use error()"),
        ("p_fake > 'abc'", "cannot be computed"),
        ("p_fake > ?", "--where"),
        ("_line = 0", "there is no column '_line'"),
    ],
)
def test_a_condition_can_do_nothing_else(results, where, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error, Rows([results["parquet"]], where):
        pass
    assert expected in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_the_database_reaches_no_other_file(results, tmp_path):
    """Also where the check of the condition would have missed something."""
    with Rows([results["parquet"]]) as rows:
        for query in (
            f"SELECT * FROM read_csv('{results['csv'].replace(chr(39), chr(39) * 2)}')",
            "SELECT * FROM read_text('/etc/hostname')",
            f"COPY (SELECT 1) TO '{tmp_path / 'x.csv'}'",
            "SET memory_limit = '1TB'",
            "INSTALL httpfs",
        ):
            with pytest.raises(UserError):
                rows.query(query)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.parquet", b"PAR1 damaged", "a.parquet is damaged or not a Parquet file"),
        ("a.csv", b"path,mood\nx,1\n", "a.csv does not contain rows of score (got path,mood)"),
        ("a.jsonl", b'{"path": 1}\n', "a.jsonl does not contain rows of score"),
        ("a.txt", b"x", "a.txt is damaged or not a Parquet file (expected a job folder"),
        ("missing.csv", None, "missing.csv cannot be read (got no such file"),
        ("memory://nothing", None, "memory://nothing contains no rows"),
        ("ftp9://u:secret@h/x.csv?sig=secret", None, "URLs of ftp9:// are not read"),
        ("http://u:secret@127.0.0.1:9/x.csv?sig=secret", None, "http://127.0.0.1:9/x.csv cannot be read"),
        ("http://u:secret@127.0.0.1:9/x/", None, "http://127.0.0.1:9/x/ cannot be listed"),
    ],
)
def test_what_is_no_result_is_one_clear_error(tmp_path, name, content, expected):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as error, Rows([name if "://" in name else str(tmp_path / name)]):
        pass
    assert expected in str(error.value) and "secret" not in str(error.value)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl", ""])
def test_merged_rows_are_those_of_the_inputs_in_their_order(results, tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(reading, "BATCH", 2)
    monkeypatch.setattr("fakedetect.engine.writing.PART", 3)
    monkeypatch.setattr("fakedetect.engine.writing.ROW_GROUP", 2)
    out = tmp_path / f"all{suffix}"
    with Rows([results["job"], results["jsonl"]]) as rows:
        found = merge(rows)
        assert found.detectors == {"ab12": "faces", "cd34": "photos"}
        assert write_rows(rows, found.query, out, found.detectors) == 7 and found.identical == 9
    expected = ROWS[:7]  # the last is the first again
    if suffix in (".csv", ".jsonl"):
        assert out.read_bytes() == (csv_bytes(expected, header=True) if suffix == ".csv" else json_bytes(expected))
    with Rows([str(out)]) as rows:
        write_rows(rows, "SELECT * FROM rows", tmp_path / "again.jsonl", {})
    again = [json.loads(line) for line in (tmp_path / "again.jsonl").read_text().splitlines()]
    assert [one["path"] for one in again] == [one["path"] for one in expected]
    assert suffix == ".csv" or again == expected
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted(["again.jsonl", out.name])
    if not suffix:
        assert len(list(out.glob("parts/*.parquet"))) > 1


def test_rows_that_contradict_each_other_need_a_decision(tmp_path):
    one, two = tmp_path / "1.jsonl", tmp_path / "2.jsonl"
    first, later = row("a.jpg", "real", sha256="11"), row("a.jpg", "fake", sha256="22")
    one.write_bytes(json_bytes([first, row("b.jpg")]))
    two.write_bytes(json_bytes([later, row("b.jpg"), row("a.jpg", "unsure", detector="cd34")]))
    with (
        Rows([str(one), str(two)]) as rows,
        pytest.raises(UserError, match=r"^a\.jpg has different .* ab12 .*2 versions; 1 path"),
    ):
        merge(rows)
    kept = {"last": ["fake", "real", "unsure"], "all": ["fake", "real", "real", "unsure"]}
    for keep, verdicts in kept.items():
        with Rows([str(one), str(two)]) as rows:
            found = merge(rows, keep)
            written = rows.query(f"SELECT verdict FROM ({found.query}) ORDER BY verdict")
            assert [verdict for (verdict,) in written] == verdicts
            assert (found.identical, found.replaced) == (1, 4 - len(verdicts))


def test_an_output_that_fails_leaves_nothing(results, tmp_path):
    with Rows([results["parquet"]]) as rows:
        for name in ("a.csv", "a.parquet", "a"):
            with pytest.raises(UserError):
                write_rows(rows, "SELECT * REPLACE (error(path) AS path) FROM rows", tmp_path / name, {})
    assert list(tmp_path.iterdir()) == []


def test_the_page_escapes_names_and_says_what_is_repeated(tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(
        json_bytes([row("<script>x</script>.jpg", "fake")] * 2 + [row("b.jpg", None)])
    )
    with Rows([str(tmp_path / "rows.jsonl")]) as rows:
        write_report_page(
            tmp_path / "page.html", summarise(rows), "rows.jsonl", "p_fake < 2", Progress(4, 3, 1000, 256)
        )
    page = (tmp_path / "page.html").read_text()
    assert "<script>" not in page and "&lt;script&gt;" in page and "p_fake &lt; 2" in page
    assert "1 path has more than one row, 1 beyond the first" in page and "unreadable" in page
    assert "not complete: 3 of 4 parts, 256 of 1,000 files are not judged yet" in page


def test_commands(results, fakelab, tmp_path):
    done = fakelab("report", results["job"], "--where", "verdict = 'fake'", "--out", tmp_path / "fakes.csv")
    assert done.returncode == 0 and "4 rows: 4 fake" in done.stdout and "4 rows: " in done.stderr
    assert "the job is not complete: 3 of 4 parts, 1 of 4 files not judged yet" in done.stdout
    assert len((tmp_path / "fakes.csv").read_bytes().splitlines()) == 5
    found = json.loads(fakelab("report", tmp_path / "fakes.csv", "--json").stdout)
    assert found["verdicts"] == {"fake": 4} and found["repeated_paths"] == 1 and found["job"] is None
    again = fakelab("report", results["job"], "--out", tmp_path / "fakes.csv")
    assert again.returncode == 2 and "never overwritten" in again.stderr
    Job.create(str(tmp_path / "new"), Request(None, {"ab12": "faces"}), ["in"], ["a", "b"], part_files=1)
    assert "has no rows yet (got the job is not complete: 0 of 2 parts" in fakelab("report", tmp_path / "new").stderr
    page = fakelab("report", results["url"], "--out", tmp_path / "page.html")
    assert page.returncode == 0 and Path(tmp_path / "page.html").is_file()
    words = ("merge", results["jsonl"], results["job"], "--out", tmp_path / "all.parquet")
    merged = fakelab(*words)
    assert merged.returncode == 0 and "7 rows, judged by faces (ab12), photos (cd34)" in merged.stdout
    assert "9 identical rows left out" in merged.stderr
    assert f"note: {results['job']}: the job is not complete" in merged.stderr
    for wrong, expected in (
        (words, "never overwritten"),
        ((*words[:-1], tmp_path / "x.xlsx"), "unknown suffix"),
        ((*words[:-1], tmp_path / "x.csv", "--keep", "first"), "--keep"),
    ):
        done = fakelab(*wrong)
        assert done.returncode == 2 and expected in done.stderr and len(done.stderr.splitlines()) == 1


def test_outputs_at_urls_appear_in_one_piece_and_are_never_overwritten(results, fakelab, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = f"s3://{BUCKET}/out"
    merge, report = ("merge", results["jsonl"], results["csv"]), ("report", results["job"], "--json")
    with s3_store() as store:
        done = [fakelab(*merge, "--keep", "last", "--out", f"{place}/all{suffix}") for suffix in (".parquet", ".csv")]
        assert [one.returncode for one in done] == [0, 0] and f"{place}/all.parquet: 7 rows" in done[0].stdout
        assert (
            fakelab("merge", f"{place}/all.parquet", f"{place}/all.csv", "--keep", "all", "--out", "x").returncode == 0
        )
        page = fakelab(*report, "--out", f"{place}/page.html")
        assert page.returncode == 0 and f"report: {place}/page.html" in page.stderr
        assert json.loads(page.stdout)["job"] == vars(Progress(4, 3, 4, 1))
        assert b"The job is not complete" in storage.read_bytes(f"{place}/page.html")
        assert sorted(store.ls(f"{BUCKET}/out")) == [
            f"{BUCKET}/out/{one}" for one in ("all.csv", "all.parquet", "page.html")
        ]
        for words, expected in (
            ((*report, "--out", f"{place}/page.html"), "already exists"),
            ((*merge, "--keep", "last", "--out", f"{place}/all"), "unknown suffix"),
            ((*merge, "--keep", "last", "--out", "http://127.0.0.1:9/a.csv"), "cannot be written to"),
            ((*report, "--out", "s3://no-such-bucket/rows.csv"), "kept at rows.csv"),
        ):
            refused = fakelab(*words)
            assert refused.returncode == 2 and expected in refused.stderr and len(refused.stderr.splitlines()) == 1
    assert sorted(one.name for one in tmp_path.iterdir()) == ["rows.csv", "x"]
    assert len((tmp_path / "rows.csv").read_bytes().splitlines()) == 9


def test_an_empty_result_is_no_error(tmp_path, fakelab):
    write_part(tmp_path / "none.parquet", [], detectors={})
    assert fakelab("report", tmp_path / "none.parquet").stdout == "no rows\n"
    page = fakelab("report", tmp_path / "none.parquet", "--out", tmp_path / "none.html")
    assert page.returncode == 0 and "0 files" in (tmp_path / "none.html").read_text()

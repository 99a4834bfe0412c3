import pytest

from fakecore.report.pages import data_uri, write_page


def test_a_page_contains_its_style_and_escapes_values(tmp_path):
    values = {"columns": [], "lines": [], "best": None, "asked": {"real": "<b>", "seed": 0, "changes": {}}}
    write_page(
        tmp_path / "p.html",
        "fakegen.sweeps",
        "sweep.html.j2",
        title="a & b",
        curves=None,
        mosaics=[],
        comparable=None,
        **values,
    )
    page = (tmp_path / "p.html").read_text()
    assert "<h1>a &amp; b</h1>" in page and "&lt;b&gt;" in page and "<style>" in page


def test_a_missing_value_is_an_error(tmp_path):
    with pytest.raises(Exception, match="undefined"):
        write_page(tmp_path / "p.html", "fakegen.sweeps", "sweep.html.j2", title="x")
    assert not (tmp_path / "p.html").exists()


def test_an_image_is_embedded_in_the_page():
    assert data_uri(b"\x89PNG") == "data:image/png;base64,iVBORw=="

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from fakedetect.commands.evaluate import print_metrics
from fakedetect.evaluation.metrics import all_metrics
from fakedetect.evaluation.report import Judged, caution, headline, write_report

EVIL = '"><script>alert("x")</script>&.png'


@pytest.fixture(scope="module")
def doubtful(small_data, detector):
    """The test images with random p_fake: many errors, an AUROC with many digits, names with HTML."""
    rows = small_data.rows("test")
    p_fake = np.random.default_rng(11).random(len(rows))
    data = replace(small_data, paths=[f"{number}{EVIL}" for number in range(len(small_data.paths))])
    return Judged(data, rows, p_fake, all_metrics(data.labels[rows], p_fake, detector.thresholds))


@pytest.fixture(scope="module")
def written(doubtful, detector, trained, tmp_path_factory, drawing):
    folder = tmp_path_factory.mktemp("report")
    lines = (trained.detector / "history.jsonl").read_text().splitlines()
    history = [json.loads(line) for line in lines]
    with drawing():
        path = write_report(folder, detector, doubtful, title="a <b> title", history=history)
    assert path == folder / "report.html"
    return folder


@pytest.fixture(scope="module")
def page(written):
    return (written / "report.html").read_text(encoding="utf-8")


def test_the_report_embeds_its_images_and_loads_nothing(page):
    links = re.findall(r"""(?:src|href|srcset|poster|data|action)\s*=\s*["']?([^"'\s>]{0,30})""", page)
    assert len(links) > 5 and all(link.startswith("data:image/png;base64,") for link in links)
    for word in ("@import", "url(", "<link", "<script", "<iframe", "fetch("):
        assert word not in page


def test_the_report_states_the_numbers_of_metrics_json(written, page):
    metrics = json.loads((written / "metrics.json").read_text())
    low, high = metrics["auroc_interval"]
    assert 0.3 < metrics["auroc"] < 0.7 and low < metrics["auroc"] < high
    for value in (metrics["auroc"], low, high, metrics["eer"], metrics["ap"]):
        assert f"{value:.3f}" in page
    for name in ("ap", "eer", "tpr_at_fpr1", "tpr_at_fpr5", "tpr", "fpr", "balanced_accuracy"):
        assert len(metrics[f"{name}_interval"]) == 2


def test_the_report_names_its_thresholds_and_the_label_direction(page, detector):
    limits = detector.thresholds
    assert "real = 0, fake = 1" in page and "p_fake is the calibrated probability of fake" in page
    assert f"{limits.fake_from:.4f}" in page and f"{limits.real_below:.4f}" in page
    text = page.replace("&lt;", "<")
    assert limits.name in text and limits.chosen_on in text
    assert detector.id in page


def test_the_worst_errors_come_first_and_their_names_are_escaped(page, doubtful, detector):
    assert "<script" not in page and "alert(&#34;x&#34;)&lt;/script&gt;&amp;.png" in page
    assert "a &lt;b&gt; title" in page
    labels, p_fake = doubtful.labels, doubtful.p_fake
    wrong = np.flatnonzero((p_fake >= detector.thresholds.fake_from) != (labels == 1))
    worst = wrong[np.argsort(-np.abs(labels - p_fake)[wrong])]
    expected = [str(doubtful.rows[place]) for place in worst][:16]
    mistakes = page[page.index("Worst errors") :]
    assert len(expected) > 5 and re.findall(r"<code>(\d+)&#34;", mistakes) == expected
    shown = re.findall(r'true label <span class="(real|fake)">\w+</span>, p_fake ([\d.]+)', mistakes)
    assert shown[:5] == [(("real", "fake")[labels[place]], f"{p_fake[place]:.3f}") for place in worst[:5]]


def test_plots_are_also_png_files(written):
    for name in ("roc", "pr", "confusion", "calibration", "history"):
        assert (written / f"{name}.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_a_report_of_an_evaluation_has_no_learning_curves(doubtful, detector, tmp_path):
    write_report(tmp_path, detector, doubtful, title="t")
    assert not (tmp_path / "history.png").exists() and "Learning curves" not in (tmp_path / "report.html").read_text()


def test_the_headline_states_tpr_and_fpr(doubtful):
    line = headline({**doubtful.metrics, "tpr": 0.875, "fpr": 0.125, "n_fake": 1234, "n_real": 56})
    assert re.search(r"87\.5\s?% of 1,234 fakes", line) and re.search(r"12\.5\s?% of 56 reals", line)


def test_the_caution_about_few_images_is_printed(doubtful, trained, capsys):
    few = {**doubtful.metrics, "auroc": 1, "n_real": 1, "n_fake": 3}
    assert caution(few) == "Only one image of a class was tested: the intervals are wide."
    assert "up to 30.0% of reals" in caution({**few, "n_real": 10, "n_fake": 10})
    assert caution({**few, "auroc": 0.9, "n_real": 500, "n_fake": 500}) is None
    print_metrics(replace(trained, metrics={**doubtful.metrics, **few}))
    assert "  caution   Only one image of a class was tested" in capsys.readouterr().out


def test_training_writes_a_complete_report(trained):
    folder = trained.detector / "report"
    names = {"metrics.json", "roc.png", "pr.png", "confusion.png", "calibration.png", "history.png", "report.html"}
    assert {path.name for path in folder.iterdir()} == names
    assert json.loads((folder / "metrics.json").read_text()) == {"version": 1, **trained.metrics}
    assert f"{trained.metrics['auroc']:.3f}" in (folder / "report.html").read_text()


def test_the_worst_errors_have_heat_maps_with_the_caption(page):
    mistakes = page[page.index("Worst errors") :].replace("&#39;", "'")
    assert "The map shows where the score is most sensitive. It does not prove manipulation." in mistakes
    assert mistakes.count('alt="heat map of that verdict"') == mistakes.count("with a wrong verdict") > 5


def test_a_network_without_gradients_has_a_report_without_heat_maps(doubtful, detector, exported, tmp_path):
    from fakedetect.models.onnx import read_graph

    page = write_report(tmp_path, replace(detector, network=read_graph(exported.onnx)), doubtful, title="t").read_text()
    assert "with a wrong verdict" in page and "heat map" not in page

import io

import numpy as np
import pytest
from PIL import Image

from fakedetect.evaluation import plots
from fakedetect.evaluation.metrics import all_metrics
from fakedetect.models.calibration import Thresholds

pytestmark = pytest.mark.usefixtures("drawn")
LIMITS = Thresholds(0.6, 0.4, "fpr<=0.05", 0.05, 0.05, "validation split")
HISTORY = [
    {"epoch": n, "train_loss": 1 / n, "val_loss": 1.2 / n, "val_auroc": 0.9, "val_accuracy": 0.4} for n in (1, 2, 3)
]


@pytest.fixture(scope="module")
def judged():
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], 30)
    p_fake = random.random(60)
    return labels, p_fake, all_metrics(labels, p_fake, LIMITS)


def check_png(data: bytes) -> None:
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "PNG" and min(image.size) >= 300
        pixels = np.asarray(image.convert("L"))
    assert pixels.std() > 5, "the image is empty"


def test_every_plot_is_a_png_that_is_not_empty(judged):
    labels, p_fake, metrics = judged
    check_png(plots.roc_plot(labels, p_fake, metrics))
    check_png(plots.pr_plot(labels, p_fake, metrics))
    check_png(plots.confusion_plot(metrics, LIMITS))
    check_png(plots.calibration_plot(labels, p_fake, metrics))
    check_png(plots.history_plot(HISTORY, 2))


def test_one_epoch_and_certain_scores_can_be_drawn(judged):
    labels = judged[0]
    check_png(plots.history_plot(HISTORY[:1], 1))
    check_png(plots.calibration_plot(labels, labels.astype(float), {**judged[2], "ece": 0.0}))


def test_plots_show_the_data_they_are_given(judged):
    labels, p_fake, metrics = judged
    assert plots.roc_plot(labels, p_fake, metrics) != plots.roc_plot(labels, 1 - p_fake, metrics)
    turned = {**metrics, "verdicts": {"real": metrics["verdicts"]["fake"], "fake": metrics["verdicts"]["real"]}}
    assert plots.confusion_plot(metrics, LIMITS) != plots.confusion_plot(turned, LIMITS)

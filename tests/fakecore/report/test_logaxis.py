import pytest

from fakecore.report.figures import logarithmic_y


def labels_between(low, high):
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.subplots()
    axes.plot([0, 1], [low, high])
    logarithmic_y(axes)
    axes.set_ylim(low, high)
    figure.canvas.draw()
    labels = [*axes.get_yticklabels(), *axes.get_yticklabels(minor=True)]
    return {label.get_text() for label in labels if label.get_text() and low <= label.get_position()[1] <= high}


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [
        (0.7, 30, {"1", "2", "5", "10", "20"}),
        (1.05, 6, {"2", "5"}),
        (0.02, 0.3, {"0.02", "0.05", "0.1", "0.2"}),
    ],
)
def test_ticks_are_plain_numbers(low, high, shown):
    assert labels_between(low, high) >= shown


def test_a_short_span_has_ticks_too():
    labels = labels_between(1.1, 1.9)
    assert len(labels) >= 3 and all(1 < float(label) < 2 for label in labels)

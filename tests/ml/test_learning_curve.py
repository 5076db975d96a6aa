"""What more pictures bring: from nothing but those that are there, never judged by what was learned."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.ml import learning_curve as module
from edge_agent.ml.fits.lda import LDAFit
from edge_agent.ml.fits.protocol import FitData
from edge_agent.ml.learning_curve import CurvePoint, gain_of_doubling, learning_curve


def samples(counts, noise=1.0, D=12, seed=0):
    """Features around the mean of each class, as many as `counts` says."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(len(counts)), counts)
    means = np.random.default_rng(99).uniform(0.5, 2.0, size=(len(counts), D))
    X = np.abs(means[y] + noise * rng.normal(size=(len(y), D))).astype(np.float32)
    order = rng.permutation(len(y))
    return FitData(X[order], y[order].astype(np.intp), tuple(f"c{index}" for index in range(len(counts))))


def test_the_sizes_go_up_to_what_there_is():
    """1, 2, 5, 10, 20 and at last all that are not held out; one accuracy for each seed."""
    curve = learning_curve(samples([40, 40, 12]), seeds=(1, 2, 3))

    assert [one.per_label for one in curve] == [1, 2, 5, 10, 20, 30]
    assert {len(one.accuracies) for one in curve} == {3}


def test_more_pictures_are_recognised_better_where_classes_overlap():
    """The curve rises, and the spread of the draws becomes smaller than with one picture."""
    curve = learning_curve(samples([80] * 4, noise=0.6))

    assert curve[-1].mean > curve[0].mean + 0.1
    assert curve[-1].spread < curve[0].spread


def test_an_accuracy_is_that_of_a_fit_that_did_not_see_the_judged_part(monkeypatch):
    """What is learned and what is judged have no row in common, at any size, and every label is judged."""
    learned = []
    judged = []
    begin, accuracy = LDAFit.begin.__func__, module._accuracy

    def watched(data, rows, others):
        learned.append(set(rows.tolist()))
        judged.append(set(others.tolist()))
        return accuracy(data, rows, others)

    monkeypatch.setattr(module, "_accuracy", watched)
    data = samples([9, 9, 2])
    learning_curve(data, seeds=(0, 1))

    assert begin is LDAFit.begin.__func__
    assert all(not one & other for one, other in zip(learned, judged, strict=True))
    assert all({int(data.y[row]) for row in rows} == {0, 1, 2} for rows in [*learned, *judged])


def test_draws_are_nested():
    """The pictures of a size are among those of the next one, so a curve shows pictures, not luck."""
    drawn = module._drawn(np.repeat([0, 1], 6).astype(np.intp), 2, seed=5)
    again = module._drawn(np.repeat([0, 1], 6).astype(np.intp), 2, seed=5)
    other = module._drawn(np.repeat([0, 1], 6).astype(np.intp), 2, seed=6)

    assert all((one == two).all() for one, two in zip(drawn, again, strict=True))
    assert any((one != two).any() for one, two in zip(drawn, other, strict=True))
    assert [sorted(rows.tolist()) for rows in drawn] == [[*range(6)], [*range(6, 12)]]


@pytest.mark.parametrize("counts", [[1, 1], [1, 1, 1], [7]])
def test_without_a_second_picture_or_label_there_is_no_curve(counts):
    """Nothing can be held out, or nothing told apart."""
    assert learning_curve(samples(counts)) == []


def test_a_label_with_one_picture_is_learned_and_not_judged():
    """It does not keep the others from being measured."""
    curve = learning_curve(samples([8, 8, 1], noise=0.1), seeds=(0,))

    assert curve[-1].per_label == 6
    assert curve[-1].mean == 1.0


def test_many_pictures_are_bounded(monkeypatch):
    """No point learns from more, and no more are judged, than the limits say."""
    monkeypatch.setattr(module, "MOST_LEARNED", 50)
    monkeypatch.setattr(module, "MOST_HELD", 20)
    seen = []
    accuracy = module._accuracy
    monkeypatch.setattr(
        module,
        "_accuracy",
        lambda data, one, two: seen.append((len(one), len(two))) or accuracy(data, one, two),
    )

    curve = learning_curve(samples([100, 100]), seeds=(0,))

    assert [one.per_label for one in curve] == [1, 2, 5, 10, 20]
    assert max(one for one, _ in seen) <= 50
    assert max(two for _, two in seen) <= 20


def test_only_the_chosen_rows_count():
    """A part of the data gives the curve of a copy of that part."""
    data = samples([20, 20, 20])
    rows = np.flatnonzero(np.arange(60) % 3 != 0)
    copied = FitData(data.X[rows].copy(), data.y[rows].copy(), data.classes)

    assert learning_curve(data.part(rows)) == learning_curve(copied)


def test_the_gain_is_that_of_a_doubling():
    """Five times the pictures are 2.3 doublings; it is measured draw by draw, against half or less."""
    curve = [
        CurvePoint(10, (0.70, 0.60)),
        CurvePoint(20, (0.80, 0.70)),
        CurvePoint(40, (0.88, 0.80)),
    ]

    gain = gain_of_doubling(curve)
    assert gain is not None
    assert gain.accuracy == pytest.approx(0.09)
    assert gain.error == pytest.approx(0.01)
    far = gain_of_doubling([curve[0], CurvePoint(80, (0.85, 0.75))])
    assert far is not None
    assert far.accuracy == pytest.approx(0.05)
    assert gain_of_doubling(curve[:1]) is None

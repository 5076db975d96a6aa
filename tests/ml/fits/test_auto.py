"""The fit that chooses for itself."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.ml.fits import auto as auto_module
from edge_agent.ml.fits.auto import AutoFit
from edge_agent.ml.fits.lda import LDAFit
from edge_agent.ml.fits.protocol import FitData
from edge_agent.ml.heads.lda import LDAHead
from edge_agent.ml.heads.logistic import LogisticHead


def rings(n, seed=0):
    """Two classes of the same mean but for one feature that varies wildly in one of them: LDA's weak side."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    X = np.abs(rng.normal(size=(n, 6))) + 1.0
    X[:, 0] = np.where(y == 0, 1.0 + 0.05 * rng.random(n), 1.2 + 40.0 * rng.random(n) ** 6)
    return FitData(X.astype(np.float32), y, ("even", "odd"))


def data_of(clouds, n, **given):
    """Clouds as the data of a fit."""
    X, labels = clouds(n, **given)
    return FitData(X, np.array([int(label[6:]) for label in labels]), tuple(dict.fromkeys(labels)))


def finished(fit):
    """All iterations done, and the stage of each."""
    stages = []
    while not fit.converged:
        fit.step()
        stages.append(fit.describe()["stage"])
    return stages


@pytest.mark.parametrize("n", [3, 60, 300])
def test_few_samples_are_lda_to_the_bit(clouds, n):
    """Up to a hundred a class, in one iteration; one of each is known by the nearest mean."""
    data = data_of(clouds, n)
    fit, alone = AutoFit.begin(data, {"shrinkage": 0.4}, 0), LDAFit.begin(data, {"shrinkage": 0.4}, 0)
    alone.step()

    assert finished(fit) == ["final"]
    assert type(fit.head()) is LDAHead
    assert np.array_equal(fit.head().predict_proba(data.X), alone.head().predict_proba(data.X))
    assert (fit.head().learned.ridge == 0.0) == (n == 3)


def test_many_samples_choose_by_those_held_out():
    """Where logistic regression is better it is what comes out, having learned all samples."""
    data, new = rings(800), rings(2000, seed=1)
    fit = AutoFit.begin(data, {"l2": 1e-5}, 0)
    stages = finished(fit)
    scores = fit.describe()["scores"]
    lda = LDAFit.begin(data, {}, 0)
    lda.step()

    def accuracy(head):
        return float((head.predict_proba(new.X).argmax(axis=1) == new.y).mean())

    assert list(dict.fromkeys(stages)) == ["lda", "logistic", "final"]
    assert stages.count("lda") == 1
    assert scores["logistic"] > scores["lda"]
    assert type(fit.head()) is LogisticHead
    assert accuracy(fit.head()) > accuracy(lda.head()) + 0.02
    alone = auto_module.LogisticFit.begin(data, {"l2": 1e-5}, 0)
    finished_alone = 0
    while not alone.converged:
        alone.step()
        finished_alone += 1
    assert np.allclose(fit.head().predict_proba(new.X), alone.head().predict_proba(new.X), atol=5e-3)
    assert stages.count("final") <= finished_alone


def test_lda_that_wins_learns_all_samples(clouds, monkeypatch):
    """At a tie the loss decides, and here the penalty is far too high; the contest leaves no trace in the head."""
    monkeypatch.setattr(auto_module, "PER_CLASS", 5)
    data = data_of(clouds, 60, noise=0.4)
    fit, alone = AutoFit.begin(data, {"l2": 10.0}, 0), LDAFit.begin(data, {}, 0)
    alone.step()

    assert finished(fit)[-1] == "final"
    assert type(fit.head()) is LDAHead
    assert np.array_equal(fit.head().learned.coef, alone.head().learned.coef)


def test_the_head_is_the_better_one_so_far():
    """After one iteration LDA's; from the iteration on in which logistic regression overtakes it, that one's."""
    fit = AutoFit.begin(rings(800), {"l2": 1e-5}, 0)
    fit.step()
    assert type(fit.head()) is LDAHead
    seen = []
    while fit.describe()["stage"] != "final":
        scores = fit.describe()["scores"]
        if "logistic" in scores:
            better = LogisticHead if scores["logistic"] > scores["lda"] else LDAHead
            assert type(fit.head()) is better
            seen.append(better)
        fit.step()
    assert LogisticHead in seen


def test_held_out_samples_are_a_fifth_of_each_class_and_never_learned(clouds):
    """All rows are in one part or the other; each class keeps some to learn from."""
    data = data_of(clouds, 320)
    data = FitData(data.X, np.where(np.arange(320) == 0, 2, np.arange(320) % 2), data.classes)
    rows = auto_module._held_out(data, 5)

    assert np.bincount(data.y[rows], minlength=3).tolist() == [32, 32, 0]
    assert not np.array_equal(rows, auto_module._held_out(data, 6))
    assert np.array_equal(rows, auto_module._held_out(data, 5))


def with_copies(data, copies):
    """The same data with `copies` rows after each that are nearly the same."""
    X = np.repeat(data.X, copies + 1, axis=0)
    noise = np.random.default_rng(0).normal(size=X.shape) * 0.01
    noise[:: copies + 1] = 0.0
    pictures = np.repeat(np.arange(len(data)), copies + 1)
    return FitData(
        (X + noise).astype(np.float32), np.repeat(data.y, copies + 1), data.classes, pictures=pictures
    )


def test_copies_do_not_make_few_pictures_many(clouds):
    """Sixty pictures with five copies each are three hundred and sixty rows of sixty pictures: LDA, at once."""
    data = with_copies(data_of(clouds, 60), 5)

    assert len(data) > auto_module.PER_CLASS * len(data.classes)
    assert finished(AutoFit.begin(data, {}, 0)) == ["final"]


def test_copies_stay_on_the_side_of_their_picture():
    """Those that decide are pictures as they are; no copy of them is learned from while the two compete."""
    data = with_copies(rings(500), 3)
    fit = AutoFit.begin(data, {"l2": 1e-5}, 0)
    learned, judging = fit._learned.chosen, fit._held_out.chosen

    assert np.array_equal(judging % 4, np.zeros(100))
    assert not set(data.pictures[learned]) & set(data.pictures[judging])
    assert len(learned) == 400 * 4
    assert finished(fit)[-1] == "final"
    again = AutoFit.restore(data, fit.arrays(), fit.describe())
    assert np.array_equal(again._held_out.chosen, judging)

"""Likely wrong labels: leave-one-out against really leaving one out, and errors that were planted."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.config import PicturesConfig
from edge_agent.default_plugins.extractors import CARD_PATH
from edge_agent.ml.estimates import leave_one_out_scores, softmax
from edge_agent.ml.fits.lda import LDAFit
from edge_agent.ml.fits.protocol import FitData
from edge_agent.ml.label_errors import label_doubts, leave_one_out
from edge_agent.ml.transforms import signed_root
from edge_agent.vision.extractor import FeatureExtractor
from edge_agent.vision.images import decode
from edge_agent.vision.preprocessing import load_card


def samples(counts, noise=0.5, D=16, seed=0):
    """Features around the mean of each class, class after class."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(len(counts)), counts)
    means = rng.uniform(0.2, 2.0, size=(len(counts), D))
    X = np.abs(means[y] + noise * rng.normal(size=(len(y), D))).astype(np.float32)
    return X, y.astype(np.intp)


def refitted(X, y, n_classes, fit):
    """The probabilities of each sample after the discriminant was computed without it, from the definition.

    The ridge, the temperature and tau are those of the whole, as the closed form holds them fixed.
    """
    learned = fit.head().learned
    Z, N = signed_root(X), len(y)
    P = np.empty((N, n_classes))
    for i in range(N):
        rest = np.arange(N) != i
        M = np.stack([Z[rest & (y == c)].mean(axis=0) for c in range(n_classes)])
        deviations = Z[rest] - M[y[rest]]
        A = deviations.T @ deviations / N + learned.ridge * np.eye(Z.shape[1])
        far = np.array([[(Z[i] - m) @ np.linalg.solve(A, Z[i] - m) for m in M]])
        counts = np.bincount(y, minlength=n_classes).astype(float)
        scores = leave_one_out_scores(far, y[i : i + 1], counts, learned.estimates.tau, np.zeros(n_classes))
        P[i] = softmax(learned.estimates.temperature * scores)[0]
    return P


@pytest.mark.parametrize(("counts", "D"), [([4, 7, 3], 20), ([30, 12, 25], 6)])
def test_probabilities_are_those_of_leaving_each_sample_out(counts, D):
    """The closed form gives what computing everything anew without the sample gives."""
    X, y = samples(counts, D=D)
    data = FitData(X, y, ("b", "c", "a"))  # not sorted, as the head has them
    fit = LDAFit.begin(data, {}, 0)
    fit.step()

    assert np.abs(leave_one_out(data) - refitted(X, y, 3, fit)).max() < 1e-5


def test_planted_label_errors_are_found_first():
    """Of 10 wrong labels among 300, at least 8 are among the first 15, with the true label suggested."""
    X, y = samples([60] * 5, noise=0.5, D=32, seed=4)
    rng = np.random.default_rng(7)
    planted = rng.choice(len(y), 10, replace=False)
    given = y.copy()
    given[planted] = (y[planted] + rng.integers(1, 5, 10)) % 5

    doubts = label_doubts(FitData(X, given, tuple("abcde")))

    first = {one.index for one in doubts[:15]}
    assert len(first & set(planted.tolist())) >= 8
    right = [one for one in doubts if one.index in planted]
    assert all(one.suggested == "abcde"[y[one.index]] for one in right)
    assert all(one.label == "abcde"[given[one.index]] for one in doubts)


@pytest.mark.slow
def test_wrong_labels_of_photographs_are_pointed_out(testdata):
    """D5: Of 20 % wrong labels among 300 photographs at least 70 % are pointed out; with none, at most 5 % of all are.

    Ten draws together; with the embedded extractor. Hardly any of the right ones are taken for wrong beside them.
    """
    card = load_card(CARD_PATH)
    extractor = FeatureExtractor(card)
    folders = sorted(path for path in (testdata / "data" / "grocery10").iterdir() if path.is_dir())
    paths = [path for folder in folders for path in sorted(folder.glob("train_*"))]
    target = (card.input.width, card.input.height)
    X = np.stack(
        [
            extractor.extract(decode(path.read_bytes(), limits=PicturesConfig(), target=target).pixels)
            for path in paths
        ]
    )
    y = np.array([folders.index(path.parent) for path in paths], dtype=np.intp)
    names = tuple(folder.name for folder in folders)
    n = len(y)
    assert n == 300

    found = wrongly = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        planted = rng.choice(n, n // 5, replace=False)
        given = y.copy()
        given[planted] = (y[planted] + rng.integers(1, 10, len(planted))) % 10
        doubted = {one.index for one in label_doubts(FitData(X, given, names))}
        found += len(doubted & set(planted.tolist()))
        wrongly += len(doubted - set(planted.tolist()))

    assert found / (10 * n / 5) >= 0.7
    assert wrongly / (10 * n) <= 0.05
    assert len(label_doubts(FitData(X, y, names))) / n <= 0.05


def test_clean_labels_that_can_be_told_apart_are_not_doubted():
    """Nothing is shown for the sake of showing something."""
    X, y = samples([20, 20, 20], noise=0.1)

    assert label_doubts(FitData(X, y, ("a", "b", "c"))) == []


def test_the_clearest_come_first_and_both_limits_hold():
    """Ordered by the difference of the two probabilities; its own gets little and another much."""
    X, y = samples([40, 40, 40], noise=1.2, seed=2)
    doubts = label_doubts(FitData(X, y, ("a", "b", "c")), little=0.3, much=0.6)

    clear = [one.probability - one.own_probability for one in doubts]
    assert doubts
    assert clear == sorted(clear, reverse=True)
    assert all(one.own_probability <= 0.3 and one.probability >= 0.6 for one in doubts)
    strict = label_doubts(FitData(X, y, ("a", "b", "c")), little=0.1, much=0.6)
    assert strict == [one for one in doubts if one.own_probability <= 0.1]
    assert 0 < len(strict) < len(doubts)


def test_an_only_sample_is_not_judged():
    """Without it there is no class: nothing can be said about its label."""
    X, y = samples([6, 6, 1])
    data = FitData(X, y, ("a", "b", "c"))

    P = leave_one_out(data)

    assert np.isnan(P[12]).all()
    assert not np.isnan(P[:12]).any()
    assert all(one.index != 12 for one in label_doubts(data))


def test_where_no_class_varies_nothing_is_judged():
    """Copies of one picture for each label say nothing about each other."""
    X = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    data = FitData(X, np.repeat(np.arange(3), 4).astype(np.intp), ("a", "b", "c"))

    assert np.isnan(leave_one_out(data)).all()
    assert label_doubts(data) == []

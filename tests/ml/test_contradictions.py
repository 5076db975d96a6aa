"""Labels held against opinions: the likelihood ratio by its definition, chance, and planted mistakes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from edge_agent.ml.batches import MatrixBatchProvider
from edge_agent.ml.contradictions import SHARE, contradiction, unlearned
from edge_agent.ml.heads.built_in import BUILT_IN_HEADS


def drawn(rng, n=60, C=5, sure=6.0):
    """Opinions [n, C] and labels that follow them exactly."""
    P = np.exp(sure * rng.normal(size=(n, C)))
    P /= P.sum(axis=1, keepdims=True)
    return P, np.array([rng.choice(C, p=row) for row in P])


def test_the_odds_are_the_ratio_of_two_explanations():
    """By the definition: the probability of the labels with and without a share of one class mislabelled."""
    rng = np.random.default_rng(1)
    P, y = drawn(rng, n=6, C=3, sure=1.0)
    ratios = []
    for c in range(3):
        explained = [
            (1 - SHARE) * P[i, c] if y[i] == c else P[i, y[i]] + P[i, c] * SHARE / 2 for i in range(len(y))
        ]
        ratios.append(np.prod(explained) / np.prod(P[np.arange(len(y)), y]))

    assert contradiction([P], y).odds == pytest.approx(np.mean(ratios))
    assert contradiction([P], y).column == int(np.argmax(ratios))


def test_an_explanation_is_one():
    """Summed over all labels there could be, the explained probabilities are one: no odds come from nothing."""
    P = np.array([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4]])
    total = sum(
        contradiction([P], np.array(y)).odds * P[0, y[0]] * P[1, y[1]]
        for y in itertools.product(range(3), repeat=2)
    )

    assert total == pytest.approx(1.0)


def test_honest_labels_are_hardly_ever_unlikely():
    """Where labels follow an opinion, odds of k are reached in at most one of k cases, with a second opinion too."""
    rng = np.random.default_rng(2)
    one, two = [], []
    for _ in range(400):
        P, y = drawn(rng)
        again = np.exp(rng.normal(size=P.shape)) * P
        one.append(contradiction([P], y).odds)
        two.append(contradiction([P, again / again.sum(axis=1, keepdims=True)], y).odds)

    for odds in (np.array(one), np.array(two)):
        assert np.mean(odds >= 5.0) <= 0.2
        assert np.mean(odds >= 20.0) <= 0.06


def test_mistakes_in_one_class_are_found_and_named():
    """Three of ten pictures of one class with other labels, as an almost sure opinion sees them."""
    y = np.repeat(np.arange(4), 10)
    P = np.full((40, 4), 0.01)
    P[np.arange(40), y] = 0.97
    y[[20, 21, 22]] = [0, 1, 3]

    found = contradiction([P, P], y)

    assert found.column == 2
    assert set(found.rows) == {20, 21, 22}
    assert found.odds > 20
    y[[20, 21, 22]] = 2
    assert contradiction([P, P], y).odds < 1.0


def test_who_has_no_opinion_is_not_heard():
    """Rows of NaN leave a sample to the other opinion, and where nobody has one it says nothing."""
    y = np.array([0, 1, 1])
    P = np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]])
    Q = np.array([[0.9, 0.1], [np.nan, np.nan], [np.nan, np.nan]])
    silent = np.full((3, 2), np.nan)

    assert contradiction([P, Q], y).odds == pytest.approx(contradiction([P], y).odds)
    assert contradiction([silent, silent], y).odds == pytest.approx(1.0)
    assert contradiction([silent], y).rows == ()


def test_odds_without_end_are_numbers():
    """Thousands of contradicted labels do not overflow."""
    P = np.tile([[1.0, 0.0]], (5000, 1))

    assert np.isfinite(contradiction([P], np.ones(5000, dtype=int)).odds)


@pytest.mark.parametrize("name", ["lda", "auto"])
def test_unlearned_samples_are_as_if_learned_without(name):
    """Probabilities of a head that learned all others are close; what was chosen by leave-one-out is kept."""
    rng = np.random.default_rng(3)
    y = np.repeat(np.arange(3), 12)
    X = np.maximum(rng.normal(size=(36, 20)) + 1.5 * np.eye(3, 20)[y], 0.0).astype(np.float32)
    labels = [f"class {c}" for c in y]

    def learned(rows):
        head = BUILT_IN_HEADS[name](20)
        for _ in head.train(MatrixBatchProvider(X[rows], [labels[row] for row in rows]), {}):
            pass
        return head

    P = unlearned(learned(np.arange(36)), X[:12], labels[:12])
    for i in range(12):
        without = learned(np.delete(np.arange(36), i)).predict_proba(X[i : i + 1])[0]
        assert np.abs(P[i] - without).max() < 0.12
    assert np.abs(P - learned(np.arange(36)).predict_proba(X[:12])).max() > 0.1


def test_what_cannot_be_taken_back_is_none_and_a_lonely_sample_is_nan():
    """A head that would have to learn again has no answer; the only sample of a label none either."""
    X = np.random.default_rng(4).random((5, 8), dtype=np.float32)
    labels = ["a", "a", "b", "b", "c"]
    heads = {name: BUILT_IN_HEADS[name](8) for name in ("knn", "lda")}
    for head in heads.values():
        for _ in head.train(MatrixBatchProvider(X, labels), {}):
            pass

    assert unlearned(heads["knn"], X, labels) is None
    P = unlearned(heads["lda"], X, [*labels[:4], "c"])
    assert np.isnan(P[4]).all()
    assert np.isfinite(P[:4]).all()
    assert np.isnan(unlearned(heads["lda"], X[:1], ["nobody"])).all()

"""The heads that answer from the state of discriminant analysis, and how they choose."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from edge_agent.errors import MLModelError
from edge_agent.ml.batches import MatrixBatchProvider
from edge_agent.ml.estimates import log_loss, softmax
from edge_agent.ml.heads import lda
from edge_agent.ml.heads.lda import LDAHead
from edge_agent.ml.heads.mixed import AutoHead, LDARidgeHead, NearestMeanHead, RidgeHead
from edge_agent.ml.linear_answers import DEFAULT_RIDGE
from edge_agent.ml.parameters import MLParameterKey
from edge_agent.ml.scatter import FullScatter
from edge_agent.ml.transforms import signed_root

HEADS = [NearestMeanHead, RidgeHead, LDARidgeHead, AutoHead]
D = 24


def clouds(n, seed=0, classes=3, spread=1.0):
    """Overlapping classes of non-negative features, with their labels."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    X = rng.gamma(1.0, spread, (n, D)) + 1.5 * np.eye(classes, D)[y]
    return X.astype(np.float32), [f"class {label}" for label in y]


def trained(kind, X, labels, head=None, **parameters):
    """A head that learned the samples."""
    head = head or kind(X.shape[1])
    given = {MLParameterKey(name): value for name, value in parameters.items()}
    *_, last = head.train(MatrixBatchProvider(X, labels), given)
    return head, last.metrics


@pytest.mark.parametrize("kind", HEADS)
def test_each_learns(kind):
    """New samples of the classes are recognised, as often as those left out."""
    head, metrics = trained(kind, *clouds(600))
    X, labels = clouds(300, seed=1)

    hits = np.array(head.classes_)[head.predict_proba(X).argmax(axis=1)] == labels
    assert abs(hits.mean() - metrics["accuracy"]) < 0.1
    assert hits.mean() > 0.75


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize(("rows", "features"), [(10**6, 10**6), (0, 10**6), (0, 0)])
def test_the_order_of_samples_does_not_matter(kind, rows, features, monkeypatch):
    """D4: Reversed, the same probabilities to 1e-9, with few samples and with the Gram matrix of many."""
    monkeypatch.setattr(lda, "DUAL_ROWS", rows)
    monkeypatch.setattr(lda, "EIGEN_FEATURES", features)
    X, labels = clouds(80)

    one, other = trained(kind, X, labels)[0], trained(kind, X[::-1], labels[::-1])[0]

    assert np.abs(one.predict_proba(X) - other.predict_proba(X)).max() < 1e-9


@pytest.mark.parametrize("kind", HEADS)
def test_both_forms_give_the_same_head(kind, monkeypatch):
    """The span of few samples and the Gram matrix of many: the same probabilities to 1e-9."""
    X, labels = clouds(80)
    dual, _ = trained(kind, X, labels)
    monkeypatch.setattr(lda, "DUAL_ROWS", 0)

    assert np.abs(trained(kind, X, labels)[0].predict_proba(X) - dual.predict_proba(X)).max() < 1e-9


@pytest.mark.parametrize("kind", [NearestMeanHead, RidgeHead, LDAHead])
def test_a_factor_gives_the_same_head_as_eigenvectors(kind, monkeypatch):
    """Many features of many samples are not brought to their eigenvectors: the same probabilities to 1e-9."""
    X, labels = clouds(80)
    spanned, _ = trained(kind, X, labels)
    monkeypatch.setattr(lda, "DUAL_ROWS", 0)
    monkeypatch.setattr(lda, "EIGEN_FEATURES", 0)

    full = trained(kind, X, labels)[0]

    assert isinstance(full.learned.scatter, FullScatter)
    assert np.abs(full.predict_proba(X) - spanned.predict_proba(X)).max() < 1e-9
    assert full.distances(X) == pytest.approx(spanned.distances(X), rel=1e-6)


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("rows", [10**6, 0])
def test_what_is_stored_answers_the_same_and_learns_on(kind, rows, monkeypatch):
    """Through arrays and JSON and back; then a few more samples keep what many said, and add a class."""
    monkeypatch.setattr(lda, "DUAL_ROWS", rows)
    monkeypatch.setattr(lda, "EIGEN_FEATURES", rows)
    X, labels = clouds(60)
    head, _ = trained(kind, X, labels)
    again = kind.restore(head.arrays(), json.loads(json.dumps(head.describe())))
    assert np.array_equal(again.predict_proba(X), head.predict_proba(X))
    assert again.recipe == head.recipe

    more, names = clouds(8, seed=2, classes=4)
    trained(kind, more, names, head=again)

    assert again.recipe == head.recipe
    assert again.classes_ == (*head.classes_, "class 3")
    whole = trained(kind, np.vstack([X, more]), labels + names)[0]
    assert np.abs(again.learned.means - whole.learned.means).max() < 1e-12
    again.remove_label("class 3")
    assert again.predict_proba(X).shape == (60, 3)


def test_numbers_out_of_their_range_are_damage():
    """A recipe that no training writes is refused when it is read."""
    head, _ = trained(RidgeHead, *clouds(30))
    for name, value in [("ridge", 0.0), ("shrinkage", -1.0), ("tau", float("nan"))]:
        described = head.describe()
        described["recipe"][name] = value
        with pytest.raises(MLModelError, match="not in its range"):
            RidgeHead.restore(head.arrays(), described)


def test_single_pictures_are_told_apart_by_the_nearest_mean():
    """With one sample a class nothing varies: the answer of `ncm` is that of `lda`, the cosine."""
    X, labels = clouds(3)

    head, peer = (trained(kind, X, labels)[0] for kind in (NearestMeanHead, LDAHead))

    assert head.recipe is None
    assert np.array_equal(head.predict_proba(X), peer.predict_proba(X))
    head.remove_label("class 1")
    assert head.predict_proba(X).shape == (3, 2)


@pytest.mark.parametrize("kind", [RidgeHead, LDARidgeHead, AutoHead])
def test_single_pictures_are_told_apart_by_ridge_regression(kind):
    """With one sample a class: scikit-learn's, its penalty 0.01 per sample, in units that suit a softmax."""
    X, labels = clouds(5, classes=5)
    unseen, _ = clouds(40, seed=1, classes=5)
    Z, asked = signed_root(X), signed_root(unseen)

    head, _ = trained(kind, X, labels)

    peer = Ridge(alpha=DEFAULT_RIDGE * len(X)).fit(Z, np.eye(5))
    assert np.allclose(head.predict_proba(unseen), softmax(8.0 * peer.predict(asked)), atol=1e-12)
    again = kind.restore(head.arrays(), json.loads(json.dumps(head.describe())))
    again.remove_label("class 1")
    assert again.predict_proba(unseen).shape == (40, 4)


def test_auto_leaves_bursts_out_together():
    """Ten copies of each picture do not make it sure of itself: its loss on others is near that of one copy."""
    X, labels = clouds(30, spread=1.5)
    unseen, truth = clouds(600, seed=3, spread=1.5)
    y = np.array([int(label[-1]) for label in truth])
    rng = np.random.default_rng(5)
    bursts = np.repeat(X, 10, axis=0) * rng.uniform(0.99, 1.01, (300, D)).astype(np.float32)
    names = [label for label in labels for _ in range(10)]

    def loss(kind):
        return log_loss(trained(kind, bursts, names)[0].predict_proba(unseen), y)

    single = log_loss(trained(AutoHead, X, labels)[0].predict_proba(unseen), y)
    assert loss(AutoHead) < 1.5 * single
    assert loss(LDARidgeHead) > 2.0 * loss(AutoHead)


def test_auto_does_not_forget_rare_classes():
    """Where one class has a tenth of the samples of another, its pictures are recognised about as often."""
    X, labels = clouds(240, spread=1.2)
    unseen, truth = clouds(900, seed=3, spread=1.2)
    few = [at for at, label in enumerate(labels) if label != "class 2" or at < 24]

    def found(kind):
        P = trained(kind, X[few], [labels[at] for at in few])[0].predict_proba(unseen)
        y = np.array([int(label[-1]) for label in truth])
        return [(P.argmax(axis=1) == y)[y == c].mean() for c in range(3)]

    assert found(AutoHead)[2] > found(LDARidgeHead)[2] + 0.05
    assert np.mean(found(AutoHead)) > np.mean(found(RidgeHead)) + 0.05


def test_auto_has_no_term_for_sizes_that_are_equal():
    """Then it is discriminant analysis and ridge regression alone, near half and half of calibrated scores."""
    recipe = trained(AutoHead, *clouds(90))[0].recipe

    assert recipe.rarity == 0.0
    assert min(recipe.discriminant, recipe.regression) > 0.0


@pytest.mark.parametrize("kind", [LDARidgeHead, AutoHead])
def test_an_empirical_prior_favours_frequent_labels(kind):
    """Its log odds are added to the scores, no more and no less."""
    X, labels = clouds(90)
    few = [at for at, label in enumerate(labels) if label != "class 2" or at < 20]
    X, labels = X[few], [labels[at] for at in few]
    n = np.array([labels.count(f"class {label}") for label in range(3)])

    plain, prior = (trained(kind, X, labels, prior=name)[0].linear for name in ("uniform", "empirical"))

    assert np.allclose(prior.intercept - plain.intercept, np.log(n / n.sum()), atol=1e-9)
    assert np.allclose(prior.coef, plain.coef)

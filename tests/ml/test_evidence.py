"""What a head says of itself, against pictures it has not seen and against learning again."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edge_agent.ml import evidence as module
from edge_agent.ml.batches import MatrixBatchProvider
from edge_agent.ml.evidence import evidence, linear_parts
from edge_agent.ml.heads.built_in import BUILT_IN_HEADS

HEADS = ("lda", "ncm", "ridge", "lda+ridge", "auto")


def bursts(copies, rng, things=12, classes=3, D=40):
    """Features of `things` things a class, each photographed several times, with their labels."""
    y = np.repeat(np.arange(classes), things)
    X = np.maximum(rng.normal(size=(len(y), D)) + np.eye(classes, D)[y], 0.0)
    X = np.repeat(X, copies, axis=0) * rng.uniform(0.95, 1.05, (len(y) * copies, D))
    return X.astype(np.float32), [f"class {c}" for c in np.repeat(y, copies)]


def trained(name, X, labels, **parameters):
    """A head of this name that has learned these samples."""
    head = BUILT_IN_HEADS[name](X.shape[1])
    known = {one.key.name: one.key for one in head.parameter_descriptions}
    for _ in head.train(
        MatrixBatchProvider(X, labels), {known[key]: value for key, value in parameters.items()}
    ):
        pass
    return head


def said(head, X, labels):
    """The evidence of a head on what it learned."""
    return evidence(head, lambda rows: X[rows], labels)


def test_bursts_flatter_single_samples_and_not_groups():
    """Left out alone every copy is found by its brothers; left out together they answer as one picture would."""
    rng = np.random.default_rng(0)
    X, labels = bursts(6, rng)

    burst = said(trained("auto", X, labels), X, labels)
    plain = said(trained("auto", X[::6], labels[::6]), X[::6], labels[::6])

    assert burst.whole.single.accuracy > 0.95
    low, high = burst.whole.interval
    assert low <= high < 0.9
    assert abs(high - plain.whole.single.accuracy) < 0.15
    assert set(burst.per_class) == {"class 0", "class 1", "class 2"}
    assert sum(one.loose.right for one in burst.per_class.values()) == burst.whole.loose.right
    assert any("gap is wide" in line for line in burst.sentences())


@pytest.mark.parametrize("name", HEADS)
def test_single_samples_are_as_if_learned_without(name):
    """A head that learned all but one sample gives it the answer that the closed form says, nearly always.

    What leave-one-out chose when it learned is held fixed by the closed form and chosen anew here.
    """
    X, labels = bursts(1, np.random.default_rng(5), things=10)
    X += 2.0 * np.eye(40, dtype=np.float32)[np.repeat(np.arange(3), 10)]
    found = said(trained(name, X, labels), X, labels).whole.single
    right = 0
    for i in range(len(labels)):
        rest = np.arange(len(labels)) != i
        head = trained(name, X[rest], [label for label, keep in zip(labels, rest, strict=True) if keep])
        right += head.classes_[int(head.predict_proba(X[i : i + 1]).argmax())] == labels[i]

    assert found.count == len(labels)
    assert abs(found.right - right) <= 1
    assert right < len(labels)


def test_neighbours_are_judged_one_sample_at_a_time():
    """In a chain of pictures, each like the next, only direct neighbours are left out, not the whole chain.

    The one in the middle of each is within 45 degrees of all of it.
    """
    angles = np.linspace(0.0, np.pi / 2, 13)
    chain = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    X = np.zeros((26, 6), dtype=np.float32)
    X[:13, :2], X[13:, 3:5] = chain, chain
    labels = ["one"] * 13 + ["two"] * 13

    found = said(trained("lda", X, labels), X, labels)

    assert found.whole.loose.count == 26
    assert found.whole.strict.count == 24


def test_nothing_is_said_of_single_pictures():
    """With one picture a class none can be left out; with one burst a class no group can."""
    X, labels = bursts(1, np.random.default_rng(1), things=1)
    nothing = said(trained("auto", X, labels), X, labels)
    assert nothing.whole.single is None
    assert "no label has two different pictures" in nothing.sentences()[0]

    X, labels = bursts(4, np.random.default_rng(1), things=1)
    burst = said(trained("auto", X, labels), X, labels)
    assert burst.whole.single.accuracy == 1.0
    assert burst.whole.interval is None
    assert any("nothing can be said" in line for line in burst.sentences())


def test_one_label_of_which_nothing_can_be_said_is_named():
    """The others have their figures."""
    X, labels = bursts(2, np.random.default_rng(2), things=5)
    X, labels = np.concatenate([X, X[:1] + 1.0]), [*labels, "lonely"]

    found = said(trained("auto", X, labels), X, labels)

    assert found.per_class["lonely"].single is None
    assert found.per_class["class 0"].interval is not None
    assert any("lonely" in line for line in found.sentences())
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["per_class"]["lonely"] == {
        "leave_one_out": None,
        "leave_duplicates_out": None,
    }


@pytest.mark.parametrize("name", ["knn", "softmax", "logistic"])
def test_heads_that_would_have_to_learn_again_say_why_nothing_is_said(name):
    """No figure, and the reason in words."""
    X, labels = bursts(2, np.random.default_rng(2), things=3)
    found = said(trained(name, X, labels), X, labels)

    assert found.whole.single is None
    assert name in found.to_json()["because"]


def test_a_head_that_had_learned_before_says_nothing():
    """Its sums hold samples that are not at hand."""
    X, labels = bursts(2, np.random.default_rng(2), things=3)

    assert (
        said(trained("lda", X, labels), X[:10], labels[:10]).because
        == "it had learned from other pictures before"
    )


def test_what_is_looked_at_is_bounded_and_says_so(monkeypatch):
    """Of 600 samples a few of each label are left out, with neighbours sought among all; memory and time end."""
    X, labels = bursts(20, np.random.default_rng(0), things=10)
    head = trained("auto", X, labels)
    whole = said(head, X, labels)
    assert whole.looked_at == module.LOOKED_AT < whole.samples == 600
    assert whole.whole.strict.count == module.LOOKED_AT

    monkeypatch.setattr(module, "WORK", 30 * 20.0**3)
    few = said(head, X, labels).whole
    assert few.single.count == module.LOOKED_AT
    assert 3 <= few.strict.count <= 60

    monkeypatch.setattr(module, "ROWS", 5)
    none = said(head, X, labels)
    assert none.whole.interval is None
    assert any("Too many" in line for line in none.sentences())


def test_the_prior_of_counts_counts():
    """A head that prefers large classes is judged with that preference."""
    X, labels = bursts(2, np.random.default_rng(2), things=3)
    parts = linear_parts(trained("lda", X[:12], labels[:12], prior="empirical"))

    assert np.allclose(parts[2], np.log([6 / 12, 6 / 12]))
    assert np.allclose(linear_parts(trained("lda", X, labels))[2], 0.0)

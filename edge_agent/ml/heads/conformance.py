"""This is where every learning method, built in or brought by a plugin, is held to what the agent relies on."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np

from edge_agent.errors import PluginError
from edge_agent.ml.batches import MatrixBatchProvider
from edge_agent.ml.heads.protocol import Head
from edge_agent.ml.heads.trial import LABELS, SAMPLES, Trial, clouds, learn
from edge_agent.ml.parameters import MLParameterDescription, MLParameterKey

HeadCheck = Callable[[type[Head]], None]

MANY = 300
"""Classes of the check with many."""


def check_head(head_class: type[Head], checks: Sequence[HeadCheck] | None = None) -> None:
    """Hold a learning method to all of `HEAD_CHECKS`, or to those given.

    Raises `PluginError` that says what it does otherwise. What the head itself raises is not caught.
    """
    for check in HEAD_CHECKS if checks is None else checks:
        check(head_class)


def check_declarations(head_class: type[Head]) -> None:
    """It has a name, describes its parameters, and has all methods of the protocol."""
    trial = Trial(head_class)
    name = getattr(head_class, "name", None)
    descriptions = getattr(head_class, "parameter_descriptions", None)
    trial.demand(isinstance(name, str) and name != "", "`name` must be a text")
    trial.demand(
        isinstance(descriptions, tuple)
        and all(isinstance(one, MLParameterDescription) for one in descriptions),
        "`parameter_descriptions` must be a tuple of MLParameterDescription",
    )
    for method in ("train", "predict_proba", "distances", "arrays", "describe", "restore", "copy"):
        trial.demand(callable(getattr(head_class, method, None)), f"there is no method `{method}`")


def check_untrained(head_class: type[Head]) -> None:
    """A new one knows nothing: no classes, probabilities of shape (n, 0)."""
    trial = Trial(head_class)
    head = head_class(3)
    trial.demand(head.n_features == 3, "`n_features` must be what the constructor was given")
    trial.demand(head.classes_ == (), "a new head must have no classes")
    trial.demand(
        head.predict_proba(SAMPLES).shape == (6, 0),
        "a new head must predict an array of shape (n, 0)",
    )


def check_progress(head_class: type[Head]) -> None:
    """Training tells of its mini-batches and ends with an epoch."""
    trial = Trial(head_class)
    head = head_class(3)
    seen = [one.kind for one in head.train(MatrixBatchProvider(SAMPLES, LABELS), trial.brief)]
    trial.demand(bool(seen) and seen[-1] == "epoch", "training must end with the progress of an epoch")
    trial.demand("mini_batch" in seen, "training must report its mini-batches")


def check_answers(head_class: type[Head]) -> None:
    """Labels are those of the samples, probabilities are some, distances are one number a sample or None."""
    trial = Trial(head_class)
    head = trial.trained()
    trial.demand(
        sorted(head.classes_) == ["first", "second"],
        f"`classes_` is {head.classes_!r} after training",
    )
    trial.probabilities(head, SAMPLES)
    far, threshold = head.distances(SAMPLES), head.unknown_threshold
    trial.demand(
        far is None or (far.shape == (6,) and bool((far >= 0.0).all())),
        "`distances` must answer None or one number a sample, not below 0",
    )
    trial.demand(
        threshold is None or (far is not None and bool(np.isfinite(threshold)) and threshold > 0.0),
        f"`unknown_threshold` is {threshold!r}: it must be None or a number above 0 that `distances` go with",
    )


def check_copies(head_class: type[Head]) -> None:
    """Training a head changes no copy of it, and training a copy does not change the head."""
    trial = Trial(head_class)
    new = head_class(3)
    untouched = new.copy()
    learn(new, SAMPLES, LABELS, trial.brief)
    trial.demand(untouched.classes_ == (), "training changed a copy")
    other, before = new.copy(), new.predict_proba(SAMPLES)
    learn(other, SAMPLES[:, ::-1], LABELS, trial.brief)
    trial.demand(
        np.array_equal(new.predict_proba(SAMPLES), before), "training a copy changed the head it is of"
    )


def check_storage(head_class: type[Head]) -> None:
    """Through arrays and JSON and back it is the same to the bit."""
    trial = Trial(head_class)
    head = head_class(3)
    learn(head, SAMPLES, LABELS, trial.brief)
    arrays = head.arrays()
    trial.demand(
        all(isinstance(one, np.ndarray) and one.dtype.kind in "biuf" for one in arrays.values()),
        "`arrays` must be arrays of numbers",
    )
    try:
        description = json.loads(json.dumps(head.describe(), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise PluginError(f"head {trial.who}: `describe` must be plain JSON: {error}") from None
    again = head_class.restore({name: array.copy(order="K") for name, array in arrays.items()}, description)
    trial.demand(again.classes_ == head.classes_, "`restore` must bring back `classes_`")
    trial.demand(
        again.n_features == 3 and again.unknown_threshold == head.unknown_threshold,
        "`restore` must bring back `n_features` and `unknown_threshold`",
    )
    asked = np.vstack([SAMPLES, SAMPLES[::2] * 0.5 + 1.0]).astype(np.float32)
    same = np.array_equal(again.predict_proba(asked), head.predict_proba(asked))
    trial.demand(same, "a restored head must predict the same")
    far, known = again.distances(asked), head.distances(asked)
    same = known is None if far is None else known is not None and np.array_equal(far, known)
    trial.demand(same, "a restored head must answer the same `distances`")


def check_recognition(head_class: type[Head]) -> None:
    """Samples of two labels that are far apart are told apart once they were learned."""
    trial = Trial(head_class)
    head = trial.trained()
    P = trial.probabilities(head, SAMPLES)
    right = [head.classes_[column] for column in P.argmax(axis=1)]
    trial.demand(right == LABELS, f"samples far apart that it learned are answered {right}, not {LABELS}")


def check_repetition(head_class: type[Head]) -> None:
    """The same samples and parameters give the same answers, to the bit."""
    trial = Trial(head_class)
    X, labels = clouds(4)
    one, other = trial.trained(X, labels), trial.trained(X, labels)
    trial.demand(
        one.classes_ == other.classes_ and np.array_equal(one.predict_proba(X), other.predict_proba(X)),
        "the same samples must give the same head",
    )


def check_order(head_class: type[Head]) -> None:
    """Where it says `order_matters = False`, samples in another order give the same probabilities to 1e-9."""
    trial = Trial(head_class)
    if getattr(head_class, "order_matters", True):
        return
    X, labels = clouds(4)
    turned = np.arange(len(X))[::-1]
    between = (X + X[turned]) / 2.0
    one = trial.trained(X, labels)
    other = trial.trained(X[turned], [labels[at] for at in turned])
    same = sorted(one.classes_) == sorted(other.classes_)
    if same:
        P = other.predict_proba(between)[:, [other.classes_.index(name) for name in one.classes_]]
        same = bool(np.abs(P - one.predict_proba(between)).max() < 1e-9)
    trial.demand(same, "it says `order_matters = False`, and another order gives other probabilities")


def check_rows(head_class: type[Head]) -> None:
    """A sample's answer does not depend on those asked with it, and what is given is not changed."""
    trial = Trial(head_class)
    X, labels = clouds(4)
    X.flags.writeable = False
    kept = X.copy()
    head = trial.trained(X, labels)
    together = trial.probabilities(head, X)
    single = np.vstack([trial.probabilities(head, X[at : at + 1]) for at in range(len(X))])
    trial.demand(
        bool(np.abs(together - single).max() < 1e-9),
        "a sample is answered differently alone and among others",
    )
    trial.probabilities(head, X[:0])
    trial.demand(np.array_equal(X, kept), "the samples themselves were changed")


def check_new_labels(head_class: type[Head]) -> None:
    """Later training adds labels; the old ones stay, and a sample of the new one is recognised."""
    trial = Trial(head_class)
    X, labels = clouds(3)
    old = [at for at, label in enumerate(labels) if label != "class 2"]
    head = trial.trained(X[old], [labels[at] for at in old])
    learn(head, X, labels)
    trial.demand(
        sorted(head.classes_) == sorted(set(labels)),
        f"`classes_` is {head.classes_!r} after a label was added to {sorted({labels[at] for at in old})}",
    )
    new = [at for at, label in enumerate(labels) if label == "class 2"]
    P = trial.probabilities(head, X[new])
    trial.demand(
        {head.classes_[column] for column in P.argmax(axis=1)} == {"class 2"},
        "a label that later training added is not recognised",
    )


def check_cancellation(head_class: type[Head]) -> None:
    """A training that is closed on the way ends there, and what was copied before answers as it did."""
    trial = Trial(head_class)
    head = trial.trained()
    old, before = head.copy(), head.predict_proba(SAMPLES)
    X, labels = clouds(2, n_features=3)
    for steps in (0, 1):
        training = head.train(MatrixBatchProvider(X, labels), {})
        for _ in range(steps):
            next(training)
        training.close()
    trial.demand(
        np.array_equal(old.predict_proba(SAMPLES), before),
        "a cancelled training changed the old model",
    )
    trial.probabilities(head, SAMPLES)


def check_refusals(head_class: type[Head]) -> None:
    """Samples that are no finite numbers or of another length, and unknown parameters, are refused by name."""
    trial = Trial(head_class)
    for value in (np.nan, np.inf, -np.inf):
        X = SAMPLES.copy()
        X[4, 1] = value
        said = trial.refusal(X, {})
        trial.demand(
            said is not None and "sample 4" in said,
            f"a feature {value} must be refused with an `MLModelError` that names sample 4, not {said!r}",
        )
    said = trial.refusal(np.ones((6, 5), dtype=np.float32), {})
    trial.demand(said is not None, "samples of another length must be refused with an `MLModelError`")
    said = trial.refusal(SAMPLES, {MLParameterKey("no_such_parameter"): 1})
    trial.demand(
        said is not None and "no_such_parameter" in said,
        f"an unknown parameter must be refused with an `MLModelError` that names it, not {said!r}",
    )


def check_single_samples(head_class: type[Head]) -> None:
    """With one sample of each class no label is likelier for a sample than its own."""
    trial = Trial(head_class)
    X = np.array([[5, 0, 1], [0, 5, 1], [1, 0, 5]], dtype=np.float32)
    head = trial.trained(X, ["a", "b", "c"])
    P = trial.probabilities(head, X)
    own = P[range(3), [head.classes_.index(name) for name in "abc"]]
    trial.demand(
        bool((own >= P.max(axis=1)).all()),
        "with one sample of each class another label is likelier than a sample's own",
    )


def check_one_class(head_class: type[Head]) -> None:
    """With one class everything is of that class."""
    trial = Trial(head_class)
    head = trial.trained(SAMPLES, ["only"] * len(SAMPLES))
    P = trial.probabilities(head, SAMPLES)
    trial.demand(bool(np.allclose(P, 1.0, atol=1e-6)), "with one class its probability must be 1")


def check_constant_features(head_class: type[Head]) -> None:
    """Samples that are all alike, also all zero, are learned without numbers that are none."""
    trial = Trial(head_class)
    for value in (0.0, 2.0):
        X = np.full((6, 3), value, dtype=np.float32)
        head = trial.trained(X, LABELS)
        trial.probabilities(head, np.vstack([X, SAMPLES]))
        far = head.distances(X)
        trial.demand(
            far is None or bool(np.isfinite(far).all()),
            "`distances` of constant features must be finite",
        )


def check_many_classes(head_class: type[Head]) -> None:
    """Three hundred classes of two samples."""
    trial = Trial(head_class)
    rng = np.random.default_rng(0)
    centres = rng.gamma(0.3, 4.0, (MANY, 40))
    X = np.repeat(centres, 2, axis=0) + rng.uniform(0.0, 0.1, (2 * MANY, 40))
    labels = [f"class {at // 2:03d}" for at in range(2 * MANY)]
    head = head_class(40)
    learn(head, X.astype(np.float32), labels, trial.brief)
    trial.demand(len(head.classes_) == MANY, f"of {MANY} classes it knows {len(head.classes_)}")
    trial.probabilities(head, X[:50].astype(np.float32))


AT_REGISTRATION: tuple[HeadCheck, ...] = (
    check_declarations,
    check_untrained,
    check_progress,
    check_answers,
    check_copies,
    check_storage,
)
"""What a plugin's head is held to whenever the agent starts: milliseconds, a handful of samples."""

HEAD_CHECKS: tuple[HeadCheck, ...] = (
    *AT_REGISTRATION,
    check_recognition,
    check_repetition,
    check_order,
    check_rows,
    check_new_labels,
    check_cancellation,
    check_refusals,
    check_single_samples,
    check_one_class,
    check_constant_features,
    check_many_classes,
)
"""All of them, for the tests of whoever writes a head; each raises `PluginError` with what is wrong."""

"""Every built-in head keeps every promise, and a head that breaks one is caught by its check."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent import testing
from edge_agent.errors import MLModelError, PluginError
from edge_agent.ml.batches import MatrixBatchProvider
from edge_agent.ml.heads import conformance
from edge_agent.ml.heads.built_in import BUILT_IN_HEADS
from edge_agent.ml.heads.conformance import AT_REGISTRATION, HEAD_CHECKS, check_head
from edge_agent.ml.heads.lda import LDAHead
from edge_agent.ml.heads.protocol import Head, TrainingProgress

STRAY = np.random.default_rng(0)
"""What is random in a head that is."""


def spoilt(**changes):
    """The house's own head with something changed."""
    return type("Guest", (LDAHead,), changes)


def never_an_epoch(self, data, parameters):
    """Trains but does not say when an epoch is over."""
    yield from (one for one in LDAHead.train(self, data, parameters) if one.kind == "mini_batch")


def never_a_mini_batch(self, data, parameters):
    """Trains but reports epochs only."""
    yield from (one for one in LDAHead.train(self, data, parameters) if one.kind == "epoch")


def learns_nothing(self, data, parameters):
    """Says it trained."""
    yield TrainingProgress("mini_batch", 0, 0)
    yield TrainingProgress("epoch", 0, 0)


def at_random(self, X):
    """Answers that waver."""
    P = LDAHead.predict_proba(self, X) + 1e-3 * STRAY.random((len(X), len(self.classes_)))
    return P / P.sum(axis=1, keepdims=True) if P.size else P


def by_the_last(self, data, parameters):
    """Learns the last sample once more than the others."""
    yield from LDAHead.train(self, data, parameters)
    X, labels = data.arrays([data.count - 1])
    yield from LDAHead.train(self, MatrixBatchProvider(X * 2.0 + 1.0, labels), parameters)


def by_the_others(self, X):
    """Looks at what else is asked."""
    P = LDAHead.predict_proba(self, X)
    if len(X) < 2 or not P.size:
        return P
    P = P + P.mean(axis=0)
    return P / P.sum(axis=1, keepdims=True)


def starts_anew(self, data, parameters):
    """Keeps the first labels it saw and forgets the rest."""
    known = self.classes_
    other = LDAHead(self.n_features)
    yield from other.train(data, parameters)
    if not known:
        self.learned = other.learned


def guesses_new_labels(self, X):
    """Never says a label that was not among the first two."""
    P = LDAHead.predict_proba(self, X)
    if P.shape[1] == 3:
        P[:, 0] += P[:, 2]
        P[:, 2] = 0.0
    return P


def in_place(self, data, parameters):
    """Writes into what it shares with its copies before it has learned anything."""
    if len(self.learned.intercept) and data.count == 16:
        self.learned.coef[:] = 0.0
    yield from LDAHead.train(self, data, parameters)


def takes_anything(self, data, parameters):
    """Learns without a look at what it gets."""
    X, labels = data.arrays(range(data.count))
    X = np.resize(np.nan_to_num(X, posinf=0.0, neginf=0.0), (len(X), self.n_features))
    yield from LDAHead.train(self, MatrixBatchProvider(X, labels), parameters)


def few_classes(self, X):
    """Has no room for many."""
    P = LDAHead.predict_proba(self, X)
    return P if P.shape[1] <= 100 else P[:, :100]


def of_lengths(self, X):
    """Divides by the length of what it sees."""
    with np.errstate(invalid="ignore"):
        P = LDAHead.predict_proba(self, X) * np.linalg.norm(X, axis=1, keepdims=True)
        return P / P.sum(axis=1, keepdims=True) if P.size else P


def halves(self, X):
    """Gives a half to nobody where there is one class."""
    P = LDAHead.predict_proba(self, X)
    return P * 0.5 if P.shape[1] == 1 else P


def by_twos(self, X):
    """Needs two samples of a class."""
    P = LDAHead.predict_proba(self, X)
    return P if not P.size or self.learned.ridge else np.roll(P, 1, axis=1)


ZERO = property(lambda self: 0.0)

BREAKS = [
    ("check_declarations", {"name": ""}, "`name`"),
    ("check_declarations", {"parameter_descriptions": ["shrinkage"]}, "`parameter_descriptions`"),
    ("check_declarations", {"distances": None}, "`distances`"),
    ("check_untrained", {"n_features": property(lambda self: 7)}, "`n_features`"),
    ("check_untrained", {"classes_": property(lambda self: ("always",))}, "no classes"),
    ("check_untrained", {"predict_proba": lambda self, X: np.zeros((len(X), 1))}, "shape"),
    ("check_progress", {"train": never_an_epoch}, "epoch"),
    ("check_progress", {"train": never_a_mini_batch}, "mini-batches"),
    ("check_answers", {"train": learns_nothing}, "`classes_`"),
    ("check_answers", {"predict_proba": lambda self, X: np.ones((len(X), len(self.classes_)))}, "sum to 1"),
    ("check_answers", {"predict_proba": lambda self, X: np.full((len(X), 2), np.nan)}, "finite"),
    ("check_answers", {"distances": lambda self, X: np.zeros((len(X), 2))}, "`distances`"),
    ("check_answers", {"distances": lambda self, X: None}, "`unknown_threshold`"),
    ("check_answers", {"unknown_threshold": ZERO}, "`unknown_threshold`"),
    ("check_copies", {"copy": lambda self: self}, "copy"),
    ("check_storage", {"restore": classmethod(lambda cls, arrays, description: cls(3))}, "`restore`"),
    ("check_storage", {"arrays": lambda self: {"x": np.array([None])}}, "arrays of numbers"),
    ("check_storage", {"describe": lambda self: {"classes": {"first"}}}, "plain JSON"),
    ("check_storage", {"predict_proba": at_random}, "predict the same"),
    ("check_recognition", {"predict_proba": lambda self, X: np.full((len(X), 2), 0.5)}, "are answered"),
    ("check_repetition", {"predict_proba": at_random}, "the same samples"),
    ("check_order", {"train": by_the_last}, "another order"),
    ("check_rows", {"predict_proba": by_the_others}, "alone and among others"),
    ("check_new_labels", {"train": starts_anew}, "after a label was added"),
    ("check_new_labels", {"predict_proba": guesses_new_labels}, "not recognised"),
    ("check_cancellation", {"train": in_place, "order": 1}, "cancelled training changed"),
    ("check_refusals", {"train": takes_anything}, "names sample 4"),
    ("check_single_samples", {"predict_proba": by_twos}, "another label is likelier"),
    ("check_one_class", {"predict_proba": halves}, "sum to 1"),
    ("check_constant_features", {"predict_proba": of_lengths}, "finite"),
    ("check_many_classes", {"predict_proba": few_classes}, "300 classes"),
]


@pytest.mark.parametrize("check", HEAD_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", sorted(BUILT_IN_HEADS))
def test_every_built_in_head_keeps_every_promise(name, check):
    """The checks that plugins' heads are held to hold for the house's own."""
    check(BUILT_IN_HEADS[name])


@pytest.mark.parametrize(("check", "changes", "says"), BREAKS)
def test_a_head_that_breaks_a_promise_is_caught(check, changes, says):
    """The complaint names the head and what it does otherwise; without the change there is none."""
    with pytest.raises(PluginError, match=f"head Guest: .*{says}"):
        getattr(conformance, check)(spoilt(**changes))
    getattr(conformance, check)(spoilt())


def test_every_check_has_a_head_that_breaks_it():
    """No check is there that would catch nothing."""
    assert {check for check, _, _ in BREAKS} == {check.__name__ for check in HEAD_CHECKS}


def test_all_checks_at_once_and_those_at_registration():
    """`check_head` takes all, or those given; what is asked at every start is among them."""
    late = spoilt(predict_proba=few_classes)

    check_head(late, AT_REGISTRATION)
    with pytest.raises(PluginError, match="300 classes"):
        check_head(late)
    assert set(AT_REGISTRATION) < set(HEAD_CHECKS)
    assert isinstance(LDAHead(3), Head)


def test_the_kit_for_tests_offers_them():
    """Whoever writes a plugin takes them from `edge_agent.testing`."""
    assert testing.HEAD_CHECKS is HEAD_CHECKS
    assert testing.check_head is check_head


def test_a_head_that_minds_the_order_is_free_to():
    """Only one that says `order_matters = False` is held to it."""
    conformance.check_order(spoilt(train=by_the_last, order_matters=True))


def test_other_refusals_are_demanded_too():
    """Samples of another length, and parameters nobody knows."""

    def train(self, data, parameters):
        known = {key: value for key, value in parameters.items() if key.name != "no_such_parameter"}
        yield from LDAHead.train(self, data, known)

    with pytest.raises(PluginError, match="unknown parameter"):
        conformance.check_refusals(spoilt(train=train))


def test_what_a_head_raises_is_not_hidden():
    """An error of the guest's own code comes through as it is."""

    def train(self, data, parameters):
        raise MLModelError(7, "no")
        yield

    with pytest.raises(MLModelError, match="no"):
        check_head(spoilt(train=train))

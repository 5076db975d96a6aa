"""What the check of a guest's head finds."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.errors import MLModelError, PluginError
from edge_agent.ml.heads.lda import LDAHead
from edge_agent.ml.heads.protocol import Head, TrainingProgress, check_head


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


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": ""}, "`name`"),
        ({"parameter_descriptions": ["shrinkage"]}, "`parameter_descriptions`"),
        ({"distances": None}, "`distances`"),
        ({"n_features": property(lambda self: 7)}, "`n_features`"),
        ({"classes_": property(lambda self: ("always",))}, "no classes"),
        ({"train": never_an_epoch}, "epoch"),
        ({"train": never_a_mini_batch}, "mini-batches"),
        ({"train": learns_nothing}, "`classes_`"),
        ({"copy": lambda self: self}, "copy"),
        ({"predict_proba": lambda self, X: np.zeros((len(X), 1))}, "shape"),
        ({"predict_proba": lambda self, X: np.full((len(X), len(self.classes_)), np.nan)}, "finite"),
        ({"predict_proba": lambda self, X: np.ones((len(X), len(self.classes_)))}, "sum to 1"),
        ({"distances": lambda self, X: np.zeros((len(X), 2))}, "`distances`"),
        ({"restore": classmethod(lambda cls, arrays, description: cls(3))}, "`restore`"),
    ],
)
def test_a_head_that_breaks_the_protocol_is_refused(changes, says):
    """The refusal names the head and what it does otherwise."""
    with pytest.raises(PluginError, match=f"head Guest: .*{says}"):
        check_head(spoilt(**changes))


def test_a_head_that_keeps_it_passes():
    """A subclass without changes is fine, and is a Head."""
    check_head(spoilt())

    assert isinstance(LDAHead(3), Head)


def test_what_a_head_raises_is_not_hidden():
    """An error of the guest's own code comes through as it is."""

    def train(self, data, parameters):
        raise MLModelError(7, "no")
        yield

    with pytest.raises(MLModelError, match="no"):
        check_head(spoilt(train=train))

"""This is where the learning methods that need no plugin are listed, and one is found by its name."""

from __future__ import annotations

from collections.abc import Mapping

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.heads.knn import KNearestNeighborsHead
from edge_agent.ml.heads.lda import LDAHead
from edge_agent.ml.heads.network import NeuralNetworkHead
from edge_agent.ml.heads.protocol import Head
from edge_agent.ml.heads.softmax import SoftmaxHead

BUILT_IN_HEADS: Mapping[str, type[Head]] = {
    LDAHead.name: LDAHead,
    SoftmaxHead.name: SoftmaxHead,
    KNearestNeighborsHead.name: KNearestNeighborsHead,
    NeuralNetworkHead.name: NeuralNetworkHead,
}


def head_named(name: str, heads: Mapping[str, type[Head]] | None) -> type[Head]:
    """The learning method of a name, among `heads` or the built-in ones.

    Raises `MLModelError` CUSTOM_MODEL for one that is not there.
    """
    known = BUILT_IN_HEADS if heads is None else heads
    if name not in known:
        raise MLModelError(
            MLModelErrorCode.CUSTOM_MODEL,
            f"the head {name!r} is not known here (known: {', '.join(sorted(known))}); is its plugin there?",
        )
    return known[name]

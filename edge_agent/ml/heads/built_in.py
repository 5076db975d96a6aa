"""This is where the learning methods that need no plugin are listed, and one is found by its name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.heads.gradient_descent import AdamHead, MLPHead, SGDHead
from edge_agent.ml.heads.knn import KNearestNeighborsHead
from edge_agent.ml.heads.lda import LDAHead
from edge_agent.ml.heads.logistic import LogisticHead
from edge_agent.ml.heads.mixed import AutoHead, LDARidgeHead, NearestMeanHead, RidgeHead
from edge_agent.ml.heads.network import NeuralNetworkHead
from edge_agent.ml.heads.protocol import FileHead, Head
from edge_agent.ml.heads.softmax import SoftmaxHead

BUILT_IN_HEADS: Mapping[str, type[Head]] = {
    AutoHead.name: AutoHead,
    LDAHead.name: LDAHead,
    LDARidgeHead.name: LDARidgeHead,
    RidgeHead.name: RidgeHead,
    NearestMeanHead.name: NearestMeanHead,
    SoftmaxHead.name: SoftmaxHead,
    LogisticHead.name: LogisticHead,
    KNearestNeighborsHead.name: KNearestNeighborsHead,
    NeuralNetworkHead.name: NeuralNetworkHead,
    SGDHead.name: SGDHead,
    AdamHead.name: AdamHead,
    MLPHead.name: MLPHead,
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


def file_reader(path: Path, heads: Mapping[str, type[Head]] | None) -> Callable[[Path], Any] | None:
    """What makes a head from such a file, None for a directory and for what is not there.

    Raises `MLModelError` IO for a file that no head reads.
    """
    if not path.is_file():
        return None
    known: Iterable[object] = (BUILT_IN_HEADS if heads is None else heads).values()
    readers = {one.file_suffix: one.from_file for one in known if isinstance(one, FileHead)}
    if path.suffix.lower() not in readers:
        raise MLModelError(
            MLModelErrorCode.IO,
            f"{path}: is a file, not the directory of a model, and no head given reads such files"
            f" (those that can be read: {', '.join(sorted(readers)) or 'none'})",
        )
    return readers[path.suffix.lower()]

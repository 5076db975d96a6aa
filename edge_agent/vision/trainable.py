"""This is where a TFLite model that carries its own training is trained, asked, saved and restored."""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import DamagedError, ExtractorError, MLModelError, MLModelErrorCode
from edge_agent.ml.estimates import softmax
from edge_agent.ml.package import package_path
from edge_agent.vision.graph import read_graph
from edge_agent.vision.runtime import PortFacts, RuntimeFacts, SignatureInterpreter, load_signatures
from edge_agent.vision.signatures import (
    BY_VALUE,
    INFER,
    TRAIN,
    refuse_foreign_operators,
    refused,
    training_layout,
    weight_signatures,
)
from edge_agent.vision.trial import try_model

_ROWS = 512
_CHECKPOINT = "checkpoint"
_SUM_TOLERANCE = 1e-3


class TrainableModel:
    """A `.tflite` file with the signatures `train`, `infer` and either `get_weights` and `set_weights` or
    `save` and `restore`. The file is read once and never written; where `data` is given these are its bytes
    and `path` is only what errors call it. A file is run in a child process first: a damaged one can end the
    process it runs in. Bytes that are given are taken to have been tried.

    `layout` says what the signatures take and give (see `training_layout`). Methods may be called from any
    thread; one runs at a time.

    Raises `MLModelError` at construction: IO for a file that cannot be read or is damaged, UPDATE for one
    that lacks a signature or has one that is not understood, and for training that needs Select TF operators,
    which are named; CUSTOM_LAYER for other operators that are not built in. The operators are looked at
    before native code sees the file.
    """

    def __init__(
        self, path: Path | str, *, data: bytes | None = None, runtime: str = "auto", threads: int = 1
    ) -> None:
        name = str(path)
        tried = data is not None
        if data is None:
            try:
                data = package_path(path).read_bytes()
            except OSError as error:
                raise MLModelError(
                    MLModelErrorCode.IO, f"{name}: cannot be read: {error.strerror or error}"
                ) from error
        self.name = name
        self.data = data
        """The bytes of the file."""
        self.sha256 = hashlib.sha256(data).hexdigest()
        self._lock = threading.Lock()
        try:
            graph = read_graph(data)
            self._get, self._set = weight_signatures(graph.signatures)
            refuse_foreign_operators(graph, (TRAIN, INFER, self._get, self._set))
            if not tried:
                try_model(data, runtime=runtime)
            self._interpreter = load_signatures(data, runtime=runtime, threads=threads)
            self.layout = training_layout(self._interpreter.inputs, self._interpreter.outputs)
            self._weights = _weights_of(self._interpreter, self._get, self._set)
        except MLModelError as error:
            raise MLModelError(error.code, f"{name}: {error}") from None
        except DamagedError as error:
            raise MLModelError(MLModelErrorCode.IO, f"{name}: damaged: {error}") from error
        except ExtractorError as error:
            raise MLModelError(MLModelErrorCode.IO, f"{name}: {error}") from error

    @property
    def runtime(self) -> RuntimeFacts:
        """Which runtime runs it."""
        return self._interpreter.facts

    def train(self, x: NDArray[Any], y: NDArray[Any], *, learning_rate: float | None = None) -> float:
        """One step on samples [n, n_features] and their classes [n] (columns of `infer`) or values [n].

        The answer is the loss, as the model counts it. Where the model takes a learning rate it must be
        given, elsewhere it must not. Raises `MLModelError`: FEATURE_TYPE for arrays of other shapes, types or
        classes, PARAMETERS for the learning rate, UPDATE when the runtime refuses or the loss is not finite.
        """
        layout = self.layout
        tensors = {layout.features: self._samples(x), layout.target: self._targets(y, len(x))}
        if layout.train_rows not in (None, len(x)) or not len(x):
            expected = layout.train_rows or "at least one"
            raise self._wrong(f"{len(x)} samples were given, a step takes {expected}")
        if (learning_rate is None) != (layout.learning_rate is None):
            has = "no" if layout.learning_rate is None else "a"
            raise MLModelError(
                MLModelErrorCode.PARAMETERS, f"{self.name}: {TRAIN} takes {has} parameter learning_rate"
            )
        if layout.learning_rate is not None:
            port = self._interpreter.inputs[TRAIN][layout.learning_rate]
            rate = np.full(_shape(port), learning_rate, dtype=port.dtype)
            tensors[layout.learning_rate] = rate
        loss = self._call(TRAIN, tensors)[layout.loss]
        if not np.isfinite(loss).all():
            raise MLModelError(
                MLModelErrorCode.UPDATE,
                f"{self.name}: the loss is not finite; try smaller numbers or a lower learning_rate",
            )
        return float(loss.mean())

    def infer(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """What the model says [n, n_outputs] of samples [n, n_features]; raises as `train`."""
        layout = self.layout
        samples = self._samples(x)
        rows = layout.infer_rows or _ROWS
        answers = []
        for start in range(0, len(samples), rows):
            part = samples[start : start + rows]
            n = len(part)
            if layout.infer_rows:
                part = np.concatenate([part, np.zeros((rows - n, *part.shape[1:]), part.dtype)])
            answer = self._call(INFER, {layout.features: part})[layout.output]
            if answer.size != len(part) * layout.n_outputs:
                raise self._wrong(
                    f"{INFER} answered an array of shape {answer.shape} for {len(part)} samples"
                )
            answers.append(answer.reshape(len(part), layout.n_outputs)[:n])
        return np.concatenate(answers) if answers else np.zeros((0, layout.n_outputs), np.float32)

    def probabilities(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """The same for a classifier, as probabilities [n, n_outputs] whose rows sum to 1.

        Raises as `train`, and `MLModelError` UPDATE when the model's answers are no probabilities.
        """
        P = self.infer(x).astype(np.float64)
        if self.layout.answers == "logits":
            return softmax(P)
        good = np.isfinite(P).all() and (P >= 0.0).all()
        if not good or (np.abs(P.sum(axis=1) - 1.0) > _SUM_TOLERANCE).any():
            raise MLModelError(
                MLModelErrorCode.UPDATE,
                f"{self.name}: what {INFER} gives as {self.layout.output!r} are no probabilities;"
                " an output of scores is named 'logits'",
            )
        return np.asarray(P / P.sum(axis=1, keepdims=True), dtype=np.float64)

    def weights(self) -> dict[str, NDArray[Any]]:
        """All that is learned, by name; for `set_weights` of this or another model of the same file."""
        if self._get == BY_VALUE[0]:
            answer = self._call(self._get, {})
            return {name: answer[name] for name in self._weights}
        with tempfile.TemporaryDirectory() as folder:
            self._call(self._get, self._checkpoint(self._get, folder))
            files = sorted(path for path in Path(folder).iterdir() if path.is_file())
            return {path.name: np.frombuffer(path.read_bytes(), np.uint8) for path in files}

    def set_weights(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Replace all that is learned.

        Raises `MLModelError` IO unless these are the weights of such a model, UPDATE when the runtime refuses
        them.
        """
        if self._set == BY_VALUE[1]:
            self._call(self._set, _fitting(weights, self._weights, self.name))
            return
        with tempfile.TemporaryDirectory() as folder:
            for name, array in weights.items():
                Path(folder, Path(name).name).write_bytes(array.tobytes())
            self._call(self._set, self._checkpoint(self._set, folder))

    def _checkpoint(self, signature: str, folder: str) -> dict[str, NDArray[Any]]:
        (name, port), *_ = self._interpreter.inputs[signature].items()
        path = str(Path(folder, _CHECKPOINT)).encode()
        return {name: np.full(_shape(port), path)}

    def _samples(self, x: NDArray[Any]) -> NDArray[np.float32]:
        layout = self.layout
        samples = np.asarray(x)
        if samples.ndim != 2 or samples.shape[1] != layout.n_features or samples.dtype.kind not in "iuf":
            raise self._wrong(
                f"expected samples of shape (n, {layout.n_features}),"
                f" got {samples.dtype} of shape {samples.shape}"
            )
        with np.errstate(over="ignore"):  # what does not fit becomes infinite and is refused just below
            samples = np.ascontiguousarray(samples, dtype=np.float32)
        if not np.isfinite(samples).all():
            raise self._wrong("a feature is not a finite number")
        return samples.reshape(len(samples), *layout.sample_shape)

    def _targets(self, y: NDArray[Any], n: int) -> NDArray[Any]:
        layout = self.layout
        y = np.asarray(y)
        kinds = "iu" if layout.is_classifier else "iuf"
        if y.shape != (n,) or y.dtype.kind not in kinds:
            raise self._wrong(f"expected {n} targets, got {y.dtype} of shape {y.shape}")
        if layout.is_classifier and n and not (y.min() >= 0 and y.max() < layout.n_outputs):
            raise self._wrong(
                f"expected classes from 0 to {layout.n_outputs - 1}, got {y.min()} to {y.max()}"
            )
        port = layout.target_port
        targets = np.eye(layout.n_outputs, dtype=port.dtype)[y] if layout.target_kind == "one_hot" else y
        return np.ascontiguousarray(targets, dtype=port.dtype).reshape(n, *_shape(port)[1:])

    def _call(self, signature: str, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        try:
            with self._lock:
                return self._interpreter.call(signature, **tensors)
        except ExtractorError as error:
            raise MLModelError(MLModelErrorCode.UPDATE, f"{self.name}: {error}") from error

    def _wrong(self, problem: str) -> MLModelError:
        return MLModelError(MLModelErrorCode.FEATURE_TYPE, f"{self.name}: {problem}")


def _shape(port: PortFacts) -> tuple[int, ...]:
    """A port's shape, one for every length that is free."""
    return tuple(1 if side is None else side for side in port.shape)


def _weights_of(interpreter: SignatureInterpreter, get: str, put: str) -> dict[str, PortFacts]:
    """The weights that go in by value; raises `MLModelError` UPDATE unless the same ones come out."""
    taken, given = interpreter.inputs[put], interpreter.outputs[get]
    if get != BY_VALUE[0]:
        if len(taken) != 1 or len(interpreter.inputs[get]) != 1:
            raise refused(f"{get} and {put} must each take one tensor, the path of a file")
        return {}
    if interpreter.inputs[get]:
        raise refused(f"{get} must take nothing")
    if not taken or not set(taken) <= set(given):
        raise refused(f"{put} takes {', '.join(taken) or 'nothing'} and {get} gives {', '.join(given)}")
    return {name: taken[name] for name in sorted(taken)}


def _fitting(
    weights: Mapping[str, NDArray[Any]], ports: Mapping[str, PortFacts], name: str
) -> dict[str, NDArray[Any]]:
    if set(weights) != set(ports):
        raise MLModelError(
            MLModelErrorCode.IO,
            f"{name}: the weights {', '.join(sorted(weights)) or 'none'} were given,"
            f" it has {', '.join(sorted(ports))}",
        )
    for key, port in ports.items():
        array = weights[key]
        fits = len(array.shape) == len(port.shape) and all(
            want is None or have == want for have, want in zip(array.shape, port.shape, strict=True)
        )
        if not fits or array.dtype != port.dtype or not np.isfinite(array).all():
            raise MLModelError(
                MLModelErrorCode.IO,
                f"{name}: the weights {key!r} are {array.dtype} of shape {array.shape},"
                f" expected finite {port.dtype} of shape {port.shape}",
            )
    return {key: np.ascontiguousarray(weights[key]) for key in ports}

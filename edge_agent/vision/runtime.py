"""This is where the one TFLite runtime that is installed is opened, whichever it is."""

from __future__ import annotations

import ctypes
import importlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_agent.errors import DelegateError, ExtractorError
from edge_agent.vision.delegate_spec import DelegateUse

RUNTIMES = {
    "litert": ("ai_edge_litert.interpreter", "ai-edge-litert"),
    "tflite-runtime": ("tflite_runtime.interpreter", "tflite-runtime"),
}
"""Each runtime's module and distribution; the first has by far the faster integer kernels on x86."""


_MOST_WORDS = 300
"""Letters of what a runtime says: it may say the same of every tensor."""


@dataclass(frozen=True)
class RuntimeFacts:
    """Which runtime runs."""

    name: str
    version: str

    @property
    def release(self) -> str:
        """Name with major and minor version, as in `litert-2.3`: what features may depend on."""
        return f"{self.name}-{'.'.join(self.version.split('.')[:2])}"


@dataclass(frozen=True)
class TensorFacts:
    """What one tensor holds; a `scale` of 0 means that it is not quantised."""

    index: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: float
    zero_point: int


Progress = Callable[[str], None]
"""Is told which part of the work begins, in a word: whoever watches knows then in which one it ended."""


class Interpreter:
    """A loaded model with one input and one output, or one that is named; made by `load_interpreter`."""

    def __init__(
        self,
        native: Any,
        facts: RuntimeFacts,
        output: str | None = None,
        taken: tuple[int, int] | None = None,
    ) -> None:
        self._native = native
        self.facts = facts
        self.taken = taken
        """How many operators a delegate took, and of how many; None where the runtime does not tell."""
        self.input = _only(native.get_input_details(), "input")
        self.output = _only(_named(native.get_output_details(), output), "output")

    def run(self, tensor: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The output tensor, a copy of its own, for one input tensor of the input's shape and type.

        Raises `ExtractorError` with the runtime's own words when it refuses.
        """
        try:
            self._native.set_tensor(self.input.index, tensor)
            self._native.invoke()
            return np.asarray(self._native.get_tensor(self.output.index))
        except (ValueError, RuntimeError) as error:
            raise ExtractorError(f"{self.facts.name} could not run the extractor: {_words(error)}") from None


@dataclass(frozen=True)
class PortFacts:
    """What one input or output of a signature holds; a length of None in `shape` is free."""

    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]


class SignatureInterpreter:
    """A loaded model that is called by the names of its signatures; made by `load_signatures`.

    What a signature learns stays in the interpreter. Not for two threads at a time.
    """

    def __init__(self, native: Any, facts: RuntimeFacts) -> None:
        self._native = native
        self.facts = facts
        runners = {name: native.get_signature_runner(name) for name in native.get_signature_list()}
        self._runners: dict[str, Any] = runners
        self.inputs = {name: _ports(runner.get_input_details()) for name, runner in runners.items()}
        """What each signature takes, by name."""
        self.outputs = {name: _ports(runner.get_output_details()) for name, runner in runners.items()}
        """What each signature gives, by name."""

    def call(self, signature: str, **tensors: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        """All outputs, copies of their own, for all inputs, which must be of their ports' shapes and types.

        Raises `ExtractorError` with the runtime's own words when it refuses.
        """
        try:
            answer = self._runners[signature](**tensors)
        except (ValueError, RuntimeError) as error:
            raise ExtractorError(f"{self.facts.name} could not run {signature!r}: {_words(error)}") from None
        return {name: np.array(value) for name, value in answer.items()}


def load_signatures(model: bytes, *, runtime: str = "auto", threads: int = 1) -> SignatureInterpreter:
    """Load a model whose parts are called by name, from the bytes of its file; as `load_interpreter`."""
    module, facts = _open_runtime(runtime)
    try:
        return SignatureInterpreter(module.Interpreter(model_content=model, num_threads=threads), facts)
    except (ValueError, RuntimeError, TypeError, OSError) as error:
        raise ExtractorError(f"{facts.name} {facts.version} refused the model: {_words(error)}") from None


def load_interpreter(
    model: bytes,
    *,
    runtime: str = "auto",
    threads: int = 1,
    output: str | None = None,
    delegate: DelegateUse | None = None,
    progress: Progress = lambda _stage: None,
) -> Interpreter:
    """Load a model from the bytes of its file.

    The bytes are given, not a path, so that what was checked is what native code sees. `runtime` is a key of
    `RUNTIMES` or `auto` for the first that is installed; `threads` the number of threads of the interpreter;
    `output` the name of the tensor that is the output, None for the only one there is; `delegate` the library that
    is to run as much of it as it can. `progress` hears of the stages `load`, `create` and `prepare`.

    Raises `ExtractorError` when no runtime is installed or the model is refused, `DelegateError` when the delegate
    cannot be loaded or refuses.
    """
    module, facts = _open_runtime(runtime)
    more = {}
    if delegate is not None:
        more = {"experimental_delegates": [_open_delegate(module, delegate, progress)]}
    progress("prepare")
    taken = None
    try:
        native = module.Interpreter(model_content=model, num_threads=threads, **more)
        if delegate is not None:
            # Before the runtime's own delegate takes what is left, which would be counted as well.
            taken = _taken(native)
        native.allocate_tensors()
    except (ValueError, RuntimeError, TypeError, OSError) as error:
        raise ExtractorError(f"{facts.name} {facts.version} refused the extractor: {_words(error)}") from None
    return Interpreter(native, facts, output, taken)


def _open_delegate(module: ModuleType, use: DelegateUse, progress: Progress) -> Any:
    progress("load")
    try:
        # By itself, so that a library that is missing another one is told apart from one that refuses.
        ctypes.CDLL(use.library)
        progress("create")
        return module.load_delegate(use.library, dict(use.options))
    except (ValueError, RuntimeError, TypeError, OSError, AttributeError) as error:
        words = " ".join(str(error).split()).removeprefix(f"Failed to load delegate from {use.library}")
        raise DelegateError(words.strip()) from None


def _taken(native: Any) -> tuple[int, int] | None:
    """Operators of the model that now lie behind a delegate's, and all operators.

    A delegate's operator is listed behind those it replaced, with what goes in and comes out; the ones between are
    those that make its outputs from its inputs. Both runtimes list them so, by a method that is not public.
    """
    try:
        listed = native._get_ops_details()  # noqa: SLF001  # there is no other way to ask
        plain = [operator for operator in listed if operator["op_name"] != "DELEGATE"]
        makers = {int(tensor): operator for operator in plain for tensor in operator["outputs"]}
        taken = set()
        for kernel in (operator for operator in listed if operator["op_name"] == "DELEGATE"):
            given = {int(tensor) for tensor in kernel["inputs"]}
            wanted = [int(tensor) for tensor in kernel["outputs"]]
            while wanted:
                maker = makers.get(wanted.pop())
                if maker is not None and maker["index"] not in taken:
                    taken.add(maker["index"])
                    wanted += [int(tensor) for tensor in maker["inputs"] if int(tensor) not in given]
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError):
        return None
    return len(taken), len(plain)


def run_whole(
    model: bytes, tensor: npt.NDArray[Any], *, inner: int | None = None, runtime: str = "auto"
) -> list[npt.NDArray[Any]]:
    """All outputs of a model with one input, or one inner tensor: loaded, run once, and slow.

    An inner tensor is read with `experimental_preserve_all_tensors`: without it some files give what another
    step left in its place. Raises `ExtractorError` with the runtime's own words when it refuses.
    """
    module, facts = _open_runtime(runtime)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the memory that this takes
            native = module.Interpreter(
                model_content=model, experimental_preserve_all_tensors=inner is not None
            )
        native.allocate_tensors()
        native.set_tensor(native.get_input_details()[0]["index"], tensor)
        native.invoke()
        wanted = [inner] if inner is not None else [one["index"] for one in native.get_output_details()]
        return [np.array(native.get_tensor(index)) for index in wanted]
    except (ValueError, RuntimeError, TypeError, OSError) as error:
        raise ExtractorError(f"{facts.name} {facts.version} refused the model: {_words(error)}") from None


def _open_runtime(runtime: str) -> tuple[ModuleType, RuntimeFacts]:
    wanted = list(RUNTIMES) if runtime == "auto" else [runtime]
    problems = []
    for name in wanted:
        if name not in RUNTIMES:
            raise ExtractorError(f"unknown runtime {name!r}; known are {', '.join(RUNTIMES)}")
        module_name, distribution = RUNTIMES[name]
        try:
            module = importlib.import_module(module_name)
            return module, RuntimeFacts(name, _version(module, distribution))
        except (ImportError, AttributeError) as error:
            # AttributeError is what a runtime built against numpy 1 raises under numpy 2.
            problems.append(f"{distribution}: {_words(error)}")
    raise ExtractorError(
        f"no TFLite runtime can be loaded ({'; '.join(problems)}); install {RUNTIMES[wanted[0]][1]}"
    )


@cache
def _version(module: ModuleType, distribution: str) -> str:
    """The version of the distribution a module came with, as the name of the folder beside its package says it.

    Where that folder has another form or place, as Debian's packages have, it is asked for in the usual way, which
    costs an engine that is about to start as much time as opening its model. Looked at once: later the process may
    not read folders any more.
    """
    site = Path(str(module.__file__)).parents[1]
    folders = list(site.glob(f"{distribution.replace('-', '_')}-*.dist-info"))
    if len(folders) == 1:
        return folders[0].stem.partition("-")[2]
    from importlib import metadata

    return metadata.version(distribution)


def _named(details: list[dict[str, Any]], name: str | None) -> list[dict[str, Any]]:
    """The output of a name; all of them for None."""
    found = [detail for detail in details if name in (None, detail["name"])]
    if not found:
        known = ", ".join(repr(detail["name"]) for detail in details)
        raise ExtractorError(f"the model has no output {name!r}; it has {known}")
    return found


def _only(details: list[dict[str, Any]], what: str) -> TensorFacts:
    if len(details) != 1:
        known = ", ".join(repr(detail["name"]) for detail in details)
        raise ExtractorError(f"an extractor has one {what}; this model has {len(details)}: {known}")
    detail = details[0]
    scale, zero_point = detail["quantization"]
    dtype = np.dtype(detail["dtype"])
    quantised = dtype.kind in "iu"
    if not quantised and dtype.kind != "f":
        raise ExtractorError(f"the model's {what} holds {dtype}, neither floats nor quantised integers")
    if quantised and not scale > 0:
        raise ExtractorError(f"the model's {what} holds {dtype} without a scale of quantisation")
    return TensorFacts(
        index=int(detail["index"]),
        shape=tuple(int(side) for side in detail["shape"]),
        dtype=dtype,
        scale=float(scale) if quantised else 0.0,
        zero_point=int(zero_point) if quantised else 0,
    )


def _ports(details: dict[str, dict[str, Any]]) -> dict[str, PortFacts]:
    ports = {}
    for name, detail in details.items():
        free = detail["shape_signature"]
        # A file without free lengths may leave the second list empty.
        sides = free if len(free) == len(detail["shape"]) else detail["shape"]
        shape = tuple(None if side < 0 else int(side) for side in sides)
        ports[str(name)] = PortFacts(shape, np.dtype(detail["dtype"]))
    return ports


def _words(error: Exception) -> str:
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= _MOST_WORDS else f"{words[:_MOST_WORDS]}..."

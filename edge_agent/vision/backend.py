"""This is where an extractor is opened by the backend that its card names, which may be a plugin's."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edge_agent.errors import ExtractorError
from edge_agent.vision.delegate_spec import DelegateUse
from edge_agent.vision.extractor import FeatureExtractor
from edge_agent.vision.preprocessing import TFLITE, ExtractorCard, fingerprint_start
from edge_agent.vision.runtime import RuntimeFacts


class Extractor(Protocol):
    """What runs in the engine process and turns pictures into features.

    A plugin's is a class that is made with the card and `threads`, the number of threads it may use. Whatever it
    raises then, or at its first picture, keeps the engine from starting, with its words as the reason.
    """

    runtime: RuntimeFacts
    """Which runtime it uses."""
    delegate: str
    """What computes, in a word, such as `cpu`; the status shows it."""
    fingerprint: str
    """Equal for two extractors exactly when their features may be compared; see `fingerprint_of`."""
    notice: str
    """What the owner should know, in one line, such as that it is slower than asked for; mostly empty."""

    def extract(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Features of shape [n_features] for RGB pixels uint8 of shape [height, width, 3] as the card has them.

        An `ExtractorError` is the answer for this picture, which is tried again later; anything else ends the engine
        process, which is started again as after a crash.
        """


def open_extractor(
    card: ExtractorCard,
    *,
    runtime: str = "auto",
    threads: int = 1,
    delegate: DelegateUse | None = None,
) -> Extractor:
    """Open the extractor of a card and run it once on a grey picture, so that the first real one does not wait.

    A `delegate` is for the built-in backend; a plugin's has its own ways to use an accelerator.

    Raises `ExtractorError` with one line that names what is wrong, also where a plugin's backend raises anything.
    """
    if card.backend == TFLITE:
        built_in = FeatureExtractor(card, runtime=runtime, threads=threads, delegate=delegate)
        built_in.warm_up()
        return built_in
    backend = _backend(card)
    try:
        guest = GuestExtractor(card, backend(card, threads=threads))
    except ExtractorError:
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # also `sys.exit()`, and what a library in Rust raises when it panics
        raise ExtractorError(f"{_of(card)} failed: {_words(error)}") from error
    try_out(guest, card)
    return guest


def try_out(extractor: Extractor, card: ExtractorCard) -> None:
    """Have it look at a grey picture; raises `ExtractorError`, also where a plugin's backend raises anything."""
    try:
        extractor.extract(np.full((card.height, card.width, 3), 127, dtype=np.uint8))
    except ExtractorError:
        raise
    except Exception as error:
        raise ExtractorError(f"{_of(card)} failed: {_words(error)}") from error


class GuestExtractor:
    """A plugin's extractor, held to what extractors promise."""

    def __init__(self, card: ExtractorCard, guest: Any) -> None:
        _check(guest, card)
        self._card = card
        self._guest = guest
        self.runtime: RuntimeFacts = guest.runtime
        self.delegate: str = guest.delegate
        self.fingerprint: str = guest.fingerprint
        self.notice: str = guest.notice

    def extract(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """As `Extractor` says; features of another shape or type, or that are no finite numbers, are refused."""
        given = self._guest.extract(pixels)
        shape, dtype = (self._card.n_features,), np.dtype(np.float32)
        if not isinstance(given, np.ndarray) or (given.shape, given.dtype) != (shape, dtype):
            kind = f"{given.dtype} {given.shape}" if isinstance(given, np.ndarray) else type(given).__name__
            raise ExtractorError(f"{_of(self._card)} gave {kind}; expected features {dtype} {shape}")
        if not np.all(np.isfinite(given)):
            raise ExtractorError(f"{_of(self._card)} gave features that are not finite numbers")
        return given


def _backend(card: ExtractorCard) -> Callable[..., Any]:
    module, _, name = card.backend.partition(":")
    try:
        found: Callable[..., Any] = getattr(import_module(module), name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise ExtractorError(
            f"{_of(card)} cannot be loaded: {_words(error)}; install its plugin, and what that needs, where the"
            " agent is installed"
        ) from error
    if not callable(found):
        raise ExtractorError(f"{_of(card)} is {found!r}; expected a class")
    return found


def _check(extractor: Any, card: ExtractorCard) -> None:
    """Say what a backend's author forgot."""
    kinds = {"runtime": RuntimeFacts, "delegate": str, "fingerprint": str, "notice": str}
    for name, kind in kinds.items():
        if not isinstance(value := getattr(extractor, name, None), kind):
            raise ExtractorError(f"{_of(card)}: `{name}` is {value!r}; expected {kind.__name__}")
    if not extractor.fingerprint.startswith(fingerprint_start(card)):
        raise ExtractorError(
            f"{_of(card)}: `fingerprint` is {extractor.fingerprint!r}; expected one that"
            f" edge_agent.vision.preprocessing.fingerprint_of makes, with {fingerprint_start(card)!r} in front"
        )


def _of(card: ExtractorCard) -> str:
    return f"extractor {card.name!r}: its backend {card.backend!r}"


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")

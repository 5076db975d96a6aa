"""This is where the engine process does its work: pictures in by file descriptor, features out, in order.

It holds all native code that may die on a stranger's picture or in a vendor's library. It ends when the agent
does: the other end of its socket is then closed, and nothing else keeps it alive.
"""

from __future__ import annotations

import math
import os
import queue
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from edge_agent.config import ExtractorConfig, PicturesConfig
from edge_agent.errors import ExtractorError
from edge_agent.ml.augmentation import AugmentationSettings
from edge_agent.vision import augmentation, images, sandbox, wire
from edge_agent.vision.abreast import most_abreast
from edge_agent.vision.backend import Extractor, open_extractor, try_out
from edge_agent.vision.canary import Canary
from edge_agent.vision.confinement import Confinement
from edge_agent.vision.delegate_spec import DelegateUse
from edge_agent.vision.extractor import FeatureExtractor
from edge_agent.vision.extractor_crew import IDLE_SECONDS, ExtractorCrew
from edge_agent.vision.kernel import Call, call_kernel
from edge_agent.vision.lanes import Lanes
from edge_agent.vision.looks import Decode, Looks, Seen
from edge_agent.vision.memory_budget import OwnRoom
from edge_agent.vision.preprocessing import TFLITE, ExtractorCard
from edge_agent.vision.spare_memory import give_back

AHEAD = 2
"""So many decoded pictures may wait for an extractor; each is only as large as the extractor's input."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent tells its engine, as JSON on the command line."""

    fd: int
    card: ExtractorCard
    pictures: PicturesConfig
    extractor: ExtractorConfig
    augmentation: AugmentationSettings | None = None
    """None: no changed copy is asked for, and what makes them is not loaded."""
    delegate: DelegateUse | None = None


def main(
    arguments: Sequence[str] | None = None, *, decode: Decode = images.decode, call: Call = call_kernel
) -> int:
    """Serve one agent until it closes its end; the exit status is 0 then, and 1 when starting failed."""
    argument = (sys.argv[1:] if arguments is None else arguments)[0]
    settings = msgspec.json.decode(argument, type=Settings, dec_hook=_path)
    # The agent decides when its engine ends: Ctrl-C and a service manager's stop are meant for the agent,
    # which may still want an answer before it closes the socket.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # The built-in one has twins beside it instead.
    alone = settings.delegate is not None or settings.card.backend != TFLITE
    with socket.socket(fileno=settings.fd) as connection:
        try:
            _allow_time(settings, settings.extractor.start_timeout_seconds)
            extractor = open_extractor(
                settings.card,
                runtime=settings.extractor.runtime,
                threads=settings.extractor.interpreter_threads if alone else 1,
                delegate=settings.delegate,
            )
            canary = _canary(settings, extractor)
            has_room = OwnRoom(settings.extractor.max_memory_mb)
            confinement = _shut_in(settings, extractor, call)
        except ExtractorError as error:
            wire.send(connection, wire.Failed(str(error) or "it refused without a word"))
            return 1
        ready = wire.Ready(
            name=settings.card.name,
            fingerprint=extractor.fingerprint,
            n_features=settings.card.n_features,
            runtime=f"{extractor.runtime.name} {extractor.runtime.version}",
            delegate=extractor.delegate,
            pid=os.getpid(),
            notice=extractor.notice,
            sandbox=confinement,
        )
        try:
            wire.send(connection, ready)
            _allow_time(settings, None)
            copies = settings.augmentation or AugmentationSettings()
            looks = Looks(settings.pictures, settings.card.size, copies, decode)
            if canary is None and isinstance(extractor, FeatureExtractor):
                _serve_abreast(
                    connection,
                    settings,
                    looks,
                    ExtractorCrew(extractor, has_room),
                    confinement,
                )
            else:
                _serve_one(connection, settings, looks, partial(_answer, extractor.extract, canary))
        except (BrokenPipeError, ConnectionResetError):
            pass  # the agent is gone; so is the reason to be here
    return 0


def _shut_in(settings: Settings, extractor: Extractor, call: Call) -> Confinement:
    """Give up what is not needed from here on; raises `ExtractorError` where the extractor cannot work so."""
    if settings.extractor.sandbox == "off":
        return Confinement()
    # What would be imported with the first picture of its kind could not be any more.
    images.rehearse(settings.pictures)
    if settings.augmentation is not None:
        augmentation.prepare()
    vendor = settings.delegate is not None or settings.card.backend != TFLITE
    library = Path(settings.delegate.library) if settings.delegate is not None else None
    confinement = sandbox.enter(
        settings.extractor, settings.pictures, vendor=vendor, library=library, call=call
    )
    if vendor:
        try:
            try_out(extractor, settings.card)
        except ExtractorError as error:
            raise ExtractorError(
                f"it works, but not in the engine's sandbox: {error}; with [extractor] sandbox"
                ' = "off" there is none'
            ) from error
    return confinement


def _serve_abreast(
    connection: socket.socket, settings: Settings, looks: Looks, crew: ExtractorCrew, confinement: Confinement
) -> None:
    """Each lane decodes a picture and has its features extracted; this thread lets go of what is not needed."""

    def work(message: wire.Picture, fd: int) -> bytes:
        _allow_cpu(settings.extractor)
        return _answer(crew.extract, None, looks.look(message, fd))

    def give(packet: bytes) -> None:
        connection.send(packet)

    Lanes(connection, most_abreast(settings.extractor), work, give, crew.close).start()
    if "nproc" in confinement.limits:
        sandbox.forbid_processes()
    crew.tend()


def _serve_one(
    connection: socket.socket, settings: Settings, looks: Looks, answer: Callable[[Seen], bytes]
) -> None:
    """Lanes decode; this thread extracts, one picture after the other, as vendors' libraries want it."""
    waiting: queue.Queue[Seen | None] = queue.Queue(maxsize=AHEAD)

    def work(message: wire.Picture, fd: int) -> Seen:
        _allow_cpu(settings.extractor)
        return looks.look(message, fd)

    Lanes(connection, most_abreast(settings.extractor), work, waiting.put, lambda: waiting.put(None)).start()
    holds_memory = False
    while True:
        try:
            seen = waiting.get(timeout=IDLE_SECONDS if holds_memory else None)
        except queue.Empty:
            give_back()
            holds_memory = False
            continue
        if seen is None:
            return
        holds_memory = True
        _allow_time(settings, settings.extractor.timeout_seconds)
        connection.send(answer(seen))
        _allow_time(settings, None)


def _allow_time(settings: Settings, seconds: float | None) -> None:
    """Let the kernel end this process where a vendor's library waits for ever, and nobody else is left to do so.

    The agent's own patience ends long before; None: no limit from here.
    """
    if settings.delegate is not None:
        signal.alarm(0 if seconds is None else math.ceil(2 * seconds) + 5)


def _allow_cpu(config: ExtractorConfig) -> None:
    """Let the kernel end this process if it computes far longer than the agent would wait.

    It matters when the agent is killed while a decoder loops: nobody else would ever end the loop.
    """
    _soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    allowed = math.ceil(time.process_time() + (most_abreast(config) + 1) * config.timeout_seconds) + 1
    if hard != resource.RLIM_INFINITY:
        allowed = min(allowed, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (allowed, hard))


def _canary(settings: Settings, extractor: Extractor) -> Canary | None:
    """What watches over a delegate."""
    if settings.delegate is None or not isinstance(extractor, FeatureExtractor):
        return None
    wanted = settings.extractor
    return Canary(
        settings.card,
        extractor,
        settings.delegate,
        runtime=wanted.runtime,
        threads=wanted.interpreter_threads,
    )


def _answer(
    extract: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]], canary: Canary | None, seen: Seen
) -> bytes:
    """The packet that answers a picture."""
    started = time.perf_counter()
    error, permanent, payload, failed = seen.error, seen.permanent, b"", False
    cosine = None
    if seen.image is not None:
        try:
            features = extract(seen.image.pixels)
            payload = features.tobytes()
            if canary is not None:
                canary.saw(seen.image.pixels, features)
        except ExtractorError as trouble:
            error, permanent, failed = str(trouble), False, True
    if canary is not None and seen.check and not failed:
        try:
            cosine = canary.cosine()
        except ExtractorError as trouble:
            error, permanent, payload, failed = str(trouble), False, b"", True
    answer = wire.Answer(
        number=seen.number,
        digest=seen.digest,
        width=seen.image.width if seen.image else 0,
        height=seen.image.height if seen.image else 0,
        error=error,
        permanent=permanent,
        seconds=seen.seconds + time.perf_counter() - started,
        failed=failed,
        private=seen.private,
        cosine=cosine,
    )
    return wire.pack(answer, payload)


def _path(kind: type, value: Any) -> Any:
    if kind is Path:
        return Path(value)
    raise NotImplementedError(kind)


if __name__ == "__main__":
    sys.exit(main())

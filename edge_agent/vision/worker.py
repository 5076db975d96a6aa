"""This is where the engine process does its work: pictures in by file descriptor, features out, in order.

It holds all native code that may die on a stranger's picture or in a vendor's library. It ends when the agent
does: the other end of its socket is then closed, and nothing else keeps it alive.
"""

from __future__ import annotations

import hashlib
import math
import os
import queue
import resource
import signal
import socket
import stat
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import msgspec

from edge_agent.config import ExtractorConfig, PicturesConfig
from edge_agent.errors import ExtractorError, ImageError
from edge_agent.ml.augmentation import AugmentationSettings
from edge_agent.vision import images, sandbox, wire
from edge_agent.vision.augmentation import augmented
from edge_agent.vision.backend import Extractor, open_extractor, try_out
from edge_agent.vision.canary import Canary
from edge_agent.vision.confinement import Confinement
from edge_agent.vision.delegate_spec import DelegateUse
from edge_agent.vision.extractor import FeatureExtractor
from edge_agent.vision.images import DecodedImage
from edge_agent.vision.kernel import Call, call_kernel
from edge_agent.vision.picture_metadata import without_metadata
from edge_agent.vision.preprocessing import TFLITE, ExtractorCard

AHEAD = 2
"""So many decoded pictures may wait for the extractor; each is only as large as the extractor's input."""


class Decode(Protocol):
    """What turns a file's bytes into pixels; see `edge_agent.vision.images.decode`."""

    def __call__(self, data: bytes, *, limits: PicturesConfig, target: tuple[int, int]) -> DecodedImage:
        """Raise `ImageError` for a picture that is refused."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent tells its engine, as JSON on the command line."""

    fd: int
    card: ExtractorCard
    pictures: PicturesConfig
    extractor: ExtractorConfig
    augmentation: AugmentationSettings = AugmentationSettings()
    delegate: DelegateUse | None = None


@dataclass(frozen=True, eq=False)
class _Seen:
    """A picture between decoding and extraction; `image` is None when it was refused."""

    number: int
    digest: str
    image: DecodedImage | None
    error: str | None
    permanent: bool
    seconds: float
    check: bool = False


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
    with socket.socket(fileno=settings.fd) as connection:
        try:
            _allow_time(settings, settings.extractor.start_timeout_seconds)
            extractor = open_extractor(
                settings.card,
                runtime=settings.extractor.runtime,
                threads=settings.extractor.threads,
                delegate=settings.delegate,
            )
            canary = _canary(settings, extractor)
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
            for seen in _decoded_ahead(connection, settings, decode, confinement):
                _allow_time(settings, settings.extractor.timeout_seconds)
                _answer(connection, extractor, canary, seen)
                _allow_time(settings, None)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the agent is gone; so is the reason to be here
    return 0


def _shut_in(settings: Settings, extractor: Extractor, call: Call) -> Confinement:
    """Give up what is not needed from here on; raises `ExtractorError` where the extractor cannot work so."""
    if settings.extractor.sandbox == "off":
        return Confinement()
    # What would be imported with the first picture of its kind could not be any more.
    images.rehearse(settings.pictures)
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


def _decoded_ahead(
    connection: socket.socket, settings: Settings, decode: Decode, confinement: Confinement
) -> Iterator[_Seen]:
    """Pictures in the order they came; the next ones are decoded while one is with the extractor."""
    waiting: queue.Queue[_Seen | None] = queue.Queue(maxsize=AHEAD)
    looks = _Looks(settings, decode)

    def read() -> None:
        try:
            while (received := wire.receive(connection)) is not None:
                message, _payload, fds = received
                assert isinstance(message, wire.Picture)
                waiting.put(looks.look(message, fds[0]))
        except ConnectionResetError:
            pass
        finally:
            # Also after a mistake in here: the process then ends instead of leaving the agent to its
            # patience.
            waiting.put(None)

    threading.Thread(target=read, name="decode", daemon=True).start()
    if "nproc" in confinement.limits:
        sandbox.forbid_processes()
    while (seen := waiting.get()) is not None:
        yield seen


class _Looks:
    """Pictures as the extractor is to see them; for changed copies, the last decoded one is remembered."""

    def __init__(self, settings: Settings, decode: Decode) -> None:
        self._settings = settings
        self._decode = decode
        self._last: _Seen | None = None
        self._last_file: tuple[int, ...] | None = None

    def look(self, message: wire.Picture, fd: int) -> _Seen:
        """What one message asks for; its file is closed."""
        started = time.perf_counter()
        _allow_cpu(self._settings.extractor)
        seen: _Seen | None = None
        try:
            # Before it is read: a file that is written meanwhile is then another one the next time.
            file = _identity(fd)
            if message.variant is not None and file == self._last_file:
                seen = self._last
            if seen is None or not seen.permanent:
                self._last, self._last_file = self._read(fd), file
                seen = self._last
        finally:
            os.close(fd)
        image = seen.image
        if image is not None and message.variant is not None:
            pixels = augmented(
                image.pixels,
                message.variant,
                self._settings.augmentation,
                seen.digest,
                proportion=image.width / image.height,
            )
            image = replace(image, pixels=pixels)
        return replace(
            seen,
            number=message.number,
            image=image,
            seconds=time.perf_counter() - started,
            check=message.check,
        )

    def _read(self, fd: int) -> _Seen:
        """The picture as it is."""
        settings = self._settings
        digest = ""
        image = None
        error: str | None = None
        permanent = True
        try:
            data = read_whole(fd, settings.pictures)
            data = without_metadata(
                data
            )  # the agent keeps the picture so: the digest is that of the file it keeps
            digest = hashlib.sha256(data).hexdigest()
            image = self._decode(data, limits=settings.pictures, target=settings.card.size)
        except ImageError as refused:
            error = str(refused)
        except OSError as trouble:
            error, permanent = f"the file cannot be read: {trouble.strerror}", False
        return _Seen(0, digest, image, error, permanent, 0.0)


def _identity(fd: int) -> tuple[int, ...]:
    """Equal for two open files when they are one file that was not written in between."""
    status = os.fstat(fd)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def read_whole(fd: int, limits: PicturesConfig) -> bytes:
    """All bytes of an open file, wherever its position is: the agent's own descriptor shares that position.

    Raises `ImageError` when it is not a regular file or longer than the limit, `OSError` when it cannot be
    read.
    """
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise ImageError("not a regular file")
    images.check_bytes(status.st_size, limits)
    data = os.pread(fd, status.st_size + 1, 0)
    while part := os.pread(fd, 1 << 20, len(data)):
        # Still being written, or read in pieces; what has grown beyond the limit is refused as well.
        data += part
        images.check_bytes(len(data), limits)
    return data


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
    allowed = math.ceil(time.process_time() + (config.threads + 1) * config.timeout_seconds) + 1
    if hard != resource.RLIM_INFINITY:
        allowed = min(allowed, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (allowed, hard))


def _canary(settings: Settings, extractor: Extractor) -> Canary | None:
    """What watches over a delegate."""
    if settings.delegate is None or not isinstance(extractor, FeatureExtractor):
        return None
    wanted = settings.extractor
    return Canary(settings.card, extractor, settings.delegate, runtime=wanted.runtime, threads=wanted.threads)


def _answer(connection: socket.socket, extractor: Extractor, canary: Canary | None, seen: _Seen) -> None:
    started = time.perf_counter()
    error, permanent, payload, failed = seen.error, seen.permanent, b"", False
    cosine = None
    if seen.image is not None:
        try:
            features = extractor.extract(seen.image.pixels)
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
        cosine=cosine,
    )
    wire.send(connection, answer, payload)


def _path(kind: type, value: Any) -> Any:
    if kind is Path:
        return Path(value)
    raise NotImplementedError(kind)


if __name__ == "__main__":
    sys.exit(main())

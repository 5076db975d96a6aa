"""This is where a file is read in the engine process and becomes pixels as the extractor is to see them."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
import time
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Protocol

from edge_agent.config import PicturesConfig
from edge_agent.errors import ImageError
from edge_agent.ml.augmentation import AugmentationSettings
from edge_agent.vision import images, wire
from edge_agent.vision.augmentation import augmented
from edge_agent.vision.images import DecodedImage
from edge_agent.vision.picture_metadata import without_metadata

REMEMBERED = 4
"""So many pictures are kept decoded, for changed copies of them; each is as large as the extractor's input."""

_File = tuple[int, ...]


class Decode(Protocol):
    """What turns a file's bytes into pixels; see `edge_agent.vision.images.decode`."""

    def __call__(self, data: bytes, *, limits: PicturesConfig, target: tuple[int, int]) -> DecodedImage:
        """Raise `ImageError` for a picture that is refused."""


@dataclass(frozen=True, eq=False)
class Seen:
    """A picture between decoding and extraction; `image` is None when it was refused."""

    number: int
    digest: str
    image: DecodedImage | None
    error: str | None
    permanent: bool
    seconds: float
    check: bool = False
    private: bool = True
    """Whether the file may say more than its pixels."""


class Looks:
    """Pictures of the size `target` (width, height); may be used from several threads.

    Changed copies of one picture, which come soon after it or after one another, are made of one decoding.
    """

    def __init__(
        self,
        limits: PicturesConfig,
        target: tuple[int, int],
        augmentation: AugmentationSettings,
        decode: Decode = images.decode,
    ) -> None:
        self._limits = limits
        self._target = target
        self._augmentation = augmentation
        self._decode = decode
        self._lock = threading.Lock()
        self._remembered: OrderedDict[_File, Future[Seen]] = OrderedDict()

    def look(self, message: wire.Picture, fd: int) -> Seen:
        """What one message asks for; its file is closed."""
        started = time.perf_counter()
        reading: Future[Seen] | None = None
        try:
            # Before it is read: a file that is written meanwhile is then another one the next time.
            file = _identity(fd)
            with self._lock:
                known = self._remembered.get(file) if message.variant is not None else None
                if known is None and message.digest:
                    reading = self._remembered[file] = Future()
                    self._remembered.move_to_end(file)
                    if len(self._remembered) > REMEMBERED:
                        self._remembered.popitem(last=False)
            seen = known.result() if known is not None else None
            if seen is None or not seen.permanent:
                # Changed copies are made by the digest.
                seen = self._read(fd, digest=message.digest or message.variant is not None)
                if reading is not None:
                    reading.set_result(seen)
                    if not seen.permanent:
                        self._forget(file, reading)
        except BaseException as error:
            if reading is not None:
                reading.set_exception(error)  # nobody waits for it for ever
            raise
        finally:
            os.close(fd)
        image = seen.image
        if image is not None and message.variant is not None:
            pixels = augmented(
                image.pixels,
                message.variant,
                self._augmentation,
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

    def _forget(self, file: _File, reading: Future[Seen]) -> None:
        """The next one reads it again, and may be luckier."""
        with self._lock:
            if self._remembered.get(file) is reading:
                del self._remembered[file]

    def _read(self, fd: int, *, digest: bool) -> Seen:
        """The picture as it is."""
        name = ""
        image = None
        error: str | None = None
        permanent = True
        private = True
        try:
            data = read_whole(fd, self._limits)
            if digest:
                # The agent keeps the picture so: the digest is that of the file it keeps.
                silent = without_metadata(data)
                private = silent is not data
                data = silent
                name = hashlib.sha256(data).hexdigest()
            image = self._decode(data, limits=self._limits, target=self._target)
        except ImageError as refused:
            error, permanent = str(refused), refused.permanent
        except OSError as trouble:
            error, permanent = f"the file cannot be read: {trouble.strerror}", False
        return Seen(0, name, image, error, permanent, 0.0, private=private)


def _identity(fd: int) -> _File:
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
    while part := os.pread(fd, 1 << 16, len(data)):
        # Still being written, or read in pieces; what has grown beyond the limit is refused as well.
        data += part
        images.check_bytes(len(data), limits)
    return data

"""What the agent and its engine say to each other survives the way there."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.errors import EngineError
from edge_agent.ml.augmentation import Variant
from edge_agent.vision import wire

ANSWER = wire.Answer(
    number=7, digest="ab" * 32, width=4000, height=3000, error=None, permanent=True, seconds=0.25
)
READY = wire.Ready(name="x", fingerprint="x:y", n_features=4, runtime="litert 2.3", delegate="cpu", pid=1)


@pytest.fixture(name="ends")
def _ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with left, right:
        yield left, right


@pytest.mark.parametrize(
    "message",
    [
        READY,
        wire.Failed("no such file: Ä\n"),
        wire.Picture(3),
        wire.Picture(4, Variant("crop", 2)),
        ANSWER,
    ],
    ids=lambda m: type(m).__name__,
)
def test_every_message_arrives_as_it_was_sent(
    ends: tuple[socket.socket, socket.socket], message: wire.Message
) -> None:
    """Each kind of message comes out equal, with its payload untouched."""
    wire.send(ends[0], message, b"\x00\xff{}")

    assert wire.receive(ends[1]) == (message, b"\x00\xff{}", [])


def test_a_plain_picture_is_asked_for_in_few_words() -> None:
    """What the agent sends says nothing about changed copies, which it never asks for."""
    assert wire.pack(wire.Picture(3))[4:] == b'{"type":"picture","number":3}'


def test_the_longest_answer_fits_into_one_packet(ends: tuple[socket.socket, socket.socket]) -> None:
    """As many features as a card may have travel in one packet, whole."""
    payload = os.urandom(4 * wire.MAX_FEATURES)

    wire.send(ends[0], ANSWER, payload)

    received = wire.receive(ends[1])
    assert received is not None
    assert received[1] == payload


def test_a_file_travels_as_a_descriptor(ends: tuple[socket.socket, socket.socket], tmp_path: Path) -> None:
    """The descriptor that arrives opens the same file, and is another one."""
    path = tmp_path / "picture"
    path.write_bytes(b"pixels")
    with path.open("rb") as file:
        wire.send(ends[0], wire.Picture(1), fd=file.fileno())
        received = wire.receive(ends[1])
        assert received is not None
        (fd,) = received[2]
        try:
            assert fd != file.fileno()
            assert os.pread(fd, 100, 0) == b"pixels"
        finally:
            os.close(fd)


def test_a_closed_end_is_none(ends: tuple[socket.socket, socket.socket]) -> None:
    """The end of the conversation is told apart from any message."""
    ends[0].close()

    assert wire.receive(ends[1]) is None


@pytest.mark.parametrize(
    "packet",
    [
        b"\x01",
        b"\xff\xff\x00\x00{}",
        b"\x02\x00\x00\x00{}",
        b"\x03\x00\x00\x00\xff\xfe\xfd",
        b"\x10\x00\x00\x00{'type': 'ready'}",
    ],
)
def test_nonsense_is_an_engine_error(packet: bytes) -> None:
    """Bytes that no `pack` made are refused in words, whatever is wrong with them."""
    with pytest.raises(EngineError):
        wire.unpack(packet)

"""This is where the words that the agent and its engine process say to each other are spelled.

One packet of an `AF_UNIX` `SOCK_SEQPACKET` pair is one message, so nothing is ever half read:

    4 bytes        length of the header, little endian
    header         JSON, one of the structs below, told apart by its `type`
    the rest       raw bytes: the float32 features of an `Answer`, else nothing

A picture never travels: its open file descriptor does (SCM_RIGHTS), so the engine needs no right to open
files.
"""

from __future__ import annotations

import os
import socket
import struct

import msgspec
from msgspec import Struct

from edge_agent.errors import EngineError
from edge_agent.ml.augmentation import Variant
from edge_agent.vision.confinement import Confinement

MAX_MESSAGE_BYTES = 128 * 1024
"""Fits into a socket's default send buffer of Linux; the longest message is an answer with `MAX_FEATURES`."""

MAX_FEATURES = 16384
"""The most float32 features that one answer can carry."""

_LENGTH = struct.Struct("<I")


class Ready(Struct, frozen=True, tag="ready"):
    """The engine has loaded its extractor, checked it and run it once."""

    name: str
    fingerprint: str
    n_features: int
    runtime: str
    delegate: str
    pid: int
    notice: str = ""
    """What the owner should know of it, such as that it is slower than asked for."""
    sandbox: Confinement = Confinement()
    """What keeps it from doing more than it should."""


class Failed(Struct, frozen=True, tag="failed"):
    """The engine cannot start, and why; it ends after saying so."""

    reason: str


class Picture(Struct, frozen=True, tag="picture", omit_defaults=True):
    """A picture to look at; its file descriptor travels in the same packet."""

    number: int
    variant: Variant | None = None
    """Which changed copy of it is looked at; None: the picture as it is."""
    check: bool = False
    """Whether the last features, which may be this picture's, are compared with the CPU's before it is answered."""
    digest: bool = True
    """Whether it is to be known by its digest, which takes as long as a tenth of the decoding of a large file."""
    abreast: int = 1
    """How many pictures may be in work at once when this one is begun, itself included."""


class Answer(Struct, frozen=True, tag="answer"):
    """What became of picture `number`; its features follow when `error` is None."""

    number: int
    digest: str
    width: int
    height: int
    error: str | None
    permanent: bool
    seconds: float
    failed: bool = False
    """Whether it was the extractor that refused, not the picture."""
    private: bool = True
    """Whether the file may say more than its pixels."""
    cosine: float | None = None
    """How far the last features agree with the CPU's, where that was asked for and could be found out."""


Message = Ready | Failed | Picture | Answer

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Message)


def pack(message: Message, payload: bytes = b"") -> bytes:
    """One packet for a message and the raw bytes that follow it."""
    header = _encoder.encode(message)
    return _LENGTH.pack(len(header)) + header + payload


def unpack(packet: bytes) -> tuple[Message, bytes]:
    """The message and the raw bytes of one packet.

    Raises `EngineError` when the packet is not one that `pack` made.
    """
    if len(packet) < _LENGTH.size:
        raise EngineError(f"a packet of {len(packet)} bytes is too short to be a message")
    (length,) = _LENGTH.unpack_from(packet)
    header, payload = packet[_LENGTH.size : _LENGTH.size + length], packet[_LENGTH.size + length :]
    if len(header) != length:
        raise EngineError(f"a message's header has {len(header)} bytes instead of {length}")
    try:
        return _decoder.decode(header), payload
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EngineError(f"a message that cannot be understood: {error}") from None


def send(connection: socket.socket, message: Message, payload: bytes = b"", *, fd: int | None = None) -> None:
    """Send one message, and a file descriptor with it when one is given.

    Raises `OSError` when the other side is gone.
    """
    packet = pack(message, payload)
    if fd is None:
        connection.send(packet)
    else:
        socket.send_fds(connection, [packet], [fd])


def receive(connection: socket.socket) -> tuple[Message, bytes, list[int]] | None:
    """Wait for one message; None when the other side has closed.

    Returns the message, its raw bytes and the file descriptors that came with it; these are the caller's to
    close. Raises `EngineError` for a packet that is no message, `OSError` when the connection broke.
    """
    packet, fds, _flags, _address = socket.recv_fds(connection, MAX_MESSAGE_BYTES, 1)
    message = None
    try:
        if not packet:
            return None
        message, payload = unpack(packet)
        return message, payload, fds
    finally:
        if message is None:
            for fd in fds:  # nobody else knows of them
                os.close(fd)

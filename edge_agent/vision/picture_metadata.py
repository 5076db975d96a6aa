"""This is where a picture file loses what it says besides its pixels: place, time, camera, comments.

Nothing is moved: each part is overwritten by as many bytes that say nothing, so that a file can be mended in its
place and has one content before and after a crash. How the camera was held stays, because the picture is turned by
it, and so do colour profiles. The layouts are those of JPEG (ITU-T T.81, annex B), PNG (RFC 2083 and its extension
eXIf), WebP (RFC 9649), GIF89a and TIFF 6.0.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_CHUNK_BYTES = 1 << 18

Part = tuple[int, bytes]
"""Where something stands, and what is to stand there instead."""


@dataclass(frozen=True)
class _Private:
    """Something that is to go; `signature` begins EXIF data in its place, and is None where there can be none."""

    offset: int
    payload: bytes
    signature: bytes | None = None


_ORIENTATION = 0x0112
_EMPTY_TIFF = struct.pack(">2sHIHI", b"MM", 42, 8, 0, 0)
_WHOLE_NUMBERS = {1: "B", 3: "H", 4: "I"}
_XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:=[\"']|>)([1-8])")
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")

# Drawing (frame, tables, scan, restart interval, number of lines) and APP0 (JFIF), APP2 with a profile, APP14 (Adobe,
# which says how colours are coded).
_JPEG_BARE = {0x01, *range(0xD0, 0xD8)}
_JPEG_KEPT = {0xE0, 0xEE, *range(0xC0, 0xD0), 0xDA, 0xDB, 0xDC, 0xDD, 0xDE, 0xDF}
_RAW_PROFILE = b"Raw profile type exif"
"""The keyword of EXIF as hexadecimal digits in a text, as programs wrote it before there was a chunk for it."""
_PNG_PRIVATE = {b"eXIf", b"tEXt", b"zTXt", b"iTXt", b"tIME"}
_PNG_NOTHING = b"noTe"
"""An ancillary chunk of a private kind: every reader passes over it."""


def without_metadata(data: bytes) -> bytes:
    """The same picture, as long as before, without what it says besides its pixels; other bytes as they are."""
    parts = list(private_parts(data))
    if not parts:
        return data
    blank = bytearray(data)
    for offset, instead in parts:
        blank[offset : offset + len(instead)] = instead
    return bytes(blank)


def picture_digest(file: BinaryIO) -> str:
    """SHA-256, in hexadecimal, of an open file without its metadata; that of its bytes when it has none.

    A file is mapped, not held in memory. Raises `OSError`.
    """
    digest = hashlib.sha256()
    if not os.fstat(file.fileno()).st_size:
        return digest.hexdigest()
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = 0
        for offset, instead in [*_parts(data), (len(data), b"")]:
            while at < offset:
                digest.update(data[at : min(at + _CHUNK_BYTES, offset)])
                at = min(at + _CHUNK_BYTES, offset)
            digest.update(instead)
            at += len(instead)
    return digest.hexdigest()


def private_parts(data: bytes | mmap.mmap) -> Iterator[Part]:
    """What is to be overwritten, from the front; nothing for a file that is silent, damaged or no picture."""
    for offset, instead in _parts(data):
        if data[offset : offset + len(instead)] != instead:
            yield offset, instead


def _parts(data: bytes | mmap.mmap) -> Iterator[Part]:
    head = data[:12]
    if head[:2] == b"\xff\xd8":
        yield from _jpeg(data)
    elif head[:8] == b"\x89PNG\r\n\x1a\n":
        yield from _png(data)
    elif head[:4] == b"RIFF" and head[8:] == b"WEBP":
        yield from _webp(data)
    elif head[:6] in (b"GIF87a", b"GIF89a"):
        yield from _gif(data)


def _jpeg(data: bytes | mmap.mmap) -> Iterator[Part]:
    found: list[_Private] = []
    at = 2
    while at >= 0 and at + 4 <= len(data):
        marker = data[at + 1]
        if data[at] != 0xFF or marker in (0x00, 0xFF):
            at = data.find(b"\xff", at + 1)  # fill bytes and rubbish, which decoders pass over too
            continue
        if marker == 0xD9:
            found.append(_Private(at + 2, data[at + 2 :]))  # further pictures and a maker's own trailer
            break
        if marker in _JPEG_BARE:
            at += 2
            continue
        length = max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
        payload = data[at + 4 : at + 2 + length]
        profile = marker == 0xE2 and payload[:11] == b"ICC_PROFILE"
        if not (marker in _JPEG_KEPT or profile):
            found.append(_Private(at + 4, payload, b"Exif\0\0" if marker == 0xE1 else None))
        at += 2 + length
        if marker == 0xDA:
            after = _NEXT_MARKER.search(data, at)
            at = after.start() if after else -1
    yield from _blanked(found)


def _png(data: bytes | mmap.mmap) -> Iterator[Part]:
    found: list[tuple[int, bytes, bytes]] = []
    at = 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        kind, payload = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        if kind in _PNG_PRIVATE and at + 12 + length <= len(data):
            found.append((at + 4, kind, payload))
        at += 12 + length
        if kind == b"IEND":
            break
    turned = _turned([payload if kind == b"eXIf" else _unzipped(kind, payload) for _, kind, payload in found])
    for offset, _, payload in found:
        tiff = _tiff(turned, len(payload))
        body = b"eXIf" + tiff if tiff else _PNG_NOTHING + bytes(len(payload))
        turned = 1 if tiff else turned
        yield offset, body + struct.pack(">I", zlib.crc32(body))
    if at < len(data):
        yield at, bytes(len(data) - at)


def _webp(data: bytes | mmap.mmap) -> Iterator[Part]:
    found: list[_Private] = []
    at, end = 12, min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    while at + 8 <= end:
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if kind in (b"EXIF", b"XMP "):
            payload = data[at + 8 : min(at + 8 + length, end)]
            found.append(_Private(at + 8, payload, b"" if kind == b"EXIF" else None))
        at += 8 + length + length % 2
    if any(one.signature is not None for one in found):
        yield from _blanked(found)
    else:  # the header announces XMP only, and readers look for nothing else
        turned = _turned([one.payload for one in found])
        yield from ((one.offset, _xmp(turned, len(one.payload))) for one in found)
    if end < len(data):
        yield end, bytes(len(data) - end)


def _gif(data: bytes | mmap.mmap) -> Iterator[Part]:
    if len(data) < 13:
        return
    at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    while at + 2 <= len(data):
        if data[at] == 0x21:  # an extension
            begin, kind = at + 2, data[at + 1]
            at = _after_blocks(data, begin)
            name = data[begin + 1 : begin + 12]
            if kind == 0xFE or (kind == 0xFF and name[:8] not in (b"NETSCAPE", b"ANIMEXTS")):
                # What is not made of blocks (XMP) is made of them here, so that no byte of it stays.
                first = begin if kind == 0xFE else begin + 1 + data[begin]
                yield first, _empty_blocks(max(0, at - 1 - first))
        elif data[at] == 0x2C and at + 10 <= len(data):  # an image
            colours = 3 << (data[at + 9] & 7) + 1 if data[at + 9] & 0x80 else 0
            at = _after_blocks(data, at + 11 + colours)
        else:  # the trailer, or damage
            if data[at] == 0x3B:
                at += 1
                yield at, bytes(len(data) - at)
            return


def _after_blocks(data: bytes | mmap.mmap, at: int) -> int:
    while at < len(data) and data[at]:
        at += 1 + data[at]
    return min(at + 1, len(data))


def _empty_blocks(length: int) -> bytes:
    """So many bytes as blocks of zeros; the zero that ends them stands behind."""
    blocks = bytearray()
    while length:
        size = min(length, 256)
        if length - size == 1:  # a block of no byte would be the end
            size -= 1
        blocks += bytes([size - 1]) + bytes(size - 1) if size > 1 else b"\0"
        length -= size
    return bytes(blocks)


def _blanked(found: list[_Private]) -> Iterator[Part]:
    """Zeros for each, and in the first that has room how the camera was held, if that was not upright."""
    turned = _turned([one.payload for one in found])
    for one in found:
        tiff = b"" if one.signature is None else _tiff(turned, len(one.payload) - len(one.signature))
        turned = 1 if tiff else turned
        # A chunk named EXIF must hold some, a segment of JPEG may hold anything.
        nothing = _EMPTY_TIFF if one.signature == b"" and len(one.payload) >= len(_EMPTY_TIFF) else b""
        instead = (one.signature or b"") + tiff if tiff else nothing.ljust(len(one.payload), b"\0")
        yield one.offset, instead


def _turned(payloads: list[bytes]) -> int:
    """How the camera was held, 1 to 8, by the first that says so; as Pillow, EXIF goes before XMP."""
    for payload in payloads:
        found = _exif_orientation(payload.removeprefix(b"Exif\0\0"))
        if found:
            return found
    for payload in payloads:
        named = _XMP_ORIENTATION.search(payload)
        if named:
            return int(named[1])
    return 1


def _exif_orientation(tiff: bytes) -> int:
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 10:
        return 0
    (begin,) = struct.unpack_from(f"{order}I", tiff, 4)
    if begin + 2 > len(tiff):
        return 0
    (count,) = struct.unpack_from(f"{order}H", tiff, begin)
    for entry in range(begin + 2, min(begin + 2 + 12 * count, len(tiff) - 11), 12):
        tag, kind = struct.unpack_from(f"{order}HH", tiff, entry)
        if tag == _ORIENTATION and kind in _WHOLE_NUMBERS:
            (value,) = struct.unpack_from(order + _WHOLE_NUMBERS[kind], tiff, entry + 8)
            return value if 1 <= value <= 8 else 0
    return 0


def _tiff(turned: int, room: int) -> bytes:
    """A directory with nothing but how the camera was held, and zeros; empty when upright, or without room."""
    if turned == 1:
        return b""
    directory = struct.pack(">2sHIHHHIHHI", b"MM", 42, 8, 1, _ORIENTATION, 3, 1, turned, 0, 0)
    return directory.ljust(room, b"\0") if room >= len(directory) else b""


def _xmp(turned: int, room: int) -> bytes:
    """A packet with nothing but how the camera was held; spaces otherwise."""
    text = b'<x tiff:Orientation="%d"/>' % turned if turned > 1 else b""
    return (text if len(text) <= room else b"").ljust(room, b" ")


def _unzipped(kind: bytes, payload: bytes) -> bytes:
    """The text of a chunk of text, as far as it is short; only to be searched."""
    keyword, _, rest = payload.partition(b"\0")
    if kind in (b"tEXt", b"zTXt") and keyword == _RAW_PROFILE:
        return _from_digits(rest if kind == b"tEXt" else _inflated(rest[1:]))
    if kind == b"iTXt":
        if rest[:1] == b"\1":
            _, _, packed = rest[2:].partition(b"\0")[2].partition(b"\0")
            return _inflated(packed)
        return payload if keyword else b""
    return b"" if kind == b"zTXt" else payload


def _from_digits(text: bytes) -> bytes:
    """Bytes that follow their name and their number, each on a line of its own."""
    try:
        return bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii"))
    except ValueError:
        return b""


def _inflated(packed: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(packed, 1 << 20)
    except zlib.error:
        return b""

"""This is where what a training session writes down becomes JSON and comes back, with names that are no text.

A name of a file is bytes. Those that are no UTF-8 are half surrogate pairs in Python's text, which msgspec neither
writes nor reads; in JSON they are escapes.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn, TypeVar

import msgspec

Record = TypeVar("Record")


def encoded(value: Any) -> bytes:
    """Structures, and what they hold, as JSON."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(value)).encode()


def decoded(data: bytes, kind: type[Record]) -> Record:
    """What was encoded, checked; raises `msgspec.DecodeError`, also for bytes that are no text."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        try:
            plain = json.loads(data, parse_constant=_no_number)
        except ValueError:
            raise msgspec.DecodeError(str(error)) from None
    return msgspec.convert(plain, kind)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")

"""This is where a name becomes a label, and where a strange name becomes safe to print."""

from __future__ import annotations

import unicodedata

from edge_agent.errors import LabelError

MOST_CHARACTERS = 64
_MOST_BYTES = 240  # a folder name may have 255 bytes; a label of 64 characters can be longer than that
_SIGNS = frozenset(" _-.+'()")


def clean_label(text: str) -> str:
    """`text` as a label, in Unicode's composed form (NFC): two spellings of one name are one label.

    A label has 1 to 64 letters, digits, spaces and `_-.+'()`, and does not begin with a dot or begin or end
    with a space. Raises `LabelError` that says what is wrong and what to do.
    """
    label = unicodedata.normalize("NFC", text)
    problem = _problem(label)
    if problem:
        raise LabelError(
            f"'{printable(text)}' cannot be a label: {problem}; "
            f"use 1 to {MOST_CHARACTERS} letters, digits, spaces and _-.+'()"
        )
    return label


def _problem(label: str) -> str | None:
    if not label:
        return "it is empty"
    if len(label) > MOST_CHARACTERS or len(label.encode(errors="replace")) > _MOST_BYTES:
        return f"it is longer than {MOST_CHARACTERS} characters or {_MOST_BYTES} bytes"
    if label[0] == ".":
        return "it begins with a dot"
    if label[0] == " " or label[-1] == " ":
        return "it begins or ends with a space"
    for position, character in enumerate(label):
        kind = unicodedata.category(character)[0]
        # Marks (M) are parts of letters in many scripts, but need a letter to sit on.
        if kind not in "LN" and character not in _SIGNS and not (kind == "M" and position):
            return f"'{printable(character)}' is not allowed in it"
    return None


def printable(name: str) -> str:
    """`name` with everything that could disturb a terminal or a log escaped: `\\n` as `\\x0a`, for instance.

    Bytes that are not UTF-8 and came through `os.fsdecode` appear as they were; a backslash is doubled.
    """
    return "".join(map(_escaped, name))


def _escaped(character: str) -> str:
    code = ord(character)
    if character == "\\":
        return "\\\\"
    if character.isprintable():
        return character
    if 0xDC80 <= code <= 0xDCFF:  # how Python carries a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"

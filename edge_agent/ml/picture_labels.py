"""This is where the name of a folder or of a file becomes the label of pictures.

What is no label for the agent is none here, so that a classifier trained from folders can be published to an
agent and be taught further through folders of the same names.
"""

from __future__ import annotations

import unicodedata

from edge_agent.errors import MLCreateError, MLCreateErrorCode

MOST_CHARACTERS = 64
MOST_BYTES = 240
SIGNS = " _-.+'()"


def picture_label(name: object, where: str) -> str:
    """`name` as a label, in Unicode's composed form (NFC): two spellings of one name are one label.

    Raises `MLCreateError` TYPE, beginning with `where` it was found, for what cannot be a label.
    """
    if not isinstance(name, str):
        raise MLCreateError(MLCreateErrorCode.TYPE, f"{where}: a label is a text, not {name!r}")
    label = unicodedata.normalize("NFC", name)
    problem = label_problem(label)
    if problem:
        raise MLCreateError(
            MLCreateErrorCode.TYPE,
            f"{where}: {name!a} cannot be a label: {problem};"
            f" use 1 to {MOST_CHARACTERS} letters, digits, spaces and {SIGNS.strip()}",
        )
    return label


def label_problem(label: str) -> str | None:
    """Why a composed text cannot be a label; None when it can."""
    if not label:
        return "it is empty"
    if len(label) > MOST_CHARACTERS or len(label.encode(errors="replace")) > MOST_BYTES:
        return f"it is longer than {MOST_CHARACTERS} characters or {MOST_BYTES} bytes"
    if label[0] == ".":
        return "it begins with a dot"
    if label != label.strip(" "):
        return "it begins or ends with a space"
    for position, character in enumerate(label):
        # A mark (M) is part of a letter, and needs one before it.
        kind = unicodedata.category(character)[0]
        if not (kind in "LN" or character in SIGNS or (kind == "M" and position)):
            return f"{character!a} is not allowed in it"
    return None


def printable_path(path: object) -> str:
    """A path as one line: as it is, or with escapes where it has what a terminal cannot show."""
    text = str(path)
    return text if text.isprintable() else ascii(text)[1:-1]

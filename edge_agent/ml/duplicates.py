"""This is where pictures of a training session that are there more than once are found, and what that spoils."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from edge_agent.ml.diagnosis import Advice, AdviceKind
from edge_agent.ml.picture_labels import printable_path
from edge_agent.ml.session_folder import TRAINING, DataFile

Pair = tuple[DataFile, DataFile]


def duplicate_advice(files: Iterable[DataFile], digest: Callable[[DataFile], str]) -> list[Advice]:
    """What files of the same bytes do to a training; `digest` is the sum of a file's bytes, those that were
    read.

    Under two labels, one of them is wrong for certain. Where one is learned from and the other validates,
    validation flatters. Two that are learned from count twice.
    """
    first: dict[str, DataFile] = {}
    differing: list[Pair] = []
    across: list[Pair] = []
    twice: list[Pair] = []
    # A picture that is learned from comes first, so that all its doubles are held against it.
    for one in sorted(files, key=lambda file: file.role != TRAINING):
        other = first.setdefault(digest(one), one)
        if other is one:
            continue
        if other.label != one.label:
            differing.append((other, one))
        elif (other.role == TRAINING) is not (one.role == TRAINING):
            across.append((other, one))
        else:
            twice.append((other, one))
    found = []
    if differing:
        one, other = differing[0]
        found.append(
            Advice(
                AdviceKind.TWO_LABELS,
                f"The same picture has two labels ({len(differing)} such files): {printable_path(one.key.path)} is"
                f" {one.label}, {printable_path(other.key.path)} is {other.label}. Remove the wrong one",
                _labels(differing),
            )
        )
    if across:
        found.append(
            _repeated(
                across,
                "to validate by are also learned from, byte for byte, so that validation flatters",
            )
        )
    if twice:
        found.append(_repeated(twice, "are there already, byte for byte, and count twice"))
    return found


def _repeated(pairs: list[Pair], what: str) -> Advice:
    one, other = pairs[0]
    return Advice(
        AdviceKind.DUPLICATES,
        f"Of the pictures, {len(pairs)} {what}: {printable_path(other.key.path)} is"
        f" {printable_path(one.key.path)}{' and so on' if len(pairs) > 1 else ''}. Remove those",
        _labels(pairs),
    )


def _labels(pairs: list[Pair]) -> tuple[str, ...]:
    return tuple(sorted({one.label for pair in pairs for one in pair}))

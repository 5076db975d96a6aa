"""This is where it is told whether somebody gave a list, and whether he gave a member of an enumeration."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from numbers import Integral
from typing import TypeVar

import numpy as np

Kind = TypeVar("Kind", bound=Enum)


def member_of(kind: type[Kind], given: object) -> Kind | None:
    """The member of an enumeration, given as itself, by its whole number or its text; None for all else.

    Python would also compare arrays, truth values and whatever claims to equal a member.
    """
    if isinstance(given, kind):
        return given
    if isinstance(given, bool) or not isinstance(given, str | Integral):
        return None
    try:
        return kind(given)
    except ValueError:
        return None


def is_listed(given: object) -> bool:
    """Whether something holds members to go through.

    A text holds letters but is never meant as a list of them, and numpy's arrays without dimensions only look
    as if they held members.
    """
    if isinstance(given, np.ndarray):
        return given.ndim > 0
    return isinstance(given, Iterable) and not isinstance(given, str | bytes)

"""This is where text becomes HTML, and nothing that somebody wrote becomes markup."""

from __future__ import annotations

import html

EMPTY = frozenset({"img", "meta", "br"})
"""Elements without an end."""


class Html(str):
    """Markup that is ready; every other text is escaped when it comes into an element."""

    __slots__ = ()


def text(given: object) -> Html:
    """What was given, escaped; what UTF-8 cannot hold is written as Python writes it."""
    if isinstance(given, Html):
        return given
    return Html(html.escape(str(given).encode("utf-8", "backslashreplace").decode(), quote=True))


def element(name: str, /, *children: object, **attributes: object) -> Html:
    """An element; `class_` is `class`, `data_value` is `data-value`, attributes that are None are left out."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in EMPTY:
        return Html(f"<{name}{given}>")
    return Html(f"<{name}{given}>{joined(*children)}</{name}>")


def joined(*children: object) -> Html:
    """One after the other."""
    return Html("".join(map(text, children)))

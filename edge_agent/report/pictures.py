"""This is where pictures stand in the page, small, with what is to be said of each."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_agent.ml.metrics import percent
from edge_agent.ml.picture_labels import printable_path
from edge_agent.report.facts import JudgedPicture, SuspectPicture
from edge_agent.report.markup import Html, element, joined


@dataclass(frozen=True)
class Caption:
    """What stands below a picture."""

    path: Path
    is_called: str
    looks_like: str
    probability: float
    note: str = ""


def of_mistake(one: JudgedPicture) -> Caption:
    """The caption of a mistake."""
    return Caption(one.path, one.label, one.predicted, one.probability, one.part)


def of_suspect(one: SuspectPicture) -> Caption:
    """The caption of a picture that is probably called by the wrong name."""
    return Caption(one.path, one.label, one.suggested, one.probability)


def picture_list(
    captions: Sequence[Caption], thumbnails: Mapping[Path, bytes], *, verb: str, folder: Path
) -> Html:
    """The pictures in their order; `verb` leads from the label to the other one.

    Paths are shown from `folder` on.
    """
    return element(
        "ul", *(_item(one, thumbnails.get(one.path), verb, folder) for one in captions), class_="pictures"
    )


def shown_path(path: Path, folder: Path) -> str:
    """A path from a folder on, whole where it lies elsewhere."""
    return printable_path(path.relative_to(folder) if path.is_relative_to(folder) else path)


def _item(one: Caption, jpeg: bytes | None, verb: str, folder: Path) -> Html:
    path = shown_path(one.path, folder)
    note = f", {one.note}" if one.note else ""
    return element(
        "li",
        _picture(one, jpeg),
        element(
            "div",
            element("span", "labelled ", element("b", one.is_called)),
            element("span", f"{verb} ", element("b", one.looks_like), f" ({percent(one.probability)}{note})"),
            element("code", path, title=printable_path(one.path)),
        ),
    )


def _picture(one: Caption, jpeg: bytes | None) -> Html:
    if jpeg is None:
        return element("div", element("span", "cannot be shown"), class_="nothing")
    data = base64.b64encode(jpeg).decode("ascii")
    return joined(
        element("img", src=f"data:image/jpeg;base64,{data}", alt=f"{one.path.name}, labelled {one.is_called}")
    )

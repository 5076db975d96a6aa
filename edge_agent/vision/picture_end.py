"""This is where it is seen whether a picture's file has its end."""

from __future__ import annotations

from edge_agent.errors import ImageError

END_MARKERS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82", "GIF": b"\0;"}
"""How a whole file ends; whatever follows does not matter. WebP and BMP say how long they are."""

GIF_TAIL_BYTES = 1024
"""GIF's marker is short and may stand inside a picture too, so it is looked for near the end."""


def check_end(kind: str, data: bytes, start: int) -> None:
    """Refuse a file whose end marker is missing; `start` is how far its header was read.

    Some writers reserve the full size first, so half a photograph may be followed by zeros, which decode as
    grey. And a file that lacks its last bytes is another file tomorrow, when they have arrived.
    """
    end = END_MARKERS.get(kind)
    if kind == "GIF":
        start = max(start, len(data) - GIF_TAIL_BYTES)
    # From the end, where it is in whole files: from the front it is a tenth of the work with a large one.
    if end is not None and data.rfind(end, start) < 0:
        raise ImageError(f"the picture is cut off: the end of the {kind} is missing")

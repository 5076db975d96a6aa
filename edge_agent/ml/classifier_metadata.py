"""This is where a classifier that was trained here is told who made it and what it is."""

from __future__ import annotations

import getpass
from collections.abc import Mapping

from edge_agent.ml.description import MLModelMetadata

DESCRIPTION = "An image classifier trained on this device by edge_agent."


def created_metadata(
    author: str | None = None,
    short_description: str = DESCRIPTION,
    license: str | None = None,  # noqa: A002 - Apple's name
    version: str = "1",
    additional: Mapping[str, str] | None = None,
) -> MLModelMetadata:
    """Metadata under the names that Create ML gives them; the author is the current user unless given."""
    return MLModelMetadata(
        description=short_description,
        version_string=version,
        author=_user() if author is None else author,
        license=license or "",
        creator_defined=dict(additional or {}),
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no name for this user id, as in a container
        return ""

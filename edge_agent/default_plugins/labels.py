"""This is where a picture gets the name of its folder as its label."""

from __future__ import annotations

from edge_agent.hookspecs import hookimpl


@hookimpl
def label_sample(folder_label: str) -> str:
    """The folder says it."""
    return folder_label

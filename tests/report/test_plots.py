"""Plots: a library that belongs to an extra, and what is said without it."""

from __future__ import annotations

import sys

import pytest

from edge_agent.errors import UserError
from edge_agent.ml.learning_curve import CurvePoint
from edge_agent.report.plots import INK, check_plotting, curve_plot, history_plot

HISTORY = [{"loss": 1.0 / at, "validation_loss": 1.2 / at} for at in range(1, 9)]


def test_without_the_library_it_is_said_what_to_install(monkeypatch):
    """One line, with the library's name; never this project's, which is somebody else's on the public index."""
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_svg", None)

    with pytest.raises(UserError, match="pip install matplotlib") as told:
        check_plotting()

    assert "\n" not in str(told.value)
    assert "install edge-agent" not in str(told.value)
    assert "edge-agent[" not in str(told.value)


def test_a_drawing_takes_the_colour_of_the_page():
    """What is dark on white is light on black: text and axes have no colour of their own."""
    drawn = curve_plot([CurvePoint(1, (0.5,)), CurvePoint(4, (0.8,))], name="x", title="<T>")

    assert "currentColor" in drawn
    assert INK not in drawn
    assert '<title id="x-title">&lt;T&gt;</title>' in drawn
    assert drawn.startswith("<svg")
    assert "<?xml" not in drawn
    assert "<metadata" not in drawn


def test_validation_is_drawn_where_it_was_measured():
    """Two lines with a legend, or one without."""
    both = history_plot(HISTORY, "loss", name="x", percent=False, title="t")
    one = history_plot([{"loss": row["loss"]} for row in HISTORY], "loss", name="x", percent=False, title="t")

    assert "validation" in both
    assert "validation" not in one


def test_the_program_s_own_drawing_settings_are_left_alone():
    """What another part of the program set for its drawings holds afterwards."""
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    history_plot(HISTORY, "loss", name="x", percent=False, title="t")

    assert dict(mpl.rcParams) == before

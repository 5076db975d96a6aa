"""This is where curves are drawn, as SVG that stands in the page and takes its text colour."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edge_agent.errors import UserError
from edge_agent.ml.learning_curve import CurvePoint
from edge_agent.report.markup import Html, text

INK = "#0a0b0c"
"""Stands for the colour of the page's text, which is another one in the dark."""
FIRST, SECOND = "#3b82c4", "#d97706"
"""Training and validation; both can be seen on white and on black."""
FONT = "DejaVu Sans"
"""Comes with the library, which measures by it; the page's own stands in its place."""
SIZE = (5.0, 3.1)
"""In inches, of 72 of the page's units."""


def check_plotting() -> None:
    """Raises `UserError`, with what to install, when there is no library to draw with."""
    try:
        import matplotlib.backends.backend_svg  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"a report needs matplotlib, which cannot be loaded ({error}):"
            " install it with `pip install matplotlib`"
        ) from error


def history_plot(
    history: Sequence[Mapping[str, float]], metric: str, *, name: str, percent: bool, title: str
) -> Html:
    """One metric of training, and of validation if there is, over the iterations."""
    validation = f"validation_{metric}"

    def draw(axes: Any) -> None:
        factor = 100.0 if percent else 1.0
        marker = "o" if len(history) < 40 else None
        for key, label, colour, style in (
            (metric, "training", FIRST, "-"),
            (validation, "validation", SECOND, "--"),
        ):
            points = [(number, factor * row[key]) for number, row in enumerate(history, 1) if key in row]
            if points:
                axes.plot(*zip(*points, strict=True), style, color=colour, label=label, marker=marker, ms=3)
        axes.set_xlabel("iteration")
        axes.set_ylabel(f"{metric}, %" if percent else metric)
        axes.xaxis.get_major_locator().set_params(integer=True)
        if any(validation in row for row in history):
            axes.legend(frameon=False, labelcolor=INK)

    return _drawn(draw, name, title)


def curve_plot(curve: Sequence[CurvePoint], *, name: str, title: str) -> Html:
    """Accuracy of pictures held out against pictures of each label, with the spread of the draws."""

    def draw(axes: Any) -> None:
        x = [one.per_label for one in curve]
        mean = [100.0 * one.mean for one in curve]
        low = [100.0 * max(one.mean - one.spread, 0.0) for one in curve]
        high = [100.0 * min(one.mean + one.spread, 1.0) for one in curve]
        axes.fill_between(x, low, high, color=FIRST, alpha=0.25, linewidth=0)
        axes.plot(x, mean, "-o", color=FIRST, ms=4)
        axes.set_xscale("log")
        axes.set_xticks(x, labels=[str(size) for size in x])
        axes.minorticks_off()
        axes.set_xlabel("pictures of each label (each step about twice as many)")
        axes.set_ylabel("recognised, %")

    return _drawn(draw, name, title)


def _drawn(draw: Callable[[Any], None], name: str, title: str) -> Html:
    """One pair of axes as an `svg` element; `name` keeps its ids apart from those of the others."""
    check_plotting()
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    look: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "font.family": FONT,
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "axes.grid": True,
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "grid.color": INK,
        "grid.alpha": 0.15,
        "grid.linewidth": 0.6,
    }
    with mpl.rc_context(look):
        figure = Figure(figsize=SIZE, layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return _inlined(file.getvalue(), name, title)


def _inlined(svg: str, name: str, title: str) -> Html:
    """Without what only a file needs: prolog, metadata, a size of its own; with a title that is read out."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    svg = (
        svg.replace("url(#", f"url(#{name}-").replace(INK, "currentColor").replace(f"'{FONT}'", "sans-serif")
    )
    box = re.search(r'viewBox="[^"]*"', svg)
    assert box is not None
    opened = (
        f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" {box[0]} role="img" aria-labelledby="{name}-title">'
        f'<title id="{name}-title">{text(title)}</title>'
    )
    return Html(re.sub(r"^<svg[^>]*>", lambda _: opened, svg.strip()))

"""This is where everything is looked at in turn: the set-up, the pictures, and whether there are enough of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.agent.home import Home
from edge_agent.agent.refusals import Refusals
from edge_agent.config import Config
from edge_agent.doctor import advice
from edge_agent.doctor.collection import MOST_PICTURES, Collection, collect
from edge_agent.doctor.enough import Enough, enough
from edge_agent.doctor.findings import Finding, Severity, in_order
from edge_agent.doctor.surroundings import setup_findings
from edge_agent.errors import StoreError
from edge_agent.ml.copies import close_pairs, copy_groups, same_cosine
from edge_agent.ml.fits.protocol import FitData
from edge_agent.ml.label_errors import LabelDoubt, label_doubts, leave_one_out
from edge_agent.ml.learning_curve import CurvePoint, learning_curve
from edge_agent.ml.metrics import MLClassifierMetrics
from edge_agent.vision.thumbnails import difference_hashes

PERHAPS_COSINE = 0.8
"""Pictures whose features are less alike are not held against each other by their hashes."""
MOST_HASHES = 300
"""So many files are opened for that; each costs 3 to 40 milliseconds on a desk."""
CURVE_SEEDS = (0, 1, 2)

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Examination:
    """What came out."""

    findings: tuple[Finding, ...]
    curve: tuple[CurvePoint, ...]
    enough: Enough
    drift: dict[str, Any]
    checks: tuple[dict[str, str], ...]
    pictures: int
    """How many are stored."""
    looked_at: int
    """How many of them were looked at."""
    copies: int = 0
    """How many of these show the same as others of their label."""
    labels: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The document of `edge-agent doctor --json`."""
        return {
            "findings": [finding.to_json() for finding in self.findings],
            "learning_curve": [
                {
                    "per_label": point.per_label,
                    "accuracy": round(point.mean, 4),
                    "spread": round(point.spread, 4),
                }
                for point in self.curve
            ],
            "enough": self.enough.to_json(),
            "drift": self.drift,
            "setup": list(self.checks),
            "pictures": self.pictures,
            "looked_at": self.looked_at,
            "copies": self.copies,
            "labels": self.labels,
        }


def examine(
    ask: Callable[[str], Any], home: Path, config: Config, *, running: bool, most: int = MOST_PICTURES
) -> Examination:
    """Ask an agent for its own checks, and look at the pictures here, so that it goes on answering meanwhile.

    Raises what asking raises; that the pictures cannot be read is a finding.
    """
    told, status = ask("checkup"), ask("status")
    found = setup_findings(told["checks"], status, running=running)
    extractor, drift = told["extractor"], told["drift"]
    if drift["finding"]:
        found.append(Finding("drift", Severity.WARNING, drift["finding"], command="edge-agent review FOLDER"))
    like, suspected = Refusals(Home(home).models_folder).suspected
    one, trouble = None, ""
    if extractor["fingerprint"] is None:
        trouble = "The pictures were not looked at, because the extractor does not work."
    else:
        try:
            one = collect(home, extractor["fingerprint"], most, suspected)
        except StoreError as error:
            trouble = f"The stored pictures cannot be read: {error}. A running agent reads them again from its archive."
    if one is None:
        found.append(Finding("setup-database", Severity.PROBLEM, trouble))
        return Examination(
            tuple(in_order(found)), (), enough(()), drift, tuple(told["checks"]), status["samples"], 0
        )
    found += advice.refused_labels(one.suspects, like)
    seen = _pictures(one, home, config, (extractor["size"][0], extractor["size"][1]))
    return Examination(
        tuple(in_order([*found, *seen.findings])),
        seen.curve,
        seen.enough,
        drift,
        (
            *told["checks"],
            {"name": "database", "state": "ok", "message": f"{one.total} pictures, every page in order"},
        ),
        one.total,
        len(one),
        seen.copies,
        dict(one.counts),
    )


@dataclass(frozen=True)
class _Seen:
    findings: tuple[Finding, ...]
    curve: tuple[CurvePoint, ...]
    enough: Enough
    copies: int


def _pictures(one: Collection, home: Path, config: Config, size: tuple[int, int]) -> _Seen:
    if not one.counts:
        return _Seen((), (), enough(()), 0)
    sizes = ((sample.source_name, sample.width, sample.height) for sample in one.samples)
    found = advice.balance(one.counts, sizes, size)
    if not len(one):
        return _Seen(tuple(found), (), enough(()), 0)
    cosine = same_cosine(one.X, one.y)
    groups = copy_groups(one.X, _hashes(one, home, config, cosine), cosine)
    different = _different(groups, one.y)
    # Copies would vouch for each other's labels, and be known to whatever learned from the others.
    core = one.part(different)
    data = FitData(core.X, core.y, core.classes)
    P = leave_one_out(data) if len(core.classes) > 1 else np.full((len(core), len(core.classes)), np.nan)
    doubts = label_doubts(data, P) if len(core.classes) > 1 else []
    doubted = [doubt.index for doubt in doubts]
    sound = np.setdiff1d(np.arange(len(core)), doubted)
    curve = tuple(_curve(core.part(sound)))
    verdict = enough(curve, len(doubts))
    judged = _judged(core, P, doubts)
    found += advice.copies(one, groups, config.learning.most_near_duplicates)
    told = {sample.digest for sample in one.suspects}
    known = {*doubted, *(row for row, sample in enumerate(core.samples) if sample.digest in told)}
    found += advice.wrong_labels(
        core, [doubt for doubt in doubts if core.samples[doubt.index].digest not in told]
    )
    found += advice.strangers(core, known)
    found += advice.confusions(core, P, known)
    found += advice.next_pictures(one.counts, judged, verdict.answer)
    return _Seen(tuple(found), curve, verdict, len(one) - len(core))


def _hashes(one: Collection, home: Path, config: Config, cosine: float) -> dict[int, int]:
    """Difference hashes of the pictures that may be copies and whose features alone do not say it."""
    rows = close_pairs(one.X, copy_groups(one.X, cosine=cosine), PERHAPS_COSINE, MOST_HASHES)
    places = {int(row): home / one.samples[row].stored_path for row in rows if one.samples[row].stored_path}
    found = difference_hashes(list(places.values()), pictures=config.pictures) if places else {}
    return {row: found[path] for row, path in places.items() if path in found}


def _different(groups: NDArray[np.intp], y: NDArray[np.intp]) -> NDArray[np.intp]:
    """The first row of each group, and of each label in it."""
    return np.sort(np.unique(np.stack([groups, y]), axis=1, return_index=True)[1])


def _curve(core: Collection) -> Sequence[CurvePoint]:
    if len(core.classes) < 2:
        return ()
    return learning_curve(FitData(core.X, core.y, core.classes), seeds=CURVE_SEEDS)


def _judged(core: Collection, P: Matrix, doubts: Sequence[LabelDoubt]) -> MLClassifierMetrics:
    """How the pictures are recognised, each left out in turn, without those whose label is doubted."""
    rows = np.asarray(~np.isnan(P).any(axis=1), dtype=np.bool_)
    rows[[doubt.index for doubt in doubts]] = False
    best = [core.classes[at] for at in P[rows].argmax(axis=1)]
    return MLClassifierMetrics.from_labels([core.classes[at] for at in core.y[rows]], best)

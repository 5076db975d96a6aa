"""This is where any `.tflite` becomes an extractor: cut at its features, its scaling found out, looked over."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edge_agent.errors import DamagedError, ExtractorError
from edge_agent.ml.separation import Separation, clearly_better, separation
from edge_agent.ml.soundness import Soundness, soundness
from edge_agent.vision.audition import AuditionAnswer, AuditionQuestion, CutCheck, Performance, Whole, hear
from edge_agent.vision.cutting import cut, map_axes
from edge_agent.vision.inspection import Inspection
from edge_agent.vision.preprocessing import ExtractorCard, card_from
from edge_agent.vision.scaling import Scaling, Three

SAME = 0.99
"""The least cosine between features of the cut file and of the whole."""

Picture = tuple[Path, str]
"""A file and its label."""
Hear = Callable[[AuditionQuestion], AuditionAnswer]


@dataclass(frozen=True)
class Tried:
    """One way of scaling and how well the pictures were told apart with it."""

    scaling: Scaling
    separation: Separation

    @property
    def rank(self) -> tuple[float, float]:
        """Greater is better."""
        share, loss = self.separation.leave_one_out, self.separation.loss
        return (-1.0 if share is None else share, -np.inf if loss is None else -loss)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"scaling": self.scaling.name, "color": self.scaling.color, **self.separation.to_json()}


@dataclass(frozen=True)
class Adoption:
    """An extractor and how it came to be; its file lies where the card says."""

    card: ExtractorCard
    document: dict[str, Any]
    """The card as it is written, with what was decided and why."""
    performance: Performance
    seen: tuple[int, ...]
    """The places of the pictures that were not refused."""
    soundness: Soundness
    warnings: tuple[str, ...]
    problems: tuple[str, ...]
    """Why it should not be used; empty for a good one."""


def adopt(
    found: Inspection,
    target: Path,
    name: str,
    pictures: Sequence[Picture],
    *,
    source: str,
    runtime: str = "auto",
    threads: int = 1,
    hear: Hear = hear,
) -> Adoption:
    """Cut the model of an inspection to `target`, and find out how it wants its pictures by trying it on some.

    Nothing is run in this process. Raises `ExtractorError` with the reason where nothing can become of it:
    `found.refusal`, a step that cannot be written, what the runtime says, or a cut file that gives other features.
    """
    if found.refusal or found.features is None or found.picture is None or found.scalings is None:
        raise ExtractorError(found.refusal)
    try:
        model, whole = _cut(found)
    except (DamagedError, OverflowError) as error:
        raise ExtractorError(f"it cannot be cut at its features: {error}") from None
    stage = _Stage(found, target, name, pictures, runtime, threads, hear)
    stage.write(model)
    answer, tried = stage.play(found.scalings.tried, whole)
    check = answer.check or CutCheck()
    for what, value in (("inside of the whole file", check.inner), ("through the rest of it", check.through)):
        if value is not None and value < SAME:
            raise ExtractorError(
                f"the file cut at its features gives others than are seen {what} (cosine {value:.3f}); not used"
            )
    best, warnings = chosen(tried, evidence=found.scalings.evidence)
    if not found.scalings.decided:
        other, more = stage.play([best.scaling.blue_first()], None)
        tried += more
        if clearly_better(more[0].separation, best.separation):
            best, answer = more[0], other
            warnings.append("blue comes first, by what tells the labelled pictures apart: that is unusual")
    performance = stage.performances[best.scaling]
    # Another scaling makes another file: equal files give equal features, whatever their cards say.
    model = _cut_at_features(found, f"cut by edge-agent; {best.scaling.formula}")
    stage.write(model)
    card = stage.card(best.scaling)
    X = performance.matrix(found.features.count)
    limits = found.features.part.range()
    looked = soundness(X, limits[1] if limits else None, best.separation)
    warnings += looked.warnings
    if check.inner is None and check.through is None and pictures:
        warnings.append(f"the cut file could not be compared with the whole: {check.because or 'no way to'}")
    document = {
        **_plain_card(card),
        "bytes": len(model),
        "origin": f"made by edge-agent from {source}",
        "source": {
            "file": source,
            "bytes": len(found.data),
            "sha256": hashlib.sha256(found.data).hexdigest(),
        },
        "decided": {
            "features": found.features.why,
            "scaling": f"{best.scaling.name}: {_reason(best, tried, found)}",
            "metadata": found.scalings.said or None,
            "tried": [one.to_json() for one in tried],
        },
        "checked": {
            "cosine_to_whole": check.inner,
            "cosine_through_rest": check.through,
            **{key: value for key, value in asdict(looked).items() if key not in ("problems", "warnings")},
        },
        "figures": {
            "runtime": answer.runtime,
            "milliseconds_per_picture": round(performance.milliseconds, 3),
            **best.separation.to_json(),
        },
        "warnings": warnings,
        "problems": list(looked.problems),
    }
    return Adoption(
        card=card,
        document=document,
        performance=performance,
        seen=answer.seen,
        soundness=looked,
        warnings=tuple(warnings),
        problems=looked.problems,
    )


def chosen(tried: Sequence[Tried], *, evidence: str) -> tuple[Tried, list[str]]:
    """The scaling to use, and what there is to warn of.

    `tried` are in the order of how likely they are by the file alone. What `evidence` of the file speaks for is used
    unless another is clearly better; without evidence, the best.
    """
    first, best = tried[0], max(tried, key=lambda one: one.rank)
    if len(tried) == 1:
        return first, []
    warnings = []
    if best is not first:
        clear = clearly_better(best.separation, first.separation)
        if not clear and (evidence or best.separation.leave_one_out == first.separation.leave_one_out):
            best = first
        elif evidence:
            warnings.append(
                f"the file speaks for {first.scaling.name}, but with {best.scaling.name} labelled pictures are told"
                f" apart better ({_percent(best)} instead of {_percent(first)})"
                + (": it may have been quantised with the wrong pictures" if evidence == "range" else "")
            )
    second = max((one for one in tried if one is not best), key=lambda one: one.rank)
    if not clearly_better(best.separation, second.separation):
        warnings.append(
            f"how pixel values are scaled was a close decision with {len(best.separation.losses)} pictures:"
            f" {best.scaling.name} {_percent(best)},"
            f" {second.scaling.name} {_percent(second)}"
        )
    return best, warnings


class _Stage:
    """Who looks at the pictures, one scaling after the other."""

    def __init__(
        self,
        found: Inspection,
        target: Path,
        name: str,
        pictures: Sequence[Picture],
        runtime: str,
        threads: int,
        hear: Hear,
    ) -> None:
        self._found, self._target, self._name = found, target, name
        self._digest = ""
        self._pictures, self._runtime, self._threads, self._hear = pictures, runtime, threads, hear
        self.performances: dict[Scaling, Performance] = {}

    def write(self, model: bytes) -> None:
        """Put the file where the cards say."""
        self._target.write_bytes(model)
        self._digest = hashlib.sha256(model).hexdigest()

    def card(self, scaling: Scaling) -> ExtractorCard:
        """The card with a scaling."""
        picture, features = self._found.picture, self._found.features
        assert picture is not None
        assert features is not None
        data = {
            "name": self._name,
            "sha256": self._digest,
            "n_features": features.count,
            "input": {
                "width": picture.width,
                "height": picture.height,
                "layout": picture.layout,
                "mean": _short(scaling.mean),
                "std": _short(scaling.std),
                "color": scaling.color,
            },
        }
        return card_from(data, path=self._target, source=self._name)

    def play(self, scalings: Sequence[Scaling], whole: Whole | None) -> tuple[AuditionAnswer, list[Tried]]:
        """What comes of the pictures; raises `ExtractorError` when one is refused."""
        cards = tuple(map(self.card, scalings))
        answer = self._hear(
            AuditionQuestion(
                cards=cards,
                pictures=tuple(str(path) for path, _ in self._pictures),
                runtime=self._runtime,
                threads=self._threads,
                whole=whole,
            )
        )
        labels = [self._pictures[place][1] for place in answer.seen]
        tried = []
        for scaling, card, performance in zip(scalings, cards, answer.performances, strict=True):
            if performance.error:
                raise ExtractorError(performance.error.removeprefix(f"{card.path}: "))
            self.performances[scaling] = performance
            tried.append(Tried(scaling, separation(performance.matrix(card.n_features), labels)))
        return answer, tried


def _cut(found: Inspection) -> tuple[bytes, Whole]:
    anatomy, features = found.anatomy, found.features
    assert anatomy is not None
    assert features is not None
    model = _cut_at_features(found, "cut by edge-agent")
    axes = map_axes(features.part.shape) if features.averaged else None
    rest = b""
    output = anatomy.outputs[0]
    if len(anatomy.outputs) == 1 and output.index != features.part.index and not features.averaged:
        try:
            rest = cut(anatomy, features.part, output)
        except DamagedError:
            rest = b""  # only one of two ways to check it
    return model, Whole(model=found.data, inner=features.part.index, averaged=axes, rest=rest)


def _cut_at_features(found: Inspection, description: str) -> bytes:
    anatomy, features, picture = found.anatomy, found.features, found.picture
    assert anatomy is not None
    assert features is not None
    assert picture is not None
    return cut(anatomy, picture.part, features.part, averaged=features.averaged, description=description)


def _short(values: Three) -> float | Three:
    """One number where it is the same for each channel."""
    return values[0] if len(set(values)) == 1 else values


def _plain_card(card: ExtractorCard) -> dict[str, Any]:
    return {
        "name": card.name,
        "file": card.path.name,
        "sha256": card.sha256,
        "n_features": card.n_features,
        "input": msgspec.to_builtins(card.input),
    }


def _reason(best: Tried, tried: Sequence[Tried], found: Inspection) -> str:
    assert found.scalings is not None
    if found.scalings.decided:
        return found.scalings.why
    if len(tried) == 1:
        return found.scalings.why
    others = ", ".join(f"{one.scaling.name} {_percent(one)}" for one in tried if one is not best)
    return f"{found.scalings.why}; pictures told apart: {_percent(best)} (else {others})"


def _percent(tried: Tried) -> str:
    share = tried.separation.leave_one_out
    return "nothing" if share is None else f"{share:.1%}"

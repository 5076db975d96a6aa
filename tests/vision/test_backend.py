"""A plugin's backend runs in the engine process, is held to its promises, and fails in one clear line."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edge_agent.config import ExtractorConfig, PicturesConfig
from edge_agent.errors import EngineError, ExtractorError, MLModelError
from edge_agent.vision import images
from edge_agent.vision.engine import Engine
from edge_agent.vision.extractor_stage import ExtractorStage
from edge_agent.vision.preprocessing import ExtractorCard, card_from, fingerprint_of

MakeEngine = Callable[..., Engine]
Drop = Callable[..., tuple[object, int]]


def card_of(backend: str, **options: Any) -> ExtractorCard:
    """A card of a model that is no file at all, eight pixels a side, six features."""
    data = {
        "name": "means",
        "sha256": "ab" * 32,
        "n_features": 6,
        "input": {"width": 8, "height": 8, "mean": 0.0, "std": 1.0},
        "backend": backend if ":" in backend or backend == "tflite" else f"backends:{backend}",
        "options": options,
    }
    return card_from(data, path=Path("/nowhere/means.abacus"), source="means")


def test_a_plugins_backend_looks_at_pictures(make_engine: MakeEngine, drop: Drop, photo: bytes) -> None:
    """The engine imports it by its place, and features, facts and options are the backend's own."""
    card = card_of("Means", gain=0.5)
    engine = make_engine(card=card)
    pixels = images.decode(photo, limits=PicturesConfig(), target=card.size).pixels

    (seen,) = engine.extract([drop(photo)])

    assert seen.error is None
    assert seen.features is not None
    np.testing.assert_allclose(seen.features, pixels.mean(axis=(1, 2))[:6] / 2, rtol=1e-6)
    facts = engine.facts
    assert facts is not None
    assert (facts.runtime, facts.delegate, facts.n_features) == ("abacus 2.5.1", "beads", 6)
    assert facts.fingerprint == fingerprint_of(card, "abacus-2.5", "threads1")
    assert facts.fingerprint.startswith(f"means:{'ab' * 8}:pre1-")
    assert "backends" not in sys.modules, "the agent's own process has loaded a plugin's native side"


def test_a_notice_is_told_loudly(make_engine: MakeEngine, caplog: pytest.LogCaptureFixture) -> None:
    """What a backend has to say stands in the facts and in the log, as a warning."""
    engine = make_engine(card=card_of("Means", notice="the beads are slow today"))

    with caplog.at_level(logging.WARNING):
        facts = engine.start()

    assert facts.notice == "the beads are slow today"
    assert caplog.messages == ["the extractor means: the beads are slow today"]


@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        ("Unopened", "/nowhere/means.abacus: the abacus has no beads"),
        ("Defective", "extractor 'means': its backend 'backends:Defective' failed: KeyError: 'beads\\nare missing'"),
        ("Exiting", "its backend 'backends:Exiting' failed: SystemExit: 3"),
        ("Panicking", "its backend 'backends:Panicking' failed: Panic: index out of bounds"),
        ("Forgetful", "extractor 'means': its backend 'backends:Forgetful': `delegate` is None; expected str"),
        ("Nameless", "`fingerprint` is 'abacus'; expected one that edge_agent.vision.preprocessing.fingerprint_of"),
        ("Doubles", "gave float64 (6,); expected features float32 (6,)"),
        ("Short", "gave float32 (5,); expected features float32 (6,)"),
        ("Absent", "cannot be loaded: AttributeError: module 'backends' has no attribute 'Absent'; install its plugin"),
        ("absent_package.x:Y", "cannot be loaded: ModuleNotFoundError: No module named 'absent_package'; install"),
        ("backends:NO_CLASS", "extractor 'means': its backend 'backends:NO_CLASS' is 3; expected a class"),
    ],
)  # fmt: skip
def test_a_backend_that_cannot_work_says_why(make_engine: MakeEngine, backend: str, reason: str) -> None:
    """The engine does not start, in one line that names the backend and what is wrong."""
    with pytest.raises(EngineError) as caught:
        make_engine(card=card_of(backend)).start()

    assert str(caught.value).startswith("the engine cannot start: ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_features_that_are_no_numbers_are_refused(
    make_engine: MakeEngine,
    drop: Drop,
    photo: bytes,
    encode: Callable[..., bytes],
    pictures: Callable[..., Any],
) -> None:
    """The picture is answered with an error that may pass, and the next one is looked at."""
    white = encode(pictures(8, 8).point(lambda _value: 255), "PNG")

    bad, good = make_engine(card=card_of("Infinite")).extract([drop(white), drop(photo)])

    assert bad.features is None
    assert "not finite" in str(bad.error)
    assert not bad.permanent
    assert good.features is not None


def test_a_backend_that_dies_is_started_again(
    make_engine: MakeEngine, drop: Drop, photo: bytes, tmp_path: Path
) -> None:
    """A crash in it is a crash of the engine: the picture is looked at by the next process."""
    # Without a sandbox, because it remembers in a file that it died.
    free = ExtractorConfig(sandbox="off")
    engine = make_engine(card=card_of("Dying", marker=os.fspath(tmp_path / "died")), extractor=free)

    first, second = engine.extract([drop(photo), drop(photo)])

    assert (tmp_path / "died").exists()
    assert (first.error, second.error) == (None, None)
    assert engine.restarts == 1


@pytest.mark.parametrize("name", ["onnx", "a:b:c", "a.b", "a-b:C", ":C", "a:", "os.system('x'):C"])
def test_a_backend_is_a_place_in_a_module(name: str) -> None:
    """Anything else in a card is refused when the card is read."""
    with pytest.raises(ExtractorError, match=r"means: .*backend"):
        card_from(
            {
                "name": "means",
                "sha256": "ab" * 32,
                "n_features": 6,
                "input": {"width": 8, "height": 8, "mean": 0.0, "std": 1.0},
                "backend": name,
            },
            path=Path("x"),
            source="means",
        )


def test_only_tflite_goes_into_models(tmp_path: Path) -> None:
    """A model that is saved with its extractor would need the plugin wherever it goes; that is refused at once."""
    model = tmp_path / "means.abacus"
    model.write_bytes(b"beads")

    with pytest.raises(MLModelError, match="is run by backends:Means; only a TFLite extractor"):
        ExtractorStage(msgspec.structs.replace(card_of("Means"), path=model))

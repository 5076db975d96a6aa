"""Extractors look at pictures in a process that may end, and whatever becomes of it is one error."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge_agent.config import PicturesConfig
from edge_agent.errors import ExtractorError
from edge_agent.vision.audition import AuditionQuestion, hear
from edge_agent.vision.extractor import FeatureExtractor
from edge_agent.vision.images import decode

WORKERS = Path(__file__).parent / "workers"


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("signal", "ended the process by signal 11"),
        ("words", "status 1: out of everything"),
        ("nonsense", "gave no answer"),
        ("slow", "more than 0.5 seconds"),
    ],
)
def test_what_becomes_of_the_process_is_told(
    monkeypatch: pytest.MonkeyPatch, card, how: str, message: str
) -> None:
    """A crash, words, nonsense and silence are an `ExtractorError` each, and the caller goes on."""
    monkeypatch.syspath_prepend(str(WORKERS))
    question = AuditionQuestion(cards=(card,), pictures=(how,))

    with pytest.raises(ExtractorError, match=message):
        hear(question, module="dying_performance", timeout_seconds=0.5 if how == "slow" else 60.0)


def test_features_are_those_of_the_agent(tmp_path: Path, card, photo: bytes) -> None:
    """Bit for bit what the extractor gives in this process; pictures that cannot be read are passed over."""
    (tmp_path / "good.jpg").write_bytes(photo)
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    files = [str(tmp_path / name) for name in ("bad.jpg", "missing.jpg", "good.jpg")]

    answer = hear(AuditionQuestion(cards=(card, card), pictures=tuple(files)))

    pixels = decode(photo, limits=PicturesConfig(), target=card.size).pixels
    expected = FeatureExtractor(card).extract(pixels)
    assert answer.seen == (2,)
    assert len(answer.performances) == 2
    for performance in answer.performances:
        assert (performance.matrix(card.n_features) == expected[None]).all()
        assert performance.milliseconds > 0.0


def test_a_refusal_of_the_runtime_is_in_the_performance(make_card, tmp_path: Path) -> None:
    """One extractor that is not what its card says does not keep the others from being heard."""
    good = make_card("coral_mobilenet_v1_0.25_128_quant_features.tflite", 256, 128)
    wrong = make_card("coral_mobilenet_v1_0.25_128_quant_features.tflite", 255, 128)

    answer = hear(AuditionQuestion(cards=(wrong, good), pictures=()))

    assert "256 features, not 255" in answer.performances[0].error
    assert not answer.performances[1].error


def test_a_plugins_backend_is_heard_beside_the_others(
    monkeypatch: pytest.MonkeyPatch, card, tmp_path: Path, photo: bytes
) -> None:
    """Each extractor is opened by what its card names, as the engine does."""
    monkeypatch.syspath_prepend(str(WORKERS))
    (tmp_path / "good.jpg").write_bytes(photo)
    abacus = msgspec.structs.replace(card, name="means", n_features=6, backend="backends:Means")

    answer = hear(AuditionQuestion(cards=(card, abacus), pictures=(str(tmp_path / "good.jpg"),)))

    built_in, guest = answer.performances
    pixels = decode(photo, limits=PicturesConfig(), target=card.size).pixels
    assert (built_in.error, guest.error) == ("", "")
    np.testing.assert_allclose(guest.matrix(6)[0], pixels.mean(axis=(1, 2))[:6], rtol=1e-6)

"""The comparison with the CPU, with an accelerator that is no more than a function."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.errors import ExtractorError
from edge_agent.vision.canary import Canary
from edge_agent.vision.delegate_spec import DelegateUse
from edge_agent.vision.extractor import FeatureExtractor


class Accelerator:
    """Computes what the CPU does until it is told to turn wrong."""

    def __init__(self, card):
        self._cpu, self.wrong = FeatureExtractor(card), False

    def extract(self, pixels):
        features = self._cpu.extract(pixels)
        return features[::-1].copy() if self.wrong else features


@pytest.mark.parametrize("comparable", [True, False])
def test_an_accelerator_that_turns_wrong_is_seen(card, comparable):
    """By the CPU, or, where that cannot run the model, by what it made of one picture itself before."""
    accelerator = Accelerator(card)
    use = DelegateUse(name="x", library="x", comparable=comparable)
    canary = Canary(card, accelerator, use, runtime="auto", threads=1)
    pixels = np.random.default_rng(1).integers(0, 255, (card.height, card.width, 3), dtype=np.uint8)

    assert canary.cosine() is None
    canary.saw(pixels, accelerator.extract(pixels))
    assert canary.cosine() > 0.999
    accelerator.wrong = True
    canary.saw(pixels, accelerator.extract(pixels))
    assert canary.cosine() < 0.9


def test_nothing_is_held_against_it_where_the_cpu_cannot_look(card, tmp_path):
    """The file may be gone by then, or the memory full."""
    accelerator = Accelerator(card)
    gone = type(card)(
        **{name: getattr(card, name) for name in card.__struct_fields__} | {"path": tmp_path / "x"}
    )
    canary = Canary(gone, accelerator, DelegateUse(name="x", library="x"), runtime="auto", threads=1)
    canary.saw(np.zeros((card.height, card.width, 3), np.uint8), np.ones(card.n_features, np.float32))

    with pytest.raises(ExtractorError):
        FeatureExtractor(gone)
    assert canary.cosine() is None

"""Fixtures of the learning tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import edge_agent
from edge_agent.ml.batches import MLArrayBatchProvider
from edge_agent.ml.constraints import MLImageConstraint, MLMultiArrayConstraint
from edge_agent.ml.description import MLFeatureDescription
from edge_agent.ml.features import MLDictionaryFeatureProvider, MLFeatureType, MLFeatureValue
from edge_agent.ml.model import MLModel, MLModelConfiguration
from edge_agent.ml.pipeline import extractor_model
from edge_agent.ml.pixels import MLPixelFormat, PixelBuffer
from edge_agent.ml.update import MLUpdateTask

Clouds = Callable[..., tuple[NDArray[np.float32], list[str]]]


@pytest.fixture(name="clouds", scope="session")
def _clouds() -> Clouds:
    """Makes n samples of C Gaussian classes in D dimensions, kept above 0 as features of a network are."""

    def make(
        n: int, *, D: int = 12, C: int = 3, noise: float = 0.5, seed: int = 0
    ) -> tuple[NDArray[np.float32], list[str]]:
        rng = np.random.default_rng(seed)
        means = np.abs(np.random.default_rng(99).normal(size=(C, D))) * 2
        y = np.arange(n) % C
        X = np.maximum(means[y] + noise * rng.normal(size=(n, D)), 0.0).astype(np.float32)
        return X, [f"class {k}" for k in y]

    return make


class Eye:
    """A frozen stage that sees pictures of 4 x 4: the mean of each channel, times `gain`. It counts."""

    kind = "eye"
    parameter_descriptions = ()
    n_features = 3

    def __init__(self, name: str = "eye", gain: float = 1.0, input_name: str = "image") -> None:
        self.fingerprint = name
        self.seen = 0
        self.gain = gain
        constraint = MLImageConstraint(4, 4, MLPixelFormat.RGB)
        self.input = MLFeatureDescription(input_name, MLFeatureType.IMAGE, image_constraint=constraint)

    def features(self, value: MLFeatureValue) -> NDArray[np.float32]:
        """The means."""
        self.seen += 1
        mean = value.image_buffer_value.pixels.mean(axis=(0, 1)) * self.gain
        return np.asarray(mean, np.float32)

    def describe(self) -> dict[str, object]:
        """The gain."""
        return {"gain": self.gain}

    def files(self) -> dict[str, bytes]:
        """None."""
        return {}


class Sum:
    """A frozen stage that adds a few numbers up, and gives the sum and its square."""

    kind = "sum"
    parameter_descriptions = ()
    n_features = 2

    def __init__(self, n_inputs: int = 3) -> None:
        self.fingerprint = f"sum of {n_inputs}"
        self.input = MLFeatureDescription(
            "numbers",
            MLFeatureType.MULTI_ARRAY,
            multi_array_constraint=MLMultiArrayConstraint((n_inputs,), converts=True),
        )

    def features(self, value: MLFeatureValue) -> NDArray[np.float32]:
        """The sum and its square."""
        total = float(value.multi_array_value.sum())
        return np.array([total, total * total], np.float32)

    def describe(self) -> dict[str, object]:
        """Nothing."""
        return {}

    def files(self) -> dict[str, bytes]:
        """None."""
        return {}


@pytest.fixture(name="eye")
def _eye() -> type[Eye]:
    """Makes frozen stages that see."""
    return Eye


@pytest.fixture(name="adder")
def _adder() -> type[Sum]:
    """Makes frozen stages that add up."""
    return Sum


@pytest.fixture(name="tiny", scope="session")
def _tiny() -> Callable[..., MLFeatureValue]:
    """Makes pictures of 4 x 4 (or another side), all of one colour but for some noise."""

    def make(colour: str = "red", seed: int = 0, side: int = 4) -> MLFeatureValue:
        rng = np.random.default_rng(seed)
        pixels = rng.integers(0, 60, size=(side, side, 3), dtype=np.uint8)
        pixels[:, :, ("red", "green", "blue").index(colour)] += 180
        return MLFeatureValue(pixel_buffer=PixelBuffer(pixels))

    return make


CARD = Path(edge_agent.__file__).parent / "extractors" / "efficientnet_lite0_int8.json"


@pytest.fixture(name="card", scope="session")
def _card() -> Path:
    """The card of the embedded extractor."""
    return CARD


@pytest.fixture(name="extractor", scope="session")
def _extractor() -> MLModel:
    """The embedded extractor as a model; its interpreter is loaded once for all tests."""
    return extractor_model(CARD)


@pytest.fixture(name="scene", scope="session")
def _scene() -> Callable[..., MLFeatureValue]:
    """Makes pictures the embedded extractor takes: stripes, rings or squares, with noise of a seed."""

    def make(kind: str = "stripes", seed: int = 0) -> MLFeatureValue:
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[0:224, 0:224] - rng.integers(90, 134, size=(2, 1, 1))
        shape = {
            "stripes": np.sin(x / rng.uniform(4, 6)),
            "rings": np.sin(np.hypot(x, y) / rng.uniform(4, 6)),
            "squares": np.sin(x / rng.uniform(8, 9)) * np.sin(y / rng.uniform(8, 9)),
        }[kind]
        pixels = 127 + 100 * np.sign(shape)[:, :, None] + rng.normal(scale=8, size=(224, 224, 3))
        return MLFeatureValue(pixel_buffer=PixelBuffer(np.clip(pixels, 0, 255).astype(np.uint8)))

    return make


@pytest.fixture(name="labelled", scope="session")
def _labelled() -> Callable[..., MLArrayBatchProvider]:
    """Makes a batch of labelled pictures; the feature is called `image`."""

    def make(pairs: Iterable[tuple[MLFeatureValue, object]], name: str = "image") -> MLArrayBatchProvider:
        return MLArrayBatchProvider(
            [MLDictionaryFeatureProvider({name: value, "label": label}) for value, label in pairs]
        )

    return make


@pytest.fixture(name="updated", scope="session")
def _updated() -> Callable[..., MLModel]:
    """Runs an update task to its end and gives the model; a failure is raised."""

    def run(model: object, batch: object, parameters: dict[Any, object] | None = None) -> MLModel:
        task = MLUpdateTask(model, batch, MLModelConfiguration(parameters=parameters or {}))
        task.resume()
        assert task.wait(60)
        if task.error is not None:
            raise task.error
        assert task.model is not None
        return task.model

    return run

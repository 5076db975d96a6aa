"""The plugin `onnx`: a model in ONNX's format becomes an extractor, and says why where it cannot.

What needs ONNX Runtime is left out where it or `onnx`, which writes the models, is not installed:
`pip install 'plugins/edge-agent-onnx[test]'`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge_agent.config import ExtractorConfig, PicturesConfig, PluginsConfig
from edge_agent.errors import ConfigError, EngineError, PluginError
from edge_agent.plugins import load_plugins
from edge_agent.vision.engine import Engine, Extraction
from edge_agent.vision.preprocessing import ExtractorCard

pytest.importorskip("edge_agent_onnx", reason="edge-agent-onnx is not installed")

MISSING = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
needs_runtime = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")

HEIGHT, WIDTH, CHANNELS = 20, 24, 16
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


def weights() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """A convolution 3 x 3 with a stride of 2, and its bias; always the same."""
    rng = np.random.default_rng(5)
    return rng.normal(size=(CHANNELS, 3, 3, 3)).astype(np.float32), rng.normal(size=CHANNELS).astype(
        np.float32
    )


def reference(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What the model gives for pixels [H, W, 3], in plain numpy: convolution, ReLU, the mean of each channel."""
    kernel, bias = weights()
    x = ((pixels - MEAN) / STD).transpose(2, 0, 1)
    x = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    found = np.zeros((CHANNELS, HEIGHT // 2, WIDTH // 2))
    for row in range(HEIGHT // 2):
        for column in range(WIDTH // 2):
            patch = x[:, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
            found[:, row, column] = np.tensordot(kernel, patch, axes=3) + bias
    return np.maximum(found, 0).mean(axis=(1, 2))


def write_model(path: Path, *, batch: int | str = 1, kind: str = "FLOAT", second: bool = False) -> None:
    """The model of `reference` as a file; `second`: the map before the mean is an output, too."""
    from onnx import TensorProto, checker, helper, numpy_helper, save

    kernel, bias = weights()
    nodes = [
        helper.make_node("Cast", ["picture"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["x", "kernel", "bias"], ["y"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["y"], ["map"]),
        helper.make_node("GlobalAveragePool", ["map"], ["pooled"]),
    ]
    picture = helper.make_tensor_value_info("picture", getattr(TensorProto, kind), [batch, 3, HEIGHT, WIDTH])
    outputs = [helper.make_tensor_value_info("pooled", TensorProto.FLOAT, [batch, CHANNELS, 1, 1])]
    if second:
        shape = [batch, CHANNELS, HEIGHT // 2, WIDTH // 2]
        outputs.append(helper.make_tensor_value_info("map", TensorProto.FLOAT, shape))
    constants = [numpy_helper.from_array(kernel, "kernel"), numpy_helper.from_array(bias, "bias")]
    graph = helper.make_graph(nodes, "small", [picture], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    checker.check_model(model)
    save(model, os.fspath(path))


def write_card(model: Path, **more: Any) -> None:
    """The card beside a model."""
    card = {
        "name": "small",
        "file": model.name,
        "sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
        "n_features": CHANNELS,
        "input": {"width": WIDTH, "height": HEIGHT, "layout": "NCHW", "mean": MEAN, "std": STD},
    }
    model.with_suffix(".json").write_text(json.dumps(card | more))


def card_from_plugin(**settings: Any) -> ExtractorCard:
    """What the plugin registers, loaded as the agent does."""
    host = load_plugins(
        PluginsConfig(settings={"onnx": settings}),
        built_in=[],
        entry_points=[EntryPoint("onnx", "edge_agent_onnx:Onnx", "edge_agent")],
    )
    (card,) = host.register_extractors().values()
    return card


@pytest.fixture(name="model")
def _model(tmp_path: Path) -> Path:
    """A model with its card beside it."""
    path = tmp_path / "small.onnx"
    write_model(path)
    write_card(path)
    return path


@pytest.fixture(name="open_engine")
def _open_engine() -> Iterator[Callable[..., Engine]]:
    """Engines for a model; each is closed afterwards."""
    engines: list[Engine] = []

    def open_engine(model: Path, **settings: Any) -> Engine:
        card = card_from_plugin(model=str(model), **settings)
        engines.append(Engine(card, PicturesConfig(), ExtractorConfig()))
        return engines[-1]

    yield open_engine
    for engine in engines:
        engine.close()


def noise(seed: int) -> np.ndarray[Any, Any]:
    """A picture of the model's size."""
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def look(engine: Engine, folder: Path, *pictures: np.ndarray[Any, Any]) -> list[Extraction]:
    """Pictures as files, looked at."""
    jobs = []
    for number, pixels in enumerate(pictures):
        path = folder / f"{number}.png"
        Image.fromarray(pixels).save(path)
        jobs.append((number, os.open(path, os.O_RDONLY)))
    return list(engine.extract(jobs))


# ---------------------------------------------------------------------- settings


def test_without_a_model_nothing_is_offered() -> None:
    """Installed and not configured, the plugin changes nothing."""
    host = load_plugins(
        PluginsConfig(),
        built_in=[],
        entry_points=[EntryPoint("onnx", "edge_agent_onnx:Onnx", "edge_agent")],
    )

    assert host.register_extractors() == {}


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"model": "small.onnx"}, "model: 'small.onnx' is not an absolute path"),
        ({"providers": ["CUDA"]}, "'CUDA' is no name of a provider; one is written 'CUDAExecutionProvider'"),
        ({"provider": ["x"]}, "provider"),
    ],
)
def test_settings_that_are_wrong_are_told(settings: dict[str, Any], reason: str) -> None:
    """They are problems of the configuration, with their key."""
    with pytest.raises(ConfigError, match=r"plugins\.onnx") as caught:
        card_from_plugin(**settings)

    assert reason in str(caught.value)


def test_the_card_lies_beside_the_model(tmp_path: Path) -> None:
    """It is read with the settings laid over it; one that is missing or another model's stops the start."""
    model = tmp_path / "small.onnx"
    model.write_bytes(b"no matter")
    with pytest.raises(PluginError, match=r"onnx.*small\.json: cannot be read"):
        card_from_plugin(model=str(model))

    write_card(model)
    card = card_from_plugin(model=str(model), output="pooled", providers=["CUDAExecutionProvider"])

    assert (card.name, card.path, card.output) == ("small", model, "pooled")
    assert card.backend == "edge_agent_onnx.backend:OnnxExtractor"
    assert card.options == {"providers": ["CUDAExecutionProvider"], "strict": False}

    write_card(model, file="other.onnx")
    with pytest.raises(PluginError, match=r"describes other\.onnx, not small\.onnx"):
        card_from_plugin(model=str(model))


def test_without_the_runtime_the_engine_says_what_to_install(
    tmp_path: Path, open_engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason names the module that is missing, and the agent's process is none the worse."""
    model = tmp_path / "small.onnx"
    model.write_bytes(b"no matter")
    write_card(model)
    (tmp_path / "onnxruntime.py").write_text("raise ModuleNotFoundError(\"No module named 'onnxruntime'\")")
    monkeypatch.syspath_prepend(str(tmp_path))

    with pytest.raises(EngineError, match="No module named 'onnxruntime'; install its plugin, and what that"):
        open_engine(model).start()


# ---------------------------------------------------------------------- features


@needs_runtime
@pytest.mark.parametrize("batch", [1, "batch"])
def test_features_are_what_numpy_gives(
    tmp_path: Path, open_engine: Callable[..., Engine], batch: int | str
) -> None:
    """Preprocessing by the card and the model's own arithmetic; a batch of free length is taken as one."""
    model = tmp_path / "small.onnx"
    write_model(model, batch=batch)
    write_card(model)
    pictures = [noise(1), noise(2), np.zeros((HEIGHT, WIDTH, 3), np.uint8)]

    engine = open_engine(model)
    seen = look(engine, tmp_path, *pictures)

    for pixels, one in zip(pictures, seen, strict=True):
        assert one.error is None
        assert one.features is not None
        np.testing.assert_allclose(one.features, reference(pixels), rtol=1e-4, atol=1e-5)
    facts = engine.facts
    assert facts is not None
    assert facts.runtime.startswith("onnxruntime 1.")
    assert (facts.delegate, facts.notice) == ("cpu", "")
    digest = hashlib.sha256(model.read_bytes()).hexdigest()[:16]
    assert re.match(rf"small:{digest}:pre1-\w+:onnxruntime-1\.", facts.fingerprint)
    assert "onnxruntime" not in sys.modules, "the agent's own process has loaded native code"


@needs_runtime
def test_models_may_take_bytes(tmp_path: Path, open_engine: Callable[..., Engine]) -> None:
    """An input of uint8 is given whole numbers: plain pixels with a mean of 0 and a std of 1."""
    model = tmp_path / "small.onnx"
    write_model(model, kind="UINT8")
    plain = {"width": WIDTH, "height": HEIGHT, "layout": "NCHW", "mean": 0.0, "std": 1.0}
    write_card(model, input=plain)
    pixels = noise(1)

    (seen,) = look(open_engine(model), tmp_path, pixels)

    assert seen.features is not None
    np.testing.assert_allclose(seen.features, reference(pixels * np.array(STD) + MEAN), rtol=1e-4, atol=1e-3)


@needs_runtime
def test_the_output_is_named_where_there_are_several(
    tmp_path: Path, open_engine: Callable[..., Engine]
) -> None:
    """By the settings or by the card; unnamed, misnamed or no vector, the reason lists what there is."""
    model = tmp_path / "small.onnx"
    write_model(model, second=True)
    write_card(model)

    with pytest.raises(EngineError, match="has the outputs 'pooled', 'map'; name the one that is"):
        open_engine(model).start()
    with pytest.raises(EngineError, match="has the outputs 'pooled', 'map', and no 'poled'"):
        open_engine(model, output="poled").start()
    with pytest.raises(EngineError, match=r"'map' is float32 \[1, 16, 10, 12\], not 16 features"):
        open_engine(model, output="map").start()
    assert open_engine(model, output="pooled").start().fingerprint.endswith(":cpu:pooled")


@needs_runtime
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"n_features": 15}, "not 15 features; name another as `output`, or mend n_features in the card"),
        ({"input": {"width": 20, "height": 24, "layout": "NCHW", "mean": 0, "std": 1}}, "its card says [1, 3, 24, 20]"),
        ({"input": {"width": 24, "height": 20, "mean": 0, "std": 1}}, "its card says [1, 20, 24, 3]"),
        ({"sha256": "ab" * 32}, "damaged or not the file its card describes"),
    ],
)  # fmt: skip
def test_a_card_that_does_not_fit_says_where(
    model: Path, open_engine: Callable[..., Engine], change: dict[str, Any], reason: str
) -> None:
    """Size, layout, number of features and the file itself are compared before any picture is looked at."""
    write_card(model, **change)

    with pytest.raises(EngineError) as caught:
        open_engine(model).start()

    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@needs_runtime
def test_a_damaged_model_is_refused(tmp_path: Path, open_engine: Callable[..., Engine]) -> None:
    """ONNX Runtime's own words, in one line with the extractor's name."""
    model = tmp_path / "small.onnx"
    model.write_bytes(b"this is no model")
    write_card(model)

    with pytest.raises(EngineError, match=r"extractor 'small'.* failed: \w+: .*"):
        open_engine(model).start()


@needs_runtime
def test_a_provider_that_is_missing_is_told(
    model: Path, open_engine: Callable[..., Engine], caplog: pytest.LogCaptureFixture
) -> None:
    """The processor works in its place and the log says so; with `strict` the engine does not start."""
    with caplog.at_level(logging.WARNING):
        facts = open_engine(model, providers=["MissingExecutionProvider"]).start()

    assert facts.delegate == "cpu"
    assert facts.notice.startswith("MissingExecutionProvider cannot be used by this ONNX Runtime, which has ")
    assert any(facts.notice in message for message in caplog.messages)
    with pytest.raises(EngineError, match=r"MissingExecutionProvider cannot be used .*`strict` is set"):
        open_engine(model, providers=["MissingExecutionProvider"], strict=True).start()

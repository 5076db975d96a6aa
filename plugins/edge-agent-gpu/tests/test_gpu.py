"""The plugin `gpu`: a GPU that agrees with the processor is used, and every other one is told of.

What needs a GPU is left out where there is no Vulkan driver. A GPU made of software will do: README.md says how.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import edge_agent
from edge_agent.config import ExtractorConfig, PicturesConfig, PluginsConfig
from edge_agent.errors import ConfigError, EngineError, PluginError
from edge_agent.plugins import load_plugins
from edge_agent.vision import images
from edge_agent.vision.engine import Engine, Extraction
from edge_agent.vision.extractor import FeatureExtractor
from edge_agent.vision.preprocessing import ExtractorCard, load_card

pytest.importorskip("edge_agent_gpu", reason="edge-agent-gpu is not installed")

from edge_agent_gpu import vulkan
from edge_agent_gpu.float_model import main as float_model_main
from edge_agent_gpu.float_model import write_float_model
from edge_agent_gpu.trial import Trial, try_gpu

WORKERS = Path(__file__).parent / "workers"
EMBEDDED = Path(edge_agent.__file__).parent / "extractors" / "efficientnet_lite0_int8.json"
SHARED = Path(__file__).resolve().parents[4] / "shared" / "testdata"
MODELS = SHARED / "models"

PHOTOGRAPHS = ("hot_dog.jpg", "owl.jpg", "parrot.jpg")

AWAY = {"driver": "/nowhere/driver.json"}
"""No GPU, on whatever machine this runs."""


def no_gpu() -> str:
    """Why tests on a GPU are left out; empty where they run."""
    if importlib.util.find_spec("ai_edge_litert") is None:
        return "LiteRT is not installed"
    if not SHARED.is_dir():
        return "the shared test data (../shared/testdata) is not on this machine"
    return vulkan.missing()


needs_pictures = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared test data is not on this machine")
needs_gpu = pytest.mark.skipif(bool(no_gpu()), reason=no_gpu() or "there is a GPU")


def card_from_plugin(**settings: Any) -> ExtractorCard:
    """What the plugin registers, loaded as the agent does."""
    host = load_plugins(
        PluginsConfig(settings={"gpu": settings}),
        built_in=[],
        entry_points=[EntryPoint("gpu", "edge_agent_gpu:Gpu", "edge_agent")],
    )
    (card,) = host.register_extractors().values()
    return card


def model_with_card(folder: Path, original: Path, n_features: int, side: int, **more: Any) -> Path:
    """A copy of a model with a card beside it."""
    model = folder / original.name
    model.write_bytes(original.read_bytes())
    card = {
        "name": "small",
        "file": model.name,
        "sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
        "n_features": n_features,
        "input": {"width": side, "height": side, "mean": 127.5, "std": 127.5},
    }
    model.with_suffix(".json").write_text(json.dumps(card | more))
    return model


@pytest.fixture(name="open_engine")
def _open_engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[ExtractorCard], Engine]]:
    """Engines with the workers of these tests within reach; each is closed afterwards."""
    monkeypatch.syspath_prepend(str(WORKERS))
    engines: list[Engine] = []

    def open_engine(card: ExtractorCard, **extractor: str) -> Engine:
        engines.append(Engine(card, PicturesConfig(), ExtractorConfig(**extractor)))
        return engines[-1]

    yield open_engine
    for engine in engines:
        engine.close()


def look(engine: Engine, *pictures: Path) -> list[Extraction]:
    """Pictures, looked at."""
    return list(engine.extract((path.name, os.open(path, os.O_RDONLY)) for path in pictures))


@pytest.fixture(name="picture")
def _picture(tmp_path: Path) -> Path:
    """A colourful picture."""
    from PIL import Image

    path = tmp_path / "picture.png"
    pixels = np.random.default_rng(1).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def on_cpu(card: ExtractorCard, picture: Path) -> np.ndarray[Any, Any]:
    """The processor's features."""
    pixels = images.decode(picture.read_bytes(), limits=PicturesConfig(), target=card.size).pixels
    return FeatureExtractor(card).extract(pixels)


def cosine(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    """Of two vectors of features."""
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


# ---------------------------------------------------------------------- settings


def test_without_a_model_nothing_is_offered() -> None:
    """Installed and not configured, the plugin changes nothing."""
    host = load_plugins(
        PluginsConfig(),
        built_in=[],
        entry_points=[EntryPoint("gpu", "edge_agent_gpu:Gpu", "edge_agent")],
    )

    assert host.register_extractors() == {}


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"model": "small.tflite"}, "model: 'small.tflite' is not an absolute path"),
        ({"driver": "driver.json"}, "driver: 'driver.json' is not an absolute path"),
        ({"min_cosine": 0.2}, "min_cosine"),
        ({"trial_seconds": 0}, "trial_seconds"),
    ],
)
def test_settings_that_are_wrong_are_told(settings: dict[str, Any], reason: str) -> None:
    """They are problems of the configuration, with their key."""
    with pytest.raises(ConfigError, match=r"plugins\.gpu") as caught:
        card_from_plugin(**settings)

    assert reason in str(caught.value)


def test_the_card_lies_beside_the_model(tmp_path: Path) -> None:
    """It gets a name of its own, so that the model may also be offered for the processor; others' cards are refused."""
    file = tmp_path / "in" / "small.tflite"
    file.parent.mkdir()
    file.write_bytes(b"no matter")
    model = model_with_card(tmp_path, file, 8, 32)

    card = card_from_plugin(model=str(model), strict=True)

    assert (card.name, card.path) == ("small-gpu", model)
    assert card.backend == "edge_agent_gpu.backend:GpuExtractor"
    assert card.options == {"strict": True, "min_cosine": 0.999, "driver": "", "trial_seconds": 30.0}
    assert card_from_plugin(model=str(model), name="quick").name == "quick"

    model_with_card(tmp_path, file, 8, 32, file="other.tflite")
    with pytest.raises(PluginError, match=r"describes other\.tflite, not small\.tflite"):
        card_from_plugin(model=str(model))
    model_with_card(tmp_path, file, 8, 32, backend="other:Runtime")
    with pytest.raises(PluginError, match="is for other:Runtime; the GPU runs TFLite models"):
        card_from_plugin(model=str(model))
    model.with_suffix(".json").unlink()
    with pytest.raises(PluginError, match=r"gpu.*small\.json: cannot be read"):
        card_from_plugin(model=str(model))


# ---------------------------------------------------------------------- is there a driver?


def test_drivers_are_looked_for_without_loading_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment names goes before what is installed; each thing that is missing has its reason."""
    monkeypatch.setattr(vulkan, "LOADER", "libc.so.6")
    monkeypatch.setattr(vulkan, "FOLDERS", (str(tmp_path),))
    driver = tmp_path / "driver.json"
    named = {"VK_ICD_FILENAMES": str(driver)}
    assert "no Vulkan driver is installed; install the one of your GPU" in vulkan.missing({})
    assert vulkan.missing(named) == f"the Vulkan driver {driver} cannot be read: No such file or directory"

    driver.write_text("[]")
    assert vulkan.missing(named) == f"{driver} does not describe a Vulkan driver"
    driver.write_text(json.dumps({"ICD": {"library_path": "./libdriver.so"}}))
    assert (
        vulkan.missing(named)
        == f"the Vulkan driver {driver} names a library that is not there, ./libdriver.so"
    )

    (tmp_path / "libdriver.so").write_bytes(b"")
    assert vulkan.missing(named) == ""
    assert vulkan.missing(named | {"VK_DRIVER_FILES": "/nowhere.json"}) != ""
    assert vulkan.missing({"VK_DRIVER_FILES": f"/nowhere.json:{driver}"}) == ""
    (tmp_path / "vulkan" / "icd.d").mkdir(parents=True)
    (tmp_path / "vulkan" / "icd.d" / "a.json").write_text(json.dumps({"ICD": {"library_path": "libany.so"}}))
    assert vulkan.missing({}) == ""


def test_without_a_loader_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the package that brings it."""
    monkeypatch.setattr(vulkan, "LOADER", "libabsent.so.1")

    assert vulkan.missing({}) == (
        "the Vulkan loader, libabsent.so.1, is not installed; `apt-get install libvulkan1` brings it"
    )


# ---------------------------------------------------------------------- the trial


@pytest.mark.parametrize(
    ("module", "timeout", "problem"),
    [
        (
            "trial_that_dies",
            30.0,
            "ended the process that tried it (SIGABRT: the shader compiler has a bad day)",
        ),
        ("trial_that_hangs", 0.5, "the GPU was not ready within 0.5 seconds (`trial_seconds`)"),
        ("trial_that_is_not_there", 30.0, "exit status 1"),
    ],
)
def test_a_driver_that_crashes_or_hangs_is_a_reason(
    monkeypatch: pytest.MonkeyPatch, module: str, timeout: float, problem: str
) -> None:
    """It does so in a process that is thrown away."""
    monkeypatch.setenv("PYTHONPATH", f"{WORKERS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")

    trial = try_gpu(load_card(EMBEDDED), threads=1, timeout_seconds=timeout, module=module)

    assert problem in trial.problem
    assert "\n" not in trial.problem


def test_only_a_gpu_that_agrees_is_used() -> None:
    """A problem goes before the cosine; a cosine below the limit is told with both."""
    assert Trial(problem="it is away").objection(0.999) == "it is away"
    assert Trial(cosine=0.9995).objection(0.999) == ""
    assert "a cosine of 0.2804 to the processor's, less than 0.999" in Trial(cosine=0.2804).objection(0.999)


def test_a_gpu_that_is_slower_is_told() -> None:
    """With both figures; a faster one needs no words."""
    assert Trial(gpu_seconds=0.002, cpu_seconds=0.004).slowness() == ""
    assert Trial(gpu_seconds=0.11, cpu_seconds=0.0014).slowness() == (
        "the GPU takes 110.0 ms for a picture, and the processor would take 1.4 ms"
    )


# ---------------------------------------------------------------------- an int8 model in float32


@pytest.fixture(name="in_float32", scope="module")
def _in_float32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded extractor in float32, with its card."""
    model = tmp_path_factory.mktemp("float32") / "lite0.tflite"
    write_float_model(EMBEDDED.with_suffix(".tflite"), model)
    return model


@needs_pictures
def test_the_embedded_extractor_in_float32_sees_the_same(in_float32: Path) -> None:
    """But for the rounding: each weight stands for the same number, and the card is one for the GPU."""
    whole, rounded = load_card(in_float32.with_suffix(".json")), load_card(EMBEDDED)
    assert (whole.n_features, whole.input) == (rounded.n_features, rounded.input)
    assert whole.sha256 != rounded.sha256

    for name in PHOTOGRAPHS:
        assert (
            cosine(on_cpu(whole, SHARED / "golden" / name), on_cpu(rounded, SHARED / "golden" / name)) > 0.97
        )


def test_what_cannot_be_rewritten_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes that are no model, a model without a card, and a call without paths: a line, and no file."""
    model = tmp_path / "in.tflite"
    model.write_bytes(b"no model")

    assert float_model_main([str(model)]) == 2
    assert float_model_main([str(model), str(tmp_path / "out.tflite")]) == 1
    model.with_suffix(".json").write_text(
        json.dumps(json.loads(EMBEDDED.read_bytes()) | {"file": "in.tflite"})
    )
    assert float_model_main([str(model), str(tmp_path / "out.tflite")]) == 1

    usage, no_card, damaged = capsys.readouterr().err.splitlines()
    assert "usage: python -m edge_agent_gpu.float_model" in usage
    assert "in.json: cannot be read" in no_card
    assert "in.tflite" in damaged
    assert not (tmp_path / "out.tflite").exists()


# ---------------------------------------------------------------------- without a GPU


def test_without_a_gpu_the_processor_works_and_says_so(
    open_engine: Callable[..., Engine], picture: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Features and fingerprint are the processor's, and the log has a warning with the reason."""
    card = card_from_plugin(model=str(EMBEDDED.with_suffix(".tflite")), **AWAY)
    engine = open_engine(card)

    with caplog.at_level(logging.WARNING):
        (seen,) = look(engine, picture)

    facts = engine.facts
    assert facts is not None
    assert facts.delegate == "cpu"
    assert facts.fingerprint == FeatureExtractor(card).fingerprint
    assert facts.notice.startswith("the processor works in place of the GPU: ")
    assert any(facts.notice in message for message in caplog.messages)
    assert seen.features is not None
    np.testing.assert_array_equal(seen.features, on_cpu(card, picture))
    assert "ai_edge_litert.compiled_model" not in sys.modules


def test_strict_rather_does_not_start(open_engine: Callable[..., Engine]) -> None:
    """The reason is the same, as an error."""
    card = card_from_plugin(model=str(EMBEDDED.with_suffix(".tflite")), strict=True, **AWAY)

    with pytest.raises(EngineError, match="`strict` is set, so the processor is not used") as caught:
        open_engine(card).start()

    assert "\n" not in str(caught.value)


def test_a_gpu_that_fails_costs_no_picture(
    open_engine: Callable[..., Engine], picture: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The engine is started again, tries the GPU, and answers the same picture by the processor."""
    card = card_from_plugin(model=str(EMBEDDED.with_suffix(".tflite")), **AWAY)
    options = card.options | {"marker": str(tmp_path / "failed")}
    card = msgspec.structs.replace(card, backend="gpu_that_fails:FailingGpu", options=options)
    # It notes in a file that it failed, which a sandbox would refuse.
    engine = open_engine(card, sandbox="off")
    assert engine.start().delegate == "gpu"

    with caplog.at_level(logging.INFO):
        first, second, third = look(engine, picture, picture, picture)

    assert (first.error, second.error, third.error) == (None, None, None)
    assert engine.restarts == 1
    assert engine.facts is not None
    assert engine.facts.delegate == "cpu"
    assert any("the GPU failed: device lost and gone" in message for message in caplog.messages)
    assert any("the processor works in place of the GPU" in message for message in caplog.messages)


# ---------------------------------------------------------------------- with a GPU


@needs_gpu
@pytest.mark.slow
def test_the_gpu_gives_the_processors_features(tmp_path: Path, open_engine: Callable[..., Engine]) -> None:
    """On real pictures the cosine is at least 0.999, and so both have one fingerprint."""
    file = MODELS / "derived" / "tm_mobilenet_v2_0.35_224_float_features.tflite"
    card = card_from_plugin(model=str(model_with_card(tmp_path, file, 1280, 224)), strict=True)
    engine = open_engine(card)
    pictures = [SHARED / "golden" / name for name in PHOTOGRAPHS]

    seen = look(engine, *pictures)

    for picture, one in zip(pictures, seen, strict=True):
        assert one.features is not None
        assert cosine(one.features, on_cpu(card, picture)) >= 0.999
    assert engine.facts is not None
    assert engine.facts.delegate == "gpu"
    assert engine.facts.fingerprint == FeatureExtractor(card).fingerprint


@needs_gpu
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_efficientnet_lite0_in_float32_is_the_same_on_the_gpu(in_float32: Path) -> None:
    """A cosine of 0.999 to the processor's features at least, on a photograph; a GPU that is software needs seconds."""
    card = load_card(in_float32.with_suffix(".json"))
    photograph = SHARED / "golden" / PHOTOGRAPHS[0]

    done = subprocess.run(
        [
            sys.executable,
            str(WORKERS / "features_of.py"),
            str(card.path.with_suffix(".json")),
            str(photograph),
        ],
        capture_output=True,
        check=True,
    )

    features = np.array(json.loads(done.stdout.splitlines()[-1]), np.float32)
    assert features.shape == (1280,)
    assert cosine(features, on_cpu(card, photograph)) >= 0.999


@needs_gpu
@pytest.mark.parametrize(
    ("file", "n_features", "side", "reason"),
    [
        ("derived/coral_mobilenet_v1_0.25_128_quant_features.tflite", 256, 128, "this model takes uint8"),
        ("tfs_mobilenet_v1_0.25_224_float_metadata.tflite", 1001, 224, "for this model: Some ops are not accelerated"),
        ("derived/tm_mobilenet_v2_0.35_224_int8_features.tflite", 1280, 224, "the GPU cannot take this model's inputs"),
    ],
)  # fmt: skip
def test_models_that_are_not_for_the_gpu(
    tmp_path: Path, open_engine: Callable[..., Engine], file: str, n_features: int, side: int, reason: str
) -> None:
    """Quantised ones, ones with other operators and ones LiteRT cannot read: the processor works, with the reason."""
    card = card_from_plugin(model=str(model_with_card(tmp_path, MODELS / file, n_features, side)))

    facts = open_engine(card).start()

    assert facts.delegate == "cpu"
    assert reason in facts.notice


@needs_gpu
def test_a_gpu_that_computes_something_else_is_not_used(
    tmp_path: Path, open_engine: Callable[..., Engine]
) -> None:
    """LiteRT runs weights of 8 bits wrongly there, without an error; the comparison finds it."""
    file = MODELS / "pinto_mobilenet_v2_0.5_96_weightquant_floatio_features.tflite"
    card = card_from_plugin(model=str(model_with_card(tmp_path, file, 1280, 96)))

    facts = open_engine(card).start()

    assert facts.delegate == "cpu"
    assert "the GPU computes something else: its features have a cosine of 0." in facts.notice

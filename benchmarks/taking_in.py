"""This is where intake is measured against bare decoding and inference on the same cores, and bytes for each sample.

The real agent runs in this process with its engine in one of its own. The clock runs from the first file that is
moved into the drop folder to the last one that left it, with its features committed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.bare import MODEL, ROOT, SIGN, Bare, Crew
from benchmarks.setting import VGA, Setting
from benchmarks.table import Row
from edge_agent import hookimpl
from edge_agent.agent.agent import Agent
from edge_agent.config import Config, DropFolderConfig, UpdateConfig
from edge_agent.default_plugins import built_in_plugins
from edge_agent.default_plugins.extractors import CARD_PATH
from edge_agent.plugins import load_plugins
from edge_agent.vision import images
from edge_agent.vision.extractor import FeatureExtractor
from edge_agent.vision.preprocessing import load_card

PATIENCE_SECONDS = 300.0
LABEL = "thing"


class Tally:
    """Counts what was stored and what was refused."""

    def __init__(self) -> None:
        self.stored = 0
        self.rejected = 0

    @hookimpl
    def sample_ingested(self) -> None:
        """One more."""
        self.stored += 1

    @hookimpl
    def sample_rejected(self) -> None:
        """One that should not be."""
        self.rejected += 1


class Taker:
    """An open agent that takes in and never learns."""

    def __init__(self, home: Path, drop: Path) -> None:
        config = Config(
            drop_folder=DropFolderConfig(settle_seconds=0.0),
            update=UpdateConfig(min_new_samples=10**6, quiet_seconds=3600.0, new_label_samples=10**6),
        )
        self.tally = Tally()
        plugins = [*built_in_plugins(config), ("tally", self.tally)]
        host = load_plugins(config.plugins, built_in=plugins, entry_points=[])
        (drop / LABEL).mkdir(parents=True, exist_ok=True)
        self.drop = drop / LABEL
        self.wrote = 0
        """Bytes, while pictures were taken in."""
        self.agent = Agent(home, config, host, drop_folder=drop)
        self.agent.open()
        self.agent.start()

    def take(self, paths: list[Path]) -> float:
        """Pictures a second."""
        wrote, before, begin = written(), self.tally.stored, time.perf_counter()
        for path in paths:
            path.rename(self.drop / path.name)
        while self.tally.stored < before + len(paths):
            if self.tally.rejected or time.perf_counter() - begin > PATIENCE_SECONDS:
                raise RuntimeError(f"pictures were not taken in: {self.agent.facts()}")
            self.agent.step_when_due()
        seconds = time.perf_counter() - begin
        self.wrote += written() - wrote
        return len(paths) / seconds


def written() -> int:
    """Bytes that this process, which is the agent's, had the kernel write so far."""
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return int(dict(line.split(": ") for line in lines)["write_bytes"])


def intake(setting: Setting) -> Iterator[Row]:
    """Rows of VGA and of 12 megapixels."""
    sizes = setting.sizes
    place = setting.place("taking-in")
    taker = Taker(place / "home", place / "drop")
    try:
        taker.take(setting.photographs(place / "first", 4, VGA))
        before = taker.tally.stored
        bytes_before = taker.wrote
        took, limit = in_turns(setting, taker, sizes.pictures, VGA)
        bytes_each = (taker.wrote - bytes_before) / (taker.tally.stored - before)
        yield Row("intake, VGA", "/s", took, "decode + invoke, all cores", limit, 0.9, at_least=True)
        yield bytes_row(bytes_each, setting)
        took, limit = in_turns(setting, taker, sizes.large_pictures, sizes.large)
        megapixels = round(sizes.large[0] * sizes.large[1] / 1e6)
        name = f"intake, {megapixels} megapixels"
        yield Row(name, "/s", took, "decode + invoke, all cores", limit, 0.9, at_least=True)
        full = plain(setting, place / f"{sizes.large[0]}")
        yield Row(name, "/s", took, "full decode + invoke, one after the other", full, 3.0, at_least=True)
        yield from likeness(setting, place / f"{sizes.large[0]}", megapixels)
    finally:
        taker.agent.close()


def in_turns(
    setting: Setting, taker: Taker, count: int, size: tuple[int, int]
) -> tuple[list[float], list[float]]:
    """Pictures a second of the agent and of the roofline, which take turns."""
    place = setting.place("taking-in")
    setting.photographs(place / f"{size[0]}", count, size)
    took: list[float] = []
    limit: list[float] = []
    with Crew(place / f"{size[0]}", setting.cores) as crew:
        for turn in range(setting.sizes.turns):
            fresh = setting.photographs(place / "next", count, size)
            if turn % 2:
                limit.append(crew.turn())
            took.append(taker.take(fresh))
            if not turn % 2:
                limit.append(crew.turn())
    return took, limit


def plain(setting: Setting, folder: Path) -> list[float]:
    """Pictures a second where every pixel is decoded, in one process."""
    paths = sorted(folder.glob("*.jpg"))[: max(2, setting.sizes.large_pictures // 4)]
    bare = Bare("full")
    found = []
    for _ in range(setting.sizes.turns):
        begin = time.perf_counter()
        for path in paths:
            bare.look(path)
        found.append(len(paths) / (time.perf_counter() - begin))
    return found


def likeness(setting: Setting, folder: Path, megapixels: int) -> Iterator[Row]:
    """Cosines of the features of pictures that were scaled down while they were decoded to those of all their pixels.

    The network of the agent computes with 8 bits, and rounds; beside it are the same pixels with one grey level of
    noise, and the same network in float32, which shows what the pixels alone make.
    """
    card = load_card(CARD_PATH)
    ours, bare, rng = FeatureExtractor(card), Bare("full"), np.random.default_rng(0)
    exact = float_features()
    limits = Config().pictures
    cosines, noisy, in_float = [], [], []
    for path in sorted(folder.glob("*.jpg"))[: min(4, setting.sizes.large_pictures)]:
        data = path.read_bytes()
        scaled, whole = images.decode(data, limits=limits, target=card.size).pixels, bare.pixels(data)
        noise = rng.integers(-1, 2, whole.shape)
        other = np.clip(whole.astype(np.int16) + noise, 0, 255).astype(np.uint8)
        cosines.append(cosine(ours.extract(scaled), ours.extract(whole)))
        noisy.append(cosine(ours.extract(other), ours.extract(whole)))
        if exact is not None:
            in_float.append(cosine(exact(scaled), exact(whole)))
    name = f"features, {megapixels} megapixels"
    note = f"with one grey level of noise {np.median(noisy):.4f}"
    yield Row(name, "cosine", cosines, "to the full decode's", [1.0], 0.999, at_least=True, note=note)
    name = f"{name}, float32"
    if in_float:
        yield Row(name, "cosine", in_float, "the same network", [1.0], 0.999, at_least=True)
    else:
        yield Row(name, "cosine", missing="plugins/edge-agent-gpu, which writes the network so, is not there")


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    """Of two vectors."""
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def float_features() -> Callable[[np.ndarray], np.ndarray] | None:
    """Pixels to features by the embedded network in float32; None where what writes it so is not there."""
    sys.path.append(str(ROOT / "plugins" / "edge-agent-gpu"))
    try:
        from edge_agent_gpu.float_model import float_model
    except ImportError:
        return None
    finally:
        sys.path.pop()
    plain, exact = Bare("full"), Bare("full", float_model(MODEL.read_bytes()))
    scale, zero_point = plain.quantisation

    def look(pixels: np.ndarray) -> np.ndarray:
        return exact.run(((pixels ^ SIGN).view(np.int8).astype(np.float32) - zero_point) * np.float32(scale))

    return look


def bytes_row(each: float, setting: Setting) -> Row:
    """What a sample costs the disk, beside the bytes of its features."""
    name, payload = "written for each sample", float(load_card(CARD_PATH).n_features + 8)
    if each == 0:
        return Row(name, "bytes", missing=f"the kernel counts no writes to {setting.folder}")
    return Row(name, "bytes", [each], "its features", [payload], note="pictures are moved, not copied")

"""What is known of delegates before they are tried, and who has their devices."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.config import ExtractorConfig
from edge_agent.store.device_lock import DeviceLock
from edge_agent.vision.accelerator import Accelerator
from edge_agent.vision.delegate_bench import DelegateBench
from edge_agent.vision.delegate_records import DelegateRecords
from edge_agent.vision.delegate_spec import DelegateSpec, DeviceNode
from edge_agent.vision.delegate_verdict import Verdict
from edge_agent.vision.device_nodes import Board
from edge_agent.vision.preprocessing import ExtractorCard, InputCard

GOOD = Verdict(code="ok", ms_per_image=2.0, cpu_ms_per_image=8.0, cosine=0.995)


@pytest.fixture(name="bench")
def _bench(tmp_path) -> Callable[..., DelegateBench]:
    """A bench for a system in a folder, with two sticks and a model that nobody loads."""
    board = Board(root=tmp_path / "root")
    for place in ("/dev/stick0", "/dev/stick1", "/proc/4711/comm"):
        board.place(place).parent.mkdir(parents=True, exist_ok=True)
        board.place(place).write_text("frigate\n")
    model = tmp_path / "model.tflite"
    model.write_bytes(b"a model")
    card = ExtractorCard(
        name="x",
        path=model,
        sha256=hashlib.sha256(b"a model").hexdigest(),
        n_features=4,
        input=InputCard(width=4, height=4, mean=0.0, std=1.0),
    )

    def bench(config: ExtractorConfig | None = None) -> DelegateBench:
        records = DelegateRecords(tmp_path / "delegates.json")
        folders = (tmp_path,)
        return DelegateBench(card, config or ExtractorConfig(), records, board, lock_folders=folders)

    return bench


def stick(library: Path, number: int) -> DelegateSpec:
    """A delegate for one of the sticks."""
    device = DeviceNode(f"/dev/stick{number}")
    return DelegateSpec(f"stick-{number}", (str(library),), {"device": str(number)}, (device,))


def test_a_program_that_has_the_device_open_is_named(bench, library):
    """A library that refuses says seldom why; the system knows who has the device."""
    here = bench()
    spec = stick(library(), 0)
    looked = here.look(spec)
    node = here.board.place("/dev/stick0")
    refused = Verdict(code="refused-silently")
    assert here.settled(spec, looked, refused).code == "refused-silently"

    handles = here.board.place("/proc/4711/fd")
    handles.mkdir()
    (handles / "3").symlink_to(node)
    busy = here.settled(spec, looked, refused)

    assert busy.reason == f"device busy: process 4711 (frigate) has {node} open"
    assert here.settled(spec, looked, Verdict(code="wrong-numbers")).code == "wrong-numbers"


def test_only_the_device_that_serves_is_held(bench, library, tmp_path):
    """From the first look until it fails; the others are free for other agents."""
    here = bench()
    fast, slow = stick(library(), 0), stick(library(), 1)
    here.settled(fast, here.look(fast), GOOD)
    here.settled(slow, here.look(slow), Verdict(code="ok", ms_per_image=4.0, cosine=0.995))
    here.release()
    accelerator = Accelerator(here, [fast, slow])
    assert accelerator.wanted().name == fast.name

    theirs = {spec.name: DeviceLock(spec.name, (tmp_path,)) for spec in (fast, slow)}
    assert theirs[fast.name].acquire().startswith(f"process {os.getpid()} (")
    assert theirs[slow.name].acquire() == ""
    accelerator.failed("failed", "unplugged")
    assert theirs[fast.name].acquire() == ""


def test_what_is_remembered_is_told_of_a_device_that_is_in_use(bench, library, tmp_path):
    """It cannot be tried, and its figures are those of the last time."""
    here = bench()
    spec = stick(library(), 0)
    here.settled(spec, here.look(spec), GOOD)
    here.release()
    other = DeviceLock(spec.name, (tmp_path,))
    assert other.acquire() == ""

    busy = here.look(spec)

    assert busy.code == "device-busy"
    assert (busy.ms_per_image, busy.cosine, busy.library) == (2.0, 0.995, str(library()))


@pytest.mark.parametrize(
    ("kept", "asked", "code"),
    [("ok", 0.99, "ok"), ("ok", 0.999, "untried"), ("wrong-numbers", 0.999, "wrong-numbers")],
)
def test_what_is_remembered_is_judged_by_what_is_asked_now(bench, library, kept, asked, code):
    """Another `min_cosine` makes another verdict of the same figures, and that takes another trial."""
    spec = stick(library(), 0)
    here = bench()
    here.settled(spec, here.look(spec), Verdict(code=kept, ms_per_image=2.0, cosine=0.995))
    here.release()

    assert bench(ExtractorConfig(delegate="stick-0", min_cosine=asked)).look(spec).code == code

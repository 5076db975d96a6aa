"""A decoder that was taken over can do nothing but answer, and an honest one notices no difference."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from edge_agent.config import ExtractorConfig
from edge_agent.errors import EngineError
from edge_agent.ml.augmentation import AugmentationSettings, Kind, Variant
from edge_agent.vision.confinement import Confinement
from edge_agent.vision.engine import Engine, Extraction
from edge_agent.vision.kernel import call_kernel
from edge_agent.vision.landlock import version
from edge_agent.vision.preprocessing import ExtractorCard
from edge_agent.vision.syscalls import processor

MakeEngine = Callable[..., Engine]
Drop = Callable[..., tuple[object, int]]

OFF, REQUIRED = ExtractorConfig(sandbox="off"), ExtractorConfig(sandbox="required")


def landlock_here() -> bool:
    """Whether this kernel offers Landlock."""
    own = processor()
    try:
        return own is not None and version(own, call_kernel) > 0
    except OSError:
        return False


def filters_here() -> bool:
    """Whether this kernel offers filters, and is a kernel at all and no emulator of one."""
    return processor() is not None and Path("/proc/sys/kernel/seccomp/actions_avail").exists()


needs_seccomp = pytest.mark.skipif(not filters_here(), reason="this kernel has no seccomp filters")
needs_landlock = pytest.mark.skipif(not landlock_here(), reason="this kernel has no Landlock")


def outcomes(extractions: list[Extraction]) -> dict[object, str]:
    """What became of each picture, by its key; nothing where it was seen."""
    return {extraction.key: extraction.error or "" for extraction in extractions}


REFUSED = (
    "open", "write", "list", "remove", "rename", "mode", "memory", "environment",
    "internet", "datagram", "unix", "pair", "packet", "fork", "start", "kill", "signal", "owner", "hidden", "visible",
)  # fmt: skip
DEADLY = ("execute", "trace", "unshare")


@needs_seccomp
@pytest.mark.parametrize(
    "backend", ["tflite", pytest.param("backends:Means", marks=needs_landlock)], ids=["cpu", "vendor"]
)
def test_a_decoder_that_was_taken_over_can_do_nothing(
    backend: str, make_engine: MakeEngine, card: ExtractorCard, drop: Drop, photo: bytes, tmp_path: Path
) -> None:
    """C2: Files, connections, programs, other processes and the agent's memory are out of reach, and pictures in
    between are seen; what no decoder would ever do ends the engine, and the next one goes on."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"whole")
    paths = {"open": "/etc/passwd", "list": "/", "write": tmp_path / "new"}
    if backend != "tflite":
        card = msgspec.structs.replace(card, backend=backend, n_features=128)  # so many rows has a picture
    engine = make_engine(card=card, worker_module="hostile_worker", extractor=REQUIRED)
    jobs = []
    for deed in (*REFUSED, *DEADLY, "thread"):
        jobs += [drop(f"{deed} {paths.get(deed, victim)}".encode(), deed), drop(photo, f"after {deed}")]

    found = outcomes(list(engine.extract(jobs)))

    for deed in REFUSED:
        assert found[deed] in ("refused, EPERM", "refused, EACCES"), deed
    for deed in DEADLY:
        assert "crashed on this picture twice (signal 31)" in found[deed], deed
    assert found["thread"] == "done"
    assert {error for key, error in found.items() if str(key).startswith("after")} == {""}
    assert victim.read_bytes() == b"whole"
    assert victim.stat().st_mode & 0o777 != 0o777
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "victim-moved").exists()


@needs_seccomp
def test_an_engine_on_the_cpu_makes_no_code_and_does_not_grow_without_end(
    make_engine: MakeEngine, drop: Drop, photo: bytes
) -> None:
    """C2, C1: Memory that can be executed is refused, and so is more of it than any picture needs; a defect in
    the decoder with a traceback, a module that is missed and an abort are told as without a sandbox."""
    engine = make_engine(worker_module="hostile_worker", extractor=REQUIRED)
    deeds = ("code", "grow", "late", "abort", "mistake")
    jobs = [job for deed in deeds for job in (drop(f"{deed} ".encode(), deed), drop(photo, f"after {deed}"))]

    found = outcomes(list(engine.extract(jobs)))

    assert found["code"] == "refused, EPERM"
    assert found["grow"] == "refused, no memory"
    assert found["late"] == "refused, no module"
    assert "twice (signal 6)" in found["abort"]
    assert "crashed on this picture twice" in found["mistake"]
    assert {error for key, error in found.items() if str(key).startswith("after")} == {""}


@needs_seccomp
def test_all_threads_are_held(make_engine: MakeEngine, drop: Drop, photo: bytes) -> None:
    """C2: Also those that the runtime had started before: the kernel says so of each."""
    engine = make_engine(extractor=ExtractorConfig(threads=3))
    list(engine.extract([drop(photo)]))
    assert engine.facts is not None

    tasks = [task.joinpath("status").read_text() for task in Path(f"/proc/{engine.facts.pid}/task").iterdir()]

    assert len(tasks) >= 2
    for task in tasks:
        assert "Seccomp:\t2" in task
        assert "NoNewPrivs:\t1" in task


@needs_seccomp
def test_the_engine_says_what_is_in_force(make_engine: MakeEngine) -> None:
    """C2: The facts name each layer, and `off` turns all of them off."""
    shut, free = make_engine().start(), make_engine(extractor=OFF).start()

    assert shut.sandbox.no_new_privs
    assert (shut.sandbox.mode, shut.sandbox.seccomp) == ("auto", "allowed")
    assert 60 < shut.sandbox.calls < 100
    assert {"core", "fsize", "data", "nofile", "cpu"} <= set(shut.sandbox.limits)
    assert bool(shut.sandbox.landlock) is landlock_here()
    assert f"seccomp, {shut.sandbox.calls} calls allowed" in str(shut.sandbox)
    assert free.sandbox == Confinement()
    assert str(free.sandbox) == "off, as the configuration says"
    status = Path(f"/proc/{free.pid}/status").read_text()
    assert "NoNewPrivs:\t0" in status or "NoNewPrivs:\t1" in Path("/proc/self/status").read_text()


def test_an_old_kernel_is_said_and_required_does_not_start(
    make_engine: MakeEngine, drop: Drop, photo: bytes
) -> None:
    """C2: Where the kernel lacks Landlock and seccomp the engine works and says so; `required` refuses in one line."""
    engine = make_engine(worker_module="old_kernel_worker")

    (seen,) = engine.extract([drop(photo)])

    assert seen.error is None
    assert engine.facts is not None
    assert (engine.facts.sandbox.landlock, engine.facts.sandbox.seccomp) == (0, "")
    words = str(engine.facts.sandbox)
    assert "this kernel has no Landlock; this kernel has no seccomp; files can still be opened" in words
    assert "nproc" in engine.facts.sandbox.limits
    with pytest.raises(
        EngineError, match=r"sandbox of the engine is required.*no seccomp.*sandbox = \"auto\""
    ):
        make_engine(worker_module="old_kernel_worker", extractor=REQUIRED).start()


@needs_seccomp
@pytest.mark.parametrize("refused", ["seccomp", "seccomp landlock_create_ruleset"])
def test_a_services_own_filter_is_no_obstacle(
    refused: str, make_engine: MakeEngine, drop: Drop, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C2: Below a filter that refuses new calls, as of a unit, an older one does; what is missing is said."""
    monkeypatch.setenv("REFUSED_CALLS", refused)
    engine = make_engine(worker_module="service_worker", extractor=REQUIRED)

    (seen,) = engine.extract([drop(photo)])

    assert seen.error is None
    assert engine.facts is not None
    assert engine.facts.sandbox.seccomp == "allowed"
    lacks = "landlock" in refused or not landlock_here()
    assert [one.split(" is ")[0] for one in engine.facts.sandbox.missing] == ["Landlock"] * lacks
    assert bool(engine.facts.sandbox.landlock) is not lacks


def test_changed_copies_are_made_alike_with_and_without(
    make_engine: MakeEngine, drop: Drop, photo: bytes
) -> None:
    """C2: Whatever a kind of copy needs of its libraries was there before the engine was shut in, with
    every version of NumPy."""

    def seen(extractor: ExtractorConfig) -> list[object]:
        engine = make_engine(extractor=extractor, augmentation=AugmentationSettings())
        jobs = ((*drop(photo, kind), Variant(kind, 1)) for kind in get_args(Kind))
        found = list(engine.extract(jobs))
        assert [one.error for one in found] == [None] * 6
        return [(one.key, one.features.tobytes()) for one in found if one.features is not None]

    assert seen(REQUIRED if filters_here() else ExtractorConfig()) == seen(OFF)


@pytest.mark.slow
def test_pictures_are_seen_alike_with_and_without(make_engine: MakeEngine, testdata: Path) -> None:
    """C2: Hundreds of pictures of every format, odd and damaged ones, give the same features and the same reasons."""
    paths = [path for path in sorted((testdata / "pathological").rglob("*")) if path.is_file()]
    kinds = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"}
    paths += [path for path in sorted((testdata / "data").rglob("*")) if path.suffix.lower() in kinds][:200]
    assert len(paths) > 250

    def seen(extractor: ExtractorConfig) -> list[object]:
        engine = make_engine(extractor=extractor)
        jobs = ((path.name, os.open(path, os.O_RDONLY)) for path in paths)
        rows: list[object] = [
            (one.key, one.error, None if one.features is None else one.features.tobytes())
            for one in engine.extract(jobs)
        ]
        assert engine.restarts == 0
        engine.close()
        return rows

    assert seen(REQUIRED if filters_here() else ExtractorConfig()) == seen(OFF)


@pytest.mark.slow
def test_two_thousand_damaged_pictures_harm_nobody(
    make_engine: MakeEngine,
    drop: Drop,
    encode: Callable[..., bytes],
    pictures: Callable[[int, int], object],
    mutations: Callable[[bytes, int], Iterator[bytes]],
) -> None:
    """C3, C1: Of files cut off and changed in every format none kills or holds up the engine, none that is cut off is
    accepted, and neither process grows."""
    kinds = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
    whole = {kind: encode(pictures(64, 48), kind) for kind in kinds}
    jobs = [(kind, number, data) for kind in kinds for number, data in enumerate(mutations(whole[kind], 400))]
    engine = make_engine()
    engine.start()
    grown = [resident_bytes()]

    accepted = []
    for seen in engine.extract(drop(data, (kind, number, len(data))) for kind, number, data in jobs):
        assert seen.seconds < 6
        kind, number, length = seen.key  # type: ignore[misc]
        if seen.error is None:
            accepted.append((kind, number))
            assert length == len(whole[kind]), f"{kind} {number} is cut off"
        if number == 20:
            grown.append(resident_bytes())
    grown.append(resident_bytes())

    assert len(jobs) == 2000
    assert 0 < len(accepted) < 1500
    assert engine.restarts == 0
    assert grown[-1] - grown[1] < 8 << 20


def resident_bytes() -> int:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_an_extractor_has_twins_in_the_sandbox(make_engine: MakeEngine, drop: Drop) -> None:
    """What another interpreter of the same model takes is not forbidden to a process that is shut in."""
    (seen,) = make_engine(worker_module="twin_worker").extract([drop(b"TWIN")])

    assert seen.error == "alike"

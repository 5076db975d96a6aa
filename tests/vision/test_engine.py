"""The engine answers every picture in order, with what it was given, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from edge_agent.config import ExtractorConfig, PicturesConfig
from edge_agent.errors import EngineError
from edge_agent.vision import images
from edge_agent.vision.engine import MOST_DEPTH, Engine
from edge_agent.vision.extractor import FeatureExtractor
from edge_agent.vision.picture_metadata import without_metadata
from edge_agent.vision.preprocessing import ExtractorCard

MakeEngine = Callable[..., Engine]
Drop = Callable[..., tuple[object, int]]


def open_files() -> set[str]:
    """What this process has open now."""
    found = set()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        with contextlib.suppress(FileNotFoundError):
            found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")  # noqa: PTH115
    return found


def gone(pid: int) -> bool:
    """Whether there is no such process any more, not even a zombie."""
    return not Path(f"/proc/{pid}").exists()


def photos(encode: Callable[..., bytes], pictures: Callable[[int, int], object], count: int) -> list[bytes]:
    """So many different pictures."""
    return [encode(pictures(40 + 7 * number, 80), "JPEG", quality=90) for number in range(count)]


def test_a_picture_becomes_features(
    make_engine: MakeEngine, drop: Drop, photo: bytes, card: ExtractorCard
) -> None:
    """The process gives what the extractor gives in this one, with the file's digest and size."""
    extractor = FeatureExtractor(card)
    pixels = images.decode(photo, limits=PicturesConfig(), target=card.size).pixels

    (extraction,) = make_engine().extract([drop(photo, "p1")])

    assert (extraction.key, extraction.error) == ("p1", None)
    assert extraction.digest == hashlib.sha256(photo).hexdigest()
    assert (extraction.width, extraction.height) == (96, 64)
    assert extraction.features is not None
    assert extraction.features.dtype == np.float32
    np.testing.assert_array_equal(extraction.features, extractor.extract(pixels))
    assert 0 < extraction.seconds < 5


def test_the_engine_says_what_it_is(make_engine: MakeEngine, card: ExtractorCard) -> None:
    """Facts agree with the extractor's own and with the process that runs."""
    extractor = FeatureExtractor(card)
    engine = make_engine()
    assert engine.facts is None

    facts = engine.start()

    assert engine.facts == facts
    assert engine.start() == facts
    assert (facts.name, facts.n_features, facts.delegate) == (card.name, 256, "cpu")
    assert facts.fingerprint == extractor.fingerprint
    assert facts.runtime == f"{extractor.runtime.name} {extractor.runtime.version}"
    assert not gone(facts.pid)
    assert engine.restarts == 0


def test_a_place_and_a_camera_are_no_part_of_a_picture(
    make_engine: MakeEngine,
    drop: Drop,
    encode: Callable[..., bytes],
    pictures: Callable[[int, int], Image.Image],
) -> None:
    """E9: with other metadata it is the same picture, with the digest of the file that is kept."""
    image = pictures(60, 80)
    files = []
    for place in ("52N13E", "48N11E"):
        tags = Image.Exif()
        tags[0x010F] = place
        files.append(encode(image, "JPEG", exif=tags))

    first, second = make_engine().extract([drop(data, index) for index, data in enumerate(files)])

    assert files[0] != files[1]
    assert first.digest == second.digest == hashlib.sha256(without_metadata(files[0])).hexdigest()


def test_answers_keep_the_order_of_the_pictures(
    make_engine: MakeEngine, drop: Drop, encode: Callable[..., bytes], pictures: Callable[[int, int], object]
) -> None:
    """Good and refused pictures come back one by one as they went in."""
    data = photos(encode, pictures, 9)
    data[3] = b"no picture"
    data[7] = data[7][:200]

    extractions = list(make_engine().extract(drop(item, index) for index, item in enumerate(data)))

    assert [extraction.key for extraction in extractions] == list(range(9))
    assert [extraction.digest for extraction in extractions] == [
        hashlib.sha256(item).hexdigest() for item in data
    ]
    assert [extraction.features is None for extraction in extractions] == [
        index in (3, 7) for index in range(9)
    ]
    assert all(extraction.permanent for extraction in extractions if extraction.error)
    assert [extraction.width for extraction in extractions[:3]] == [40, 47, 54]


def test_features_are_the_same_however_many_threads(make_engine: MakeEngine, testdata: Path) -> None:
    """Bit by bit, for photographs of all kinds, one after the other or four or sixteen side by side in the sandbox."""
    kinds = {".jpg", ".jpeg", ".png", ".webp"}
    found = sorted(path for path in (testdata / "data").rglob("*") if path.suffix.lower() in kinds)
    paths = found[:: max(1, len(found) // 40)]
    assert len(paths) >= 30
    seen = []
    for threads in (1, 4, 16):
        engine = make_engine(extractor=ExtractorConfig(threads=threads))
        seen.append(list(engine.extract((path.name, os.open(path, os.O_RDONLY)) for path in paths)))
        assert engine.restarts == 0
        engine.close()

    for others in seen[1:]:
        for one, other in zip(seen[0], others, strict=True):
            assert (one.key, one.digest, one.error) == (other.key, other.digest, other.error)
            np.testing.assert_array_equal(one.features, other.features)


def test_the_largest_pictures_are_not_refused_for_their_neighbours(
    make_engine: MakeEngine, drop: Drop, encode: Callable[..., bytes]
) -> None:
    """WebP, whose decoder takes the most memory, as large as is allowed, with four threads in the sandbox."""
    data = encode(Image.new("RGB", (6200, 4000), (9, 80, 120)), "WEBP")
    engine = make_engine(extractor=ExtractorConfig(threads=4))

    seen = list(engine.extract(drop(data, number) for number in range(5)))

    assert [one.error for one in seen] == [None] * 5


def test_jobs_are_taken_lazily(make_engine: MakeEngine, drop: Drop, photo: bytes) -> None:
    """Never more than the pipeline holds are taken ahead, so a folder of thousands is not opened at once."""
    taken = 0

    def jobs() -> Iterator[tuple[object, int]]:
        nonlocal taken
        for _ in range(20):
            taken += 1
            yield drop(photo)

    ahead = [taken - done for done, _extraction in enumerate(make_engine().extract(jobs()))]

    assert len(ahead) == 20
    assert max(ahead) <= MOST_DEPTH
    assert 1 < ahead[0] < MOST_DEPTH


def test_every_file_is_closed_once_answered(make_engine: MakeEngine, drop: Drop, photo: bytes) -> None:
    """Descriptors that were handed over are closed, and none is left open after the engine is closed."""
    before = open_files()
    engine = make_engine()
    jobs = [drop(photo) for _ in range(6)]
    given = [fd for _key, fd in jobs]

    for number, _extraction in enumerate(engine.extract(jobs)):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(given[number])
    engine.close()

    assert open_files() == before


def test_the_process_keeps_no_file_open(make_engine: MakeEngine, drop: Drop, photo: bytes) -> None:
    """Good and refused pictures leave no descriptor behind on the other side either."""
    # Nobody but root may look into the process while it is in its sandbox.
    engine = make_engine(extractor=ExtractorConfig(sandbox="off"))
    folder = Path(f"/proc/{engine.start().pid}/fd")
    before = len(list(folder.iterdir()))

    list(engine.extract(drop(data) for data in [photo, b"no picture", b""] * 4))

    assert len(list(folder.iterdir())) == before


def test_a_generator_closed_early_lets_go_of_its_files(
    make_engine: MakeEngine, drop: Drop, photo: bytes
) -> None:
    """Nothing leaks when the caller stops half way, and the engine works on."""
    engine = make_engine()
    engine.start()
    before = open_files()
    generator = engine.extract(drop(photo) for _ in range(10))
    next(generator)

    generator.close()  # type: ignore[attr-defined]

    assert open_files() == before
    assert [extraction.key for extraction in engine.extract([drop(photo, "after")])] == ["after"]
    assert engine.restarts == 0


def test_a_failing_source_lets_go_of_its_files(make_engine: MakeEngine, drop: Drop, photo: bytes) -> None:
    """An exception of the caller's own generator passes through, and the files taken before it are closed."""
    engine = make_engine()
    engine.start()
    before = open_files()

    def jobs() -> Iterator[tuple[object, int]]:
        yield drop(photo)
        yield drop(photo)
        raise LookupError("the folder is gone")

    with pytest.raises(LookupError, match="the folder is gone"):
        list(engine.extract(jobs()))

    assert open_files() == before


def test_a_prediction_in_the_middle_of_intake(make_engine: MakeEngine, drop: Drop, photo: bytes) -> None:
    """While one generator is half consumed another runs to its end, and each gets its own answers."""
    engine = make_engine()
    seen = []
    asked = []

    for extraction in engine.extract(drop(photo, ("intake", number)) for number in range(8)):
        seen.append(extraction.key)
        asked += [
            other.key for other in engine.extract([drop(photo, ("ask", len(seen), n)) for n in range(3)])
        ]

    assert seen == [("intake", number) for number in range(8)]
    assert asked == [("ask", count, n) for count in range(1, 9) for n in range(3)]


def test_two_generators_may_take_turns(make_engine: MakeEngine, drop: Drop, photo: bytes) -> None:
    """Two generators consumed in turn share one pipeline without mixing."""
    engine = make_engine()
    left = engine.extract(drop(photo, ("left", number)) for number in range(6))
    right = engine.extract(drop(photo, ("right", number)) for number in range(6))

    keys = [(a.key, b.key) for a, b in zip(left, right, strict=True)]

    assert keys == [(("left", number), ("right", number)) for number in range(6)]


def test_the_file_position_does_not_matter(make_engine: MakeEngine, drop: Drop, photo: bytes) -> None:
    """A descriptor that was read to its middle or its end already is read from the start."""
    jobs = [drop(photo), drop(photo)]
    os.lseek(jobs[0][1], 0, os.SEEK_END)
    os.lseek(jobs[1][1], 100, os.SEEK_SET)

    extractions = list(make_engine().extract(jobs))

    assert [extraction.error for extraction in extractions] == [None, None]
    assert {extraction.digest for extraction in extractions} == {hashlib.sha256(photo).hexdigest()}


def test_a_long_file_is_refused_unread(make_engine: MakeEngine, tmp_path: Path) -> None:
    """A sparse file of a terabyte is refused by its size."""
    path = tmp_path / "huge.jpg"
    with path.open("wb") as file:
        file.truncate(1 << 40)

    (extraction,) = make_engine().extract([("huge", os.open(path, os.O_RDONLY))])

    assert extraction.features is None
    assert extraction.permanent
    assert extraction.digest == ""
    assert "the limit is 33554432" in str(extraction.error)


def test_what_is_no_file_is_refused(make_engine: MakeEngine, tmp_path: Path) -> None:
    """A FIFO or a folder is refused at once, and nobody waits for a writer."""
    os.mkfifo(tmp_path / "fifo")
    jobs = [
        ("fifo", os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)),
        ("folder", os.open(tmp_path, os.O_RDONLY)),
    ]

    extractions = list(make_engine().extract(jobs))

    assert [extraction.error for extraction in extractions] == ["not a regular file"] * 2


def test_no_jobs_no_answers(make_engine: MakeEngine) -> None:
    """An empty source ends at once."""
    assert list(make_engine().extract([])) == []


def test_closing_ends_the_process(make_engine: MakeEngine, drop: Drop, photo: bytes) -> None:
    """In the middle of work, within two seconds, leaving no zombie; afterwards nothing starts."""
    engine = make_engine()
    generator = engine.extract(drop(photo) for _ in range(10))
    next(generator)
    assert engine.facts is not None
    started = time.monotonic()

    engine.close()
    engine.close()

    assert time.monotonic() - started < 2
    assert gone(engine.facts.pid)
    with pytest.raises(EngineError, match="closed"):
        next(generator)
    with pytest.raises(EngineError, match="closed"):
        engine.start()


def test_no_thread_is_left_behind(make_engine: MakeEngine, drop: Drop, photo: bytes) -> None:
    """The agent's side needs no threads."""
    before = threading.active_count()

    list(make_engine().extract([drop(photo)]))

    assert threading.active_count() == before


def test_the_terminal_stays_clean(card: ExtractorCard, tmp_path: Path, photo: bytes) -> None:
    """What the runtime prints (tflite-runtime greets on stderr) does not reach the user's terminal, and the
    agent's process has loaded neither Pillow nor a runtime."""
    script = (
        "import msgspec, os, sys\n"
        "from pathlib import Path\n"
        "from edge_agent.config import ExtractorConfig, PicturesConfig\n"
        "from edge_agent.vision.engine import Engine\n"
        "from edge_agent.vision.preprocessing import card_from\n"
        "card = msgspec.json.decode(sys.argv[1])\n"
        "card = card_from(card, path=Path(card['path']), source='test')\n"
        "engine = Engine(card, PicturesConfig(), ExtractorConfig())\n"
        "(seen,) = engine.extract([(1, os.open(sys.argv[2], os.O_RDONLY))])\n"
        "engine.close()\n"
        "native = {'PIL', 'tflite_runtime', 'ai_edge_litert'}\n"
        "print(seen.error, native & {name.split('.')[0] for name in sys.modules})\n"
    )
    path = tmp_path / "p.jpg"
    path.write_bytes(photo)

    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", script, msgspec.json.encode(card, enc_hook=str).decode(), path],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )

    assert (done.stdout, done.stderr, done.returncode) == ("None set()\n", "", 0)


def test_every_pathological_file_is_answered(make_engine: MakeEngine, testdata: Path) -> None:
    """C1, C3: All known-bad files pass through one engine that never dies, hangs or grows."""
    paths = sorted(path for path in (testdata / "pathological").rglob("*") if path.is_file())
    engine = make_engine()
    pid = engine.start().pid
    before = peak_megabytes(pid)

    extractions = list(engine.extract((path.name, os.open(path, os.O_RDONLY)) for path in paths))

    assert [extraction.key for extraction in extractions] == [path.name for path in paths]
    assert all((extraction.features is None) == bool(extraction.error) for extraction in extractions)
    assert engine.restarts == 0
    assert max(extraction.seconds for extraction in extractions) < 5
    assert peak_megabytes(pid) - before < 40


@pytest.mark.measured
def test_twelve_megapixel_photographs_need_little_memory(
    make_engine: MakeEngine, drop: Drop, encode: Callable[..., bytes]
) -> None:
    """The process stays below 100 MB with 12 megapixel JPEGs of 4 MB, and does not grow with their number."""
    noise = np.random.default_rng(5).integers(0, 256, (750, 1000, 3), dtype=np.uint8)
    large = images.Image.fromarray(noise).resize((4000, 3000), images.Image.Resampling.BICUBIC)
    data = encode(large, "JPEG", quality=90)
    assert len(data) > 3e6
    engine = make_engine()
    pid = engine.start().pid

    assert all(extraction.error is None for extraction in engine.extract(drop(data) for _ in range(6)))
    after_six = peak_megabytes(pid)
    assert all(extraction.error is None for extraction in engine.extract(drop(data) for _ in range(12)))

    assert after_six < 100
    assert peak_megabytes(pid) - after_six < 6


def peak_megabytes(pid: int) -> float:
    """The most memory a process ever had resident."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("the kernel does not say")


def test_start_failures_name_the_reason(
    make_engine: MakeEngine, card: ExtractorCard, tmp_path: Path, drop: Drop, photo: bytes
) -> None:
    """A damaged model, a dying process, a silent one, one that prints without end and a missing Python each say what
    is wrong, and leave neither a process nor an open file."""
    before = open_files()
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(b"TFL3" * 100)
    patience = ExtractorConfig(start_timeout_seconds=0.3)

    for engine, said in (
        (
            make_engine(card=msgspec.structs.replace(card, path=damaged)),
            r"cannot start: .*damaged\.tflite: damaged",
        ),
        (make_engine(worker_module="failing_worker"), r"exit status 3: libaccelerator\.so: no such device"),
        (
            make_engine(worker_module="silent_worker", extractor=patience),
            f"the engine with {card.name} did not start within 0.3 seconds",
        ),
        (
            make_engine(worker_module="chatty_worker", extractor=patience),
            f"the engine with {card.name} did not start within 0.3 seconds",
        ),
        (make_engine(python=str(tmp_path / "python")), "cannot be started"),
    ):
        with pytest.raises(EngineError, match=said):
            engine.start()
        with pytest.raises(EngineError, match=said):
            list(engine.extract([drop(photo)]))

    assert open_files() == before

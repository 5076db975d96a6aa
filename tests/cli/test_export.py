"""`export`: a published version as one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_agent.agent.home import Home
from edge_agent.cli.pictures import write_pictures
from edge_agent.config import PicturesConfig
from edge_agent.default_plugins.extractors import CARD_PATH
from edge_agent.ml.batches import MatrixBatchProvider
from edge_agent.ml.model import MLModel
from edge_agent.ml.update import MLUpdateTask
from edge_agent.store.lock import ProcessLock
from edge_agent.store.registry import VersionFacts, VersionRegistry
from edge_agent.vision.images import decode
from edge_agent.vision.model_metadata import read_model_card
from edge_agent.vision.preprocessing import ExtractorCard, fingerprint_of, load_card
from edge_agent.vision.runtime import load_interpreter

if TYPE_CHECKING:
    from tests.cli.conftest import Shell


def publish(
    home: Path, head: str, labels: list[str], *, card: ExtractorCard, runtime: str = "litert-2.3"
) -> None:
    """A version of a kind, as the agent would publish it, learned from features that were made up."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, len(labels), 40)
    X = rng.gamma(1.0, 1.0, (40, card.n_features)) + 0.3 * np.eye(len(labels), card.n_features)[y]
    fingerprint = fingerprint_of(card, runtime, "cpu")
    task = MLUpdateTask(
        MLModel.factory(head, card.n_features, extractor_fingerprint=fingerprint),
        MatrixBatchProvider(X.astype(np.float32), [labels[k] for k in y]),
    )
    task.resume()
    assert task.wait(60)
    model = task.model
    assert model is not None
    facts = VersionFacts(
        parent=None,
        labels=model.classes,
        n_features=card.n_features,
        n_samples=40,
        extractor_fingerprint=fingerprint,
        extractor_name=card.name,
        head=head,
        agent_version="0.1.0",
    )
    VersionRegistry(Home(home).models_folder).publish(lambda folder: model.write(folder / "model"), facts)


@pytest.fixture(name="card", scope="module")
def _card() -> ExtractorCard:
    """The embedded extractor."""
    return load_card(CARD_PATH)


def test_the_current_version_and_any_other_are_exported(
    shell: Shell, card: ExtractorCard, tmp_path: Path
) -> None:
    """Without a number the current one, with `--version` that one; also while a daemon holds the lock."""
    publish(shell.home, "lda", ["cat", "dog"], card=card)
    publish(shell.home, "softmax", ["cat", "dog", "fox"], card=card, runtime="tflite-runtime-2.14")
    target = tmp_path / "animals.tflite"
    lock = ProcessLock(Home(shell.home).lock_path)
    lock.acquire()
    try:
        told = shell.ask("export", target)
        older = shell.ask("export", tmp_path / "older.tflite", "--version", 1)
    finally:
        lock.release()

    assert (told["version"], told["labels"]) == (2, ["cat", "dog", "fox"])
    assert (older["version"], older["labels"]) == (1, ["cat", "dog"])
    assert told["path"] == str(target)
    assert told["bytes"] == target.stat().st_size
    assert told["input"]["shape"] == [1, 224, 224, 3]
    assert told["input"]["type"] == "uint8"
    assert told["output"]["shape"] == [1, 3]
    assert told["compared"] >= 4
    assert told["largest_difference"] < 0.001
    model = load_interpreter(target.read_bytes())
    assert model.run(np.zeros((1, 224, 224, 3), np.uint8)).shape == (1, 3)
    said = read_model_card(target.read_bytes())
    assert said is not None
    assert (said.version, said.labels) == ("2", ("cat", "dog", "fox"))
    assert said.notes["head"] == "softmax"


def test_it_tells_people_what_to_feed(shell: Shell, card: ExtractorCard, tmp_path: Path) -> None:
    """Size, input, labels in their order, and that it was checked."""
    publish(shell.home, "lda", ["cat", "dog"], card=card)
    done = shell.run("export", tmp_path / "animals.tflite")

    assert (done.status, done.err) == (0, "")
    assert "version 1 exported to" in done.out
    assert "uint8 [1, 224, 224, 3]" in done.out
    assert "cat, dog" in done.out
    assert "checked" in done.out


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("animals",), 2, "named .tflite, as in animals.tflite"),
        (("no/such/animals.tflite",), 2, "no folder"),
        (("folder.tflite",), 2, "is a folder"),
        (("a.tflite", "--version", "9"), 2, "no version 9"),
        (("a.tflite", "--version", "0"), 2, "--version"),
        (("knn.tflite", "--version", "2"), 2, "'knn' cannot become one TFLite file"),
    ],
)
def test_mistakes_are_one_line(
    arguments: tuple[str, ...],
    status: int,
    words: str,
    shell: Shell,
    card: ExtractorCard,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name that is none, a version that is not there, a head that cannot be fused; nothing is written."""
    publish(shell.home, "lda", ["cat", "dog"], card=card)
    publish(shell.home, "knn", ["cat", "dog"], card=card)
    folder = tmp_path / "here"
    (folder / "folder.tflite").mkdir(parents=True)
    monkeypatch.chdir(folder)
    done = shell.run("export", *arguments)

    assert (done.status, done.out) == (status, "")
    assert words in done.err
    assert len(done.err.splitlines()) == 1
    assert [one.name for one in folder.iterdir()] == ["folder.tflite"]


def test_without_a_version_or_a_home_it_says_so(shell: Shell, tmp_path: Path) -> None:
    """There is nothing to export yet, and no state directory is made by asking."""
    done = shell.run("export", tmp_path / "a.tflite")
    assert (done.status, "nothing has been set up" in done.err) == (2, True)
    assert not shell.home.exists()
    shell.home.mkdir()
    done = shell.run("export", tmp_path / "a.tflite")
    assert (done.status, "no version has been published yet" in done.err) == (2, True)


def test_a_version_of_an_extractor_that_is_not_here_is_refused(learned: Shell, tmp_path: Path) -> None:
    """The text pictures' fake is no extractor that could be written into a file."""
    done = learned.run("export", tmp_path / "a.tflite")
    assert (done.status, done.out) == (1, "")
    assert "made with the extractor 'fake', which no plugin" in done.err


def test_a_damaged_version_is_not_exported(shell: Shell, card: ExtractorCard, tmp_path: Path) -> None:
    """The version's files are held against its manifest first."""
    publish(shell.home, "lda", ["cat", "dog"], card=card)
    head = next(Home(shell.home).models_folder.rglob("head.npz"))
    head.chmod(0o600)
    head.write_bytes(head.read_bytes()[:-1] + b"x")
    done = shell.run("export", tmp_path / "a.tflite", "--version", 1)

    assert done.status == 1
    assert "not what was written" in done.err
    assert list(tmp_path.glob("*.tflite")) == []


def test_what_a_session_trained_is_exported(shell: Shell, tmp_path: Path) -> None:
    """Pictures that were learned from are shown to both; the file answers as `predict --session` does."""
    write_pictures(tmp_path / "data", 4, seed=5, labels=["leaf", "mug"])
    shell.ask("train", tmp_path / "data", "--session", tmp_path / "s")
    told = shell.ask("export", tmp_path / "x.tflite", "--session", tmp_path / "s")

    assert (told["version"], told["session"], told["labels"]) == (None, str(tmp_path / "s"), ["leaf", "mug"])
    assert told["compared"] == 4 + 2
    assert not shell.home.exists()
    said = read_model_card((tmp_path / "x.tflite").read_bytes())
    assert said is not None
    assert said.description == "Tells 2 labels apart; learned from 8 pictures by edge-agent."
    fused = load_interpreter((tmp_path / "x.tflite").read_bytes())
    for answer in shell.ask("predict", tmp_path / "data", "--session", tmp_path / "s"):
        pixels = decode(Path(answer["path"]).read_bytes(), limits=PicturesConfig(), target=(224, 224)).pixels
        assert abs(fused.run(pixels[None])[0].max() - answer["probability"]) < 0.001
    assert (
        f"{tmp_path / 's'} exported to"
        in shell.run("export", tmp_path / "x.tflite", "--session", tmp_path / "s").out
    )


@pytest.mark.slow
def test_what_was_learned_from_pictures_is_exported_with_them_as_witnesses(
    shell: Shell, tmp_path: Path
) -> None:
    """The demo's versions: archived pictures are looked at too, and the file answers as `predict` does."""
    assert shell.run("demo", "--keep", tmp_path / "demo").status == 0
    shell.home = tmp_path / "demo" / "home"
    told = shell.ask("export", tmp_path / "demo.tflite")
    assert told["compared"] == 7
    assert told["largest_difference"] < 0.001
    pictures = sorted((tmp_path / "demo" / "unseen").rglob("*.jpg"))[:8]
    fused = load_interpreter((tmp_path / "demo.tflite").read_bytes())
    for answer in shell.ask("predict", *pictures):
        pixels = decode(Path(answer["path"]).read_bytes(), limits=PicturesConfig(), target=(224, 224)).pixels
        row = fused.run(pixels[None])[0]
        assert told["labels"][row.argmax()] == answer["label"]
        assert abs(row.max() - answer["probability"]) < 0.001

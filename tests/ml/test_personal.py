"""A personal model: factory or the best update, examples that wait, hot swap, generations, forgetting."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from edge_agent.errors import DamagedError, DiskFullError, MLModelError, MLModelErrorCode, NotFoundError
from edge_agent.ml.batches import MatrixBatchProvider
from edge_agent.ml.features import MLDictionaryFeatureProvider
from edge_agent.ml.heads.knn import KNearestNeighborsHead
from edge_agent.ml.model import BUILT_IN_HEADS, MLModel, MLModelConfiguration
from edge_agent.ml.parameters import MLParameterKey as Key
from edge_agent.ml.pending import PendingSamples
from edge_agent.ml.personal import PersonalModel
from edge_agent.ml.pipeline import extractor_model, linked_model, make_pipeline
from edge_agent.ml.pixels import PixelBuffer
from edge_agent.ml.progress import MLUpdateProgressEvent, MLUpdateProgressHandlers
from edge_agent.store import atomic

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0

EAST, NORTH, UP = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)


def sample(x, label=None):
    """Three features, and a label if there is one."""
    named = {"features": np.array(x, dtype=np.float32 if max(x) < 1e38 else np.float64)}
    return MLDictionaryFeatureProvider(named if label is None else {**named, "label": label})


class Clock:
    """Stands still until it is told to go on."""

    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture(name="home")
def _home(tmp_path):
    """A folder with an empty factory model that looks at one neighbour."""
    MLModel.factory("knn", 3, parameters={Key.NUMBER_OF_NEIGHBORS: 1}).write(to=tmp_path / "factory")
    return tmp_path


@pytest.fixture(name="opened")
def _opened(home):
    """Opens the model of the folder, as after a restart."""

    def opened(**given):
        return PersonalModel(home / "factory", home / "mine", **given)

    return opened


@pytest.fixture(name="taught")
def _taught(opened):
    """Three generations: east, then north, then up."""
    model = opened()
    for x, label in ((EAST, "east"), (NORTH, "north"), (UP, "up")):
        model.add(sample(x, label))
    return model


def content(folder):
    """All bytes of all files below a folder."""
    return b"\n".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def damage(home, number, name="head.npz"):
    """Change a byte of a generation's file."""
    path = home / "mine" / "versions" / f"{number:06d}" / "model" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


# ---------------------------------------------------------------------- 89: no prediction


def test_checklist_89_the_default_label_is_no_prediction(opened):
    """None before anything was learned, and for what is too far; the full answer has the default label."""
    model = opened(configuration=MLModelConfiguration({Key.UNKNOWN_DISTANCE: 0.5}))

    assert model.label(sample(EAST)) is None
    assert model.prediction(sample(EAST)).feature_value("label").string_value == "unknown"
    model.add(sample(EAST, "east"))
    assert model.label(sample(EAST)) == "east"
    assert model.label(sample((9.0, 0.0, 0.0))) is None
    assert model.labels([sample(EAST), sample((9.0, 0.0, 0.0))]) == ["east", None]


def test_checklist_89_an_undefined_label_is_no_prediction(tmp_path):
    """A head without a default label says nothing before it learned; whole numbers are labels too."""
    MLModel.factory("lda", 3).write(to=tmp_path / "lda")
    MLModel.factory(KNearestNeighborsHead, 3).write(to=tmp_path / "knn")
    head = KNearestNeighborsHead(3, default_label=-1)
    MLModel(head, is_writable=True).write(to=tmp_path / "numbers")

    assert PersonalModel(tmp_path / "lda", tmp_path / "a").label(sample(EAST)) is None
    model = PersonalModel(tmp_path / "numbers", tmp_path / "b")
    assert model.label(sample(EAST)) is None
    assert model.add(sample(EAST, 7)).labels == (7,)
    assert model.label(sample(EAST)) == 7
    assert model.history()[0].labels == (7,)


# ---------------------------------------------------------------------- 90: updated or factory


def test_checklist_90_the_update_answers_after_a_restart_and_the_factory_model_before(home, opened):
    """Nothing is opened before the first prediction, and the factory model may be read-only."""
    before = content(home / "factory")
    for path in (home / "factory").iterdir():
        path.chmod(0o400)
    (home / "factory").chmod(0o500)
    model = opened()
    assert not (home / "mine").exists()
    assert model.label(sample(EAST)) is None
    assert model.generation == 0
    model.add(sample(EAST, "east"))

    again = opened()
    assert again.label(sample(EAST)) == "east"
    assert again.generation == 1
    assert content(home / "factory") == before


def test_checklist_90_it_is_opened_before_the_first_prediction_and_not_sooner(home):
    """A factory model that is not there yet is no error when the object is made."""
    model = PersonalModel(home / "later", home / "mine")
    with pytest.raises(MLModelError, match="later") as caught:
        model.label(sample(EAST))
    assert caught.value.code is MLModelErrorCode.IO
    shutil.copytree(home / "factory", home / "later")
    assert model.label(sample(EAST)) is None


@pytest.mark.parametrize("harm", ["damaged", "description", "missing", "gone", "format"])
def test_checklist_90_an_unreadable_update_falls_back_to_the_next_older(home, taught, opened, caplog, harm):
    """One by one, to the factory model at last, with a sentence each; learning goes on from there."""
    versions = home / "mine" / "versions"

    def break_it(number):
        folder = versions / f"{number:06d}"
        if harm == "damaged":
            damage(home, number)
        elif harm == "description":
            damage(home, number, "model.json")
        elif harm == "missing":
            (folder / "model" / "head.npz").unlink()
        elif harm == "gone":
            shutil.rmtree(folder)
        else:
            path = folder / "manifest.json"
            path.write_text(path.read_text().replace('"format": 2', '"format": 3'))

    with caplog.at_level(logging.WARNING):
        break_it(3)
        assert opened().labels([sample(NORTH)]) == ["north"]
        assert opened().generation == 2
        assert "generation 3 cannot be used" in caplog.text
        assert "generation 2 answers instead" in caplog.text
        break_it(2)
        break_it(1)
        model = opened()
        assert model.label(sample(EAST)) is None
        assert model.generation == 0
        assert "the factory model answers instead" in caplog.text
    made = model.add(sample(EAST, "again"))
    assert (made.number, made.parent) == (4, 0)
    assert opened().label(sample(EAST)) == "again"


def test_checklist_90_a_model_of_another_format_is_passed_over(home, opened, monkeypatch, caplog):
    """Also when every byte is the one that was written."""
    model = opened()
    model.add(sample(EAST, "east"))
    with monkeypatch.context() as newer:
        newer.setattr("edge_agent.ml.package.FORMAT", 2)
        MLModel.factory("knn", 3).write(to=home / "factory-2")
        newest = PersonalModel(home / "factory-2", home / "other")
        newest.add(sample(EAST, "newer"))
    versions = home / "mine" / "versions"
    shutil.copytree(home / "other" / "versions" / "000001", versions / "000002")
    (versions / "000002" / "manifest.json").unlink()
    shutil.rmtree(versions / "000002")
    shutil.copytree(home / "other" / "versions", home / "third" / "versions")
    shutil.copy(home / "other" / "current", home / "third" / "current")

    third = PersonalModel(home / "factory", home / "third")
    assert third.label(sample(EAST)) is None
    assert "too new" in caplog.text


def test_a_pointer_that_cannot_be_read_means_the_newest(home, taught, opened, caplog):
    """And says so."""
    (home / "mine" / "current").write_text("?")
    assert opened().generation == 3
    assert "cannot be read" in caplog.text


# ---------------------------------------------------------------------- 91: reset


def test_checklist_91_reset_returns_to_the_factory_model_at_once(home, taught, opened):
    """In the running object and after a restart; nothing of what was learned or waits is left."""
    taught.add_later(sample(NORTH, "waiting"))
    taught.reset()

    assert taught.label(sample(EAST)) is None
    assert taught.generation == taught.pending_count == 0
    assert taught.history() == ()
    assert opened().generation == 0
    for word in (b"east", b"north", b"waiting", np.array(UP, np.float32).tobytes()):
        assert word not in content(home / "mine")
    assert taught.add(sample(EAST, "new")).parent == 0
    assert opened().label(sample(EAST)) == "new"


class Crash(BaseException):
    """The process is gone here."""


def crash_at(monkeypatch, number):
    """The process dies when a directory is synced for the number-th time; the context says how often."""
    real, seen = atomic.sync_directory, [0]

    def sync(path):
        seen[0] += 1
        if seen[0] == number:
            raise Crash
        real(path)

    monkeypatch.setattr(atomic, "sync_directory", sync)
    return seen


def every_crash(home, monkeypatch, act, look):
    """Let `act` die at each of its steps; `look` gets the model opened after that and whether it died."""
    shutil.copytree(home / "mine", home / "saved")
    for number in range(1, 1000):
        shutil.rmtree(home / "mine")
        shutil.copytree(home / "saved", home / "mine")
        with monkeypatch.context() as patch:
            crash_at(patch, number)
            try:
                act(PersonalModel(home / "factory", home / "mine"))
                died = False
            except Crash:
                died = True
        look(PersonalModel(home / "factory", home / "mine"), died)
        if not died:
            return number
    raise AssertionError("it never ended")


def test_checklist_91_a_crash_in_a_reset_leaves_a_usable_state(home, taught, monkeypatch):
    """The old model or the factory's, never anything between; and from the first step on it is completed."""
    taught.add_later(sample(NORTH, "waiting"))
    seen = set()

    def look(model, died):
        answer = model.label(sample(EAST))
        seen.add(answer)
        assert answer is None or (died and answer == "east")
        if answer is None:
            assert model.history() == ()
            model.add(sample(UP, "new"))
            assert model.pending_count == 0
            assert b"east" not in content(home / "mine")
            assert model.label(sample(EAST)) == "new"

    assert every_crash(home, monkeypatch, PersonalModel.reset, look) > 5
    assert None in seen


# ---------------------------------------------------------------------- 92: now or later


def test_checklist_92_an_example_is_learned_at_once(opened):
    """One, several or a batch; each is a generation."""
    model = opened()
    model.add(sample(EAST, "east"))
    model.add([sample(NORTH, "north"), sample(UP, "up")])
    model.add(MatrixBatchProvider(np.array([[1, 1, 0]], dtype=np.float32), ["north-east"]))

    assert model.labels([sample(x) for x in (EAST, NORTH, UP, (1, 1, 0))]) == [
        "east",
        "north",
        "up",
        "north-east",
    ]
    assert [one.samples_added for one in model.history()] == [1, 2, 1]


def test_checklist_92_examples_wait_through_a_restart_and_are_learned_together(home, opened):
    """In their order, each once; nothing answers differently before."""
    model = opened()
    assert model.update_pending() is None
    assert model.add_later(sample(EAST, "east")) == 1
    assert model.add_later(MatrixBatchProvider(np.array([NORTH, UP], dtype=np.float32), ["north", "up"])) == 3
    assert model.label(sample(EAST)) is None
    del model

    again = opened()
    assert again.pending_count == 3
    made = again.update_pending()
    assert made.samples_added == 3
    assert again.pending_count == 0
    assert again.model.head.exemplars.rows.tolist() == [list(EAST), list(NORTH), list(UP)]
    assert again.update_pending() is None
    assert opened().label(sample(UP)) == "up"


def test_checklist_92_a_crash_in_an_update_learns_each_example_once(home, opened, monkeypatch):
    """Whatever step it dies at: it waits, or it is learned, never both and never neither."""
    model = opened()
    model.add(sample(EAST, "east"))
    model.add_later(sample(NORTH, "north"))
    model.add_later(sample(UP, "up"))

    def look(model, died):
        assert model.label(sample(EAST)) == "east"
        model.update_pending()
        assert model.pending_count == 0
        rows = model.model.head.exemplars.rows.tolist()
        assert rows == [list(EAST), list(NORTH), list(UP)]
        assert [one.number for one in model.history()][-1] == model.generation

    assert every_crash(home, monkeypatch, PersonalModel.update_pending, look) > 5


PROGRAM = """
import sys
import numpy as np
from edge_agent.ml.features import MLDictionaryFeatureProvider
from edge_agent.ml.personal import PersonalModel

model = PersonalModel(sys.argv[1], sys.argv[2])
for number in range(100_000):
    x = np.array([number, 1, 2], dtype=np.float32)
    count = model.add_later(MLDictionaryFeatureProvider({"features": x, "label": str(number)}))
    print(count, flush=True)
"""


@pytest.mark.slow
def test_checklist_92_what_waits_survives_kill_9(home, opened):
    """Every example that was accepted is there, in its order, whenever the process is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(home / "factory"), str(home / "mine")],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        for _ in range(25):
            accepted = int(process.stdout.readline())
    finally:
        os.kill(process.pid, signal.SIGKILL)
        rest = process.stdout.read().splitlines()
        process.stdout.close()
        process.wait(PATIENCE)
    accepted = max([accepted, *(int(line) for line in rest if line)])

    model = opened()
    assert accepted <= model.pending_count <= accepted + 1
    model.update_pending()
    rows = model.model.head.exemplars.rows[:, 0].tolist()
    assert rows[:accepted] == list(range(accepted))


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (sample((1, 2), "short"), MLModelErrorCode.UPDATE),
        (sample((1, np.nan, 2), "odd"), MLModelErrorCode.UPDATE),
        (sample((1, 1e39, 2), "odd"), MLModelErrorCode.UPDATE),
        (sample(EAST), MLModelErrorCode.UPDATE),
        (sample(EAST, 3), MLModelErrorCode.UPDATE),
        (sample(EAST, 0.5), MLModelErrorCode.FEATURE_TYPE),
        (sample(EAST, ""), MLModelErrorCode.FEATURE_TYPE),
        (MLDictionaryFeatureProvider({"features": "text", "label": "a"}), MLModelErrorCode.FEATURE_TYPE),
    ],
)
def test_checklist_92_what_could_not_be_learned_does_not_wait(opened, wrong, code):
    """It is refused with its index when it comes, so that it never stops the others; nothing is kept of it."""
    model = opened()
    with pytest.raises(MLModelError, match="sample 1") as caught:
        model.add_later([sample(EAST, "east"), wrong])
    assert caught.value.code is code
    assert model.pending_count == 0


def test_checklist_92_labels_that_wait_are_of_one_kind(tmp_path):
    """Also where the model leaves open which, as long as nothing was learned."""
    MLModel.factory("lda", 3).write(to=tmp_path / "f")
    model = PersonalModel(tmp_path / "f", tmp_path / "mine")
    model.add_later(sample(EAST, "east"))
    with pytest.raises(MLModelError, match="label is of type INT64"):
        model.add_later(sample(NORTH, 3))
    assert model.pending_count == 1


def test_checklist_92_one_damaged_file_stops_no_other(home, opened, caplog):
    """It is set aside with a sentence."""
    model = opened()
    model.add_later(sample(EAST, "east"))
    model.add_later(sample(UP, "up"))
    first = sorted((home / "mine" / "pending").iterdir())[0]
    first.write_bytes(first.read_bytes()[:-30])

    assert model.update_pending().labels == ("up",)
    assert "is not learned" in caplog.text
    assert [path.name for path in (home / "mine" / "pending" / "damaged").iterdir()] == [first.name]


def test_checklist_92_a_failed_update_leaves_what_waits(opened):
    """And the model, and says why; cancelling is a failure too."""
    model = opened()
    model.add_later(sample(EAST, "east"))
    handlers = MLUpdateProgressHandlers(
        MLUpdateProgressEvent.TRAINING_BEGIN, lambda context: context.task.cancel(), lambda context: None
    )
    with pytest.raises(MLModelError, match="cancelled"):
        model.update_pending(progress_handlers=handlers)
    with pytest.raises(MLModelError, match="number_of_neighbors"):
        model.update_pending(configuration=MLModelConfiguration({Key.NUMBER_OF_NEIGHBORS: 0}))
    assert model.pending_count == 1
    assert model.generation == 0
    model.discard_pending()
    assert model.update_pending() is None


def test_checklist_92_a_second_update_waits_its_turn(opened):
    """Both are learned, one on top of the other, whichever thread came first."""
    model = opened()
    model.label(sample(EAST))
    begun, go_on = threading.Event(), threading.Event()

    def hold(context):
        begun.set()
        assert go_on.wait(PATIENCE)

    handlers = MLUpdateProgressHandlers(MLUpdateProgressEvent.TRAINING_BEGIN, hold, lambda context: None)
    first = threading.Thread(
        target=lambda: model.add(sample(EAST, "east"), progress_handlers=handlers), daemon=True
    )
    second = threading.Thread(target=lambda: model.add(sample(UP, "up")), daemon=True)
    first.start()
    assert begun.wait(PATIENCE)
    second.start()
    # Predictions do not wait for the update that is going on.
    assert model.label(sample(UP)) is None
    with pytest.raises(MLModelError, match="changed already"):
        PersonalModel(model.factory_path, model.folder).add(sample(NORTH, "north"))
    go_on.set()
    first.join(PATIENCE)
    second.join(PATIENCE)

    assert [one.labels for one in model.history()] == [("east",), ("east", "up")]


def test_a_handler_cannot_change_the_model_it_updates(opened):
    """It would wait for itself; it can predict."""
    model = opened()
    said = []

    def handler(context):
        said.append(model.label(sample(EAST)))
        model.add(sample(UP, "up"))

    handlers = MLUpdateProgressHandlers(MLUpdateProgressEvent.EPOCH_END, handler, lambda context: None)
    with pytest.raises(MLModelError, match="cannot change the model"):
        model.add(sample(EAST, "east"), progress_handlers=handlers)
    assert said == [None]
    assert model.generation == 0


# ---------------------------------------------------------------------- 93: hot swap


def test_checklist_93_predictions_go_on_while_updates_are_published(opened):
    """Through 20 updates no prediction fails or waits for one, and each comes from one generation."""
    model = opened()
    model.add(sample((100.0, 0.0, 0.0), "1"))
    stop = threading.Event()
    answers: list[set[int]] = [set() for _ in range(3)]
    problems: list[object] = []

    def ask(seen):
        last = 0
        while not stop.is_set():
            try:
                answer = model.prediction(sample((0.0, 0.0, 0.0)))
            except BaseException as error:
                problems.append(error)
                return
            # Generation n knows the labels 1 to n, and the n-th lies nearest.
            labels = answer.feature_value("label_probabilities").dictionary_value
            number = int(answer.feature_value("label").string_value)
            if list(labels) != [str(one) for one in range(1, number + 1)] or number < last:
                problems.append((number, labels))
            last = number
            seen.add(number)

    threads = [threading.Thread(target=ask, args=(seen,), daemon=True) for seen in answers]
    for thread in threads:
        thread.start()
    for number in range(2, 22):
        model.add(sample((101.0 - number, 0.0, 0.0), str(number)))
        assert model.label(sample((0.0, 0.0, 0.0))) == str(number)
    stop.set()
    for thread in threads:
        thread.join(PATIENCE)

    assert problems == []
    assert all(len(seen) > 1 for seen in answers)


def test_checklist_93_a_model_that_was_taken_does_not_change(taught):
    """Who holds one keeps it, and the next question is answered by the new one."""
    held = taught.model
    taught.add(sample((5.0, 5.0, 5.0), "far"))
    assert held.classes == ("east", "north", "up")
    assert taught.model.classes == ("east", "north", "up", "far")


def test_checklist_93_another_process_takes_it_up_when_told(opened):
    """Before, it goes on with what it has; a change of its own builds on the other's."""
    one, other = opened(), opened()
    assert other.label(sample(EAST)) is None
    one.add(sample(EAST, "east"))
    assert other.label(sample(EAST)) is None
    assert other.reload() == 1
    assert other.label(sample(EAST)) == "east"
    one.add(sample(UP, "up"))
    assert other.add(sample(NORTH, "north")).parent == 2
    assert other.model.classes == ("east", "up", "north")


# ---------------------------------------------------------------------- 94: verified before it answers


class ForgetfulHead(KNearestNeighborsHead):
    """What comes back from disk is not what was written."""

    name = "forgetful"
    lie = "label"

    @classmethod
    def restore(cls, arrays, description):
        head = super().restore(arrays, description)
        if len(head.exemplars) > 1:
            if cls.lie == "label":
                head.relabel(0, head.classes_[1])
            elif cls.lie == "bit":
                rows = head.exemplars.rows.copy()
                rows[0, 0] = np.nextafter(rows[0, 0], np.float32(9))
                head.remember(rows[:1], [head.classes_[0]])
                head.remove([0])
        return head


@pytest.mark.parametrize("lie", ["label", "bit"])
def test_checklist_94_a_saved_model_that_answers_differently_is_not_used(tmp_path, monkeypatch, lie):
    """The old one goes on answering, now and after a restart, and nothing of the other is left."""
    monkeypatch.setattr(ForgetfulHead, "lie", "")
    heads = {**BUILT_IN_HEADS, "forgetful": ForgetfulHead}
    parameters = {Key.NUMBER_OF_NEIGHBORS: 2, Key.WEIGHTING_SCHEME: "inverse_distance"}
    MLModel.factory(ForgetfulHead, 3, parameters=parameters).write(to=tmp_path / "f")
    model = PersonalModel(tmp_path / "f", tmp_path / "mine", heads=heads)
    model.add(sample(EAST, "east"))
    model.add_later([sample(NORTH, "north"), sample((2.0, 1.0, 0.0), "east")])
    monkeypatch.setattr(ForgetfulHead, "lie", lie)

    with pytest.raises(MLModelError, match="does not answer as the one that was trained") as caught:
        model.update_pending()
    assert caught.value.code is MLModelErrorCode.UPDATE
    assert model.generation == 1
    assert model.label(sample(NORTH)) == "east"
    assert model.pending_count == 2
    assert [one.number for one in model.history()] == [1]
    assert PersonalModel(tmp_path / "f", tmp_path / "mine", heads=heads).generation == 1
    monkeypatch.setattr(ForgetfulHead, "lie", "")
    assert model.update_pending().parent == 1


def test_checklist_94_a_file_damaged_while_it_was_saved_is_not_used(home, taught, opened, monkeypatch):
    """Whatever the disk did between writing and reading."""
    real = atomic.publish_directory

    def publish(staging, final):
        real(staging, final)
        if (final / "manifest.json").exists():
            damage(home, int(final.name))

    monkeypatch.setattr("edge_agent.store.registry.publish_directory", publish)
    with pytest.raises(DamagedError):
        taught.add(sample((5, 5, 5), "far"))
    assert taught.generation == opened().generation == 3
    assert [path.name for path in sorted((home / "mine" / "versions").iterdir())] == [
        "000001",
        "000002",
        "000003",
    ]


def test_checklist_94_a_full_disk_leaves_the_old_model(taught, monkeypatch):
    """The error says so."""

    def full(path, data, mode=0o600):
        raise DiskFullError(f"{path}: no room")

    monkeypatch.setattr("edge_agent.ml.package.write_file", full)
    with pytest.raises(DiskFullError):
        taught.add(sample((5, 5, 5), "far"))
    assert taught.generation == 3


# ---------------------------------------------------------------------- 95: generations


def test_checklist_95_the_history_says_what_each_generation_is(opened):
    """Number, parent, time, samples, labels and figures; also after a restart."""
    clock = Clock()
    model = opened(clock=clock)
    model.add([sample(EAST, "east"), sample(NORTH, "north")])
    clock.now = 2000.5
    model.add(sample(UP, "up"))

    for one in (model, opened()):
        first, second = one.history()
        assert (first.number, first.parent, first.created, first.samples_added) == (1, 0, 1000.0, 2)
        assert (second.number, second.parent, second.created, second.samples_added) == (2, 1, 2000.5, 1)
        assert (first.labels, second.labels) == (("east", "north"), ("east", "north", "up"))
        assert (first.is_current, second.is_current) == (False, True)
        assert second.change == "added"
        assert second.metrics["epoch_index"] == 0


def test_checklist_95_the_metrics_of_the_update_are_kept(tmp_path, clouds):
    """Loss and accuracy of a head that has them; a handler of the caller hears as ever."""
    MLModel.factory("softmax", 12, parameters={Key.EPOCHS: 2}).write(to=tmp_path / "f")
    model = PersonalModel(tmp_path / "f", tmp_path / "mine")
    heard = []
    handlers = MLUpdateProgressHandlers(
        MLUpdateProgressEvent.EPOCH_END, lambda context: heard.append(context.event), heard.append
    )
    made = model.add(MatrixBatchProvider(*clouds(60)), progress_handlers=handlers)
    assert 0 < made.metrics["loss_value"] < 2
    assert len(heard) == 3
    assert model.history()[0].metrics == made.metrics


def test_checklist_95_so_many_are_kept_the_current_and_its_parent_among_them(opened):
    """The oldest go first."""
    model = opened(generations=3)
    for number in range(1, 6):
        model.add(sample((number, 0, 0), str(number)))
    assert [one.number for one in model.history()] == [3, 4, 5]
    model.roll_back(to=3)
    made = model.add(sample((9, 0, 0), "nine"))
    assert (made.number, made.parent) == (6, 3)
    assert [one.number for one in model.history()] == [3, 5, 6]
    assert [
        one.number for one in PersonalModel(model.factory_path, model.folder, generations=1).history()
    ] == [3, 5, 6]
    single = opened(generations=1)
    single.add(sample((9, 9, 9), "ten"))
    assert [one.number for one in single.history()] == [7]
    for wrong in (0, -1, True, 2.0):
        with pytest.raises(MLModelError, match="at least 1"):
            opened(generations=wrong)


def test_checklist_95_any_generation_can_be_gone_back_to(taught, opened):
    """To the parent, to a number, forward again and to the factory model; a restart keeps it."""
    assert taught.roll_back() == 2
    assert taught.model.classes == ("east", "north")
    assert opened().generation == 2
    assert taught.roll_back(to=1) == 1
    assert taught.label(sample(UP)) == "east"
    assert opened().generation == 1
    assert taught.roll_back() == 0
    assert taught.label(sample(EAST)) is None
    assert opened().generation == 0
    assert [one.is_current for one in opened().history()] == [False, False, False]
    with pytest.raises(NotFoundError, match="nothing before"):
        taught.roll_back()
    assert taught.roll_back(to=3) == 3
    assert opened().label(sample(UP)) == "up"
    with pytest.raises(NotFoundError, match="no version 9"):
        taught.roll_back(to=9)
    assert taught.generation == 3


def test_checklist_95_learning_goes_on_from_where_one_went_back_to(taught, opened):
    """Its parent is the one that answered; numbers are never given twice."""
    taught.roll_back(to=0)
    assert taught.add(sample(UP, "fresh")).parent == 0
    assert opened().model.classes == ("fresh",)
    assert opened().generation == 4


def test_checklist_95_a_damaged_generation_cannot_be_gone_back_to(home, taught, opened):
    """The one that answers goes on."""
    damage(home, 1)
    with pytest.raises(DamagedError):
        taught.roll_back(to=1)
    assert taught.generation == opened().generation == 3


def test_checklist_95_a_crash_in_going_back_leaves_the_one_or_the_other(home, taught, monkeypatch):
    """Never anything between."""

    def look(model, died):
        assert model.generation in ({3, 1} if died else {1})

    every_crash(home, monkeypatch, lambda model: model.roll_back(to=1), look)


# ---------------------------------------------------------------------- 96: forgetting


def test_checklist_96_a_forgotten_class_votes_no_more_and_its_bytes_are_gone(home, taught, opened):
    """In no file of the folder is its name or a row of it; older generations that knew it are gone too."""
    near = sample((0.1, 0.9, 0.0))
    taught.add_later([sample((0.0, 1.5, 0.0), "north"), sample((0.0, 0.0, 2.0), "up")])
    row = np.array(NORTH, np.float32).tobytes()
    assert taught.label(near) == "north"
    assert row in content(home / "mine")

    assert taught.forget("north") == 4

    assert taught.label(near) == opened().label(near) == "east"
    for gone in (b"north", row, np.array((0.0, 1.5, 0.0), np.float32).tobytes()):
        assert gone not in content(home / "mine")
    assert taught.model.head.exemplars.labels == ["east", "up"]
    assert [(one.number, one.change) for one in taught.history()] == [(1, "added"), (4, "forgot")]
    assert taught.pending_count == 1
    with pytest.raises(MLModelError, match="no label 'north'"):
        taught.forget("north")
    with pytest.raises(NotFoundError):
        taught.roll_back(to=2)
    assert taught.roll_back(to=1) == 1


def test_checklist_96_a_removed_sample_votes_no_more_and_its_bytes_are_gone(home, taught, opened):
    """Every time it was learned, and where it waits; the rest of its class stays."""
    odd = (0.3, 0.7, 0.25)
    taught.add([sample(odd, "up"), sample(odd, "north")])
    taught.add_later(sample(odd, "up"))
    row = np.array(odd, np.float32).tobytes()
    assert row in content(home / "mine")
    before = taught.model.head.exemplars.rows.tolist()

    taught.remove(sample(odd))

    assert row not in content(home / "mine")
    assert opened().model.head.exemplars.rows.tolist() == before[:3]
    assert taught.label(sample(odd)) == "north"
    assert taught.pending_count == 0
    assert [(one.number, one.change) for one in taught.history()] == [
        (1, "added"), (2, "added"), (3, "added"), (5, "removed"),
    ]  # fmt: skip
    with pytest.raises(MLModelError, match="no such sample"):
        taught.remove(sample(odd))


def test_checklist_96_a_relabelled_sample_votes_for_its_new_label(home, taught, opened):
    """The old label is forgotten with its last sample; those generations that had it so are gone."""
    taught.add_later([sample(UP, "up"), sample(EAST, "east")])
    taught.relabel(sample(UP), "sky")

    assert taught.label(sample(UP)) == opened().label(sample(UP)) == "sky"
    assert taught.model.classes == ("east", "north", "sky")
    assert b'"up"' not in content(home / "mine")
    assert [one.number for one in taught.history()] == [1, 2, 4]
    taught.update_pending()
    assert taught.model.head.exemplars.labels == ["east", "north", "sky", "sky", "east"]
    with pytest.raises(MLModelError, match="no such sample that is not 'sky' already"):
        taught.relabel(sample(UP), "sky")


def test_checklist_96_what_only_later_generations_or_waiting_examples_hold_is_forgotten_too(home, taught):
    """Without a new generation, as the one that answers never knew it."""
    taught.roll_back(to=1)
    assert taught.forget("up") == 1
    assert [one.number for one in taught.history()] == [1, 2]
    taught.add_later(sample(UP, "waits"))
    assert taught.forget("waits") == 1
    assert taught.pending_count == 0
    assert taught.remove(sample(NORTH)) == 1
    assert [one.number for one in taught.history()] == [1]
    assert np.array(NORTH, np.float32).tobytes() not in content(home / "mine")


def test_checklist_96_what_cannot_be_looked_into_is_removed(home, taught, caplog):
    """Nobody could prove that it does not hold what was forgotten."""
    damage(home, 1)
    taught.forget("up")
    assert not (home / "mine" / "versions" / "000001").exists()
    assert "generation 1 cannot be looked into and is removed" in caplog.text


def test_checklist_96_the_factory_model_is_left_alone(home, taught):
    """What it knows itself is forgotten until the reset."""
    shutil.copytree(home / "mine" / "versions" / "000002" / "model", home / "knowing")
    model = PersonalModel(home / "knowing", home / "other")
    assert model.forget("north") == 1
    assert model.label(sample(NORTH)) == "east"
    assert model.roll_back() == 0
    assert model.label(sample(NORTH)) == "north"


def test_checklist_96_a_crash_in_forgetting_ends_with_all_or_nothing_forgotten(home, taught, monkeypatch):
    """Once the generation without it answers, none that knew it is left after the next start."""
    seen = set()

    def look(model, died):
        knows = "north" in model.model.classes
        seen.add(knows)
        assert died or not knows
        if not knows:
            assert all("north" not in one.labels for one in model.history())
            model.add(sample((7, 7, 7), "new"))
            assert b'"north"' not in content(home / "mine")

    every_crash(home, monkeypatch, lambda model: model.forget("north"), look)
    assert seen == {True, False}


def test_checklist_96_an_lda_forgets_a_class_but_no_sample(tmp_path, clouds):
    """Its name is in no file any more; single samples it does not remember."""
    MLModel.factory("lda", 12).write(to=tmp_path / "f")
    model = PersonalModel(tmp_path / "f", tmp_path / "mine")
    X, labels = clouds(30)
    model.add(MatrixBatchProvider(X, labels))
    with pytest.raises(MLModelError, match="'lda' cannot"):
        model.remove(MLDictionaryFeatureProvider({"features": X[0]}))
    model.forget("class 1")
    assert set(model.labels(MatrixBatchProvider(X, labels))) == {"class 0", "class 2"}
    assert b"class 1" not in content(tmp_path / "mine")
    assert len(model.history()) == 1


def test_checklist_96_a_head_that_cannot_forget_says_so(tmp_path, clouds):
    """And nothing changes."""
    MLModel.factory("softmax", 12).write(to=tmp_path / "f")
    model = PersonalModel(tmp_path / "f", tmp_path / "mine")
    X, labels = clouds(30)
    model.add(MatrixBatchProvider(X, labels))
    for act in (
        lambda: model.forget("class 1"),
        lambda: model.remove(MLDictionaryFeatureProvider({"features": X[0]})),
        lambda: model.relabel(MLDictionaryFeatureProvider({"features": X[0]}), "class 2"),
    ):
        with pytest.raises(MLModelError, match="'softmax' cannot"):
            act()
    assert model.generation == 1


# ---------------------------------------------------------------------- 97: caps and duplicates


def test_checklist_97_a_cap_and_no_duplicates_hold_through_updates_and_restarts(tmp_path):
    """As the author of the factory model set them; also for examples that waited."""
    parameters = {Key.SAMPLES_PER_CLASS: 2, Key.KEEP_DUPLICATES: False}
    MLModel.factory("knn", 3, parameters=parameters).write(to=tmp_path / "f")
    model = PersonalModel(tmp_path / "f", tmp_path / "mine")
    model.add([sample(EAST, "a"), sample(EAST, "a")])
    assert len(model.model.head.exemplars) == 1
    model.add_later([sample(EAST, "a"), sample(NORTH, "a")])
    model = PersonalModel(tmp_path / "f", tmp_path / "mine")
    model.update_pending()
    model.add(sample(UP, "a"))

    exemplars = PersonalModel(tmp_path / "f", tmp_path / "mine").model.head.exemplars
    assert exemplars.rows.tolist() == [list(NORTH), list(UP)]


# ---------------------------------------------------------------------- any model


@pytest.mark.parametrize("head", ["knn", "lda", "softmax", "network"])
def test_any_head_can_be_personal(tmp_path, clouds, head):
    """Now and later, back and forth, after a restart."""
    X, labels = clouds(60)
    MLModel.factory(head, 12).write(to=tmp_path / "f")
    model = PersonalModel(tmp_path / "f", tmp_path / "mine")
    model.add(MatrixBatchProvider(X[:30], labels[:30]))
    model.add_later(MatrixBatchProvider(X[30:], labels[30:]))
    model.update_pending()
    again = PersonalModel(tmp_path / "f", tmp_path / "mine")

    assert again.generation == 2
    assert np.array_equal(again.model.predict_proba(X), model.model.predict_proba(X))
    told = again.labels(MatrixBatchProvider(X, labels))
    assert np.mean([one == label for one, label in zip(told, labels, strict=True)]) > 0.9


def test_a_model_with_names_of_its_own_takes_rows_later(tmp_path, clouds):
    """Rows of a matrix have no names, so they are kept under those of the model."""
    X, labels = clouds(9)
    head = KNearestNeighborsHead(12)
    MLModel(head, is_writable=True, input_name="drawing", output_name="sticker").write(to=tmp_path / "f")
    model = PersonalModel(tmp_path / "f", tmp_path / "mine")
    model.add_later(MatrixBatchProvider(X, labels))
    model.update_pending()
    assert model.label(MLDictionaryFeatureProvider({"drawing": X[1]})) == "class 1"


CARD = ROOT / "edge_agent" / "extractors" / "efficientnet_lite0_int8.json"


def drawing(seed, label=None):
    """A picture of 64 coloured squares, and a label if there is one."""
    squares = np.random.default_rng(seed).integers(0, 256, size=(8, 8, 3))
    side = extractor_model(CARD).front.input.image_constraint.pixels_wide // 8
    pixels = np.kron(squares, np.ones((side, side, 1))).astype(np.uint8)
    named = {"image": PixelBuffer(pixels)}
    return MLDictionaryFeatureProvider(named if label is None else {**named, "label": label})


@pytest.mark.parametrize("linked", [False, True])
def test_a_pipeline_learns_pictures_now_and_later(tmp_path, linked):
    """Pictures wait by value; what is linked relative to the factory model is found from its updates too."""
    first = extractor_model(CARD)
    n_features = first.front.n_features
    if linked:
        (tmp_path / "lib").mkdir()
        for path in CARD.parent.glob(CARD.stem + ".*"):
            shutil.copy(path, tmp_path / "lib")
        (tmp_path / "factory").mkdir()
        first = linked_model(CARD.name, "../lib", relative_to=tmp_path / "factory")
    last = MLModel.factory("knn", n_features, parameters={Key.NUMBER_OF_NEIGHBORS: 1})
    make_pipeline([first, last]).write(to=tmp_path / "factory")
    name = MLModel.load(tmp_path / "factory").input_name
    assert name == "image"
    model = PersonalModel(tmp_path / "factory", tmp_path / "mine")

    assert model.label(drawing(1)) is None
    model.add([drawing(1, "one")])
    model.add_later([drawing(2, "two"), drawing(3, "three")])
    model = PersonalModel(tmp_path / "factory", tmp_path / "mine")
    assert model.pending_count == 2
    model.update_pending()
    model = PersonalModel(tmp_path / "factory", tmp_path / "mine")
    assert model.labels([drawing(one) for one in (1, 2, 3)]) == ["one", "two", "three"]
    model.add_later(drawing(3, "third"))
    model.relabel(drawing(2), "second")
    model.remove(drawing(3))
    assert model.pending_count == 0
    assert model.model.classes == ("one", "second")
    wrong = MLDictionaryFeatureProvider({"image": PixelBuffer(np.zeros((5, 5, 3), np.uint8)), "label": "x"})
    with pytest.raises(MLModelError, match="sample 0: feature 'image'"):
        model.add_later(wrong)


def test_pending_samples_are_kept_in_order(tmp_path):
    """The name of a file is never given again, not even for the same samples."""
    pending = PendingSamples(tmp_path / "p")
    one = sample(EAST, "a").dictionary
    first = pending.add([one])
    pending.remove([first])
    second, third = pending.add([one]), pending.add([one, one])
    assert second != first
    assert list(pending.read()) == [second, third]
    assert pending.count() == 3


@pytest.mark.parametrize("path", [None, b"model", "a\0b", "x" * 300])
def test_what_is_no_path_is_refused_at_once(tmp_path, path):
    """Of the factory model and of the folder."""
    for given in ((path, tmp_path / "mine"), (tmp_path / "factory", path)):
        with pytest.raises(MLModelError) as caught:
            PersonalModel(*given)
        assert caught.value.code is MLModelErrorCode.IO


def test_a_pointer_of_thousands_of_digits_is_damage(home, taught, opened):
    """It names no generation, so the newest that can be used answers."""
    newest = taught.generation
    (taught.folder / "current").write_text("9" * 5000)

    assert opened().generation == newest

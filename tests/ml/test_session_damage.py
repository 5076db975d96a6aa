"""Training sessions where the disk, the data or the caller does what it should not."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.errors import ExtractorError, MLCreateError, MLCreateErrorCode
from edge_agent.ml.augmentation import ImageAugmentationOptions, Variant
from edge_agent.ml.classifier_parameters import ClassifierType, ModelAlgorithmType, ModelParameters
from edge_agent.ml.data_source import DataSource
from edge_agent.ml.feature_extractors import FeatureExtractorType
from edge_agent.ml.feature_source import ExtractedFeatures
from edge_agent.ml.image_classifier import MLImageClassifier
from edge_agent.ml.jobs import MLJob
from edge_agent.ml.splitting import MLSplitStrategy, ValidationData
from edge_agent.ml.training_progress import MLPhase
from edge_agent.ml.training_session import MLTrainingSession, MLTrainingSessionParameters
from edge_agent.vision.feature_source import open_feature_source
from tests.ml.session_kit import LABELS, NumberSource, picture_folder, write_picture

WAIT = 60.0
Code = MLCreateErrorCode


@pytest.fixture(autouse=True)
def _data(tmp_path: Path) -> None:
    picture_folder(tmp_path / "data")


def begun(
    tmp_path: Path, parameters: ModelParameters | None = None, name: str = "session", **given: Any
) -> MLTrainingSession:
    """A session over the test's data, new or taken up."""
    data = DataSource.labeled_directories(at=tmp_path / "data")
    where = MLTrainingSessionParameters(session_directory=tmp_path / name, **given)
    return MLImageClassifier.make_training_session(data, parameters, where)


def run(session: MLTrainingSession, source: Any = None) -> MLImageClassifier:
    """What comes out of a session."""
    return MLImageClassifier.resume(session, open_source=source or NumberSource()).result(WAIT)


def learned(classifier: MLImageClassifier) -> dict[str, bytes]:
    """The bits that were learned."""
    return {name: array.tobytes() for name, array in classifier.head_model.head.arrays().items()}


def refused(call: Callable[[], object], code: Code, *words: str) -> MLCreateError:
    """The call raises this code, in one line that has these words."""
    with pytest.raises(MLCreateError) as caught:
        call()
    text = str(caught.value)
    assert caught.value.code is code, text
    assert "\n" not in text
    for word in words:
        assert word in text
    return caught.value


@pytest.mark.parametrize("name", ["checkpoint.json", "fit.npz"])
@pytest.mark.parametrize("harm", [b"", b"{}", b"\x00" * 100])
def test_checklist_136_a_damaged_checkpoint_falls_back_to_the_one_before(
    tmp_path: Path, name: str, harm: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """To the same bits in the end, and with a checkpoint of that moment that can be read again."""
    session = begun(tmp_path, checkpoint_interval=5)
    whole = learned(run(session))
    last = session.checkpoints[-1]
    (last.url / name).write_bytes(harm)

    again = begun(tmp_path, checkpoint_interval=5)
    source = NumberSource()
    assert learned(run(again, source)) == whole

    assert source.looked == []
    assert [one.iteration for one in again.checkpoints][-1] == last.iteration
    assert learned(MLImageClassifier(checkpoint=again.checkpoints[-1])) == whole
    assert again.kept.state(again.checkpoints[-1]).arrays
    assert (name == "checkpoint.json") or f"{last.url}: removed" in caplog.text


def test_checklist_136_without_one_checkpoint_that_can_be_read_training_begins_anew(tmp_path: Path) -> None:
    """A fit that misses what it needs is none."""
    session = begun(tmp_path, checkpoint_interval=5)
    whole = learned(run(session))
    for one in session.checkpoints:
        if one.phase is MLPhase.TRAINING:
            facts = json.loads((one.url / "checkpoint.json").read_bytes())
            facts["state"]["fit"] = {}
            (one.url / "checkpoint.json").write_text(json.dumps(facts), encoding="utf-8")

    assert learned(run(begun(tmp_path))) == whole


def cut(content: bytes) -> bytes:
    """The end is missing."""
    return content[:100]


def turned(content: bytes) -> bytes:
    """One bit of the features is another, so late that opening the block does not see it."""
    at = content.index(b"rows.npy") + 30_000
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize("harm", [cut, turned])
def test_checklist_134_a_damaged_block_of_features_is_mended(
    tmp_path: Path, harm: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """Only its files are looked at again; the rest of the session stays what it is."""
    session = begun(tmp_path)
    whole = learned(run(session, NumberSource(n_features=1024)))
    path = sorted((tmp_path / "session" / "features").iterdir())[1]
    path.write_bytes(harm(path.read_bytes()))
    source = NumberSource(n_features=1024)

    assert learned(run(begun(tmp_path), source)) == whole

    assert len(source.looked) == 10
    assert not path.exists()
    assert f"{path}: damaged" in caplog.text


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": 1}', b"\xff\xfe"])
def test_a_damaged_session_is_named_with_what_to_do(tmp_path: Path, content: bytes) -> None:
    """One line, by making it again and by restoring it."""
    begun(tmp_path)
    path = tmp_path / "session" / "session.json"
    path.write_bytes(content)
    where = MLTrainingSessionParameters(session_directory=tmp_path / "session")

    for call in (lambda: begun(tmp_path), lambda: MLImageClassifier.restore_training_session(where)):
        refused(call, Code.IO, str(path), "damaged", "another")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("validation", 3),
        ("feature_extractor", {}),
        ("feature_extractor", {"revision": -1}),
        ("classifier", {"fit": "lda"}),
        ("max_iterations", "many"),
        ("augmentation", 4096),
        ("augmentation_settings", []),
    ],
)
def test_parameters_that_make_no_sense_any_more_are_damage(tmp_path: Path, name: str, value: object) -> None:
    """Not an error of the caller's."""
    begun(tmp_path)
    path = tmp_path / "session" / "session.json"
    facts = json.loads(path.read_bytes())
    facts["parameters"][name] = value
    path.write_text(json.dumps(facts), encoding="utf-8")
    where = MLTrainingSessionParameters(session_directory=tmp_path / "session")

    refused(lambda: MLImageClassifier.restore_training_session(where), Code.IO, str(path), "damaged")


def test_a_session_cannot_be_where_a_file_is(tmp_path: Path) -> None:
    """IO, naming the place."""
    (tmp_path / "session").write_text("mine", encoding="utf-8")

    refused(lambda: begun(tmp_path), Code.IO, str(tmp_path / "session"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to_is_one_line(tmp_path: Path) -> None:
    """When it is made and when it is run."""
    session = begun(tmp_path)
    (tmp_path / "closed").mkdir(mode=0o500)
    refused(lambda: begun(tmp_path, name="closed/session"), Code.IO, "closed")
    (tmp_path / "session").chmod(0o500)
    try:
        refused(lambda: run(session), Code.IO, str(tmp_path / "session"))
    finally:
        (tmp_path / "session").chmod(0o700)


def test_a_folder_that_is_taken_away_is_one_line(tmp_path: Path) -> None:
    """The disk refuses in the middle: IO, with the path; nothing else is left behind."""
    session = begun(tmp_path)

    class Taking(NumberSource):
        def extract(self, wanted: Iterable[tuple[Path, Variant | None]]) -> Iterator[ExtractedFeatures]:
            for number, answer in enumerate(super().extract(wanted)):
                if number == 15:
                    shutil.rmtree(tmp_path / "session")
                    (tmp_path / "session").write_text("a file", encoding="utf-8")
                yield answer

    refused(lambda: run(session, Taking()), Code.IO, str(tmp_path / "session"))


def test_checklist_126_data_that_vanishes_in_the_middle_is_not_kept_as_bad(tmp_path: Path) -> None:
    """The run says so; when the disk is back the session goes on to the same result."""
    whole = learned(run(begun(tmp_path, name="whole")))
    session = begun(tmp_path)
    data, aside = tmp_path / "data", tmp_path / "unplugged"

    class Unplugged(NumberSource):
        def extract(self, wanted: Iterable[tuple[Path, Variant | None]]) -> Iterator[ExtractedFeatures]:
            for number, (path, variant) in enumerate(wanted):
                if number == 17:
                    data.rename(aside)
                if not path.exists():
                    yield ExtractedFeatures(path, variant, None, 0, 0, "", "the file cannot be read")
                    continue
                yield from super().extract([(path, variant)])

    refused(lambda: run(session, Unplugged()), Code.MODIFIED_TRAINING_DATA, "removed", str(data))

    aside.rename(data)
    rest = NumberSource()
    assert learned(run(begun(tmp_path), rest)) == whole
    assert len(rest.looked) == 36 - 17


def test_one_label_is_refused_before_anything_is_looked_at(tmp_path: Path) -> None:
    """TYPE; when all of a label cannot be read that turns out later, and is said the same way."""
    one = {"cat": sorted((tmp_path / "data" / "cat").iterdir())}
    refused(lambda: MLImageClassifier.make_training_session(one), Code.TYPE, "only 'cat'")
    for label in ("dog", "emu"):
        for path in (tmp_path / "data" / label).iterdir():
            path.write_text("bad", encoding="utf-8")
    refused(lambda: run(begun(tmp_path)), Code.TYPE, "only 'cat'")
    for path in (tmp_path / "data" / "cat").iterdir():
        path.write_text("bad", encoding="utf-8")
    refused(lambda: run(begun(tmp_path, name="worse")), Code.TYPE, "no label has")


def test_validation_pictures_of_an_unknown_label_count_as_wrong(tmp_path: Path) -> None:
    """They cannot be answered right; loss is that of the others."""
    fox = write_picture(tmp_path / "fox.jpg", "fox", 1)
    cat = write_picture(tmp_path / "cat.jpg", "cat", 77)
    for files, accuracy in (({"fox": [fox], "cat": [cat]}, 0.5), ({"fox": [fox]}, 0.0)):
        parameters = ModelParameters(validation=ValidationData.dictionary(files))
        classifier = run(begun(tmp_path, parameters, f"session {accuracy}"))

        assert classifier.validation_metrics.accuracy == accuracy
        assert classifier.labels == LABELS
        assert classifier.result is not None
        assert ("validation_loss" in classifier.result.history[-1]) == (accuracy > 0)


def test_checklist_127_validation_pictures_may_change_too(tmp_path: Path) -> None:
    """One that is gone is done without, one that changed is looked at again."""
    other = picture_folder(tmp_path / "other", per_label=2)
    parameters = ModelParameters(
        validation=ValidationData.data_source(DataSource.labeled_directories(at=other))
    )
    run(begun(tmp_path, parameters))
    (other / "cat" / "000.jpg").unlink()
    write_picture(other / "dog" / "001.jpg", "dog", 12345)
    refused(lambda: run(begun(tmp_path, parameters)), Code.MODIFIED_TRAINING_DATA, "1 removed", "1 changed")
    source = NumberSource()

    classifier = run(begun(tmp_path, parameters, accepts_modified_data=True), source)

    assert classifier.validation_metrics.count == 5
    assert len(source.looked) == 1


def test_checklist_127_pictures_known_keep_their_part(tmp_path: Path) -> None:
    """What was held out is never learned from later; of the new ones a share is held out too."""
    parameters = ModelParameters(validation=ValidationData.split(MLSplitStrategy.fixed(0.25, seed=3)))
    before = {one.key.path: one.role for one in begun(tmp_path, parameters).facts.files}
    for number in range(100, 140):
        write_picture(tmp_path / "data" / "cat" / f"{number}.jpg", "cat", number)

    after = {
        one.key.path: one.role for one in begun(tmp_path, parameters, accepts_modified_data=True).facts.files
    }

    assert {path: after[path] for path in before} == before
    new = [role for path, role in after.items() if path not in before]
    assert 3 <= new.count("validation") <= 20


def test_the_same_pixels_twice_are_two_pictures(tmp_path: Path) -> None:
    """Copies of a file are learned as often as they are there."""
    shutil.copy(tmp_path / "data" / "cat" / "000.jpg", tmp_path / "data" / "cat" / "copy.jpg")

    assert run(begun(tmp_path)).training_metrics.count == 37


def test_checklist_121_two_jobs_of_one_session_do_not_mix(tmp_path: Path) -> None:
    """The second is refused, the first comes to its end and says its phases."""
    session = begun(tmp_path)
    second: list[MLCreateError] = []
    phases: list[MLPhase] = []

    class Meanwhile(NumberSource):
        def extract(self, wanted: Iterable[tuple[Path, Variant | None]]) -> Iterator[ExtractedFeatures]:
            second.append(refused(lambda: run(session), Code.IO, str(session.folder), "another"))
            phases.append(session.phase)
            yield from super().extract(wanted)

    job: MLJob[MLImageClassifier] = MLImageClassifier.prepared(session, open_source=Meanwhile())
    job.phase.sink(lambda _: phases.append(session.phase))
    assert job.start().result(WAIT).labels == LABELS

    assert len(second) == 1
    assert phases == [
        MLPhase.EXTRACTING_FEATURES,
        MLPhase.EXTRACTING_FEATURES,
        MLPhase.TRAINING,
        MLPhase.EVALUATING,
    ]
    assert session.phase is MLPhase.INITIALIZED


def test_a_listener_that_raises_leaves_a_session_that_goes_on(tmp_path: Path) -> None:
    """GENERIC with its text; what was kept is not done again."""
    whole = learned(run(begun(tmp_path, name="whole")))
    for at, name in ((2, "checkpoints"), (1, "phase"), (6, "reports")):
        session = begun(tmp_path, name=name)
        job = MLImageClassifier.prepared(session, open_source=NumberSource())
        heard: list[object] = []

        def listen(value: object, heard: list[object] = heard, at: int = at) -> None:
            heard.append(value)
            if len(heard) == at:
                raise ZeroDivisionError("no such number")

        getattr(job, name).sink(listen)
        refused(lambda job=job: job.start().result(WAIT), Code.GENERIC, "ZeroDivisionError: no such number")

        assert learned(run(session)) == whole


def test_checklist_115_139_an_extractor_that_cannot_be_used_is_an_error_of_create_ml(tmp_path: Path) -> None:
    """A revision there is not, a file there is not, an engine that dies: one line, by job and by constructor."""
    data = DataSource.labeled_directories(at=tmp_path / "data")
    cases = [
        (FeatureExtractorType.built_in(99), Code.TYPE, "revision 99"),
        (FeatureExtractorType.custom(tmp_path / "own.tflite"), Code.IO, "own.tflite"),
    ]
    for extractor, code, words in cases:
        parameters = ModelParameters(algorithm=ModelAlgorithmType.transfer_learning(extractor))
        refused(lambda parameters=parameters: MLImageClassifier(data, parameters), code, words)
        job = MLImageClassifier.train(data, parameters, open_source=open_feature_source)
        refused(lambda job=job: job.result(WAIT), code, words)

    class Dying(NumberSource):
        def extract(self, wanted: Iterable[tuple[Path, Variant | None]]) -> Iterator[ExtractedFeatures]:
            raise ExtractorError("the engine died")
            yield

    error = refused(lambda: run(begun(tmp_path), Dying()), Code.IO, "the engine died")
    assert isinstance(error.__cause__, ExtractorError)
    classifier = run(begun(tmp_path))
    broken = MLImageClassifier(checkpoint=begun(tmp_path).checkpoints[-1], open_source=Dying())
    refused(lambda: broken.prediction(from_="a.jpg"), Code.IO, "the engine died")
    refused(lambda: classifier.predictions(from_="a.jpg"), Code.TYPE, "a list of pictures")


@pytest.mark.parametrize(
    "call",
    [
        lambda data: MLImageClassifier(data, parameters=3),
        lambda data: MLImageClassifier(3),
        lambda data: MLImageClassifier(checkpoint=3),
        lambda data: MLImageClassifier.make_training_session(data, session_parameters="Session"),
        lambda data: MLImageClassifier.restore_training_session("Session"),
        lambda data: MLImageClassifier.resume(data),
        lambda data: MLTrainingSessionParameters(session_directory=""),
        lambda data: MLTrainingSessionParameters(session_directory="a\0b"),
        lambda data: ModelAlgorithmType.transfer_learning(3),
        lambda data: ModelAlgorithmType.transfer_learning(classifier="lda"),
        lambda data: ClassifierType.logistic_regressor(l2="x"),
        lambda data: MLImageClassifier(data, open_source=NumberSource()).predictions(from_=5),
    ],
)
def test_checklist_139_another_kind_of_value_is_an_error_of_create_ml(
    tmp_path: Path, call: Callable[[Any], object]
) -> None:
    """TYPE, in one line, from every call of the family."""
    refused(lambda: call(DataSource.labeled_directories(at=tmp_path / "data")), Code.TYPE)


def test_checklist_133_pictures_that_are_learned_from_need_their_copies(tmp_path: Path) -> None:
    """A file that another session only validated by is looked at anew, and the other way round."""
    flips = ImageAugmentationOptions.FLIP
    halves = [ValidationData.split(MLSplitStrategy.fixed(0.25, seed=seed)) for seed in (1, 2)]
    first, second = (
        begun(tmp_path, ModelParameters(validation=one, augmentation=flips), f"session {number}")
        for number, one in enumerate(halves)
    )
    run(first)
    roles = {one.key: one.role for one in first.facts.files}
    others = [one for one in second.facts.files if roles[one.key] != one.role]
    second.reuse_extracted_features(first)
    source = NumberSource()

    run(second, source)

    assert len(source.looked) == sum(4 if one.role == "training" else 1 for one in others) > 0


def test_an_unknown_way_to_train_is_refused(tmp_path: Path) -> None:
    """TYPE, naming those there are."""
    parameters = ModelParameters(
        algorithm=ModelAlgorithmType.transfer_learning(classifier=ClassifierType("x"))
    )

    refused(lambda: run(begun(tmp_path, parameters)), Code.TYPE, "'x'", "logistic")


def test_checklist_125_a_lowered_limit_goes_back_and_a_raised_one_on(tmp_path: Path) -> None:
    """The result is that of a session of that length, whatever was before."""
    results = {
        limit: learned(run(begun(tmp_path, name=f"only {limit}", iterations=limit))) for limit in (3, 7, 12)
    }
    for limit in (12, 3, 7, 12, 3):
        session = begun(tmp_path, iterations=limit, checkpoint_interval=2)
        assert learned(run(session)) == results[limit]


def test_checklist_128_a_session_taken_up_says_at_once_how_far_it_is(tmp_path: Path) -> None:
    """Its first report of training is that of its last checkpoint, with its metrics."""
    run(begun(tmp_path, iterations=6))

    job = MLImageClassifier.resume(begun(tmp_path, iterations=8), open_source=NumberSource())
    job.result(WAIT)

    first, *_, last = [one for one in job.reports if one.phase is MLPhase.TRAINING]
    assert (first.item_count, first.total_item_count, last.item_count) == (6, 8, 8)
    assert {"loss", "accuracy"} <= set(first.metrics)


def test_checklist_119_training_without_a_folder_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither after success nor after failure."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    data = {label: sorted((tmp_path / "data" / label).iterdir()) for label in LABELS}

    assert MLImageClassifier(data, open_source=NumberSource()).labels == LABELS
    for paths in data.values():
        for path in paths:
            path.write_text("bad", encoding="utf-8")
    refused(lambda: MLImageClassifier(data, open_source=NumberSource()), Code.TYPE)

    assert list((tmp_path / "temporary").iterdir()) == []


def test_many_features_are_answered_for_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same metrics and the same bits, through a matrix on disk."""
    whole = run(begun(tmp_path, name="whole"))
    monkeypatch.setattr("edge_agent.ml.session_run.BLOCK_ROWS", 5)
    monkeypatch.setattr("edge_agent.ml.feature_cache.MOST_IN_MEMORY", 64)

    blocks = run(begun(tmp_path))

    assert learned(blocks) == learned(whole)
    assert blocks.training_metrics.to_json() == whole.training_metrics.to_json()
    assert np.isfinite([row["loss"] for row in blocks.result.history]).all() if blocks.result else False


def test_nothing_is_logged_above_info_when_nothing_is_wrong(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning means something."""
    caplog.set_level(logging.WARNING)

    run(begun(tmp_path))
    run(begun(tmp_path))

    assert caplog.records == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda facts: facts.update(date=1e300), "date"),
        (lambda facts: facts.update(n_features=-1), "n_features"),
        (lambda facts: facts["files"][0].update(label="../../x\x1b[31m"), "label"),
        (lambda facts: facts["files"][0].update(role="judge"), "role"),
        (lambda facts: facts["files"][0]["key"].update(path="a.jpg"), "path"),
        (lambda facts: facts["files"][0]["key"].update(path="/a\0.jpg"), "path"),
        (lambda facts: facts["files"].append(facts["files"][0]), "once"),
    ],
)
def test_a_session_that_nobody_wrote_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], word: str
) -> None:
    """Labels, parts, paths and times that no session has are damage, and nothing is done with them."""
    session = begun(tmp_path)
    path = session.folder / "session.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    change(facts)
    path.write_text(json.dumps(facts), encoding="utf-8")

    error = refused(lambda: begun(tmp_path), Code.IO, str(path), "damaged", word)
    assert "\x1b" not in str(error)

"""Training sessions: on disk, resumed, refused, shared."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.config import LearningConfig
from edge_agent.errors import MLCreateError, MLCreateErrorCode
from edge_agent.ml.augmentation import AugmentationSettings, ImageAugmentationOptions, variants
from edge_agent.ml.checkpoints import MLCheckpoint
from edge_agent.ml.classifier_parameters import ClassifierType, ModelAlgorithmType, ModelParameters
from edge_agent.ml.data_source import DataSource
from edge_agent.ml.heads.built_in import BUILT_IN_HEADS
from edge_agent.ml.image_classifier import MLImageClassifier
from edge_agent.ml.jobs import MLJob
from edge_agent.ml.splitting import MLSplitStrategy, ValidationData
from edge_agent.ml.training_progress import MLPhase
from edge_agent.ml.training_session import MLTrainingSession, MLTrainingSessionParameters
from tests.ml.session_kit import LABELS, NumberSource, picture_folder, write_picture

WAIT = 60.0
PHASES = [MLPhase.EXTRACTING_FEATURES, MLPhase.TRAINING, MLPhase.EVALUATING]
KINDS = [
    ClassifierType.logistic_regressor(),
    ClassifierType.multilayer_perceptron([6, 5]),
    ClassifierType.discriminant(),
    ClassifierType.automatic(),
]


def algorithm(classifier: ClassifierType) -> ModelAlgorithmType:
    """Transfer learning with this classifier."""
    return ModelAlgorithmType.transfer_learning(classifier=classifier)


def in_folder(folder: Path, **given: Any) -> MLTrainingSessionParameters:
    """Parameters of a session that lies there."""
    return MLTrainingSessionParameters(session_directory=folder, **given)


def begun(
    tmp_path: Path, parameters: ModelParameters | None = None, name: str = "session", **given: Any
) -> MLTrainingSession:
    """A session over the test's data, new or taken up."""
    data = DataSource.labeled_directories(at=tmp_path / "data")
    return MLImageClassifier.make_training_session(data, parameters, in_folder(tmp_path / name, **given))


def run(session: MLTrainingSession, source: NumberSource | None = None) -> MLImageClassifier:
    """What comes out of a session."""
    return MLImageClassifier.resume(session, open_source=source or NumberSource()).result(WAIT)


def learned(classifier: MLImageClassifier) -> dict[str, Any]:
    """The bits that were learned."""
    return {name: array.tobytes() for name, array in classifier.head_model.head.arrays().items()}


class Stopping(NumberSource):
    """Cancels its job once it has looked at so many files."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after
        self.job: MLJob[Any] | None = None

    def extract(self, wanted: Any) -> Any:
        for number, answer in enumerate(super().extract(wanted), 1):
            if number == self.after and self.job is not None:
                self.job.cancel()
            yield answer


@pytest.fixture(autouse=True)
def _data(tmp_path: Path) -> None:
    picture_folder(tmp_path / "data")


def test_checklist_120_121_a_session_waits_until_it_is_resumed(tmp_path: Path) -> None:
    """`make_training_session` looks at nothing; `resume` answers a running job with the classifier."""
    source = NumberSource()
    session = begun(tmp_path)
    assert source.looked == []
    assert (session.phase, session.iteration, session.checkpoints) == (MLPhase.INITIALIZED, 0, [])

    job = MLImageClassifier.resume(session, open_source=source)
    classifier = job.result(WAIT)

    assert isinstance(classifier, MLImageClassifier)
    assert list(job.phase) == PHASES
    assert classifier.labels == LABELS
    assert len(source.looked) == 36
    assert source.closed == 1


def test_checklist_120_123_train_answers_a_running_job_at_once(tmp_path: Path) -> None:
    """Before anything was looked at; called again for the same folder it goes on there."""
    go = threading.Event()

    class Waiting(NumberSource):
        def extract(self, wanted: Any) -> Any:
            assert go.wait(WAIT)
            yield from super().extract(wanted)

    data, where = DataSource.labeled_directories(at=tmp_path / "data"), in_folder(tmp_path / "session")
    source = Waiting()
    job = MLImageClassifier.train(data, session_parameters=where, open_source=source)

    assert not job.is_finished
    assert source.looked == []
    go.set()
    classifier = job.result(WAIT)
    again = MLImageClassifier.train(data, session_parameters=where, open_source=source)
    assert learned(again.result(WAIT)) == learned(classifier)
    assert len(source.looked) == 36


def test_checklist_119_the_constructor_trains_here_and_now(tmp_path: Path) -> None:
    """It raises what goes wrong; without data or with both kinds of beginning it cannot be called."""
    data = DataSource.labeled_directories(at=tmp_path / "data")

    classifier = MLImageClassifier(training_data=data, open_source=NumberSource())

    assert classifier.training_metrics.accuracy == 1.0
    shutil.rmtree(tmp_path / "data" / "dog")
    shutil.rmtree(tmp_path / "data" / "emu")
    with pytest.raises(MLCreateError, match="only 'cat' has") as caught:
        MLImageClassifier(training_data=data, open_source=NumberSource())
    assert caught.value.code is MLCreateErrorCode.TYPE
    with pytest.raises(TypeError):
        MLImageClassifier()


def test_checklist_124_the_parameters_of_a_session_have_apples_defaults() -> None:
    """And wrong ones are refused by name."""
    given = MLTrainingSessionParameters()

    assert (given.session_directory, given.report_interval, given.checkpoint_interval, given.iterations) == (
        None,
        5,
        10,
        1000,
    )
    for name in ("report_interval", "checkpoint_interval", "iterations"):
        for value in (0, 1.5, "3", True):
            with pytest.raises(MLCreateError, match=name) as caught:
                MLTrainingSessionParameters(**{name: value})
            assert caught.value.code is MLCreateErrorCode.TYPE


def test_checklist_128_129_reports_count_files_then_iterations(tmp_path: Path) -> None:
    """Every `report_interval`, with the phase, the whole and the metrics of the iteration."""
    job = MLImageClassifier.resume(begun(tmp_path, report_interval=7), open_source=NumberSource())
    job.result(WAIT)

    extraction = [one for one in job.reports if one.phase is MLPhase.EXTRACTING_FEATURES]
    training = [one for one in job.reports if one.phase is MLPhase.TRAINING]
    assert [one.item_count for one in extraction] == [0, 7, 14, 21, 28, 35, 36]
    assert {one.total_item_count for one in extraction} == {36}
    assert [one.item_count for one in training][:2] == [7, 14]
    assert {one.total_item_count for one in training} == {25}
    assert {"loss", "accuracy"} <= set(training[0].metrics)
    times = [one.elapsed_time for one in job.reports]
    assert times == sorted(times)


def test_checklist_130_checkpoints_come_in_both_phases(tmp_path: Path) -> None:
    """Every `checkpoint_interval` and at the end of each phase; the job tells each as it is written."""
    session = begun(tmp_path, checkpoint_interval=15)
    job = MLImageClassifier.resume(session, open_source=NumberSource())
    job.result(WAIT)

    told = [(one.phase, one.iteration) for one in job.checkpoints]
    assert told[:3] == [(MLPhase.EXTRACTING_FEATURES, count) for count in (15, 30, 36)]
    assert told[3] == (MLPhase.TRAINING, 15)
    assert [(one.phase, one.iteration) for one in session.checkpoints] == told
    assert session.iteration == told[-1][1]
    for one in session.checkpoints:
        assert one.url.parent == tmp_path / "session" / "checkpoints"
        assert one.date >= session.date
        assert MLCheckpoint.from_json(json.loads(json.dumps(one.to_json()))) == one
        assert set(one.metrics) == ({"loss", "accuracy"} if one.phase is MLPhase.TRAINING else set())


def test_checklist_131_any_checkpoint_of_training_makes_a_classifier(tmp_path: Path) -> None:
    """It answers as the training was then; one of extraction is refused."""
    session = begun(tmp_path, checkpoint_interval=10)
    final = run(session)
    extraction, *_, last = session.checkpoints

    early = next(one for one in session.checkpoints if one.phase is MLPhase.TRAINING)
    classifier = MLImageClassifier(checkpoint=early, open_source=NumberSource())
    assert early.iteration == 10
    assert classifier.labels == LABELS
    assert learned(MLImageClassifier(checkpoint=last, open_source=NumberSource())) == learned(final)
    assert learned(classifier) != learned(final)
    with pytest.raises(MLCreateError, match="phase training") as caught:
        MLImageClassifier(checkpoint=extraction)
    assert caught.value.code is MLCreateErrorCode.GENERIC


def test_checklist_132_checkpoints_are_listed_and_removed_by_a_predicate(tmp_path: Path) -> None:
    """Files and entries go; the features stay, so that the session goes on without looking again."""
    session = begun(tmp_path)
    whole = learned(run(session))

    session.remove_checkpoints(lambda one: one.phase is MLPhase.TRAINING)

    assert {one.phase for one in session.checkpoints} == {MLPhase.EXTRACTING_FEATURES}
    source = NumberSource()
    assert learned(run(session, source)) == whole
    assert source.looked == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.fit)
@pytest.mark.parametrize("after", [1, 17, 35])
def test_checklist_122_134_136_a_cancelled_session_goes_on_from_its_folder_alone(
    tmp_path: Path, kind: ClassifierType, after: int
) -> None:
    """Nothing is looked at twice but the files since the last block, and the result has the same bits."""
    parameters = ModelParameters(algorithm=algorithm(kind))
    whole = learned(run(begun(tmp_path, parameters, "whole")))
    session = begun(tmp_path, parameters)
    source = Stopping(after)
    job = _job_that_stops(session, source)
    with pytest.raises(MLCreateError) as caught:
        job.result(WAIT)
    assert caught.value.code is MLCreateErrorCode.CANCELLED

    again = MLImageClassifier.restore_training_session(in_folder(tmp_path / "session"))
    rest = NumberSource()
    classifier = run(again, rest)

    assert learned(classifier) == whole
    assert len(rest.looked) == 36 - after


def _job_that_stops(session: MLTrainingSession, source: Stopping) -> MLJob[Any]:
    """A job that its own source cancels; the source has to know it before it begins."""

    def opened(*_: Any) -> NumberSource:
        return source

    job: MLJob[Any] = MLImageClassifier.prepared(session, open_source=opened)
    source.job = job
    return job.start()


@pytest.mark.parametrize("kind", KINDS[:2], ids=lambda kind: kind.fit)
def test_checklist_136_cancelled_in_training_it_goes_on_to_the_same_bits(
    tmp_path: Path, kind: ClassifierType
) -> None:
    """Whatever iteration it was cancelled in."""
    parameters = ModelParameters(algorithm=algorithm(kind))
    whole = learned(run(begun(tmp_path, parameters, "whole")))
    for stop in (1, 6, 13):
        session = begun(tmp_path, parameters, f"stopped {stop}", report_interval=1, checkpoint_interval=4)
        job = MLImageClassifier.prepared(session, open_source=NumberSource())

        def listen(report: Any, job: MLJob[Any] = job, stop: int = stop) -> None:
            if report.phase is MLPhase.TRAINING and report.item_count == stop:
                job.cancel()

        job.reports.sink(listen)
        with pytest.raises(MLCreateError, match="cancelled"):
            job.start().result(WAIT)

        assert session.iteration == stop // 4 * 4
        assert learned(run(session)) == whole


def test_checklist_123_making_a_session_in_its_folder_restores_it(tmp_path: Path) -> None:
    """Neither the files are looked at again nor is the training repeated."""
    first = begun(tmp_path)
    whole = learned(run(first))
    source = NumberSource()

    again = begun(tmp_path)

    assert again.date == first.date
    assert again.iteration == first.iteration
    assert learned(run(again, source)) == whole
    assert source.opened == 0


def test_checklist_122_without_a_session_nothing_is_restored(tmp_path: Path) -> None:
    """The error names the folder."""
    for folder in (None, tmp_path / "empty"):
        with pytest.raises(MLCreateError) as caught:
            MLImageClassifier.restore_training_session(MLTrainingSessionParameters(session_directory=folder))
        assert caught.value.code is MLCreateErrorCode.IO


def test_checklist_125_the_smaller_limit_holds_and_a_raised_one_extends(tmp_path: Path) -> None:
    """An iteration is one pass; a session that was extended is one that was that long from the start."""
    parameters = ModelParameters(max_iterations=12)
    session = begun(tmp_path, parameters, iterations=5)
    run(session)
    assert (session.iteration, session.limit) == (5, 5)

    longer = begun(tmp_path, ModelParameters(max_iterations=14), iterations=1000)
    classifier = run(longer)

    assert longer.iteration == 14
    straight = run(begun(tmp_path, ModelParameters(max_iterations=14), "straight"))
    assert learned(classifier) == learned(straight)


def test_checklist_125_training_ends_when_it_has_converged(tmp_path: Path) -> None:
    """The discriminant needs one iteration, whatever the limit."""
    session = begun(tmp_path, ModelParameters(algorithm=algorithm(ClassifierType.discriminant())))

    classifier = run(session)

    assert session.iteration == 1
    assert classifier.result is not None
    assert classifier.result.converged


CHANGES = {
    "added": lambda data: write_picture(data / "cat" / "new.jpg", "cat", 99),
    "removed": lambda data: (data / "dog" / "003.jpg").unlink(),
    "changed": lambda data: write_picture(data / "emu" / "005.jpg", "emu", 12345),
    "a new label": lambda data: picture_folder(data, 3, ["fox"]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_checklist_126_changed_files_are_refused(tmp_path: Path, change: str) -> None:
    """The error says how many and names the first."""
    run(begun(tmp_path))

    CHANGES[change](tmp_path / "data")

    with pytest.raises(MLCreateError, match=r"first .*\.jpg") as caught:
        begun(tmp_path)
    assert caught.value.code is MLCreateErrorCode.MODIFIED_TRAINING_DATA


def test_checklist_126_files_that_change_before_resuming_are_refused(tmp_path: Path) -> None:
    """Also by a session that was made before."""
    session = begun(tmp_path)
    (tmp_path / "data" / "cat" / "000.jpg").unlink()

    with pytest.raises(MLCreateError) as caught:
        run(session)
    assert caught.value.code is MLCreateErrorCode.MODIFIED_TRAINING_DATA


def test_checklist_126_other_parameters_are_refused_by_name(tmp_path: Path) -> None:
    """With what they were and what they are."""
    begun(tmp_path)
    given = {
        "augmentation": ModelParameters(augmentation=ImageAugmentationOptions.FLIP),
        "classifier": ModelParameters(algorithm=algorithm(ClassifierType.discriminant())),
        "max_iterations": ModelParameters(max_iterations=24),
        "seed": ModelParameters(seed=5),
        "validation": ModelParameters(validation=ValidationData.none()),
    }
    for name, parameters in given.items():
        with pytest.raises(MLCreateError, match=name) as caught:
            begun(tmp_path, parameters)
        assert caught.value.code is MLCreateErrorCode.INCOMPATIBLE_PARAMETERS
        assert caught.value.parameter == name
        assert caught.value.original_value != caught.value.new_value


@pytest.mark.parametrize("change", CHANGES)
def test_checklist_127_modified_data_can_be_accepted(tmp_path: Path, change: str) -> None:
    """Only what is new is looked at, and the result is that of a session that began with these files."""
    parameters = ModelParameters(validation=ValidationData.none())
    run(begun(tmp_path, parameters))
    CHANGES[change](tmp_path / "data")
    source = NumberSource()

    classifier = run(begun(tmp_path, parameters, accepts_modified_data=True), source)

    assert len(source.looked) == {"added": 1, "removed": 0, "changed": 1, "a new label": 3}[change]
    assert learned(classifier) == learned(run(begun(tmp_path, parameters, "fresh")))


def test_checklist_133_features_of_another_session_are_reused(tmp_path: Path) -> None:
    """Extraction is skipped for all files that both have."""
    first = begun(tmp_path, name="first")
    run(first)
    other = ModelParameters(algorithm=algorithm(ClassifierType.discriminant()))
    second = begun(tmp_path, other, "second")

    second.reuse_extracted_features(first)

    source = NumberSource()
    assert run(second, source).training_metrics.accuracy == 1.0
    assert source.looked == []


def test_checklist_133_reuse_is_refused_where_it_makes_no_sense(tmp_path: Path) -> None:
    """With checkpoints of one's own, before the other is through, and with another augmentation."""
    done, fresh = begun(tmp_path, name="done"), begun(tmp_path, name="fresh")
    run(done)
    with pytest.raises(MLCreateError, match="checkpoints of its own"):
        done.reuse_extracted_features(fresh)
    with pytest.raises(MLCreateError, match="not extracted"):
        fresh.reuse_extracted_features(begun(tmp_path, name="third"))
    flipped = begun(tmp_path, ModelParameters(augmentation=ImageAugmentationOptions.FLIP), "flipped")
    with pytest.raises(MLCreateError) as caught:
        flipped.reuse_extracted_features(done)
    assert caught.value.code is MLCreateErrorCode.INCOMPATIBLE_PARAMETERS


def test_checklist_117_only_training_pictures_are_augmented(tmp_path: Path) -> None:
    """Each gets its copies; those held out are looked at as they are."""
    parameters = ModelParameters(
        validation=ValidationData.split(MLSplitStrategy.fixed(0.25, seed=3)),
        augmentation=ImageAugmentationOptions.FLIP,
    )
    source = NumberSource()
    session = begun(tmp_path, parameters)
    run(session, source)

    held = {one.key.path for one in session.facts.files if one.role == "validation"}
    looks: dict[str, int] = {}
    for one in session.facts.files:
        looks[one.key.path] = 1 if one.key.path in held else 4
    assert len(held) == 9
    assert len(source.looked) == sum(looks.values()) == 27 * 4 + 9
    flips = variants(ImageAugmentationOptions.FLIP)
    for one, kept in zip(
        session.facts.files, session.cache.all([one.key for one in session.facts.files]), strict=True
    ):
        text = Path(one.key.path).read_text(encoding="utf-8")
        wanted = [None] if one.key.path in held else [None, *flips]
        np.testing.assert_array_equal(kept.rows, [source.row(text, variant) for variant in wanted])


def test_what_trains_by_itself_is_the_head_of_the_agent(tmp_path: Path) -> None:
    """Also with 23 copies of each picture: `auto`, in one iteration, as a version of the agent."""
    every = ImageAugmentationOptions.named(["crop", "rotation", "blur", "exposure", "noise", "flip"])
    parameters = ModelParameters(augmentation=every, algorithm=algorithm(ClassifierType.automatic()))
    result = run(begun(tmp_path, parameters)).result

    assert result is not None
    assert type(result.head) is BUILT_IN_HEADS[LearningConfig().head]
    assert len(result.history) == 1
    assert result.training_metrics.count == 36


def test_checklist_118_seed_and_strengths_reach_the_extractor(tmp_path: Path) -> None:
    """They are parameters of the session; with others it is another session."""
    settings = AugmentationSettings(seed=9, rotation_degrees=3.0)
    source = NumberSource()
    run(begun(tmp_path, ModelParameters(augmentation_settings=settings)), source)

    assert source.settings == settings
    with pytest.raises(MLCreateError, match="augmentation_settings"):
        begun(tmp_path, ModelParameters(augmentation_settings=AugmentationSettings(seed=8)))


def test_another_extractor_makes_everything_be_looked_at_again(tmp_path: Path) -> None:
    """Features of different extractors are never mixed."""
    session = begun(tmp_path)
    job = _job_that_stops(session, Stopping(10))
    with pytest.raises(MLCreateError, match="cancelled"):
        job.result(WAIT)
    source = NumberSource(fingerprint="another", n_features=6)

    run(session, source)

    assert len(source.looked) == 36
    assert session.facts.fingerprint == "another"


def test_a_picture_that_cannot_be_read_is_reported_by_name(tmp_path: Path) -> None:
    """The others are learned; the file and its reason are in the result."""
    bad = tmp_path / "data" / "cat" / "bad.jpg"
    bad.write_text("bad", encoding="utf-8")

    classifier = run(begun(tmp_path))

    assert classifier.result is not None
    assert classifier.result.unreadable == {str(bad): "not a picture"}
    assert classifier.labels == LABELS


def test_one_session_is_run_by_one_process_at_a_time(tmp_path: Path) -> None:
    """The second says so."""
    session = begun(tmp_path)
    first = _job_that_stops(session, Stopping(3))
    with pytest.raises(MLCreateError):
        first.result(WAIT)
    from edge_agent.store.lock import ProcessLock

    with ProcessLock(tmp_path / "session" / "lock"), pytest.raises(MLCreateError, match="another process"):
        run(session)
    assert run(session).labels == LABELS


def test_the_history_has_every_iteration_also_of_earlier_runs(tmp_path: Path) -> None:
    """Loss falls from the first to the last, and validation is there where pictures were held out."""
    parameters = ModelParameters(validation=ValidationData.split(MLSplitStrategy.fixed(0.25, seed=3)))
    run(begun(tmp_path, parameters, iterations=6, checkpoint_interval=2))

    classifier = run(begun(tmp_path, parameters, checkpoint_interval=2))

    assert classifier.result is not None
    history = classifier.result.history
    losses = [row["loss"] for row in history]
    assert len(history) > 6
    assert losses[-1] < losses[0]
    assert all({"loss", "accuracy", "validation_accuracy", "validation_loss"} == set(row) for row in history)
    assert np.isfinite(losses).all()

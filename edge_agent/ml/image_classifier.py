"""This is where a folder of pictures becomes a classifier, as with Create ML's `MLImageClassifier`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import (
    EdgeAgentError,
    ExtractorError,
    MLCreateError,
    MLCreateErrorCode,
    MLModelError,
    UserError,
)
from edge_agent.ml.augmentation import ImageAugmentationOptions as _ImageAugmentationOptions
from edge_agent.ml.checkpoints import MODEL, MLCheckpoint
from edge_agent.ml.classifier_metadata import created_metadata
from edge_agent.ml.classifier_parameters import ClassifierType as _ClassifierType
from edge_agent.ml.classifier_parameters import ModelAlgorithmType as _ModelAlgorithmType
from edge_agent.ml.classifier_parameters import ModelParameters as _ModelParameters
from edge_agent.ml.data_source import DataSource as _DataSource
from edge_agent.ml.data_source import LabeledPaths
from edge_agent.ml.feature_extractors import CustomFeatureExtractor as _CustomFeatureExtractor
from edge_agent.ml.feature_extractors import FeatureExtractorType as _FeatureExtractorType
from edge_agent.ml.feature_source import ExtractedFeatures
from edge_agent.ml.jobs import MLJob
from edge_agent.ml.metrics import MLClassifierMetrics
from edge_agent.ml.model import MLModel, MLModelMetadata
from edge_agent.ml.pipeline import make_pipeline
from edge_agent.ml.session_run import SessionResult, run_session
from edge_agent.ml.splitting import MLSplitStrategy
from edge_agent.ml.splitting import ValidationData as _ValidationData
from edge_agent.ml.training_progress import MLPhase
from edge_agent.ml.training_session import (
    MLTrainingSession,
    MLTrainingSessionParameters,
    expect,
    open_session,
    restored_session,
)
from edge_agent.vision.feature_source import SourceOpener, open_feature_source, stage_for

NO_VALIDATION = "there are no pictures to validate by"


class MLImageClassifier:
    """Tells pictures apart: a frozen extractor and a head that learned. Constructing one trains it.

    `training_data` (a `DataSource`, or a dictionary of files by label) and `parameters` train here and now;
    `checkpoint` takes the state of a session's training phase as it is, `outcome` what came out of a session.
    `train`, `make_training_session` and `resume` train in the background, in a folder that survives the process.
    Pictures are looked at in a process of its own.

    Raises `MLCreateError`: IO when nothing is found to learn from or the extractor cannot be used, TYPE when it is
    not enough, GENERIC for a checkpoint of another phase.
    """

    DataSource: TypeAlias = _DataSource
    ModelParameters: TypeAlias = _ModelParameters
    ValidationData: TypeAlias = _ValidationData
    SplitStrategy: TypeAlias = MLSplitStrategy
    ImageAugmentationOptions: TypeAlias = _ImageAugmentationOptions
    FeatureExtractorType: TypeAlias = _FeatureExtractorType
    CustomFeatureExtractor: TypeAlias = _CustomFeatureExtractor
    ClassifierType: TypeAlias = _ClassifierType
    ModelAlgorithmType: TypeAlias = _ModelAlgorithmType

    model_parameters: _ModelParameters
    training_metrics: MLClassifierMetrics
    validation_metrics: MLClassifierMetrics
    """Not valid, with the reason, where no pictures were held out."""
    result: SessionResult | None
    """The whole of what came out of training; None for a classifier from a checkpoint."""

    def __init__(
        self,
        training_data: DataSource | LabeledPaths | None = None,
        parameters: ModelParameters | None = None,
        *,
        checkpoint: MLCheckpoint | None = None,
        outcome: tuple[MLTrainingSession, SessionResult] | None = None,
        open_source: SourceOpener = open_feature_source,
    ) -> None:
        if sum(one is not None for one in (training_data, checkpoint, outcome)) != 1:
            raise TypeError("MLImageClassifier takes one of training_data, a checkpoint and an outcome")
        self._open_source = open_source
        if checkpoint is not None:
            self._take_checkpoint(checkpoint)
            return
        if training_data is not None:
            session = self.make_training_session(training_data, parameters)
            try:
                outcome = session, _job(session, open_source).start().result()
            finally:
                shutil.rmtree(session.folder, ignore_errors=True)
        assert outcome is not None
        self._take(*outcome)

    # ------------------------------------------------------------------ training

    @classmethod
    def make_training_session(
        cls,
        training_data: DataSource | LabeledPaths,
        parameters: ModelParameters | None = None,
        session_parameters: MLTrainingSessionParameters | None = None,
    ) -> MLTrainingSession:
        """A session that has not started, or the one that its folder holds already.

        Raises `MLCreateError`: IO when nothing is found to learn from or the folder cannot be used,
        INCOMPATIBLE_PARAMETERS and MODIFIED_TRAINING_DATA when the session there began otherwise.
        """
        return open_session(
            _source_of(training_data),
            _ModelParameters() if parameters is None else parameters,
            MLTrainingSessionParameters() if session_parameters is None else session_parameters,
        )

    @classmethod
    def restore_training_session(cls, session_parameters: MLTrainingSessionParameters) -> MLTrainingSession:
        """The session that lies in a folder; raises `MLCreateError` IO when there is none."""
        return restored_session(session_parameters)

    @classmethod
    def train(
        cls,
        training_data: DataSource | LabeledPaths,
        parameters: ModelParameters | None = None,
        session_parameters: MLTrainingSessionParameters | None = None,
        *,
        open_source: SourceOpener = open_feature_source,
    ) -> MLJob[Self]:
        """Make a session, or take up that of the folder, and run it; answers the job at once."""
        session = cls.make_training_session(training_data, parameters, session_parameters)
        return cls.resume(session, open_source=open_source)

    @classmethod
    def resume(
        cls, session: MLTrainingSession, *, open_source: SourceOpener = open_feature_source
    ) -> MLJob[Self]:
        """Begin a session or go on with it; answers the job at once."""
        return cls.prepared(session, open_source=open_source).start()

    @classmethod
    def prepared(
        cls, session: MLTrainingSession, *, open_source: SourceOpener = open_feature_source
    ) -> MLJob[Self]:
        """The job of `resume` before it is started, for those who want to hear everything."""

        return _job(
            session,
            open_source,
            lambda result: cls(outcome=(session, result), open_source=open_source),
        )

    def _take(self, session: MLTrainingSession, result: SessionResult) -> None:
        self.model_parameters = session.model_parameters
        self.training_metrics = result.training_metrics
        self.validation_metrics = result.validation_metrics
        if not self.validation_metrics.is_valid:
            self.validation_metrics = MLClassifierMetrics.invalid(NO_VALIDATION)
        self.result = result
        self._head_model = MLModel(result.head, extractor_fingerprint=result.fingerprint, is_writable=True)

    def _take_checkpoint(self, checkpoint: MLCheckpoint) -> None:
        expect(checkpoint, MLCheckpoint)
        if checkpoint.phase is not MLPhase.TRAINING:
            raise MLCreateError(
                MLCreateErrorCode.GENERIC,
                f"{checkpoint.url}: is of the phase {checkpoint.phase}; only one of the phase"
                f" {MLPhase.TRAINING} makes a classifier",
            )
        session = restored_session(
            MLTrainingSessionParameters(session_directory=checkpoint.url.parent.parent)
        )
        self.model_parameters = session.model_parameters
        self.training_metrics = self.validation_metrics = MLClassifierMetrics.invalid(
            "a checkpoint was not measured; its metrics are those of its iteration"
        )
        self.result = None
        try:
            loaded = MLModel.load(checkpoint.url / MODEL)
        except MLModelError as error:
            raise MLCreateError(MLCreateErrorCode.IO, str(error)) from error
        self._head_model = loaded.with_head(loaded.head, is_writable=True)

    # ------------------------------------------------------------------ what it is

    @property
    def labels(self) -> tuple[str, ...]:
        """What it tells apart, in the order of probabilities."""
        return self._head_model.classes

    @property
    def head_model(self) -> MLModel:
        """The part that learned, which takes features; an agent's versions are such models."""
        return self._head_model

    @property
    def model(self) -> MLModel:
        """The whole as one updatable pipeline: a picture in, label and probabilities out.

        The extractor is linked, so that what is written weighs kilobytes.
        """
        return self._pipeline(linked=True)

    def _pipeline(self, *, linked: bool, metadata: MLModelMetadata | None = None) -> MLModel:
        extractor = self.model_parameters.algorithm.feature_extractor
        return make_pipeline([stage_for(extractor, linked=linked), self._head_model], metadata=metadata)

    def write(
        self,
        to: Path | str | None = None,
        metadata: MLModelMetadata | None = None,
        *,
        to_file: str | None = None,
        linked: bool = True,
    ) -> None:
        """Save `model` as the directory `to` (or `to_file`), with metadata; unless `linked`, the extractor too.

        Without `metadata`, author, description and version are those of `created_metadata`. Read it back with
        `MLModel.load`. Raises `TypeError` without one place, else as `MLModel.write`.
        """
        places = [one for one in (to, to_file) if one is not None]
        if len(places) != 1:
            raise TypeError("write takes one of to and to_file")
        self._pipeline(linked=linked, metadata=metadata or created_metadata()).write(places[0])

    # ------------------------------------------------------------------ answers

    def prediction(self, from_: Path | str | NDArray[np.uint8]) -> str:
        """The label of a picture: a file, or uint8 RGB pixels [height, width, 3].

        Raises `MLCreateError` IO, naming the file, when it cannot be read.
        """
        return self.predictions([from_])[0]

    def predictions(self, from_: Iterable[Path | str | NDArray[np.uint8]]) -> list[str]:
        """The labels of several pictures, in their order; raises as `prediction`."""
        return [next(iter(row)) for row in self.probabilities(from_, top=1)]

    def probabilities(
        self, from_: Iterable[Path | str | NDArray[np.uint8]], *, top: int | None = None
    ) -> list[dict[str, float]]:
        """For each picture the `top` most probable labels (None: all) with their probabilities, best first."""
        found = []
        for one in self.features(from_):
            if one.features is None:
                raise MLCreateError(MLCreateErrorCode.IO, f"{one.path}: {one.error}")
            row = self._head_model.predict_proba(one.features[None, :])[0]
            order = np.argsort(-row, kind="stable")[:top]
            found.append({self.labels[at]: float(row[at]) for at in order})
        return found

    def features(self, from_: Iterable[Path | str | NDArray[np.uint8]]) -> list[ExtractedFeatures]:
        """What the extractor sees in each picture, with the reason where one cannot be read.

        Raises `MLCreateError`: TYPE for one path where several belong, IO when the extractor cannot be used.
        """
        if isinstance(from_, str | bytes | Path) or not isinstance(from_, Iterable):
            raise MLCreateError(MLCreateErrorCode.TYPE, f"a list of pictures is expected, not {from_!r}")
        try:
            with closing(self._open_source(self.model_parameters.algorithm.feature_extractor)) as source:
                return list(source.extract_pictures(from_))
        except (ExtractorError, UserError) as error:
            raise MLCreateError(MLCreateErrorCode.IO, str(error)) from error

    def evaluation(self, on: DataSource | LabeledPaths) -> MLClassifierMetrics:
        """How well it answers for labelled pictures. Never raises: `error` says what is wrong.

        Files that cannot be read are left out; where there is nothing else, that is the error.
        """
        try:
            images = _source_of(on).labeled_images()
            truth = [(path, label) for label, paths in images.items() for path in paths]
            seen = self.features([path for path, _ in truth])
            usable = [
                (label, one.features)
                for (_, label), one in zip(truth, seen, strict=True)
                if one.features is not None
            ]
            if not usable:
                return MLClassifierMetrics.invalid(
                    f"no picture could be read; the first: {seen[0].complaint}"
                )
            P = self._head_model.predict_proba(np.stack([row for _, row in usable]))
            return MLClassifierMetrics.from_probabilities([label for label, _ in usable], P, self.labels)
        except (EdgeAgentError, OSError, ValueError, TypeError) as error:
            return MLClassifierMetrics.invalid(str(error))

    def __str__(self) -> str:
        return "\n".join(
            [
                f"Image classifier of {len(self.labels)} labels: {', '.join(map(str, self.labels))}",
                str(self.model_parameters),
                f"Training: {self.training_metrics}",
                f"Validation: {self.validation_metrics}",
            ]
        )

    def __repr__(self) -> str:
        return f"<MLImageClassifier of {len(self.labels)} labels>"


def _source_of(data: _DataSource | LabeledPaths) -> _DataSource:
    return data if isinstance(data, _DataSource) else _DataSource.files_by_label(data)


def _job(
    session: MLTrainingSession,
    open_source: SourceOpener,
    made: Callable[[SessionResult], Any] = lambda result: result,
) -> MLJob[Any]:
    expect(session, MLTrainingSession)
    parameters = session.model_parameters
    opened = partial(open_source, parameters.algorithm.feature_extractor, parameters.augmentation_settings)
    return MLJob(lambda job: made(run_session(session, job, opened)))

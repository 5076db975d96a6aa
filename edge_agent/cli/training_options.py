"""This is where the options of `train` become parameters of a session, and mistakes in them are named."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from edge_agent.cli.settings import expanded
from edge_agent.errors import ExtractorError, MLCreateError, MLCreateErrorCode, UserError
from edge_agent.ml.augmentation import ImageAugmentationOptions
from edge_agent.ml.classifier_parameters import ClassifierType, ModelAlgorithmType, ModelParameters
from edge_agent.ml.data_source import DataSource
from edge_agent.ml.feature_extractors import FeatureExtractorType
from edge_agent.ml.raw import CARD_SUFFIX
from edge_agent.ml.session_folder import FILE
from edge_agent.ml.splitting import MLSplitStrategy, ValidationData
from edge_agent.ml.training_session import (
    MLTrainingSession,
    MLTrainingSessionParameters,
    open_session,
    restored_session,
)
from edge_agent.store.atomic import TEMPORARY_PREFIX
from edge_agent.vision.card_draft import write_card
from edge_agent.vision.feature_source import card_for

DEFAULT_LAYERS = (64,)
HEADS = "auto, logistic, mlp (or mlp:64,32) and lda"
EXTRACTOR_SUFFIXES = (CARD_SUFFIX, ".tflite")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingOptions:
    """What was said on the command line; None is what was not said.

    What was not said is as the session has it that is gone on with, or else the default.
    """

    data: str | None
    folder: Path
    resume: bool = False
    files: bool = False
    accept_changes: bool = False
    head: str | None = None
    extractor: str | None = None
    augment: str | None = None
    augment_seed: int | None = None
    max_iterations: int | None = None
    validation: str | None = None
    seed: int | None = None

    @property
    def source(self) -> DataSource | None:
        """The pictures to learn from."""
        return None if self.data is None else labelled(self.data, files=self.files)

    def session(self) -> MLTrainingSession:
        """A new session, or with `resume` the one in the folder.

        Raises `UserError` for what cannot be, `MLCreateError` as `open_session` does.
        """
        known = (self.folder / FILE).exists()
        self._check_folder(known=known)
        where = self._session_parameters()
        base = ModelParameters(
            algorithm=ModelAlgorithmType.transfer_learning(None, ClassifierType.automatic())
        )
        if known:
            base = restored_session(where).model_parameters
            # As many as were said in the beginning, where that is more than a session has by itself.
            where = replace(where, iterations=max(where.iterations, base.max_iterations))
        parameters = self._parameters(base)
        try:
            card_for(parameters.algorithm.feature_extractor)
        except ExtractorError as error:
            raise UserError(str(error)) from error
        source = self.source
        try:
            if source is not None:
                return open_session(source, parameters, where)
            session = restored_session(where)
            session.take_parameters(parameters)
        except MLCreateError as error:
            raise self._explained(error) from error
        return session

    def _check_folder(self, *, known: bool) -> None:
        if known and not self.resume:
            raise UserError(
                f"{self.folder}: there is a training session in this folder already; go on with it with --resume,"
                " or name another folder with --session"
            )
        if not known and self.data is None:
            if self.resume:
                raise UserError(f"{self.folder}: there is no training session in this folder to go on with")
            raise UserError("say which pictures to learn from: edge-agent train DATA --session DIR")
        if self.folder.exists() and not self.folder.is_dir():
            raise UserError(f"{self.folder}: is no folder")
        strange = [] if known or not self.folder.is_dir() else list(self.folder.iterdir())
        if any(not one.name.startswith(TEMPORARY_PREFIX) for one in strange):
            raise UserError(
                f"{self.folder}: holds other things and no training session; name a folder that is empty or not there"
            )

    def _session_parameters(self) -> MLTrainingSessionParameters:
        where = MLTrainingSessionParameters(
            session_directory=self.folder, report_interval=1, accepts_modified_data=self.accept_changes
        )
        return replace(where, iterations=max(where.iterations, self.max_iterations or 1))

    def _parameters(self, base: ModelParameters) -> ModelParameters:
        changes: dict[str, Any] = {}
        if self.validation is not None:
            changes["validation"] = validation_data(self.validation, files=self.files)
        if self.max_iterations is not None:
            changes["max_iterations"] = self.max_iterations
        if self.augment is not None:
            names = [] if self.augment == "none" else self.augment.split(",")
            changes["augmentation"] = ImageAugmentationOptions.named(names)
        if self.augment_seed is not None:
            changes["augmentation_settings"] = msgspec.structs.replace(
                base.augmentation_settings, seed=self.augment_seed
            )
        if self.seed is not None:
            changes["seed"] = self.seed
        algorithm = base.algorithm
        if self.head is not None:
            algorithm = replace(algorithm, classifier=classifier_named(self.head))
        if self.extractor is not None:
            algorithm = replace(algorithm, feature_extractor=extractor_at(self.extractor))
        return replace(base, algorithm=algorithm, **changes)

    def _explained(self, error: MLCreateError) -> Exception:
        if error.code is MLCreateErrorCode.MODIFIED_TRAINING_DATA:
            return UserError(
                f"{str(error).partition(';')[0]}; look at the new ones only with --accept-changes"
            )
        if error.code is MLCreateErrorCode.GENERIC:
            return UserError(str(error))
        return error


def labelled(path: str, *, files: bool) -> DataSource:
    """The pictures of a folder: labelled folders, or with `files` labelled files."""
    at = expanded(path)
    return DataSource.labeled_files(at=at) if files else DataSource.labeled_directories(at=at)


def classifier_named(text: str) -> ClassifierType:
    """`auto`, `logistic`, `lda`, `mlp`, or `mlp:64,32` with the sizes of its layers.  Raises `UserError`."""
    name, _, sizes = text.partition(":")
    if name == "mlp":
        try:
            layers = [int(size) for size in sizes.split(",")] if sizes else list(DEFAULT_LAYERS)
            return ClassifierType.multilayer_perceptron(layers)
        except (ValueError, MLCreateError):
            raise UserError(f"--head {text}: layers are whole numbers above 0, as in mlp:64,32") from None
    makers = {
        "auto": ClassifierType.automatic,
        "logistic": ClassifierType.logistic_regressor,
        "lda": ClassifierType.discriminant,
    }
    if text not in makers:
        raise UserError(f"--head {text}: there is no such head; there are {HEADS}")
    return makers[text]()


def validation_data(text: str, *, files: bool) -> ValidationData:
    """`auto`, `none`, a share such as 0.2, or a folder labelled as the others.  Raises `UserError`."""
    if text == "auto":
        return ValidationData.automatic()
    if text == "none":
        return ValidationData.none()
    try:
        share = float(text)
    except ValueError:
        if not expanded(text).is_dir():
            raise UserError(
                f"--validation {text}: is neither auto, none, a share such as 0.2 nor a folder"
            ) from None
        return ValidationData.data_source(labelled(text, files=files))
    if not 0.0 < share < 1.0:
        raise UserError(f"--validation {text}: a share is above 0 and below 1")
    return ValidationData.split(MLSplitStrategy.fixed(share))


def extractor_at(text: str) -> FeatureExtractorType:
    """The extractor of a `.tflite`, or of the card (`.json`) beside it.  Raises `UserError`.

    A `.tflite` without a card is given one, if it says enough of itself; that is said in the log.
    """
    path = expanded(text).absolute()
    if path.suffix not in EXTRACTOR_SUFFIXES:
        raise UserError(f"--extractor {text}: is a .tflite, or the .json beside it that describes it")
    model, card = path.with_suffix(".tflite"), path.with_suffix(CARD_SUFFIX)
    if path == model and model.is_file() and not card.exists():
        try:
            made = write_card(model)
        except ExtractorError as error:
            raise UserError(str(error)) from error
        log.warning(
            "%s: had no card; %s is written from what it says of itself: %d x %d pixels, mean %s, std %s, %d"
            " features; change it there if the model was trained otherwise",
            text,
            card.name,
            *made.size,
            made.input.mean,
            made.input.std,
            made.n_features,
        )
    return FeatureExtractorType.custom(model)

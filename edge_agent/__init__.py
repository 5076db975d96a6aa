"""This is where the public names of edge_agent are gathered; each is loaded when it is first asked for.

`import edge_agent` itself loads nothing: the engine's process and the command line pay only for what they use.
Rooms of the package import from each other, not from here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_agent.agent.client import Client, Prediction, connect
    from edge_agent.errors import (
        MLCreateError,
        MLCreateErrorCode,
        MLCreateErrorDomain,
        MLModelError,
        MLModelErrorCode,
        MLModelErrorDomain,
    )
    from edge_agent.hookspecs import Decision, hookimpl
    from edge_agent.ml.augmentation import AugmentationSettings, ImageAugmentationOptions
    from edge_agent.ml.authoring import (
        AdamParams,
        Array,
        KNearestNeighborsClassifierBuilder,
        NeuralNetworkBuilder,
        SgdParams,
    )
    from edge_agent.ml.checkpoints import MLCheckpoint
    from edge_agent.ml.classifier_metadata import created_metadata
    from edge_agent.ml.classifier_parameters import ClassifierType, ModelAlgorithmType, ModelParameters
    from edge_agent.ml.configuration import (
        MLComputeUnit,
        MLComputeUnits,
        MLModelConfiguration,
        MLOptimizationHints,
        MLReshapeFrequencyHint,
        MLSpecializationStrategy,
    )
    from edge_agent.ml.constraints import (
        MLDictionaryConstraint,
        MLImageConstraint,
        MLImageSize,
        MLImageSizeConstraint,
        MLImageSizeConstraintType,
        MLMultiArrayConstraint,
        MLMultiArrayDataType,
        MLMultiArrayShapeConstraint,
        MLMultiArrayShapeConstraintType,
        MLSequenceConstraint,
        MLStateConstraint,
    )
    from edge_agent.ml.data_source import DataSource
    from edge_agent.ml.description import (
        MLFeatureDescription,
        MLModelDescription,
        MLModelMetadata,
        MLModelMetadataKey,
    )
    from edge_agent.ml.diagnosis import Advice, AdviceKind, data_advice, diagnose, side_by_side
    from edge_agent.ml.feature_extractors import CustomFeatureExtractor, FeatureExtractorType
    from edge_agent.ml.feature_types import MLFeatureType
    from edge_agent.ml.features import MLDictionaryFeatureProvider, MLFeatureProvider
    from edge_agent.ml.image_classifier import MLImageClassifier
    from edge_agent.ml.jobs import MLJob
    from edge_agent.ml.metrics import MLClassifierMetrics
    from edge_agent.ml.model import MLModel
    from edge_agent.ml.parameters import MLKey, MLNumericConstraint, MLParameterDescription, MLParameterKey
    from edge_agent.ml.personal import Generation, PersonalModel
    from edge_agent.ml.pipeline import extractor_model, linked_model, make_pipeline
    from edge_agent.ml.pixels import MLPixelFormat, PixelBuffer
    from edge_agent.ml.predicting import MLPredictionRequest, MLRequest
    from edge_agent.ml.progress import (
        MLMetricKey,
        MLUpdateContext,
        MLUpdateProgressEvent,
        MLUpdateProgressHandlers,
    )
    from edge_agent.ml.providers import MatrixBatchProvider, MLArrayBatchProvider, MLBatchProvider
    from edge_agent.ml.quarantine import QuarantiningBatchProvider
    from edge_agent.ml.sequences import MLSequence
    from edge_agent.ml.session_run import SessionResult
    from edge_agent.ml.splitting import MLSplitStrategy, ValidationData
    from edge_agent.ml.streams import Stream
    from edge_agent.ml.task import MLTask, MLTaskState
    from edge_agent.ml.training_progress import MLPhase, MLProgress, MLProgressMetric
    from edge_agent.ml.training_session import MLTrainingSession, MLTrainingSessionParameters
    from edge_agent.ml.update import MLUpdateTask
    from edge_agent.ml.values import MLFeatureValue
    from edge_agent.ml.writable import MLWritable
    from edge_agent.vision.delegate_spec import DelegateChange, DelegateSpec, DeviceNode
    from edge_agent.vision.image_values import (
        CropAndScale,
        ImageOption,
        ImageOrientation,
        image_value,
        image_value_at,
    )
    from edge_agent.vision.trainable_head import TRAINABLE_HEADS, RegressionBatchProvider, trainable_model

__version__ = "0.1.0"

_ROOMS = {
    "agent.client": "Client Prediction connect",
    "errors": (
        "MLCreateError MLCreateErrorCode MLCreateErrorDomain MLModelError MLModelErrorCode MLModelErrorDomain"
    ),
    "hookspecs": "Decision hookimpl",
    "vision.delegate_spec": "DelegateChange DelegateSpec DeviceNode",
    "ml.augmentation": "AugmentationSettings ImageAugmentationOptions",
    "ml.authoring": "AdamParams Array KNearestNeighborsClassifierBuilder NeuralNetworkBuilder SgdParams",
    "ml.checkpoints": "MLCheckpoint",
    "ml.classifier_metadata": "created_metadata",
    "ml.classifier_parameters": "ClassifierType ModelAlgorithmType ModelParameters",
    "ml.configuration": (
        "MLComputeUnit MLComputeUnits MLModelConfiguration MLOptimizationHints MLReshapeFrequencyHint"
        " MLSpecializationStrategy"
    ),
    "ml.constraints": (
        "MLDictionaryConstraint MLImageConstraint MLImageSize MLImageSizeConstraint MLImageSizeConstraintType"
        " MLMultiArrayConstraint MLMultiArrayDataType MLMultiArrayShapeConstraint"
        " MLMultiArrayShapeConstraintType MLSequenceConstraint MLStateConstraint"
    ),
    "ml.data_source": "DataSource",
    "ml.description": "MLFeatureDescription MLModelDescription MLModelMetadata MLModelMetadataKey",
    "ml.diagnosis": "Advice AdviceKind data_advice diagnose side_by_side",
    "ml.feature_extractors": "CustomFeatureExtractor FeatureExtractorType",
    "ml.feature_types": "MLFeatureType",
    "ml.features": "MLDictionaryFeatureProvider MLFeatureProvider",
    "ml.image_classifier": "MLImageClassifier",
    "ml.jobs": "MLJob",
    "ml.metrics": "MLClassifierMetrics",
    "ml.model": "MLModel",
    "ml.parameters": "MLKey MLNumericConstraint MLParameterDescription MLParameterKey",
    "ml.personal": "Generation PersonalModel",
    "ml.pipeline": "extractor_model linked_model make_pipeline",
    "ml.pixels": "MLPixelFormat PixelBuffer",
    "ml.predicting": "MLPredictionRequest MLRequest",
    "ml.progress": "MLMetricKey MLUpdateContext MLUpdateProgressEvent MLUpdateProgressHandlers",
    "ml.providers": "MLArrayBatchProvider MLBatchProvider MatrixBatchProvider",
    "ml.quarantine": "QuarantiningBatchProvider",
    "ml.sequences": "MLSequence",
    "ml.session_run": "SessionResult",
    "ml.splitting": "MLSplitStrategy ValidationData",
    "ml.streams": "Stream",
    "ml.task": "MLTask MLTaskState",
    "ml.training_progress": "MLPhase MLProgress MLProgressMetric",
    "ml.training_session": "MLTrainingSession MLTrainingSessionParameters",
    "ml.update": "MLUpdateTask",
    "ml.values": "MLFeatureValue",
    "ml.writable": "MLWritable",
    "vision.image_values": "CropAndScale ImageOption ImageOrientation image_value image_value_at",
    "vision.trainable_head": "RegressionBatchProvider TRAINABLE_HEADS trainable_model",
}
"""Where each public name is at home."""

_HOME = {name: room for room, names in _ROOMS.items() for name in names.split()}

__all__ = [
    "TRAINABLE_HEADS",
    "AdamParams",
    "Advice",
    "AdviceKind",
    "Array",
    "AugmentationSettings",
    "ClassifierType",
    "Client",
    "CropAndScale",
    "CustomFeatureExtractor",
    "DataSource",
    "Decision",
    "DelegateChange",
    "DelegateSpec",
    "DeviceNode",
    "FeatureExtractorType",
    "Generation",
    "ImageAugmentationOptions",
    "ImageOption",
    "ImageOrientation",
    "KNearestNeighborsClassifierBuilder",
    "MLArrayBatchProvider",
    "MLBatchProvider",
    "MLCheckpoint",
    "MLClassifierMetrics",
    "MLComputeUnit",
    "MLComputeUnits",
    "MLCreateError",
    "MLCreateErrorCode",
    "MLCreateErrorDomain",
    "MLDictionaryConstraint",
    "MLDictionaryFeatureProvider",
    "MLFeatureDescription",
    "MLFeatureProvider",
    "MLFeatureType",
    "MLFeatureValue",
    "MLImageClassifier",
    "MLImageConstraint",
    "MLImageSize",
    "MLImageSizeConstraint",
    "MLImageSizeConstraintType",
    "MLJob",
    "MLKey",
    "MLMetricKey",
    "MLModel",
    "MLModelConfiguration",
    "MLModelDescription",
    "MLModelError",
    "MLModelErrorCode",
    "MLModelErrorDomain",
    "MLModelMetadata",
    "MLModelMetadataKey",
    "MLMultiArrayConstraint",
    "MLMultiArrayDataType",
    "MLMultiArrayShapeConstraint",
    "MLMultiArrayShapeConstraintType",
    "MLNumericConstraint",
    "MLOptimizationHints",
    "MLParameterDescription",
    "MLParameterKey",
    "MLPhase",
    "MLPixelFormat",
    "MLPredictionRequest",
    "MLProgress",
    "MLProgressMetric",
    "MLRequest",
    "MLReshapeFrequencyHint",
    "MLSequence",
    "MLSequenceConstraint",
    "MLSpecializationStrategy",
    "MLSplitStrategy",
    "MLStateConstraint",
    "MLTask",
    "MLTaskState",
    "MLTrainingSession",
    "MLTrainingSessionParameters",
    "MLUpdateContext",
    "MLUpdateProgressEvent",
    "MLUpdateProgressHandlers",
    "MLUpdateTask",
    "MLWritable",
    "MatrixBatchProvider",
    "ModelAlgorithmType",
    "ModelParameters",
    "NeuralNetworkBuilder",
    "PersonalModel",
    "PixelBuffer",
    "Prediction",
    "QuarantiningBatchProvider",
    "RegressionBatchProvider",
    "SessionResult",
    "SgdParams",
    "Stream",
    "ValidationData",
    "__version__",
    "connect",
    "created_metadata",
    "data_advice",
    "diagnose",
    "extractor_model",
    "hookimpl",
    "image_value",
    "image_value_at",
    "linked_model",
    "make_pipeline",
    "side_by_side",
    "trainable_model",
]


def __getattr__(name: str) -> object:
    """A public name, loaded with its room and kept for the next time."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    """What is public, whether it was loaded or not, and the modules loaded so far."""
    return sorted({*__all__, *globals()})

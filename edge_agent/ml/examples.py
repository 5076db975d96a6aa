"""This is where labelled examples are taken from whoever has them, and held against what a model can learn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.features import (
    MLDictionaryFeatureProvider,
    MLFeatureProvider,
    MLFeatureType,
    MLFeatureValue,
    value_of,
)
from edge_agent.ml.labels import LABEL_TYPES, label_of, label_type_of
from edge_agent.ml.model import MLModel
from edge_agent.ml.providers import (
    ArrayProvider,
    MatrixBatchProvider,
    MLArrayBatchProvider,
    MLBatchProvider,
    sample_count,
)

Samples = MLBatchProvider | MLFeatureProvider | Sequence[MLFeatureProvider]
"""A batch of samples, one, or several."""

Example = dict[str, MLFeatureValue]

_MADE_UP = 16


def batch_of(samples: Samples) -> MLBatchProvider:
    """Samples as a batch; raises `MLModelError` GENERIC or FEATURE_TYPE for what holds none."""
    if isinstance(samples, MLFeatureProvider):
        return MLArrayBatchProvider([samples])
    if isinstance(samples, Sequence):
        return MLArrayBatchProvider(samples)
    sample_count(samples)
    return samples


def spread(batch: MLBatchProvider, most: int) -> MLBatchProvider:
    """At most so many samples of a batch, evenly spread; only those are read."""
    count = sample_count(batch)
    if count <= most:
        return batch
    chosen = [int(at) for at in np.linspace(0, count - 1, most)]
    if isinstance(batch, ArrayProvider):
        return MatrixBatchProvider(*batch.arrays(chosen))
    return MLArrayBatchProvider([batch.features(at) for at in chosen])


def examples_of(
    model: MLModel, batch: MLBatchProvider, *, before: MLFeatureProvider | None = None
) -> list[Example]:
    """What a model needs of each sample to learn it.

    `before` is an example that will be learned together with these. Raises `MLModelError`, naming the index:
    UPDATE for a missing feature, another shape, a number that is not finite or a label of another type than
    the others, FEATURE_TYPE for another type.
    """
    if not model.is_updatable:
        raise MLModelError(
            MLModelErrorCode.UPDATE, f"the model cannot be updated: {model.not_updatable_because}"
        )
    label_type = model.label_type
    if label_type is None and before is not None:
        label_type = value_of(before, model.output_name, missing=MLModelErrorCode.UPDATE).type
    examples: list[Example] = []
    for at in range(sample_count(batch)):
        try:
            example = _example(model, _sample(model, batch, at))
            kind = example[model.output_name].type
            label_type = label_type or kind
            if kind is not label_type:
                raise MLModelError(
                    MLModelErrorCode.UPDATE,
                    f"the label is of type {kind.name}, those before are of type {label_type.name}",
                )
        except MLModelError as error:
            raise MLModelError(error.code, f"sample {at}: {error}") from error
        examples.append(example)
    return examples


def same_answers(one: MLModel, other: MLModel, batch: MLBatchProvider | None = None) -> bool:
    """Whether two models know the same labels and answer alike to the last bit.

    They are asked about a batch, and about made-up features, as a model that remembers answers from memory
    where it has learned the very sample.
    """
    X = np.random.default_rng(0).normal(size=(_MADE_UP, one.n_features)).astype(np.float32)
    if one.classes != other.classes or one.predict_proba(X).tobytes() != other.predict_proba(X).tobytes():
        return False
    if batch is None:
        return True
    pairs = zip(one.predictions(batch).array, other.predictions(batch).array, strict=True)
    return all(_contents(this) == _contents(that) for this, that in pairs)


def _sample(model: MLModel, batch: MLBatchProvider, at: int) -> MLFeatureProvider:
    if not isinstance(batch, ArrayProvider):
        return batch.features(at)
    # Rows have no names of their own, so they go by those of the model.
    X, labels = batch.arrays(slice(at, at + 1))
    return MLDictionaryFeatureProvider({model.input_name: X[0], model.output_name: labels[0]})


def _example(model: MLModel, sample: MLFeatureProvider) -> Example:
    example: Example = {}
    for name, wanted in model.model_description.training_input_descriptions_by_name.items():
        value = value_of(sample, name, missing=MLModelErrorCode.UPDATE)
        other = value.type is not wanted.type or value.is_undefined
        if name == model.output_name and wanted.type in LABEL_TYPES:
            other = label_type_of(label_of(value)) is None
            problem = f"{value!r}, which is no label" if other else None
        else:
            problem = wanted.problem(value)
        if problem is None and value.type is MLFeatureType.MULTI_ARRAY:
            with np.errstate(over="ignore"):
                finite = np.isfinite(value.multi_array_value.astype(np.float32)).all()
            problem = None if finite else "an array with a number that is not finite"
        if problem is not None:
            code = MLModelErrorCode.FEATURE_TYPE if other else MLModelErrorCode.UPDATE
            raise MLModelError(code, f"feature {name!r} is {problem}")
        example[name] = value
    return example


def _contents(answer: MLFeatureProvider) -> dict[str, tuple[object, ...]]:
    """Every bit of an answer, in a form that compares."""
    return {name: _bits(answer.feature_value(name)) for name in answer.feature_names}


def _bits(value: MLFeatureValue | None) -> tuple[object, ...]:
    if value is None or value.is_undefined:
        return (None if value is None else value.type,)
    if value.type is MLFeatureType.MULTI_ARRAY:
        array = value.multi_array_value
        return value.type, array.dtype.str, array.shape, array.tobytes()
    if value.type is MLFeatureType.DICTIONARY:
        numbers = [(key, float(one).hex()) for key, one in value.dictionary_value.items()]
        return value.type, *numbers
    if value.type is MLFeatureType.DOUBLE:
        return value.type, value.double_value.hex()
    return value.type, repr(value)

"""Checklist 44 to 46: where a model may be computed and what is set on it."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.configuration import (
    MLComputeUnit,
    MLComputeUnits,
    MLModelConfiguration,
    MLOptimizationHints,
    MLReshapeFrequencyHint,
    MLSpecializationStrategy,
    choose_compute_units,
)
from edge_agent.ml.model import MLModel
from edge_agent.ml.parameters import MLParameterKey as Key

CPU, GPU, NPU = MLComputeUnit.CPU, MLComputeUnit.GPU, MLComputeUnit.NEURAL_ENGINE


@pytest.fixture(name="saved")
def _saved(tmp_path):
    """An empty model on disk."""
    MLModel.factory("softmax", 2).write(to=tmp_path / "model")
    return tmp_path / "model"


def test_checklist_44_units_are_apples_and_all_by_default():
    """Four choices with Apple's numbers."""
    assert {one.name: one.value for one in MLComputeUnits} == {
        "CPU_ONLY": 0,
        "CPU_AND_GPU": 1,
        "ALL": 2,
        "CPU_AND_NEURAL_ENGINE": 3,
    }
    assert MLModelConfiguration().compute_units is MLComputeUnits.ALL


@pytest.mark.parametrize(
    ("asked", "there", "used", "level", "says"),
    [
        (MLComputeUnits.CPU_ONLY, {GPU, NPU}, (CPU,), None, ""),
        (MLComputeUnits.CPU_AND_GPU, {GPU}, (CPU, GPU), None, ""),
        (MLComputeUnits.CPU_AND_GPU, {NPU}, (CPU,), logging.WARNING, "no GPU"),
        (MLComputeUnits.CPU_AND_NEURAL_ENGINE, {CPU, GPU}, (CPU,), logging.WARNING, "no NEURAL_ENGINE"),
        (MLComputeUnits.ALL, {CPU, GPU, NPU}, (CPU, GPU, NPU), None, ""),
        (MLComputeUnits.ALL, {NPU}, (CPU, NPU), logging.INFO, "no GPU"),
    ],
)
def test_checklist_44_what_is_not_there_falls_back(caplog, asked, there, used, level, says):
    """The rest is used, and the log says why; loudly only when it was asked for by name."""
    configuration = MLModelConfiguration(compute_units=asked, model_display_name="stickers")
    with caplog.at_level(logging.INFO, logger="edge_agent"):
        choice = choose_compute_units(configuration, frozenset(there))

    assert choice.used == used
    assert choice.requested is asked
    assert says in choice.fallback_reason
    assert [record.levelno for record in caplog.records] == ([] if level is None else [level])
    assert all(says in record.getMessage() and "stickers" in record.getMessage() for record in caplog.records)


def test_checklist_44_loading_says_what_is_not_used(saved, caplog):
    """A model asked to run on a GPU loads, predicts, and says in the log that it uses the CPU."""
    configuration = MLModelConfiguration(compute_units=MLComputeUnits.CPU_AND_GPU, preferred_device="gpu0")
    with caplog.at_level(logging.INFO, logger="edge_agent"):
        model = MLModel.load(saved, configuration)

    assert model.predict_proba(np.ones((1, 2))).shape == (1, 0)
    [record] = caplog.records
    assert "asked for CPU_AND_GPU, using CPU: no GPU" in record.getMessage()
    assert "'gpu0' is not there" in record.getMessage()


def test_checklist_45_the_other_properties_and_their_defaults():
    """Names none, precision full, no device preferred, hints as Apple's with Apple's numbers."""
    configuration = MLModelConfiguration()

    assert configuration.model_display_name is None
    assert configuration.function_name is None
    assert configuration.allow_low_precision_accumulation_on_gpu is False
    assert configuration.preferred_device is None
    assert configuration.parameters == {}
    assert configuration.optimization_hints == MLOptimizationHints(
        MLReshapeFrequencyHint.FREQUENT, MLSpecializationStrategy.DEFAULT
    )
    assert [one.value for one in MLReshapeFrequencyHint] == [0, 1]
    assert [one.value for one in MLSpecializationStrategy] == [0, 1]
    assert MLOptimizationHints(1, 1).specialization_strategy is MLSpecializationStrategy.FAST_PREDICTION


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("compute_units", 7, MLModelErrorCode.GENERIC),
        ("compute_units", "all", MLModelErrorCode.GENERIC),
        ("model_display_name", 3, MLModelErrorCode.GENERIC),
        ("function_name", b"x", MLModelErrorCode.GENERIC),
        ("allow_low_precision_accumulation_on_gpu", 1, MLModelErrorCode.GENERIC),
        ("preferred_device", object(), MLModelErrorCode.GENERIC),
        ("optimization_hints", "fast", MLModelErrorCode.GENERIC),
        ("compute_unit", MLComputeUnits.ALL, MLModelErrorCode.GENERIC),
        ("parameters", [1], MLModelErrorCode.PARAMETERS),
        ("parameters", {"epochs": 1}, MLModelErrorCode.PARAMETERS),
    ],
)
def test_checklist_45_wrong_values_are_refused_when_they_are_set(name, value, code):
    """A misspelled property among them; the configuration keeps what it had."""
    configuration = MLModelConfiguration(parameters={Key.EPOCHS: 3})
    with pytest.raises(MLModelError) as caught:
        setattr(configuration, name, value)

    assert caught.value.code is code
    assert configuration == MLModelConfiguration(parameters={Key.EPOCHS: 3})


@pytest.mark.parametrize("make", [lambda: MLOptimizationHints(2), lambda: MLOptimizationHints("x")])
def test_checklist_45_wrong_hints_are_refused(make):
    """Only the values that are listed."""
    with pytest.raises(MLModelError):
        make()


def test_checklist_45_functions_and_strangers_are_refused(saved):
    """Our models have one function, which has no name; and only a configuration is one."""
    for configuration, says in ((MLModelConfiguration(function_name="main"), "'main'"), ({}, "dict is not")):
        with pytest.raises(MLModelError, match=says) as caught:
            MLModel.load(saved, configuration)
        assert caught.value.code is MLModelErrorCode.GENERIC


def test_checklist_46_a_configuration_is_copied_at_use(saved):
    """Changing it afterwards, or changing what a model reports, changes neither that model nor the other."""
    configuration = MLModelConfiguration()
    configuration.parameters = {Key.EPOCHS: 3}
    configuration.model_display_name = "stickers"
    model = MLModel.load(saved, configuration)
    reported = model.configuration
    configuration.parameters[Key.EPOCHS] = 9
    configuration.model_display_name = "other"
    reported.parameters[Key.EPOCHS] = 8

    assert model.configuration == MLModelConfiguration(
        parameters={Key.EPOCHS: 3}, model_display_name="stickers"
    )
    assert model.parameter_value(Key.EPOCHS) == 3


def test_checklist_46_arrays_of_a_configuration_are_copied_too():
    """The caller's array can be used again."""
    weights = np.ones((2, 2))
    key = Key.WEIGHTS.scoped_to("layer")
    configuration = MLModelConfiguration(parameters={key: weights})
    copied = configuration.copy()
    weights[:] = 5
    configuration.parameters[key][:] = 6

    assert (copied.parameters[key] == 1).all()

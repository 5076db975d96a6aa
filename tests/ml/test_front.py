"""The frozen stages of a pipeline: from one to the next, and whose a parameter is."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.front import Front, FrozenStage
from edge_agent.ml.parameters import MLParameterDescription
from edge_agent.ml.parameters import MLParameterKey as Key


def test_the_fakes_are_frozen_stages(eye, adder):
    """What these tests use has everything the protocol asks for."""
    assert isinstance(eye(), FrozenStage)
    assert isinstance(adder(), FrozenStage)


def test_a_value_goes_through_all_stages(eye, adder, tiny):
    """Each stage is given what the one before it gives."""
    first, picture = eye(), tiny("red")
    front = Front([first, adder()])

    total = picture.image_buffer_value.pixels.mean(axis=(0, 1)).sum()
    assert front.row(picture) == pytest.approx([total, total * total])
    assert first.seen == 1
    assert (front.input, front.n_features, front.names) == (first.input, 2, ("model0", "model1", "model2"))
    assert front.last == "model2"


def test_fronts_differ_by_any_of_their_stages(eye, adder):
    """The fingerprint tells each stage and their order."""
    prints = [Front(stages).fingerprint for stages in ([eye()], [eye("other")], [eye(), adder()])]

    assert len(set(prints)) == 3


@pytest.mark.parametrize("given", [1, 2, 4])
def test_stages_that_do_not_fit_are_named(eye, adder, given):
    """A stage that takes another number of features than it would be given is refused, with both names."""
    with pytest.raises(MLModelError, match="'second' cannot take what 'first' gives") as caught:
        Front([eye(), adder(given)], ["first", "second", "last"])
    assert caught.value.code is MLModelErrorCode.GENERIC


def test_two_stages_that_see_do_not_fit(eye):
    """Features are no picture."""
    with pytest.raises(MLModelError, match="'model1' cannot take what 'model0' gives"):
        Front([eye(), eye()])


def test_a_front_without_a_stage_is_none():
    """At least one stage is needed."""
    with pytest.raises(MLModelError, match="needs a frozen stage"):
        Front([])


def test_parameters_are_sorted_by_stage(eye):
    """Those of the last stage come without its name; without a stage's name they mean the last one."""
    front = Front([eye()], ["eyes", "mind"])

    assert front.own({Key("epochs", "mind"): 3, Key("biases", "mind.hidden"): 4}) == {
        Key.EPOCHS: 3,
        Key("biases", "hidden"): 4,
    }
    assert front.own({Key.EPOCHS: 3, Key("biases", "hidden"): 4}) == {
        Key.EPOCHS: 3,
        Key("biases", "hidden"): 4,
    }
    with pytest.raises(MLModelError, match=r"eyes\.epochs is unknown.*'eyes' is frozen") as caught:
        front.own({Key("epochs", "eyes"): 3})
    assert caught.value.code is MLModelErrorCode.PARAMETERS


def test_what_is_in_force_on_a_frozen_stage_may_be_said_again(eye):
    """Only another value is refused: it could be set only when the model is loaded."""
    stage = eye()
    stage.parameter_descriptions = (MLParameterDescription(Key.LINKED_MODEL_FILE_NAME, "net"),)
    front = Front([stage])
    key = Key("linked_model_file_name", "model0")

    assert front.own({key: "net"}) == {}
    with pytest.raises(MLModelError, match=r"model0\.linked_model_file_name.*when the model is loaded"):
        front.own({key: "other"})
    assert [one.key for one in front.descriptions([MLParameterDescription(Key.EPOCHS, 1)])] == [
        key,
        Key("epochs", "model1"),
    ]


def test_features_come_as_float32(eye, tiny):
    """What a front gives is float32 of one dimension."""
    row = Front([eye()]).row(tiny())

    assert row.dtype == np.float32
    assert row.shape == (3,)

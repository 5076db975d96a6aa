"""The tensors of a model that trains itself are told apart by signature and name, or it is said why not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.vision.graph import Graph, GraphSignature
from edge_agent.vision.runtime import PortFacts
from edge_agent.vision.signatures import refuse_foreign_operators, training_layout, weight_signatures


def port(*shape: int | None, dtype: Any = np.float32) -> PortFacts:
    """A tensor of floats, or of another type."""
    return PortFacts(shape, np.dtype(dtype))


def layout(
    train: dict[str, PortFacts], infer: dict[str, PortFacts], gives: dict[str, PortFacts], loss: str = "loss"
) -> Any:
    """What such signatures are understood as."""
    return training_layout({"train": train, "infer": infer}, {"train": {loss: port()}, "infer": gives})


def test_a_classifier_of_any_batch_is_understood() -> None:
    """One-hot targets, a learning rate, a free number of samples and probabilities."""
    found = layout(
        {"x": port(None, 8, 8), "y": port(None, 3), "learning_rate": port()},
        {"x": port(None, 8, 8)},
        {"probabilities": port(None, 3)},
    )

    assert (found.features, found.target, found.learning_rate) == ("x", "y", "learning_rate")
    assert (found.n_features, found.sample_shape, found.n_outputs) == (64, (8, 8), 3)
    assert (found.target_kind, found.answers, found.train_rows) == ("one_hot", "probabilities", None)
    assert found.is_classifier


def test_the_tensors_of_tensorflows_guide_are_understood() -> None:
    """Fixed numbers of samples, `output` preferred to `logits`, class numbers as targets."""
    found = layout(
        {"bottleneck": port(20, 7), "label": port(20, dtype=np.int32)},
        {"bottleneck": port(1, 7)},
        {"logits": port(1, 4), "output": port(1, 4)},
    )

    assert (found.output, found.answers, found.target_kind) == ("output", "probabilities", "index")
    assert (found.train_rows, found.infer_rows, found.learning_rate) == (20, 1, None)


def test_logits_alone_are_scores() -> None:
    """A model that gives only `logits` leaves the softmax to us."""
    found = layout({"x": port(1, 2), "y": port(1, 5)}, {"x": port(1, 2)}, {"logits": port(1, 5)})

    assert found.answers == "logits"


def test_one_number_out_is_a_regression() -> None:
    """A target of one float is a value, not a class."""
    found = layout({"x": port(1, 2), "y": port(1, 1)}, {"x": port(1, 2)}, {"output": port(1, 1)}, "cost")

    assert (found.answers, found.target_kind, found.loss) == ("values", "values", "cost")
    assert not found.is_classifier


GOOD: dict[str, Any] = {
    "train": {"x": port(1, 2), "y": port(1, 5)},
    "infer": {"x": port(1, 2)},
    "gives": {"output": port(1, 5)},
}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"infer": {"x": port(1, 2), "z": port()}}, "infer takes x, z, expected one"),
        ({"infer": {"z": port(1, 2)}}, "infer takes 'z', which train does not"),
        ({"train": {"x": port(1, 2)}}, "train takes nothing, expected one"),
        ({"train": {"x": port(1, 2), "y": port(1, 5), "extra": port()}}, "train takes extra, y"),
        ({"train": {"x": port(1, 2), "y": port(1, 4)}}, "expected as many float32 a sample"),
        ({"train": {"x": port(1, 2), "y": port(1, dtype=np.uint8)}}, "expected as many float32"),
        ({"train": {"x": port(1, 2), "y": port(None, 5)}}, "different numbers of samples"),
        ({"train": {"x": port(1, 3), "y": port(1, 5)}}, r"shape \(3,\) for train and \(2,\) for infer"),
        ({"train": {"x": port(1, None), "y": port(1, 5)}}, "only the number of samples may be left open"),
        ({"train": {"x": port(), "y": port(1, 5)}}, "samples along the first axis"),
        ({"train": {"x": port(1, 2, dtype=np.int8), "y": port(1, 5)}}, "expected float32"),
        ({"train": {"x": port(1, 0), "y": port(1, 5)}}, "holds nothing"),
        ({"train": {"x": port(1, 2), "y": port(1, 5), "learning_rate": port(2)}}, "expected one float32"),
        ({"gives": {"left": port(1, 5), "right": port(1, 5)}}, "infer gives left, right"),
    ],
)
def test_what_has_no_meaning_is_refused(change: dict[str, Any], reason: str) -> None:
    """Tensors that are missing, too many, of other types or shapes: the sentence names them."""
    with pytest.raises(MLModelError, match=reason) as caught:
        layout(**GOOD | change)

    assert caught.value.code is MLModelErrorCode.UPDATE


def test_weights_go_by_value_where_they_can() -> None:
    """Of both pairs the one without files is taken."""
    every = {"train", "infer", "save", "restore", "get_weights", "set_weights"}

    assert weight_signatures(every) == ("get_weights", "set_weights")
    assert weight_signatures({"train", "infer", "save", "restore"}) == ("save", "restore")


@pytest.mark.parametrize("names", [(), ("train", "infer"), ("infer", "save", "restore"), ("train", "save")])
def test_missing_signatures_are_named(names: tuple[str, ...]) -> None:
    """Without training, asking or keeping, a model is not one that trains itself."""
    with pytest.raises(MLModelError, match="it lacks the signatures") as caught:
        weight_signatures(names)

    assert caught.value.code is MLModelErrorCode.UPDATE


def test_somebodys_own_operators_are_refused_by_name() -> None:
    """Operators that are neither built in nor TensorFlow's have Apple's code for custom layers."""
    graph = Graph({"train": GraphSignature("train", (), (), 0)}, (frozenset({"Sinh"}),))

    with pytest.raises(MLModelError, match="Sinh") as caught:
        refuse_foreign_operators(graph, ["train"])

    assert caught.value.code is MLModelErrorCode.CUSTOM_LAYER


def test_foreign_operators_of_signatures_that_are_not_used_do_not_matter() -> None:
    """A file that can also save with TensorFlow trains here if its weights go by value."""
    names = ("train", "infer", "get_weights", "set_weights", "save")
    signatures = {name: GraphSignature(name, (), (), index) for index, name in enumerate(names)}
    graph = Graph(signatures, (*[frozenset[str]()] * 4, frozenset({"FlexSaveV2"})))

    refuse_foreign_operators(graph, names[:4])
    with pytest.raises(MLModelError, match="FlexSaveV2"):
        refuse_foreign_operators(graph, names)

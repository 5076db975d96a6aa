"""What a head does with features is done by TFLite's own operators, to the last digits of float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.errors import UserError
from edge_agent.ml.batches import MatrixBatchProvider
from edge_agent.ml.heads.built_in import BUILT_IN_HEADS
from edge_agent.ml.heads.network import NeuralNetworkHead
from edge_agent.ml.heads.protocol import Head
from edge_agent.ml.layers import Function, InnerProduct, Layer
from edge_agent.ml.losses import Loss
from edge_agent.ml.networks import Network
from edge_agent.ml.parameters import MLParameterKey
from edge_agent.vision.fused_head import add_answer, fusable_layers
from edge_agent.vision.graft import Graft
from edge_agent.vision.runtime import load_interpreter

Body = Callable[..., bytes]
D = 48
FUSABLE = sorted(set(BUILT_IN_HEADS) - {"knn"})


def features(n: int, seed: int = 0) -> tuple[NDArray[np.float32], list[str]]:
    """Three classes of activations, some of them negative, some zero."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    X = rng.gamma(1.0, 1.0, (n, D)) + 2.0 * np.eye(3, D)[y] - 0.3
    X[rng.random((n, D)) < 0.2] = 0.0
    return X.astype(np.float32), [f"class {label}" for label in y]


def trained(name: str, n: int = 90, **parameters: Any) -> Head:
    """A head of a kind that learned these classes."""
    head = BUILT_IN_HEADS[name](D)
    keys = {MLParameterKey(key): value for key, value in parameters.items()}
    for _ in head.train(MatrixBatchProvider(*features(n)), keys):
        pass
    return head


def answers(head: Head, X: NDArray[np.float32], make_body: Body, **body: Any) -> NDArray[np.float32]:
    """What the fused model says of features [n, D]."""
    graft = Graft(make_body((1, X.shape[1]), **body))
    out = add_answer(graft, fusable_layers(head))
    interpreter = load_interpreter(graft.finish(("features", graft.input), ("probabilities", out), b""))
    return np.concatenate([interpreter.run(row[None]) for row in X])


def hard_rows() -> NDArray[np.float32]:
    """Rows as they come, all zero, one feature only, tiny, huge, and negative throughout."""
    X, _ = features(60, seed=5)
    one = np.zeros(D)
    one[7] = 3.0
    return np.vstack([X, X[:3] * 0.0, one, X[:5] * 1e-12, X[:5] * 1e12, -np.abs(X[:5])]).astype(np.float32)


@pytest.mark.parametrize("name", FUSABLE)
def test_every_fusable_head_answers_the_same(name: str, make_body: Body) -> None:
    """Probabilities agree to 1e-5 whatever the features: negative, zero, tiny or huge."""
    head, X = trained(name), hard_rows()

    assert np.abs(answers(head, X, make_body) - head.predict_proba(X)).max() < 1e-5


@pytest.mark.parametrize(
    ("n", "parameters"), [(3, {}), (4, {}), (500, {"shrinkage": 0.001, "prior": "empirical"})]
)
def test_an_lda_of_any_size_keeps_temperature_and_biases(
    n: int, parameters: dict[str, Any], make_body: Body
) -> None:
    """Nearest means of single pictures, and weights that are large because little was shrunk."""
    head, X = trained("lda", n, **parameters), hard_rows()

    assert np.abs(answers(head, X, make_body) - head.predict_proba(X)).max() < 1e-4


@pytest.mark.parametrize("last", ["softmax", "sigmoid", "relu", "tanh", None])
@pytest.mark.parametrize("hidden", ["relu", "sigmoid", "tanh", "softmax"])
def test_networks_of_every_function(hidden: str, last: str | None, make_body: Body) -> None:
    """Layers without biases too; answers that are not a softmax's are shares, nothing at all is even."""
    rng = np.random.default_rng(4)
    layers: list[Layer] = [
        Function("unit", "signed_root"),
        InnerProduct("first", rng.normal(size=(12, D)), None),
        Function("between", hidden),
        InnerProduct("second", rng.normal(size=(4, 12)), rng.normal(size=4), is_updatable=True),
        *([Function("last", last)] if last else []),
    ]
    network = Network(layers, Loss("loss", "mean_squared_error"))
    head = NeuralNetworkHead(D, network=network, classes=[0, 1, 2, 3])
    silent = NeuralNetworkHead(D, network=Network([*layers[:3], _nothing()], None), classes=[0, 1, 2, 3])
    X = hard_rows()

    assert np.abs(answers(head, X, make_body) - head.predict_proba(X)).max() < 1e-5
    if last is None:
        assert np.allclose(answers(silent, X[:2], make_body), 0.25)
        assert np.allclose(silent.predict_proba(X[:2]), 0.25)


def _nothing() -> InnerProduct:
    return InnerProduct("nothing", np.zeros((4, 12)), np.full(4, -1.0))


@pytest.mark.parametrize(("dtype", "scale", "zero_point"), [(np.uint8, 0.05, 3), (np.int8, 0.02, -128)])
def test_quantised_features_are_given_their_meaning_first(
    dtype: Any, scale: float, zero_point: int, make_body: Body
) -> None:
    """A body that ends in whole numbers is followed by their scale and zero point, then by the head."""
    head = trained("lda")
    limits = np.iinfo(dtype)
    rows = np.random.default_rng(2).integers(limits.min, limits.max + 1, (20, D)).astype(dtype)
    X = ((rows.astype(np.float32) - zero_point) * np.float32(scale)).astype(np.float32)
    fused = answers(head, rows, make_body, dtype=dtype, scale=scale, zero_point=zero_point)

    assert np.abs(fused - head.predict_proba(X)).max() < 1e-5


def test_features_of_a_map_are_laid_in_a_row(make_body: Body) -> None:
    """A body that ends in [1, 1, 1, D] is as good as one that ends in [1, D]."""
    head, (X, _) = trained("softmax"), features(5)
    graft = Graft(make_body((1, 1, 1, D)))
    out = add_answer(graft, fusable_layers(head))
    interpreter = load_interpreter(graft.finish(("features", graft.input), ("probabilities", out), b""))
    fused = np.concatenate([interpreter.run(row[None, None, None]) for row in X])

    assert np.abs(fused - head.predict_proba(X)).max() < 1e-5


def test_heads_that_are_no_layers_are_refused_in_a_sentence() -> None:
    """Neighbours cannot be fused, nor can a head that knows nothing yet; both say so."""
    with pytest.raises(
        UserError,
        match=r"kind 'knn' cannot become one TFLite file: it compares .* adam, auto, lda, lda\+ridge, logistic",
    ):
        fusable_layers(trained("knn"))
    for name in FUSABLE:
        with pytest.raises(UserError, match="learned nothing yet"):
            fusable_layers(BUILT_IN_HEADS[name](D))

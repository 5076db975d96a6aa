"""A model that carries its own training learns in the runtime what it would learn on paper."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.errors import ExtractorError, MLModelError, MLModelErrorCode
from edge_agent.vision import trainable
from edge_agent.vision.graph import Graph, GraphSignature
from edge_agent.vision.runtime import PortFacts, RuntimeFacts
from edge_agent.vision.trainable import TrainableModel
from edge_agent.vision.trial import try_model

SMALL = Path(__file__).parent / "data" / "trainable_classifier.tflite"
NAMES = ("b1", "b2", "w1", "w2")

Weights = dict[str, Any]


@pytest.fixture(name="model")
def _model() -> TrainableModel:
    """The small classifier, untrained; its file is known to do no harm."""
    return TrainableModel(SMALL, data=SMALL.read_bytes())


def some(n: int, seed: int = 0) -> tuple[Any, Any]:
    """Random samples and classes."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 64)).astype(np.float32), rng.integers(0, 10, n)


def loss_of(w: Weights, X: Any, y: Any) -> float:
    """The mean cross-entropy of the small classifier, in float64."""
    scores = np.tanh(X @ w["w1"] + w["b1"]) @ w["w2"] + w["b2"]
    scores -= scores.max(axis=1, keepdims=True)
    return float((np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(len(y)), y]).mean())


def exact(weights: Weights) -> Weights:
    """The same in float64."""
    return {name: array.astype(np.float64) for name, array in weights.items()}


def test_one_step_goes_against_the_finite_differences(model: TrainableModel) -> None:
    """What a step of size 1 subtracts is, weight by weight, the slope of the loss."""
    X, y = some(7)
    before = exact(model.weights())

    loss = model.train(X, y, learning_rate=1.0)

    after = exact(model.weights())
    assert loss == pytest.approx(loss_of(before, X.astype(np.float64), y), abs=1e-6)
    rng = np.random.default_rng(1)
    for name in NAMES:
        for _ in range(12):
            at = tuple(int(rng.integers(side)) for side in before[name].shape)
            slope = 0.0
            for sign in (1.0, -1.0):
                moved = {key: array.copy() for key, array in before.items()}
                moved[name][at] += sign * 1e-5
                slope += sign * loss_of(moved, X.astype(np.float64), y) / 2e-5
            assert before[name][at] - after[name][at] == pytest.approx(slope, abs=2e-6)


def test_the_size_of_the_step_is_the_learning_rate(model: TrainableModel) -> None:
    """Half the rate, half the way; no rate, no way."""
    X, y = some(5)
    start = model.weights()
    moved = []
    for rate in (0.0, 0.5, 1.0):
        model.set_weights(start)
        model.train(X, y, learning_rate=rate)
        moved.append(model.weights()["w2"] - start["w2"])

    assert not moved[0].any()
    np.testing.assert_allclose(moved[1] * 2, moved[2], atol=1e-6)


def test_batches_of_any_size_are_learned_and_answered(model: TrainableModel) -> None:
    """One, few and more than a block of samples; each row's answer does not depend on its company."""
    for n in (1, 3, 32, 700, 2):
        X, y = some(n, seed=n)
        assert model.train(X, y, learning_rate=0.01) > 0.0
        P = model.probabilities(X)
        assert P.shape == (n, 10)
        np.testing.assert_allclose(P.sum(axis=1), 1.0)
        np.testing.assert_allclose(model.probabilities(X[-1:]), P[-1:], atol=1e-6)
    assert model.infer(np.zeros((0, 64))).shape == (0, 10)


def test_weights_taken_out_and_put_in_are_the_same_bits(model: TrainableModel) -> None:
    """Another interpreter with the same weights answers the same and learns the same."""
    X, y = some(20)
    for _ in range(5):
        model.train(X, y, learning_rate=0.1)
    other = TrainableModel(SMALL, data=SMALL.read_bytes())

    other.set_weights(model.weights())

    assert sorted(model.weights()) == list(NAMES)
    np.testing.assert_array_equal(other.infer(X), model.infer(X))
    losses = {one.train(X, y, learning_rate=0.1) for one in (model, other)}
    assert len(losses) == 1


def test_one_model_does_not_learn_for_another() -> None:
    """Two interpreters of one file keep their weights apart."""
    first, second = (TrainableModel(SMALL, data=SMALL.read_bytes()) for _ in range(2))
    X, y = some(4)
    untouched = second.weights()

    first.train(X, y, learning_rate=1.0)

    for name, array in second.weights().items():
        np.testing.assert_array_equal(array, untouched[name])


def test_a_real_model_of_other_people_trains(testdata: Path) -> None:
    """The linear regression with built-in operators finds slope and offset; its file stays as it was."""
    path = testdata / "models" / "odd" / "train_linreg_builtin.tflite"
    before = path.read_bytes()
    model = TrainableModel(path)
    rng = np.random.default_rng(0)

    first = model.train(np.array([[1.0]]), np.array([3.0]))
    for x in rng.uniform(-2, 2, 500):
        loss = model.train(np.array([[x]]), np.array([3 * x - 1]))

    assert first == 9.0
    assert loss < 1e-6
    assert float(model.weights()["w"].item()) == pytest.approx(3.0, abs=1e-3)
    assert float(model.weights()["b"].item()) == pytest.approx(-1.0, abs=1e-3)
    np.testing.assert_allclose(model.infer(np.array([[2.0], [0.0]])), [[5.0], [-1.0]], atol=5e-3)
    assert path.read_bytes() == before


def test_select_tf_operators_are_refused_by_name(testdata: Path) -> None:
    """At construction, with the operators, with the code of updates and with what to do."""
    with pytest.raises(MLModelError, match=r"Select TF.*FlexRestoreV2, FlexSaveV2.*built-in") as caught:
        TrainableModel(testdata / "models" / "odd" / "train_linreg_flex_save_restore.tflite")

    assert caught.value.code is MLModelErrorCode.UPDATE


def test_the_operators_are_looked_at_before_native_code(
    testdata: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is refused for its operators or its damage never reaches a runtime."""

    def reached(*_: object, **__: object) -> None:
        raise AssertionError("a runtime was given the file")

    monkeypatch.setattr(trainable, "load_signatures", reached)
    monkeypatch.setattr(trainable, "try_model", reached)
    odd = testdata / "models" / "odd"
    for name in ("train_linreg_flex_save_restore", "made_truncated_half", "litert_multi_signatures"):
        with pytest.raises(MLModelError):
            TrainableModel(odd / f"{name}.tflite")


@pytest.mark.parametrize(
    ("file", "reason", "code"),
    [
        ("litert_multi_signatures.tflite", "lacks the signatures train, infer", MLModelErrorCode.UPDATE),
        ("litert_custom_sinh.tflite", "lacks the signatures", MLModelErrorCode.UPDATE),
        ("made_png_named.tflite", "damaged", MLModelErrorCode.IO),
        ("not_there.tflite", "No such file", MLModelErrorCode.IO),
    ],
)
def test_other_files_are_refused_with_their_path(
    file: str, reason: str, code: MLModelErrorCode, testdata: Path
) -> None:
    """Models without training, files of other kinds and files that are missing."""
    path = testdata / "models" / "odd" / file
    with pytest.raises(MLModelError, match=reason) as caught:
        TrainableModel(path)

    assert caught.value.code is code
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("X", "y", "rate", "code", "reason"),
    [
        (np.zeros((2, 63)), [0, 1], 0.1, "FEATURE_TYPE", r"shape \(n, 64\)"),
        (np.zeros(64), [0], 0.1, "FEATURE_TYPE", r"shape \(n, 64\)"),
        (np.zeros((2, 64), dtype="U1"), [0, 1], 0.1, "FEATURE_TYPE", r"shape \(n, 64\)"),
        (np.zeros((2, 64)), [0], 0.1, "FEATURE_TYPE", "expected 2 targets"),
        (np.zeros((2, 64)), [0.0, 1.0], 0.1, "FEATURE_TYPE", "expected 2 targets"),
        (np.zeros((2, 64)), [0, 10], 0.1, "FEATURE_TYPE", "from 0 to 9"),
        (np.zeros((2, 64)), [-1, 0], 0.1, "FEATURE_TYPE", "from 0 to 9"),
        (np.zeros((0, 64)), np.zeros(0, int), 0.1, "FEATURE_TYPE", "at least one"),
        (np.zeros((1, 64)), [0], None, "PARAMETERS", "learning_rate"),
        (np.full((1, 64), np.inf), [0], 0.1, "FEATURE_TYPE", "not a finite number"),
    ],
)
def test_wrong_input_never_reaches_the_runtime(
    X: Any, y: Any, rate: float | None, code: str, reason: str, model: TrainableModel
) -> None:
    """Wrong shapes, types and classes are our errors, and the model works on afterwards."""
    with pytest.raises(MLModelError, match=reason) as caught:
        model.train(X, np.asarray(y), learning_rate=rate)

    assert caught.value.code is MLModelErrorCode[code]
    assert model.infer(np.zeros((1, 64))).shape == (1, 10)


def test_a_model_without_a_learning_rate_takes_none(testdata: Path) -> None:
    """Giving one anyway is a mistake that is said, not swallowed."""
    path = testdata / "models" / "odd" / "train_linreg_builtin.tflite"
    model = TrainableModel(path, data=path.read_bytes())

    with pytest.raises(MLModelError, match="takes no parameter learning_rate"):
        model.train(np.zeros((1, 1)), np.zeros(1), learning_rate=0.1)
    with pytest.raises(MLModelError, match="2 samples were given, a step takes 1"):
        model.train(np.zeros((2, 1)), np.zeros(2))


def changed(weights: Weights, **change: Any) -> Weights:
    """The weights with some replaced, or left out where the change is None."""
    return {name: array for name, array in (weights | change).items() if array is not None}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"w1": None}, "the weights b1, b2, w2 were given"),
        ({"w3": np.zeros(1)}, "w3 were given"),
        ({"b1": np.zeros(25, np.float32)}, r"'b1' are float32 of shape \(25,\)"),
        ({"b1": np.zeros((24, 1), np.float32)}, r"'b1' are float32 of shape \(24, 1\)"),
        ({"b1": np.zeros(24)}, "'b1' are float64"),
        ({"b1": np.full(24, np.nan, np.float32)}, "expected finite"),
    ],
)
def test_foreign_weights_are_refused(change: Weights, reason: str, model: TrainableModel) -> None:
    """Weights that are missing, too many, of another shape or type, or no numbers."""
    with pytest.raises(MLModelError, match=reason) as caught:
        model.set_weights(changed(model.weights(), **change))

    assert caught.value.code is MLModelErrorCode.IO


class FileInterpreter:
    """A model of one weight that is carried through a file, as TensorFlow's checkpoints are."""

    def __init__(self) -> None:
        one, path = PortFacts((1, 1), np.dtype(np.float32)), PortFacts((), np.dtype(np.bytes_))
        self.inputs = {
            "train": {"x": one, "y": one},
            "infer": {"x": one},
            "save": {"path": path},
            "restore": {"path": path},
        }
        self.outputs = {"train": {"loss": one}, "infer": {"output": one}, "save": {}, "restore": {}}
        self.facts = RuntimeFacts("made-up", "1.0")
        self.w = 0.0

    def call(self, signature: str, **tensors: Any) -> dict[str, Any]:
        """What the model does for each signature."""
        if signature in ("save", "restore"):
            path = Path(f"{tensors['path'].item().decode()}.index")
            if signature == "save":
                path.write_text(repr(self.w))
            elif not path.exists():
                raise ExtractorError("no such checkpoint")
            else:
                self.w = float(path.read_text())
            return {}
        answer = tensors["x"] * self.w
        if signature == "infer":
            return {"output": answer}
        self.w -= 0.2 * float(((answer - tensors["y"]) * tensors["x"]).item())
        return {"loss": (answer - tensors["y"]) ** 2}


def test_weights_that_go_through_files_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `save` writes comes out as arrays of bytes, and `restore` finds it again in another model."""
    names = ("train", "infer", "save", "restore")
    graph = Graph({name: GraphSignature(name, (), (), 0) for name in names}, (frozenset(),))
    monkeypatch.setattr(trainable, "read_graph", lambda data: graph)
    monkeypatch.setattr(trainable, "load_signatures", lambda data, **_: FileInterpreter())
    first, second = (TrainableModel("made-up", data=b"") for _ in range(2))
    for _ in range(60):
        first.train(np.ones((1, 1)), np.full(1, 4.0))

    second.set_weights(first.weights())

    assert list(first.weights()) == ["checkpoint.index"]
    assert second.infer(np.ones((1, 1))).item() == pytest.approx(4.0, abs=1e-4)
    with pytest.raises(MLModelError, match="no such checkpoint"):
        second.set_weights({})


DAMAGED = """
import sys
from pathlib import Path
import numpy as np
from edge_agent.errors import MLModelError
from edge_agent.vision.trainable import TrainableModel

for path in map(Path, sys.argv[1:]):
    print(path.name, end=" ", flush=True)
    try:
        model = TrainableModel(path, data=path.read_bytes())
        rate = None if model.layout.learning_rate is None else 0.1
        X = np.zeros((2, model.layout.n_features))
        model.train(X, np.zeros(2, dtype=int), learning_rate=rate)
        model.infer(X)
        model.set_weights(model.weights())
        print("works", flush=True)
    except MLModelError as error:
        print("refused", flush=True)
"""


TRIED = """
import sys
from edge_agent.errors import MLModelError
from edge_agent.vision.trainable import TrainableModel

try:
    TrainableModel(sys.argv[1])
    print("works")
except MLModelError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_damaged_files_give_our_errors(
    tmp_path: Path, mutations: Callable[[bytes, int], Iterator[bytes]]
) -> None:
    """220 files, cut off or with bytes changed, opened and trained: they work, or are refused by our error.

    A runtime that does not verify what it is given is ended by some of them; for that there is a trial.
    """
    paths = []
    for number, data in enumerate(mutations(SMALL.read_bytes(), 220)):
        paths.append(tmp_path / f"{number}.tflite")
        paths[-1].write_bytes(data)
    seen: dict[str, str] = {}
    while len(seen) < len(paths):
        left = [str(path) for path in paths if path.name not in seen]
        child = subprocess.run(
            [sys.executable, "-c", DAMAGED, *left],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for line in child.stdout.splitlines():
            name, _, how = line.partition(" ")
            seen[name] = how or f"died {child.returncode}"
        assert child.returncode <= 0, child.stderr
        assert child.stdout, child.stderr

    ends = [how.split()[0] for how in seen.values()]
    assert ends.count("refused") > 100
    assert ends.count("works") > 10
    died = [name for name, how in seen.items() if how.startswith("died")]
    # What a wrong distance leads to depends on what lies there, so now and then one survives its trial; it is
    # opened in a child here, which it may end.
    tried = [
        subprocess.run(
            [sys.executable, "-c", TRIED, str(tmp_path / name)],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        ).stdout
        for name in died[:6]
    ]
    refused = sum("ended the process by signal" in words for words in tried)
    assert refused > len(tried) / 2 or not tried, tried


def test_a_child_that_is_killed_is_a_refused_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would have ended this process ends the one that tries it; the signal is named."""
    real = subprocess.run

    def fatal(command: list[str], **more: Any) -> Any:
        program = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
        return real([command[0], "-c", program], **more)

    monkeypatch.setattr(subprocess, "run", fatal)
    with pytest.raises(MLModelError, match="signal 11") as caught:
        TrainableModel(SMALL)
    assert caught.value.code is MLModelErrorCode.IO


def test_a_trial_that_hangs_or_fails_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a model that never answers nor a broken interpreter is waited for."""
    with pytest.raises(ExtractorError, match=r"more than 1e-06 seconds"):
        try_model(SMALL.read_bytes(), timeout_seconds=1e-6)
    monkeypatch.setattr(sys, "executable", "/usr/bin/false")
    with pytest.raises(ExtractorError, match="status 1"):
        try_model(SMALL.read_bytes())
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(ExtractorError, match="cannot be done"):
        try_model(SMALL.read_bytes())


class ScoringInterpreter(FileInterpreter):
    """A classifier of two classes whose answers are scores, under a name of one's choice."""

    def __init__(self, output: str) -> None:
        super().__init__()
        two = PortFacts((1, 2), np.dtype(np.float32))
        self.inputs["train"] = {"x": PortFacts((1, 1), np.dtype(np.float32)), "y": two}
        self.outputs["infer"] = {output: two}
        self.output = output
        self.inside = 0

    def call(self, signature: str, **tensors: Any) -> dict[str, Any]:
        """Scores of 0 and 1; two calls at a time are noticed."""
        self.inside += 1
        together = self.inside
        for _ in range(2000):
            together = max(together, self.inside)
        self.inside -= 1
        if together > 1:
            raise ExtractorError("two threads at a time")
        return {self.output: np.array([[0.0, 1.0]], np.float32)}


@pytest.fixture(name="scoring")
def _scoring(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], TrainableModel]:
    """Models that score, with the given name of their output."""

    def make(output: str) -> TrainableModel:
        graph = Graph(
            {name: GraphSignature(name, (), (), 0) for name in ("train", "infer", "save", "restore")}, ()
        )
        monkeypatch.setattr(trainable, "read_graph", lambda data: graph)
        monkeypatch.setattr(trainable, "load_signatures", lambda data, **_: ScoringInterpreter(output))
        return TrainableModel("made-up", data=b"")

    return make


def test_scores_become_probabilities_by_name_only(scoring: Callable[[str], TrainableModel]) -> None:
    """`logits` go through a softmax; under another name rows must sum to 1 already."""
    P = scoring("logits").probabilities(np.ones((3, 1)))
    np.testing.assert_allclose(P[:, 1], 1 / (1 + np.exp(-1.0)))
    np.testing.assert_allclose(scoring("output").probabilities(np.ones((1, 1))), [[0.0, 1.0]])

    wrong = scoring("scores")
    wrong._interpreter.call = lambda *_, **__: {"scores": np.array([[0.5, 1.0]], np.float32)}  # type: ignore[method-assign]
    with pytest.raises(MLModelError, match="'scores' are no probabilities"):
        wrong.probabilities(np.ones((1, 1)))


def test_threads_take_turns(scoring: Callable[[str], TrainableModel]) -> None:
    """An interpreter is never called by two threads at a time."""
    model = scoring("logits")
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: model.infer(np.ones((1, 1))), range(400)))
    assert len(answers) == 400

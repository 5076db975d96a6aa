"""What every fit keeps: it can be laid down and taken up again, its head goes on learning, it leaves data alone."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.batches import MatrixBatchProvider
from edge_agent.ml.fits import FITS, Fit, FitData
from edge_agent.ml.model import BUILT_IN_HEADS, MLModel
from edge_agent.ml.update import MLUpdateTask

KINDS = sorted(FITS)
PARAMETERS = {"perceptron": {"hidden_layer_sizes": [7, 5], "mini_batch_size": 8}}


def samples(n=60, *, C=3, D=12, noise=0.7, seed=0):
    """Gaussian classes kept above 0, as the data of a fit."""
    rng = np.random.default_rng(seed)
    means = np.abs(np.random.default_rng(99).normal(size=(C, D))) * 2
    y = np.arange(n) % C
    X = np.maximum(means[y] + noise * rng.normal(size=(n, D)), 0.0).astype(np.float32)
    return FitData(X, y, tuple(f"class {k}" for k in range(C)))


def begun(kind, data, seed=3):
    """A fit with small parameters."""
    return FITS[kind].begin(data, PARAMETERS.get(kind, {}), seed)


def laid_down(fit):
    """Its arrays and description after a way through an npz file and JSON."""
    file = io.BytesIO()
    np.savez(file, **fit.arrays())
    file.seek(0)
    with np.load(file) as stored:
        return dict(stored), json.loads(json.dumps(fit.describe()))


def bits(fit):
    """Everything a fit and its head say, to compare."""
    return (
        fit.iteration,
        fit.converged,
        fit.describe(),
        {name: array.tobytes() for name, array in fit.arrays().items()},
        {name: array.tobytes() for name, array in fit.head().arrays().items()},
    )


def finished(fit, limit=500):
    """The metrics of all iterations until it is converged."""
    found = []
    while not fit.converged and len(found) < limit:
        found.append(fit.step())
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_every_fit_keeps_the_protocol(kind):
    """By its own name, with names for its parameters."""
    fit = begun(kind, samples())

    assert isinstance(fit, Fit)
    assert FITS[kind].name == kind
    assert fit.iteration == 0
    assert fit.parameter_names


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [60, 9, 3])
def test_laid_down_after_any_iteration_it_goes_on_to_the_same_bits(kind, n):
    """After each of the first thirty, all the rest is that of the fit that was never interrupted."""
    data = samples(n)
    whole, states = begun(kind, data), []
    for _ in range(30):
        states.append((laid_down(whole), bits(whole)))
        last = whole.step()
    for at, (state, before) in enumerate(states):
        other = FITS[kind].restore(data, *state)
        assert bits(other) == before
        for _ in range(at, 30):
            metrics = other.step()
        assert bits(other) == bits(whole)
        assert metrics == last


@settings(max_examples=25, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    n=st.integers(4, 40),
    seed=st.integers(-5, 2**40),
    cuts=st.lists(st.integers(0, 4), min_size=1, max_size=5),
)
def test_laid_down_again_and_again_it_stays_the_same(kind, n, seed, cuts):
    """Whatever the data, the seed and the places where it was laid down."""
    data = samples(n, seed=n, C=2)
    whole, parts = begun(kind, data, seed), begun(kind, data, seed)
    for cut in cuts:
        for _ in range(cut):
            whole.step()
            parts.step()
        parts = FITS[kind].restore(data, *laid_down(parts))

    assert bits(parts) == bits(whole)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_laid_down_does_not_change_any_more(kind):
    """Neither arrays nor head follow the fit they came from, nor does the fit follow them."""
    fit = begun(kind, samples())
    for _ in range(3):
        fit.step()
    arrays, head = fit.arrays(), fit.head()
    kept = {name: array.copy() for name, array in arrays.items()}
    learned = {name: array.copy() for name, array in head.arrays().items()}
    fit.step()
    fit.step()

    assert all(np.array_equal(array, kept[name]) for name, array in arrays.items())
    assert all(np.array_equal(array, learned[name]) for name, array in head.arrays().items())
    before = bits(fit)
    for array in fit.arrays().values():
        array[...] = 0
    list(head.train(MatrixBatchProvider(np.ones((4, 12), np.float32), ["class 0", "class 1"] * 2), {}))
    assert bits(fit) == before


@pytest.mark.parametrize("kind", KINDS)
def test_data_on_disk_give_the_same_bits_and_stay_as_they_are(kind, tmp_path):
    """A memory map that cannot be written, read in blocks."""
    data = samples(90)
    np.save(tmp_path / "X.npy", data.X)
    mapped = FitData(np.load(tmp_path / "X.npy", mmap_mode="r"), data.y, data.classes)
    one, other = begun(kind, data), begun(kind, mapped)
    for _ in range(6):
        one.step()
        other.step()

    assert bits(one) == bits(other)
    assert np.array_equal(np.load(tmp_path / "X.npy"), samples(90).X)


@pytest.mark.parametrize("kind", KINDS)
def test_checklist_114_every_fit_learns(kind):
    """It converges, and knows new samples of classes that are easy to tell apart."""
    data, new = samples(150, noise=0.4), samples(300, noise=0.4, seed=1)
    fit = begun(kind, data)
    metrics = finished(fit)
    head = fit.head()
    predicted = np.array(head.classes_)[head.predict_proba(new.X).argmax(axis=1)]

    assert fit.converged
    assert metrics[-1].accuracy > 0.95
    assert 0.0 <= metrics[-1].loss < 0.3
    assert np.mean(predicted == np.array(new.classes)[new.y]) > 0.95


@pytest.mark.parametrize("kind", KINDS)
def test_checklist_125_it_stops_when_it_is_converged(kind):
    """A further step changes nothing, does not count, and says the same metrics again."""
    fit = begun(kind, samples(150, noise=0.4))
    metrics = finished(fit)
    before = bits(fit)

    assert fit.iteration == len(metrics)
    assert fit.step() == metrics[-1]
    assert bits(fit) == before


@pytest.mark.parametrize("kind", KINDS)
def test_checklist_125_a_raised_limit_extends_the_training(kind):
    """Four iterations, laid down, and four more are eight at once: counted, and to the bit."""
    data = samples(90)
    once, first = begun(kind, data), begun(kind, data)
    for _ in range(8):
        once.step()
    for _ in range(4):
        first.step()
    later = FITS[kind].restore(data, *laid_down(first))
    for _ in range(4):
        later.step()

    assert later.iteration == once.iteration
    assert bits(later) == bits(once)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("iterations", [2, 40])
def test_checklist_151_the_head_goes_on_learning_as_it_is(kind, iterations, tmp_path):
    """Written, loaded and updated with a new label: the same kind of head, which knows all labels."""
    data, more = samples(90, C=3, noise=0.3), samples(120, C=4, noise=0.3)
    fit = begun(kind, data)
    for _ in range(iterations):
        fit.step()
    head = fit.head()
    MLModel(head, is_writable=True).write(to=tmp_path / "model")
    labels = [f"class {k}" for k in more.y]
    task = MLUpdateTask(tmp_path / "model", MatrixBatchProvider(more.X, labels))
    task.resume()

    assert task.wait(60)
    updated = task.model.head
    assert BUILT_IN_HEADS[head.name] is type(head) is type(updated)
    assert set(updated.classes_) == {"class 0", "class 1", "class 2", "class 3"}
    predicted = np.array(updated.classes_)[task.model.predict_proba(more.X).argmax(axis=1)]
    assert np.mean(predicted == labels) > 0.95


@pytest.mark.parametrize("kind", KINDS)
def test_another_parameter_is_refused(kind):
    """By name, before anything is learned."""
    with pytest.raises(MLModelError, match="depth") as caught:
        FITS[kind].begin(samples(), {"depth": 3}, 0)
    assert caught.value.code is MLModelErrorCode.PARAMETERS


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("logistic", {"l2": -1.0}),
        ("auto", {"prior": "mine"}),
        ("auto", {"shrinkage": 0.0}),
        ("lda", {"prior": "mine"}),
        ("perceptron", {"learning_rate": -1.0}),
        ("perceptron", {"hidden_layer_sizes": []}),
        ("perceptron", {"hidden_layer_sizes": [8, 0]}),
        ("perceptron", {"hidden_layer_sizes": [8, True]}),
        ("perceptron", {"hidden_layer_sizes": "12"}),
        ("perceptron", {"hidden_layer_sizes": 12}),
    ],
)
def test_a_bad_value_is_refused(kind, given):
    """With a PARAMETERS error that names the parameter."""
    with pytest.raises(MLModelError, match=next(iter(given))) as caught:
        FITS[kind].begin(samples(), given, 0)
    assert caught.value.code is MLModelErrorCode.PARAMETERS


@pytest.mark.parametrize("kind", KINDS)
def test_other_data_are_refused(kind):
    """A state of other classes, or of features of another length, is not continued."""
    fit = begun(kind, samples(D=12))
    fit.step()
    state = laid_down(fit)
    for data in (samples(C=4), samples(D=9)):
        with pytest.raises(MLModelError) as caught:
            FITS[kind].restore(data, *state)
        assert caught.value.code is MLModelErrorCode.IO


@pytest.mark.parametrize("kind", KINDS)
def test_a_feature_that_is_not_finite_stops_it(kind):
    """With an UPDATE error that names the sample."""
    data = samples()
    data.X[17, 3] = np.inf
    with pytest.raises(MLModelError, match="sample 17") as caught:
        begun(kind, data).step()
    assert caught.value.code is MLModelErrorCode.UPDATE


@pytest.mark.parametrize("kind", ["logistic", "perceptron", "lda", "auto"])
def test_one_class_alone_is_learned(kind):
    """There is nothing to tell apart, and nothing fails."""
    fit = begun(kind, samples(6, C=1))
    fit.step()

    assert fit.head().predict_proba(samples(6, C=1).X).tolist() == [[1.0]] * 6

"""Nearest neighbours: scikit-learn's answers, a tree that agrees with looking at all, and what is remembered."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.neighbors import KNeighborsClassifier

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.batches import MatrixBatchProvider
from edge_agent.ml.heads.knn import KNearestNeighborsHead
from edge_agent.ml.model import MLModel, MLModelConfiguration
from edge_agent.ml.neighbors import KdTreeIndex, LinearIndex, squared_distances
from edge_agent.ml.parameters import MLParameterKey as Key
from edge_agent.ml.update import MLUpdateTask


def named(**given):
    """Parameters by name."""
    return {Key(name): value for name, value in given.items()}


def trained(X, labels, head=None, **given):
    """A head that learned the samples."""
    head = head or KNearestNeighborsHead(X.shape[1])
    for _ in head.train(MatrixBatchProvider(X, labels), named(**given)):
        pass
    return head


def updated(model, X, labels, configuration=None):
    """The model after an update task."""
    task = MLUpdateTask(model, MatrixBatchProvider(X, labels), configuration)
    task.resume()
    assert task.wait(30)
    assert task.error is None
    return task.model


def label_of(model, x):
    """The label a model gives one sample."""
    batch = model.predictions(MatrixBatchProvider(np.atleast_2d(x).astype(np.float32), ["?"]))
    return batch.features(0).feature_value("label").string_value


@pytest.mark.parametrize("index_type", ["linear", "kd_tree"])
@pytest.mark.parametrize("weighting", ["uniform", "inverse_distance"])
@pytest.mark.parametrize("distance", ["squared_euclidean", "cosine"])
@pytest.mark.parametrize("k", [1, 4, 5, 1000])
def test_checklist_72_probabilities_are_those_of_scikit_learn(clouds, index_type, weighting, distance, k):
    """For all weightings, indices and distances; more neighbours than samples are all samples."""
    X, labels = clouds(120, noise=1.5)
    new, _ = clouds(60, noise=1.5, seed=1)
    head = trained(
        X, labels, number_of_neighbors=k, weighting_scheme=weighting, index_type=index_type, distance=distance
    )
    peer = KNeighborsClassifier(
        min(k, len(X)),
        weights="uniform" if weighting == "uniform" else "distance",
        metric="sqeuclidean" if distance == "squared_euclidean" else "cosine",
        algorithm="brute",
    ).fit(X.astype(np.float64), labels)

    assert head.classes_ == tuple(peer.classes_)
    np.testing.assert_allclose(
        head.predict_proba(new), peer.predict_proba(new.astype(np.float64)), rtol=1e-4, atol=1e-5
    )
    nearest = peer.kneighbors(new.astype(np.float64), 1)[0][:, 0]
    np.testing.assert_allclose(head.distances(new), nearest, rtol=1e-4, atol=1e-6)


def test_checklist_72_a_sample_that_is_known_votes_alone_under_inverse_distance(clouds):
    """As in scikit-learn: a distance of 0 outweighs all others."""
    X, labels = clouds(60, noise=3.0)
    head = trained(X, labels, weighting_scheme="inverse_distance", number_of_neighbors=20)

    P = head.predict_proba(X)

    assert [head.classes_[k] for k in P.argmax(axis=1)] == labels
    assert (P.max(axis=1) == 1.0).all()


rows_and_queries = st.tuples(
    st.integers(1, 4), st.integers(1, 60), st.integers(1, 8), st.integers(1, 9), st.integers(1, 12)
).flatmap(
    lambda size: st.tuples(
        arrays(np.float32, (size[1], size[0]), elements=st.integers(-3, 3).map(float)),
        arrays(np.float32, (size[2], size[0]), elements=st.integers(-3, 3).map(float)),
        st.just(size[3]),
        st.just(size[4]),
    )
)


@given(rows_and_queries)
@settings(max_examples=200, deadline=None)
def test_checklist_72_the_tree_finds_what_looking_at_all_finds(given):
    """Same neighbours, distances and order, on grids where most distances are tied."""
    rows, queries, k, leaf_size = given
    found, other = KdTreeIndex(rows, leaf_size).nearest(queries, k), LinearIndex(rows).nearest(queries, k)

    assert np.array_equal(found[0], other[0])
    assert np.array_equal(found[1], other[1])
    for at, query in enumerate(queries):
        exact = squared_distances(rows, query)
        order = np.lexsort((np.arange(len(rows)), exact))[:k]
        assert np.array_equal(other[1][at], order)
        assert np.array_equal(other[0][at], exact[order])


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e7])
@pytest.mark.parametrize("D", [1, 3, 33, 300])
def test_checklist_72_both_indices_agree_bit_for_bit_far_from_the_origin(D, offset):
    """Also where the quick product loses most of its digits, and for huge and tiny numbers."""
    rng = np.random.default_rng(D)
    for scale in (1e-18, 1.0, 1e17):
        rows = ((rng.normal(size=(300, D)) + offset) * scale).astype(np.float32)
        queries = ((rng.normal(size=(20, D)) + offset) * scale).astype(np.float32)
        found, other = KdTreeIndex(rows).nearest(queries, 7), LinearIndex(rows).nearest(queries, 7)

        assert np.array_equal(found[0], other[0])
        assert np.array_equal(found[1], other[1])
        assert np.array_equal(other[0][:, 0], [squared_distances(rows, q).min() for q in queries])


def test_a_tree_of_rows_that_are_all_alike_is_made():
    """No side can be split; the earliest rows are the neighbours."""
    rows = np.ones((1000, 3), dtype=np.float32)

    assert KdTreeIndex(rows, 10).nearest(rows[:1], 4)[1].tolist() == [[0, 1, 2, 3]]


def test_checklist_73_an_empty_knn_predicts_the_default_label(tmp_path):
    """ "unknown" for every input, by itself, in a batch and after reloading."""
    model = MLModel.factory("knn", 3)
    model.write(to=tmp_path / "m")

    for one in (model, MLModel.load(tmp_path / "m")):
        for x in np.eye(3):
            assert label_of(one, x) == "unknown"
        assert one.predict_proba(np.eye(3)).shape == (3, 0)
        assert one.default_label == "unknown"


def test_checklist_74_a_new_label_is_a_class_at_once_and_old_ones_stay(clouds):
    """One sample of a new class is enough; the old ones answer as before where it is not near."""
    X, labels = clouds(60)
    model = updated(MLModel.factory("knn", 12), X, labels)
    before = model.predict_proba(X)
    odd = np.full((1, 12), 50.0, dtype=np.float32)
    configuration = MLModelConfiguration({Key.NUMBER_OF_NEIGHBORS: 1})

    after = updated(model, odd, ["odd"])

    assert after.classes == (*model.classes, "odd")
    assert np.array_equal(after.predict_proba(X)[:, :3], before)
    assert label_of(updated(model, odd, ["odd"], configuration), odd) == "odd"
    assert model.classes == ("class 0", "class 1", "class 2")


def test_checklist_75_updates_accumulate_in_one_pass(clouds):
    """Two updates know what one with everything knows; each is one epoch without a loss."""
    X, labels = clouds(1200)
    head = KNearestNeighborsHead(12)
    first = list(head.train(MatrixBatchProvider(X[:700], labels[:700]), {}))
    list(head.train(MatrixBatchProvider(X[700:], labels[700:]), {}))

    assert [(one.kind, one.mini_batch_index) for one in first] == [
        ("mini_batch", 0),
        ("mini_batch", 1),
        ("epoch", 1),
    ]
    assert all("loss_value" not in one.metrics for one in first)
    assert np.array_equal(head.exemplars.rows, X)
    assert head.exemplars.labels == labels
    assert head.exemplars.rows.dtype == np.float32


def test_labels_learned_together_are_sorted_however_many_blocks_it_took():
    """Those that were known stay in front."""
    X = np.arange(1201, dtype=np.float32)[:, None]
    labels = ["z"] * 600 + ["a"] * 600 + ["m"]
    head = trained(X, labels)
    assert head.classes_ == ("a", "m", "z")
    assert head.exemplars.labels == labels
    trained(X, ["y"] * 600 + ["b"] * 601, head)
    assert head.classes_ == ("a", "m", "z", "b", "y")


def test_what_was_handed_out_on_the_way_does_not_change(clouds):
    """A copy made in the middle of an update keeps what it knew then."""
    X, labels = clouds(1200)
    head = KNearestNeighborsHead(12)
    training = head.train(MatrixBatchProvider(X, labels), {})
    next(training)
    middle = head.copy()
    P = middle.predict_proba(X[:5])
    list(training)

    assert len(middle.exemplars) == 512
    assert len(head.exemplars) == 1200
    assert np.array_equal(middle.predict_proba(X[:5]), P)


def test_checklist_76_k_is_5_and_can_be_set_at_load_and_for_an_update(tmp_path):
    """1 to 1000; at load for this copy, for an update for its result."""
    X = np.array([[0.0], [1.0], [1.1], [1.2], [1.3]], dtype=np.float32)
    labels = ["a", "b", "b", "b", "b"]
    model = updated(MLModel.factory("knn", 1), X, labels)
    model.write(to=tmp_path / "m")
    k1 = MLModelConfiguration({Key.NUMBER_OF_NEIGHBORS: 1})

    assert model.parameter_value(Key.NUMBER_OF_NEIGHBORS) == 5
    assert label_of(model, [0.1]) == "b"
    assert label_of(MLModel.load(tmp_path / "m", configuration=k1), [0.1]) == "a"
    assert label_of(MLModel.load(tmp_path / "m"), [0.1]) == "b"
    personal = updated(model, X[1:2], ["b"], k1)
    assert personal.parameter_value(Key.NUMBER_OF_NEIGHBORS) == 1
    assert label_of(personal, [0.1]) == "a"
    personal.write(to=tmp_path / "p")
    assert label_of(MLModel.load(tmp_path / "p"), [0.1]) == "a"
    for wrong in (0, 1001, 2.5, "3", True):
        configuration = MLModelConfiguration({Key.NUMBER_OF_NEIGHBORS: wrong})
        with pytest.raises(MLModelError, match="number_of_neighbors") as caught:
            MLModel.load(tmp_path / "m", configuration=configuration)
        assert caught.value.code is MLModelErrorCode.PARAMETERS


def test_checklist_77_other_dimensions_are_refused(clouds):
    """At the head and in an update."""
    X, labels = clouds(10)
    with pytest.raises(MLModelError, match="12 features, the model has 11"):
        trained(X, labels, KNearestNeighborsHead(11))
    with pytest.raises(MLModelError, match="12 features, the model has 11"):
        MLUpdateTask(MLModel.factory("knn", 11), MatrixBatchProvider(X, labels))


def test_checklist_78_a_label_and_a_probability_per_class(clouds):
    """The probabilities sum to 1 and the label is the likeliest."""
    X, labels = clouds(60)
    model = updated(MLModel.factory("knn", 12), X, labels)
    for at, answer in enumerate(model.predictions(MatrixBatchProvider(X, labels)).array):
        shares = answer.feature_value("label_probabilities").dictionary_value
        assert set(shares) == set(model.classes)
        assert sum(shares.values()) == pytest.approx(1.0)
        assert shares[answer.feature_value("label").string_value] == max(shares.values())
        assert list(shares.values()) == model.predict_proba(X[at : at + 1])[0].tolist()


def test_checklist_96_what_is_removed_votes_no_more(clouds):
    """By label, by index, or under another label; the head then is one that never saw it."""
    X, labels = clouds(90, noise=1.0)
    everything = np.arange(90)

    head = trained(X, labels)
    head.remove_label("class 1")
    left = [at for at in everything if labels[at] != "class 1"]
    assert head.classes_ == ("class 0", "class 2")
    assert np.array_equal(
        head.predict_proba(X), trained(X[left], [labels[at] for at in left]).predict_proba(X)
    )

    head = trained(X, labels)
    head.remove([3, 17])
    left = [at for at in everything if at not in {3, 17}]
    other = trained(X[left], [labels[at] for at in left])
    assert np.array_equal(head.exemplars.rows, other.exemplars.rows)
    assert np.array_equal(head.predict_proba(X), other.predict_proba(X))

    head = trained(X, labels)
    head.relabel(0, "new")
    assert head.classes_ == ("class 0", "class 1", "class 2", "new")
    assert np.array_equal(head.predict_proba(X), trained(X, ["new", *labels[1:]]).predict_proba(X))


def test_a_removal_reaches_no_copy_and_survives_the_disk(clouds, tmp_path):
    """The model it was made from still knows; the one that was written does not."""
    X, labels = clouds(30)
    model = updated(MLModel.factory("knn", 12), X, labels)
    head = model.head.copy()
    head.remove_label("class 2")
    model.with_head(head, is_writable=True).write(to=tmp_path / "m")
    read = MLModel.load(tmp_path / "m")

    assert model.classes == ("class 0", "class 1", "class 2")
    assert read.classes == ("class 0", "class 1")
    assert b"class 2" not in (tmp_path / "m" / "model.json").read_bytes()
    assert len(read.head.exemplars) == 20


@pytest.mark.parametrize("wrong", [lambda h: h.remove([30]), lambda h: h.remove([0, -1])])
def test_removing_what_is_not_there_is_refused_and_changes_nothing(clouds, wrong):
    """Indices from 0 only."""
    X, labels = clouds(30)
    head = trained(X, labels)
    with pytest.raises(MLModelError, match="there is no sample"):
        wrong(head)
    with pytest.raises(MLModelError, match="no label 'nobody'"):
        head.remove_label("nobody")
    with pytest.raises(MLModelError, match="there is no sample 30"):
        head.relabel(30, "new")
    assert len(head.exemplars) == 30


def test_checklist_97_a_class_keeps_its_newest_samples(clouds):
    """At most so many of each, through several updates."""
    X, labels = clouds(30)
    head = trained(X, labels, samples_per_class=4)
    assert head.exemplars.counts() == {"class 0": 4, "class 1": 4, "class 2": 4}
    assert np.array_equal(head.exemplars.rows, X[-12:])

    trained(X[:1], ["class 0"], head)
    assert head.exemplars.counts()["class 0"] == 4
    assert np.array_equal(head.exemplars.rows[-1], X[0])


def test_checklist_97_identical_vectors_are_kept_once_when_asked():
    """The newest word on the label wins; by default all are kept."""
    X = np.array([[1, 0], [1, 0], [0, 1], [1, -0.0]], dtype=np.float32)
    labels = ["a", "a", "b", "c"]
    assert len(trained(X, labels).exemplars) == 4

    head = trained(X, labels, keep_duplicates=False)
    assert head.exemplars.rows.tolist() == [[1, 0], [0, 1]]
    assert head.exemplars.labels == ["c", "b"]
    trained(X[2:3], ["b"], head)
    assert len(head.exemplars) == 2


def test_checklist_98_beyond_the_threshold_the_answer_is_the_default_label(clouds, tmp_path):
    """By the distance in force; what is near is answered as before."""
    X, labels = clouds(60)
    model = MLModel.factory("knn", 12, parameters=named(unknown_distance=100.0))
    model = updated(model, X, labels)
    model.write(to=tmp_path / "m")
    far = np.full(12, 40.0)

    for one in (model, MLModel.load(tmp_path / "m")):
        assert one.unknown_threshold == 100.0
        assert label_of(one, far) == "unknown"
        assert label_of(one, X[0]) == labels[0]
        assert one.is_unknown(np.stack([far, X[0]])).tolist() == [True, False]
    strict = MLModelConfiguration(named(unknown_distance=0.0))
    assert label_of(MLModel.load(tmp_path / "m", configuration=strict), far) != "unknown"


def test_everything_comes_back_from_disk(clouds, tmp_path):
    """Samples, settings, default label: the same bits."""
    X, labels = clouds(60)
    model = MLModel.factory(
        "knn", 12, parameters=named(weighting_scheme="inverse_distance", distance="cosine")
    )
    model = updated(model, X, labels)
    model.write(to=tmp_path / "m")
    read = MLModel.load(tmp_path / "m")

    assert np.array_equal(read.predict_proba(X + 1), model.predict_proba(X + 1))
    assert np.array_equal(read.head.exemplars.rows, X)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rows", np.zeros((3, 2), dtype=np.float32)),
        ("rows", np.zeros((4, 2))),
        ("rows", np.full((4, 2), np.nan, dtype=np.float32)),
        ("codes", np.array([0, 0, 0, 0], dtype=np.int32)),
        ("codes", np.array([0, 1, 2, 1], dtype=np.int32)),
        ("codes", np.array([0, 1, 0, 1], dtype=np.int64)),
    ],
)
def test_damaged_arrays_are_refused(name, value):
    """Shapes, types and classes have to fit."""
    head = trained(np.eye(4, 2, dtype=np.float32), ["a", "b", "a", "b"])
    with pytest.raises(MLModelError) as caught:
        KNearestNeighborsHead.restore({**head.arrays(), name: value}, head.describe())
    assert caught.value.code is MLModelErrorCode.IO


def test_zeros_have_a_cosine_distance_too():
    """A row of zeros is as far from everything."""
    X = np.array([[0, 0], [1, 0]], dtype=np.float32)
    head = trained(X, ["nothing", "something"], distance="cosine", number_of_neighbors=1)

    assert head.distances(np.array([[5, 0], [0, 0], [0, 3]], dtype=np.float32)).tolist() == [0.0, 0.0, 0.5]

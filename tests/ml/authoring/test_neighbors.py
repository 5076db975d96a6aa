"""Authoring nearest neighbours: coremltools' words and defaults, and a sentence for every rule."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.authoring import KNearestNeighborsClassifierBuilder
from edge_agent.ml.batches import MLArrayBatchProvider
from edge_agent.ml.features import MLDictionaryFeatureProvider, MLFeatureType
from edge_agent.ml.model import MLModel, MLModelConfiguration
from edge_agent.ml.parameters import MLParameterKey as Key
from edge_agent.ml.update import MLTaskState, MLUpdateTask


def builder(**given):
    """Three dimensions, names of its own, "unknown" by default."""
    return KNearestNeighborsClassifierBuilder("drawing", "sticker", 3, "unknown", **given)


def batch(X, labels):
    """Samples under those names."""
    return MLArrayBatchProvider(
        dictionary={"drawing": list(np.asarray(X, dtype=np.float32)), "sticker": labels}
    )


def updated(model, data, **given):
    """The model after an update."""
    configuration = MLModelConfiguration({Key(name): value for name, value in given.items()})
    task = MLUpdateTask(model, data, configuration)
    task.resume()
    assert task.wait(30)
    assert task.state is MLTaskState.COMPLETED, task.error
    return task.model


def stickers(model, X):
    """The labels a model answers."""
    answers = model.predictions(batch(X, ["?"] * len(X))).array
    return [one.feature_value("sticker").string_value for one in answers]


def test_checklist_73_an_authored_empty_knn_predicts_the_default_label_and_learns(tmp_path):
    """Three examples of a new label, and it is recognised, also after loading."""
    builder().model().write(to=tmp_path / "m")
    X = np.eye(3)
    assert stickers(MLModel.load(tmp_path / "m"), X) == ["unknown"] * 3
    updated(MLModel.load(tmp_path / "m"), batch(X, ["star"] * 3)).write(to=tmp_path / "n")

    assert stickers(MLModel.load(tmp_path / "n"), X) == ["star"] * 3
    assert stickers(MLModel.load(tmp_path / "m"), X) == ["unknown"] * 3


def test_checklist_72_what_the_author_chose_is_fixed_and_kept(tmp_path):
    """Weighting, index, leaf size and distance are in the model and cannot be overridden."""
    made = builder(weighting_scheme="inverse_distance", index_type="kd_tree", leaf_size=7, distance="cosine")
    made.model().write(to=tmp_path / "m")
    model = MLModel.load(tmp_path / "m")

    for name, value, other in (
        ("weighting_scheme", "inverse_distance", "uniform"),
        ("index_type", "kd_tree", "linear"),
        ("leaf_size", 7, 30),
        ("distance", "cosine", "squared_euclidean"),
    ):
        assert model.parameter_value(Key(name)) == value
        with pytest.raises(MLModelError, match=name) as caught:
            MLModel.load(tmp_path / "m", configuration=MLModelConfiguration({Key(name): other}))
        assert caught.value.code is MLModelErrorCode.PARAMETERS
    plain = builder().model()
    assert plain.parameter_value(Key.LEAF_SIZE) == 30
    assert plain.parameter_value(Key.DISTANCE) == "squared_euclidean"


def test_checklist_76_a_range_or_a_set_of_neighbors(tmp_path):
    """5 and 1 to 1000 by default; what the author says holds after loading and for updates."""
    limits = builder().model().model_description.parameter_descriptions_by_key[Key.NUMBER_OF_NEIGHBORS]
    assert limits.default_value == 5
    assert (limits.numeric_constraint.min_number, limits.numeric_constraint.max_number) == (1, 1000)

    made = builder(number_of_neighbors=7)
    assert made.number_of_neighbors == 7
    for bounds, right, wrong in (
        ({"allowed_range": (2, 4)}, (2, 4), (1, 5)),
        ({"allowed_set": {1, 3, 9}}, (1, 9), (2, 10)),
    ):
        made.set_number_of_neighbors_with_bounds(3, **bounds)
        path = tmp_path / next(iter(bounds))
        made.model().write(to=path)
        assert MLModel.load(path).parameter_value(Key.NUMBER_OF_NEIGHBORS) == 3
        for k in right:
            configuration = MLModelConfiguration({Key.NUMBER_OF_NEIGHBORS: k})
            loaded = MLModel.load(path, configuration=configuration)
            assert loaded.head.tuning[Key.NUMBER_OF_NEIGHBORS] == k
            updated(path, batch(np.eye(3), ["a", "b", "c"]), number_of_neighbors=k)
        for k in wrong:
            with pytest.raises(MLModelError, match="number_of_neighbors") as caught:
                updated(path, batch(np.eye(3), ["a", "b", "c"]), number_of_neighbors=k)
            assert caught.value.code is MLModelErrorCode.PARAMETERS


def test_checklist_75_samples_are_added_by_the_author_and_by_updates():
    """In the order they came."""
    made = builder(number_of_neighbors=1)
    made.add_samples(np.eye(3)[:2], ["a", "b"])
    made.add_samples([[9.0, 9.0, 9.0]], ["a"])
    assert made.number_of_samples == 3
    model = made.model()
    made.add_samples([[5.0, 5.0, 5.0]], ["late"])
    assert stickers(model, np.eye(3)[:2]) == ["a", "b"]
    assert model.classes == ("a", "b")
    assert updated(model, batch([[0, 0, 5]], ["c"])).head.exemplars.labels == ["a", "b", "a", "c"]


@pytest.mark.parametrize(
    ("points", "labels", "sentence"),
    [
        (np.zeros((1, 4)), ["a"], r"points of shape \(1, 4\), expected \(n, 3\)"),
        (np.zeros(3), ["a"], r"points of shape \(3,\)"),
        ([[1.0, 2.0, 3.0], [1.0]], ["a", "b"], "not all of one length"),
        (np.zeros((2, 3)), ["a"], "2 points do not go with 1 labels"),
        (np.zeros((2, 3)), ["a", 1], "sample 1: the label 1 is among labels that are texts"),
        (np.zeros((1, 3)), [""], "sample 0: the label is a text or a whole number"),
        (np.zeros((1, 3)), [True], "sample 0: the label is a text or a whole number"),
        (np.zeros((1, 3)), [1.5], "sample 0: the label is a text or a whole number"),
        (np.full((1, 3), np.nan), ["a"], "row 0: a feature is not a finite number"),
        (np.array([["a", "b", "c"]]), ["a"], "expected numbers"),
    ],
)
def test_checklist_77_samples_that_do_not_fit_are_refused(points, labels, sentence):
    """Dimension, number, kind of label; nothing is added."""
    made = builder()
    with pytest.raises(MLModelError, match=sentence):
        made.add_samples(points, labels)
    assert made.number_of_samples == 0


def test_checklist_77_labels_may_be_whole_numbers(tmp_path):
    """From the default label on, through samples, updates and disk; a text among them is refused."""
    made = KNearestNeighborsClassifierBuilder("x", "number", 3, -1, number_of_neighbors=1)
    made.model().write(to=tmp_path / "m")
    empty = MLModel.load(tmp_path / "m")
    assert empty.model_description.output_descriptions_by_name["number"].type is MLFeatureType.INT64

    def numbers(model, X):
        provider = MLArrayBatchProvider(dictionary={"x": list(X.astype(np.float32))})
        return [one.feature_value("number").int64_value for one in model.predictions(provider).array]

    assert numbers(empty, np.eye(3)) == [-1, -1, -1]
    made.add_samples(np.eye(3)[:2], [10, 9])
    more = MLArrayBatchProvider(dictionary={"x": [np.eye(3, dtype=np.float32)[2]], "number": [2]})
    model = updated(made.model(), more)
    model.write(to=tmp_path / "n")
    read = MLModel.load(tmp_path / "n")
    assert read.classes == model.classes == (9, 10, 2)
    assert numbers(read, np.eye(3)) == [10, 9, 2]
    wrong = MLArrayBatchProvider(dictionary={"x": [np.zeros(3, dtype=np.float32)], "number": ["2"]})
    for make in (lambda: MLUpdateTask(model, wrong), lambda: made.add_samples(np.zeros((1, 3)), ["2"])):
        with pytest.raises(MLModelError, match="'2'"):
            make()


def test_checklist_77_mixed_labels_are_refused_in_an_update():
    """Whichever kind came first; the sample is named."""
    X = [np.zeros(3, dtype=np.float32)] * 2

    class Mixed:
        count = 2

        def features(self, at):
            return MLDictionaryFeatureProvider({"drawing": X[at], "sticker": ["a", 1][at]})

    task = MLUpdateTask(builder().model(), Mixed())
    task.resume()
    assert task.wait(30)
    assert task.state is MLTaskState.FAILED
    assert "sample 1" in str(task.error)


def test_checklist_86_unknown_keywords_are_refused():
    """`k=3` was taken and forgotten by coremltools."""
    for word in ("k", "neighbours", "default_label", "metric"):
        with pytest.raises(TypeError, match=word):
            builder(**{word: 3})
    with pytest.raises(TypeError, match="allowed"):
        builder().set_number_of_neighbors_with_bounds(3, allowed=(1, 5))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: builder(number_of_neighbors=0), "number_of_neighbors is at least 1"),
        (lambda: builder(number_of_neighbors=1001), "number_of_neighbors is at most 1000"),
        (lambda: builder(number_of_neighbors=2.0), "number_of_neighbors is a whole number"),
        (lambda: builder(weighting_scheme="best"), "weighting_scheme: 'best' is not one of"),
        (lambda: builder(index_type="ball_tree"), "index_type: 'ball_tree' is not one of"),
        (lambda: builder(distance="manhattan"), "distance: 'manhattan' is not one of"),
        (lambda: builder(index_type="kd_tree", leaf_size=0), "leaf_size is at least 1"),
        (lambda: builder(leaf_size=10), "leaf_size is for index_type='kd_tree'"),
        (lambda: builder(unknown_distance=-1.0), "unknown_distance: -1.0 is below 0"),
        (lambda: builder(samples_per_class=-1), "samples_per_class: -1 is below 0"),
        (lambda: builder(keep_duplicates="no"), "keep_duplicates: expected true or false"),
        (lambda: builder().set_number_of_neighbors_with_bounds(3), "either allowed_range or allowed_set"),
        (
            lambda: builder().set_number_of_neighbors_with_bounds(3, allowed_range=(1, 5), allowed_set={3}),
            "either allowed_range or allowed_set",
        ),
        (
            lambda: builder().set_number_of_neighbors_with_bounds(6, allowed_range=(1, 5)),
            "not in its allowed range",
        ),
        (
            lambda: builder().set_number_of_neighbors_with_bounds(3, allowed_range=(5, 1)),
            "range of .* is empty",
        ),
        (
            lambda: builder().set_number_of_neighbors_with_bounds(3, allowed_range=(0, 5)),
            "every allowed .* at least 1",
        ),
        (lambda: builder().set_number_of_neighbors_with_bounds(3, allowed_range=(3,)), r"\(least, most\)"),
        (lambda: builder().set_number_of_neighbors_with_bounds(3, allowed_set={1}), "not in its allowed set"),
        (lambda: builder().set_number_of_neighbors_with_bounds(3, allowed_set=set()), "set of .* is empty"),
        (
            lambda: builder().set_number_of_neighbors_with_bounds(3, allowed_set={3, 0}),
            "every allowed .* at least 1",
        ),
        (lambda: KNearestNeighborsClassifierBuilder("", "y", 3, "u"), "name of the input"),
        (lambda: KNearestNeighborsClassifierBuilder("x", None, 3, "u"), "name of the output"),
        (lambda: KNearestNeighborsClassifierBuilder("x", "x", 3, "u"), "the same name"),
        (lambda: KNearestNeighborsClassifierBuilder("x", "y", 0, "u"), "number_of_dimensions is at least 1"),
        (lambda: KNearestNeighborsClassifierBuilder("x", "y", 2.5, "u"), "number_of_dimensions is a whole"),
        (lambda: KNearestNeighborsClassifierBuilder("x", "y", 3, ""), "default_class_label is a text"),
        (lambda: KNearestNeighborsClassifierBuilder("x", "y", 3, None), "default_class_label is a text"),
    ],
)
def test_every_rule_has_its_own_sentence(make, sentence):
    """What an author can do wrong is refused with what is wrong."""
    with pytest.raises(MLModelError, match=sentence):
        make()


def test_one_that_is_not_updatable_says_so(tmp_path):
    """It predicts and refuses updates."""
    made = builder()
    made.is_updatable = False
    made.add_samples(np.eye(3), ["a", "b", "c"])
    made.author, made.license = "Anna", "CC0"
    made.model().write(to=tmp_path / "m")
    model = MLModel.load(tmp_path / "m")

    assert not model.is_updatable
    assert (model.metadata.author, model.metadata.license) == ("Anna", "CC0")
    with pytest.raises(MLModelError, match="cannot be updated: its author made it so") as caught:
        MLUpdateTask(model, batch(np.eye(3), ["a", "b", "c"]))
    assert caught.value.code is MLModelErrorCode.UPDATE


def test_checklist_97_and_98_are_the_authors_to_set():
    """The cap, duplicates and the distance of the unknown."""
    made = builder(samples_per_class=2, keep_duplicates=False, unknown_distance=0.5, number_of_neighbors=1)
    model = updated(made.model(), batch([*np.eye(3), *np.eye(3)], ["a", "a", "a", "a", "a", "b"]))

    assert model.head.exemplars.counts() == {"a": 2, "b": 1}
    assert stickers(model, [*np.eye(3), [3, 3, 3]]) == ["a", "a", "b", "unknown"]


def test_a_builder_says_what_its_model_is_going_to_be():
    """What coremltools' builder can be asked for, and the weighting that it lets the author set later."""
    made = builder(index_type="kd_tree", leaf_size=7)
    assert (made.number_of_dimensions, made.index_type, made.leaf_size) == (3, "kd_tree", 7)
    assert made.weighting_scheme == "uniform"
    assert made.number_of_neighbors_allowed_range() == (1, 1000)
    assert made.number_of_neighbors_allowed_set() is None

    made.weighting_scheme = "inverse_distance"
    made.set_number_of_neighbors_with_bounds(3, allowed_set={3, 5})

    assert made.model().parameter_value(Key.WEIGHTING_SCHEME) == "inverse_distance"
    assert made.number_of_neighbors_allowed_range() is None
    assert made.number_of_neighbors_allowed_set() == {3, 5}
    with pytest.raises(MLModelError, match="weighting_scheme"):
        made.weighting_scheme = "loudest"
    assert made.weighting_scheme == "inverse_distance"

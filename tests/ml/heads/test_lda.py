"""Linear discriminant analysis against its definition, and where the definition ends."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from edge_agent.errors import MLModelError
from edge_agent.ml.batches import MatrixBatchProvider
from edge_agent.ml.discriminant import Estimates
from edge_agent.ml.estimates import TEMPERATURES, log_loss, softmax
from edge_agent.ml.features import MLDictionaryFeatureProvider
from edge_agent.ml.heads import lda
from edge_agent.ml.heads.lda import LDAHead
from edge_agent.ml.parameters import MLParameterKey
from edge_agent.ml.transforms import signed_root


def trained(X, labels, parameters=None, head=None):
    """A head that learned the samples, and what its epoch reported."""
    head = head or LDAHead(X.shape[1])
    progress = list(head.train(MatrixBatchProvider(X, labels), parameters or {}))
    return head, progress[-1].metrics


@pytest.fixture(name="form", params=["dual", "primal"])
def _form(request, monkeypatch):
    """Both ways to compute the same, whatever the number of samples."""
    monkeypatch.setattr(lda, "DUAL_ROWS", 10**6 if request.param == "dual" else 0)
    return request.param


def by_definition(X, labels, shrinkage=0.3):
    """Scores without temperature and prior, computed from the textbook's formulas; every left-out distance
    too."""
    Z, names = signed_root(X), sorted(set(labels))
    y = np.array([names.index(label) for label in labels])
    n = np.bincount(y).astype(float)
    N, D = Z.shape

    def fit(rows):
        M = np.stack([Z[rows & (y == c)].mean(axis=0) for c in range(len(names))])
        Sw = sum(np.outer(d, d) for d in (Z - M[y])[rows])
        return M, Sw

    M, Sw = fit(np.ones(N, dtype=bool))
    lam = shrinkage * np.trace(Sw) / N / min(N - 1, D)
    A = Sw / N + lam * np.eye(D)
    distances = np.full((N, len(names)), np.nan)
    for i in np.flatnonzero(n[y] > 1):
        M_i, Sw_i = fit(np.arange(N) != i)
        U = Z[i] - M_i
        distances[i] = np.einsum("cd,dc->c", U, np.linalg.solve((Sw_i + lam * N * np.eye(D)) / N, U.T))
    out = n[y] > 1
    own = distances[np.arange(N), y][out]
    tau = (own / (1 + 1 / (n[y][out] - 1))).mean()
    W = np.linalg.solve(A, M.T)
    b = -0.5 * np.einsum("cd,dc->c", M, W) + 0.5 * tau / n
    return {"A": A, "M": M, "W": W, "b": b, "tau": tau, "own": own, "distances": distances, "y": y, "n": n}


@pytest.mark.parametrize(("n", "D"), [(9, 30), (60, 12)], ids=["fewer samples than features", "more"])
def test_scores_tau_temperature_and_threshold_follow_their_formulas(clouds, form, n, D):
    """Probabilities on new samples, tau, T and the unknown threshold, against brute force."""
    X, labels = clouds(n, D=D, noise=1.5)
    labels[0] = "class 1"  # classes of unequal size
    new, _ = clouds(20, D=D, noise=1.5, seed=5)
    truth = by_definition(X, labels)
    head, metrics = trained(X, labels)
    known = head.learned.estimates
    sizes = np.broadcast_to(truth["n"], (n, 3)).copy()
    sizes[np.arange(n), truth["y"]] -= 1
    left_out = -0.5 * (truth["distances"] - truth["tau"] / sizes)
    scores = signed_root(new) @ truth["W"] + truth["b"]

    assert known.tau == pytest.approx(truth["tau"], rel=1e-9)
    nearest = np.maximum(-2.0 * left_out.max(axis=1), 0.0)
    if n >= 19:
        assert head.unknown_threshold == pytest.approx(np.quantile(nearest, 0.95, method="weibull"), rel=1e-9)
    else:
        assert head.unknown_threshold >= nearest.max() - 1e-9
    assert head.predict_proba(new) == pytest.approx(softmax(known.temperature * scores), abs=1e-9)
    assert metrics["loss_value"] == pytest.approx(log_loss(softmax(known.temperature * left_out), truth["y"]))
    assert metrics["accuracy"] == pytest.approx((left_out.argmax(axis=1) == truth["y"]).mean())
    if TEMPERATURES[0] < known.temperature < TEMPERATURES[1] and metrics["accuracy"] < 1.0:
        for other in (0.99, 1.01):
            T = known.temperature * other
            assert log_loss(softmax(T * left_out), truth["y"]) > metrics["loss_value"]


def test_distances_are_mahalanobis_to_the_nearest_mean(clouds, form):
    """Against the definition, less what a mean of n_c samples is off; the stored axes are float32."""
    X, labels = clouds(40, noise=1.0)
    new, _ = clouds(10, noise=1.0, seed=7)
    truth = by_definition(X, labels)
    U = signed_root(new)[:, None, :] - truth["M"]
    squared = np.einsum("ncd,de,nce->nc", U, np.linalg.inv(truth["A"]), U)

    less = (squared - truth["tau"] / truth["n"]).min(axis=1)
    assert trained(X, labels)[0].distances(new) == pytest.approx(np.maximum(less, 0.0), rel=1e-4)


def test_coefficients_are_those_of_scikit_learn(clouds):
    """Its least-squares solver shrinks to (1 - s) Sw/N + s tr(Sw)/(N D) I: ours, times 1 - s, for s/(1 - s) =
    0.3."""
    X, labels = clouds(80, noise=1.0)
    share = 0.3 / 1.3
    peer = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=share).fit(signed_root(X), labels)
    coef = trained(X, labels)[0].learned.coef
    peers = (1 - share) * peer.coef_.T

    # Both are free to add the same vector to every class.
    assert coef - coef[:, :1] == pytest.approx(peers - peers[:, :1], rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("n", [30, 100])
def test_both_forms_are_the_same(clouds, monkeypatch, n):
    """In the span of the samples and with the D x D matrix, equal to nine digits."""
    X, labels = clouds(n, D=40, noise=1.0)
    new, _ = clouds(20, D=40, noise=1.0, seed=1)
    probabilities = []
    for limit in (10**6, 0):
        monkeypatch.setattr(lda, "DUAL_ROWS", limit)
        probabilities.append(trained(X, labels)[0].predict_proba(new))

    assert probabilities[0] == pytest.approx(probabilities[1], abs=1e-9)


def test_the_order_of_samples_does_not_matter(clouds, form, monkeypatch):
    """D4: Nine digits stay whatever the order, also where only some samples are left out; equal order, equal
    bits."""
    monkeypatch.setattr(lda, "ESTIMATE_ROWS", 20)
    monkeypatch.setattr(lda, "BLOCK_ROWS", 7)
    X, labels = clouds(60, noise=1.5)
    new, _ = clouds(20, seed=1)
    order = np.random.default_rng(0).permutation(60)
    first = trained(X, labels)[0]
    shuffled = trained(X[order], [labels[at] for at in order])[0]
    again = trained(X, labels)[0]

    assert shuffled.predict_proba(new) == pytest.approx(first.predict_proba(new), abs=1e-9)
    assert shuffled.unknown_threshold == pytest.approx(first.unknown_threshold, rel=1e-9)
    assert all(np.array_equal(array, again.arrays()[name]) for name, array in first.arrays().items())


ODD = {
    "one sample": ([[1, 2, 3]], ["a"]),
    "one class": ([[1, 2, 3], [3, 2, 1], [1, 1, 1]], ["a", "a", "a"]),
    "one sample each": ([[1, 2, 3], [3, 2, 1]], ["a", "b"]),
    "one class with one sample": ([[1, 2, 3], [1, 2, 4], [3, 2, 1]], ["a", "a", "b"]),
    "duplicates only": ([[1, 2, 3]] * 3 + [[3, 2, 1]] * 2, ["a", "a", "a", "b", "b"]),
    "duplicates among others": ([[1, 2, 3], [1, 2, 3], [1, 2, 4], [3, 2, 1], [3, 2, 1]], list("aaabb")),
    "the same picture in two classes": ([[1, 2, 3]] * 2, ["a", "b"]),
    "the same pictures in two classes": ([[1, 2, 3], [3, 2, 1]] * 2, ["a", "a", "b", "b"]),
    "constant features": ([[5, 1, 5], [5, 2, 5], [5, 8, 5], [5, 9, 5]], ["a", "a", "b", "b"]),
    "a row of zeros": ([[0, 0, 0], [0, 0, 1], [3, 2, 1], [3, 2, 2]], ["a", "a", "b", "b"]),
    "nothing but zeros": ([[0, 0, 0]] * 4, ["a", "a", "b", "b"]),
    "a class of a zero": ([[0, 0, 0], [3, 2, 1]], ["a", "b"]),
    "almost the same": ([[1, 2, 3], [1, 2, 3.0000002], [3, 2, 1], [3, 2, 1.0000001]], ["a", "a", "b", "b"]),
    "huge": ([[3e38, 1e38, 0], [1e38, 3e38, 0], [0, 1e38, 3e38], [0, 2e38, 3e38]], ["a", "a", "b", "b"]),
    "tiny": ([[1e-45, 0, 0], [1e-40, 1e-45, 0], [0, 0, 1e-44], [0, 1e-45, 1e-42]], ["a", "a", "b", "b"]),
    "negative": ([[-1, 2, -3], [-1, 2, -4], [1, -2, 3], [1, -2, 2]], ["a", "a", "b", "b"]),
    "one feature": ([[1], [2], [-1], [-2]], ["a", "a", "b", "b"]),
}


@pytest.mark.parametrize("prior", ["uniform", "empirical"])
@pytest.mark.parametrize("name", ODD)
def test_odd_samples_are_learned_without_a_warning(name, prior, form):
    """Probabilities are finite and sum to one, distances are finite and not negative, on any picture."""
    rows, labels = ODD[name]
    X = np.array(rows, dtype=np.float32)
    head, metrics = trained(X, labels, {MLParameterKey.PRIOR: prior})
    probes = np.concatenate([X, np.zeros((1, X.shape[1])), -X, 1e30 * np.ones((1, X.shape[1]))]).astype(
        np.float32
    )
    P, far = head.predict_proba(probes), head.distances(probes)

    assert head.classes_ == tuple(sorted(set(labels)))
    assert np.isfinite(P).all()
    assert P.sum(axis=1) == pytest.approx(np.ones(len(probes)))
    assert all(np.isfinite(value) for value in metrics.values())
    assert far is None or (np.isfinite(far).all() and (far >= 0).all())
    assert (far is None) == (head.unknown_threshold is None)
    restored = LDAHead.restore(head.arrays(), head.describe())
    assert np.array_equal(restored.predict_proba(probes), P)


@pytest.mark.parametrize("rate", [0.02, 0.05, 0.2])
def test_so_many_new_samples_are_called_unknown_as_was_asked_for(clouds, form, rate):
    """Samples of known classes, over several draws; and all of what is the opposite of them."""
    known, far = [], []
    for seed in range(12):
        X, labels = clouds(60, noise=1.0, seed=seed)
        head, _ = trained(X, labels, {MLParameterKey.UNKNOWN_RATE: rate})
        new, _ = clouds(300, noise=1.0, seed=100 + seed)
        known.append((head.distances(new) > head.unknown_threshold).mean())
        far.append((head.distances(-new) > head.unknown_threshold).mean())

    assert np.mean(known) == pytest.approx(rate, abs=0.02)
    assert min(far) == 1.0


def test_nothing_is_unknown_at_a_rate_of_0(clouds, form):
    """The distance is told, there is no threshold to hold it against."""
    X, labels = clouds(40, noise=1.0)
    head, _ = trained(X, labels, {MLParameterKey.UNKNOWN_RATE: 0.0})

    assert head.unknown_threshold is None
    assert head.distances(X).shape == (40,)
    with pytest.raises(MLModelError, match="unknown_rate"):
        trained(X, labels, {MLParameterKey.UNKNOWN_RATE: 0.6})


def test_one_class_is_certain():
    """With nothing to choose from the probability is 1, and the distance still tells the unknown."""
    X = np.array([[9, 1, 1], [9, 2, 1], [9, 1, 2], [8, 1, 1]], dtype=np.float32)
    head, _ = trained(X, ["a"] * 4)

    assert head.predict_proba(X).tolist() == [[1.0]] * 4
    assert head.distances(np.array([[0, 0, 9]], dtype=np.float32))[0] > head.unknown_threshold
    assert (head.distances(X) < head.unknown_threshold).all()


def test_single_samples_are_told_apart_by_cosine():
    """One sample a class: softmax of 8 times the cosine."""
    X = np.array([[1, 0, 0], [1, 1, 0]], dtype=np.float32)
    head, _ = trained(X, ["a", "b"])
    Z = signed_root(X)

    assert head.predict_proba(X) == pytest.approx(softmax(8.0 * Z @ Z.T))


def test_the_empirical_prior_favours_what_is_frequent(clouds):
    """Between two classes the odds change by the ratio of their counts, to the power T; uniform ignores
    them."""
    X, labels = clouds(40, C=2, noise=3.0)
    X, labels = X[:26], [*labels[:24], "class 0", "class 0"]
    heads = [trained(X, labels, {MLParameterKey.PRIOR: prior})[0] for prior in ("uniform", "empirical")]
    frequent = [head.predict_proba(X)[:, 0].mean() for head in heads]
    odds = heads[1].learned.intercept - heads[0].learned.intercept

    assert odds[0] - odds[1] == pytest.approx(np.log(14 / 12))
    assert frequent[1] > frequent[0]


def test_more_shrinkage_is_a_rounder_covariance(clouds):
    """The parameter multiplies the ridge."""
    X, labels = clouds(30)
    ridges = [trained(X, labels, {MLParameterKey.SHRINKAGE: value})[0].learned.ridge for value in (0.1, 1.0)]

    assert ridges[1] == pytest.approx(10 * ridges[0])


@pytest.mark.parametrize("cuts", [(30,), (5, 33), (1, 2, 59)])
def test_updates_add_up(clouds, form, cuts):
    """Learning in portions gives the counts, means and covariance of learning all at once."""
    X, labels = clouds(60, noise=1.0)
    new, _ = clouds(20, noise=1.0, seed=1)
    whole, _ = trained(X, labels)
    parts = LDAHead(X.shape[1])
    for start, stop in zip((0, *cuts), (*cuts, 60), strict=True):
        trained(X[start:stop], labels[start:stop], head=parts)

    assert parts.learned.counts.tolist() == whole.learned.counts.tolist()
    assert parts.learned.means == pytest.approx(whole.learned.means, abs=1e-12)
    assert parts.learned.ridge == pytest.approx(whole.learned.ridge, rel=1e-5)
    assert parts.learned.coef == pytest.approx(whole.learned.coef, rel=1e-3, abs=1e-3)
    # The bias of small classes is what leave-one-out said, which is averaged.
    known = replace(parts.learned, estimates=whole.learned.estimates)
    assert known.distances(signed_root(new)) == pytest.approx(whole.distances(new), rel=1e-4)


def test_what_leave_one_out_said_is_averaged_by_its_samples():
    """tau by the mean, temperature and threshold by the geometric mean; who has no samples says nothing."""
    one, other = Estimates(1.0, 2.0, 16.0, 30), Estimates(16.0, 4.0, 1.0, 10)
    joined = one.joined(other)

    assert joined == Estimates(pytest.approx(2.0), pytest.approx(2.5), pytest.approx(8.0), 40)
    assert one.joined(Estimates()) == Estimates().joined(one) == one


def test_a_new_class_joins_the_old_ones(clouds, form):
    """An update with nothing but a new label keeps the others recognisable."""
    X, labels = clouds(60)
    old = [at for at in range(60) if labels[at] != "class 2"]
    new = [at for at in range(60) if labels[at] == "class 2"][:3]
    head, _ = trained(X[old], [labels[at] for at in old])
    trained(X[new], [labels[at] for at in new], head=head)
    predicted = [head.classes_[column] for column in head.predict_proba(X).argmax(axis=1)]

    assert head.classes_ == ("class 0", "class 1", "class 2")
    assert np.mean([one == other for one, other in zip(predicted, labels, strict=True)]) > 0.9


def test_training_reports_blocks_and_then_its_epoch(clouds, monkeypatch):
    """One mini-batch a block, one epoch, and the model changes with the epoch only."""
    monkeypatch.setattr(lda, "BLOCK_ROWS", 4)
    X, labels = clouds(10)
    head = LDAHead(X.shape[1])
    seen = [
        (progress.kind, progress.epoch_index, progress.mini_batch_index, bool(head.classes_))
        for progress in head.train(MatrixBatchProvider(X, labels), {})
    ]

    assert seen == [
        ("mini_batch", 0, 0, False),
        ("mini_batch", 0, 1, False),
        ("mini_batch", 0, 2, False),
        ("epoch", 0, 2, True),
    ]


def test_features_of_another_length_are_refused(clouds):
    """The head does not learn what it could not predict from."""
    X, labels = clouds(10)
    with pytest.raises(MLModelError, match="12 features, the model has 5"):
        list(LDAHead(5).train(MatrixBatchProvider(X, labels), {}))


def test_few_samples_of_many_features_form_no_large_matrix():
    """A hundred thousand features would need 80 GB for the D x D matrix."""
    X = np.abs(np.random.default_rng(0).normal(size=(6, 100_000))).astype(np.float32)
    head, _ = trained(X, ["a", "b"] * 3)

    assert head.predict_proba(X).shape == (6, 2)


class Endless:
    """Samples made when they are asked for, by index."""

    count = 30_000

    def arrays(self, indices):
        at = np.arange(self.count)[indices] if isinstance(indices, slice) else np.array(indices)
        X = np.abs(np.sin(np.outer(at + 1.0, np.arange(1, 65)))).astype(np.float32)
        return X, [f"class {index % 3}" for index in at]

    def features(self, at):
        X, labels = self.arrays([at])
        return MLDictionaryFeatureProvider({"features": X[0], "label": labels[0]})


def test_many_samples_are_never_in_memory_together():
    """Training on 30,000 x 64 features (15 MB as float64) peaks far below that."""
    head = LDAHead(64)
    tracemalloc.start()
    try:
        list(head.train(Endless(), {}))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert head.classes_ == ("class 0", "class 1", "class 2")
    assert peak < 8e6


@pytest.mark.parametrize("name", ["coef", "intercept", "means", "counts", "eigenvalues", "axes"])
@pytest.mark.parametrize("harm", ["missing", "shape", "dtype", "nan"])
def test_arrays_that_do_not_fit_are_refused(clouds, name, harm):
    """Each array that is missing, misshapen, of another type or not finite is named."""
    X, labels = clouds(10)
    head, _ = trained(X, labels)
    arrays = head.arrays()
    if harm == "missing":
        del arrays[name]
    elif harm == "shape":
        arrays[name] = arrays[name][..., None]
    elif harm == "dtype":
        arrays[name] = arrays[name].astype(np.float16)
    else:
        arrays[name] = np.full_like(arrays[name], np.nan)

    with pytest.raises(MLModelError, match=name):
        LDAHead.restore(arrays, head.describe())


@pytest.mark.parametrize("noise", [0.5, 0.0])
def test_checklist_96_a_forgotten_class_votes_no_more_and_the_others_as_before(clouds, noise):
    """Its column and its mean are gone; shares and distances of the others do not change, nor how it learns on."""
    X, labels = clouds(90, noise=noise)
    new, _ = clouds(30, noise=max(noise, 0.5), seed=4)
    head, _ = trained(X, labels)
    before = head.copy()
    head.remove_label("class 1")
    again = LDAHead.restore(head.arrays(), head.describe())

    assert head.classes_ == again.classes_ == ("class 0", "class 2")
    P = before.predict_proba(new)[:, [0, 2]]
    np.testing.assert_allclose(
        head.predict_proba(new), P / P.sum(axis=1, keepdims=True), rtol=1e-4, atol=1e-9
    )
    assert np.array_equal(again.predict_proba(new), head.predict_proba(new))
    assert before.learned.means[1].tobytes() not in b"".join(one.tobytes() for one in head.arrays().values())
    assert before.classes_ == ("class 0", "class 1", "class 2")
    if noise:
        near = before.predict_proba(new).argmax(axis=1) != 1
        np.testing.assert_allclose(head.distances(new)[near], before.distances(new)[near], rtol=1e-3)
    for _ in head.train(MatrixBatchProvider(X, labels), {}):
        pass
    assert head.classes_ == ("class 0", "class 1", "class 2")


def test_checklist_96_forgetting_every_class_is_a_new_head(clouds):
    """And one that is not there is refused."""
    X, labels = clouds(9)
    head, _ = trained(X, labels)
    with pytest.raises(MLModelError, match="no label 'nobody'"):
        head.remove_label("nobody")
    for label in head.classes_:
        head.remove_label(label)
    assert head.classes_ == ()
    assert LDAHead.restore(head.arrays(), head.describe()).predict_proba(X).shape == (9, 0)

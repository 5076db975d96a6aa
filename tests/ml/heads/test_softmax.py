"""Softmax regression: its gradients, its peers, its bits."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss as sklearn_log_loss

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.batches import MatrixBatchProvider
from edge_agent.ml.heads.softmax import SoftmaxHead, loss_and_gradients
from edge_agent.ml.parameters import MLParameterKey as Key
from edge_agent.ml.transforms import signed_root


def training(head, X, labels, **given):
    """The generator of a training with parameters given by name."""
    return head.train(MatrixBatchProvider(X, labels), {Key(name): value for name, value in given.items()})


def trained(X, labels, head=None, **given):
    """A head that learned the samples, and everything its training reported."""
    head = head or SoftmaxHead(X.shape[1])
    return head, list(training(head, X, labels, **given))


def test_gradients_are_those_of_finite_differences():
    """Each entry of both gradients, with and without the L2 term."""
    rng = np.random.default_rng(0)
    W, b, Z, y = rng.normal(size=(4, 3)), rng.normal(size=3), rng.normal(size=(7, 4)), rng.integers(0, 3, 7)
    for l2 in (0.0, 0.5):

        def total(W, b, l2=l2):
            return loss_and_gradients(W, b, Z, y, l2)[0] + l2 / 2 * (W**2).sum()

        _, dW, db, _ = loss_and_gradients(W, b, Z, y, l2)
        h = 1e-6
        for at in np.ndindex(W.shape):
            step = np.zeros_like(W)
            step[at] = h
            assert dW[at] == pytest.approx((total(W + step, b) - total(W - step, b)) / (2 * h), abs=1e-8)
        for at in range(3):
            step = np.eye(3)[at] * h
            assert db[at] == pytest.approx((total(W, b + step) - total(W, b - step)) / (2 * h), abs=1e-8)


def test_the_loss_is_scikit_learns():
    """Mean cross-entropy of the same probabilities."""
    rng = np.random.default_rng(1)
    y = rng.integers(0, 3, 9)
    loss, _, _, P = loss_and_gradients(
        rng.normal(size=(4, 3)), rng.normal(size=3), rng.normal(size=(9, 4)), y
    )

    assert loss == pytest.approx(sklearn_log_loss(y, P, labels=range(3)))


@pytest.mark.parametrize(("optimizer", "rate"), [("adam", 0.05), ("sgd", 1.0)])
def test_it_learns_what_logistic_regression_learns(clouds, optimizer, rate):
    """Within two points of scikit-learn's accuracy on new samples; the loss falls."""
    X, labels = clouds(300, noise=1.0)
    new, truth = clouds(300, noise=1.0, seed=1)
    head, progress = trained(X, labels, optimizer=optimizer, learning_rate=rate)
    peer = LogisticRegression(C=100.0, max_iter=1000).fit(signed_root(X), labels)
    predicted = np.array(head.classes_)[head.predict_proba(new).argmax(axis=1)]
    losses = [one.metrics["loss_value"] for one in progress if one.kind == "epoch"]

    assert np.mean(predicted == truth) > peer.score(signed_root(new), truth) - 0.02
    assert losses[-1] < losses[0] / 2


def test_the_same_seed_gives_the_same_bits(clouds):
    """Equal data, parameters and seed: equal arrays; another seed: others."""
    X, labels = clouds(50)
    one, other, third = (trained(X, labels, epochs=3, seed=seed)[0] for seed in (7, 7, 8))

    assert np.array_equal(one.coef, other.coef)
    assert not np.array_equal(one.coef, third.coef)


def test_without_shuffling_the_seed_does_not_matter(clouds):
    """The order of the batch is kept, epoch after epoch."""
    X, labels = clouds(50)
    one, other = (trained(X, labels, epochs=3, shuffle=False, seed=seed)[0] for seed in (7, 8))

    assert np.array_equal(one.coef, other.coef)


def test_progress_counts_epochs_and_mini_batches(clouds):
    """Seven samples by three are three mini-batches an epoch."""
    X, labels = clouds(7)
    _, progress = trained(X, labels, epochs=2, mini_batch_size=3)

    assert [(one.kind, one.epoch_index, one.mini_batch_index) for one in progress] == [
        (kind, epoch, index)
        for epoch in range(2)
        for kind, index in (("mini_batch", 0), ("mini_batch", 1), ("mini_batch", 2), ("epoch", 2))
    ]


def test_an_epoch_reports_the_mean_of_its_mini_batches(clouds):
    """Weighted by their sizes, loss and accuracy."""
    X, labels = clouds(7)
    _, progress = trained(X, labels, epochs=1, mini_batch_size=3)
    *batches, epoch = progress
    for name in ("loss_value", "accuracy"):
        assert epoch.metrics[name] == pytest.approx(
            np.average([one.metrics[name] for one in batches], weights=[3, 3, 1])
        )


def test_a_learning_rate_that_is_sent_in_counts_from_the_next_mini_batch(clouds):
    """After a rate of zero nothing moves; the parameters in force say so."""
    X, labels = clouds(40)
    head = SoftmaxHead(X.shape[1])
    steps = training(head, X, labels, optimizer="sgd", mini_batch_size=5, epochs=3)
    next(steps)
    moved = head.coef.copy()
    steps.send({Key.LEARNING_RATE: 0.0})

    assert moved.any()
    assert np.array_equal(head.coef, moved)
    assert head.describe()["parameters"]["learning_rate"] == 0.0
    steps.send({Key.LEARNING_RATE: 1.0})
    assert not np.array_equal(head.coef, moved)


def test_fewer_epochs_can_be_sent_in(clouds):
    """Training ends after the epoch that is under way."""
    X, labels = clouds(10)
    steps = training(SoftmaxHead(X.shape[1]), X, labels, epochs=50, mini_batch_size=5)
    next(steps)
    rest = [steps.send({Key.EPOCHS: 1}), *steps]

    assert [one.kind for one in rest] == ["mini_batch", "epoch"]


def test_new_labels_leave_the_old_columns_alone(clouds):
    """Growing keeps every bit of what was learned; new columns begin at zero, behind the old ones."""
    X, labels = clouds(30)
    head, _ = trained(X, labels, epochs=2)
    before = head.coef.copy()
    head.grow({"another", "class 0", "a third"})

    assert head.classes_ == ("class 0", "class 1", "class 2", "a third", "another")
    assert np.array_equal(head.coef[:, :3], before)
    assert not head.coef[:, 3:].any()
    assert head.intercept.shape == (5,)


def test_training_goes_on_from_what_is_known(clouds):
    """A second update starts near where the first one ended, and learns a new class on the way."""
    X, labels = clouds(60)
    old = [at for at in range(60) if labels[at] != "class 2"]
    head, _ = trained(X[old], [labels[at] for at in old])
    _, progress = trained(X, labels, head=head)
    predicted = np.array(head.classes_)[head.predict_proba(X).argmax(axis=1)]

    assert progress[0].metrics["loss_value"] < np.log(3)
    assert np.mean(predicted == labels) == 1.0


def test_weights_that_explode_are_reported(clouds):
    """A step that is far too large ends in an error that says what to do, not in NaN."""
    X, labels = clouds(20)
    with pytest.raises(MLModelError, match="learning_rate") as caught:
        trained(X, labels, optimizer="sgd", learning_rate=100.0, l2=10.0, epochs=200)
    assert caught.value.code is MLModelErrorCode.UPDATE


def test_a_copy_goes_its_own_way(clouds):
    """Training one of two does not change the other."""
    X, labels = clouds(20)
    head, _ = trained(X, labels, epochs=1)
    other = head.copy()
    before = other.predict_proba(X)
    trained(X, labels, head=head, epochs=5)

    assert np.array_equal(other.predict_proba(X), before)
    assert not np.array_equal(head.predict_proba(X), before)


def test_a_copy_made_while_training_stays_as_it_was(clouds):
    """The steps that follow do not reach it."""
    X, labels = clouds(20)
    head = SoftmaxHead(X.shape[1])
    steps = training(head, X, labels, mini_batch_size=5)
    next(steps)
    other = head.copy()
    before = other.predict_proba(X)
    next(steps)

    assert np.array_equal(other.predict_proba(X), before)


def test_features_of_another_length_are_refused(clouds):
    """The head does not learn what it could not predict from."""
    X, labels = clouds(10)
    with pytest.raises(MLModelError, match="12 features, the model has 5"):
        trained(X, labels, head=SoftmaxHead(5))


def test_it_has_no_opinion_on_the_unknown():
    """No threshold, and no distances that could be held against one."""
    assert SoftmaxHead(3).unknown_threshold is None
    assert SoftmaxHead(3).distances(np.zeros((1, 3), dtype=np.float32)) is None

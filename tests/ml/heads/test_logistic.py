"""Logistic regression to convergence: its peer, its warm start, what an update leaves alone."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from edge_agent.errors import MLModelError
from edge_agent.ml.batches import MatrixBatchProvider
from edge_agent.ml.heads.logistic import L2, LogisticHead
from edge_agent.ml.model import MLModel
from edge_agent.ml.parameters import MLParameterKey as Key
from edge_agent.ml.transforms import signed_root
from edge_agent.ml.update import MLUpdateTask


def training(head, X, labels, **given):
    """The generator of a training with parameters given by name."""
    return head.train(MatrixBatchProvider(X, labels), {Key(name): value for name, value in given.items()})


def trained(X, labels, head=None, **given):
    """A head that learned the samples, and the epochs its training reported."""
    head = head or LogisticHead(X.shape[1])
    return head, [one for one in training(head, X, labels, **given) if one.kind == "epoch"]


def penalised(P, W, labels, classes, l2):
    """Mean cross-entropy plus l2/2 |W|^2."""
    column = {name: at for at, name in enumerate(classes)}
    own = P[np.arange(len(P)), [column[label] for label in labels]]
    return float(-np.log(own).mean() + l2 / 2 * (W**2).sum())


@pytest.mark.parametrize("l2", [1e-4, 1e-2])
@pytest.mark.parametrize(("D", "C", "noise"), [(12, 3, 1.0), (200, 10, 4.0), (60, 30, 2.0)])
def test_checklist_114_its_optimum_is_scikit_learns(clouds, D, C, noise, l2):
    """The same loss to 1e-4, the same labels for 99.5 % of new samples."""
    X, labels = clouds(400, D=D, C=C, noise=noise)
    new, _ = clouds(2000, D=D, C=C, noise=noise, seed=1)
    head, epochs = trained(X, labels, l2=l2)
    Z = signed_root(X)
    peer = LogisticRegression(C=1.0 / (len(X) * l2), tol=1e-8, max_iter=10_000).fit(Z, labels)
    order = [list(peer.classes_).index(name) for name in head.classes_]
    ours = penalised(head.predict_proba(X), head.coef, labels, head.classes_, l2)
    theirs = penalised(peer.predict_proba(Z)[:, order], peer.coef_, labels, head.classes_, l2)
    predicted = np.array(head.classes_)[head.predict_proba(new).argmax(axis=1)]

    assert ours == pytest.approx(theirs, rel=1e-4)
    assert np.mean(predicted == peer.predict(signed_root(new))) >= 0.995
    assert len(epochs) < 60


def test_ten_more_samples_take_a_few_iterations(clouds):
    """From what is known it is at most 15 to the optimum of a thousand and ten."""
    X, labels = clouds(1010, D=200, C=10, noise=4.0)
    head, cold = trained(X[:1000], labels[:1000])
    again, warm = trained(X, labels, head=head.copy())
    fresh, _ = trained(X, labels)

    assert len(warm) <= 15
    assert len(warm) < len(cold)
    assert np.allclose(again.predict_proba(X), fresh.predict_proba(X), atol=2e-3)


def test_an_update_with_nothing_new_takes_one_epoch(clouds):
    """What is at its optimum stays there, bit for bit but for the bias, and says its metrics."""
    X, labels = clouds(60)
    head, cold = trained(X, labels)
    again, warm = trained(X, labels, head=head.copy())

    assert len(warm) == 1
    assert warm[0].metrics["loss_value"] == pytest.approx(cold[-1].metrics["loss_value"], rel=1e-6)
    assert np.array_equal(again.coef, head.coef)


def test_the_loss_falls_to_the_end(clouds):
    """No epoch ends above the one before; the last says what the head achieves."""
    X, labels = clouds(200, noise=1.0)
    head, epochs = trained(X, labels)
    right = np.array(head.classes_)[head.predict_proba(X).argmax(axis=1)] == labels

    assert epochs[-1].metrics["loss_value"] < epochs[0].metrics["loss_value"]
    assert epochs[-1].metrics["accuracy"] == pytest.approx(np.mean(right))


def test_a_label_without_samples_keeps_its_bits(clouds):
    """Column and bias stay as they are, while a label that is new is learned beside it."""
    X, labels = clouds(60, noise=0.3)
    names = list(labels)
    first = [at for at in range(60) if names[at] != "class 2"]
    head, _ = trained(X[first], [names[at] for at in first])
    before = head.copy()
    later = [at for at in range(60) if names[at] != "class 0"]
    trained(X[later], [names[at] for at in later], head=head)

    assert head.classes_ == ("class 0", "class 1", "class 2")
    assert np.array_equal(head.coef[:, 0], before.coef[:, 0])
    assert head.intercept[0] == before.intercept[0]
    assert not np.array_equal(head.coef[:, 1], before.coef[:, 1])
    predicted = np.array(head.classes_)[head.predict_proba(X[later]).argmax(axis=1)]
    assert np.mean(predicted == [names[at] for at in later]) > 0.95


def test_a_limit_ends_it_and_another_penalty_can_be_sent_in(clouds):
    """Epochs count passes; what is sent in counts from the next epoch on, and comes out at its optimum."""
    X, labels = clouds(60, noise=1.0)
    _, few = trained(X, labels, epochs=3)
    head = LogisticHead(X.shape[1])
    steps = training(head, X, labels)
    next(steps)
    steps.send({Key.L2: 0.05})
    list(steps)
    other, _ = trained(X, labels, l2=0.05)

    assert len(few) == 3
    assert head.describe()["parameters"]["l2"] == 0.05
    assert np.allclose(head.predict_proba(X), other.predict_proba(X), atol=1e-3)


def test_a_copy_made_while_training_stays_as_it_was(clouds):
    """The steps that follow do not reach it."""
    X, labels = clouds(20)
    head = LogisticHead(X.shape[1])
    steps = training(head, X, labels)
    next(steps)
    other = head.copy()
    before = other.predict_proba(X)
    list(steps)

    assert np.array_equal(other.predict_proba(X), before)
    assert not np.array_equal(head.predict_proba(X), before)


def test_one_class_alone_is_certain(clouds):
    """There is nothing to tell apart, and nothing fails."""
    X, _ = clouds(5)
    head, epochs = trained(X, ["only"] * 5)

    assert len(epochs) == 1
    assert head.predict_proba(X).tolist() == [[1.0]] * 5


def test_features_of_another_length_are_refused(clouds):
    """The head does not learn what it could not predict from."""
    X, labels = clouds(10)
    with pytest.raises(MLModelError, match="12 features, the model has 5"):
        trained(X, labels, head=LogisticHead(5))


def test_checklist_151_an_updated_logistic_model_stays_logistic(clouds, tmp_path):
    """Found elsewhere, loaded from disk and updated with a new label: the same kind, the same penalty."""
    X, labels = clouds(90, noise=0.3)
    two = [at for at in range(90) if labels[at] != "class 2"]
    source, _ = trained(X[two], [labels[at] for at in two])
    head = LogisticHead.fitted(source.classes_, source.coef, source.intercept, L2)
    MLModel(head, is_writable=True).write(to=tmp_path / "model")
    task = MLUpdateTask(tmp_path / "model", MatrixBatchProvider(X, labels))
    task.resume()

    assert task.wait(60)
    assert type(task.model.head) is LogisticHead
    assert task.model.head.classes_ == ("class 0", "class 1", "class 2")
    fresh, _ = trained(X, labels)
    assert np.allclose(task.model.predict_proba(X), fresh.predict_proba(X), atol=1e-3)

"""Findings about pictures: each is planted, found, told with its pictures, and absent where there is nothing."""

from __future__ import annotations

import numpy as np

from edge_agent.doctor import advice
from edge_agent.doctor.findings import Severity
from edge_agent.ml.copies import copy_groups
from edge_agent.ml.fits.protocol import FitData
from edge_agent.ml.label_errors import label_doubts, leave_one_out
from edge_agent.ml.metrics import MLClassifierMetrics


def doubts(one):
    """What leave-one-out doubts."""
    return label_doubts(FitData(one.X, one.y, one.classes))


def test_numbers_of_pictures_and_their_size_are_looked_at(kit):
    """Few, uneven, small: each with its labels; nothing where all is well."""
    kinds = {
        one.kind: one for one in advice.balance({"cat": 40, "dog": 4}, [("a.jpg", 100, 100)], (224, 224))
    }

    assert set(kinds) == {"few-pictures", "unbalanced", "small-pictures"}
    assert kinds["few-pictures"].labels == ("dog",)
    assert "a.jpg (100 x 100)" in kinds["small-pictures"].message
    assert advice.balance({"cat": 40, "dog": 40}, [("a.jpg", 640, 480)], (224, 224)) == []


def test_wrong_labels_come_with_what_to_type(kit):
    """Two of sixty were called by another name: both are listed, with the label they look like."""
    one = kit.recalled(kit.drawn({"cat": 30, "dog": 30, "big owl": 30}), {0: "dog", 70: "cat"})

    [found] = advice.wrong_labels(one, doubts(one))

    told = {fact["source"]: (fact["label"], fact["suggested"]) for fact in found.samples}
    assert told == {"wrong0.jpg": ("dog", "big owl"), "wrong70.jpg": ("cat", "dog")}
    first = found.samples[0]
    assert found.command == first["command"]
    owl = next(fact for fact in found.samples if fact["suggested"] == "big owl")
    assert owl["command"] == f"edge-agent samples relabel {owl['digest'][:12]} 'big owl'"
    assert "2 pictures may have the wrong label" in found.message
    assert advice.wrong_labels(one, []) == []


def test_copies_are_told_by_label(kit):
    """A burst is a warning of its own; two single copies of other labels are one hint; the cap is mentioned."""
    one = kit.drawn({"cat": 30, "dog": 30, "owl": 30})
    X = one.X.copy()
    X[1:10] = X[0]
    X[31], X[61] = X[30], X[60]
    one = kit.joined(one.samples, X)

    found = advice.copies(one, copy_groups(one.X), 0)

    assert [(each.severity, each.labels, len(each.samples)) for each in found] == [
        (Severity.WARNING, ("cat",), 9),
        (Severity.HINT, ("dog", "owl"), 2),
    ]
    assert (
        "9 pictures show the same as another one of their label, as in a burst: cat (9 of 30)"
        in found[0].message
    )
    assert "most_near_duplicates" in found[0].message
    assert all(fact["same_as"]["digest"] != fact["digest"] for fact in found[0].samples)
    assert "3 at most are learned from" in advice.copies(one, copy_groups(one.X), 3)[0].message
    assert advice.copies(kit.drawn({"cat": 9}), np.arange(9), 0) == []


def test_one_picture_under_two_labels_is_a_problem(kit):
    """One of the labels is wrong for certain; where the others agree, it is said which."""
    one = kit.drawn({"cat": 10, "dog": 10})
    X = one.X.copy()
    X[10] = X[1] = X[0]
    X[11] = X[2]
    one = kit.joined(one.samples, X)

    found = advice.copies(one, copy_groups(one.X), 0)

    assert (found[0].kind, found[0].severity, found[0].labels) == (
        "two-labels",
        Severity.PROBLEM,
        ("cat", "dog"),
    )
    assert len(found[0].samples) == 5
    [odd] = [fact for fact in found[0].samples if "command" in fact]
    assert (odd["label"], odd["command"]) == ("dog", f"edge-agent samples relabel {odd['digest'][:12]} cat")
    assert found[0].command == odd["command"]
    assert "2 pictures are there under two labels (cat and dog)" in found[0].message


def test_strangers_are_told_unless_their_label_is_doubted(kit):
    """What looks like nothing else is named; what looks like another label is the other finding's business."""
    one = kit.drawn({"cat": 30, "dog": 30}, D=64)
    X = one.X.copy()
    X[3] = 0
    X[3, 5] = 9.0
    one = kit.joined(one.samples, X)
    row = int(np.flatnonzero(one.X[:, 5] == 9.0)[0])

    [found] = advice.strangers(one, [])

    assert [fact["digest"] for fact in found.samples] == [one.samples[row].digest]
    assert found.command == f"edge-agent forget --sample {one.samples[row].digest[:12]}"
    assert advice.strangers(one, [row]) == []


def test_labels_that_are_mixed_up_are_told_in_pairs(kit):
    """Two labels of the same look; the third is not in it."""
    one = kit.drawn({"cat": 30, "dog": 30, "owl": 30}, noise=0.3)
    X = one.X.copy()
    X[30:60] = X[:30].mean(axis=0) + 0.5 * np.random.default_rng(2).random((30, 64))
    X[:30] = X[:30].mean(axis=0) + 0.5 * np.random.default_rng(3).random((30, 64))
    one = kit.joined(one.samples, X)
    P = leave_one_out(FitData(one.X, one.y, one.classes))

    [found] = advice.confusions(one, P, [])

    assert found.labels == ("cat", "dog")
    wrong = int((P.argmax(axis=1) != one.y).sum())
    assert len(found.samples) == wrong
    assert f"cat and dog are mixed up: {wrong} of 60 pictures" in found.message
    assert {fact["taken_for"] for fact in found.samples} == {"cat", "dog"}
    assert all(fact["command"] == advice.relabel(fact["digest"], fact["taken_for"]) for fact in found.samples)
    assert found.command == found.samples[0]["command"]
    assert advice.confusions(one, np.full_like(P, np.nan), []) == []
    assert advice.confusions(one, P, range(len(one))) == []


def test_the_weakest_labels_are_to_be_photographed_first():
    """Few pictures and bad recognition count; with neither, and enough, there is nothing to say."""
    judged = MLClassifierMetrics.from_labels(["a"] * 20 + ["b"] * 20, ["a"] * 20 + ["b"] * 10 + ["a"] * 10)

    [found] = advice.next_pictures({"a": 20, "b": 20, "c": 3}, judged, "no")

    assert found.labels == ("b", "c")
    assert "b (20 pictures, 50.0 % recognised) and c (3 pictures)" in found.message
    good = MLClassifierMetrics.from_labels(["a"] * 20, ["a"] * 20)
    assert advice.next_pictures({"a": 20}, good, "yes") == []
    assert "all" in advice.next_pictures({"a": 20}, good, "no")[0].message

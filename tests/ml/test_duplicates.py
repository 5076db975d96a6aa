"""The same picture more than once is told of, with what it spoils."""

from __future__ import annotations

from edge_agent.ml.diagnosis import AdviceKind
from edge_agent.ml.duplicates import duplicate_advice
from edge_agent.ml.feature_cache import FileKey
from edge_agent.ml.session_folder import GIVEN, TRAINING, VALIDATION, DataFile


def file(name, label="cat", role=TRAINING):
    """A file of a session; its name begins with what is in it."""
    return DataFile(FileKey(f"/{label}/{name}.jpg", 1, 1), label, role)


def advice(*files):
    """What is said of files whose contents are the first letters of their names."""
    return duplicate_advice(files, lambda one: one.key.path.rpartition("/")[2][0])


def test_different_pictures_need_no_advice():
    """Equal names in different folders are no duplicates."""
    assert advice(file("a"), file("b"), file("c", "dog")) == []


def test_a_picture_that_is_learned_twice_is_named():
    """How many files are too many, and the first of them beside the one it repeats."""
    [one] = advice(file("a1"), file("a2"), file("b1"), file("b2"), file("b3"), file("c", "dog"))

    assert one.kind is AdviceKind.DUPLICATES
    assert one.labels == ("cat",)
    assert one.text == (
        "Of the pictures, 3 are there already, byte for byte, and count twice: /cat/a2.jpg is /cat/a1.jpg and so on."
        " Remove those"
    )


def test_a_picture_that_also_validates_is_named():
    """Whether it was drawn or given to validate by, and however the files are ordered."""
    for role in (VALIDATION, GIVEN):
        [one] = advice(file("a1", role=role), file("a2"), file("b"))

        assert one.kind is AdviceKind.DUPLICATES
        assert (
            "1 to validate by are also learned from, byte for byte, so that validation flatters" in one.text
        )
        assert "/cat/a1.jpg is /cat/a2.jpg. Remove" in one.text


def test_a_picture_under_two_labels_comes_first():
    """One of them is wrong for certain."""
    first, second = advice(file("a"), file("a", "dog"), file("b1"), file("b2"))

    assert (first.kind, second.kind) == (AdviceKind.TWO_LABELS, AdviceKind.DUPLICATES)
    assert first.labels == ("cat", "dog")
    assert "/cat/a.jpg is cat, /dog/a.jpg is dog. Remove the wrong one" in first.text

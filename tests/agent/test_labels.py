"""Names that may be labels, and names that may be printed."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.agent.labels import clean_label, printable
from edge_agent.errors import LabelError


@pytest.mark.parametrize(
    "label", ["cat", "Ampel rot", "v1.2+x", "o'Brien (2)", "猫", "кошка", "हिन्दी", "x" * 64, "_-.", "5"]
)
def test_good_labels_stay_as_they_are(label):
    """Letters of any script, digits, spaces and a few signs make a label."""
    assert clean_label(label) == label


def test_two_spellings_are_one_label():
    """A name in Unicode's decomposed form, as macOS writes it, is the same label as in the composed one."""
    assert clean_label("Ka\u0308tzchen") == clean_label("K\u00e4tzchen") == "K\u00e4tzchen"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        (".hidden", "begins with a dot"),
        ("..", "begins with a dot"),
        (" cat", "space"),
        ("cat ", "space"),
        ("x" * 65, "longer than 64"),
        ("𠀀" * 64, "240 bytes"),
        ("a/b", "'/' is not allowed"),
        ("a\\b", r"'\\\\' is not allowed"),
        ("a\nb", r"'\\x0a' is not allowed"),
        ("a\x00", r"'\\x00'"),
        ("a\u202eb", r"'\\u202e'"),
        ("a\u00a0b", r"'\\xa0'"),
        ("\u0301a", "is not allowed"),
        (os.fsdecode(b"a\xff"), r"'\\xff'"),
        ("a\ud800", r"'\\ud800'"),
        ("a:b", "':' is not allowed"),
        ("😀", "is not allowed"),
    ],
)
def test_bad_labels_are_refused_with_the_reason(text, problem):
    """The error names the problem and what is allowed, and can itself be printed."""
    with pytest.raises(LabelError, match=problem) as caught:
        clean_label(text)

    assert "letters, digits, spaces" in str(caught.value)
    assert str(caught.value).isprintable()


@given(st.text())
def test_a_label_is_a_folder_name(text):
    """Whatever comes in, what comes out can be a folder, and cleaning it again changes nothing."""
    try:
        label = clean_label(text)
    except LabelError:
        return
    assert 0 < len(os.fsencode(label)) <= 255
    assert "/" not in label
    assert label not in (".", "..")
    assert clean_label(label) == label


@given(st.text())
def test_printable_names_can_be_told_apart(text):
    """What is printed has nothing that moves a cursor, and two names never look the same by being escaped."""
    assert printable(text).isprintable()
    assert "\n" not in printable(text)
    if text.isprintable() and "\\" not in text:
        assert printable(text) == text


def test_printable_escapes():
    """Control characters, foreign bytes, marks of direction and backslashes are spelled out."""
    assert printable("a\x1b[31m\n") == r"a\x1b[31m\x0a"
    assert printable(os.fsdecode(b"\xff.jpg")) == r"\xff.jpg"
    assert printable("\u202egpj.exe") == r"\u202egpj.exe"
    assert printable("\U000e0001") == r"\U000e0001"
    assert printable("a\\x0a") == r"a\\x0a"

"""Names become labels as they do for the agent, or are refused with one sentence."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_agent.agent.labels import clean_label
from edge_agent.errors import LabelError, MLCreateError, MLCreateErrorCode
from edge_agent.ml.picture_labels import picture_label, printable_path


@given(st.text(max_size=70))
@example("cafe\u0301")
@example("\u0301e")
@example("black & white")
@example("a/b")
@example(" cat")
@example("ü" * 65)
@example("漢" * 64)
@example("\U0001d4b6" * 64)
@example("caf\udce9")
def test_a_label_is_what_the_agent_takes_for_one(name):
    """The same names become the same labels, and the same names are refused."""
    try:
        wanted = clean_label(name)
    except LabelError:
        with pytest.raises(MLCreateError, match="cannot be a label"):
            picture_label(name, "somewhere")
    else:
        assert picture_label(name, "somewhere") == wanted


@pytest.mark.parametrize("name", ["a\nb", "", ".hidden", "a/b", "caf\udce9", "x" * 65, None, 3, b"cat"])
def test_what_is_no_label_is_refused_in_one_line(name):
    """The text begins with the place and can be printed anywhere."""
    with pytest.raises(MLCreateError) as caught:
        picture_label(name, "pictures/here")

    assert caught.value.code is MLCreateErrorCode.TYPE
    assert str(caught.value).startswith("pictures/here: ")
    assert str(caught.value).isprintable()


def test_a_path_is_one_line():
    """Letters stay as they are; what a terminal cannot show is escaped."""
    assert printable_path("bilder/käse.jpg") == "bilder/käse.jpg"
    assert printable_path("a\nb\udce9") == "a\\nb\\udce9"

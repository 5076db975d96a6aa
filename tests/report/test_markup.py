"""Markup: only ours is markup."""

from __future__ import annotations

from edge_agent.report.markup import Html, element, joined, text


def test_text_is_escaped_in_content_and_in_attributes():
    """Brackets, ampersands and both quotes."""
    made = element("b", "<script>\"&'", title="\"><script>&'")

    assert made == ('<b title="&quot;&gt;&lt;script&gt;&amp;&#x27;">&lt;script&gt;&quot;&amp;&#x27;</b>')


def test_markup_is_not_escaped_again():
    """What an element gave goes into another one as it is."""
    assert element("p", element("b", "<"), " and ", 3) == "<p><b>&lt;</b> and 3</p>"
    assert text(Html("<br>")) == "<br>"
    assert isinstance(joined("a", "b"), Html)


def test_names_of_attributes():
    """Python's reserved words get an underscore, dashes are underscores, None is left out."""
    assert element("td", class_="x", data_value=1, style=None) == '<td class="x" data-value="1"></td>'
    assert element("meta", name="viewport") == '<meta name="viewport">'


def test_what_utf8_cannot_hold_is_written_as_escapes():
    """A file name of arbitrary bytes does not stop the report."""
    assert text("a\udcff") == r"a\udcff"

"""The page: one file, complete, that runs nothing of anybody else's and asks no network."""

from __future__ import annotations

import re
import stat
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from edge_agent.errors import StoreError
from edge_agent.ml.learning_curve import CurvePoint
from edge_agent.ml.metrics import MLClassifierMetrics
from edge_agent.report.facts import JudgedPicture, Measured, ReportFacts, SuspectPicture, report_facts
from edge_agent.report.look import SCRIPT
from edge_agent.report.page import page, write_report
from tests.ml.session_kit import picture_folder, write_picture

NASTY = "<script>alert('x')</script>\"&"
JPEG = b"\xff\xd8 a small picture"


def facts_of(n_labels: int = 3, n_shown: int = 4, prefix: str = "label ") -> ReportFacts:
    """Facts with everything that a page can show."""
    labels = tuple(f"{prefix}{at:03}" for at in range(n_labels))
    pairs = [
        (label, labels[(at + (number < (at + 1) % 4)) % n_labels])
        for at, label in enumerate(labels)
        for number in range(5 + at % 3)
    ]
    true, said = [one for one, _ in pairs], [other for _, other in pairs]
    metrics = MLClassifierMetrics(true, said)
    basis = Measured("Validation", "pictures held out", metrics)
    paths = [Path(f"/photos/{labels[0]}/{prefix.replace('/', '')}{at}.jpg") for at in range(n_shown)]
    return ReportFacts(
        labels=labels,
        pictures=dict.fromkeys(labels, 20),
        folder=Path("/photos"),
        extractor="the latest built-in extractor",
        classifier="logistic",
        head="logistic",
        augmentation="none",
        date=1.7e9,
        seconds=75.0,
        history=[
            {
                "accuracy": 0.5 + at / 50,
                "loss": 1 / (at + 1),
                "validation_accuracy": 0.4,
                "validation_loss": 2.0,
            }
            for at in range(20)
        ],
        converged=True,
        measured=(basis,),
        basis=basis,
        mistakes=tuple(JudgedPicture(one, labels[0], labels[1], 0.9, 0.05, "test") for one in paths),
        n_mistakes=100,
        suspects=tuple(SuspectPicture(one, labels[0], labels[1], 0.8) for one in paths),
        n_suspects=n_shown,
        curve=(CurvePoint(1, (0.5, 0.6)), CurvePoint(5, (0.7, 0.8)), CurvePoint(12, (0.8, 0.85))),
        conclusion="Photograph more.",
        advice=("Take other pictures.",),
        warnings=("There are few.",),
        unreadable={f"/photos/{prefix.replace('/', '')}bad.jpg": "not a picture"},
    )


class Reader(HTMLParser):
    """What elements and attributes there are, and whether each that begins also ends."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in {"img", "meta", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data


def read(facts: ReportFacts, small: dict[Path, bytes] | None = None) -> Reader:
    """The page of facts."""
    reader = Reader(page(facts, small or {}))
    assert reader.open == []
    return reader


def test_nothing_is_fetched():
    """No address of a network in anything that loads; pictures are in the page; the policy forbids the rest."""
    facts = facts_of()
    reader = read(facts, {one.path: JPEG for one in facts.mistakes})

    sources = [
        value or ""
        for _, attributes in reader.elements
        for name, value in attributes.items()
        if name in {"src", "href", "xlink:href", "srcset", "data", "action", "background"}
    ]
    assert sources
    assert all(one.startswith(("data:image/jpeg;base64,", "#")) for one in sources)
    assert not {"link", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in reader.elements}
    text = page(facts, {})
    assert not re.search(r"@import|url\((?!#)", text)
    assert set(re.findall(r"https?://[^\"' <)]*", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    policy = next(a["content"] for tag, a in reader.elements if tag == "meta" and "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'")


@pytest.mark.parametrize("n_labels", [3, 40])
def test_labels_and_names_cannot_become_markup(n_labels):
    """A label, a file, a reason, an advice with a script in it is shown as it is written, everywhere."""
    facts = replace(
        facts_of(n_labels, prefix=NASTY),
        conclusion=NASTY,
        advice=(NASTY,),
        warnings=(NASTY,),
        extractor=NASTY,
        augmentation=NASTY,
        folder=Path("/photos") / NASTY,
        unreadable={f"/photos/{NASTY}": NASTY},
    )
    reader = read(facts, {facts.mistakes[0].path: JPEG})

    assert [tag for tag, _ in reader.elements].count("script") == 1
    assert reader.words.count("<script>alert('x')</script>") > 10
    assert not [name for _, given in reader.elements for name in given if name.startswith("on")]
    # Our script is the only one, and the policy knows it by its sum, so that no other would run.
    assert page(facts, {}).count(SCRIPT) == 1


def test_names_of_any_bytes_and_directions_are_shown_with_escapes():
    """A name that is no text, or that turns the line around, is written as it would be in Python."""
    facts = facts_of()
    odd = [Path("/photos/a\udcff.jpg"), Path("/photos/gpj.\u202eexe"), Path("/photos/two\nlines.jpg")]
    mistakes = tuple(replace(facts.mistakes[0], path=one) for one in odd)

    text = page(replace(facts, mistakes=mistakes), dict.fromkeys(odd, JPEG))

    assert text.encode()
    for shown in (r"a\udcff.jpg", r"gpj.\u202eexe", r"two\nlines.jpg"):
        assert f">{shown}</code>" in text


def test_everything_that_is_asked_for_is_there():
    """Each part has its heading; the figures are in the words of the page."""
    words = read(facts_of()).words

    for heading in (
        "What the classifier learned",
        "What to do",
        "Would more pictures help?",
        "Label by label",
        "What is taken for what",
        "The worst mistakes",
        "Labels that may be wrong",
        "Iteration by iteration",
        "Files that could not be read",
    ):
        assert heading in words
    for said in (
        "Photograph more.",
        "Take other pictures.",
        "There are few.",
        "1 min 15 s",
        "60 of 3 labels",
    ):
        assert said in words
    assert "4 of 100 pictures" in words
    assert "label 000/label 2.jpg" in words
    assert "bad.jpg not a picture" in words


def test_what_there_is_none_of_is_said():
    """A report without mistakes, doubts, curve or advice says so instead of showing empty parts."""
    bare = replace(
        facts_of(),
        mistakes=(), n_mistakes=0, suspects=(), n_suspects=0, curve=(), advice=(), warnings=(),
        unreadable={}, history=[{"accuracy": 1.0, "loss": 0.1}], seconds=None,
    )  # fmt: skip

    words = read(bare).words

    for said in (
        "the classifier calls every picture it was tried with by its label",
        "made by classifiers that had not learned the picture",
        "No picture looks clearly",
        "too few pictures",
        "one iteration",
    ):
        assert said in words
    assert "Files that could not be read" not in words
    assert "took" not in words
    assert "It was not trained" in read(replace(bare, history=[])).words


def test_plots_have_titles_that_are_read_out():
    """Each drawing says in words what it shows, and ids do not clash."""
    reader = read(facts_of())

    drawings = [given for tag, given in reader.elements if tag == "svg"]
    ids = [given["id"] for _, given in reader.elements if "id" in given]
    assert [one["role"] for one in drawings] == ["img"] * 3
    assert all(one["aria-labelledby"] in ids for one in drawings)
    assert len(set(ids)) == len(ids)
    assert "from 55.0 % with 1 to 82.5 % with 12" in reader.words


def test_a_picture_that_cannot_be_shown_is_a_grey_box():
    """Its caption is there all the same."""
    facts = facts_of(n_shown=2)
    reader = read(facts, {facts.mistakes[0].path: JPEG})

    assert [tag for tag, _ in reader.elements].count("img") == 2  # as a mistake and as a doubt
    assert reader.words.count("cannot be shown") == 2


@pytest.mark.parametrize("n_labels", [2, 15, 16, 200])
def test_any_number_of_labels_gives_a_page_of_bounded_size(n_labels):
    """Few labels make a matrix, many a list of the frequent confusions; 200 are less than a megabyte."""
    facts = facts_of(n_labels, n_shown=24)
    small = {one.path: bytes(4000) for one in facts.mistakes}

    text = page(facts, small)

    assert ('class="confusion"' in text) == (n_labels <= 15)
    assert text.count('<th scope="row" data-value="label') == n_labels
    assert len(text.encode()) < 1_000_000


def test_long_lists_and_histories_are_shortened():
    """10,000 unreadable files and 1,000 iterations do not fill the page."""
    facts = replace(
        facts_of(),
        unreadable={f"/photos/{at:05}.jpg": "not a picture" for at in range(10_000)},
        history=[{"accuracy": 0.9, "loss": 0.1}] * 1000,
    )
    reader = read(facts)

    assert "10000 files took no part" in reader.words
    assert "and 9900 more" in reader.words
    assert len(page(facts, {})) < 300_000


def test_the_same_facts_give_the_same_page():
    """Nothing of the moment is in it."""
    assert page(facts_of(), {}) == page(facts_of(), {})


def test_checklist_154_labels_are_a_table_that_sorts_by_each_column():
    """Item count, precision and recall of each label; each cell has the value that its column sorts by."""
    facts = facts_of(12)
    text = page(facts, {})
    table = re.search(r'<table class="sortable">.*?</table>', text, re.DOTALL)
    assert table is not None
    columns = re.findall(r'<th scope="col"[^>]*>([^<]*)</th>', table[0])
    rows = [re.findall(r'data-value="([^"]*)"', row) for row in table[0].split("<tr>")[2:]]

    assert columns == ["label", "pictures", "judged", "precision", "recall"]
    for column, name in ((0, "label"), (2, "count"), (3, "precision"), (4, "recall")):
        by_page = sorted(rows, key=lambda row: row[column] if column == 0 else float(row[column]))
        by_metrics = facts.basis.metrics.per_class_rows(name)
        assert [row[0] for row in by_page] == [row["label"] for row in by_metrics]
        assert len({row[column] for row in rows}) > 1
    # Without scripts it is read as it stands: by label, headings that are plain text.
    assert [row[0] for row in rows] == sorted(facts.labels)
    assert "<button" not in table[0]


def test_checklist_154_accuracy_of_each_iteration_is_drawn_and_written(trained, tmp_path):
    """What the history of the result says stands in the table, for training and validation."""
    session, result = trained(picture_folder(tmp_path / "data", per_label=30))
    text = page(report_facts(session, result), {})

    rows = re.findall(r'<tr><th scope="row">(\d+)</th><td>([\d.]+) %</td><td>([\d.]+) %</td>', text)
    assert [int(row[0]) for row in rows] == [*range(1, len(result.history) + 1)]
    for row, (_, accuracy, validation) in zip(result.history, rows, strict=True):
        assert float(accuracy) == pytest.approx(100 * row["accuracy"], abs=0.05)
        assert float(validation) == pytest.approx(100 * row["validation_accuracy"], abs=0.05)
    assert "Accuracy over" in text


def test_a_report_is_written_in_one_step(trained, tmp_path):
    """From a real session, readable by others; pictures that nobody can decode are boxes."""
    data = picture_folder(tmp_path / "data", per_label=15)
    write_picture(data / "cat" / "planted.jpg", "dog", 77)
    facts = report_facts(*trained(data))
    asked: list[Path] = []
    target = tmp_path / "r.html"
    target.write_text("an older one")

    write_report(target, facts, thumbnails_of=lambda paths: asked.extend(paths) or {})

    assert target.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert stat.S_IMODE(target.stat().st_mode) == 0o644
    assert set(asked) == {one.path for one in (*facts.mistakes, *facts.suspects)}
    with pytest.raises(StoreError, match="planted"):
        write_report(data / "cat" / "planted.jpg" / "r.html", facts, thumbnails_of=lambda paths: {})


def test_thumbnails_of_real_files_are_embedded(tmp_path):
    """The pictures come from a child process and stand in the page as JPEG."""
    path = tmp_path / "a.png"
    Image.new("RGB", (200, 100), "red").save(path)
    facts = facts_of(n_shown=1)
    facts = replace(facts, mistakes=(replace(facts.mistakes[0], path=path),), suspects=())

    write_report(tmp_path / "r.html", facts)

    assert (tmp_path / "r.html").read_text().count("data:image/jpeg;base64,/9j/") == 1

"""The maps of Core ML and Create ML: their tables name what is there, with its raw values; their programs run."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from enum import Enum
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import edge_agent
from edge_agent import (
    Array,
    KNearestNeighborsClassifierBuilder,
    MLKey,
    MLMetricKey,
    MLModel,
    MLParameterKey,
    NeuralNetworkBuilder,
)

DOCS = Path(__file__).resolve().parents[1] / "docs"
MAP = DOCS / "core-ml.md"
CREATE_ML = DOCS / "create-ml.md"

NONE = "—"


class Symbol(NamedTuple):
    """A name of a table: dotted, with the names of arguments and the raw value where they are given."""

    name: str
    arguments: tuple[str, ...] | None
    value: str | None


class Row(NamedTuple):
    """A line of a table."""

    apple: list[Symbol]
    ours: list[Symbol]
    differs: str


def symbols_of(cell: str) -> Iterator[Symbol]:
    """The names in a cell; one that begins with a dot belongs to the last one that does not."""
    whole = ""
    for text in re.findall(r"`([^`]+)`", cell):
        found = re.fullmatch(r"([\w. ]+?)(?:\(([^)]*)\))?(?: = (.+))?", text)
        assert found, f"`{text}` is no name"
        name, arguments, value = found.groups()
        whole = whole if name.startswith(".") else name
        separators = r"[:=, ]+"
        yield Symbol(
            whole + name if name.startswith(".") else name,
            None if arguments is None else tuple(one for one in re.split(separators, arguments) if one),
            value,
        )


def rows_of(text: str) -> list[Row]:
    """The lines of all tables with three columns."""
    rows = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and len(cells) == 3 and cells[1] != "edge_agent":
            rows.append(Row(list(symbols_of(cells[0])), list(symbols_of(cells[1])), cells[2]))
    return rows


ROWS = [row for document in (MAP, CREATE_ML) for row in rows_of(document.read_text(encoding="utf-8"))]
OURS = [symbol for row in ROWS for symbol in row.ours]


def ids(symbol: Symbol) -> str:
    """A name for a test."""
    return symbol.name


EXAMPLES: dict[Any, Any] = {
    KNearestNeighborsClassifierBuilder: lambda: KNearestNeighborsClassifierBuilder("x", "y", 3, "?"),
    MLModel: lambda: MLModel.factory("lda", 3),
    NeuralNetworkBuilder: lambda: NeuralNetworkBuilder([("x", Array(3))]),
}
"""Classes with attributes that only their instances have."""


def resolved(name: str) -> Any:
    """What a dotted name of ours stands for; an attribute that only instances have is its annotation."""
    found: Any = edge_agent
    for part in name.split("."):
        fields = inspect.get_annotations(found) if inspect.isclass(found) else {}
        if not hasattr(found, part) and part in fields:
            found = fields[part]
        elif not hasattr(found, part) and found in EXAMPLES:
            found = getattr(EXAMPLES[found](), part)
        else:
            found = getattr(found, part)
    return found


def raw(value: Any) -> Any:
    """The raw value of a member, or what is there."""
    return value.value if isinstance(value, Enum) else value


def in_snake_case(name: str) -> str:
    """Apple's name as ours would be; capitals do not count."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name.rpartition(".")[2])
    return words.lower()


def snakes(arguments: tuple[str, ...] | None) -> list[str]:
    """Names of arguments as ours would be; `from_` is `from`."""
    return [in_snake_case(one).rstrip("_") for one in arguments or ()]


@pytest.mark.parametrize("symbol", OURS, ids=ids)
def test_every_name_of_ours_is_there(symbol):
    """It can be had from `edge_agent`, takes the arguments named, and has the raw value named."""
    found = resolved(symbol.name)

    if symbol.value is not None:
        assert repr(raw(found)).replace("'", '"') == symbol.value
    if symbol.arguments:
        assert callable(found)
        if symbol.name == "MLFeatureValue":
            with pytest.raises(TypeError) as caught:
                found()
            known = re.findall(r"\w+", str(caught.value))
        else:
            known = list(inspect.signature(found).parameters)
        assert set(symbol.arguments) <= set(known)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: (row.apple or row.ours)[0].name)
def test_every_difference_has_a_reason(row):
    """A name that is not Apple's in snake_case, a raw value that is not Apple's, or no name at all, says why."""
    assert row.apple or row.ours
    if not row.apple:
        assert row.differs
        return
    for apple, ours in zip_longest(row.apple, row.ours):
        same = (
            apple
            and ours
            and in_snake_case(apple.name) == in_snake_case(ours.name)
            and (apple.arguments == ("_",) or snakes(apple.arguments) == snakes(ours.arguments))
        )
        assert same or row.differs, (apple, ours)
        if apple and apple.value is not None:
            assert ours
            assert apple.value == ours.value


def test_every_public_name_has_a_row():
    """What begins with ML, and what else is public but for plugins and programs that ask, is in a table as ours."""
    listed = {part for symbol in OURS for part in [symbol.name.partition(".")[0]]}

    assert set(edge_agent.__all__) - listed == {
        *("Decision", "DelegateChange", "DelegateSpec", "DeviceNode"),
        *("Client", "Prediction", "connect"),
        *("__version__", "hookimpl"),
    }


def test_every_member_of_an_enumeration_has_a_row():
    """Members with their raw values, and all keys; what Apple lacks is there as well."""
    listed = {symbol.name: symbol.value for symbol in OURS}
    for name in edge_agent.__all__:
        kind = getattr(edge_agent, name)
        if inspect.isclass(kind) and issubclass(kind, Enum):
            members = [f"{name}.{one}" for one in kind.__members__]
            assert all(listed.get(one) for one in members) or name == "ImageOption", name
            assert set(members) <= set(listed)
    for kind in (MLMetricKey, MLParameterKey):
        keys = {f"{kind.__name__}.{one}" for one, key in vars(kind).items() if isinstance(key, MLKey)}
        assert keys <= set(listed)


def test_rows_are_read_as_they_are_meant():
    """A small table: members of the name before, arguments, raw values, a dash."""
    [first, second] = rows_of(
        "| Apple | edge_agent | why |\n|---|---|---|\n"
        "| `A`: `.b(c:d:) = 3` | `A`: `.b(c=, d_=) = 3` | |\n| `E` | — | none |\n"
    )

    assert first.apple == [Symbol("A", None, None), Symbol("A.b", ("c", "d"), "3")]
    assert first.ours[1] == Symbol("A.b", ("c", "d_"), "3")
    assert second == Row([Symbol("E", None, None)], [], "none")
    assert in_snake_case("X.allowLowPrecisionAccumulationOnGPU") == "allow_low_precision_accumulation_on_gpu"
    assert in_snake_case("X.cpuAndGPU") == in_snake_case("X.CPU_AND_GPU") == "cpu_and_gpu"
    with pytest.raises(AttributeError):
        resolved("MLTask.nothing")


def output_of(document: Path, folder: Path) -> str:
    """What all blocks of Python in a document print, run in their order as one program in a folder."""
    blocks = re.findall(r"^```python\n(.*?)^```$", document.read_text(encoding="utf-8"), re.M | re.S)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(blocks)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_program_of_create_ml_runs(tmp_path):
    """It is cancelled, goes on through the phases, learns more, and prints the advice that the text quotes."""
    text = " ".join(CREATE_ML.read_text(encoding="utf-8").split())

    cancelled, *phases, advice = output_of(CREATE_ML, tmp_path).splitlines()

    assert cancelled == "cancelled"
    assert phases == ["extracting_features", "training", "evaluating"]
    assert f"*{advice}*" in text
    found = {path.name for path in tmp_path.iterdir()}
    assert found == {"Things", "Session", "Classifier", "More", "Pets"}
    listed = set(re.findall(r"^\| `([\w.]+)[`/]", text_of("A session's folder"), re.M))
    assert {path.name for path in (tmp_path / "Session").iterdir()} == listed


def text_of(heading: str) -> str:
    """A part of the map of Create ML."""
    return CREATE_ML.read_text(encoding="utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]


def test_the_programs_run(tmp_path):
    """All blocks of Python, in their order, are one program; it is told of every epoch and recognises a cat."""
    first, *epochs, last = output_of(MAP, tmp_path).splitlines()
    assert (first, last) == ("begins", "cat")
    losses = [float(line.split()[1]) for line in epochs]
    assert len(losses) == 30
    assert losses[-1] < losses[0] / 5
    assert {path.name for path in tmp_path.iterdir()} == {"Animals", "Mine", "MyStickers", "Stickers"}


@pytest.mark.parametrize(("document", "count"), [(MAP, 7), (CREATE_ML, 6)], ids=["core-ml", "create-ml"])
def test_swift_and_python_stand_side_by_side(document, count):
    """Every row of the guide has one block of each, and neither is much longer than the other."""
    text = document.read_text(encoding="utf-8")
    table = text.partition("<table>")[2].partition("</table>")[0]

    rows = re.findall(r"```swift\n(.*?)```\n\n</td><td>\n\n```python\n(.*?)```", table, re.S)
    assert len(rows) == table.count("```swift") == table.count("```python") == count
    assert all(max(map(len, block.splitlines())) <= 70 for row in rows for block in row)

"""A TFLite file is read before native code sees it, whole or damaged."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.errors import DamagedError
from edge_agent.vision.flatbuffer import Table
from edge_agent.vision.graph import Graph, GraphSignature, read_graph

SMALL = Path(__file__).parent / "data" / "trainable_classifier.tflite"

FOREIGN = [
    ("coral_model_invoking_error.tflite", {"fake-op-double"}),
    ("litert_multi_add_flex.tflite", {"FlexAddV2"}),
    ("tflm_person_detect_vela.tflite", {"ethos-u"}),
    ("train_linreg_flex_save_restore.tflite", {"FlexRestoreV2", "FlexSaveV2"}),
]

BROKEN = [
    ("flutter_bad_model.tflite", "TFL3"),
    ("litert_0_subgraphs.tflite", "no graph"),
    ("made_bad_root_offset.tflite", "points to byte"),
    ("made_header64.tflite", "points to byte"),
    ("made_truncated_half.tflite", "points to byte"),
    ("made_wrong_identifier.tflite", "TFL3"),
    ("made_zero_bytes.tflite", "TFL3"),
]


def test_signatures_are_read() -> None:
    """Names, inputs and outputs of every signature, each with its graph; no operator is foreign."""
    graph = read_graph(SMALL.read_bytes())

    assert set(graph.signatures) == {"train", "infer", "get_weights", "set_weights"}
    assert graph.signatures["train"].inputs == ("learning_rate", "x", "y")
    assert graph.signatures["train"].outputs == ("loss",)
    assert graph.signatures["get_weights"].inputs == ()
    assert len({one.subgraph for one in graph.signatures.values()}) == 4
    assert graph.custom_operators(graph.signatures) == []


@pytest.mark.parametrize(("file", "operators"), FOREIGN)
def test_operators_that_are_not_built_in_are_named(file: str, operators: set[str], testdata: Path) -> None:
    """Select TF operators, an accelerator's and anybody's own."""
    graph = read_graph((testdata / "models" / "odd" / file).read_bytes())

    assert frozenset().union(*graph.custom_by_subgraph) == operators


def test_only_what_a_signature_may_run_counts() -> None:
    """Operators of another signature do not count; those of a graph that is nobody's own always do."""
    signatures = {name: GraphSignature(name, (), (), index) for index, name in enumerate(("a", "b"))}
    graph = Graph(signatures, (frozenset({"A"}), frozenset({"B"}), frozenset({"Loop"})))

    assert graph.custom_operators(["a"]) == ["A", "Loop"]
    assert graph.custom_operators(["b"]) == ["B", "Loop"]
    assert graph.custom_operators(["a", "b"]) == ["A", "B", "Loop"]


def test_a_graph_shared_by_two_signatures_counts_for_both() -> None:
    """Leaving out one signature does not hide what another runs in the same graph."""
    signatures = {name: GraphSignature(name, (), (), 0) for name in ("a", "b")}

    assert Graph(signatures, (frozenset({"A"}),)).custom_operators(["a"]) == ["A"]


def test_every_shared_model_is_read_or_refused_with_a_reason(testdata: Path) -> None:
    """Whatever is in the collection of odd and ordinary models, only our error comes out."""
    read, refused = 0, 0
    for path in sorted((testdata / "models").rglob("*.tflite")):
        try:
            read_graph(path.read_bytes())
            read += 1
        except DamagedError as error:
            refused += 1
            assert str(error)  # noqa: PT017
    assert read > 50
    assert refused >= len(BROKEN)


@pytest.mark.parametrize(("file", "reason"), BROKEN)
def test_broken_models_are_refused_with_their_reason(file: str, reason: str, testdata: Path) -> None:
    """Other kinds of files, files cut off and files whose distances lead nowhere."""
    with pytest.raises(DamagedError, match=reason):
        read_graph((testdata / "models" / "odd" / file).read_bytes())


def test_a_thousand_damaged_files_give_only_our_error(
    mutations: Callable[[bytes, int], Iterator[bytes]],
) -> None:
    """Cut off or with bytes changed: the file is still read, or refused as damaged, and nothing else."""
    refused = 0
    for data in mutations(SMALL.read_bytes(), 1000):
        try:
            read_graph(data)
        except DamagedError:
            refused += 1
    assert 250 < refused < 1000


def test_every_cut_is_refused_or_harmless() -> None:
    """A file cut off at any byte up to its tables raises our error."""
    data = SMALL.read_bytes()
    for length in range(2000):
        with pytest.raises(DamagedError):
            read_graph(data[:length])


def hostile(n_items: int) -> bytes:
    """A vector that names one table `n_items` times; that table's own vector has as many items."""
    vtable = struct.pack("<HHHxx", 6, 8, 4)
    table = struct.pack("<iI", 8, 4)
    vector = struct.pack("<I", n_items)
    # After the identifier: vtable at 8, table at 16, its vector at 24; then the same once more.
    begin = 28 + 4 * n_items
    first = b"".join(struct.pack("<I", begin + 8 - (28 + 4 * index)) for index in range(n_items))
    second = bytes(4 * n_items)
    outer = struct.pack("<I4s", 16, b"TEST") + vtable + table + vector + first
    return outer + vtable + table + vector + second


def read_twice(data: bytes) -> int:
    """How many tables there are in the vectors of the tables of the first vector."""
    return sum(len(inner.tables(0)) for inner in Table.root(data, b"TEST").tables(0))


def test_tables_that_repeat_themselves_are_given_up() -> None:
    """Two rounds through vectors that name tables over and over are cut short, not gone through."""
    assert read_twice(hostile(2)) == 4

    with pytest.raises(DamagedError, match="over and over"):
        read_twice(hostile(100_000))


def test_a_text_shared_over_and_over_is_given_up() -> None:
    """The budget is spent by texts too, so that a megabyte is not read a million times."""
    text = b"x" * 1000
    vtable = struct.pack("<HHHxx", 6, 8, 4)
    table = struct.pack("<iI", 8, 4)
    data = struct.pack("<I4s", 16, b"TEST") + vtable + table + struct.pack("<I", len(text)) + text
    root = Table.root(data, b"TEST")

    assert root.text(0) == text.decode()
    with pytest.raises(DamagedError, match="over and over"):
        [root.text(0) for _ in range(10)]

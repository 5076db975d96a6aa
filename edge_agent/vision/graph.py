"""This is where a TFLite file is asked what it can do, before native code sees it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import starmap

from edge_agent.errors import DamagedError
from edge_agent.vision.flatbuffer import Table
from edge_agent.vision.tflite_schema import (
    IDENTIFIER,
    ModelField,
    Operator,
    OperatorCodeField,
    OperatorField,
    SignatureField,
    SubGraphField,
    TensorMapField,
)

FLEX = "Flex"
"""What the names of operators of full TensorFlow ("Select TF") begin with."""


@dataclass(frozen=True)
class GraphSignature:
    """A part of the model that can be called by name, with the names of what it takes and gives."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    subgraph: int


@dataclass(frozen=True)
class Graph:
    """What a file says of itself."""

    signatures: Mapping[str, GraphSignature]
    custom_by_subgraph: tuple[frozenset[str], ...]
    """The operators of each subgraph that are not built into TFLite."""

    def custom_operators(self, signatures: Collection[str]) -> list[str]:
        """The operators that are not built in and that the named signatures may come to, sorted.

        A subgraph that is no signature's own (the body of a loop, the setting up of variables) counts for
        all of them.
        """
        not_wanted = {one.subgraph for name, one in self.signatures.items() if name not in signatures}
        not_wanted -= {self.signatures[name].subgraph for name in signatures if name in self.signatures}
        found = [names for index, names in enumerate(self.custom_by_subgraph) if index not in not_wanted]
        return sorted(frozenset().union(*found))


def read_graph(data: bytes) -> Graph:
    """The signatures and operators of a `.tflite` file; no time or memory beyond its size is spent.

    Raises `DamagedError` for bytes that are not a TFLite model or not a whole one.
    """
    model = Table.root(data, IDENTIFIER)
    codes = [_custom_name(code) for code in model.tables(ModelField.OPERATOR_CODES)]
    subgraphs = model.tables(ModelField.SUBGRAPHS)
    if not subgraphs:
        raise DamagedError("it holds no graph")
    custom = tuple(starmap(_custom_operators, ((number, one, codes) for number, one in enumerate(subgraphs))))
    signatures: dict[str, GraphSignature] = {}
    for table in model.tables(ModelField.SIGNATURES):
        signature = _signature(table, subgraphs)
        if signature.name in signatures:
            raise DamagedError(f"two signatures are named {signature.name!r}")
        signatures[signature.name] = signature
    return Graph(signatures, custom)


def _custom_name(code: Table) -> str | None:
    """The name of an operator that is not built in, else None."""
    # The first field was one byte; files with newer operators fill the other, older files only the first.
    number = max(code.int8(OperatorCodeField.OLD_CODE), code.int32(OperatorCodeField.CODE))
    return (
        (code.text(OperatorCodeField.CUSTOM_NAME) or "without a name") if number == Operator.CUSTOM else None
    )


def _custom_operators(number: int, subgraph: Table, codes: list[str | None]) -> frozenset[str]:
    found = set()
    for operator in subgraph.tables(SubGraphField.OPERATORS):
        index = operator.uint32(OperatorField.CODE_INDEX)
        if index >= len(codes):
            raise DamagedError(f"graph {number} has an operator {index} of {len(codes)}")
        found.add(codes[index])
    return frozenset(name for name in found if name is not None)


def _signature(table: Table, subgraphs: list[Table]) -> GraphSignature:
    name, subgraph = table.text(SignatureField.KEY), table.uint32(SignatureField.SUBGRAPH)
    if subgraph >= len(subgraphs):
        raise DamagedError(f"signature {name!r} belongs to graph {subgraph} of {len(subgraphs)}")
    n_tensors = subgraphs[subgraph].count(SubGraphField.TENSORS)
    ports = []
    for field in (SignatureField.INPUTS, SignatureField.OUTPUTS):
        names = []
        for port in table.tables(field):
            if port.uint32(TensorMapField.TENSOR) >= n_tensors:
                raise DamagedError(
                    f"signature {name!r} names tensor {port.uint32(TensorMapField.TENSOR)} of {n_tensors}"
                )
            names.append(port.text(TensorMapField.NAME))
        ports.append(tuple(names))
    return GraphSignature(name, ports[0], ports[1], subgraph)

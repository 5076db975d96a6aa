"""This is where a TFLite file is asked what it can do, before native code sees it.

Fields are numbered as in the schema of TensorFlow Lite, version 3 (`schema.fbs`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import starmap

from edge_agent.errors import DamagedError
from edge_agent.vision.flatbuffer import Table

FLEX = "Flex"
"""What the names of operators of full TensorFlow ("Select TF") begin with."""

_IDENTIFIER = b"TFL3"
_CUSTOM = 32  # BuiltinOperator.CUSTOM

# Fields by table: Model, SubGraph, Operator, OperatorCode, SignatureDef, TensorMap.
_OPERATOR_CODES, _SUBGRAPHS, _SIGNATURES = 1, 2, 7
_TENSORS, _OPERATORS = 0, 3
_OPCODE_INDEX = 0
_OLD_CODE, _CUSTOM_CODE, _CODE = 0, 1, 3
_INPUTS, _OUTPUTS, _KEY, _SUBGRAPH = 0, 1, 2, 4
_NAME, _TENSOR = 0, 1


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
    model = Table.root(data, _IDENTIFIER)
    codes = [_custom_name(code) for code in model.tables(_OPERATOR_CODES)]
    subgraphs = model.tables(_SUBGRAPHS)
    if not subgraphs:
        raise DamagedError("it holds no graph")
    custom = tuple(starmap(_custom_operators, ((number, one, codes) for number, one in enumerate(subgraphs))))
    signatures: dict[str, GraphSignature] = {}
    for table in model.tables(_SIGNATURES):
        signature = _signature(table, subgraphs)
        if signature.name in signatures:
            raise DamagedError(f"two signatures are named {signature.name!r}")
        signatures[signature.name] = signature
    return Graph(signatures, custom)


def _custom_name(code: Table) -> str | None:
    """The name of an operator that is not built in, else None."""
    # The first field was one byte; files with newer operators fill the other, older files only the first.
    number = max(code.int8(_OLD_CODE), code.int32(_CODE))
    return (code.text(_CUSTOM_CODE) or "without a name") if number == _CUSTOM else None


def _custom_operators(number: int, subgraph: Table, codes: list[str | None]) -> frozenset[str]:
    found = set()
    for operator in subgraph.tables(_OPERATORS):
        index = operator.uint32(_OPCODE_INDEX)
        if index >= len(codes):
            raise DamagedError(f"graph {number} has an operator {index} of {len(codes)}")
        found.add(codes[index])
    return frozenset(name for name in found if name is not None)


def _signature(table: Table, subgraphs: list[Table]) -> GraphSignature:
    name, subgraph = table.text(_KEY), table.uint32(_SUBGRAPH)
    if subgraph >= len(subgraphs):
        raise DamagedError(f"signature {name!r} belongs to graph {subgraph} of {len(subgraphs)}")
    n_tensors = subgraphs[subgraph].count(_TENSORS)
    ports = []
    for field in (_INPUTS, _OUTPUTS):
        names = []
        for port in table.tables(field):
            if port.uint32(_TENSOR) >= n_tensors:
                raise DamagedError(f"signature {name!r} names tensor {port.uint32(_TENSOR)} of {n_tensors}")
            names.append(port.text(_NAME))
        ports.append(tuple(names))
    return GraphSignature(name, ports[0], ports[1], subgraph)

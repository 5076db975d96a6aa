"""This is where a TFLite file says what it takes and gives, in the metadata format other programs read too.

A buffer named TFLITE_METADATA holds a FlatBuffer of the kind "M001"; files it speaks of, such as the labels,
are in a zip archive behind the model.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edge_agent.errors import DamagedError
from edge_agent.vision.flatbuffer import Table
from edge_agent.vision.flatbuffer_writer import (
    Field,
    NewTable,
    Numbers,
    Scalar,
    Tables,
    Text,
    write_flatbuffer,
)
from edge_agent.vision.graft import METADATA
from edge_agent.vision.tflite_schema import IDENTIFIER as MODEL_IDENTIFIER
from edge_agent.vision.tflite_schema import BufferField, MetadataField, ModelField

LABELS = "labels.txt"
NOTES = "notes.json"
"""What the creator of the model defined, text by text."""

IDENTIFIER = b"M001"
PARSER_VERSION = "1.0.0"
"""The oldest reader that understands every field written here."""

_DESCRIPTIONS, _AXIS_LABELS = 1, 2  # AssociatedFileType
_FEATURE_PROPERTIES, _IMAGE_PROPERTIES = 1, 2  # ContentProperties
_NORMALIZATION = 1  # ProcessUnitOptions
_RGB = 1  # ColorSpaceType

# Fields by table: ModelMetadata, SubGraphMetadata, TensorMetadata, Content, AssociatedFile.
_NAME, _DESCRIPTION, _VERSION, _GRAPHS, _AUTHOR, _LICENSE, _FILES, _PARSER = range(8)
_GRAPH_INPUTS, _GRAPH_OUTPUTS = 2, 3
_CONTENT, _UNITS, _STATS, _TENSOR_FILES = 3, 4, 5, 6
_FILE_TYPE = 2


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What other programs are told about a picture classifier."""

    name: str
    description: str
    version: str
    author: str
    license: str
    input_description: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    labels: tuple[str, ...]
    notes: Mapping[str, str]


def metadata_bytes(card: ModelCard, *, width: int, height: int) -> bytes:
    """The FlatBuffer for the buffer named TFLITE_METADATA."""
    size = NewTable({0: Scalar("I", width), 1: Scalar("I", height)})
    image = NewTable({0: Scalar("b", _RGB), 1: size})
    normalization = NewTable({0: _floats(card.mean), 1: _floats(card.std)})
    taken = NewTable(
        {
            _NAME: Text("image"),
            _DESCRIPTION: Text(card.input_description),
            _CONTENT: NewTable({0: Scalar("B", _IMAGE_PROPERTIES), 1: image}),
            _UNITS: Tables([NewTable({0: Scalar("B", _NORMALIZATION), 1: normalization})]),
            _STATS: NewTable({0: _floats((255.0,)), 1: _floats((0.0,))}),
        }
    )
    given = NewTable(
        {
            _NAME: Text("probability"),
            _DESCRIPTION: Text("The probability of each label, in the order of labels.txt; they sum to 1."),
            _CONTENT: NewTable({0: Scalar("B", _FEATURE_PROPERTIES), 1: NewTable({})}),
            _STATS: NewTable({0: _floats((1.0,)), 1: _floats((0.0,))}),
            _TENSOR_FILES: Tables([_file(LABELS, "The labels, one a line.", _AXIS_LABELS)]),
        }
    )
    fields: dict[int, Field] = {
        _NAME: Text(card.name),
        _DESCRIPTION: Text(card.description),
        _VERSION: Text(card.version),
        _GRAPHS: Tables([NewTable({_GRAPH_INPUTS: Tables([taken]), _GRAPH_OUTPUTS: Tables([given])})]),
        _AUTHOR: Text(card.author),
        _LICENSE: Text(card.license),
        _PARSER: Text(PARSER_VERSION),
    }
    if card.notes:
        fields[_FILES] = Tables([_file(NOTES, "What the creator noted.", _DESCRIPTIONS)])
    return write_flatbuffer(NewTable(fields), IDENTIFIER)


def with_files(model: bytes, card: ModelCard) -> bytes:
    """The model with a zip archive of the labels behind it, not compressed, the same bytes every time."""
    files = {LABELS: "".join(f"{label}\n" for label in card.labels)}
    if card.notes:
        files[NOTES] = json.dumps(dict(card.notes), indent=2, ensure_ascii=False, sort_keys=True) + "\n"
    whole = io.BytesIO(model)
    with zipfile.ZipFile(whole, mode="a") as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name)  # of 1980: when it was written is nothing to tell by
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, text.encode())
    return whole.getvalue()


def read_model_card(data: bytes) -> ModelCard | None:
    """What a TFLite file says of itself; None when it says nothing. Labels may be empty.

    Raises `DamagedError` for bytes that are not a model, and for descriptions or labels that cannot be read.
    """
    model = Table.root(data, MODEL_IDENTIFIER)
    buffers = model.tables(ModelField.BUFFERS)
    for entry in model.tables(ModelField.METADATA):
        if entry.text(MetadataField.NAME) == METADATA:
            index = entry.uint32(MetadataField.BUFFER)
            if index >= len(buffers):
                raise DamagedError(f"its metadata is in buffer {index} of {len(buffers)}")
            return _card(Table.root(buffers[index].raw(BufferField.DATA), IDENTIFIER), data)
    return None


def _card(root: Table, data: bytes) -> ModelCard:
    graphs = root.tables(_GRAPHS)
    taken = graphs[0].tables(_GRAPH_INPUTS) if graphs else []
    given = graphs[0].tables(_GRAPH_OUTPUTS) if graphs else []
    mean, std = _normalization(taken[0]) if taken else ((), ())
    names = [
        file.text(_NAME)
        for tensor in given
        for file in tensor.tables(_TENSOR_FILES)
        if file.int8(_FILE_TYPE) == _AXIS_LABELS
    ]
    notes = [file.text(_NAME) for file in root.tables(_FILES) if file.text(_NAME) == NOTES]
    files = _read_files(data, [*names[:1], *notes])
    return ModelCard(
        name=root.text(_NAME),
        description=root.text(_DESCRIPTION),
        version=root.text(_VERSION),
        author=root.text(_AUTHOR),
        license=root.text(_LICENSE),
        input_description=taken[0].text(_DESCRIPTION) if taken else "",
        mean=mean,
        std=std,
        labels=tuple(files[names[0]].removesuffix("\n").split("\n")) if names else (),
        notes=json.loads(files[NOTES]) if notes else {},
    )


def _normalization(tensor: Table) -> tuple[tuple[float, ...], tuple[float, ...]]:
    for unit in tensor.tables(_UNITS):
        options = unit.table(1)
        if unit.uint8(0) == _NORMALIZATION and options is not None:
            return options.numbers(0, "f"), options.numbers(1, "f")
    return (), ()


def _read_files(data: bytes, names: Sequence[str]) -> dict[str, str]:
    if not names:
        return {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {name: archive.read(name).decode() for name in names}
    except (zipfile.BadZipFile, KeyError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise DamagedError(f"the files behind the model cannot be read: {error}") from None


def _file(name: str, description: str, kind: int) -> NewTable:
    return NewTable({_NAME: Text(name), _DESCRIPTION: Text(description), _FILE_TYPE: Scalar("b", kind)})


def _floats(values: Sequence[float]) -> Numbers:
    return Numbers(np.array(values, dtype=np.float32))

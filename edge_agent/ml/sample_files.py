"""This is where samples are kept in a file by value: every feature with its type, and nothing but data.

An npz file: `samples.json` in it says name and type of each feature and has texts and numbers as they are;
arrays and pixels are the other members, which it names. The SHA-256 of all that follows it, 32 bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.features import MLDictionaryFeatureProvider, MLFeatureType, MLFeatureValue
from edge_agent.ml.pixels import MLPixelFormat, PixelBuffer
from edge_agent.ml.sequences import MLSequence
from edge_agent.store.atomic import write_file

FORMAT = 1
"""The version of the layout; another one is refused."""

_INDEX = "samples.json"
_DIGEST_BYTES = 32

Sample = Mapping[str, MLFeatureValue]


def write_samples(path: Path, samples: Iterable[Sample]) -> None:
    """Keep samples as the file `path`, whole or not at all.

    Raises `MLModelError` FEATURE_TYPE, naming the feature, for a value of a type that cannot be kept,
    `StoreError` (`DiskFullError`) with the path when the disk refuses.
    """
    arrays: dict[str, NDArray[Any]] = {}
    listed = [{name: _described(name, value, arrays) for name, value in sample.items()} for sample in samples]
    index = json.dumps({"format": FORMAT, "samples": listed}, ensure_ascii=False)
    # A text with half a surrogate pair is a text too.
    arrays[_INDEX] = np.frombuffer(index.encode("utf-8", "surrogatepass"), dtype=np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    data = buffer.getvalue()
    write_file(path, data + hashlib.sha256(data).digest())


def read_samples(path: Path) -> list[MLDictionaryFeatureProvider]:
    """The samples of a file, as they were.

    Raises `MLModelError` IO with the path when it is missing, damaged or of another format.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    data, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if hashlib.sha256(data).digest() != digest:
        raise _unreadable(path, "its bytes are not the ones that were written")
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        content = json.loads(arrays[_INDEX].tobytes().decode("utf-8", "surrogatepass"))
        if content["format"] != FORMAT:
            raise _unreadable(path, f"format {content['format']!r} is not the one known, {FORMAT}")
        return [
            MLDictionaryFeatureProvider({name: _value(one, arrays) for name, one in sample.items()})
            for sample in content["samples"]
        ]
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise _unreadable(path, f"damaged: {error}") from error


def _described(name: str, value: MLFeatureValue, arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """A value as JSON; what JSON is no good for goes to `arrays`."""

    def put(array: NDArray[Any]) -> str:
        arrays[member := f"array-{len(arrays)}"] = array
        return member

    content: dict[str, Any] = {"type": value.type.name}
    if value.is_undefined:
        return content
    match value.type:
        case MLFeatureType.STRING:
            content["value"] = value.string_value
        case MLFeatureType.INT64:
            content["value"] = value.int64_value
        case MLFeatureType.DOUBLE:
            content["value"] = _exact(value.double_value)
        case MLFeatureType.MULTI_ARRAY:
            content["value"] = put(value.multi_array_value)
        case MLFeatureType.IMAGE:
            picture = value.image_buffer_value
            content |= {"value": put(picture.pixels), "pixel_format": picture.pixel_format.name}
        case MLFeatureType.DICTIONARY:
            content["value"] = [[key, _exact(one)] for key, one in value.dictionary_value.items()]
        case MLFeatureType.SEQUENCE:
            sequence = value.sequence_value
            texts = sequence.kind == "string"
            content |= {
                "kind": sequence.kind,
                "value": list(sequence.string_values if texts else sequence.int64_values),
            }
        case _:
            raise MLModelError(
                MLModelErrorCode.FEATURE_TYPE,
                f"feature {name!r}: a value of type {value.type.name} cannot be kept",
            )
    return content


def _value(content: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> MLFeatureValue:
    """What was described; raises ValueError, KeyError, TypeError or `MLModelError` where it cannot be."""
    kind = MLFeatureType[content["type"]]
    if "value" not in content:
        return MLFeatureValue(undefined=kind)
    value = content["value"]
    match kind:
        case MLFeatureType.STRING:
            return MLFeatureValue(string=value)
        case MLFeatureType.INT64:
            return MLFeatureValue(int64=value)
        case MLFeatureType.DOUBLE:
            return MLFeatureValue(double=_number(value))
        case MLFeatureType.MULTI_ARRAY:
            return MLFeatureValue(multi_array=arrays[value])
        case MLFeatureType.IMAGE:
            pixel_format = MLPixelFormat[content["pixel_format"]]
            return MLFeatureValue(pixel_buffer=PixelBuffer(arrays[value], pixel_format))
        case MLFeatureType.DICTIONARY:
            return MLFeatureValue(dictionary={key: _number(one) for key, one in value})
        case MLFeatureType.SEQUENCE:
            return MLFeatureValue(sequence=MLSequence(**{f"{content['kind']}s": value}))
        case _:
            raise ValueError(f"a value of type {kind.name} cannot have been kept")


def _exact(number: float) -> int | str:
    """A whole number as it is, a double as a text that has every bit of it, also where it is not finite."""
    return number if isinstance(number, int) else number.hex()


def _number(stored: int | str) -> int | float:
    return float.fromhex(stored) if isinstance(stored, str) else stored


def _unreadable(path: Path, problem: str) -> MLModelError:
    return MLModelError(MLModelErrorCode.IO, f"{path}: the samples cannot be read: {problem}")

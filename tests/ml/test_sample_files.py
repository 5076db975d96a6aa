"""Samples in a file: every kind of value comes back as it was, and what is no such file is refused."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.errors import MLModelError, MLModelErrorCode
from edge_agent.ml.features import MLFeatureType, MLFeatureValue
from edge_agent.ml.pixels import MLPixelFormat, PixelBuffer
from edge_agent.ml.sample_files import read_samples, write_samples
from edge_agent.ml.sequences import MLSequence

VALUES = {
    "text": MLFeatureValue(string="käse 🧀"),
    "half": MLFeatureValue(string="\ud83e"),
    "empty": MLFeatureValue(string=""),
    "whole": MLFeatureValue(int64=-(2**63)),
    "number": MLFeatureValue(double=0.1),
    "tiny": MLFeatureValue(double=5e-324),
    "endless": MLFeatureValue(double=float("-inf")),
    "row": MLFeatureValue(multi_array=np.array([1.5, np.inf, -0.0], dtype=np.float32)),
    "cube": MLFeatureValue(multi_array=np.arange(24, dtype=">i2").reshape(2, 3, 4)),
    "point": MLFeatureValue(multi_array=np.array(3.0, dtype=np.float16)),
    "words": MLFeatureValue(dictionary={"a": 0.1, "b": 2}),
    "numbers": MLFeatureValue(dictionary={3: 1.0}),
    "nothing": MLFeatureValue(dictionary={}),
    "strings": MLFeatureValue(sequence=MLSequence(strings=["a", ""])),
    "int64s": MLFeatureValue(sequence=MLSequence(int64s=[2**63 - 1])),
    "none": MLFeatureValue(sequence=MLSequence.empty("int64")),
    "missing": MLFeatureValue(undefined=MLFeatureType.IMAGE),
}


def test_every_kind_of_value_comes_back(tmp_path):
    """With its type, its dtype and every bit."""
    write_samples(tmp_path / "s.npz", [VALUES, {}, {"text": VALUES["text"]}])
    first, second, third = read_samples(tmp_path / "s.npz")

    assert first.dictionary == VALUES
    assert [first[name].type for name in VALUES] == [one.type for one in VALUES.values()]
    for name in ("row", "cube", "point"):
        have, want = first[name].multi_array_value, VALUES[name].multi_array_value
        assert (have.dtype, have.shape, have.tobytes()) == (want.dtype, want.shape, want.tobytes())
    assert [type(one) for one in first["words"].dictionary_value.values()] == [float, int]
    assert second.dictionary == {}
    assert third.dictionary == {"text": VALUES["text"]}


@pytest.mark.parametrize("pixel_format", list(MLPixelFormat))
def test_pictures_come_back(tmp_path, pixel_format):
    """Pixels and format."""
    shape = (2, 3, 3) if pixel_format in (MLPixelFormat.RGB, MLPixelFormat.BGR) else (2, 3)
    kind = np.float16 if pixel_format is MLPixelFormat.GRAYSCALE_FLOAT16 else np.uint8
    pixels = np.arange(np.prod(shape)).reshape(shape).astype(kind)
    write_samples(tmp_path / "s", [{"x": MLFeatureValue(pixel_buffer=PixelBuffer(pixels, pixel_format))}])
    picture = read_samples(tmp_path / "s")[0]["x"].image_buffer_value

    assert picture.pixel_format is pixel_format
    assert np.array_equal(picture.pixels, pixels)


@pytest.mark.parametrize("data", [b"", b"PK", b"text", b"\x93NUMPY\x01\x00garbage"])
def test_what_is_no_such_file_is_refused(tmp_path, data):
    """By its path."""
    path = tmp_path / "s.npz"
    path.write_bytes(data)
    with pytest.raises(MLModelError, match=r"s\.npz") as caught:
        read_samples(path)
    assert caught.value.code is MLModelErrorCode.IO


def test_every_changed_byte_is_refused(tmp_path):
    """Damage never becomes another sample."""
    path = tmp_path / "s.npz"
    write_samples(path, [VALUES])
    data = path.read_bytes()
    for at in range(0, len(data), 7):
        changed = bytearray(data)
        changed[at] ^= 0x5A
        path.write_bytes(changed)
        with pytest.raises(MLModelError, match="not the ones that were written"):
            read_samples(path)


def test_a_missing_file_and_another_format_are_refused(tmp_path, monkeypatch):
    """With the reason."""
    with pytest.raises(MLModelError, match="No such file"):
        read_samples(tmp_path / "none")
    with monkeypatch.context() as newer:
        newer.setattr("edge_agent.ml.sample_files.FORMAT", 9)
        write_samples(tmp_path / "s", [VALUES])
    with pytest.raises(MLModelError, match="format 9"):
        read_samples(tmp_path / "s")

"""One byte a feature: how much is lost, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edge_agent.store.samples import decode_features, encode_features


def half_a_step(row):
    """The promised bound: half of (max - min) / 255, and the rounding of float32."""
    row = row.astype(np.float64)
    return (row.max() - row.min()) / 510 * (1 + 1e-6) + np.abs(row).max() * 2**-23 + 1e-44


@given(
    arrays.arrays(
        np.float32,
        st.integers(1, 40),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    )
)
def test_error_is_at_most_half_a_step(row):
    """Whatever finite numbers come in, each comes back to half a step, and the range is not left."""
    back = decode_features(encode_features(row))

    assert back.dtype == np.float32
    assert np.abs(back.astype(np.float64) - row).max() <= half_a_step(row)


def test_size_and_ends_of_the_range():
    """1280 features take 1288 bytes; the smallest comes back exactly, the largest to rounding."""
    row = np.linspace(-3, 5, 1280, dtype=np.float32)

    data = encode_features(row)

    assert len(data) == 1288
    assert decode_features(data)[0] == -3
    assert decode_features(data)[-1] == pytest.approx(5, rel=1e-6)


def test_range_too_small_for_a_scale():
    """Numbers so close that a 255th of their distance is no float32 still come back as near as float32 allows."""
    row = np.array([0, 50, 100], dtype=np.float32) * np.finfo(np.float32).smallest_subnormal

    assert (decode_features(encode_features(row)) == row).all()


@pytest.mark.parametrize("value", [0.0, -2.5, 1e30])
def test_constant_row_comes_back_exactly(value):
    """A row of one value has no range and loses nothing."""
    row = np.full(5, value, dtype=np.float32)

    assert (decode_features(encode_features(row)) == row).all()


@pytest.mark.parametrize(
    "row",
    [
        np.array([1.0, np.nan], np.float32),
        np.array([np.inf], np.float32),
        np.array([1e39]),
        np.zeros((2, 2), np.float32),
        np.zeros(0, np.float32),
    ],
)
def test_refused(row):
    """Numbers that are not finite float32, and shapes that are no row, are refused."""
    with pytest.raises(ValueError, match="features must be"):
        encode_features(row)

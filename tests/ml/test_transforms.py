"""Raw features as unit vectors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge_agent.ml.transforms import signed_root


def test_it_is_the_signed_root_of_unit_length():
    """The definition, literally."""
    X = np.array([[4.0, -1.0, 0.0]], dtype=np.float32)
    root = np.array([2.0, -1.0, 0.0])

    assert signed_root(X)[0] == pytest.approx(root / np.linalg.norm(root), abs=1e-15)


def test_a_row_of_zeros_stays_zero():
    """No division by zero, no warning."""
    assert signed_root(np.zeros((2, 3), dtype=np.float32)).tolist() == [[0.0] * 3] * 2


def test_the_input_is_left_alone():
    """The transform works on a copy, also where the input is float64 already."""
    X = np.array([[1.0, 3.0]])
    signed_root(X)

    assert X.tolist() == [[1.0, 3.0]]


@given(arrays(np.float32, (2, 4), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_any_finite_row_becomes_a_unit_vector(X):
    """The largest and the smallest numbers of float32 included; the signs are kept."""
    Z = signed_root(X)
    length = np.linalg.norm(Z, axis=1)

    assert np.isfinite(Z).all()
    assert np.allclose(length[np.abs(X).max(axis=1) > 0.0], 1.0)
    assert (np.sign(Z) * np.sign(X) >= 0.0).all()

"""This is where raw features become the unit vectors that every head learns from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def signed_root(X: NDArray[np.floating]) -> NDArray[np.float64]:
    """Signed square root, then unit Euclidean length, row by row: [n, D] -> float64 [n, D].

    z = sign(x) sqrt(|x| / sum |x|). Under Euclidean distance this is the Hellinger distance of the rows seen
    as distributions ("RootSIFT", Arandjelovic and Zisserman, CVPR 2012, with a sign for negative
    activations). It looks at one sample at a time, so adding and removing samples stays exact. A row of zeros
    stays zero.
    """
    # The squared length of sign(x) sqrt|x| is sum |x|: dividing before the root spares a second pass, and
    # float64 keeps the sum of float32 values from overflowing.
    Z: NDArray[np.float64] = np.abs(X, dtype=np.float64)
    length = Z.sum(axis=1, keepdims=True)
    length[length == 0.0] = 1.0
    Z /= length
    np.sqrt(Z, out=Z)
    np.copysign(Z, X, out=Z)
    return Z

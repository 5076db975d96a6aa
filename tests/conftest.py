"""Fixtures every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest

TESTDATA = Path(__file__).resolve().parents[2] / "shared" / "testdata"


@pytest.fixture(scope="session")
def testdata() -> Path:
    """The folder of shared real pictures and models; tests that need it skip without it."""
    if not TESTDATA.is_dir():
        pytest.skip("the shared test data (../shared/testdata) is not on this machine")
    return TESTDATA

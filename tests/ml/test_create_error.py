"""Create ML's error has a code, a text, and what it takes to show both."""

from __future__ import annotations

import pytest

from edge_agent.errors import EdgeAgentError, MLCreateError, MLCreateErrorCode, MLCreateErrorDomain

Code = MLCreateErrorCode


def test_checklist_139_the_codes_are_apples_cases():
    """All six, in Apple's order, with Apple's domain."""
    assert {one.name: one.value for one in Code} == {
        "CANCELLED": 0, "INCOMPATIBLE_PARAMETERS": 1, "MODIFIED_TRAINING_DATA": 2, "IO": 3, "TYPE": 4, "GENERIC": 5,
    }  # fmt: skip
    assert MLCreateError.Code is Code
    assert MLCreateError.domain == MLCreateErrorDomain == "com.apple.CreateML"


@pytest.mark.parametrize("code", Code)
def test_checklist_139_every_error_has_a_code_and_a_text(code):
    """It is one of ours; what happened is its text, what kind of thing that is follows from the code."""
    error = MLCreateError(code, "the folder is gone")

    assert isinstance(error, EdgeAgentError)
    assert (error.code, str(error), error.failure_reason) == (
        code,
        "the folder is gone",
        "the folder is gone",
    )
    assert error.error_description
    assert len({MLCreateError(one, "").error_description for one in Code}) == len(Code)
    assert error.error_user_info == {
        "error_description": error.error_description,
        "failure_reason": "the folder is gone",
    }


def test_checklist_139_incompatible_parameters_are_named_with_both_values():
    """Which parameter, what it was and what it is now; also in the information by name."""
    error = MLCreateError(
        Code.INCOMPATIBLE_PARAMETERS,
        "max_iterations was 25 and is 50",
        parameter="max_iterations",
        original_value=25,
        new_value=50,
    )

    assert (error.parameter, error.original_value, error.new_value) == ("max_iterations", 25, 50)
    assert error.error_user_info.items() >= {
        ("parameter", "max_iterations"),
        ("original_value", 25),
        ("new_value", 50),
    }

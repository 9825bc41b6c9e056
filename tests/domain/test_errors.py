"""Errors say what went wrong in one line."""

from __future__ import annotations

import pytest

from api.problems.codes import PROBLEMS
from domain.errors import DomainError


def subclasses(of: type[DomainError]) -> list[type[DomainError]]:
    return [each for child in of.__subclasses__() for each in (child, *subclasses(child))]


@pytest.mark.parametrize("error", subclasses(DomainError), ids=lambda error: error.__name__)
def test_detail_of_an_error_is_one_line(error: type[DomainError]) -> None:
    made = error.__new__(error)
    DomainError.__init__(made)
    assert made.detail == " ".join(made.detail.split()) != ""


def test_every_code_is_a_problem() -> None:
    assert {error.code for error in subclasses(DomainError) if hasattr(error, "code")} <= {
        *PROBLEMS
    }

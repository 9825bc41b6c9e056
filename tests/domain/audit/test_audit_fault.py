"""A fault is recorded once while it lasts, and again if it returns."""

from __future__ import annotations

from typing import Any

from domain.audit.audit_fault import AuditFault, FaultFound, FaultGone, ReportFault, WithdrawFault
from tests.support.given import given

FIELDS: dict[str, Any] = {"part": "audit", "place": "position 8", "what": "differs", "position": 8}
FOUND = FaultFound(**FIELDS)
STREAM = "fault/f-1"


def test_fault_is_recorded_with_its_subject() -> None:
    state = given(stream=STREAM).when(ReportFault(**FIELDS)).then(FOUND).state
    assert state == AuditFault("f-1", "audit", "position 8", "differs", 8, None)


def test_fault_that_is_found_again_is_not_recorded_again() -> None:
    given(FOUND, stream=STREAM).when(ReportFault(**{**FIELDS, "what": "other words"})).then()


def test_fault_that_returns_is_recorded_again() -> None:
    gone = given(FOUND, FaultGone(), stream=STREAM)
    assert not gone.when(ReportFault(**FIELDS)).then(FOUND).state.gone


def test_fault_is_withdrawn_once() -> None:
    assert given(FOUND, stream=STREAM).when(WithdrawFault()).then(FaultGone()).state.gone
    given(FOUND, FaultGone(), stream=STREAM).when(WithdrawFault()).then()

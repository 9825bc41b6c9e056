"""The admission that a server sends to an edge is decoded to an equal one; other texts are refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from api.access.rights import Role
from api.access.scope import reach_of_owner
from api.streaming.topic import KnownStream
from api.web.streams.admission import Admission, read
from projections.query.ast import EVERYTHING, Condition

ADMISSION = Admission(
    log="a-log",
    name="customer:acme",
    credential="key/key_1",
    parents=("session/s-1",),
    expires_at=datetime(2026, 11, 29, 7, tzinfo=UTC),
    cursor=7,
    head=9,
    scope=EVERYTHING,
    seen_until=0,
    known=KnownStream(8, 3, final=True),
    over=False,
)
SCOPES = [
    EVERYTHING,
    reach_of_owner(Role.CUSTOMER, "acme").condition,
    reach_of_owner(Role.ASSIGNEE, "worker-7", provider="outreach").condition,
]


@pytest.mark.parametrize("scope", SCOPES)
def test_admission_is_decoded_to_an_equal_one(scope: Condition) -> None:
    made = ADMISSION._replace(scope=scope)
    assert read(made.as_json()) == made


def test_admission_without_an_end_and_a_stream_is_decoded_to_an_equal_one() -> None:
    made = ADMISSION._replace(expires_at=None, known=None, parents=())
    assert read(made.as_json()) == made


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"log": "a"}', b'{"scope": {"no": 1}}'])
def test_text_that_is_not_an_admission_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="no admission"):
        read(body)


def test_admission_with_an_unknown_scope_is_refused() -> None:
    body = ADMISSION.as_json().replace(b'"scope":{}', b'"scope":{"colour":"red"}')
    with pytest.raises(ValueError, match="no admission"):
        read(body)

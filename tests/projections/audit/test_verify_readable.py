"""The readable part of a bundle shows only what is proven, even if the holder of the signing key changed it."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import orjson
import pytest

from projections.audit import merkle
from projections.audit.bundle import ProvenEvent, bundle
from projections.audit.leaf import leaf_bytes
from projections.audit.note import TreeCheckpoint
from projections.audit.reader import InclusionProof
from projections.audit.verify_bundle import KIND, MANIFEST, check
from projections.audit.verify_proofs import Wrong
from projections.audit.verify_readable import ACCESSES, EVENTS, REPORT
from projections.representations.cloudevents import envelope
from tests.projections.audit.test_verify_bundle import (
    EVENTS_OF_IT,
    FILES,
    HEAD,
    KEY,
    LOG,
    SIGNER,
    STREAM,
    unpack,
)


def sign_again(name: str, change: Callable[[bytes], bytes]) -> dict[str, bytes]:
    """The bundle with one file changed and signed again."""
    files = FILES | {name: change(FILES[name])}
    assert files[name] != FILES[name]
    lines = [f"{sha256(files[name]).hexdigest()}  {name}" for name in sorted({*files} - {MANIFEST})]
    return files | {MANIFEST: SIGNER.sign("\n".join([KIND, STREAM, *lines, ""])).encode()}


def replace(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda content: content.replace(old, new, 1)


ENVELOPES = {
    "the id": replace(b'"id":"4"', b'"id":"5"'),
    "the source": replace(b'"source":"/api/executions/run-1"', b'"source":"/api/executions/run-2"'),
    "a correlation": replace(b'"datacontenttype"', b'"correlationid":"c","datacontenttype"'),
    "a member more": replace(b'"datacontenttype"', b'"note":"void","datacontenttype"'),
    "a member twice": replace(b'"type":', b'"type":"user.removed","type":'),
    "a member of its data twice": replace(b'"n":1', b'"n":7,"n":1'),
    "true for 1": replace(b'"n":1', b'"n":true'),
    "true for its version": replace(b'"version":1', b'"version":true'),
    "that it was erased": replace(b"}}\n", b'},"erased":true}\n'),
    "that it is unreadable": replace(b"}}\n", b'},"unreadable":true}\n'),
}


@pytest.mark.parametrize("what", ENVELOPES)
def test_changed_readable_event_is_refused(what: str) -> None:
    with pytest.raises(Wrong, match=r"events\.ndjson says|two members of one name"):
        check(sign_again(EVENTS, ENVELOPES[what]), None)


PAGES = {
    "another actor": replace(b"by t<pre>", b"by u<pre>"),
    "another count": replace(b"<code>t (5)</code>", b"<code>t (4), u (1)</code>"),
    "other content": replace(b"&quot;n&quot;: 1", b"&quot;n&quot;: 9"),
    "true for 1": replace(b"&quot;n&quot;: 1", b"&quot;n&quot;: true"),
    "content twice": replace(b"&quot;n&quot;: 1", b"&quot;n&quot;: 9,&quot;n&quot;: 1"),
    "a row less": lambda page: page[: page.index(b"<tr><td>2")] + page[page.index(b"<tr><td>3") :],
    "something before it": replace(b"<h1>", b"<p>All of this is void.</p><h1>"),
    "something hidden": replace(b"h1 {", b"tr:nth-child(2) { display: none } h1 {"),
    "another reader": replace(b"<td>ann</td>", b"<td>bob</td>"),
    "another purpose": replace(b"Invoice 1", b"Invoice 9"),
    "nothing": lambda _: b"",
}


@pytest.mark.parametrize("what", PAGES)
def test_changed_report_is_refused(what: str) -> None:
    with pytest.raises(Wrong, match=r"report\.html shows|two members of one name"):
        check(sign_again(REPORT, PAGES[what]), None)


def test_changed_list_of_reads_is_refused() -> None:
    for change in (
        replace(b'"actor":"ann"', b'"actor":"bob"'),
        replace(b'"actor":"ann"', b'"actor":"ann","purpose":"none"'),
    ):
        with pytest.raises(Wrong, match=r"accesses\.ndjson says something else of read 1"):
            check(sign_again(ACCESSES, change), None)


def test_check_confirms_that_the_report_shows_the_proven_events() -> None:
    said = check(FILES, None)
    assert "report.html shows these events and reads, and nothing else." in said
    assert not any("could not be read" in each for each in said)


def alone(data: bytes, meta: str = '{"by":"t"}') -> ProvenEvent:
    """A log of this event alone."""
    row = LOG[3]._replace(data=data, meta=meta, position=1, version=1)
    leaf = merkle.leaf_hash(leaf_bytes(row))
    return ProvenEvent(row, envelope(row, KEY), InclusionProof(1, leaf, 1, leaf, []))


def run_check(event: ProvenEvent) -> list[str]:
    root = event.proof.root
    signed = SIGNER.sign(TreeCheckpoint(SIGNER.origin, 1, root).text)
    head = HEAD._replace(size=1, root=root, note=signed)
    return check(unpack(bundle(STREAM, [event], head, SIGNER)), None)


DAMAGED = {"data": alone(b"\xff{"), "data and meta": alone(b"\xff{", "{")}


@pytest.mark.parametrize("what", DAMAGED)
def test_unreadable_event_is_shown_as_null(what: str) -> None:
    event = DAMAGED[what]
    assert any("What 1 events say could not be read by the service" in s for s in run_check(event))
    for name, lie in {
        "says something of event 1": replace(b'"data":null', b'"data":{"n":1}'),
        "another `type`": replace(b'"type":"user.updated"', b'"type":"user.removed"'),
        "another `time`": replace(b'"time":"2', b'"time":"1'),
        "another `actor`": replace(b'"actor":"', b'"actor":"x'),
    }.items():
        changed = lie(event.envelope)
        assert changed != event.envelope
        with pytest.raises(Wrong, match=name):
            run_check(event._replace(envelope=changed))


def test_event_with_unreadable_meta_is_shown_as_null() -> None:
    with pytest.raises(Exception, match="by"):
        run_check(alone(b'{"n":1}', "{}")._replace(envelope=alone(b'{"n":1}').envelope))


def test_secrets_are_never_shown() -> None:
    hook = {
        "url": "https://h/…",
        "fullUrl": {"$secret": "1.abc"},
        "headers": {"Authorization": {"$secret": "1.def"}},
    }
    event = alone(orjson.dumps({"webhooks": [hook], "fullUrl": [{}]}))
    assert run_check(event)
    changed = event.envelope.replace(b"***", b"Bearer x")
    with pytest.raises(Wrong, match="says something else of event 1"):
        run_check(event._replace(envelope=changed))


def test_name_of_the_log_may_be_in_the_source() -> None:
    event = alone(b'{"n":1}', '{"by":"t","correlation":"c","causation":"d","occurredAt":"2026"}')
    assert run_check(event._replace(envelope=envelope(event.row, KEY, log="north")))


def test_numbers_in_another_notation_are_equal() -> None:
    data = b'{"a":1e16,"b":1e-7,"c":0.00000000040000000000000000001,"d":123456789012345678901234567890}'
    assert run_check(alone(data))


def test_report_contains_opened_content() -> None:
    assert EVENTS_OF_IT[1].row.data not in FILES[REPORT]
    assert b"done" in FILES[REPORT]

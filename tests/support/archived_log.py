"""A log of ended executions, except one, whose events are archived as a year later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep

import httpx
import psycopg

from api.clock import Clock
from domain.eventlog.sessions import session_options
from domain.writer.guarded_writer import GuardedWriter
from tests.support.api_client import ok
from tests.support.event_writer import opened
from workers.archiver import LineRetention
from workers.event_archive.archiver import EventArchiver, RangeReport

EVENTS = 4
"""The number of events in a range."""
CATALOG = (
    ("/users", {"$id": "c", "name": "C", "kind": "person"}),
    ("/users", {"$id": "p", "name": "P", "kind": "organization"}),
    ("/services", {"$id": "s", "name": "S", "provider": "p"}),
    ("/orders", {"$id": "o", "service": "s", "customer": "c"}),
)
STEPS = [{"id": "research", "name": "Research"}, {"id": "send", "name": "Send"}]
ENDED, WAITS = ("e-0", "e-1", "e-2"), "e-3"


def fill(api: httpx.Client) -> None:
    """Write ended executions, one of them erased, and one that waits."""
    for path, entry in CATALOG:
        ok(api.post(path, json=entry))
    for name in (*ENDED, WAITS):
        made = {"$id": name, "order": "o", "service": "s", "steps": STEPS, "tags": [name]}
        ok(api.post("/executions", json=made))
        ok(api.post(f"/executions/{name}/start"))
        ok(api.post(f"/executions/{name}/steps/research/start", json={"input": {"of": name}}))
    for name in ENDED:
        ok(api.post(f"/executions/{name}/steps/research/complete", json={"output": {"n": 2}}))
        ok(api.post(f"/executions/{name}/progress", json={"progress": 50}))
        ok(
            api.post(
                f"/executions/{name}/complete",
                json={"success": True, "output": {"sent": 2}, "summary": "Sent."},
            )
        )
    ok(api.post(f"/executions/{WAITS}/pause", json={"state": {"page": 3}}))
    ok(api.post("/executions/e-2/erase", json={"reason": "asked for"}))


def settle(api: httpx.Client, conninfo: str) -> int:
    """Wait until views, webhooks and the tree have reached the head of the log; returns it."""
    deadline = monotonic() + 60
    query = """SELECT position FROM head WHERE position <= (SELECT size FROM audit_head)
        AND position <= (SELECT position FROM webhook_head)"""
    with psycopg.connect(
        conninfo, autocommit=True, options=session_options("executions")
    ) as connection:
        while True:
            found = connection.execute(query).fetchone()
            if found and not any(v["lag"] for v in ok(api.get("/readyz"))["views"].values()):
                return int(found[0])
            assert monotonic() < deadline
            sleep(0.1)


async def archive(conninfo: str, folder: Path, url: str | None = None) -> list[RangeReport]:
    """Run an archiver a year later, with small ranges: into a folder, or to a URL."""
    url = url or (folder / "archive").as_uri()
    retention = LineRetention(url, 30, folder / "archiving", event_days=365)
    later = datetime.now(UTC) + timedelta(days=400)
    async with opened(conninfo) as store:
        writer = GuardedWriter(store, Clock(), str, lambda: 0.5)
        of_log = writer, store, conninfo, retention
        archiver = EventArchiver(*of_log, clock=lambda: later, events=EVENTS)
        reports = await archiver.archive(moves=True)
    # The last range may have an event of the archiver's own, which the tree does not have yet.
    assert {report.outcome for report in reports[:-1]} == {"archived"}
    return [report for report in reports if report.outcome == "archived"]

"""Signed heads are published to each witness; a failing witness delays no other, and is retried."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Self

import pytest
from anyio import to_thread
from click.testing import CliRunner, Result
from rfc3161_client import VerifierBuilder, decode_timestamp_response
from structlog.testing import capture_logs

from api.cli.main import main
from projections.audit.note import checkpoint_of, notes_in
from projections.audit.tables import TreeHead
from projections.audit.witnessed import Witnessed, read_witnesses
from tests.support.audited_log import NOON, SCHEMA, AuditedLog
from tests.support.stamping_authority import answering, new_authority
from workers.outbound.addresses import networks
from workers.webhooks.http_client import HttpClient
from workers.witnesses.publisher import HeadPublisher
from workers.witnesses.witness_types import NotKept, UrlWitness, witnesses

pytestmark = pytest.mark.anyio
LOOPBACK = "127.0.0.0/8"


@pytest.fixture
async def audited(database: str) -> AsyncIterator[AuditedLog]:
    async with AuditedLog.opened(database) as opened:
        await opened.append(7)
        await opened.grow()
        yield opened


class Keeping:
    """A publisher that publishes on demand, with a clock that the test moves."""

    def __init__(self, audited: AuditedLog, text: str, client: HttpClient, folder: Path) -> None:
        self.now = NOON
        self._connection = audited.connection
        found = witnesses(text, client, folder)
        self.publisher = HeadPublisher(found, audited.conninfo, SCHEMA, clock=lambda: self.now)

    async def publish(self, later: timedelta = timedelta(minutes=1)) -> list[Witnessed]:
        """Publish after some time; returns the new state of each witness."""
        self.now += later
        await self.publisher.publish(self._connection)
        return await read_witnesses(self._connection)


@asynccontextmanager
async def keeping(
    audited: AuditedLog, text: str, folder: Path, allowed: str = LOOPBACK
) -> AsyncIterator[Keeping]:
    client = HttpClient(networks(allowed), answer_bytes=65_536)
    try:
        yield Keeping(audited, text, client, folder)
    finally:
        await client.aclose()


async def grow(audited: AuditedLog) -> TreeHead:
    await audited.append(5)
    return await audited.grow()


async def test_file_gets_each_new_head_appended(audited: AuditedLog, tmp_path: Path) -> None:
    file = tmp_path / "heads.txt"
    async with keeping(audited, file.as_uri(), tmp_path) as kept:
        first = await audited.head()
        [found] = await kept.publish()
        assert (found.size, found.failing_since) == (7, None)
        await kept.publish(timedelta(seconds=10))
        later = await grow(audited)
        assert [each.size for each in await kept.publish(timedelta(seconds=10))] == [7]
        assert [each.size for each in await kept.publish()] == [12]
    assert notes_in(file.read_text()) == [first.note, later.note]


async def test_hanging_witness_delays_no_other_and_gets_one_head_meanwhile(
    audited: AuditedLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.witnesses.publisher.ANSWER_TIMEOUT", 0.5)
    hanging, file = tmp_path / "hanging", tmp_path / "heads.txt"
    os.mkfifo(hanging)  # opening it for writing waits for a reader
    async with keeping(audited, f"{hanging.as_uri()},{file.as_uri()}", tmp_path) as kept:
        first = await audited.head()
        for _ in range(2):
            found = {each.name: each for each in await kept.publish()}
            assert found[file.as_uri()].size == 7
            assert found[hanging.as_uri()].failing_since is not None
        await grow(audited)
        assert await to_thread.run_sync(hanging.read_text) == first.note
        found = {each.name: each for each in await kept.publish()}
        assert found[file.as_uri()].size == 12


async def test_failing_witness_is_retried_and_logged_once(
    audited: AuditedLog, tmp_path: Path
) -> None:
    folder = tmp_path / "missing"
    good, bad = tmp_path / "good.txt", folder / "heads.txt"
    async with keeping(audited, f"{bad.as_uri()}, {good.as_uri()}", tmp_path) as kept:
        with capture_logs() as lines:
            for _ in range(3):
                found = {each.name: each for each in await kept.publish()}
        assert found[bad.as_uri()].failing_since == NOON + timedelta(minutes=1)
        assert found[good.as_uri()].size == 7
        assert [line["log_level"] for line in lines] == ["warning"]
        folder.mkdir()
        with capture_logs() as lines:
            found = {each.name: each for each in await kept.publish()}
        assert found[bad.as_uri()].failing_since is None
        assert [line["event"] for line in lines] == ["a witness keeps heads again"]


class Receiver:
    """Accepts POST requests, and answers with a status."""

    def __init__(self, status: int) -> None:
        self.posted: list[tuple[str, bytes]] = []
        received = self.posted

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                received.append((self.headers["content-type"], body))
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.mark.parametrize(
    ("status", "fails"), [(204, False), (200, False), (302, True), (503, True)]
)
async def test_head_is_posted_and_stored_if_the_answer_is_2xx(
    audited: AuditedLog, tmp_path: Path, status: int, fails: bool
) -> None:
    with Receiver(status) as receiver:
        url = receiver.url.replace("://", "://user:secret@") + "/heads?token=secret"
        async with keeping(audited, url, tmp_path) as kept:
            [found] = await kept.publish()
        assert (found.failing_since is not None) is fails
        assert found.name == f"{receiver.url}/heads"
        [(kind, body)] = receiver.posted
        assert kind.startswith("text/plain")
        signer = await audited.signer()
        assert checkpoint_of(body.decode(), signer.public_key).size == 7


async def test_address_that_webhooks_may_not_reach_is_refused(
    audited: AuditedLog, tmp_path: Path
) -> None:
    with Receiver(200) as receiver:
        async with keeping(audited, receiver.url, tmp_path, allowed="") as kept:
            [found] = await kept.publish()
            assert found.failing_since is not None
        client = HttpClient(networks(""))
        with pytest.raises(NotKept, match=r"127\.0\.0\.1"):
            await UrlWitness(receiver.url, client).keep(await audited.head())
        await client.aclose()
        assert receiver.posted == []


async def test_time_stamp_of_an_authority_is_stored_with_the_head_and_verifies(
    audited: AuditedLog, tmp_path: Path
) -> None:
    head = await audited.head()
    with answering(new_authority(), NOON) as authority:
        async with keeping(audited, f"tsa+{authority.url}", tmp_path) as kept:
            [found] = await kept.publish()
            assert (found.size, found.failing_since) == (7, None)
            await grow(audited)
            await kept.publish(timedelta(minutes=59))
            assert len(authority.queries) == 1
            await kept.publish(timedelta(minutes=1))
            assert len(authority.queries) == 2
    folder = tmp_path / head.origin.rpartition("/")[2]
    file = folder / "head-000000000000007.txt"
    assert file.read_text() == head.note
    stamp = decode_timestamp_response(file.with_name(f"{file.name}.tsr").read_bytes())
    verifier = VerifierBuilder().add_root_certificate(authority.root).build()
    assert verifier.verify_message(stamp, head.note.encode())


async def test_answer_that_is_not_a_time_stamp_is_not_stored(
    audited: AuditedLog, tmp_path: Path
) -> None:
    with Receiver(200) as receiver:
        async with keeping(audited, f"tsa+{receiver.url}", tmp_path) as kept:
            [found] = await kept.publish()
            assert found.failing_since is not None


async def test_time_stamp_of_an_earlier_head_is_not_stored(
    audited: AuditedLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(new_authority(), NOON) as authority:
        earlier = authority.stamp
        queries: list[bytes] = []

        def replay(_: object, query: bytes, at: object) -> bytes:
            queries.append(query)
            return earlier(queries[0], NOON)

        async with keeping(audited, f"tsa+{authority.url}", tmp_path) as kept:
            [found] = await kept.publish()
            assert found.failing_since is None
            await grow(audited)
            monkeypatch.setattr(type(authority), "stamp", replay)
            assert [each.size for each in await kept.publish(timedelta(hours=1))] == [12]
            await grow(audited)
            [found] = await kept.publish(timedelta(hours=1))
            assert (found.size, found.failing_since is not None) == (12, True)


async def verify(audited: AuditedLog, folder: Path, *more: str | Path) -> Result:
    known = {"EXECUTIONS_DATABASE_URL": audited.conninfo, "EXECUTIONS_DATA_DIR": str(folder)}
    arguments = ["audit", "verify", *map(str, more)]
    return await to_thread.run_sync(lambda: CliRunner().invoke(main, arguments, env=known))


async def test_verify_accepts_what_witnesses_have_stored(
    audited: AuditedLog, tmp_path: Path
) -> None:
    file, data = tmp_path / "heads.txt", tmp_path / "data"
    with answering(new_authority(), NOON) as authority:
        text = f"{file.as_uri()},tsa+{authority.url}"
        async with keeping(audited, text, tmp_path / "stamps") as kept:
            await kept.publish()
            await grow(audited)
            await kept.publish(timedelta(hours=1))
    stamped, other = sorted((tmp_path / "stamps").glob("*/head-*.txt"))
    root, foreign = tmp_path / "root.pem", tmp_path / "foreign.pem"
    root.write_bytes(authority.pem)
    foreign.write_bytes(new_authority().pem)
    heads: list[str | Path] = ["--head", file, "--head", stamped, "--head", other]
    done = await verify(audited, data, *heads, "--tsa-certificate", root)
    assert done.exit_code == 0, done.output
    assert f"{stamped.name} was time-stamped at 2026-11-22 12:00:00 UTC." in done.output
    done = await verify(audited, data, *heads)
    assert "give --tsa-certificate" in done.output
    done = await verify(audited, data, *heads, "--tsa-certificate", foreign)
    assert done.exit_code == 1
    assert "is not signed by that authority" in done.output
    stamped.write_bytes(other.read_bytes())
    done = await verify(audited, data, "--head", stamped)
    assert "is the time-stamp of something else" in done.output
    await audited.tamper("UPDATE events SET meta = '{}' WHERE notification_id = 3")
    await audited.tamper("DELETE FROM audit_tiles; UPDATE audit_head SET size = 0, origin = ''")
    await audited.grow(audited.new_builder(audited.conninfo))
    assert (await verify(audited, data)).exit_code == 0
    done = await verify(audited, data, "--head", file)
    assert done.exit_code == 1
    assert "the first 7 events are not those it was signed for" in done.output

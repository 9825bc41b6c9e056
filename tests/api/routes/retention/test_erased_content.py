"""After the erasure, a word that was in all content is in no table, file, cache or answer, even with the master key."""

from __future__ import annotations

import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import httpx
import psycopg
import pytest
from anyio import to_thread

from api.embedded_postgres.data_dir import DataDir
from domain.eventlog.encryption import DataKey, Vault, WrongKey
from domain.eventlog.sessions import session_options
from tests.api.cli.engine.test_archive import CATALOG, OLDER, archive, follow
from tests.api.cli.test_serve import run
from tests.api.routes.test_sealed_content import rows_as_text
from tests.support.api_client import Catalog, Executions, ok
from tests.support.held_objects import texts_held_by
from tests.support.running_server import MASTER_KEY, Serving, serving
from tests.support.sse_client import opened as opened_stream
from tests.support.sse_client import until_caught_up
from tests.support.waiting import wait_until
from tests.support.webhook_receiver import WebhookReceiver, webhook_receiver

pytestmark = [pytest.mark.anyio, pytest.mark.process]
WORD = "Sesame"
LOCAL = "127.0.0.0/8"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nSesame"
TOKEN = re.compile(r"[0-9]+\.[A-Za-z0-9_-]{38,}={0,2}")
ORDER = CATALOG[2][1]
REASON = {"reason": "Jane asked for it"}
KEYS = "SELECT originator_id, wrapped FROM data_keys WHERE wrapped <> ''"
PAGES = """SELECT string_agg(public.get_raw_page('data_keys', page::integer), ''::bytea) FROM
    generate_series(0, pg_relation_size('data_keys') / 8192 - 1) AS page"""
PARTS = (
    *("", "/result", "/error", "/steps", "/steps/s-1", "/checkpoints", "/logs", "/attempts"),
    *("/logs?archived=true", "/events", "/events?include=execution", "?version=2", "/webhooks"),
    *("/diff?from=1&to=3", "/access-log", "/order", "/order?version=1", "/metrics"),
    *("?expand=order", "?expand=order&version=1"),
)
WHOLE = (
    *("/executions?limit=500", "/executions?at=2100-01-01T00:00:00Z", "/executions.csv"),
    *("/orders", "/orders/o", "/executions?expand=order&limit=500"),
    *("/webhooks", "/inbox", "/audit/trail?limit=500", "/analytics/executions"),
)


def write(client: httpx.Client) -> list[str]:
    """A completed, a failed and a cancelled execution, with the word in all sealed fields."""
    executions = Executions(client, Catalog("c", "c", "", "s", "o"))
    hook = {"url": "https://hooks.example", "events": ["failed"], "headers": {"X": WORD}}
    done, failed, cancelled = (executions.running(webhooks=[hook]) for _ in range(3))
    for id_ in (done, failed, cancelled):
        executions.tell(id_, "steps/s-1/start", name="Research", input={"a": [WORD]})
    executions.tell(done, "steps/s-1/complete", output=WORD)
    executions.tell(done, "checkpoints", state={"page": WORD})
    executions.tell(done, "logs", level="info", message=WORD, context={"a": WORD})
    for _ in "12":  # the second request records no event, so that it is recorded as a read
        executions.tell(done, "complete", success=True, output=WORD, summary=WORD, artifacts=[WORD])
    executions.tell(failed, "fail", code="E", message=WORD, stack=WORD)
    executions.tell(cancelled, "cancel", reason=WORD)
    change = partial(client.patch, f"/executions/{failed}")
    body = {"webhooks": [{**hook, "events": ["completed"]}]}
    for _ in "12":  # the second request is a repeat
        ok(change(json=body, headers={"Idempotency-Key": "changed"}))
    ok(change(json=body, params={"dryRun": "true"}))
    return [done, failed, cancelled]


def texts_of_database(conninfo: str) -> Iterator[str]:
    """The text of all tables, and of all sealed values that the data keys open."""
    with psycopg.connect(conninfo, options=session_options("executions")) as connection:
        rows = connection.execute(KEYS).fetchall()
    keys = [Vault(MASTER_KEY).unwrap(bytes(wrapped), stream) for stream, wrapped in rows]
    for table, row in rows_as_text(conninfo):
        yield f"{table}: {row}"
        yield from (found for token in TOKEN.findall(row) for found in by_some(keys, token))


def by_some(keys: list[DataKey], token: str) -> Iterator[str]:
    for key in keys:
        try:
            yield key.open(token).decode("utf-8", "replace")
        except WrongKey:
            continue


def read(client: httpx.Client, ids: list[str]) -> str:
    """All answers of a server about executions, including streams."""
    paths = [f"/executions/{id_}{part}" for id_ in ids for part in PARTS]
    paths += [f"/executions/{ids[0]}/compare?with={ids[1]}", *WHOLE]
    answers = [client.get(path) for path in paths]
    assert [str(answer.url) for answer in answers if not answer.is_success] == []
    accept = {"Accept": "text/event-stream"}
    streams = [
        f"/executions/{id_}/{kind}?from=start" for id_ in ids for kind in ("events", "watch")
    ]
    answers += [client.get(path, headers=accept) for path in streams]
    with opened_stream(client, after=0) as source:
        log = str(until_caught_up(source))
    return "\n".join([log, *(answer.text for answer in answers)])


def execute(conninfo: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(conninfo, options=session_options("executions")) as connection:
        return connection.execute(query.encode()).fetchall()


def verifies(bundle: bytes, folder: Path) -> bool:
    """Whether the `verify.py` of a bundle accepts it."""
    with ZipFile(BytesIO(bundle)) as archived:
        archived.extractall(folder)
    program = [sys.executable, "-I", "verify.py"]
    return subprocess.run(program, cwd=folder, capture_output=True, check=False).returncode == 0


def text_of(bundle: bytes) -> str:
    with ZipFile(BytesIO(bundle)) as archived:
        return "".join(archived.read(name).decode() for name in archived.namelist())


async def test_word_is_found_nowhere_after_the_erasure_and_every_proof_is_valid(
    database: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with webhook_receiver() as receiver:
        receiver.answers["/hook"] = ANSWER
        await to_thread.run_sync(write_and_erase, database, tmp_path, receiver)
    said = capfd.readouterr()
    assert WORD not in said.out + said.err


def holds(server: Serving) -> bool:
    """Whether any object in the memory of a server, such as a cache, has the word."""
    return any(WORD.encode() in text for text in texts_held_by(server.system))


def write_and_erase(database: str, folder: Path, receiver: WebhookReceiver) -> None:
    data = DataDir.open(folder / "data")
    data.master_key_file.write_bytes(b64encode(MASTER_KEY))
    data.master_key_file.chmod(0o600)
    with (
        serving(database, data_dir=data.path, calls=LOCAL) as first,
        serving(database, data_dir=data.path, calls=LOCAL) as second,
        first.client() as one,
        second.client() as two,
    ):
        for path, entry in CATALOG[:2]:
            ok(one.post(path, json=entry))
        ok(one.post("/orders", json={**ORDER, "params": {"note": WORD}}))
        hook = ok(one.post("/webhooks", json={"url": receiver.url(), "events": ["execution.*"]}))[
            "$id"
        ]
        ids = write(one)
        deliveries = f"/webhooks/{hook}/deliveries?limit=500"
        wait_until(
            lambda: all(each["state"] == "delivered" for each in ok(one.get(deliveries))["data"])
        )
        assert WORD in read(one, ids)
        assert WORD in read(two, ids)
        assert holds(first)
        assert any(WORD in text for text in texts_of_database(database))
        before = one.get(f"/audit/bundle/{ids[0]}", headers={"Prefer": "wait=20"}).content
        pages = wrapped_in_pages(database, ids)
        assert all(pages)
        receiver.answers.clear()
        ok(one.post(f"/executions/{ids[0]}/erase", json=REASON))
        job = ok(one.post("/users/c/erase", json=REASON))["$id"]
        wait_until(lambda: bool(ok(one.get(f"/jobs/{job}"))["status"] == "completed"))
        assert ok(one.get(f"/jobs/{job}/receipt"))["orders"] == ["o"]
        assert WORD not in read(one, ids)
        wait_until(lambda: WORD not in read(two, ids))
        shown = ok(one.get(f"/webhooks/{hook}/deliveries?limit=500"))["data"]
        assert WORD not in str([each for each in shown if each.get("erased")])
        wait_until(lambda: execute(database, "SELECT FROM data_keys WHERE NOT swept") == [])
        follow(one)
        execute(database, f"{OLDER} RETURNING 1")
        assert [day["outcome"] for day in archive(data.path, database)] == ["archived"]
        assert WORD not in read(one, ids) + read(two, ids)
        after = one.get(f"/audit/bundle/{ids[0]}", headers={"Prefer": "wait=20"}).content
        assert [text for text in texts_of_database(database) if WORD in text] == []
        wait_until(lambda: not any((*wrapped_in_pages(database, ids), holds(first), holds(second))))
    assert files_with_word(data.path) == []
    assert verifies(before, folder / "before")
    assert verifies(after, folder / "after")
    assert (WORD in text_of(before), WORD in text_of(after)) == (True, False)
    for command in ("verify --json", "audit verify"):
        done = run(command, data.path, EXECUTIONS_DATABASE_URL=database)
        assert done.returncode == 0, done.stdout + done.stderr


def files_with_word(folder: Path) -> list[Path]:
    """The files of a data directory, including an archive, that have the word."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert any(file.suffix == ".parquet" for file in files)
    return [file for file in files if WORD.encode() in file.read_bytes()]


WRAPPED: dict[str, bytes] = {}


def wrapped_in_pages(conninfo: str, ids: list[str]) -> list[bool]:
    """Whether the wrapped keys of the executions and of the order, as of the first call, are in the pages of the table."""
    with psycopg.connect(conninfo, options=session_options("executions")) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS pageinspect SCHEMA public")
        for stream, wrapped in connection.execute(KEYS).fetchall():
            WRAPPED.setdefault(stream, bytes(wrapped))
        [pages] = connection.execute(PAGES).fetchone() or [b""]
    streams = [*(f"execution/{id_}" for id_ in ids), "order/o"]
    return [WRAPPED[stream] in bytes(pages) for stream in streams]

"""Content of clients is only encrypted in the database, and no secret is in the server's output."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest
from psycopg import sql

from tests.support.api_client import JSON, Executions, ok
from tests.support.running_server import MASTER_KEY, TOKEN, Serving

SECRET = "Sesame-opens-{}"
SEALED = (
    *("result", "summary", "artifact", "input", "output", "message", "stack", "step-message"),
    *("state", "paused-state", "reason", "header", "log", "context"),
)
TABLES = """SELECT table_schema, table_name FROM information_schema.tables
    WHERE table_type = 'BASE TABLE'
        AND table_schema NOT IN ('pg_catalog', 'information_schema')"""


def secret(name: str) -> str:
    assert name in SEALED
    return SECRET.format(name)


@pytest.fixture(scope="module")
def stories(api: httpx.Client, executions: Executions) -> list[str]:
    """A completed, a failed and a cancelled execution, with content in all sealed fields."""
    hook = {
        "url": "https://hooks.example/hook",
        "events": ["completed"],
        "headers": {"Authorization": secret("header")},
    }
    done, failed, cancelled = (executions.running(webhooks=[hook]) for _ in range(3))
    executions.tell(done, "steps/s-1/start", name="Research", input={"a": [secret("input")]})
    executions.tell(done, "steps/s-1/complete", output=secret("output"))
    executions.tell(done, "checkpoints", state={"page": secret("state")})
    executions.tell(done, "pause", state={"page": secret("paused-state")})
    executions.tell(done, "resume")
    line = {"message": secret("log"), "context": {"a": secret("context")}}
    executions.tell(done, "logs", level="info", **line)
    executions.tell(
        done,
        "complete",
        success=True,
        output={"found": secret("result")},
        summary=secret("summary"),
        artifacts=[secret("artifact")],
    )
    executions.tell(failed, "steps/s-1/start")
    executions.tell(failed, "steps/s-1/fail", code="E", message=secret("step-message"))
    executions.tell(failed, "fail", code="E", message=secret("message"), stack=secret("stack"))
    last = executions.tell(cancelled, "cancel", reason=secret("reason"))
    for path in ("/executions", "/analytics/executions"):
        ok(api.get(path, params={"minPosition": last["position"]}))
    return [done, failed, cancelled]


def rows_as_text(conninfo: str) -> Iterator[tuple[str, str]]:
    """The rows of every table as text, with bytes decoded."""
    with psycopg.connect(conninfo) as connection:
        for table in connection.execute(TABLES).fetchall():
            query = sql.SQL("SELECT * FROM {}").format(sql.Identifier(*table))
            for row in connection.execute(query):
                yield ".".join(table), " ".join(map(readable, row))


def readable(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def test_no_table_holds_client_content_in_the_clear(server: Serving, stories: list[str]) -> None:
    tables = set()
    for table, row in rows_as_text(server.conninfo):
        tables.add(table)
        assert SECRET.format("") not in row, (table, row[:2_000])
    assert {"executions.events", "executions.executions", "executions.data_keys"} <= tables


def test_no_table_holds_a_key_or_the_token(server: Serving, stories: list[str]) -> None:
    for table, row in rows_as_text(server.conninfo):
        assert MASTER_KEY.decode() not in row, table
        assert TOKEN not in row, table


def test_reader_sees_all_content_except_webhook_headers(
    api: httpx.Client, stories: list[str]
) -> None:
    seen = "".join(
        api.get(path).text
        for story in stories
        for path in (f"/executions/{story}", f"/executions/{story}/events")
    )
    assert [name for name in SEALED if secret(name) not in seen] == ["header"]
    assert ok(api.get(f"/executions/{stories[0]}"))["webhooks"][0]["headers"] == {
        "Authorization": "***"
    }


def test_lists_show_decrypted_content(api: httpx.Client, stories: list[str]) -> None:
    listed = {item["$id"]: item for item in ok(api.get("/executions"))["data"]}
    assert listed[stories[0]]["result"]["summary"] == secret("summary")
    assert listed[stories[1]]["error"]["message"] == secret("message")
    assert listed[stories[2]]["cancellation"]["reason"] == secret("reason")


def test_masked_header_that_is_sent_back_keeps_its_value(
    api: httpx.Client, stories: list[str], executions: Executions
) -> None:
    before = ok(api.get(f"/executions/{stories[0]}"))["webhooks"]
    assert "secret" not in str(before).lower()
    hook = {"url": "https://hooks.example", "events": ["failed"], "headers": {"X-Key": "k"}}
    made: JSON = executions.create(webhooks=[hook])
    answer = api.put(f"/executions/{made['$id']}", json={"webhooks": made["webhooks"]})
    [kept], [hook] = ok(answer)["webhooks"], made["webhooks"]
    assert hook.pop("secret").startswith("whsec_")
    assert kept == hook
    assert ok(answer)["version"] == made["version"]


@contextmanager
def serve_in_a_process(database: str, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Run `executions serve` at the log level debug; return its output after its end."""
    environment = {
        **os.environ,
        "EXECUTIONS_DATABASE_URL": database,
        "EXECUTIONS_ADMIN_TOKEN": TOKEN,
        "EXECUTIONS_LOG_LEVEL": "debug",
    }
    run = "from api.cli.main import main; main()"
    program = ["-c", run, "serve", "--port", "0", "--data-dir", str(folder)]
    process = subprocess.Popen(
        [sys.executable, *program],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    output = [process.stdout.readline()]
    try:
        found = re.search(r"Listening on (http://\S+)", output[0])
        assert found, process.communicate(timeout=60)
        yield found[1], output
    finally:
        process.terminate()
        output += process.communicate(timeout=60)[0].splitlines()


def test_server_output_has_no_secret_and_no_client_content(database: str, tmp_path: Path) -> None:
    with serve_in_a_process(database, tmp_path / "data") as (url, output):
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with httpx.Client(base_url=f"{url}/api", headers=headers, timeout=30) as client:
            send_secrets(client)
    said = "".join(output)
    assert "Listening on" in said
    key = (tmp_path / "data" / "master.key").read_text().strip()
    for forbidden in (TOKEN, key, SECRET.format("")):
        assert forbidden not in said, said


def send_secrets(client: httpx.Client) -> None:
    """Send valid and invalid requests, each with a secret in it."""
    names = (SECRET.format(name) for name in SEALED)
    for name in names:
        client.post("/users", json={"name": "Ann", "kind": name})
        client.post("/users", content=f'{{"name": "{name}'.encode())
        client.post(f"/executions/no-such/cancel?{name}={name}", json={"reason": name})
        client.post("/executions/no-such/complete", json={"success": name, "summary": name})
        client.get("/executions", params={"metadata.a[$gte]": name})
        client.get("/executions", headers={"Authorization": f"Bearer {name}"})

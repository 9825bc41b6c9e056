"""`executions cluster check`: the report, and errors if nothing can be checked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from api.cli.main import main
from tests.support.ports import free_port

ANSWERS = {
    "/patroni": {"patroni": {"version": "3.0.2"}},
    "/config": {"synchronous_mode": "quorum", "synchronous_mode_strict": True, "ttl": 20},
}


class Answers(BaseHTTPRequestHandler):
    """Answers as Patroni does."""

    def do_GET(self) -> None:
        body = json.dumps(ANSWERS[self.path]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def patroni() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def check(data_dir: Path, conninfo: str | None, *options: str) -> Result:
    environment = {"EXECUTIONS_DATABASE_URL": conninfo, "EXECUTIONS_DATA_DIR": str(data_dir)}
    return CliRunner().invoke(main, ["cluster", "check", *options], env=environment)


def test_check_names_unsafe_settings_and_their_cure(
    database: str, patroni: str, tmp_path: Path
) -> None:
    done = check(tmp_path, database, "--patroni", patroni)
    assert done.exit_code == 1
    assert "unsafe: synchronous_standby_names is empty" in done.output
    assert "unsafe: Patroni is 3.0.2" in done.output
    assert "→ set primary_start_timeout: 0" in done.output
    shown = json.loads(check(tmp_path, database, "--patroni", patroni, "--json").output)
    assert shown["patroni"] == ["3.0.2"]
    assert {each["severity"] for each in shown["findings"]} == {"unsafe", "unavailable"}


def test_unreachable_node_is_reported_beside_the_answers_of_the_others(
    database: str, patroni: str, tmp_path: Path
) -> None:
    done = check(tmp_path, database, "--patroni", "http://127.0.0.1:1", "--patroni", patroni)
    assert done.exit_code == 1
    assert "unavailable: http://127.0.0.1:1 does not answer as Patroni" in done.output
    assert "unsafe: Patroni is 3.0.2" in done.output
    assert "Traceback" not in done.output


def test_check_that_is_impossible_gives_the_reason_in_one_line(tmp_path: Path) -> None:
    for conninfo, said in (
        (None, "the embedded database is no cluster"),
        ("host=127.0.0.1 port=1", "cannot be reached"),
    ):
        done = check(tmp_path, conninfo)
        assert done.exit_code == 1
        assert said in done.output
        assert "Traceback" not in done.output


def test_check_says_that_no_node_leads_where_the_database_cannot_be_reached(
    patroni: str, tmp_path: Path
) -> None:
    away = f"host=127.0.0.1 port={free_port()} dbname=app"
    done = check(tmp_path, away, "--patroni", patroni)
    assert done.exit_code == 1
    assert "unavailable: The database cannot be reached" in done.output
    assert "unavailable: no node leads, of 1 that answer" in done.output
    shown = json.loads(check(tmp_path, away, "--patroni", patroni, "--json").output)
    assert [each["severity"] for each in shown["findings"]] == ["unavailable", "unavailable"]

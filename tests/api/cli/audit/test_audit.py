"""`executions audit bundle` and `verify` from end to end."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import httpx
import psycopg
import pytest
from click.testing import CliRunner, Result

from api.cli.audit import verify
from api.cli.main import main
from domain.eventlog.sessions import session_options
from projections.audit.access.retired import Retired
from projections.audit.note import Signer
from tests.support.api_client import Catalog, Executions, ok, refused
from tests.support.running_server import KEYS, TOKEN, Serving, data_dir


def audit(*arguments: str | Path, **environment: str) -> Result:
    return CliRunner().invoke(main, ["audit", *map(str, arguments)], env=environment)


@pytest.fixture
def execution(executions: Executions) -> str:
    id_ = executions.running(tags=["a"])
    executions.tell(id_, "complete", success=True, output={"secret": "open"}, summary="done")
    return id_


def test_bundle_of_a_running_service_verifies_and_shows_decrypted_content(
    server: Serving, execution: str, tmp_path: Path
) -> None:
    place = tmp_path / "bundle.zip"
    done = audit("bundle", execution, "--output", place, "--url", server.url, "--token", TOKEN)
    assert done.exit_code == 0, done.output
    with ZipFile(place) as archive:
        archive.extractall(tmp_path / "unpacked")
    script = tmp_path / "unpacked" / "verify.py"
    checked = subprocess.run(
        [sys.executable, "-I", script], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"events of execution/{execution} are in that log" in checked.stdout
    assert server.system.signer.public_key in checked.stdout
    assert b'{"secret":"open"}' in (tmp_path / "unpacked" / "events.ndjson").read_bytes()
    assert b"$sealed" not in (tmp_path / "unpacked" / "report.html").read_bytes()


def test_bundle_of_an_impossible_id_is_refused_in_one_line(server: Serving, tmp_path: Path) -> None:
    place = tmp_path / "bundle.zip"
    done = audit("bundle", "..", "--output", place, "--url", server.url, "--token", TOKEN)
    assert (done.exit_code, done.exception.__class__) == (1, SystemExit)
    assert done.output.startswith("Error: `..` cannot stand in a path")


def test_bundle_covers_the_event_that_was_just_recorded(
    api: httpx.Client, executions: Executions
) -> None:
    created = executions.create()
    answer = api.get(f"/audit/bundle/{created['$id']}")
    assert answer.status_code == 200
    assert int(answer.headers["log-position"]) >= created["position"]
    assert answer.headers["cache-control"] == "no-store"
    again = api.get(f"/audit/bundle/{created['$id']}")
    if again.headers["log-position"] == answer.headers["log-position"]:
        assert again.content == answer.content


def test_bundle_of_an_unknown_execution_is_refused(
    api: httpx.Client, server: Serving, catalog: Catalog, tmp_path: Path
) -> None:
    refused(api.get("/audit/bundle/none"), 404, "not-found")
    refused(api.get(f"/audit/bundle/{catalog.service}"), 404, "not-found")
    place = tmp_path / "bundle.zip"
    done = audit("bundle", "none", "-o", place, "--url", server.url, "--token", TOKEN)
    assert done.exit_code == 1
    assert "There is no such execution." in done.output
    assert not list(tmp_path.iterdir())


def test_bundle_of_a_history_that_is_too_long_is_refused(
    api: httpx.Client, execution: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.routes.audit.bundle.MOST_BYTES", 100)
    problem = refused(api.get(f"/audit/bundle/{execution}"), 422, "too-expensive")
    assert problem["errors"][0]["path"] == "id"


def test_bundle_of_a_long_history_has_all_of_it(
    api: httpx.Client, executions: Executions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.routes.audit.bundle.PAGE", 2)
    id_ = executions.running()
    for progress in range(1, 8):
        executions.tell(id_, "progress", progress=progress)
    packed = api.get(f"/audit/bundle/{id_}").content
    version = ok(api.get(f"/executions/{id_}"))["version"]
    with ZipFile(BytesIO(packed)) as archive:
        lines = {name: archive.read(name).splitlines() for name in archive.namelist()}
    assert len(lines["events.ndjson"]) == len(lines["leaves.ndjson"]) == version == 10


def test_verify_reports_what_it_checked_and_names_changed_rows(
    api: httpx.Client, server: Serving, execution: str, tmp_path: Path
) -> None:
    folder = data_dir(server.conninfo, tmp_path / "data")
    position = ok(api.get(f"/executions/{execution}"))["position"]
    note = api.get(
        "/audit/tree-head", params={"minPosition": position}, headers={"Accept": "text/plain"}
    )
    kept = tmp_path / "kept.txt"
    kept.write_text(note.text)
    known = {"EXECUTIONS_DATABASE_URL": server.conninfo, "EXECUTIONS_DATA_DIR": str(folder.path)}
    done = audit("verify", "--head", kept, **known)
    assert done.exit_code == 0, done.output
    assert "All of it is what was signed." in done.output
    assert server.system.signer.public_key in done.output
    assert "entries of the access log" in done.output
    options = session_options("executions")
    with psycopg.connect(server.conninfo, options=options) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("UPDATE access_log SET actor = 'bob' WHERE id = 1")
        connection.commit()
        changed = audit("verify", **known)
        connection.execute("UPDATE access_log SET actor = 'admin' WHERE id = 1")
    assert changed.exit_code == 1
    assert "access log: entry 1: is not what was recorded" in changed.output
    before_restore = Signer(KEYS.secret, "executions/before-a-restore")
    lines = note.text.partition("\n\n")[0].split("\n")[1:]
    kept.write_text(before_restore.sign("\n".join([before_restore.origin, *lines, ""])))
    assert audit("verify", "--head", kept, **known).exit_code == 0
    other = Signer(b"x" * 32, server.system.signer.origin)
    kept.write_text(other.sign(note.text.partition("\n\n")[0] + "\n"))
    done = audit("verify", "--head", kept, **known)
    assert done.exit_code == 1
    assert "audit: kept head: is not signed" in done.output
    with psycopg.connect(server.conninfo, options=options) as connection:
        connection.execute("ALTER TABLE events DISABLE TRIGGER append_only")
        connection.execute("UPDATE events SET meta = meta || ' ' WHERE notification_id = 3")
        connection.execute("ALTER TABLE events ENABLE ALWAYS TRIGGER append_only")
    done = audit("verify", **known)
    assert done.exit_code == 1
    assert "audit: position 3: the event is not the one that was signed" in done.output
    assert "1 fault was found: audit: position 3" in done.output


def test_verify_reports_how_many_reads_were_retired() -> None:
    days = (date(2026, 10, 1), date(2026, 10, 3))
    spans = ((1, 3), (9, 10))
    retired = [
        Retired(1, number, datetime.now(UTC), day, *span, b"", b"h")
        for number, (day, span) in enumerate(zip(days, spans, strict=True), 1)
    ]
    assert verify._describe_retired(retired) == "; 5 of them were retired, of days up to 2026-10-03"
    assert verify._describe_retired([]) == ""


def test_bundle_of_an_auditor_needs_a_grant_and_a_purpose(
    api: httpx.Client, server: Serving, execution: str, executions: Executions, tmp_path: Path
) -> None:
    key = ok(api.post("/keys", json={"role": "auditor", "party": "ann"}))["key"]
    grant = {"auditor": "ann", "purpose": "Audit", "expiresAt": "2099-01-01T00:00:00Z"}
    ok(api.post("/grants", json={**grant, "executions": [execution]}))
    place = tmp_path / "bundle.zip"
    known = ("--output", place, "--url", server.url, "--token", key)
    done = audit("bundle", execution, *known)
    assert done.exit_code == 1
    assert "--purpose" in done.output
    assert "X-Purpose" not in done.output
    purpose = ("--purpose", "Invoice 7")
    headers = {"Authorization": f"Bearer {key}", "X-Purpose": "Invoice 7"}
    with httpx.Client(base_url=f"{server.url}/api", headers=headers) as ann:
        while (
            ann.get(f"/executions/{execution}").status_code == 404
        ):  # a grant takes effect after a moment
            pass
        assert ok(ann.get(f"/executions/{execution}/verify"))["fits"]
        refused(ann.get(f"/executions/{executions.running()}/verify"), 404, "not-found")
    done = audit("bundle", execution, *known, *purpose)
    assert done.exit_code == 0, done.output
    with ZipFile(place) as archive:
        assert f"execution/{execution}".encode() in archive.read("manifest.txt")
    assert audit("bundle", executions.running(), *known, *purpose).exit_code == 1

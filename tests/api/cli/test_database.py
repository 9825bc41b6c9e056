"""The commands of the guides that use the database: look, dump, restore."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.databases import reachable_folder
from tests.support.load import CATALOG, DONE
from tests.support.paths import DOCS
from tests.support.service_process import AUTHORIZED, Service

PROGRAMS = Path(sys.executable).parent
BACK_UP = (DOCS / "operating.md").read_text().partition("\n## Back up")[2]
LOOK, DUMP, _, RESTORE = re.findall(r"```sh\n(.*?)```", BACK_UP, re.DOTALL)
FORGE, *_ = re.findall(r"```sh\n(.*?)```", (DOCS / "history.md").read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def recorded() -> Iterator[Service]:
    """A running service that has recorded an execution with a sealed output."""
    with reachable_folder() as folder:
        service = Service(folder)
        service.start()
        with client(service) as api:
            for path, body in CATALOG:
                assert api.post(f"/{path}", json=body).status_code == 201
            made = {"$id": "run-1", "order": "order-1", "service": "sdr"}
            for path, body in (("", made), ("/run-1/start", {}), ("/run-1/complete", DONE)):
                assert api.post(f"/executions{path}", json=body).is_success
        yield service
        service.close()


def client(service: Service) -> httpx.Client:
    return httpx.Client(base_url=f"{service.url}/api", headers=AUTHORIZED, timeout=30)


def run_script(script: str, data: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script of the guides in a shell, with the program in the PATH."""
    ours = {name: value for name, value in os.environ.items() if "EXECUTIONS_" not in name}
    path = f"{PROGRAMS}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", script],
        env={**ours, "EXECUTIONS_DATA_DIR": str(data), "PATH": path},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )


def test_operator_can_query_the_database(recorded: Service, tmp_path: Path) -> None:
    assert "user.created" in run_script(LOOK, recorded.data, tmp_path).stdout


def test_database_refuses_to_change_an_event(recorded: Service, tmp_path: Path) -> None:
    refused = run_script(FORGE, recorded.data, tmp_path)
    assert refused.returncode == 1
    assert "append-only: DELETE refused" in refused.stderr
    assert "append-only: UPDATE refused" in refused.stderr


def test_password_is_on_no_command_line(recorded: Service, tmp_path: Path) -> None:
    shown = run_script(
        "executions database psql -c '\\! cat /proc/$PPID/cmdline'", recorded.data, tmp_path
    )
    password = (recorded.data / "postgres" / "password").read_text()
    assert "psql" in shown.stdout
    assert password not in shown.stdout


def test_missing_program_is_named(recorded: Service, tmp_path: Path) -> None:
    said = run_script("executions database pg_dumb", recorded.data, tmp_path).stderr
    assert said.startswith("Error: there is no program pg_dumb")


def test_dump_is_restored_with_its_master_key(recorded: Service, tmp_path: Path) -> None:
    dumped = run_script(DUMP, recorded.data, tmp_path)
    assert dumped.returncode == 0, dumped.stderr
    with reachable_folder() as folder:
        shutil.copy2(recorded.data / "master.key", folder)
        heir = Service(folder)
        heir.start()
        heir.close()
        restored = run_script(f"set -e\n{RESTORE}", folder, tmp_path)
        assert restored.returncode == 0, restored.stderr
        assert "All of it is what the events say." in restored.stdout
        assert re.search("Compared [1-9][0-9]* rows of executions", restored.stdout)
        heir.start()
        with client(heir) as api:
            shown = api.get("/executions/run-1").json()
        heir.close()
    assert shown["result"]["output"] == DONE["output"]

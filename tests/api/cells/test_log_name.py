"""A server and its work process use the name of their log."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx
import pytest

from api.database import Database
from api.embedded_postgres.data_dir import DataDir
from api.log_keys import require_key_of_log
from api.service import Served
from api.settings import Settings, SetupError
from api.work_task import settle_name_again, task_of
from domain.eventlog.setup.log_name import settle_log_name
from domain.eventlog.setup.log_secret import LogKeys
from tests.support.api_client import ok
from tests.support.databases import reachable_folder
from tests.support.service_process import AUTHORIZED, Service


def test_server_without_the_setting_uses_the_stored_name_of_the_log(database: str) -> None:
    settle_log_name(database, "executions", "north")
    with reachable_folder() as folder:
        service = Service(folder, database, EXECUTIONS_CELLS="south=https://south.example")
        service.start()
        with httpx.Client(base_url=f"{service.url}/api", headers=AUTHORIZED) as api:
            ready = api.get("/readyz")
            made = ok(api.post("/users", json={"name": "Ann", "kind": "person"}))["$id"]
            elsewhere = api.get("/executions/south~1")
        service.close()
    assert (ready.headers["log-name"], ready.json()["log"]) == ("north", "north")
    assert made.startswith("north~user_")
    assert (elsewhere.status_code, elsewhere.json()["url"]) == (421, "https://south.example")


def test_server_and_work_process_use_the_new_name_after_the_log_was_replaced(
    database: str, tmp_path: Path
) -> None:
    folder, settings = DataDir.open(tmp_path), Settings(data_dir=tmp_path)
    require_key_of_log(database, settings, folder)
    keys = LogKeys(b"", b"")
    served = Served(settings, folder, Database(database, database), keys, "", socket.socket(), "")
    task = task_of(settings, database, keys)
    assert (served.prepare_again().settings.log, settle_name_again(task, list).log_name) == (
        None,
        None,
    )
    settle_log_name(database, "executions", "north")
    served, task = served.prepare_again(), settle_name_again(task, list)
    assert (served.settings.log, task.log_name) == ("north", "north")
    served.listening.close()
    with pytest.raises(SetupError, match="`north`, not `south`"):
        settle_name_again(task._replace(log_name="south"), list)

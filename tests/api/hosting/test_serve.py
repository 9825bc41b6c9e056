"""`executions serve` with many logs, and its work process."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from api.cells.registry import LogLocation, LogRegistry
from api.hosting.composition import headers_of
from api.settings import SetupError
from api.system import System
from tests.api.hosting.conftest import execution
from tests.support.api_client import ok
from tests.support.databases import reachable_folder
from tests.support.service_process import AUTHORIZED, Service


def test_server_and_its_work_process_handle_the_logs_of_the_file(database: str) -> None:
    with reachable_folder() as folder:
        registry = LogRegistry(folder / "logs.json")
        registry.put("north", LogLocation.of("north"))
        service = Service(
            folder, database, EXECUTIONS_LOG="main", EXECUTIONS_LOGS=str(registry.file)
        )
        service.start()
        north = f"{service.url}/logs/north/api"
        with httpx.Client(base_url=north, headers=AUTHORIZED, timeout=60) as api:
            execution(api, "run")
            position = ok(api.get("/readyz"))["position"]
            headers = {"Prefer": "wait=30"}
            listed = ok(api.get(f"/executions?minPosition={position}", headers=headers))
            assert [each["$id"] for each in listed["data"]] == ["run"]
            with api.stream("GET", "/events", headers={"Accept": "text/event-stream"}) as stream:
                service.close()
                assert "closing" in stream.read().decode()


def test_log_of_the_settings_needs_a_name_if_there_are_others() -> None:
    nameless: Any = SimpleNamespace(
        settings=SimpleNamespace(log=None), hub=SimpleNamespace(of_log="x")
    )
    with pytest.raises(SetupError, match="EXECUTIONS_LOG"):
        headers_of(cast(System, nameless))

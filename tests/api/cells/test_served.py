"""A log with a name, as `executions serve` serves it."""

from __future__ import annotations

import httpx

from domain.eventlog.setup.log_name import settle_log_name
from tests.support.api_client import ok
from tests.support.databases import reachable_folder
from tests.support.service_process import AUTHORIZED, Service


def test_server_without_the_setting_serves_the_log_by_the_name_that_it_has(database: str) -> None:
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

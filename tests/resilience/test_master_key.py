"""A server that runs during a change of the master key continues with the new key, or ends with the reason."""

from __future__ import annotations

import os
import time

from api.embedded_postgres.data_dir import DataDir
from domain.eventlog.encryption import Vault
from domain.eventlog.keys.rotation import begin, finish, rewrap
from tests.support.api_client import ok
from tests.support.service_process import Service, serving
from tests.support.stream_consumers import client

SCHEMA = "executions"
SECONDS = 60


def rotate(service: Service, before: Vault, after: Vault) -> None:
    """As `executions keys rotate-master` does, which would notice this server."""
    begin(service.conninfo, SCHEMA, before, after)
    rewrap(service.conninfo, SCHEMA, before, after)
    finish(service.conninfo, SCHEMA, after)


def cancel(service: Service, execution: str) -> None:
    with client(service.url) as api:
        ok(api.post(f"/executions/{execution}/cancel", json={"reason": "Sesame"}))


def reason(service: Service, execution: str) -> object:
    with client(service.url) as api:
        return ok(api.get(f"/executions/{execution}"))["cancellation"]["reason"]


def wait_for_log(service: Service, text: str) -> None:
    end = time.monotonic() + SECONDS
    while text not in service.log():
        assert time.monotonic() < end, service.log()
        time.sleep(0.05)


def test_server_continues_with_the_new_master_key_or_ends_if_it_lacks_that(
    database: str,
) -> None:
    with serving(database) as service:
        folder = DataDir.open(service.data)
        with client(service.url) as api:
            for kind, body in CATALOG.items():
                ok(api.post(f"/{kind}", json=body))
            for name in ("one", "two"):
                ok(api.post("/executions", json={"$id": name, "order": "o", "service": "s"}))
        cancel(service, "one")
        before, pid = Vault(folder.master_key()), service.pid
        after = Vault(folder.next_master_key())
        rotate(service, before, after)
        folder.adopt_next_master_key(before.id)
        wait_for_log(
            service,
            "the master key of this log was changed, or is being changed, while this process runs",
        )
        service.wait_until_ready(SECONDS)
        cancel(service, "two")
        assert [reason(service, name) for name in ("one", "two")] == ["Sesame", "Sesame"]
        assert service.pid == pid
        os.kill(pid, 0)
        assert "cannot be unwrapped" not in service.log()
        rotate(service, after, Vault(b"e" * 32))
        assert service.ended(SECONDS) == 1
        assert "is not the key that this log was sealed with" in service.log()


CATALOG = {
    "users": {"$id": "c", "name": "C", "kind": "organization"},
    "services": {"$id": "s", "name": "S", "provider": "c"},
    "orders": {"$id": "o", "service": "s", "customer": "c"},
}

"""An etcd member of a cluster: reads the keys of the example through its JSON gateway."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import httpx

from tests.support.primary_proxy import HOST


class Etcd(NamedTuple):
    """The etcd member on a port."""

    port: int

    def is_up(self) -> bool:
        """Whether it belongs to a majority."""
        with suppress(httpx.HTTPError):
            return httpx.get(f"http://{HOST}:{self.port}/health", timeout=2).is_success
        return False

    def end_lease(self) -> None:
        """End the lease of the primary, as etcd does if it is not renewed within `ttl`."""
        for entry in self._entries("leader"):
            self._asked("lease/revoke", {"ID": entry["lease"]})

    def voters(self) -> str | None:
        """The standbys of which a quorum may lead; None if only the primary may."""
        [entry] = self._entries("sync")
        voters: str | None = json.loads(b64decode(entry["value"]))["sync_standby"]
        return voters

    def _entries(self, name: str) -> list[dict[str, Any]]:
        key = b64encode(f"/service/executions/{name}".encode()).decode()
        found: list[dict[str, Any]] = self._asked("kv/range", {"key": key}).get("kvs", [])
        return found

    def _asked(self, path: str, question: Mapping[str, str]) -> dict[str, Any]:
        asked = httpx.post(f"http://{HOST}:{self.port}/v3/{path}", json=question, timeout=5)
        answer: dict[str, Any] = asked.raise_for_status().json()
        return answer

"""The work process, which builds the tree, is killed under load: commands continue, and heads stay consistent."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from itertools import pairwise

import httpx
import pytest

from projections.audit.check import connect, earlier_fault, head_faults, start, tree_faults
from projections.audit.proofs import roots_of_consistency
from tests.support.api_client import JSON, ok
from tests.support.load import assert_log_contains, assert_views_follow, under_load
from tests.support.service_process import AUTHORIZED, Service

pytestmark = pytest.mark.anyio


async def test_work_process_killed_under_load_delays_no_command_loses_nothing_and_takes_no_head_back(
    service: Service, thorough: bool
) -> None:
    rng = random.Random(17)
    heads: list[JSON] = []
    async with httpx.AsyncClient(
        base_url=f"{service.url}/api", headers=AUTHORIZED, timeout=60
    ) as api:
        async with under_load(service, "tree", thorough=thorough) as load:
            for _ in range(100 if thorough else 2):
                await asyncio.sleep(rng.uniform(0.05, 1.2))
                killed = await asyncio.to_thread(service.work_process)
                os.kill(killed, signal.SIGKILL)
                await load.answered(50)
                await asyncio.to_thread(service.work_process, other_than=killed)
                answer = await api.get("/audit/tree-head")
                heads += [ok(answer)] if answer.status_code != 503 else []  # none was signed yet
        assert load.refusals == []
        assert_log_contains(service.events(), load.answers)
        await assert_views_follow(service)
        last = ok(await api.get("/readyz"))["position"]
        query, patient = {"minPosition": last}, {"Prefer": "wait=30"}
        heads.append(ok(await api.get("/audit/tree-head", params=query, headers=patient)))
        for first, second in pairwise(heads):
            await _require_consistent(api, first, second)
    assert heads[-1]["treeSize"] >= last
    async with connect(service.conninfo, "executions") as connection:
        found = await start(connection)
        key = heads[-1]["publicKey"]
        faults = [fault async for fault in tree_faults(connection, found, lambda *_: None)]
        assert [*head_faults(found, key), *faults] == []
        for head in heads:
            assert await earlier_fault(connection, found, head["note"], key) is None


async def _require_consistent(api: httpx.AsyncClient, first: JSON, second: JSON) -> None:
    sizes = first["treeSize"], second["treeSize"]
    if not sizes[0]:
        return
    query = {"from": sizes[0], "to": sizes[1]}
    proof = ok(await api.get("/audit/consistency", params=query))
    roots = bytes.fromhex(first["rootHash"]), bytes.fromhex(second["rootHash"])
    path = [bytes.fromhex(each) for each in proof["path"]]
    assert roots_of_consistency(*sizes, path, roots[0]) == roots

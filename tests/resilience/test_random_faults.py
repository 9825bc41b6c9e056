"""Random faults of a service under load: no acknowledged command is lost or recorded twice.

With `--thorough` there are 13 seeds of 40 kills, 8 stops and 12 shortages or clock leaps each: an hour in all. One seed:
`pytest tests/resilience/test_random_faults.py --thorough -k seed-7 --log-cli-level=info`
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from random import Random

import pytest

from tests.support.databases import reachable_folder
from tests.support.delivery_proof import Consumer, prove
from tests.support.faults import Faults, own_disk
from tests.support.load import (
    Load,
    assert_log_contains,
    assert_refused_are_absent,
    assert_views_follow,
    under_load,
)
from tests.support.service_process import Service
from tests.support.stream_consumers import NO_END, by_socket, by_sse

SEEDS = 13
PAUSE = 0.2
BACK = 300
"""Seconds within which the service is ready again, by itself or restarted; this is not asserted."""

log = logging.getLogger("trial")
logging.getLogger("httpx").setLevel(logging.WARNING)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    seeds = range(1, SEEDS + 1) if metafunc.config.getoption("--thorough") else [0]
    metafunc.parametrize("seed", seeds, ids=lambda seed: f"seed-{seed}")


@contextmanager
def trial(seed: int, longest: float) -> Iterator[Faults]:
    """A service and its faults. If the trial fails, the data of the service is kept."""
    with reachable_folder() as folder, own_disk(folder) as disk:
        clock = folder / "clock"
        program = (sys.executable, "-m", "tests.support.leaping_clock", str(clock))
        service = Service(folder, program=program)
        try:
            service.start()
            yield Faults(service, Random(seed), clock, disk, longest)
        except BaseException:
            kept = Path(tempfile.mkdtemp(prefix=f"trial-{seed}-"))
            service.close()
            shutil.copytree(folder, kept, dirs_exist_ok=True)
            log.exception("what the service has is kept in %s", kept)
            raise
        finally:
            service.close()


def plan(faults: Faults, *, thorough: bool) -> list[Callable[[], str]]:
    """The faults in the order of the seed: 40 of 60 are kills."""
    shortages = (faults.fill_disk, faults.starve_of_files, faults.starve_of_memory, faults.leap)
    acts = [faults.kill] * 10 + [faults.stop] * 2 + [faults.chance.choice(shortages) for _ in "123"]
    acts = acts * 4 if thorough else [faults.kill, faults.stop, faults.starve_of_files]
    faults.chance.shuffle(acts)
    return acts


def test_random_faults_lose_double_or_reorder_nothing(seed: int, thorough: bool) -> None:
    with trial(seed, 15 if thorough else 1) as faults:
        service = faults.service
        reads = (by_sse, by_socket, by_sse, by_socket)
        consumers = [
            Consumer([service], read, 0, NO_END, seed=number, most=2_000, mortal=True)
            for number, read in enumerate(reads)
        ]
        loads: list[Load] = []
        acts = plan(faults, thorough=thorough)

        def meanwhile() -> int:
            return asyncio.run(inject(faults, acts, loads, consumers))

        prove(consumers, service, 0, meanwhile=meanwhile)
        log.info("streams are whole")
        events = service.events()
        assert_log_contains(events, [answer for load in loads for answer in load.answers])
        for load in loads:
            assert_refused_are_absent(events, load)
        log.info("log is right")
        asyncio.run(assert_views_follow(service))
        log.info("views follow")
        audited = service.run("audit", "verify")
        assert audited.returncode == 0, audited.stdout + audited.stderr
        unknown = sum(len(load.unknown) for load in loads)
        log.info("%d events; %s; %d outcomes unknown", len(events), dict(faults.done), unknown)


async def inject(
    faults: Faults, acts: list[Callable[[], str]], loads: list[Load], consumers: list[Consumer]
) -> int:
    """Inject one fault after the other, under load; after each the service is brought back.

    Returns the position at which consumers stop. A few more events follow, for consumers that wait for one.
    """
    service = faults.service
    async with AsyncExitStack() as running:
        for name, keys in (("keys", True), ("bare", False)):
            callers = under_load(service, name, pause=PAUSE, keys=keys)
            loads.append(await running.enter_async_context(callers))
        for number, act in enumerate(acts):
            await asyncio.sleep(faults.chance.uniform(0.05, 1))
            begun = time.monotonic()
            what = await asyncio.to_thread(act)
            lasted = time.monotonic() - begun
            await asyncio.to_thread(service.bring_back, BACK)
            back = time.monotonic() - begun - lasted
            log.info("%d: %s; %.1f s, back after %.1f s", number, what, lasted, back)
            for load in loads:
                await load.answered(20, BACK)
        end = len(service.events())
        for consumer in consumers:
            consumer.end = end
        await loads[0].answered(40, BACK)
    return end

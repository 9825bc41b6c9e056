"""The periodic duties of a server continue if memory or descriptors run out."""

from __future__ import annotations

import errno
from typing import cast

import pytest
from structlog.testing import capture_logs

from api import service
from api.embedded_postgres.address_file import AddressFile
from api.work_process import WorkProcess
from domain.outages import Outages

pytestmark = pytest.mark.anyio


class Check:
    """A fake address file and work process, which fails on demand."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls = 0
        self._error = error

    def publish(self) -> None:
        self.ensure_running()

    def ensure_running(self) -> None:
        self.calls += 1
        if self._error is not None:
            raise self._error


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, "none left"), MemoryError()])
async def test_failed_check_does_not_prevent_the_others(
    error: Exception,
) -> None:
    sign, worker = Check(error), Check(error)
    watch = service._each_second(
        None, cast(AddressFile, sign), cast(WorkProcess, worker), Outages()
    )
    with capture_logs() as logged:
        await watch()
        await watch()
    assert (sign.calls, worker.calls) == (2, 2)
    assert {line["event"] for line in logged} == {"a periodic check failed and will run again"}

"""Settings of the work process, and its settings for other logs."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from api.database import Database
from api.hosted_log_work import WorkDeployment
from api.settings import SetupError, read
from api.work import Audit, run_witnesses
from api.work_task import task_of
from projections.audit.note import checkpoint_of
from tests.support.audited_log import SCHEMA, AuditedLog
from tests.support.operations import KEYS
from workers.archiver import LineRetention

pytestmark = pytest.mark.anyio


async def test_head_reaches_the_witness_of_the_settings(database: str, tmp_path: Path) -> None:
    file = tmp_path / "heads.txt"
    settings = read({"EXECUTIONS_WITNESSES": file.as_uri(), "EXECUTIONS_DATA_DIR": str(tmp_path)})
    task = task_of(settings, database, KEYS)
    assert (task.auditor_rate, Path(task.stamps)) == (100, tmp_path / "time-stamps")
    async with AuditedLog.opened(database) as audited:
        await audited.append(3)
        await audited.grow()
        audit = Audit(0, task.witnesses, Path(task.stamps))
        async with run_witnesses(database, SCHEMA, "", audit):
            with anyio.fail_after(30):
                while not file.exists() or not file.read_text():  # noqa: ASYNC110 - a file has no event to wait for
                    await anyio.sleep(0.05)
        key = (await audited.signer()).public_key
        assert checkpoint_of(file.read_text(), key).size == 3


@pytest.mark.parametrize(
    "text",
    [
        "heads.txt",
        "file://host/heads",
        "ftp://x/",
        "tsa+file:///x",
        "https:///x",
        "file:///a,,",
        "x+tsa+http://x",
    ],
)
async def test_invalid_witness_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(SetupError, match="EXECUTIONS_WITNESSES") as refused:
        read({"EXECUTIONS_WITNESSES": text, "EXECUTIONS_DATA_DIR": "/x"})
    assert "must be like file:///folder/heads.txt" in str(refused.value)
    assert f"it is '{text}'" not in str(refused.value)


def test_archiving_of_other_logs_uses_folders_outside_that_of_the_main_log(tmp_path: Path) -> None:
    retention = LineRetention(tmp_path.as_uri(), 30, tmp_path / "archiving")
    audit = Audit(0, "", Path())
    deployment = WorkDeployment(Database("", ""), b"", "", retention, 5, audit, 10)
    other, more = deployment.retention_of("north"), deployment.retention_of("south")
    assert other is not None
    assert more is not None
    assert retention.work not in other.work.parents
    assert len({retention.work, other.work, more.work}) == 3

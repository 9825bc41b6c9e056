"""`executions audit verify` of a restored log: before its first start, and while its tree is built anew."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from anyio import to_thread
from click.testing import CliRunner, Result

from api.cli.main import main
from domain.eventlog.encryption import Vault
from domain.eventlog.setup.log_id import renew_log_id
from domain.eventlog.setup.log_secret import log_secret
from tests.support.audited_log import SCHEMA, AuditedLog
from tests.support.running_server import MASTER_KEY, data_dir
from workers.tree_builder import TreeBuilder

pytestmark = pytest.mark.anyio
SIZE = 1_000


@dataclass
class Restored:
    """A log that got a new id, and a head that was kept before."""

    audited: AuditedLog
    folder: Path
    kept: Path

    def builder(self) -> TreeBuilder:
        """The tree builder of a work process."""
        secret = log_secret(self.audited.conninfo, SCHEMA, Vault(MASTER_KEY))
        return self.audited.new_builder(self.audited.conninfo, secret)

    async def verify(self) -> Result:
        """The result of a check with the kept head."""
        known = {
            "EXECUTIONS_DATABASE_URL": self.audited.conninfo,
            "EXECUTIONS_DATA_DIR": str(self.folder),
        }
        words = ["audit", "verify", "--head", str(self.kept)]
        return await to_thread.run_sync(lambda: CliRunner().invoke(main, words, env=known))


@pytest.fixture
async def restored(database: str, tmp_path: Path) -> AsyncIterator[Restored]:
    folder = data_dir(database, tmp_path / "data")
    async with AuditedLog.opened(database) as audited:
        made = Restored(audited, folder.path, tmp_path / "kept.txt")
        await audited.append(SIZE)
        head = await audited.grow(made.builder())
        made.kept.write_text(head.note)
        done = await made.verify()
        assert done.exit_code == 0, done.output
        renew_log_id(database, SCHEMA)
        yield made


async def test_head_of_before_the_restore_is_no_fault_and_no_success(restored: Restored) -> None:
    done = await restored.verify()
    assert done.exit_code == 75, done.output
    assert "audit: head: was signed before the log got another id" in done.output
    assert f"Checked {SIZE} events." in done.output
    assert "fault" not in done.output
    assert "All of it" not in done.output


async def test_changed_event_is_found_before_the_tree_begins_again(restored: Restored) -> None:
    await restored.audited.tamper("UPDATE events SET meta = '{}' WHERE notification_id = 7")
    done = await restored.verify()
    assert done.exit_code == 1
    assert "1 fault was found: audit: position 7" in done.output


async def test_head_that_the_log_did_not_sign_is_a_fault_after_a_restore(
    restored: Restored,
) -> None:
    audited = restored.audited
    await audited.tamper("DELETE FROM audit_tiles; UPDATE audit_head SET size = 0, origin = ''")
    await audited.grow(audited.new_builder(audited.conninfo, b"x" * 32))
    renew_log_id(audited.conninfo, SCHEMA)
    done = await restored.verify()
    assert done.exit_code == 1
    assert "audit: head: is not signed by the key of the log" in done.output


async def test_kept_head_waits_for_the_tree_that_is_built_anew(restored: Restored) -> None:
    audited, builder = restored.audited, restored.builder()
    await audited.tamper("UPDATE head SET position = 600")
    await audited.grow(builder)
    await audited.tamper("UPDATE head SET position = 1000")
    done = await restored.verify()
    assert done.exit_code == 75, done.output
    assert "audit: kept head: has 1000 events, but the tree has only 600 so far" in done.output
    assert "run this again when the tree has all events" in done.output
    assert "fault" not in done.output
    assert "All of it" not in done.output
    await audited.grow(builder)
    done = await restored.verify()
    assert done.exit_code == 0, done.output


async def test_kept_head_of_more_events_than_the_log_has_is_a_fault(restored: Restored) -> None:
    await restored.audited.tamper(
        "DELETE FROM events WHERE notification_id > 600; UPDATE head SET position = 600"
    )
    await restored.audited.grow(restored.builder())
    done = await restored.verify()
    assert done.exit_code == 1
    assert "audit: kept head: has 1000 events, but the log goes back to 600" in done.output

"""An interrupted verification of the whole log resumes where it was, with the same result."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from anyio import to_thread
from click.testing import CliRunner, Result

from api.cli.main import main
from projections.audit import check
from tests.support.audited_log import AuditedLog

pytestmark = pytest.mark.anyio
SIZE = 1_500


@pytest.fixture
async def audited(database: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AuditedLog]:
    """A log whose pages have one tile each, with the state written after each page."""
    monkeypatch.setattr(check, "TILES_AT_ONCE", 1)
    monkeypatch.setattr("api.cli.audit.verify.SAVE_EVERY", -1.0)
    async with AuditedLog.opened(database) as opened:
        await opened.append(SIZE)
        await opened.grow()
        yield opened


async def run_verify(audited: AuditedLog, folder: Path, *more: str | Path) -> Result:
    known = {"EXECUTIONS_DATABASE_URL": audited.conninfo, "EXECUTIONS_DATA_DIR": str(folder)}
    arguments = ["audit", "verify", "--state", str(folder / "state"), *map(str, more)]
    return await to_thread.run_sync(lambda: CliRunner().invoke(main, arguments, env=known))


def interrupt(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Raise KeyboardInterrupt as soon as a position is reached."""
    usual = check._TreeCheck._compare

    async def compared(self: check._TreeCheck, *given: object) -> object:
        if given[1] == (0, at // 256):
            raise KeyboardInterrupt
        return await usual(self, *given)  # type: ignore[arg-type]  # passed on unchanged

    monkeypatch.setattr(check._TreeCheck, "_compare", compared)


async def test_interrupted_verification_resumes_and_reports_faults_of_both_parts(
    audited: AuditedLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await audited.tamper("UPDATE events SET meta = '{}' WHERE notification_id IN (300, 1300)")
    with monkeypatch.context() as patched:
        interrupt(patched, 1_024)
        done = await run_verify(audited, tmp_path)
    assert done.exit_code != 0
    assert "position 300" in done.output
    assert "position 1300" not in done.output
    await audited.append(500)
    await audited.grow()
    await audited.tamper("UPDATE events SET meta = '[]' WHERE notification_id IN (5, 1900)")
    done = await run_verify(audited, tmp_path)
    assert done.exit_code == 1
    assert "Goes on after position 1024." in done.output
    assert "Checked 2000 events." in done.output
    lines = [line for line in done.output.splitlines() if line.startswith("audit: position")]
    assert [int(line.split()[2].rstrip(":")) for line in lines] == [300, 1300, 1900]
    assert "3 faults were found, first of all: audit: position 300" in done.output
    assert not (tmp_path / "state").exists()


async def test_tile_above_those_that_were_verified_before_is_compared(
    audited: AuditedLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        interrupt(patched, 1_024)
        await run_verify(audited, tmp_path)
    await audited.tamper(
        "UPDATE audit_tiles SET hashes = set_byte(hashes, 40, 1) WHERE level = 1 AND index = 0"
    )
    done = await run_verify(audited, tmp_path)
    assert done.exit_code == 1
    assert "audit: tile 1/0: is not what the events say" in done.output


async def test_log_that_was_rolled_back_meanwhile_is_reported(
    audited: AuditedLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        interrupt(patched, 1_024)
        await run_verify(audited, tmp_path)
    await audited.tamper(
        "DELETE FROM events WHERE notification_id > 600; UPDATE head SET position = 600"
    )
    await audited.tamper("DELETE FROM audit_tiles; UPDATE audit_head SET size = 0, origin = ''")
    await audited.grow(audited.new_builder(audited.conninfo))
    done = await run_verify(audited, tmp_path)
    assert done.exit_code == 1
    assert "has 1500 events, but the log goes back to 600" in done.output


async def test_state_of_another_verification_is_refused(
    audited: AuditedLog, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    state.write_text("[]")
    done = await run_verify(audited, tmp_path)
    assert done.exit_code == 1
    assert "is not the state of a check" in done.output
    state.write_text(
        '{"kind": "executions audit verify 1", "origin": "executions/x", "head": "",'
        ' "checked": "", "faults": []}'
    )
    done = await run_verify(audited, tmp_path)
    assert done.exit_code == 1
    assert "the state is of another log, executions/x" in done.output
    assert state.exists()

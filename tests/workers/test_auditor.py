"""The auditor reports each fault once, and reports no fault of an intact log."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg
import pytest

from api.embedded_postgres.server import EmbeddedPostgres
from domain import registry
from domain.errors import Overloaded
from domain.execution.commands import COMMANDS
from projections.audit.rounds import walk
from projections.audit.rounds.walk import AuditTotals, audit_totals
from projections.audit.tables import migrate_audit
from projections.executions.projection import Executions
from projections.history_check import HistoryCheck
from tests.support.databases import new_database
from tests.support.followed_log import NOON, SCHEMA, FollowedLog
from tests.support.tampering import change
from workers import auditor as module
from workers.auditor import EVERY, TOGETHER, Auditor
from workers.tree_builder import TreeBuilder

pytestmark = pytest.mark.anyio
SECRET = b"s" * 32
FOUND = """SELECT topic, convert_from(state, 'UTF8')::jsonb ->> 'place' FROM events
    WHERE originator_id LIKE 'fault/%' ORDER BY notification_id"""


@dataclass
class AuditedExecutions:
    """A log of executions with its tree and view, and an auditor that works on demand."""

    conninfo: str
    log: FollowedLog
    now: datetime = NOON
    auditor: Auditor = field(init=False)

    def __post_init__(self) -> None:
        self.builder = TreeBuilder(self.conninfo, SCHEMA, SECRET, lambda: self.now)
        self.auditor = self.new_auditor()

    def new_auditor(self) -> Auditor:
        """An auditor of another process."""
        return Auditor(
            self.log.guarded_writer,
            self.log.store,
            self.conninfo,
            SECRET,
            1_000_000,
            clock=lambda: self.now,
        )

    async def settle(self) -> None:
        """Bring tree and view up to the head of the log."""
        while await self.builder.grow(self.log.connection):
            pass
        await self.log.follow()

    async def round(self) -> AuditTotals:
        """Run a complete round, which is due."""
        self.now += EVERY
        while await self.auditor.step(self.log.connection):
            pass
        return await audit_totals(self.log.connection)

    async def position(self) -> int:
        """The position that the auditor has reached."""
        return (await audit_totals(self.log.connection)).position

    async def reported(self) -> list[tuple[str, str | None]]:
        """The events about faults in the log, in order."""
        return await (await self.log.connection.execute(FOUND.encode())).fetchall()


@asynccontextmanager
async def opened(conninfo: str) -> AsyncIterator[AuditedExecutions]:
    migrate_audit(conninfo, SCHEMA)
    async with FollowedLog.opened(conninfo, Executions(registry.codec())) as log:
        yield AuditedExecutions(conninfo, log)


@pytest.fixture(scope="module")
async def template(postgres: EmbeddedPostgres, admin: psycopg.Connection) -> AsyncIterator[str]:
    """The name of a database with 90 executions; each test gets a copy."""
    with new_database(admin) as name:
        async with opened(postgres.conninfo(name)) as made:
            await made.log.begin(*(f"e-{n}" for n in range(90)))  # 270 events: two tiles
            for id_ in ("e-7", "e-8"):
                await made.log.send(
                    id_, COMMANDS["complete"].model_validate({"success": True, "summary": "s"})
                )
            await made.settle()
        yield name


@pytest.fixture
async def audited(
    postgres: EmbeddedPostgres,
    admin: psycopg.Connection,
    template: str,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[AuditedExecutions]:
    monkeypatch.setattr(module, "AGAIN", 0.0)
    with new_database(admin, template=template) as name:
        async with opened(postgres.conninfo(name)) as made:
            yield made


async def test_intact_log_is_checked_to_its_end_and_nothing_is_reported(
    audited: AuditedExecutions,
) -> None:
    totals = await audited.round()
    assert totals == AuditTotals(rounds=1, position=272, faults=0)
    assert await audited.reported() == []
    assert not await audited.auditor.step(audited.log.connection)


FAULTS = {
    "UPDATE events SET meta = meta || ' ' WHERE notification_id = 200": "position 200",
    "DELETE FROM events WHERE notification_id = 272": "position 272",
    "UPDATE audit_tiles SET hashes = substr(hashes, 1, 64) WHERE level = 0 AND index = 1": "position 259",
    "UPDATE audit_tiles SET hashes = set_byte(hashes, 4, get_byte(hashes, 4) # 1) WHERE level = 1": "tile 1/0",
    "DELETE FROM audit_tiles WHERE level = 1": "tile 1/0",
    "UPDATE audit_head SET note = replace(note, '272', '273')": "head",
    "UPDATE executions_ended SET provider = 'evil' WHERE id = 'e-7'": "execution/e-7",
    "DELETE FROM executions_open WHERE id = 'e-9'": "execution/e-9",
    "UPDATE execution_documents SET document = '{}' WHERE id = 'e-8'": "execution/e-8",
    "UPDATE events SET originator_version = 9 WHERE notification_id = 270": "position 270",
}


@pytest.mark.parametrize("statement", FAULTS)
async def test_change_is_reported_once_and_recorded_in_the_log(
    audited: AuditedExecutions, statement: str
) -> None:
    change(audited.conninfo, statement)
    totals = await audited.round()
    assert totals.faults >= 1
    said = await audited.reported()
    assert ("audit.fault.found", FAULTS[statement]) in said
    audited.auditor = audited.new_auditor()
    again = await audited.round()
    assert again.rounds == 2
    assert again.faults >= 1
    assert await audited.reported() == said


async def test_repaired_fault_is_withdrawn_and_reported_again_when_it_returns(
    audited: AuditedExecutions,
) -> None:
    changed = "UPDATE executions_ended SET provider = '{}' WHERE id = 'e-7'"
    for name, faults in (("evil", 1), ("p", 0), ("evil", 1)):
        change(audited.conninfo, changed.format(name))
        assert (await audited.round()).faults == faults
    kinds = [type_ for type_, _ in await audited.reported()]
    assert kinds == ["audit.fault.found", "audit.fault.gone", "audit.fault.found"]


async def test_round_continues_where_the_former_owner_stopped(audited: AuditedExecutions) -> None:
    audited.now += EVERY
    for _ in range(2):
        assert await audited.auditor.step(audited.log.connection)
    assert await audited.position() == 256
    audited.auditor = audited.new_auditor()
    assert await audited.auditor.step(audited.log.connection)
    assert await audited.position() == 272


@pytest.mark.parametrize(
    "statement",
    ["UPDATE audit_head SET size = 0, origin = ''", "UPDATE head SET log_id = 'restored'"],
)
async def test_round_begins_when_the_first_head_is_signed(
    audited: AuditedExecutions, statement: str
) -> None:
    """Of a log whose tree is not built yet, or is built again."""
    change(audited.conninfo, "DELETE FROM audit_tiles")
    change(audited.conninfo, statement)
    assert await audited.round() == AuditTotals()
    await audited.settle()
    assert await audited.auditor.step(audited.log.connection)
    assert await audited.reported() == []


async def test_round_begins_an_hour_after_the_previous_one(audited: AuditedExecutions) -> None:
    await audited.round()
    audited.now += EVERY / 2
    assert not await audited.auditor.step(audited.log.connection)
    audited.now += EVERY / 2
    assert await audited.auditor.step(audited.log.connection)


HARMLESS = {
    "key destroyed": "DELETE FROM data_keys",
    "view begins again": """DELETE FROM executions_open; DELETE FROM executions_ended;
        DELETE FROM execution_documents; DELETE FROM execution_states;
        UPDATE bookmarks SET position = 0 WHERE view = 'executions'""",
    "view of another program": """UPDATE bookmarks SET form = 'x' WHERE view = 'executions';
        UPDATE executions_open SET provider = 'x'""",
    "event of a newer program": """UPDATE bookmarks SET position = 0 WHERE view = 'executions';
        DELETE FROM executions_open WHERE id = 'e-89'""",
    "restored": "UPDATE head SET log_id = 'restored'",
}


@pytest.mark.parametrize("case", HARMLESS)
async def test_erasure_rebuild_upgrade_and_restore_are_no_fault(
    audited: AuditedExecutions, case: str
) -> None:
    change(audited.conninfo, HARMLESS[case])
    audited.log.store.keyring.forget()
    if case == "restored":
        await audited.settle()
    assert (await audited.round()).faults == 0
    assert await audited.reported() == []


async def test_tree_that_is_rebuilt_during_a_round_is_no_fault(
    audited: AuditedExecutions, monkeypatch: pytest.MonkeyPatch
) -> None:
    audited.now += EVERY
    for _ in range(2):
        await audited.auditor.step(audited.log.connection)
    change(audited.conninfo, "UPDATE head SET log_id = 'restored'")
    monkeypatch.setattr("workers.tree_builder.PAGE", 100)
    await audited.builder.grow(audited.log.connection)
    while await audited.auditor.step(audited.log.connection):
        pass
    totals = await audit_totals(audited.log.connection)
    assert (totals.position, totals.faults) == (100, 0)
    assert await audited.reported() == []


async def test_difference_that_is_gone_at_the_second_comparison_is_no_fault(
    audited: AuditedExecutions, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(audited.conninfo, "UPDATE executions_ended SET provider = 'x' WHERE id = 'e-7'")
    usual, looks = HistoryCheck.faults_of, list[str]()

    async def repair_then_compare(self: HistoryCheck, ids: Sequence[str]) -> Any:
        looks.extend(ids)
        if looks.count("e-7") == 2:
            change(audited.conninfo, "UPDATE executions_ended SET provider = 'p'")
        return await usual(self, ids)

    monkeypatch.setattr(HistoryCheck, "faults_of", repair_then_compare)
    assert (await audited.round()).faults == 0
    assert looks.count("e-7") == 2
    assert await audited.reported() == []


async def test_execution_of_several_pages_is_compared_to_its_end(
    audited: AuditedExecutions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.history_check.PAGE", 1)
    assert (await audited.round()).faults == 0
    change(audited.conninfo, "UPDATE executions_ended SET version = 1 WHERE id = 'e-7'")
    assert (await audited.round()).faults == 1


async def test_executions_are_read_together(
    audited: AuditedExecutions, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, together = HistoryCheck.faults_of, list[int]()

    async def note_call(self: HistoryCheck, ids: Sequence[str]) -> Any:
        together.append(len(ids))
        return await usual(self, ids)

    monkeypatch.setattr(HistoryCheck, "faults_of", note_call)
    await audited.round()
    assert max(together) == TOGETHER
    assert len(together) < sum(together) / 4


async def test_rows_of_a_lost_table_are_counted_and_only_some_are_named(
    audited: AuditedExecutions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, "MOST_NAMED", 10)
    change(audited.conninfo, "DELETE FROM executions_open")
    assert (await audited.round()).faults == 88
    assert len(await audited.reported()) == 10


async def test_report_that_cannot_be_recorded_is_recorded_later(
    audited: AuditedExecutions, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise Overloaded

    change(audited.conninfo, "UPDATE executions_ended SET provider = 'x' WHERE id = 'e-7'")
    with monkeypatch.context() as patched:
        patched.setattr(audited.log.guarded_writer, "send", refuse)
        assert (await audited.round()).faults == 1
    assert await audited.reported() == []
    await audited.round()
    assert await audited.reported() == [("audit.fault.found", "execution/e-7")]

"""Running the service: the database if it is ours, the web server, and a polite end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import FrameType
from typing import Any, NamedTuple

import structlog
import uvicorn
from starlette.types import ASGIApp

from api.embedded_postgres.cluster import PostgresError
from api.embedded_postgres.data_dir import DataDir
from api.embedded_postgres.master_key import is_elsewhere, master_key, place
from api.embedded_postgres.server import EmbeddedPostgres
from api.settings import Settings, SetupError
from api.streaming.hub import Hub
from api.system import System
from api.transport.connection_limits import (
    ConnectionLimits,
    LimitedState,
    backlog,
)
from api.transport.direct import DirectHttpProtocol, DirectPath
from api.transport.newcomer import Newcomer
from api.transport.protocols import NOSNIFF
from api.transport.websocket_protocol import WebSocketProtocol
from domain.eventlog.encryption import Vault, WrongKey
from domain.eventlog.keys.rotation import RotationUnderWay
from domain.eventlog.migrations import settle_master_key
from domain.eventlog.moving.whereabouts import located
from domain.eventlog.setup.log_name import OtherName, settle_log_name
from domain.eventlog.setup.log_secret import LogKeys, log_secret
from domain.eventlog.setup.roles import make_role
from projections.preparation import prepare_tables, prepare_tables_for

GRACE = 30
LARGEST_MESSAGE = 64 * 1024

log = structlog.get_logger()


class Server(uvicorn.Server):
    """Uvicorn that lets streams say goodbye before it waits for them to end. `closes` are called then, too."""

    def __init__(
        self,
        config: uvicorn.Config,
        hub: Hub,
        limits: ConnectionLimits,
        closes: Sequence[Callable[[], object]] = (),
    ) -> None:
        super().__init__(config)
        self.asked_to_end = False
        """Whether a signal came: then it does not begin again, whatever else ended it."""
        self.server_state = LimitedState(limits)
        self._hub = hub
        self._closes = closes
        hub.on_other_log = self._end

    async def on_tick(self, counter: int) -> bool:
        # Uvicorn counts the seconds between two calls of `watch` by the time of day: after a leap ahead and
        # back there would be none for as long. Its ticks come ten times a second, and it looks at each tenth.
        self.last_notified = 0.0
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.asked_to_end = True
        self._hub.close()
        self._close()
        super().handle_exit(sig, frame)
        # Uvicorn would end by raising the signal again, before the database is stopped in order.
        self._captured_signals.clear()

    def end_with_streams(self) -> None:
        """Have every stream say goodbye, and end."""
        self._hub.close()
        self._end()

    def _end(self) -> None:
        self._close()
        self.should_exit = True

    def _close(self) -> None:
        for close in self._closes:
            close()


SERVING = "server"
"""The role that serves from an embedded database: it owns nothing, and can change no event."""


class Database(NamedTuple):
    """The connection strings of the owner of the log and of the role that serves it, which are the same
    where a database of one's own has one user, and the server where it is our own.
    """

    owner: str
    serving: str
    postgres: EmbeddedPostgres | None = None
    before: tuple[str, str] | None = None
    """Those two, as the settings have them, where the log has moved."""

    @property
    def as_named(self) -> Database:
        """As the settings name it: where its log moves, other logs stay there."""
        return self if self.before is None else Database(*self.before, self.postgres)

    def located(self, schema: str) -> Database:
        """The same, where the log has moved to; the one that is our own does not follow it there."""
        if self.postgres is not None:
            return self
        owner, serving = located(self.owner, schema, self.serving)
        if (owner, serving) == self[:2]:
            return self
        return Database(owner, serving, before=self.before or self[:2])

    def prepare(self, schema: str, *, begin_again: bool = True) -> None:
        """Make what is missing, and let the serving role use it; `begin_again` as for `migrate`.

        Raises:
            Overloaded: the database cannot be reached.
        """
        if self.postgres is not None:
            make_role(self.owner, SERVING, self.postgres.password(SERVING))
        prepare_tables(self.owner, self.serving, schema, begin_again=begin_again)

    def prepare_for(self, schema: str, role: str | None, *, begin_again: bool = True) -> None:
        """The same for a role that serves, where that is not the owner's; it need not be able to come in yet.

        Raises:
            Overloaded: the database cannot be reached.
        """
        prepare_tables_for(self.owner, role, schema, begin_again=begin_again)


def server_of(
    config: uvicorn.Config,
    system: System,
    limits: ConnectionLimits,
    close_others: Callable[[], object] = lambda: None,
) -> Server:
    """The server of a system. It ends where the log becomes another one, or gets another master key; `close_others`
    has the streams of other logs say goodbye, too.
    """
    server = Server(config, system.hub, limits, (system.dispatcher.close, close_others))
    system.key_watch.on_changed = server.end_with_streams
    return server


@contextmanager
def database(settings: Settings, folder: DataDir) -> Iterator[Database]:
    """The database of the log, where it is by now.

    Raises:
        SetupError: it is our own, and there is none that could be started.
    """
    with named_database(settings, folder) as known:
        yield known.located(settings.schema)


@contextmanager
def named_database(settings: Settings, folder: DataDir) -> Iterator[Database]:
    """The database that the settings name, wherever the log has moved.

    Raises:
        SetupError: as `database`.
    """
    if settings.database_url is not None:
        yield Database(settings.database_owner_url or settings.database_url, settings.database_url)
        return
    if not (folder.may_make or folder.has_database):
        raise folder.missing()
    with EmbeddedPostgres(folder.postgres) as postgres:
        yield Database(postgres.conninfo(), postgres.conninfo(user=SERVING), postgres)


def keep_running(postgres: EmbeddedPostgres | None) -> str | None:
    """Start our own PostgreSQL again if it is gone; by the main thread, which alone may start it.

    Returns why its disk is full, where it is.
    """
    if postgres is None:
        return None
    full = postgres.look_after_disk()
    try:
        if postgres.ensure_running():
            log.warning("postgres is gone, and starts again")
    except (PostgresError, OSError, MemoryError) as error:
        log.error("postgres cannot start", reason=str(error) or repr(error))
    return full


def require_key_of_log(conninfo: str, settings: Settings, folder: DataDir) -> None:
    """Raises SetupError where the folder has not the master key that this log was sealed with.

    A new one is made, at the first start, for a log that has none yet. For one that has, it would only
    hide which one is missing.
    """
    known = partial(master_key, settings, DataDir(folder.path))
    made = partial(master_key, settings, folder) if folder.may_make else None
    try:
        settle_master_key(conninfo, settings.schema, known, made)
    except RotationUnderWay:
        raise SetupError(
            "the master key of this log is being changed: run `executions keys rotate-master` to its end first"
        ) from None
    except WrongKey as error:
        again = folder.next_master_key_file.exists() and not is_elsewhere(settings)
        cure = (
            "a change of it was broken off: run `executions keys rotate-master` again"
            if again
            else "put the right one there, from the data directory of another server of this database or a backup"
        )
        raise SetupError(
            f"{place(settings, folder)} is not the key that this log was sealed with ({error}): {cure}"
        ) from None


def named(settings: Settings, conninfo: str) -> Settings:
    """The settings with the name of the log, if it has one; a log without a name is given the one of the settings.

    Raises:
        SetupError: it has another one.
    """
    try:
        return replace(settings, log=settle_log_name(conninfo, settings.schema, settings.log))
    except OtherName as error:
        raise SetupError(
            f"log (EXECUTIONS_LOG): this log is named `{error.name}`, not `{settings.log}`; a name is for ever"
        ) from None


def keys_of_log(conninfo: str, settings: Settings, folder: DataDir) -> LogKeys:
    """The keys of a log whose master key is in the folder, as `require_key_of_log` has found.

    Raises:
        SetupError: it is not there, or the secret of the log is damaged.
    """
    master = master_key(settings, folder)
    try:
        return LogKeys(master, log_secret(conninfo, settings.schema, Vault(master)))
    except WrongKey as error:
        raise SetupError(f"{error}: restore the table master_key from a backup") from None


def configured(
    app: ASGIApp,
    direct: DirectPath,
    of_log: str | None,
    watch: Callable[[], Awaitable[None]] | None = None,
    log_name: str | None = None,
) -> uvicorn.Config:
    """How uvicorn serves the application of a log, which may have a name, or of several, which say by themselves which
    log an answer is of; `watch` is called every second.
    """
    of = {"log-id": of_log, "log-name": log_name}
    named = [(header, value) for header, value in of.items() if value]
    protocol: Any = partial(Newcomer, make=partial(DirectHttpProtocol, direct=direct))
    return uvicorn.Config(
        app,
        callback_notify=watch,
        timeout_notify=1,
        backlog=backlog(),
        http=protocol,
        ws=WebSocketProtocol,
        ws_per_message_deflate=False,
        ws_max_size=LARGEST_MESSAGE,
        ws_ping_interval=None,  # the hub has one clock for all
        access_log=False,
        proxy_headers=False,  # the door reads them, of trusted proxies
        server_header=False,
        headers=[NOSNIFF, *named],
        log_config=None,
        timeout_graceful_shutdown=GRACE,
    )

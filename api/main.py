"""The composition root: everything is made and wired here, by hand."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send
from ulid import ULID

from api import analytics as analytics_routes
from api import catalog, commands, executions, health, logs, many, openapi, problems
from api import history as history_routes
from api.access import Access
from api.bodies import Bodies
from api.operations import Operation, routes
from api.paths import parted
from api.settings import Settings
from api.streams import asyncapi, sockets
from api.streams import operations as streams
from api.streams.hub import Hub
from domain import house, recorder
from domain.bus import Bus
from domain.errors import NotFound
from domain.keyring import Keyring
from domain.store import Store
from domain.vault import Vault
from projections import kernel
from projections.catalog import Catalog
from projections.executions import Executions
from projections.figures import Figures
from projections.history import History
from projections.house import all_views
from projections.listen import Listener
from projections.logs import LogBook
from projections.runner import Runner

PREFIX = "/api"
# Routes are tried in this order: the most frequent first, and a literal segment before a parameter in
# its place.
OPERATIONS: tuple[Operation, ...] = (
    *commands.BELOW,
    *executions.LISTS,
    *streams.OPERATIONS,
    *many.OPERATIONS,
    *commands.OPERATIONS,
    *executions.OPERATIONS,
    *history_routes.OPERATIONS,
    *logs.OPERATIONS,
    *catalog.OPERATIONS,
    *analytics_routes.OPERATIONS,
    *health.OPERATIONS,
    *openapi.OPERATIONS,
    *asyncapi.OPERATIONS,
)


@dataclass(frozen=True, slots=True)
class System:
    """Everything that runs in one process."""

    store: Store
    bus: Bus
    access: Access
    bodies: Bodies
    listener: Listener
    runner: Runner
    hub: Hub
    history: History
    executions: Executions
    figures: Figures
    catalog: Catalog
    logs: LogBook

    def clock(self) -> datetime:
        """Now, in UTC, to the millisecond."""
        return now()

    def new_id(self, kind: str) -> str:
        """A new identity, like `exec_01KAN8WJ6Y1V3Y2S7Q3ZC0T5RM`."""
        return new_id(kind)


def now() -> datetime:
    """Now, in UTC, to the millisecond."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def new_id(kind: str) -> str:
    """An identity that sorts by the time it was made."""
    return f"{kind}_{ULID()}"


def has_log(conninfo: str, schema: str) -> bool:
    """Whether a server has ever made its tables there."""
    return recorder.exists(conninfo, schema)


def database_variables(conninfo: str, schema: str) -> dict[str, str]:
    """The environment in which PostgreSQL's own programs find the log; it holds a password."""
    return recorder.variables(conninfo, schema)


def migrate(conninfo: str, schema: str) -> None:
    """Create what is missing in the database; safe to run at every start, by many at once."""
    recorder.migrate(conninfo, schema)
    kernel.migrate(conninfo, schema, all_views(house.codec()))


def check_master_key(conninfo: str, schema: str, master_key: Callable[[], bytes]) -> None:
    """Raises WrongKey where the log was sealed with another master key. A log in which nothing is
    sealed asks for none.
    """
    if (kept := recorder.any_data_key(conninfo, schema)) is not None:
        stream, wrapped = kept
        Vault(master_key()).unwrap(wrapped, stream)


def build(settings: Settings, conninfo: str, master_key: bytes, admin_token: str) -> System:
    """All parts, wired but not started."""
    codec, schema = house.codec(), settings.schema
    store = Store(
        conninfo, schema, codec, Keyring(Vault(master_key)), settings.database_connections
    )
    listener = Listener(conninfo, schema)
    hub = Hub(store, listener, schema, settings.stream_limit)
    executions_view, _, catalog_view, _ = views = all_views(codec)
    return System(
        store=store,
        bus=Bus(store, now, new_id, random.random, settings.queue_limit),
        access=Access(admin_token),
        bodies=Bodies(),
        listener=listener,
        runner=Runner(views, store, listener, conninfo, schema),
        hub=hub,
        history=History(store),
        executions=executions_view,
        figures=Figures(),
        catalog=catalog_view,
        logs=LogBook(store, hub.logs.appended),
    )


@asynccontextmanager
async def running(system: System) -> AsyncIterator[None]:
    """The parts started, in order, and stopped in the opposite one."""
    await system.store.open()
    system.listener.start()
    system.bus.start()
    system.runner.start()
    system.hub.start()
    try:
        yield
    finally:
        await system.hub.stop()
        await system.bus.stop()
        await system.runner.stop()
        await system.listener.stop()
        await system.store.close()


def create_app(system: System) -> ASGIApp:
    """The service as an ASGI application, each path with and without `/api`."""

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        async with running(system):
            yield

    router = Router(
        [*routes(system, OPERATIONS), *sockets.routes(system, OPERATIONS)],
        redirect_slashes=False,
        default=_unknown,
        lifespan=lifespan,
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            if b"%" in scope["raw_path"]:
                scope["path"] = parted(scope["raw_path"])
            if scope["path"].startswith(PREFIX + "/"):
                scope["root_path"] = PREFIX
        await router(scope, receive, send)

    return app


async def _unknown(scope: Scope, receive: Receive, send: Send) -> None:
    error = NotFound("There is nothing at this path; /openapi.json lists what there is.")
    await problems.answer(error, scope["path"])(scope, receive, send)

"""A webhook by its id: of the whole log, or of an execution."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from api.access.rights import Right
from api.access.visibility import Visibility, owns
from api.streaming.stream_position import BadCursor, start_at
from api.web.reads.consistency import Consistency
from api.web.request import Request
from domain.catalog.webhook import Hook
from domain.catalog.webhook_commands import EnableWebhook
from domain.errors import Damaged, IllegalTransition, Invalid, NotFound
from domain.eventlog.encryption import DataKey
from domain.eventlog.store import Store
from domain.execution.webhook import Webhook
from domain.model import Versioned
from projections.deliveries import requests
from projections.deliveries.hooks import id_of, key_of
from projections.deliveries.secrets import format_secret, signing_generations, signing_secret

MISSING = "There is no such webhook."
DISABLED = "This webhook is disabled, and would not be called: enable it first."


class FoundWebhook(NamedTuple):
    """A webhook: the `execution` that it belongs to, or None, and what became of it, if anything did."""

    webhook: str
    execution: str | None
    hook: Versioned[Hook] | None

    @property
    def keyed_by(self) -> str:
        """The stream whose data key its secret follows from."""
        return (
            f"webhook/{self.webhook}" if self.execution is None else f"execution/{self.execution}"
        )


class Webhooks:
    """Finds webhooks in the log."""

    def __init__(self, store: Store, consistency: Consistency, visibility: Visibility) -> None:
        self._store = store
        self._consistency = consistency
        self._visibility = visibility

    async def find(self, request: Request) -> FoundWebhook:
        """The webhook that a path names, where it is the caller's: made by it, or of an execution that it
        reaches.

        Raises:
            NotFound: there is none with this id, or it was removed.
            Damaged: it cannot be read.
        """
        caller, right = request.caller, Right.MANAGE_WEBHOOKS
        try:
            found = await self._find(request)
            await self._visibility.require(caller, right, found.keyed_by)
        except Damaged as error:
            if not owns(caller, right, error):
                raise NotFound(MISSING) from None
            raise
        except NotFound:
            raise NotFound(MISSING) from None
        return found

    async def _find(self, request: Request) -> FoundWebhook:
        webhook = request.path["webhook"]
        hook = await self._store.load(f"webhook/{webhook}")
        if hook is not None:
            if hook.state.removed:
                raise NotFound(MISSING)
            return FoundWebhook(webhook, hook.state.execution, hook)
        found = await self._find_row(webhook)
        if found is None:  # perhaps it is new
            head, _ = await self._store.head()
            await self.wait(request, head)
            found = await self._find_row(webhook)
        if found is None:
            raise NotFound(MISSING)
        return FoundWebhook(webhook, found.execution, None)

    async def position(self, begins: str) -> int:
        """The position after which events are sent, where a client asks for them `from` there.

        Raises:
            Invalid: there is none such.
        """
        head, _ = await self._store.head()
        try:
            return (await start_at(None, begins, head, self._store.position_before)).cursor
        except BadCursor as error:
            raise Invalid.field("from", error.message) from None

    async def wait(self, request: Request, position: int) -> None:
        """Wait until the read model of webhooks has reached a position."""
        await self._consistency.wait_for_projection(request, "deliveries", position)

    async def require_enabled(self, request: Request, known: FoundWebhook) -> None:
        """Let pass what has a webhook called, once the read model knows how it is now.

        Raises:
            IllegalTransition: it is disabled.
        """
        if known.hook is None:
            return
        await self.wait(request, known.hook.position)
        if await self.is_disabled(request, known):
            allowed = [EnableWebhook.wire_name]
            raise IllegalTransition(DISABLED, status="disabled", allowedCommands=allowed)

    async def is_disabled(self, request: Request, known: FoundWebhook) -> bool:
        """Whether it is not called. One of an execution is called again when that has set it anew."""
        if known.hook is None or not known.hook.state.disabled:
            return False
        if known.execution is None:
            return True
        head, _ = await self._store.head()
        await self.wait(request, head)
        found = await self._find_row(known.webhook)
        return found is None or found.disabled

    async def _find_row(self, webhook: str) -> requests.KnownHook | None:
        async with self._store.reader() as connection:
            return await requests.find(connection, webhook)

    async def settings(self, known: FoundWebhook) -> Webhook:
        """What a webhook is called with, opened.

        Raises:
            NotFound: its execution does not have it any more.
        """
        if known.execution is None:
            assert known.hook is not None
            assert known.hook.state.settings is not None
            return known.hook.state.settings
        execution = await self._store.load(f"execution/{known.execution}")
        for hook in execution.state.webhooks if execution is not None else ():
            if key_of(known.execution, hook.id) == known.webhook:
                of_execution: Webhook = hook
                return of_execution
        raise NotFound(MISSING)

    async def secret(self, known: FoundWebhook, generation: int) -> str:
        """The secret of a webhook that was rotated so often, as receivers write it down."""
        return format_secret(
            signing_secret(await self._key(known), id_of(known.webhook), generation)
        )

    async def secrets(self, known: FoundWebhook, at: datetime) -> list[bytes]:
        """The secrets that sign the calls of a webhook at a time."""
        key, identity = await self._key(known), id_of(known.webhook)
        if known.hook is None:
            return [signing_secret(key, identity)]
        hook = known.hook.state
        generations = signing_generations(hook.generation, hook.overlap_until, at)
        return [signing_secret(key, identity, generation) for generation in generations]

    async def _key(self, known: FoundWebhook) -> DataKey:
        """The key that the secret of a webhook follows from. Raises Damaged where it is gone."""
        stream = known.keyed_by
        if (key := (await self._store.keys([stream]))[stream]) is None:
            raise Damaged("The key of this webhook is gone, and its secret with it.")
        return key

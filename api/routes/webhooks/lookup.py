"""Finds a webhook by its id: of the whole log, or of an execution."""

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
    """A webhook: its `execution`, None for one of the whole log, and its state; None where it has no events of its own."""

    webhook: str
    execution: str | None
    hook: Versioned[Hook] | None

    @property
    def keyed_by(self) -> str:
        """The stream from whose data key the secret is derived."""
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
        """The webhook that a path names, if the caller has made it or may see its execution.

        Raises:
            NotFound: there is no such webhook for the caller, or it was removed.
            Damaged: the webhook cannot be read, and is in the caller's scope.
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
        if found is None:  # perhaps the view does not have it yet
            head, _ = await self._store.head()
            await self.wait(request, head)
            found = await self._find_row(webhook)
        if found is None:
            raise NotFound(MISSING)
        return FoundWebhook(webhook, found.execution, None)

    async def position(self, begins: str) -> int:
        """The position after which events are sent, from the `from` of a client.

        Raises:
            Invalid: `from` is not valid.
        """
        head, _ = await self._store.head()
        try:
            return (await start_at(None, begins, head, self._store.position_before)).cursor
        except BadCursor as error:
            raise Invalid.field("from", error.message) from None

    async def wait(self, request: Request, position: int = 0) -> int:
        """Wait until the view of webhooks has reached a position, and `?minPosition=`; return the position that it has."""
        await self._consistency.wait_for_projection(request, requests.VIEW, position)
        return self._consistency.position(requests.VIEW)

    async def require_enabled(self, request: Request, known: FoundWebhook) -> None:
        """Check that a webhook is enabled, once the view has its newest state.

        Raises:
            IllegalTransition: the webhook is disabled.
        """
        if known.hook is None:
            return
        await self.wait(request, known.hook.position)
        if await self.is_disabled(request, known):
            allowed = [EnableWebhook.wire_name]
            raise IllegalTransition(DISABLED, status="disabled", allowedCommands=allowed)

    async def is_disabled(self, request: Request, known: FoundWebhook) -> bool:
        """Whether a webhook is disabled. One of an execution is enabled when the execution sets it again."""
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
        """The decrypted settings of a webhook.

        Raises:
            NotFound: the execution does not have the webhook any more.
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
        """The secret of a webhook after `generation` rotations, in the form that receivers configure."""
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
        """The data key from which the secret is derived. Raises Damaged where it does not exist any more."""
        stream = known.keyed_by
        if (key := (await self._store.keys([stream]))[stream]) is None:
            raise Damaged("The key of this webhook is gone, and its secret with it.")
        return key

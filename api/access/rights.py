"""Rights, and which role has which."""

from __future__ import annotations

from enum import StrEnum


class Right(StrEnum):
    """What an operation needs. A route without a right does not start."""

    OPEN = "open"
    READ_EXECUTIONS = "executions.read"
    COMMAND_EXECUTIONS = "executions.command"
    READ_CATALOG = "catalog.read"
    WRITE_CATALOG = "catalog.write"
    READ_EVENTS = "events.read"
    READ_ANALYTICS = "analytics.read"
    MANAGE_WEBHOOKS = "webhooks.manage"
    OPERATE = "operate"
    IMPORT = "import"


ROLES = {"admin": frozenset(Right)}

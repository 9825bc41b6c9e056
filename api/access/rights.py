"""Rights, and the rights of each role."""

from __future__ import annotations

from enum import StrEnum


class Right(StrEnum):
    """A right, which each operation names: the service does not start with an operation without one."""

    OPEN = "open"
    SELF = "self"
    READ_EXECUTIONS = "executions.read"
    CREATE_EXECUTIONS = "executions.create"
    COMMAND_EXECUTIONS = "executions.command"
    WORK = "executions.work"
    CANCEL = "executions.cancel"
    READ_CATALOG = "catalog.read"
    WRITE_CATALOG = "catalog.write"
    ORDER = "orders.write"
    READ_EVENTS = "events.read"
    READ_ANALYTICS = "analytics.read"
    READ_PROOFS = "proofs.read"
    READ_ACCESS = "access.read"
    MANAGE_WEBHOOKS = "webhooks.manage"
    MANAGE_HOLDS = "holds.manage"
    GRANT = "grants.manage"
    MANAGE_KEYS = "keys.manage"
    ERASE = "erase"
    WRITE_USERS = "users.write"
    OPERATE = "operate"
    IMPORT = "import"


class Role(StrEnum):
    """The role of a caller. `scope` has the executions that each role reaches."""

    ADMIN = "admin"
    OPERATOR = "operator"
    CUSTOMER = "customer"
    PROVIDER = "provider"
    ASSIGNEE = "assignee"
    AUDITOR = "auditor"


READING = frozenset(
    {
        Right.OPEN,
        Right.SELF,
        Right.READ_EXECUTIONS,
        Right.READ_EVENTS,
        Right.READ_CATALOG,
        Right.READ_PROOFS,
    }
)
OWNING = READING | {
    Right.READ_ANALYTICS,
    Right.READ_ACCESS,
    Right.CANCEL,
    Right.ORDER,
    Right.MANAGE_WEBHOOKS,
    Right.GRANT,
}
ROLES: dict[Role, frozenset[Right]] = {
    Role.ADMIN: frozenset(Right),
    Role.OPERATOR: frozenset({Right.OPEN, Right.SELF, Right.OPERATE, Right.READ_PROOFS}),
    Role.CUSTOMER: OWNING,
    Role.PROVIDER: OWNING
    | {Right.CREATE_EXECUTIONS, Right.COMMAND_EXECUTIONS, Right.WORK, Right.WRITE_CATALOG},
    Role.ASSIGNEE: READING | {Right.WORK},
    Role.AUDITOR: READING | {Right.READ_ACCESS},
}
"""The rights of each role, for the executions in its scope."""

CONTENT = frozenset({Right.READ_EXECUTIONS, Right.READ_EVENTS, Right.READ_ACCESS})
"""The rights to read the content or the readers of executions: each such read is recorded in the access log."""

COMMANDS: dict[str, Right] = {
    **dict.fromkeys(("create", "fork"), Right.CREATE_EXECUTIONS),
    **dict.fromkeys(
        (
            *("start", "pause", "resume", "complete", "fail", "claim", "heartbeat", "log"),
            *("declareSteps", "startStep", "completeStep", "failStep", "skipStep"),
            *("updateProgress", "recordUsage", "checkpoint"),
        ),
        Right.WORK,
    ),
    **dict.fromkeys(("update", "retry"), Right.COMMAND_EXECUTIONS),
    **dict.fromkeys(("cancel", "createJob", "cancelJob"), Right.CANCEL),
    **dict.fromkeys(("erase", "eraseOrder"), Right.ERASE),
    **dict.fromkeys(("createService", "createWorkflow", "confirm"), Right.WRITE_CATALOG),
    **dict.fromkeys(("createOrder", "cancelOrder"), Right.ORDER),
    "createUser": Right.WRITE_USERS,
    **dict.fromkeys(("createGrant", "revokeGrant"), Right.GRANT),
    **dict.fromkeys(("createKey", "revokeKey"), Right.MANAGE_KEYS),
    **dict.fromkeys(("startSession", "endSession"), Right.SELF),
    **dict.fromkeys(("placeHold", "releaseHold"), Right.MANAGE_HOLDS),
    **dict.fromkeys(
        (
            *("createWebhook", "updateWebhook", "removeWebhook"),
            *("disableWebhook", "enableWebhook", "rotateSecret"),
        ),
        Right.MANAGE_WEBHOOKS,
    ),
}
"""The right that each command needs, by the name of the command. A job needs the right of its command, too."""
SHARED = frozenset({"createWorkflow"})
"""Commands to aggregates that belong to no party: every caller with the right may send them."""

"""The owner of the subject of each operation: a row per operation, which every new operation needs."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto


class Of(Enum):
    """The subject of an operation, which decides who may see its answer."""

    EXECUTION = auto()
    """One execution: callers who reach it."""
    BEHIND = auto()
    """An entry that an execution refers to: the parties of that execution."""
    ORDER = auto()
    """One order: its parties."""
    USER = auto()
    """One user: the user."""
    WEBHOOK = auto()
    """One webhook: callers who reach its execution; a webhook of the log: its maker."""
    MADE = auto()
    """One object that an administrator made: nobody else."""
    GRANT = auto()
    """One grant: its maker and its auditor."""
    MANY = auto()
    """Everything that the caller reaches."""
    NEW = auto()
    """The object that the caller creates, and the entries that it names."""
    ALL = auto()
    """Objects without an owner: the same for all callers with the right."""


OWNERSHIP: Mapping[str, Of] = {
    **dict.fromkeys(
        (
            *("start", "pause", "resume", "complete", "fail", "cancel", "retry", "heartbeat"),
            *("updateProgress", "recordUsage", "checkpoint", "log", "update", "updatePartly"),
            *("declareSteps", "startStep", "completeStep", "failStep", "skipStep"),
            *("readExecution", "readStatus", "readProgress", "readResult", "readError"),
            *("readAttempts", "readMetrics", "readCheckpoints", "readSteps", "readStep"),
            *("readService", "readWorkflow"),
            *("readWebhooks", "readLogs", "listEvents", "diff", "compare", "forkExecution"),
            *(
                "watchExecution",
                "monitorExecution",
                "verifyExecution",
                "readBundle",
                *("eraseExecution", "readAccessLog", "readTrail"),
            ),
        ),
        Of.EXECUTION,
    ),
    **dict.fromkeys(("readOrder", "readCustomer", "readProvider"), Of.BEHIND),
    **dict.fromkeys(("readOrderEntry", "confirmOrder", "cancelOrder", "eraseOrder"), Of.ORDER),
    **dict.fromkeys(("readUserEntry", "eraseCustomer"), Of.USER),
    **dict.fromkeys(
        (
            *("readWebhook", "updateWebhook", "removeWebhook", "rotateSecret", "disableWebhook"),
            *("enableWebhook", "testWebhook", "readDeliveries", "redeliver", "redeliverFailed"),
            "rewindWebhook",
        ),
        Of.WEBHOOK,
    ),
    **dict.fromkeys(
        (
            "readJob",
            "cancelJob",
            "readReceipt",
            "readHoldEntry",
            "releaseHold",
            "readKey",
            "revokeKey",
        ),
        Of.MADE,
    ),
    **dict.fromkeys(("readGrant", "revokeGrant"), Of.GRANT),
    **dict.fromkeys(
        (
            *("listExecutions", "findExecutions", "analyseExecutions", "analyseExecutionsToo"),
            *("streamEvents", "watchExecutions", "monitorExecutions", "inbox", "bulkExecutions"),
            *("listJobs", "listOrders", "listUsers", "listHolds", "listGrants", "listWebhooks"),
            *("listKeys", "exportExecutions", "exportDocuments"),
        ),
        Of.MANY,
    ),
    **dict.fromkeys(
        (
            *("createExecution", "sendCommands", "claimExecution", "createOrder", "createService"),
            *("createWorkflow", "createUser", "placeHold", "createGrant", "createWebhook"),
            "createKey",
        ),
        Of.NEW,
    ),
    **dict.fromkeys(
        (
            *("readTreeHead", "proveInclusion", "proveConsistency", "readTile"),
            *("listServices", "readServiceEntry", "listWorkflows", "readWorkflowEntry"),
            *("health", "readiness", "projections", "metrics", "confirmClock", "previewRetention"),
            *("openapi", "asyncapi", "problem", "openPage"),
            *(
                "listExecutionsOfCells",
                "analyseExecutionsOfCells",
                "streamEventsOfCells",
                "me",
                "startSession",
                "endSession",
                "createSessionCode",
            ),
        ),
        Of.ALL,
    ),
}

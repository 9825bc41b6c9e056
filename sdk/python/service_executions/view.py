"""The members of an execution, as its client last saw them."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from service_executions.errors import NotLoaded
from service_executions.models import (
    ExecutionAssignee,
    ExecutionAttempt,
    ExecutionCheckpoint,
    ExecutionClaim,
    ExecutionError,
    ExecutionMetadata,
    ExecutionMetrics,
    ExecutionResult,
    ExecutionStep,
    ExecutionWebhook,
    Priority,
    ServiceExecution,
    Status,
)


class View:
    """An execution by its id, and its document, once it was read. A command refreshes it."""

    def __init__(self, id: str, document: ServiceExecution | None = None) -> None:
        self.id = id
        self._document = document

    def __repr__(self) -> str:
        known = self._document
        shown = f"{known.status}, version {known.version}" if known else "not read"
        return f"<{type(self).__name__} {self.id}: {shown}>"

    @property
    def document(self) -> ServiceExecution:
        """The whole document, with the members that stand nowhere below.

        Raises:
            NotLoaded: it was not read yet.
        """
        if self._document is None:
            raise NotLoaded(f"{self.id} was not read yet: call refresh() first")
        return self._document

    def _move(self, answer: bytes) -> None:
        """Take over where it stands from an answer that says no more; nothing where it was not read yet."""
        if self._document is not None:
            now = json.loads(answer)
            changed = {"status": now["status"], "version": now["version"]}
            self._document = self._document.model_copy(update=changed)

    @property
    def status(self) -> Status:
        """`queued`, `starting`, `running`, `paused`, `completed`, `failed`, `cancelled` or `retry`."""
        return self.document.status

    @property
    def is_ended(self) -> bool:
        """Whether it was completed, has failed for good, or was cancelled."""
        return self.status in {"completed", "failed", "cancelled"}

    @property
    def progress(self) -> float:
        """From 0 to 100."""
        return self.document.progress

    @property
    def order(self) -> str:
        """The id of the order."""
        return _id(self.document.order)

    @property
    def service(self) -> str:
        """The id of the service."""
        return _id(self.document.service)

    @property
    def workflow(self) -> str | None:
        """The id of the workflow, where the service has one."""
        return None if self.document.workflow is None else _id(self.document.workflow)

    @property
    def customer(self) -> str:
        """The id of the customer."""
        return _id(self.document.customer)

    @property
    def provider(self) -> str:
        """The id of the provider."""
        return _id(self.document.provider)

    @property
    def assignee(self) -> ExecutionAssignee | None:
        """Who or what executes."""
        return self.document.assignee

    @property
    def result(self) -> ExecutionResult | None:
        """What came out, once it is completed."""
        return self.document.result

    @property
    def error(self) -> ExecutionError | None:
        """What went wrong last."""
        return self.document.error

    @property
    def steps(self) -> list[ExecutionStep]:
        """The steps, in declared order."""
        return self.document.steps

    @property
    def checkpoints(self) -> list[ExecutionCheckpoint]:
        """The latest ten."""
        return self.document.checkpoints

    @property
    def attempts(self) -> list[ExecutionAttempt]:
        """One for each try."""
        return self.document.attempts

    @property
    def next_retry_at(self) -> datetime | None:
        """When it is tried again, while its status is `retry`."""
        return self.document.next_retry_at

    @property
    def claimed_by(self) -> ExecutionClaim | None:
        """Which worker holds it."""
        return self.document.claimed_by

    @property
    def metrics(self) -> ExecutionMetrics:
        """How long it took, and what it used up."""
        return self.document.metrics

    @property
    def priority(self) -> Priority:
        """`low`, `normal`, `high` or `urgent`."""
        return self.document.priority

    @property
    def timeout(self) -> int | None:
        """Milliseconds that one attempt may take; None is no limit."""
        return self.document.timeout

    @property
    def webhooks(self) -> list[ExecutionWebhook]:
        """Where events are sent; a secret is shown in the answer that makes it, and nowhere later."""
        return self.document.webhooks

    @property
    def tags(self) -> list[str]:
        """Its tags."""
        return self.document.tags

    @property
    def metadata(self) -> ExecutionMetadata:
        """Times, and what clients noted."""
        return self.document.metadata

    @property
    def version(self) -> int:
        """The place of its last event in its own history."""
        return self.document.version

    @property
    def position(self) -> int:
        """The place of its last event in the whole log."""
        return self.document.position


def _id(reference: Any) -> str:
    """The id, also where `expand` put the object in its place."""
    return reference if isinstance(reference, str) else str(reference["$id"])

"""The log of the service for followers and projections of the library `eventsourcing`, which may only read it."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import orjson
from eventsourcing.application import Application
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import (
    Cipher,
    Compressor,
    Mapper,
    NotSupportedError,
    StoredEvent,
    Transcoder,
)
from eventsourcing.utils import Environment, EnvType, get_topic

from domain import registry
from domain.eventlog import library
from domain.eventlog.codec import EventRow
from domain.eventlog.library.recorders import RecordedNotification
from domain.model import Event, Recorded


class UnknownEvent(Event):
    """An event of a type that is unknown to this program, as a newer program wrote it."""

    type: ClassVar[str] = ""
    topic: str
    state: bytes

    def apply(self, state: Any, recorded: Recorded) -> Any:
        """Raises LookupError."""
        raise LookupError(f"this program does not know the type {self.topic}")


class ServiceMapper(Mapper[str]):
    """Decodes stored events of the service to `Recorded`; sealed fields stay `Ciphertext`."""

    def __init__(
        self,
        transcoder: Transcoder,
        compressor: Compressor | None = None,
        cipher: Cipher | None = None,
    ) -> None:
        super().__init__(transcoder, compressor, cipher)
        self._codec = registry.codec()

    def to_domain_event(self, stored_event: StoredEvent) -> DomainEventProtocol[str]:
        """Decode an event to a `Recorded`, with an `UnknownEvent` in it if its type is unknown.

        Raises:
            Damaged: the stored bytes do not fit the type.
        """
        return cast(DomainEventProtocol[str], self.decode(stored_event))

    def decode(self, stored_event: StoredEvent) -> Recorded:
        """Decode an event as `to_domain_event`; this method has the precise return type."""
        assert isinstance(stored_event, RecordedNotification)
        row = row_of(stored_event)
        return self._codec.decode(row) if self._codec.knows(row.type) else _unknown(row)

    def to_stored_event(self, domain_event: DomainEventProtocol[str]) -> StoredEvent:
        """Raises NotSupportedError."""
        raise NotSupportedError("the log of the service is appended to by its commands alone")


OF_SERVICE = {
    "PERSISTENCE_MODULE": library.__name__,
    "MAPPER_TOPIC": get_topic(ServiceMapper),
    "CREATE_TABLE": "no",  # reading migrates nothing
}


class ServiceLog(Application[str]):
    """The log of the service in the database `EXECUTIONS_DATABASE_URL` and the schema `EXECUTIONS_SCHEMA`, for its
    `notification_log` or a `ProjectionRunner`. The variables of the library, and `DATABASE_URL`, may name the database, too.
    """

    name = "executions"

    def construct_env(self, name: str, env: EnvType | None = None) -> Environment:
        """The environment of the application. The settings of the service are under its own prefix, so that unprefixed
        variables may configure other applications.
        """
        made = super().construct_env(name, env)
        for variable, value in OF_SERVICE.items():
            made[f"EXECUTIONS_{variable}"] = value
        made["EXECUTIONS_POSTGRES_SCHEMA"] = made.get("EXECUTIONS_SCHEMA") or name
        return made


def row_of(event: RecordedNotification) -> EventRow:
    """The row of the log of a stored event."""
    return EventRow(
        event.id,
        event.originator_version,
        event.at,
        str(event.originator_id),
        event.topic,
        event.meta,
        event.state,
    )


def _unknown(row: EventRow) -> Recorded:
    by = orjson.loads(row.meta)["by"]
    event = UnknownEvent(topic=row.type, state=row.data)
    return Recorded(row.stream, row.version, row.position, row.at, event, by, size=len(row.data))

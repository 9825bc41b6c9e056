"""Record, query and follow service executions."""

from service_executions import webhooks
from service_executions._async.client import AsyncClient
from service_executions._async.execution import AsyncExecution
from service_executions._async.queries import AsyncPage, AsyncQuery
from service_executions._async.streams import AsyncStream
from service_executions._async.tracking import AsyncRun
from service_executions._sync.client import Client
from service_executions._sync.execution import Execution
from service_executions._sync.queries import Page, Query
from service_executions._sync.streams import Stream
from service_executions._sync.tracking import Run
from service_executions.cursors import FileCursor, Place
from service_executions.entries import CellExecution, CellFigures
from service_executions.errors import (
    AlreadyExists,
    ApiError,
    CellAway,
    ConnectionFailed,
    ExecutionsError,
    Forbidden,
    IllegalTransition,
    Invalid,
    LeaseLost,
    Misdirected,
    NotFound,
    NotLoaded,
    NotYetVisible,
    OtherLog,
    OutcomeUnknown,
    Overloaded,
    RateLimited,
    SetupError,
    StreamsOnly,
    TooExpensive,
    Unauthenticated,
    UnknownReference,
    VersionMismatch,
)
from service_executions.frames import CellEvent, CellFrame, Event, Frame
from service_executions.values import (
    Agent,
    Assignee,
    Human,
    Hybrid,
    Result,
    Retry,
    Step,
    System,
    Usage,
    Webhook,
)

__all__ = [
    "Agent",
    "AlreadyExists",
    "ApiError",
    "Assignee",
    "AsyncClient",
    "AsyncExecution",
    "AsyncPage",
    "AsyncQuery",
    "AsyncRun",
    "AsyncStream",
    "CellAway",
    "CellEvent",
    "CellExecution",
    "CellFigures",
    "CellFrame",
    "Client",
    "ConnectionFailed",
    "Event",
    "Execution",
    "ExecutionsError",
    "FileCursor",
    "Forbidden",
    "Frame",
    "Human",
    "Hybrid",
    "IllegalTransition",
    "Invalid",
    "LeaseLost",
    "Misdirected",
    "NotFound",
    "NotLoaded",
    "NotYetVisible",
    "OtherLog",
    "OutcomeUnknown",
    "Overloaded",
    "Page",
    "Place",
    "Query",
    "RateLimited",
    "Result",
    "Retry",
    "Run",
    "SetupError",
    "Step",
    "Stream",
    "StreamsOnly",
    "System",
    "TooExpensive",
    "Unauthenticated",
    "UnknownReference",
    "Usage",
    "VersionMismatch",
    "Webhook",
    "webhooks",
]

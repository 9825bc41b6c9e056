"""A service in memory, which accepts every command and shows executions as far as tests of clients need."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import httpx2
from pydantic_core import from_json

from service_executions.requests import (
    CANCEL,
    CHECKPOINT,
    COMPLETE,
    DECLARE_STEPS,
    FAIL,
    HEARTBEAT,
    LOG,
    PAUSE,
    PROGRESS,
    RESUME,
    RETRY,
    START,
    USAGE,
)
from service_executions.values import JSON

NAMES = {
    command.path: command.name
    for command in (
        CANCEL,
        CHECKPOINT,
        COMPLETE,
        DECLARE_STEPS,
        FAIL,
        HEARTBEAT,
        LOG,
        PAUSE,
        PROGRESS,
        RESUME,
        RETRY,
        START,
        USAGE,
    )
}
STATUS_AFTER = {
    "start": "running",
    "pause": "paused",
    "resume": "running",
    "complete": "completed",
    "fail": "failed",
    "retry": "retry",
    "cancel": "cancelled",
}
STEP_AFTER = {
    "startStep": "running",
    "completeStep": "completed",
    "failStep": "failed",
    "skipStep": "skipped",
}
TIME = "2026-01-01T00:00:00.000Z"
EXECUTION = re.compile(r"/api/executions/([^/]+)(?:/(.+))?")
STEP = re.compile(r"steps/([^/]+)/(\w+)")
ENTRIES = {
    "users": "User",
    "services": "Service",
    "workflows": "Workflow",
    "orders": "ServiceOrder",
}


@dataclass(frozen=True)
class Recorded:
    """A command as the service would receive it: its name, its execution, and its members."""

    command: str
    execution: str | None
    members: JSON = field(default_factory=dict[str, Any])


class MemoryService:
    """Answers the requests of a client. It refuses nothing, because only the real service has the rules."""

    def __init__(self) -> None:
        self.commands: list[Recorded] = []
        self._documents: dict[str, JSON] = {}
        self._position = 0
        self._lock = threading.Lock()

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        """Answer a request."""
        with self._lock:
            answer = self._answer(request)
        answer.headers["Log-Position"] = str(self._position)
        return answer

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        path = request.url.raw_path.decode().partition("?")[0]
        body = _body(request)
        if path == "/api/commands":
            return httpx2.Response(200, json=[self._submitted(each) for each in body])
        if path == "/api/executions":
            return httpx2.Response(201, json=self._take("create", body.pop("$id"), body))
        if found := EXECUTION.fullmatch(path):
            return self._of_execution(request.method, unquote(found[1]), found[2], body)
        kind = path.split("/")[2]
        if request.method == "POST" and kind in ENTRIES:
            return httpx2.Response(201, json=self._entry(ENTRIES[kind], body))
        return _not_here(path)

    def _of_execution(
        self, method: str, execution: str, path: str | None, body: JSON
    ) -> httpx2.Response:
        if execution == "find":
            page = {"data": list(self._documents.values()), "hasMore": False, "nextCursor": None}
            return httpx2.Response(200, json={**page, "total": len(self._documents)})
        if method == "GET" and path is None:
            known = self._documents.get(execution)
            return httpx2.Response(200, json=known) if known else _not_here(execution)
        name, members = _named(method, path or "", body)
        if name is None:
            return _not_here(f"{execution}/{path}")
        return httpx2.Response(200, json=self._take(name, execution, members))

    def _submitted(self, said: JSON) -> JSON:
        name, execution = said.pop("command"), said.pop("execution")
        document = self._take(name, execution, said)
        shown = {name: document[name] for name in ("version", "position")}
        return {"status": 201 if name == "create" else 200, "execution": execution, **shown}

    def _take(self, name: str, execution: str, members: JSON) -> JSON:
        self.commands.append(Recorded(name, execution, members))
        self._position += 1
        before: JSON = self._documents.get(execution) or _document(execution)
        after: JSON = {**before, "version": before["version"] + 1, "position": self._position}
        after["status"] = STATUS_AFTER.get(name, before["status"])
        if name in ("create", "update"):
            after |= members
        if name == "updateProgress":
            after["progress"] = members["progress"]
        if name == "complete":
            after["result"] = {"summary": "", "output": None, **members}
        if name == "fail":
            after["error"] = {"recoverable": False, "retryCount": 0, **members}
        after["steps"] = _steps(after["steps"], name, members)
        self._documents[execution] = after
        return after

    def _entry(self, kind: str, body: JSON) -> JSON:
        self.commands.append(Recorded(f"create{kind.removeprefix('Service') or kind}", None, body))
        self._position += 1
        own = {"$type": kind, "version": 1, "position": self._position}
        return {**own, **({"status": "pending"} if kind == "ServiceOrder" else {}), **body}


def _body(request: httpx2.Request) -> Any:
    if "ndjson" in request.headers.get("content-type", ""):
        return [from_json(line) for line in request.content.splitlines()]
    return from_json(request.content) if request.content else {}


def _named(method: str, path: str, body: Any) -> tuple[str | None, JSON]:
    """Return the name of a command and its members, as `/commands` has them; None as the name if there is no command."""
    if method in ("PUT", "PATCH"):
        return "update", body
    if found := STEP.fullmatch(path):
        return f"{found[2]}Step", {"step": unquote(found[1]), **body}
    return (NAMES.get(path) if method == "POST" else None), body


def _steps(steps: list[JSON], name: str, members: JSON) -> list[JSON]:
    declared = [{"status": "pending", **step} for step in members.get("steps", ())]
    if name in ("create", "declareSteps"):
        return declared if name == "create" else [*steps, *declared]
    if name not in STEP_AFTER:
        return steps
    own = {
        key: value for key, value in members.items() if key not in ("step", "occurredAt", "usage")
    }
    if name == "failStep":
        own = {"error": {"retryCount": 0, **own}}
    step = {"id": members["step"], "name": members["step"]}
    known = next((each for each in steps if each["id"] == step["id"]), step)
    after = {**known, **own, "status": STEP_AFTER[name]}
    return [after if each is known else each for each in steps] + ([after] if known is step else [])


def _document(execution: str) -> JSON:
    counts = ("tokensUsed", "cost", "apiCalls", "retries", "stepsCompleted", "stepsTotal")
    return {
        "$type": "ServiceExecution",
        "$id": execution,
        "order": "",
        "service": "",
        "customer": "",
        "provider": "",
        "status": "queued",
        "progress": 0,
        "steps": [],
        "checkpoints": [],
        "attempts": [],
        "metrics": {**dict.fromkeys(counts, 0), "currency": "USD"},
        "priority": "normal",
        "timeout": 3_600_000,
        "webhooks": [],
        "tags": [],
        "metadata": {"createdAt": TIME, "updatedAt": TIME},
        "version": 0,
        "position": 0,
    }


def _not_here(what: str) -> httpx2.Response:
    detail = f"There is no {what}, or the fake client does not know it: use testing.Server."
    problem = {"type": "/problems/not-found", "title": "Not found", "detail": detail}
    return httpx2.Response(404, json={**problem, "status": 404})

"""A fake of the service for tests of the import: it applies commands in plain Python.

It is a transport of httpx2, so that answers can be lost, calls refused, and lists lag.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import httpx2
import orjson

JSON = dict[str, Any]
EVENTS = {
    "declareSteps": "execution.steps.added",
    "startStep": "execution.step.started",
    "completeStep": "execution.step.completed",
    "failStep": "execution.step.failed",
    "skipStep": "execution.step.skipped",
    "complete": "execution.completed",
    "fail": "execution.failed",
    "cancel": "execution.cancelled",
    "checkpoint": "execution.checkpoint",
}
STEP_MOVES: dict[str, tuple[set[str | None], str]] = {
    "startStep": ({None, "pending"}, "running"),
    "completeStep": ({"running"}, "completed"),
    "failStep": ({"running"}, "failed"),
    "skipStep": ({"pending"}, "skipped"),
}
ENDS = {"complete": "completed", "fail": "failed", "cancel": "cancelled"}


class Refused(Exception):
    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.problem = {"type": f"/problems/{code}", "title": code, "status": status}


@dataclass
class Folded:
    """An execution as its commands change it."""

    order: str
    started: datetime
    created: JSON
    ended: datetime | None = None
    status: str = "running"
    steps: dict[str, str] = field(default_factory=dict)
    events: list[JSON] = field(default_factory=list)

    @property
    def version(self) -> int:
        return len(self.events)

    @property
    def duration(self) -> timedelta:
        assert self.ended
        return self.ended - self.started

    def apply(self, command: JSON) -> None:
        name = command["command"]
        if self.status != "running":
            raise Refused(409, "illegal-transition")
        if name == "declareSteps":
            for step in command["steps"]:
                assert step["id"] not in self.steps
                self.steps[step["id"]] = "pending"
        elif name in STEP_MOVES:
            before, after = STEP_MOVES[name]
            assert self.steps.get(command["step"]) in before
            self.steps[command["step"]] = after
        elif name in ENDS:
            self._end(ENDS[name], datetime.fromisoformat(command["occurredAt"]))
        self.events.append(event(EVENTS[name], command["occurredAt"], command))

    def _end(self, status: str, at: datetime) -> None:
        self.status, self.ended = status, at
        for step, now in self.steps.items():
            if now in {"pending", "running"}:
                self.steps[step] = "skipped"

    def keep_checkpoint(self, at: str) -> None:
        """Save a checkpoint, as the service does automatically after 15 minutes of running."""
        self.events.append(event(EVENTS["checkpoint"], at, {"state": {}, "automatic": True}))

    def shown(self) -> JSON:
        kept = [{"id": "cp"} for each in self.events if each["type"] == EVENTS["checkpoint"]]
        shown = {"version": self.version, "status": self.status, "order": self.order}
        return {**shown, "checkpoints": kept}


def event(kind: str, at: str, data: JSON) -> JSON:
    return {"type": kind, "occurredat": at, "data": data}


def created(command: JSON) -> Folded:
    names = ("execution.created", "execution.starting", "execution.started")
    at = datetime.fromisoformat(command["occurredAt"])
    execution = Folded(command["order"], at, command)
    execution.events = [event(name, command["occurredAt"], {}) for name in names]
    return execution


class FakeService(httpx2.BaseTransport):
    def __init__(self) -> None:
        self.executions: dict[str, Folded] = {}
        self.resources: dict[str, JSON] = {}
        self.paths: list[str] = []
        self.most_commands = 0
        self.troubles: dict[int, str] = {}
        """The n-th call of /commands: "lost" after it was done, "away", "stop" half-way."""
        self.unreachable = 0
        """How many of the next requests find nothing that listens."""
        self.lists_are_behind = False
        self.most_found = 500
        """Whether lists are empty, as those of a lagging view."""
        self.refusal = 0
        """If not 0, the status of all answers, with an HTML page, as of another service."""
        self._commands_calls = 0

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        if self.unreachable:
            self.unreachable -= 1
            raise httpx2.ConnectError("Connection refused")
        if self.refusal:
            return httpx2.Response(self.refusal, text="<html>")
        return self._routed(request)

    def _routed(self, request: httpx2.Request) -> httpx2.Response:
        path = request.url.path.removeprefix("/api")
        self.paths.append(f"{request.method} {path}")
        body: Any = orjson.loads(request.content) if request.content else None
        match [request.method, *path.strip("/").split("/")]:
            case ["POST", "commands"]:
                return self._commands(body)
            case ["POST", "executions", "find"]:
                return self._find(body["$id"]["$in"])
            case ["GET", "executions", name]:
                return httpx2.Response(200, json={"$id": name, **self.executions[name].shown()})
            case ["GET", "executions", name, "events"]:
                return httpx2.Response(200, json=self._page(name, request.url.params))
            case ["POST", _]:
                return self._create(f"{path}/{body['$id']}", body)
        shown = {"status": "ok"} if path == "/healthz" else self.resources[path]
        return httpx2.Response(200, json=shown)

    def send(self, command: JSON) -> None:
        """Apply a command, from the import or from another client."""
        name = command["execution"]
        if command["command"] == "create":
            if name in self.executions:
                raise Refused(409, "already-exists")
            self.executions[name] = created(command)
            return
        execution = self.executions.get(name)
        if execution is None:
            raise Refused(404, "not-found")
        if command.get("ifMatch", execution.version) != execution.version:
            raise Refused(412, "version-mismatch")
        execution.apply(command)

    def _commands(self, commands: list[JSON]) -> httpx2.Response:
        trouble = self.troubles.get(self._commands_calls)
        self._commands_calls += 1
        self.most_commands = max(self.most_commands, len(commands))
        if trouble == "away":
            return httpx2.Response(503, headers={"Retry-After": "1"})
        done = commands[: len(commands) // 2] if trouble == "stop" else commands
        answers = [self._answer(command) for command in done]
        if trouble == "stop":
            raise KeyboardInterrupt
        if trouble == "lost":
            raise httpx2.ReadError("the answer was lost")
        return httpx2.Response(200, json=answers)

    def _answer(self, command: JSON) -> JSON:
        try:
            self.send(command)
        except Refused as refused:
            problem = refused.problem
            return {"status": problem["status"], "problem": problem}
        return {"status": 200}

    def _find(self, names: list[str]) -> httpx2.Response:
        if len(names) > self.most_found:
            return httpx2.Response(422, json=Refused(422, "too-expensive").problem)
        found = [] if self.lists_are_behind else [name for name in names if name in self.executions]
        rows = [{"$id": name, **self.executions[name].shown()} for name in found]
        return httpx2.Response(200, json={"data": rows})

    def _page(self, name: str, query: httpx2.QueryParams) -> JSON:
        start, events = int(query.get("cursor", 0)), self.executions[name].events
        page = {"data": events[start : start + 3], "hasMore": start + 3 < len(events)}
        return {**page, "nextCursor": str(start + 3)}

    def _create(self, path: str, body: JSON) -> httpx2.Response:
        if path in self.resources:
            return httpx2.Response(409, json=Refused(409, "already-exists").problem)
        self.resources[path] = body
        return httpx2.Response(201, json=body)

"""The scenarios of the demo: the requests, and their seconds after the beginning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

RETRIES = {"maxRetries": 3, "backoff": "exponential", "initialDelay": 4_000, "maxDelay": 30_000}
WRITER = {"type": "ai-agent", "id": "writer", "name": "Writer", "model": "claude-sonnet-4"}
RESEARCHER = {"type": "ai-agent", "id": "researcher", "name": "Researcher", "model": "gpt-5"}
EDITOR = {"type": "human", "id": "editor-1", "name": "Editor"}
PAIR = {"type": "hybrid", "id": "desk-2", "name": "Desk 2", "model": "claude-sonnet-4"}
BILLING = {"type": "system", "id": "billing", "name": "Billing"}


class Sent(NamedTuple):
    """One request: its time in seconds after the beginning, its path and its body."""

    at: float
    path: str
    body: Mapping[str, Any]


CATALOG = (
    ("/users", {"$id": "northwind", "name": "Northwind", "kind": "organization"}),
    ("/users", {"$id": "globex", "name": "Globex", "kind": "organization"}),
    ("/users", {"$id": "studio", "name": "Studio Ltd", "kind": "organization"}),
    ("/services", {"$id": "leads", "name": "Lead outreach", "provider": "studio"}),
    ("/services", {"$id": "articles", "name": "Articles", "provider": "studio"}),
    ("/services", {"$id": "invoices", "name": "Invoices", "provider": "studio"}),
    ("/orders", {"$id": "order-leads", "service": "leads", "customer": "northwind"}),
    ("/orders", {"$id": "order-article", "service": "articles", "customer": "globex"}),
    ("/orders", {"$id": "order-bills", "service": "invoices", "customer": "northwind"}),
)
"""The entries that the executions refer to, which the first call creates."""


def scenarios(run: str) -> list[Sent]:
    """All requests in the order in which they are sent; `run` is part of the ids of the executions."""
    sent = [
        *_leads(f"leads-{run}"),
        *_article(f"article-{run}"),
        *_flaky(f"enrich-{run}"),
        *_bills(f"bills-{run}"),
        *_broken(f"import-{run}"),
        *_waiting(f"queued-{run}"),
    ]
    return sorted(sent, key=lambda each: each.at)


class _Execution:
    """Makes the requests of one execution, one after the other."""

    def __init__(self, name: str, at: float) -> None:
        self._path = f"/executions/{name}"
        self._name = name
        self.at = at

    def create(self, **members: Any) -> Sent:
        return Sent(self.at, "/executions", {"$id": self._name, **members})

    def send(self, command: str, body: Mapping[str, Any] | None = None, after: float = 0) -> Sent:
        self.at += after
        return Sent(self.at, f"{self._path}/{command}", body or {})

    def step(self, name: str, seconds: float, **done: Any) -> Iterator[Sent]:
        """A step that takes a number of seconds."""
        yield self.send(f"steps/{name}/start", done.pop("start", None))
        yield self.send(f"steps/{name}/complete", done, after=seconds)


def _leads(name: str) -> Iterator[Sent]:
    """An agent that calls tools and a model, and completes."""
    this = _Execution(name, 0)
    steps = [
        {"id": "plan", "name": "Plan the campaign", "kind": "agent"},
        {"id": "search", "name": "Search the web", "kind": "tool", "parent": "plan"},
        {"id": "rank", "name": "Rank 40 leads", "kind": "model", "parent": "plan"},
        {"id": "mails", "name": "Write the mails", "kind": "agent"},
        {"id": "draft", "name": "Draft", "kind": "model", "parent": "mails"},
        {"id": "send", "name": "Send", "kind": "tool", "parent": "mails"},
    ]
    common = {"order": "order-leads", "service": "leads", "assignee": RESEARCHER, "steps": steps}
    yield this.create(**common, priority="high", tags=["eu", "demo"])
    yield this.send("start", after=0.5)
    yield this.send("logs", {"level": "info", "message": "Campaign of November, 40 leads wanted"})
    yield this.send("steps/plan/start")
    yield from this.step("search", 3, output={"found": 212}, usage={"apiCalls": 6})
    usage = {"tokensUsed": 8_400, "cost": 0.042, "model": "gpt-5"}
    yield from this.step("rank", 5, output={"kept": 40}, usage=usage)
    yield this.send("steps/plan/complete", {"output": {"leads": 40}}, after=0.5)
    yield this.send("progress", {"progress": 50})
    yield this.send("steps/mails/start")
    usage = {"tokensUsed": 21_000, "cost": 0.11, "model": "gpt-5"}
    yield from this.step("draft", 8, output={"mails": 40}, usage=usage)
    yield from this.step("send", 4, output={"sent": 39}, usage={"apiCalls": 40})
    yield this.send("logs", {"level": "warn", "message": "One address does not exist: skipped"})
    yield this.send("steps/mails/complete", {}, after=0.5)
    done = {"success": True, "output": {"sent": 39}, "summary": "39 of 40 mails were sent."}
    yield this.send("complete", done, after=1)


def _article(name: str) -> Iterator[Sent]:
    """An agent and a person together: written, reviewed, and paused for an approval that is never given."""
    this = _Execution(name, 2)
    steps = [
        {"id": "write", "name": "Write the article", "kind": "agent", "assignee": WRITER},
        {"id": "review", "name": "Review", "kind": "human", "assignee": EDITOR},
        {"id": "publish", "name": "Publish", "kind": "tool"},
    ]
    yield this.create(order="order-article", service="articles", assignee=PAIR, steps=steps)
    yield this.send("start", after=1)
    usage = {"tokensUsed": 14_200, "cost": 0.09, "model": "claude-sonnet-4"}
    yield from this.step("write", 12, output={"words": 1_150}, usage=usage)
    yield from this.step("review", 18, output={"changes": 7})
    approval = {"reason": "Waits for the customer's approval", "state": {"draft": 2}}
    yield this.send("pause", approval, after=3)


def _flaky(name: str) -> Iterator[Sent]:
    """Fails twice, is retried automatically each time, and completes."""
    this = _Execution(name, 4)
    yield this.create(
        order="order-leads",
        service="leads",
        assignee=RESEARCHER,
        retryPolicy=RETRIES,
        tags=["demo"],
    )
    for attempt in range(3):
        yield this.send("start", after=0.5 if attempt == 0 else 6 + 4 * attempt)
        if attempt == 0:
            steps = [{"id": "fetch", "name": "Fetch company data", "kind": "tool"}]
            yield this.send("steps", {"steps": steps})
        yield this.send("steps/fetch/start")
        if attempt < 2:
            error = {"code": "UPSTREAM", "message": "503 from the register of companies"}
            yield this.send("fail", {**error, "step": "fetch", "recoverable": True}, after=2)
    yield this.send("steps/fetch/complete", {"output": {"companies": 40}}, after=2)
    yield this.send("complete", {"success": True, "output": 40, "summary": "Enriched."}, after=0.5)


def _bills(name: str) -> Iterator[Sent]:
    """A system that works through many small steps."""
    this = _Execution(name, 6)
    steps = [{"id": f"bill-{nth:02}", "name": f"Bill {nth:02}"} for nth in range(1, 25)]
    yield this.create(
        order="order-bills", service="invoices", assignee=BILLING, steps=steps, priority="low"
    )
    yield this.send("start", after=0.2)
    for nth in range(1, 25):
        yield from this.step(f"bill-{nth:02}", 1.4, output={"number": 4_000 + nth})
    done = {"success": True, "output": {"bills": 24}, "summary": "24 bills were made."}
    yield this.send("complete", done, after=0.5)


def _broken(name: str) -> Iterator[Sent]:
    """Fails for good, with a stack."""
    this = _Execution(name, 10)
    yield this.create(order="order-bills", service="invoices", assignee=BILLING)
    yield this.send("start", after=0.5)
    yield this.send("steps/parse/start", {"name": "Parse the bank statement"})
    stack = 'File "statement.py", line 88, in parse\n    raise FormatError(line)'
    error = {"code": "FORMAT", "message": "Line 88 has no amount", "stack": stack, "step": "parse"}
    yield this.send("fail", {**error, "recoverable": False}, after=4)


def _waiting(name: str) -> Iterator[Sent]:
    """One that no worker has claimed, and one that is cancelled."""
    this = _Execution(name, 12)
    yield this.create(order="order-leads", service="leads", priority="urgent")
    other = _Execution(f"{name}-old", 13)
    yield other.create(order="order-leads", service="leads")
    yield other.send("cancel", {"reason": "The campaign has ended"}, after=8)

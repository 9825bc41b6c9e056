"""Sends the plans of a log: skips complete executions, and continues incomplete ones."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from api.interop.xes.client import JSON, ServiceClient, problem_code, problem_text
from api.interop.xes.mapping import Mapping
from api.interop.xes.names import order_id
from api.interop.xes.plan import Plan
from api.interop.xes.resume import Conflict, ImportProgress, own_progress

MOST_COMMANDS = 1000
"""Commands of one call."""
MOST_BYTES = 8 << 20
"""Bytes of one call."""
MOST_FOUND = 100
"""Executions of one query, as an answer has them whole and should not take the service long."""
MOST_PLANNED = 10_000
"""Planned commands for the executions of one query, so that memory is bounded."""
IN_FLIGHT = 2
"""Calls that run at the same time."""
ATTEMPTS = 5
"""Attempts to complete an execution."""
# Problem codes of a command that was perhaps executed before: its first answer was lost, or the view was behind.
REPEATED = frozenset({"already-exists", "version-mismatch"})


@dataclass(frozen=True, slots=True)
class ImportRefusal:
    execution: str
    reason: str


@dataclass(slots=True)
class Result:
    """The outcomes of executions, each counted once."""

    fared: Counter[str] = field(default_factory=Counter)
    commands: int = 0
    refused: list[ImportRefusal] = field(default_factory=list)

    def add(self, other: "Result") -> None:
        self.fared.update(other.fared)
        self.commands += other.commands
        self.refused += other.refused


@dataclass(frozen=True, slots=True)
class ImportTask:
    """A plan, and how far its execution is."""

    plan: Plan
    made: ImportProgress

    @property
    def commands(self) -> list[bytes]:
        return self.plan.after(*self.made)

    @property
    def fared(self) -> str:
        """How it fared, once it is whole."""
        return "resumed" if self.made.events else "imported"


def prepare(service: ServiceClient, mapping: Mapping, log: str) -> None:
    """Create the users, the service and the order that the executions of a log refer to."""
    provider, customer, offered = mapping.service.provider, mapping.customer, mapping.service
    for user in dict.fromkeys((provider, customer)):
        service.ensure("/users", {"$id": user, "name": user, "kind": "organization"})
    service.ensure(
        "/services",
        {"$id": offered.id, "name": offered.name, "provider": provider},
        agree=["provider"],
    )
    service.ensure(
        "/orders",
        {"$id": order_id(log), "service": offered.id, "customer": customer},
        agree=["service", "customer"],
    )


def import_plans(
    plans: Iterable[Plan], service: ServiceClient, progress: Callable[[Result], None]
) -> Result:
    """Complete every execution of the plans. `progress` is called with the result of each call.

    Two calls run at a time, each with whole executions, so that the commands of an execution stay in order.
    """
    total = Result()
    waiting: deque[Future[Result]] = deque()

    def settle(result: Result) -> None:
        total.add(result)
        progress(result)

    with ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="import") as pool:
        try:
            for group in _groups(_tasks(plans, service, settle)):
                if len(waiting) > IN_FLIGHT:
                    settle(waiting.popleft().result())
                waiting.append(pool.submit(_complete_group, group, service))
            while waiting:
                settle(waiting.popleft().result())
        except BaseException:
            service.close()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return total


def _tasks(
    plans: Iterable[Plan], service: ServiceClient, settle: Callable[[Result], None]
) -> Iterator[ImportTask]:
    for window in _windows(plans):
        tasks, known = _compare(window, service)
        settle(known)
        yield from tasks


def _windows(plans: Iterable[Plan]) -> Iterator[list[Plan]]:
    window: list[Plan] = []
    planned = 0
    for plan in plans:
        window.append(plan)
        planned += len(plan.commands)
        if len(window) == MOST_FOUND or planned >= MOST_PLANNED:
            yield window
            window, planned = [], 0
    if window:
        yield window


def _compare(window: list[Plan], service: ServiceClient) -> tuple[list[ImportTask], Result]:
    existing = service.find([plan.execution for plan in window])
    tasks, known = [], Result()
    for plan in window:
        try:
            made = own_progress(plan, existing.get(plan.execution), service)
        except Conflict as conflict:
            _refuse(known, plan, str(conflict))
            continue
        if made.events == plan.version:
            known.fared["unchanged"] += 1
        else:
            tasks.append(ImportTask(plan, made))
    return tasks, known


def _refuse(result: Result, plan: Plan, reason: str) -> None:
    result.fared["refused"] += 1
    result.refused.append(ImportRefusal(plan.execution, reason))


def _groups(tasks: Iterable[ImportTask]) -> Iterator[list[ImportTask]]:
    """Group whole executions, as many as fit into one call; a longer execution is a group of its own."""
    group: list[ImportTask] = []
    count = 0
    for task in tasks:
        if group and count + len(task.commands) > MOST_COMMANDS:
            yield group
            group, count = [], 0
        group.append(task)
        count += len(task.commands)
    if group:
        yield group


def _complete_group(tasks: list[ImportTask], service: ServiceClient) -> Result:
    """Send a group; read the executions again that refused a command, and send what they lack."""
    result = Result()
    for attempt in range(ATTEMPTS):
        if attempt:
            service.pause(attempt)
        refused = _send(tasks, service, result)
        again = (_read_again(task, problem, service, result) for task, problem in refused)
        tasks = [task for task in again if task]
        if not tasks:
            return result
    for task in tasks:
        _refuse(result, task.plan, "something else keeps writing to it")
    return result


def _send(
    tasks: list[ImportTask], service: ServiceClient, result: Result
) -> list[tuple[ImportTask, JSON]]:
    """Send the commands of tasks. Return each task whose execution refused a command, with the first problem."""
    refused: dict[str, tuple[ImportTask, JSON]] = {}
    for piece in _pieces(tasks):
        answers = service.send([command for _, command in piece])
        for (task, _), answer in zip(piece, answers, strict=True):
            if answer["status"] < 400:
                result.commands += 1
            else:
                refused.setdefault(task.plan.execution, (task, answer["problem"]))
    for task in tasks:
        if task.plan.execution not in refused:
            result.fared[task.fared] += 1
    return list(refused.values())


def _pieces(tasks: list[ImportTask]) -> Iterator[list[tuple[ImportTask, bytes]]]:
    piece: list[tuple[ImportTask, bytes]] = []
    size = 0
    for task in tasks:
        for command in task.commands:
            if len(piece) == MOST_COMMANDS or (piece and size + len(command) > MOST_BYTES):
                yield piece
                piece, size = [], 0
            piece.append((task, command))
            size += len(command)
    if piece:
        yield piece


def _read_again(
    task: ImportTask, problem: JSON, service: ServiceClient, result: Result
) -> ImportTask | None:
    """The task for what an execution lacks after a refusal; None where it is complete, or finally refused."""
    if problem_code(problem) not in REPEATED and problem["status"] < 500:
        _refuse(result, task.plan, f"{problem['status']} {problem_text(problem)}")
        return None
    try:
        made = own_progress(task.plan, service.execution(task.plan.execution), service)
    except Conflict as conflict:
        _refuse(result, task.plan, str(conflict))
        return None
    if made.events < task.plan.version:
        return ImportTask(task.plan, made)
    result.fared[task.fared] += 1
    return None

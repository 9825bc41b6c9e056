"""Measures the dashboard with an execution of 10 000 steps and 50 000 events: how soon it is shown, and how it scrolls."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from bench.measurements import Measurement, Report, Target
from bench.plan import Plan
from bench.stand import Stand
from service_executions import Client, Step

STEPS, EVENTS = 10_000, 50_000
OF_ONE_CALL = 1_000
TABS = {"timeline": "the timeline", "steps": "the steps", "events": "the events"}
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
WATCH = """
    const look = () => {
        if (document.querySelector(".rows .row")) window.opened = performance.now();
        else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
"""
"""Stores the time at which the first row is shown, in milliseconds since the navigation began."""
SCROLL = """async (seconds) => {
    const rows = document.querySelector(".rows");
    const found = { frames: 0, longest: 0, rows: 0 };
    const end = performance.now() + seconds * 1000;
    let before = performance.now();
    while (before < end) {
        const last = rows.scrollTop + rows.clientHeight >= rows.scrollHeight - 1;
        rows.scrollTop = last ? 0 : rows.scrollTop + 600;
        const now = await new Promise((drawn) => requestAnimationFrame(() => drawn(performance.now())));
        found.frames += 1;
        found.longest = Math.max(found.longest, now - before);
        found.rows = Math.max(found.rows, rows.querySelectorAll(".row").length);
        before = now;
    }
    return found;
}"""
"""Scrolls by most of a page in each frame, and measures the longest time between two frames."""


def measure(stand: Stand, plan: Plan, report: Report) -> None:
    """Measure each tab of the execution, each time in a new browser context."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        report.notes.append("The dashboard was not measured: there is no Chromium.")
        return
    server = stand.serve(stand.database("dashboard"))
    url = f"http://127.0.0.1:{server.port}"
    with Client(url, stand.token, timeout=120) as client:
        _fill(client)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        for tab, name in TABS.items():
            with _page(browser, stand.token, f"{url}/ui/executions/large?tab={tab}"):
                pass  # so that the server has read the page once before it is measured
            tries = [_try(browser, stand, plan, url, tab) for _ in range(plan.repetitions)]
            report.add(f"The dashboard: {name}", _measurements(tries))
        browser.close()
    stand.stop(server)


def _try(browser: Any, stand: Stand, plan: Plan, url: str, tab: str) -> dict[str, float]:
    with _page(browser, stand.token, f"{url}/ui/executions/large?tab={tab}") as page:
        found: dict[str, float] = page.evaluate(SCROLL, plan.seconds)
        return {**found, "opened": page.evaluate("opened")}


def _measurements(tries: Sequence[dict[str, float]]) -> list[Measurement]:
    def samples(name: str) -> list[float]:
        return [each[name] for each in tries]

    return [
        Measurement(
            "from the address to the first rows", "ms", samples("opened"), Target("≤", 1_500)
        ),
        Measurement("rows in the document", "", samples("rows"), Target("≤", 400)),
        Measurement("longest frame while scrolling", "ms", samples("longest"), Target("≤", 100)),
        Measurement("frames", "", samples("frames")),
    ]


@contextmanager
def _page(browser: Any, token: str, address: str) -> Iterator[Any]:
    """Yield a page after its first rows are shown."""
    context = browser.new_context(extra_http_headers={"Authorization": f"Bearer {token}"})
    context.add_init_script(WATCH)
    page = context.new_page()
    try:
        page.goto(address)
        page.locator(".rows .row").first.wait_for()
        page.wait_for_timeout(500)
        yield page
    finally:
        context.close()


def _fill(client: Client) -> None:
    client.users.create("acme", name="Acme", kind="organization")
    client.services.create("sdr", name="SDR", provider="acme")
    client.orders.create("order-1", service="sdr", customer="acme")
    run = client.executions.create(order="order-1", service="sdr", id="large", status="running")
    for first in range(0, STEPS, OF_ONE_CALL):
        run.declare_steps([_step(nth) for nth in range(first, first + OF_ONE_CALL)])
    started: list[dict[str, Any]] = [
        {"command": "startStep", "step": f"s-{nth}"} for nth in range(STEPS)
    ]
    completed: list[dict[str, Any]] = [
        {"command": "completeStep", "step": f"s-{nth}"} for nth in range(STEPS)
    ]
    commands = [each for pair in zip(started, completed, strict=True) for each in pair]
    usage: dict[str, Any] = {"command": "recordUsage", "apiCalls": 1}
    commands += [usage] * (EVENTS - run.version - len(commands))
    for first in range(0, len(commands), OF_ONE_CALL):
        some = commands[first : first + OF_ONE_CALL]
        outcomes = client.send([{**command, "execution": run.id} for command in some])
        assert all(outcome["status"] < 300 for outcome in outcomes), outcomes[0]
    assert run.refresh().version == EVENTS


def _step(nth: int) -> Step:
    """Return the nth step; each tenth step is the parent of the nine steps after it."""
    return Step(f"s-{nth}", f"Step {nth}", parent=f"s-{nth - nth % 10}" if nth % 10 else None)

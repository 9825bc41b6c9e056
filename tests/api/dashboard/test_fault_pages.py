"""What the pages show when an answer is missing, late or a refusal: never something that is not so."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import count
from typing import Any

import httpx

from tests.api.dashboard.conftest import Tab, of

LIMITED = {
    "type": "/problems/rate-limited",
    "title": "Too many requests",
    "detail": "Wait a little.",
}


def refuse(route: Any) -> None:
    route.fulfill(status=429, content_type="application/problem+json", json=LIMITED)


def test_version_that_cannot_be_read_shows_why_and_no_other_state(tab: Tab) -> None:
    tab.page.route(re.compile(r"/executions/enrich-t\?version=6"), refuse)
    page = tab.open(of("enrich", version="5"))
    page.get_by_text("As of version 5 of").wait_for()
    page.get_by_role("button", name="One version on").click()
    alert = page.get_by_role("alert")
    alert.get_by_text("Too many requests").wait_for()
    assert page.get_by_text("As of version").count() == 0
    assert page.locator("header.head").count() == 0
    tab.page.unroute_all()
    alert.get_by_role("button", name="Try again").click()
    page.get_by_text("As of version 6 of").wait_for()
    assert "failed" in page.locator("header.head").inner_text()


def test_execution_that_cannot_be_read_again_keeps_its_state_and_shows_why(
    tab: Tab, api: httpx.Client
) -> None:
    body = {"$id": "stale", "order": "order-leads", "service": "leads", "status": "running"}
    api.post("/executions", json=body).raise_for_status()
    page = tab.open("/executions/stale")
    page.locator(".badge.live").wait_for()
    page.get_by_role("heading", name="stale").wait_for()
    tab.page.route(re.compile(r"/executions/stale\?fields"), refuse)
    api.post("/executions/stale/progress", json={"progress": 12}).raise_for_status()
    page.get_by_role("alert").get_by_text("Too many requests").wait_for()
    assert "running" in page.locator("header.head").inner_text()


def running(api: httpx.Client, *names: str, service: str = "leads") -> None:
    """Begin executions, and wait until lists show them."""
    order = {"leads": "order-leads", "invoices": "order-bills"}[service]
    position = ""
    for name in names:
        body = {"$id": name, "order": order, "service": service, "status": "running"}
        answer = api.post("/executions", json=body).raise_for_status()
        position = answer.headers["log-position"]
    api.get("/executions", params={"limit": 1, "minPosition": position}).raise_for_status()


def open_list(tab: Tab, path: str, rows: int) -> Any:
    """The list at a path, once it has so many rows and follows the log."""
    page = tab.open(path)
    page.locator("tr[data-row]").nth(rows - 1).wait_for()
    page.locator(".badge.live").wait_for()
    page.wait_for_timeout(700)  # what it loads again after it connected
    return page


def test_row_is_refreshed_although_another_execution_came_at_once(
    tab: Tab, api: httpx.Client
) -> None:
    running(api, "seen-1")
    page = open_list(tab, "/?$id[prefix]=seen-", 1)
    api.post("/executions/seen-1/cancel", json={}).raise_for_status()
    running(api, "unseen")
    page.locator("tr[data-row] .status.cancelled").wait_for()


def test_all_rows_are_refreshed_when_very_many_change_at_once(tab: Tab, api: httpx.Client) -> None:
    names = [f"herd-{nth}" for nth in range(130)]
    running(api, *names)
    page = open_list(tab, "/?$id[prefix]=herd-&limit=200", 130)
    sent = [{"command": "cancel", "execution": name} for name in names]
    api.post("/commands", json=sent).raise_for_status()
    page.locator("tr[data-row] .status.cancelled").nth(129).wait_for()


def test_rows_are_refreshed_after_a_break_of_which_no_event_tells(
    tab: Tab, api: httpx.Client
) -> None:
    running(api, "quiet-1")
    held: list[Any] = []

    def hold(route: Any) -> None:
        held.append(route)

    tab.page.route(re.compile("/api/events"), hold)
    page = tab.open("/?$id[prefix]=quiet-")
    page.locator("tr[data-row] .status.running").wait_for()
    answer = api.post("/executions/quiet-1/cancel", json={}).raise_for_status()
    position = answer.headers["log-position"]
    frame = f"event: caught-up\nid: {position}\ndata: {{}}\n\n"
    held[0].fulfill(body=frame, content_type="text/event-stream")
    tab.page.unroute_all()
    page.locator("tr[data-row] .status.cancelled").wait_for()


def test_refresh_of_rows_that_fails_is_shown_and_tried_again(tab: Tab, api: httpx.Client) -> None:
    running(api, "denied-1")
    page = open_list(tab, "/?$id[prefix]=denied-", 1)
    tab.page.route(re.compile("/executions/find"), refuse)
    api.post("/executions/denied-1/cancel", json={}).raise_for_status()
    alert = page.get_by_role("alert")
    alert.get_by_text("Too many requests").wait_for()
    tab.page.unroute_all()
    alert.get_by_role("button", name="Try again").click()
    page.locator("tr[data-row] .status.cancelled").wait_for()
    assert alert.count() == 0


def test_number_of_new_ones_ends_at_99_and_is_claimed_only_without_a_filter(
    tab: Tab, api: httpx.Client
) -> None:
    page = open_list(tab, "/", 7)
    running(api, "counted", service="invoices")
    page.get_by_role("button", name="1 new").wait_for()
    running(api, *(f"counted-{nth}" for nth in range(110)), service="invoices")
    page.get_by_role("button", name="99+ new").click()
    page.get_by_role("button", name="99+ new").wait_for(state="detached")
    page = open_list(tab, "/?service=leads", 1)
    running(api, "counted-last", service="invoices")
    page.get_by_role("button", name="There may be new ones").wait_for()


def of_lines(tab: Tab, answer: Callable[[Any, int], None]) -> None:
    """Answer the requests for the stream of log lines; the first has number 0."""
    numbers = count()

    def each(route: Any) -> None:
        if route.request.headers["accept"] == "text/event-stream":
            answer(route, next(numbers))
        else:
            route.continue_()

    tab.page.route(re.compile(r"/logs\b"), each)


def test_log_is_followed_on_after_a_passing_refusal(tab: Tab, api: httpx.Client) -> None:
    running(api, "logged")
    of_lines(tab, lambda route, number: refuse(route) if number == 0 else route.continue_())
    page = tab.open("/executions/logged?tab=log")
    page.get_by_text("0 lines").wait_for()
    with page.expect_request(lambda each: "from=now" in each.url):
        pass
    line = {"level": "info", "message": "Still there"}
    api.post("/executions/logged/logs", json=line).raise_for_status()
    page.get_by_text("Still there").wait_for()


def test_log_that_may_not_be_followed_says_so(tab: Tab) -> None:
    refusal = {"type": "/problems/forbidden", "title": "Forbidden", "detail": "Not yours."}
    of_lines(tab, lambda route, _: route.fulfill(status=403, json=refusal))
    page = tab.open(of("leads", tab="log"))
    page.get_by_role("alert").get_by_text("Not yours.").wait_for()


def test_log_that_is_followed_keeps_the_last_lines_alone(tab: Tab, api: httpx.Client) -> None:
    running(api, "verbose")
    lines = "".join(
        f'id: {nth}\nevent: log\ndata: {{"id": {nth}, "timestamp": "2026-01-01T00:00:00Z", '
        f'"level": "info", "message": "Line {nth}."}}\n\n'
        for nth in range(1, 4_001)
    )

    def answer(route: Any, number: int) -> None:
        if number == 0:
            route.fulfill(body=lines, content_type="text/event-stream")
        else:
            route.fulfill(status=204)

    of_lines(tab, answer)
    page = tab.open("/executions/verbose?tab=log")
    page.get_by_text("3000 lines, older ones are not shown").wait_for()
    page.get_by_text("Line 4000.").wait_for()


def loads(page: Any) -> list[str]:
    """The pages that are loaded from now on."""
    found: list[str] = []
    page.on("load", lambda _: found.append(page.url))
    return found


def assert_begins_again(tab: Tab) -> None:
    found = loads(tab.page)
    page = tab.open()
    page.locator(".badge.offline").wait_for()
    page.locator(".badge.live").wait_for()
    page.locator("tr[data-row]").first.wait_for()
    assert len(found) == 2


def test_page_begins_again_where_its_position_is_beyond_the_log(tab: Tab) -> None:
    frame = "event: caught-up\nid: 99999999\ndata: {}\n\n"

    def once(route: Any) -> None:
        route.fulfill(body=frame, content_type="text/event-stream")

    tab.page.route(re.compile("/api/events"), once, times=1)
    assert_begins_again(tab)


def test_page_begins_again_where_the_log_has_another_id(tab: Tab) -> None:
    other = {"log-id": "0" * 32, "content-type": "text/event-stream"}
    frame = "event: caught-up\nid: 1\ndata: {}\n\n"

    for path in (r"/api/me$", r"/api/executions\?"):
        tab.page.route(re.compile(path), refuse, times=1)
    events = re.compile("/api/events")
    tab.page.route(events, lambda route: route.fulfill(body=frame, headers=other), times=1)
    assert_begins_again(tab)


def test_actions_show_why_nobody_knows_what_is_possible(tab: Tab, api: httpx.Client) -> None:
    running(api, "asked")
    page = tab.open("/executions/asked")
    tab.page.route(re.compile("dryRun=true"), refuse)
    page.get_by_role("button", name="Actions").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Too many requests").wait_for()
    assert dialog.get_by_text("Nothing can be done").count() == 0
    tab.page.unroute_all()
    dialog.get_by_role("button", name="Try again").click()
    dialog.get_by_role("button", name="Cancel").wait_for()


def test_code_with_a_comma_is_one_value_of_facets_and_links_which_keep_the_span(
    tab: Tab, api: httpx.Client
) -> None:
    running(api, "split")
    error = {"code": "SHORT, LONG", "message": "No.", "recoverable": False}
    answer = api.post("/executions/split/fail", json=error).raise_for_status()
    position = answer.headers["log-position"]
    for path in ("/executions?limit=1", "/analytics/executions?"):
        api.get(f"{path}&minPosition={position}").raise_for_status()
    page = tab.open()
    page.get_by_role("checkbox", name="SHORT, LONG").check()
    page.get_by_text("1 found").wait_for()
    page.get_by_role("checkbox", name="SHORT, LONG").uncheck()
    page.wait_for_url("**/ui/")
    page = tab.open("/errors?days=7")
    page.get_by_role("row", name="SHORT, LONG").get_by_role("link").click()
    page.get_by_text("1 found").wait_for()
    assert "metadata.createdAt%5Bgte%5D=" in page.url
    page.get_by_role("checkbox", name="SHORT, LONG").uncheck()
    page.wait_for_url(lambda url: "SHORT" not in url)


def test_next_rows_that_are_refused_are_asked_for_again(tab: Tab) -> None:
    page = tab.open("/?limit=3")
    tab.page.route(re.compile("cursor="), refuse)
    page.get_by_role("button", name="Show more").click()
    page.get_by_role("alert").get_by_text("Too many requests").wait_for()
    tab.page.unroute_all()
    page.get_by_role("button", name="Show more").click()
    page.locator("tr[data-row]").nth(3).wait_for()
    assert page.get_by_role("alert").count() == 0


def test_filtered_events_go_on_after_a_refusal_and_after_their_end(
    tab: Tab, api: httpx.Client
) -> None:
    running(api, "counted-on")
    usage = {"command": "recordUsage", "execution": "counted-on", "apiCalls": 1}
    api.post("/commands", json=[usage] * 600).raise_for_status()
    page = tab.open("/executions/counted-on?tab=events&types=usage")
    page.get_by_text("500 and more events").wait_for()
    tab.page.route(re.compile(r"/events\?.*cursor="), refuse)
    rows = page.get_by_role("list", name="Events")
    rows.evaluate("rows => rows.scrollTo(0, rows.scrollHeight)")
    page.get_by_role("alert").get_by_text("Too many requests").wait_for()
    tab.page.unroute_all()
    page.get_by_role("button", name="Try again").click()
    page.get_by_text("600 events").wait_for()
    rows.evaluate("rows => rows.scrollTo(0, rows.scrollHeight)")
    api.post("/commands", json=[usage]).raise_for_status()
    page.get_by_text("601 events").wait_for()


def test_json_shows_and_copies_all_digits_of_long_integers(tab: Tab, api: httpx.Client) -> None:
    running(api, "precise")
    output = {"account": 1234567890123456789}
    done = {"success": True, "output": output, "summary": "Exact."}
    api.post("/executions/precise/complete", json=done).raise_for_status()
    page = tab.open("/executions/precise?tab=json")
    page.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    page.locator("details.result summary").first.click()
    page.locator("details.result").get_by_text("1234567890123456789").wait_for()
    page.get_by_role("button", name="Copy JSON").click()
    assert json.loads(page.evaluate("window.copied"))["result"]["output"] == output

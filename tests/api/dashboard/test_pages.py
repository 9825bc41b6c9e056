"""The pages of the dashboard in a browser, with a running service. Errors of the console, violations of the policy
and requests to other hosts fail each test.
"""

from __future__ import annotations

import re
import time
from itertools import cycle
from typing import Any

import httpx
import pytest

from projections.audit.note import Signer, TreeCheckpoint
from tests.api.dashboard.conftest import PLAIN, RUN, WIDE, Tab, of
from tests.support.service_process import AUTHORIZED, TOKEN, Service

PAGES = {
    "list": "/",
    "timeline": of("leads"),
    "steps": of("leads", tab="steps", step="draft"),
    "events": of("enrich", tab="events", event="6"),
    "replay": of("enrich", version="6"),
    "log": of("leads", tab="log"),
    "json": of("leads", tab="json"),
    "compare": f"/compare/leads-{RUN}/enrich-{RUN}",
    "errors": "/errors",
    "cost": "/cost",
    "inbox": "/inbox",
    "operations": "/operations",
    "audit": f"/audit?execution=leads-{RUN}",
}
NARROW = {"width": 320, "height": 640}
VIEWS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "narrow": {},
    "contrast": {"contrast": "more"},
    "forced": {"forced_colors": "active"},
}
"""Colour schemes and widths."""
LOOKS = ("dark", "contrast", "forced")
STANDARD = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"],
    "resultTypes": ["violations"],
}
OF_COLOURS_AND_SIZES = {**STANDARD, "runOnly": ["color-contrast", "target-size"]}
"""The rules whose outcome depends on colours and sizes; the content is the same in all of them."""
FIRST_ROWS = {"exclude": ["tbody tr:nth-child(n+10)", ".rows .row:nth-child(n+10)"]}
"""Later rows are built in the same way."""


def eventually(page: Any, expression: str) -> None:
    """Wait until an expression is true. Playwright's own function needs a policy that allows eval."""
    end = time.monotonic() + 20
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"never true: {expression}"
        page.wait_for_timeout(50)


def ids(page: Any) -> list[str]:
    page.wait_for_selector("table.executions")
    return [each.inner_text() for each in page.query_selector_all("table.executions tbody th a")]


def test_list_shows_all_executions_and_their_exact_number(tab: Tab) -> None:
    page = tab.open()
    assert set(ids(page)) == {
        f"{name}-{RUN}" for name in ("leads", "article", "enrich", "bills", "import", "queued")
    } | {f"queued-{RUN}-old"}
    assert page.get_by_text("7 found").is_visible()


def test_list_filter_is_in_the_address_and_removed_by_back(tab: Tab) -> None:
    page = tab.open()
    ids(page)
    page.get_by_label("failed 1").check()
    page.wait_for_url("**/ui/?status=failed")
    page.get_by_text("1 found").wait_for()
    assert ids(page) == [f"import-{RUN}"]
    page.reload()
    assert ids(page) == [f"import-{RUN}"]
    page.go_back()
    page.get_by_text("7 found").wait_for()


def test_list_accepts_any_filter_of_the_api(tab: Tab) -> None:
    page = tab.open()
    ids(page)
    field = page.get_by_label("Any field")
    field.fill("assignee.type=hybrid")
    field.press("Enter")
    page.get_by_text("1 found").wait_for()
    assert ids(page) == [f"article-{RUN}"]
    page.get_by_label("hybrid 1").uncheck()
    page.get_by_text("7 found").wait_for()


def test_list_shows_the_error_in_a_filter(tab: Tab) -> None:
    page = tab.open("/?colour=red")
    assert "colour" in page.get_by_role("alert").inner_text()


def test_list_exports_have_the_filter_of_the_list(tab: Tab, api: httpx.Client) -> None:
    page = tab.open("/?status=failed")
    ids(page)
    address = page.get_by_role("link", name="CSV").get_attribute("href")
    assert address == "/api/executions.csv?status=failed"
    address = page.get_by_role("link", name="JSON").get_attribute("href")
    assert address == "/api/executions.ndjson?status=failed"


def test_list_shows_new_rows_only_on_request(tab: Tab, api: httpx.Client) -> None:
    page = tab.open("/?service=articles")
    before = ids(page)
    page.locator(".badge.live").wait_for()
    body = {"$id": "new-article", "order": "order-article", "service": "articles"}
    api.post("/executions", json=body).raise_for_status()
    page.get_by_role("button", name="There may be new ones").click()
    eventually(page, "document.body.innerText.includes('new-article')")
    assert ids(page) == ["new-article", *before]


def test_list_saves_a_view(tab: Tab) -> None:
    page = tab.open("/?status=failed")
    ids(page)
    page.get_by_text("Saved views").click()
    page.get_by_label("Save this view as").fill("Failures")
    page.get_by_role("button", name="Save", exact=True).click()
    page.goto(page.url.split("?")[0])
    page.get_by_text("Saved views").click()
    page.get_by_role("button", name="Failures", exact=True).click()
    page.wait_for_url("**/ui/?status=failed")


def test_execution_shows_its_parties_and_its_cost(tab: Tab) -> None:
    page = tab.open(of("leads"))
    page.get_by_role("heading", name=f"leads-{RUN}").wait_for()
    text = page.locator("header.head").inner_text()
    for shown in ("completed", "Researcher", "0.15 USD", "29,400", "39 of 40 mails were sent."):
        assert shown in text, shown


def test_execution_offers_legal_commands_and_shows_what_they_record(
    tab: Tab, api: httpx.Client
) -> None:
    body = {"$id": "acted", "order": "order-leads", "service": "leads", "status": "running"}
    api.post("/executions", json=body).raise_for_status()
    page = tab.open("/executions/acted")
    page.get_by_role("button", name="Actions").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("records execution.checkpoint, execution.paused").wait_for()
    assert dialog.get_by_role("button", name="Resume").count() == 0
    dialog.get_by_label("Reason").first.fill("Lunch")
    dialog.get_by_role("button", name="Pause").click()
    page.get_by_text("Lunch").wait_for()
    assert api.get("/executions/acted").json()["pause"]["reason"] == "Lunch"


def test_execution_that_changed_meanwhile_shows_the_changes(tab: Tab, api: httpx.Client) -> None:
    body = {"$id": "raced", "order": "order-leads", "service": "leads", "status": "running"}
    api.post("/executions", json=body).raise_for_status()
    page = tab.open("/executions/raced")
    page.get_by_role("button", name="Actions").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Cancel").wait_for()
    api.post("/executions/raced/progress", json={"progress": 42}).raise_for_status()
    dialog.get_by_role("button", name="Cancel").click()
    dialog.get_by_text("It changed meanwhile").wait_for()
    assert "/progress" in dialog.inner_text()
    assert api.get("/executions/raced").json()["status"] == "running"


def test_timeline_nests_steps_and_shows_them_in_time(tab: Tab) -> None:
    page = tab.open(of("leads"))
    rows = page.get_by_role("list", name="Steps in time").get_by_role("listitem")
    rows.first.wait_for()
    names = [row.get_by_role("link").get_attribute("aria-label") for row in rows.all()]
    assert [name.split(",")[0] for name in names if name] == [
        *("Plan the campaign", "Search the web", "Rank 40 leads"),
        *("Write the mails", "Draft", "Send"),
    ]
    indents = [row.get_by_role("link").evaluate("e => e.style.paddingLeft") for row in rows.all()]
    assert indents == ["0px", "14px", "14px", "0px", "14px", "14px"]
    assert page.locator(".bar-fill.critical").count() >= 1


def test_timeline_shows_attempts_where_there_was_more_than_one(tab: Tab) -> None:
    page = tab.open(of("enrich"))
    page.get_by_text("Attempt 1: UPSTREAM").wait_for()
    page.get_by_text("Attempt 2").wait_for()


def test_timeline_zoom_by_keys_is_in_the_address(tab: Tab) -> None:
    page = tab.open(of("leads"))
    page.get_by_role("list", name="Steps in time").wait_for()
    page.keyboard.press("+")
    page.wait_for_url("**zoom=0.2500-0.7500**")
    page.keyboard.press("0")
    eventually(page, "!location.search.includes('zoom')")


def test_timeline_opens_a_step_with_its_content(tab: Tab) -> None:
    page = tab.open(of("leads"))
    page.get_by_role("link", name=re.compile("Search the web")).click()
    page.wait_for_url("**step=search**")
    panel = page.get_by_role("complementary", name="Step search")
    panel.get_by_text("212").wait_for()


def test_event_has_an_address_and_shows_what_it_changed(tab: Tab) -> None:
    page = tab.open(of("enrich", tab="events", event="6"))
    panel = page.get_by_role("complementary", name="Event 6")
    panel.get_by_text("/status").first.wait_for()
    panel.get_by_text("UPSTREAM").first.wait_for()
    text = panel.inner_text()
    assert "execution.failed" in text
    assert "UPSTREAM" in text
    assert "admin" in text


def test_events_are_filtered_by_the_server(tab: Tab) -> None:
    page = tab.open(of("leads", tab="events"))
    page.get_by_label("Types").fill("step.completed")
    page.get_by_label("Types").press("Tab")
    page.get_by_text("6 events").wait_for()


def test_replay_shows_a_version_everywhere_under_a_banner(tab: Tab) -> None:
    page = tab.open(of("enrich"))
    page.get_by_role("button", name="First failure").click()
    page.get_by_text("As of version 6 of").wait_for()
    eventually(page, "document.querySelector('header.head').innerText.includes('failed')")
    page.keyboard.press("[")
    page.wait_for_url("**version=5**")
    eventually(page, "document.querySelector('header.head').innerText.includes('running')")
    page.get_by_role("button", name="Now").click()
    eventually(page, "!location.search.includes('version')")


def test_replay_shows_the_log_lines_up_to_its_version(tab: Tab, api: httpx.Client) -> None:
    body = {"$id": "retold", "order": "order-leads", "service": "leads", "status": "running"}
    api.post("/executions", json=body).raise_for_status()
    api.post(
        "/executions/retold/logs", json={"level": "info", "message": "Begun"}
    ).raise_for_status()
    api.post("/executions/retold/progress", json={"progress": 50}).raise_for_status()
    time.sleep(0.01)  # lines are shown up to the millisecond of the version
    half = {"level": "info", "message": "Half of it"}
    api.post("/executions/retold/logs", json=half).raise_for_status()
    api.post("/executions/retold/cancel", json={}).raise_for_status()
    page = tab.open("/executions/retold?tab=log&version=4")
    page.get_by_text("Begun").wait_for()
    assert page.get_by_text("Half of it").count() == 0
    page.get_by_role("button", name="Now").click()
    page.get_by_text("Half of it").wait_for()


def test_replay_plays_to_the_end(tab: Tab) -> None:
    page = tab.open(of("import", version="2"))
    page.get_by_text("As of version 2 of").wait_for()
    page.get_by_role("button", name=re.compile("Play .100")).click()
    eventually(page, "!location.search.includes('version')")


def test_page_is_updated_with_the_events_of_an_execution(tab: Tab, api: httpx.Client) -> None:
    body = {"$id": "lively", "order": "order-leads", "service": "leads", "status": "running"}
    api.post("/executions", json=body).raise_for_status()
    page = tab.open("/executions/lively")
    page.locator(".badge.live").wait_for()
    api.post("/executions/lively/progress", json={"progress": 73}).raise_for_status()
    page.get_by_text("73 %").wait_for()
    api.post("/executions/lively/logs", json={"level": "warn", "message": "Careful"})
    page.keyboard.press("l")
    page.get_by_text("Careful").wait_for()
    api.post("/executions/lively/cancel", json={"reason": "Enough"}).raise_for_status()
    page.get_by_text("Enough").first.wait_for()  # first beside the status, then as a line


def test_compare_marks_the_first_difference_of_two_executions(tab: Tab) -> None:
    page = tab.open()
    ids(page)
    for name in ("leads", "enrich"):
        page.get_by_label(f"Mark {name}-{RUN} to compare").check()
    page.get_by_role("link", name="Compare the two that are marked").click()
    page.get_by_text("First divergence").wait_for()
    assert page.locator("tr.diverges").count() == 1


def test_errors_are_grouped_and_linked_to_their_executions(tab: Tab) -> None:
    page = tab.open("/errors")
    row = page.get_by_role("row").filter(has_text="FORMAT").first
    row.get_by_role("link", name="Executions").click()
    assert ids(page) == [f"import-{RUN}"]


def test_cost_is_shown_by_service_and_model(tab: Tab) -> None:
    page = tab.open("/cost")
    page.get_by_role("row", name=re.compile("leads")).wait_for()
    page.get_by_role("combobox", name=re.compile("^By")).select_option("model")
    page.get_by_role("row", name=re.compile("gpt-5")).first.wait_for()


def test_inbox_lists_open_steps_and_paused_executions(tab: Tab) -> None:
    page = tab.open("/inbox")
    page.get_by_role("row", name=re.compile(f"article-{RUN}")).first.wait_for()


def test_operations_show_the_position_of_each_view(tab: Tab) -> None:
    page = tab.open("/operations")
    page.get_by_role("row", name=re.compile("analytics")).wait_for()
    for name, value in (
        ("Timers due", r"\d+"),
        ("Database", r"[\d.]+ MiB"),
        ("Streams open", r"\d+"),
    ):
        fact = page.locator(".facts div").filter(has=page.locator("dt", has_text=name))
        assert re.fullmatch(value, fact.locator("dd").inner_text())


def test_audit_lists_grants(tab: Tab, api: httpx.Client) -> None:
    grant = {"auditor": "eva", "order": "order-leads", "purpose": "Spot check"}
    granted = api.post("/grants", json={**grant, "expiresAt": "2099-01-01T00:00:00Z"})
    position = granted.raise_for_status().headers["log-position"]
    api.get("/grants", params={"minPosition": position}).raise_for_status()
    page = tab.open("/audit")
    row = page.get_by_role("row", name=re.compile("eva"))
    assert "order order-leads" in row.inner_text()


def test_audit_checks_the_proofs_in_the_browser(tab: Tab) -> None:
    page = tab.open(f"/audit?execution=leads-{RUN}")
    page.get_by_role("button", name="Check in this browser").click()
    checked = page.locator(".checks li", has_text="is in the signed log")
    checked.wait_for()
    assert checked.get_attribute("class") == "good"
    for each in page.locator(".checks li").all():
        assert "bad" not in (each.get_attribute("class") or "")


def test_audit_accepts_a_key_whose_base64_has_a_plus(tab: Tab, api: httpx.Client) -> None:
    signers = (Signer(bytes([number]) * 32, "executions/another") for number in range(256))
    signer = next(each for each in signers if "+" in each.public_key.split("+", 2)[2])
    head = api.get(
        "/audit/tree-head", headers={"prefer": "wait=30"}, params={"minPosition": 1}
    ).json()
    text = TreeCheckpoint(signer.origin, head["treeSize"], bytes.fromhex(head["rootHash"])).text
    own = {"origin": signer.origin, "note": signer.sign(text), "publicKey": signer.public_key}
    tab.page.route("**/audit/tree-head", lambda route: route.fulfill(json={**head, **own}))
    page = tab.open("/audit")
    page.locator(".checks li").first.wait_for()
    assert [each.get_attribute("class") for each in page.locator(".checks li").all()] == ["good"]


def test_audit_reports_a_head_that_contradicts_the_one_before(tab: Tab) -> None:
    page = tab.open("/audit")
    page.locator(".checks li").first.wait_for()
    page.evaluate("""() => {
        const kept = JSON.parse(localStorage.getItem("executions.head"));
        kept.rootHash = "0".repeat(64);
        localStorage.setItem("executions.head", JSON.stringify(kept));
    }""")
    page.reload()
    bad = page.locator(".checks li.bad")
    bad.wait_for()
    assert "changed or removed" in bad.inner_text()


def test_shortcuts_open_every_page(tab: Tab) -> None:
    page = tab.open()
    ids(page)
    page.keyboard.press("g")
    page.keyboard.press("e")
    page.wait_for_url("**/ui/errors")
    page.keyboard.press("?")
    page.get_by_role("dialog").get_by_text("Go to the filter of this page").wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    page.get_by_role("dialog").get_by_role("combobox").fill(f"leads-{RUN}")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/ui/executions/leads-{RUN}")
    page.get_by_role("tab", name="Events").wait_for()
    page.keyboard.press("e")
    page.wait_for_url("**tab=events**")


def test_shortcuts_do_nothing_in_input_fields(tab: Tab) -> None:
    page = tab.open()
    ids(page)
    page.keyboard.press("/")
    page.keyboard.type("ge?")
    assert page.get_by_label("Service", exact=True).input_value() == "ge?"
    assert page.get_by_role("dialog").count() == 0


def test_single_key_shortcuts_can_be_switched_off_and_on(tab: Tab) -> None:
    page = tab.open()
    ids(page)
    page.keyboard.press("?")
    page.get_by_label("Single keys are shortcuts").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert page.get_by_role("dialog").count() == 0
    page.keyboard.press("Control+k")
    page.get_by_role("option", name="Switch single keys on").click()
    page.keyboard.press("?")
    page.get_by_role("dialog").wait_for()


def test_rows_are_selected_by_keys(tab: Tab) -> None:
    page = tab.open("/?sort=$id")
    first = ids(page)[1]
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/ui/executions/{first}")


def test_page_asks_to_sign_in_and_returns_to_its_address(browser: Any, service: Service) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.goto(f"{service.url}/ui{of('leads')}")
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Token or API key").fill("nonsense")
    dialog.get_by_role("button", name="Sign in").click()
    dialog.get_by_role("alert").wait_for()
    dialog.get_by_label("Token or API key").fill(TOKEN)
    dialog.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name=f"leads-{RUN}").wait_for()
    page.locator(".badge.live").wait_for()
    [cookie] = context.cookies()
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    assert TOKEN not in page.evaluate("JSON.stringify(localStorage) + document.cookie")
    page.locator("details.menu summary", has_text="admin").click()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("dialog").get_by_label("Token or API key").wait_for()
    context.close()


def test_link_with_a_code_opens_the_dashboard_signed_in(
    browser: Any, service: Service, api: httpx.Client
) -> None:
    code = api.post("/session/codes").raise_for_status().json()["code"]
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.goto(f"{service.url}/open#{code}")
    page.wait_for_url("**/ui/")
    assert f"leads-{RUN}" in ids(page)
    context.close()


def test_page_of_a_customer_shows_only_its_own_executions(
    browser: Any, service: Service, api: httpx.Client
) -> None:
    made = api.post("/keys", json={"role": "customer", "party": "globex"}).raise_for_status()
    context = browser.new_context(
        extra_http_headers={"Authorization": f"Bearer {made.json()['key']}"}
    )
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.goto(f"{service.url}/ui/?service=articles")
    page.get_by_text(re.compile("found")).first.wait_for()
    assert f"article-{RUN}" in ids(page)
    page.goto(f"{service.url}/ui{of('leads')}")
    page.get_by_role("alert").wait_for()
    assert "Researcher" not in page.inner_text("body")
    context.close()


def test_timeline_of_ten_thousand_steps_renders_few_rows(tab: Tab, api: httpx.Client) -> None:
    body = {"$id": "huge", "order": "order-leads", "service": "leads", "status": "running"}
    api.post("/executions", json=body).raise_for_status()
    for first in range(0, 10_000, 2_500):
        steps = [{"id": f"s-{nth}", "name": f"Step {nth}"} for nth in range(first, first + 2_500)]
        api.post("/executions/huge/steps", json=steps).raise_for_status()
    started = [{"command": "startStep", "execution": "huge", "step": f"s-{n}"} for n in range(500)]
    api.post("/commands", json=started).raise_for_status()
    page = tab.open("/executions/huge")
    page.get_by_text("10000 steps.").wait_for()
    page.get_by_role("link", name=re.compile("Step 0,")).wait_for()
    assert page.locator(".row").count() <= 400
    page.locator(".rows").evaluate("rows => rows.scrollTo(0, rows.scrollHeight)")
    page.get_by_role("link", name=re.compile("Step 9999,")).wait_for()
    assert page.locator(".row").count() <= 400


def test_event_far_down_is_shown_by_its_address_and_others_by_scrolling(
    tab: Tab, api: httpx.Client
) -> None:
    body = {"$id": "long", "order": "order-leads", "service": "leads", "status": "running"}
    api.post("/executions", json=body).raise_for_status()
    usage = {"command": "recordUsage", "execution": "long", "apiCalls": 1}
    for _ in range(2):
        api.post("/commands", json=[usage] * 1_000).raise_for_status()
    page = tab.open("/executions/long?tab=events&event=1500")
    panel = page.get_by_role("complementary", name="Event 1500")
    panel.get_by_text("/metrics/apiCalls").wait_for()
    rows = page.get_by_role("list", name="Events")
    rows.locator(".chosen", has_text="1500").wait_for()
    rows.evaluate("rows => rows.scrollTo(0, 0)")
    rows.get_by_role("button", name="created").wait_for()
    assert rows.locator(".row").count() <= 400
    page.get_by_role("combobox", name="Order").select_option("desc")
    rows.evaluate("rows => rows.scrollTo(0, 0)")
    page.get_by_text("2,003 events").wait_for()
    eventually(page, "document.querySelector('.rows .row .number').innerText === '2003'")


def test_page_shows_every_event_after_an_outage_of_the_service(
    browser: Any, service: Service, api: httpx.Client
) -> None:
    body = {"$id": "patient", "order": "order-leads", "service": "leads", "status": "running"}
    api.post("/executions", json=body).raise_for_status()
    context = browser.new_context(extra_http_headers=AUTHORIZED)
    page = context.new_page()
    page.set_default_timeout(40_000)
    page.goto(f"{service.url}/ui/executions/patient")
    page.locator(".badge.live").wait_for()
    service.kill()
    page.locator(".badge.offline").wait_for()
    service.start()
    with httpx.Client(base_url=f"{service.url}/api", headers=AUTHORIZED) as again:
        again.post("/executions/patient/progress", json={"progress": 61}).raise_for_status()
    page.locator(".badge.live").wait_for()
    page.get_by_text("61 %").wait_for()
    context.close()


def test_tabs_share_one_stream_and_another_tab_takes_it_over(
    browser: Any, service: Service, api: httpx.Client
) -> None:
    context = browser.new_context(extra_http_headers=AUTHORIZED)
    streams: list[Any] = []
    context.on("request", lambda each: streams.append(each) if "/api/events" in each.url else None)
    leader, other = (Tab(context.new_page(), service) for _ in range(2))
    leader.open("/operations").locator(".badge.live").wait_for()
    page = other.open()
    ids(page)
    page.locator(".badge.live").wait_for()
    assert [each.frame.page for each in streams] == [leader.page]
    body = {"order": "order-bills", "service": "invoices"}
    api.post("/executions", json=body).raise_for_status()
    page.get_by_role("button", name="1 new").wait_for()
    leader.page.close()
    for _ in range(3):
        api.post("/executions", json=body).raise_for_status()
    page.get_by_role("button", name="4 new").wait_for()
    page.locator(".badge.live").wait_for()
    assert [each.frame.page for each in streams[1:]] == [page]
    context.close()
    assert leader.errors + other.errors == []


@pytest.mark.parametrize(
    ("story", "bar", "seen"),
    [("leads", "completed", "backgroundColor"), ("import", "failed", "borderTopColor")],
)
def test_bar_is_visible_in_forced_colours(tab: Tab, story: str, bar: str, seen: str) -> None:
    tab.page.emulate_media(forced_colors="active")
    page = tab.open(of(story))
    one = page.locator(f".bar-fill.{bar}").first
    one.wait_for()
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert one.evaluate(f"e => getComputedStyle(e).{seen}") != back
    assert one.evaluate("e => getComputedStyle(e).borderTopWidth") == "1px"


def test_auditor_is_asked_for_its_purpose_and_reads_with_it(
    browser: Any, service: Service, api: httpx.Client
) -> None:
    key = (
        api.post("/keys", json={"role": "auditor", "party": "ann"}).raise_for_status().json()["key"]
    )
    grant = {"auditor": "ann", "executions": [f"leads-{RUN}"], "purpose": "Audit"}
    granted = api.post("/grants", json={**grant, "expiresAt": "2099-01-01T00:00:00Z"})
    granted.raise_for_status()
    context = browser.new_context(extra_http_headers={"Authorization": f"Bearer {key}"})
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.goto(f"{service.url}/ui{of('leads')}")
    page.get_by_label("Purpose").fill("Annual audit, case 17")
    page.get_by_role("button", name="Go on").click()
    page.get_by_text("39 of 40 mails were sent.").wait_for()
    with page.expect_download() as file:
        page.get_by_role("link", name="Evidence").click()
    assert file.value.suggested_filename == f"leads-{RUN}.zip"
    context.close()
    read = api.get(f"/executions/leads-{RUN}/access-log", params={"limit": 500}).raise_for_status()
    purposes = {each.get("purpose") for each in read.json()["data"] if "ann" in each["actor"]}
    assert purposes == {"Annual audit, case 17"}


def test_operator_is_sent_to_operations_and_sees_no_other_page(
    browser: Any, service: Service, api: httpx.Client
) -> None:
    key = api.post("/keys", json={"role": "operator"}).raise_for_status().json()["key"]
    context = browser.new_context(extra_http_headers={"Authorization": f"Bearer {key}"})
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.goto(f"{service.url}/ui/")
    page.wait_for_url("**/ui/operations")
    page.get_by_role("row", name=re.compile("analytics")).wait_for()
    menu = page.get_by_role("navigation", name="Pages").get_by_role("link")
    assert menu.all_inner_texts() == ["Audit", "Operations"]
    assert page.locator(".badge").count() == 0
    context.close()


@pytest.mark.parametrize(("name", "more"), list(zip(PAGES, cycle(LOOKS), strict=False)))
def test_page_is_accessible_in_the_standard_narrow_and_one_more_look(
    tab: Tab, name: str, more: str
) -> None:
    """The rules of style are the same for all pages, so that each page is checked in one of the other looks."""
    from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]

    page = tab.open(PAGES[name])
    page.wait_for_timeout(300)
    page.evaluate(Axe().axe_script)
    for view in ("light", "narrow", more):
        media = VIEWS[view]
        page.emulate_media(**PLAIN | media)
        page.set_viewport_size(NARROW if view == "narrow" else WIDE)
        page.wait_for_timeout(50)
        rules = STANDARD if view == "light" else OF_COLOURS_AND_SIZES
        found = page.evaluate("([rows, rules]) => axe.run(rows, rules)", [FIRST_ROWS, rules])
        assert [
            (view, each["id"], each["nodes"][0]["html"][:200]) for each in found["violations"]
        ] == []
        if view == "narrow":
            assert page.evaluate("document.documentElement.scrollWidth") <= 320

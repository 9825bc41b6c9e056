"""The command `import-xes`: complete, interrupted and repeated imports, and errors."""

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import httpx2
import pytest
from click.testing import CliRunner, Result

from api.cli.client import run_import
from api.cli.client.import_xes import import_command
from api.cli.options import At
from api.interop.xes import sender
from api.interop.xes.client import OPTIONS, RETRIES, ServiceClient
from api.interop.xes.mapping import load_mapping
from api.interop.xes.names import id_part
from api.interop.xes.survey import survey
from service_executions import Client
from service_executions._sync import transport
from tests.support.fake_service import FakeService
from tests.support.paths import DATA

ORDERS, CAKES = DATA / "orders.xes", DATA / "orders.mapping.json"
CHECKPOINT = "execution.checkpoint"
Import = Callable[..., Result]


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def import_xes(
    service: FakeService, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> Import:
    """The command, connected to a fake service. It sends small batches, so that there are many."""
    monkeypatch.setattr(sender, "MOST_COMMANDS", 7)
    monkeypatch.setattr(transport, "sleep", pauses.append)
    monkeypatch.setattr("api.interop.xes.client.time.sleep", pauses.append)

    def connect(*_: object) -> ServiceClient:
        http = httpx2.Client(transport=service)
        return ServiceClient(Client("http://service/api/", "t", http_client=http, **OPTIONS))

    def invoke(file: Path = ORDERS, mapping: Path = CAKES, *options: str) -> Result:
        monkeypatch.setattr(run_import, "connect", connect)
        arguments = ["xes", str(file), "--mapping", str(mapping), *options]
        return CliRunner().invoke(import_command, arguments)

    return invoke


def totals(result: Result) -> Any:
    return json.loads(result.stdout)


@pytest.fixture
def imported(service: FakeService, import_xes: Import) -> FakeService:
    assert import_xes().exit_code == 0
    return service


def states(service: FakeService) -> dict[str, tuple[str, int]]:
    return {
        name.partition(":")[2]: (execution.status, execution.version)
        for name, execution in service.executions.items()
    }


WHOLE = {
    "cake-1": ("completed", 12),
    id_part("cake 2"): ("failed", 8),
    "cake-3": ("cancelled", 9),
    "cake-4": ("running", 4),
}


def test_whole_log_is_imported(import_xes: Import, service: FakeService) -> None:
    result = import_xes(ORDERS, CAKES, "--json")
    assert states(service) == WHOLE
    said = totals(result)
    assert said["executions"] == {
        "total": 4,
        "completed": 1,
        "failed": 1,
        "cancelled": 1,
        "running": 1,
    }
    assert said["import"] == {"imported": 4, "resumed": 0, "unchanged": 0, "refused": 0}
    assert (said["events"], said["commands"]) == (13, 25)


def test_totals_are_printed_in_words(import_xes: Import) -> None:
    words = import_xes().stdout
    assert re.match(r"Cakes to order: 13 events in \d+\.\d s\n", words)
    assert "executions in the log  4 total, 1 completed, 1 failed, 1 cancelled, 1 running" in words
    assert "left out               1 traces without events" in words
    assert "left out               events with the lifecycle 1 SUSPEND" in words


def test_totals_of_an_empty_log_are_zero(import_xes: Import, tmp_path: Path) -> None:
    log = tmp_path / "empty.xes"
    log.write_text("<log/>")
    assert re.search(r"^this time +0 commands$", import_xes(log).stdout, re.MULTILINE)


def test_log_with_a_name_that_is_impossible_for_an_order_is_imported(
    import_xes: Import, service: FakeService, tmp_path: Path
) -> None:
    log = tmp_path / "claim.xes"
    log.write_text(ORDERS.read_text().replace("Cakes to order", "claim"))
    assert import_xes(log).exit_code == 0
    assert "/orders/claim~dd1b3c312cf7d816" in service.resources
    assert "claim:cake-1" in service.executions


def test_pipe_is_refused_before_it_is_read(
    import_xes: Import, service: FakeService, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    refused = import_xes(pipe)
    assert (refused.exit_code, service.paths) == (1, [])
    assert "cannot be read twice" in refused.stderr


def test_order_its_service_and_its_people_are_created(imported: FakeService) -> None:
    order = f"/orders/{id_part('Cakes to order')}"
    assert imported.resources.keys() == {"/users/bakery", "/users/guests", "/services/cake", order}
    assert imported.resources[order]["customer"] == "guests"


def test_second_import_sends_no_command(imported: FakeService, import_xes: Import) -> None:
    calls = imported.paths.count("POST /commands")
    said = totals(import_xes(ORDERS, CAKES, "--json"))
    assert said["import"] == {"imported": 0, "resumed": 0, "unchanged": 4, "refused": 0}
    assert imported.paths.count("POST /commands") == calls


@pytest.mark.parametrize("call", range(4))
def test_interrupted_import_continues_where_it_stopped(
    import_xes: Import, service: FakeService, call: int
) -> None:
    service.troubles[call] = "stop"
    assert import_xes().exit_code == 1
    assert states(service) != WHOLE
    said = totals(import_xes(ORDERS, CAKES, "--json"))
    assert states(service) == WHOLE
    assert said["import"]["refused"] == 0


def test_automatic_checkpoints_of_the_service_do_not_change_the_import(
    imported: FakeService, import_xes: Import
) -> None:
    for execution in imported.executions.values():
        execution.keep_checkpoint("2024-03-01T12:00:00Z")
    said = totals(import_xes(ORDERS, CAKES, "--json"))
    assert said["import"] == {"imported": 0, "resumed": 0, "unchanged": 4, "refused": 0}
    assert said["commands"] == 0


@pytest.mark.parametrize("call", range(4))
def test_interrupted_import_continues_behind_checkpoints_of_the_service(
    import_xes: Import, service: FakeService, call: int
) -> None:
    service.troubles[call] = "stop"
    assert import_xes().exit_code == 1
    kept = list(service.executions.values())
    for execution in kept:
        execution.keep_checkpoint("2024-03-01T12:00:00Z")
    said = totals(import_xes(ORDERS, CAKES, "--json"))
    assert said["import"]["refused"] == 0
    for execution in kept:
        execution.events.pop([event["type"] for event in execution.events].index(CHECKPOINT))
    assert states(service) == WHOLE


def test_automatic_checkpoint_does_not_replace_a_missing_event(
    imported: FakeService, import_xes: Import
) -> None:
    running = imported.executions[f"{id_part('Cakes to order')}:cake-4"]
    running.events.pop()
    running.steps.clear()
    running.keep_checkpoint("2024-03-01T12:00:00Z")
    said = totals(import_xes(ORDERS, CAKES, "--json"))
    assert (said["import"]["resumed"], said["commands"]) == (1, 1)


@pytest.mark.parametrize("call", range(4))
def test_import_repeats_no_event_after_a_lost_answer(
    import_xes: Import, service: FakeService, call: int
) -> None:
    service.troubles[call] = "lost"
    said = totals(import_xes(ORDERS, CAKES, "--json"))
    assert states(service) == WHOLE
    assert said["import"] == {"imported": 4, "resumed": 0, "unchanged": 0, "refused": 0}


def test_import_repeats_no_event_if_the_list_lags(
    imported: FakeService, import_xes: Import
) -> None:
    imported.lists_are_behind = True
    said = totals(import_xes(ORDERS, CAKES, "--json"))
    assert states(imported) == WHOLE
    assert said["import"]["refused"] == 0


def test_list_that_is_too_expensive_is_requested_in_halves(
    imported: FakeService, import_xes: Import
) -> None:
    imported.most_found = 1
    said = totals(import_xes(ORDERS, CAKES, "--json"))
    assert said["import"] == {"imported": 0, "resumed": 0, "unchanged": 4, "refused": 0}


def test_busy_service_is_waited_for(
    import_xes: Import, service: FakeService, pauses: list[float]
) -> None:
    service.troubles = dict.fromkeys(range(3), "away")
    assert import_xes().exit_code == 0
    assert states(service) == WHOLE
    assert len(pauses) == 3
    assert min(pauses) >= 1


def test_import_ends_if_the_service_stays_unavailable(
    import_xes: Import, service: FakeService, pauses: list[float]
) -> None:
    service.troubles = dict.fromkeys(range(1000), "away")
    result = import_xes()
    assert result.exit_code == 1
    assert "answers 503. Run it again to continue." in result.stderr
    assert len(pauses) <= 3 * RETRIES


@pytest.fixture
def while_checking(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Calls a function when the check of the file begins."""

    def call(happen: Callable[[], None]) -> None:
        def disturbed(*given: Any) -> Any:
            happen()
            return survey(*given)

        monkeypatch.setattr(run_import, "survey", disturbed)

    return call


@pytest.mark.parametrize(("requests", "exit_code"), [(RETRIES, 0), (RETRIES + 1, 1)])
def test_service_that_stops_while_the_file_is_checked_is_waited_for(
    import_xes: Import,
    service: FakeService,
    while_checking: Callable[[Callable[[], None]], None],
    requests: int,
    exit_code: int,
) -> None:
    while_checking(lambda: setattr(service, "unreachable", requests))
    result = import_xes()
    assert result.exit_code == exit_code, result.stderr
    if exit_code:
        assert "(Connection refused). Run it again to continue." in result.stderr
    else:
        assert states(service) == WHOLE


def test_service_that_never_answered_is_not_waited_for(
    import_xes: Import, service: FakeService, pauses: list[float]
) -> None:
    service.unreachable = 1000
    result = import_xes()
    assert "Is it running?" in result.stderr
    assert len(pauses) == OPTIONS["max_retries"]


def test_terminated_import_advises_a_retry(
    import_xes: Import, while_checking: Callable[[Callable[[], None]], None]
) -> None:
    def unhandled(*_: object) -> None:
        raise SystemExit(99)

    while_checking(lambda: os.kill(os.getpid(), signal.SIGTERM))
    before = signal.signal(signal.SIGTERM, unhandled)
    try:
        result = import_xes()
        assert signal.getsignal(signal.SIGTERM) is unhandled
    finally:
        signal.signal(signal.SIGTERM, before)
    assert result.exit_code == 1
    assert "interrupted. Run it again to continue." in result.stderr


def test_requests_stay_within_the_size_limit(imported: FakeService) -> None:
    assert imported.most_commands == 7


OTHERS: list[tuple[str, dict[str, object], str]] = [
    ("cake-1", {"command": "startStep", "step": "Taste"}, "its history is not what the log makes"),
    ("cake-1", {"command": "startStep", "step": "Bake#2"}, "its history is not what the log makes"),
    ("cake-1", {"command": "fail"}, "its history is not what the log makes"),
    (
        "cake-4",
        {"command": "completeStep", "step": "Bake"},
        "it has more events than the file: 1",
    ),
    ("cake-4", {"command": "checkpoint"}, "it has more events than the file: 1"),
]


@pytest.fixture
def one_call_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send one request at a time, so that the first is that of the first trace."""
    monkeypatch.setattr(sender, "IN_FLIGHT", 1)


@pytest.mark.usefixtures("one_call_at_a_time")
@pytest.mark.parametrize(("trace", "command", "reason"), OTHERS)
def test_execution_changed_by_others_is_reported_and_not_changed(
    import_xes: Import,
    service: FakeService,
    trace: str,
    command: dict[str, object],
    reason: str,
) -> None:
    service.troubles[0] = "stop" if trace == "cake-1" else ""
    import_xes()
    name = f"{id_part('Cakes to order')}:{trace}"
    service.send({**command, "execution": name, "occurredAt": "2024-05-01T00:00:00Z"})
    before = service.executions[name].version
    result = import_xes(ORDERS, CAKES, "--json")
    assert result.exit_code == 1
    assert totals(result)["refused"] == [{"execution": name, "reason": reason}]
    assert service.executions[name].version == before


def test_another_mapping_for_an_imported_log_is_reported(
    imported: FakeService, import_xes: Import, tmp_path: Path
) -> None:
    mapping = tmp_path / "mapping.json"
    mapping.write_text(CAKES.read_text().replace('"Burn": "failed"', '"Burn": "cancelled"'))
    refused = totals(import_xes(ORDERS, mapping, "--json"))["refused"]
    assert [one["reason"] for one in refused] == ["it is failed; by the log it would be cancelled"]
    mapping.write_text(CAKES.read_text().replace("guests", "hosts"))
    said = import_xes(ORDERS, mapping).stderr
    assert said.endswith("exists with customer 'guests', the mapping says 'hosts'.\n")


def test_malformed_log_is_refused_before_anything_is_sent(
    import_xes: Import, service: FakeService, tmp_path: Path
) -> None:
    file = tmp_path / "broken.xes"
    file.write_text(ORDERS.read_text().replace("</log>", ""))
    result = import_xes(file)
    assert (result.exit_code, service.paths) == (1, ["GET /healthz"])
    assert "broken.xes: line 106: malformed XML: no element found" in result.stderr


def test_control_characters_of_a_log_are_not_printed(import_xes: Import, tmp_path: Path) -> None:
    log = tmp_path / "steering.xes"
    log.write_text(ORDERS.read_text().replace("Cakes to order", "\x9b31m"))
    assert import_xes(log).stdout.startswith("\N{REPLACEMENT CHARACTER}31m: 13 events")
    log.write_text(log.read_text().replace("cake-1", "\x9b2J").replace("cake-3", "\x9b2J"))
    assert 'a second trace named "\N{REPLACEMENT CHARACTER}2J"' in import_xes(log).stderr


def invoke_unconnected(*options: str) -> Result:
    """The command, connected only to the address in its options."""
    return CliRunner().invoke(
        import_command, ["xes", str(ORDERS), "--mapping", str(CAKES), *options]
    )


def test_unreachable_service_is_reported_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPTIONS, "max_retries", 0)
    result = invoke_unconnected("--url", "http://127.0.0.1:1")
    assert result.exit_code == 1
    assert "http://127.0.0.1:1 gave no answer" in result.stderr
    assert result.stderr.endswith("Is it running? Else name it with --url.\n")


@pytest.mark.parametrize("url", ["localhost:18431", "ftp://x", "http://["])
def test_invalid_url_is_refused_at_once(url: str) -> None:
    result = invoke_unconnected("--url", url)
    assert result.stderr == f"Error: `{url}` is no address like http://127.0.0.1:8000\n"


def test_service_lost_during_an_import_advises_a_retry(
    import_xes: Import, service: FakeService
) -> None:
    service.troubles = dict.fromkeys(range(1000), "lost")
    result = import_xes()
    assert result.exit_code == 1
    assert "gave no answer (the answer was lost). Run it again to continue." in result.stderr


@pytest.mark.parametrize(("status", "said"), [(401, "does not accept the token"), (404, "404")])
def test_refused_import_advises_no_retry(
    import_xes: Import, service: FakeService, status: int, said: str
) -> None:
    service.refusal = status
    result = import_xes()
    assert result.exit_code == 1
    assert said in result.stderr
    assert "http://service" in result.stderr
    assert "Run it again" not in result.stderr


def test_another_service_at_the_url_is_reported_in_one_line(
    import_xes: Import, service: FakeService
) -> None:
    service.refusal = 200
    assert (
        import_xes().stderr
        == "Error: http://service is not the service: it answers text/plain. Is --url right?\n"
    )


@pytest.mark.parametrize(
    ("url", "token", "sent"),
    [
        (None, None, "Bearer kept"),
        ("http://localhost:9", None, "Bearer kept"),
        ("http://localhost:9", "mine", "Bearer mine"),
        ("https://elsewhere.example", None, None),
    ],
)
def test_local_token_is_sent_to_the_local_service_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str | None, token: str | None, sent: str
) -> None:
    monkeypatch.delenv("EXECUTIONS_ADMIN_TOKEN", raising=False)
    (tmp_path / "admin.token").write_text("kept\n")
    service = run_import.connect(At(url, token, tmp_path))
    assert service._client.transport.headers.get("Authorization") == sent


def test_help_shows_a_mapping_that_works(tmp_path: Path) -> None:
    words = CliRunner().invoke(import_command, ["xes", "--help"]).stdout
    start, end = words.index('{"service"'), words.index("}}") + 2
    mapping = tmp_path / "mapping.json"
    mapping.write_text(click.unstyle(words[start:end]))
    assert load_mapping(mapping).customer == "applicants"

"""The registry: a file with the logs of a deployment."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from api.cells.registry import LogLocation, LogRegistry
from api.settings import SetupError


@pytest.fixture
def registry(tmp_path: Path) -> LogRegistry:
    return LogRegistry(tmp_path / "logs.json")


def test_registry_without_a_file_has_no_logs(registry: LogRegistry) -> None:
    assert registry.read() == {}


def test_registry_has_logs_that_were_put_and_not_those_removed(registry: LogRegistry) -> None:
    north, south = (
        LogLocation.of("north"),
        LogLocation(schema="s", url="host=db", hosts=("s.example",)),
    )
    registry.put("north", north)
    stamp = registry.stamp()
    registry.put("south", south)
    assert registry.stamp() != stamp
    stamp = registry.stamp()
    registry.file.chmod(0o640)
    assert registry.stamp() != stamp
    assert registry.read() == {"north": north, "south": south}
    registry.remove("north")
    assert registry.read() == {"south": south}
    assert north.schema == "executions_north"


def test_file_is_readable_only_by_its_user(registry: LogRegistry) -> None:
    registry.put("north", LogLocation.of("north", url="postgresql://u:secret@db/x"))
    assert stat.S_IMODE(registry.file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "document",
    [
        "{",
        "[]",
        {"North": {"schema": "a"}},
        {"north~": {"schema": "a"}},
        {"north": {}},
        {"north": {"schema": "A-b"}},
        {"north": {"schema": "executions_views"}},
        {"north": {"schema": "executions_rebuild_timers"}},
        {"north": {"schema": "a", "url": "secret"}},
        {"north": {"schema": "a", "other": "secret"}},
        {"north": {"schema": "a", "hosts": ["http://secret"]}},
        {"north": {"schema": "a"}, "south": {"schema": "a"}},
        {
            "north": {"schema": "a", "hosts": ["x.example"]},
            "south": {"schema": "b", "hosts": ["x.example"]},
        },
    ],
)
def test_invalid_file_is_refused_without_quoting_it(
    registry: LogRegistry, document: object
) -> None:
    registry.file.write_text(document if isinstance(document, str) else json.dumps(document))
    with pytest.raises(SetupError) as refused:
        registry.read()
    assert "secret" not in str(refused.value)


def test_location_of_another_log_is_refused_and_the_file_is_unchanged(
    registry: LogRegistry,
) -> None:
    registry.put("north", LogLocation(schema="a"))
    with pytest.raises(SetupError, match="`south` and `north`"):
        registry.put("south", LogLocation(schema="a"))
    assert set(registry.read()) == {"north"}

"""Settings from the environment and the command line, and refusals of invalid values."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from api.settings import (
    SetupError,
    cells,
    environment_of_children,
    environment_of_postgres,
    read,
    unknown,
)
from domain.access.retirements import DEFAULT_DAYS, LEAST_DAYS


def test_variable_is_the_name_of_the_field_in_capitals() -> None:
    variables = {
        "EXECUTIONS_HOST": "::1",
        "EXECUTIONS_PORT": "9000",
        "EXECUTIONS_DATA_DIR": "/somewhere",
        "EXECUTIONS_DATABASE_URL": "postgresql:///log",
        "EXECUTIONS_DATABASE_OWNER_URL": "user=owner",
        "EXECUTIONS_READ_DATABASE_URL": "host=standby",
        "EXECUTIONS_SCHEMA": "tenant_1",
        "EXECUTIONS_LOG": "north",
        "EXECUTIONS_CELLS": "south=https://south.example",
        "EXECUTIONS_ADMIN_TOKEN": "a-token-of-my-own",
        "EXECUTIONS_MASTER_KEY": "a-key-of-my-own",
        "EXECUTIONS_MASTER_KEY_COMMAND": "print-key",
        "EXECUTIONS_LOG_LEVEL": "warning",
        "EXECUTIONS_QUEUE_LIMIT": "7",
        "EXECUTIONS_STREAM_LIMIT": "9",
        "EXECUTIONS_CONNECTIONS_PER_ADDRESS": "8",
        "EXECUTIONS_DATABASE_CONNECTIONS": "3",
        "EXECUTIONS_WEBHOOK_ALLOW": "10.0.0.0/8, fd00::/8",
        "EXECUTIONS_ARCHIVE_URL": "s3://bucket/lines",
        "EXECUTIONS_LOG_DAYS": "7",
        "EXECUTIONS_EVENT_DAYS": "400",
        "EXECUTIONS_ACCESS_LOG_DAYS": "90",
        "EXECUTIONS_LOST_LEASES": "3",
        "EXECUTIONS_LOGS": "/etc/logs.json",
        "EXECUTIONS_AUDITOR_RATE": "50",
        "EXECUTIONS_WITNESSES": "file:///heads.txt, tsa+http://tsa.example/",
        "EXECUTIONS_PUBLIC_URL": "https://executions.example",
        "EXECUTIONS_TRUSTED_PROXIES": "10.2.0.0/16",
        "EXECUTIONS_ALLOWED_ORIGINS": "https://app.example",
        "EXECUTIONS_FAILED_ATTEMPTS": "7",
        "EXECUTIONS_REQUESTS_PER_SECOND": "500",
        "EXECUTIONS_SESSION_HOURS": "8",
        "EXECUTIONS_JWT_KEY": "k" * 32,
        "EXECUTIONS_JWT_PUBLIC_KEY": "/keys/public.pem",
        "EXECUTIONS_JWT_JWKS_URL": "https://id.example/keys",
        "EXECUTIONS_JWT_ALLOW": "10.0.0.0/8",
        "EXECUTIONS_JWT_ISSUER": "https://id.example",
        "EXECUTIONS_JWT_AUDIENCE": "executions",
        "EXECUTIONS_JWT_LEEWAY": "5",
        "EXECUTIONS_NATS_URL": "tls://nats.example:4222",
        "EXECUTIONS_NATS_STREAM": "other",
        "EXECUTIONS_NATS_CREDENTIALS": "/etc/edge.creds",
        "EXECUTIONS_NATS_CA": "/etc/nats.pem",
        "EXECUTIONS_SERVER_URL": "https://executions.example",
        "EXECUTIONS_EDGE_KEY": "key-of-edges",
    }
    settings = dataclasses.asdict(read(variables))
    assert {
        f"EXECUTIONS_{name.upper()}": str(value) for name, value in settings.items()
    } == variables


def test_command_line_precedes_the_environment() -> None:
    assert read({"EXECUTIONS_PORT": "9000"}, port=9001).port == 9001


def test_option_that_is_not_given_does_not_replace_a_variable() -> None:
    assert read({"EXECUTIONS_PORT": "9000"}, port=None).port == 9000


def test_empty_variable_is_treated_as_not_set() -> None:
    assert read({"EXECUTIONS_DATABASE_URL": ""}).database_url is None


def test_default_data_directory_is_in_the_users_data_home() -> None:
    assert read({"XDG_DATA_HOME": "/kept"}).data_dir == Path("/kept/executions")


def test_settings_are_immutable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        read({}).port = 1  # type: ignore[misc]  # the refused assignment


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("EXECUTIONS_PORT", "65536"),
        ("EXECUTIONS_PORT", "http"),
        ("EXECUTIONS_SCHEMA", 'a"; DROP'),
        ("EXECUTIONS_LOG_LEVEL", "loud"),
        ("EXECUTIONS_QUEUE_LIMIT", "0"),
        ("EXECUTIONS_WEBHOOK_ALLOW", "10.0.0.0/8,intranet"),
        ("EXECUTIONS_WEBHOOK_ALLOW", "10.0.0.1/8"),
        ("EXECUTIONS_ARCHIVE_URL", "http://bucket/lines"),
        ("EXECUTIONS_ARCHIVE_URL", "file://lines"),
        ("EXECUTIONS_LOG_DAYS", "0"),
    ],
)
def test_bad_value_is_refused_in_one_line_that_names_it(variable: str, value: str) -> None:
    with pytest.raises(SetupError) as refusal:
        read({variable: value})
    message = str(refusal.value)
    assert variable in message
    assert repr(value) in message
    assert "\n" not in message


def test_option_that_does_not_exist_is_refused() -> None:
    with pytest.raises(SetupError, match="colour"):
        read({}, colour="red")


def test_token_that_can_be_guessed_is_refused_with_the_length_it_needs() -> None:
    with pytest.raises(SetupError) as refusal:
        read({"EXECUTIONS_ADMIN_TOKEN": "fifteen-letters"})
    assert str(refusal.value) == (
        "admin_token (EXECUTIONS_ADMIN_TOKEN): needs at least 16 characters"
    )
    assert read({"EXECUTIONS_ADMIN_TOKEN": "sixteen-letters."}).admin_token == "sixteen-letters."


def test_child_processes_get_none_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXECUTIONS_ADMIN_TOKEN", "a-token-of-my-own")
    monkeypatch.setenv("PGPASSWORD", "sesame")
    assert not any(name.startswith("EXECUTIONS_") for name in environment_of_children())
    assert environment_of_children()["PGPASSWORD"] == "sesame"
    assert set(environment_of_postgres()) <= {"PATH", "LD_LIBRARY_PATH", "TMPDIR"}


@pytest.mark.parametrize("variable", ["EXECUTIONS_ADMIN_TOKEN", "EXECUTIONS_DATABASE_URL"])
def test_secret_is_not_shown_even_when_it_is_wrong(variable: str) -> None:
    with pytest.raises(SetupError) as refusal:
        read({variable: "open sesame"})
    assert variable in str(refusal.value)
    assert "sesame" not in str(refusal.value)


def test_secrets_are_not_in_the_representation() -> None:
    settings = read(
        {
            "EXECUTIONS_ADMIN_TOKEN": "sesame" * 3,
            "EXECUTIONS_DATABASE_URL": "password=sesame",
            "EXECUTIONS_MASTER_KEY": "sesame",
            "EXECUTIONS_MASTER_KEY_COMMAND": "echo sesame",
        }
    )
    assert "sesame" not in repr(settings)


def test_misspelt_variable_is_found_with_the_nearest_name() -> None:
    misspelt = {"EXECUTIONS_PROT": "1", "EXECUTIONS_DATADIR": "/kept", "EXECUTIONS_COLOUR": "red"}
    assert unknown({**misspelt, "EXECUTION": "1", "EXECUTIONS_PORT": "1"}) == {
        "EXECUTIONS_COLOUR": [],
        "EXECUTIONS_DATADIR": ["EXECUTIONS_DATA_DIR"],
        "EXECUTIONS_PROT": ["EXECUTIONS_PORT"],
    }


def test_every_client_variable_is_a_known_setting() -> None:
    assert unknown({"EXECUTIONS_URL": "http://host", "EXECUTIONS_TOKEN": "mine"}) == {}


def test_archive_is_a_folder_of_the_data_directory_by_default(tmp_path: Path) -> None:
    assert read({}, data_dir=tmp_path).archive == f"file://{tmp_path}/archive"
    elsewhere = {"EXECUTIONS_ARCHIVE_URL": "gs://bucket"}
    assert read(elsewhere, data_dir=tmp_path).archive == "gs://bucket"


@pytest.mark.parametrize("name", ["North", "1st", "a~b", "a_b", "a" * 33, "-a"])
def test_invalid_name_of_a_log_is_refused(name: str) -> None:
    with pytest.raises(SetupError, match=r"^log \(EXECUTIONS_LOG\): "):
        read({"EXECUTIONS_LOG": name})


def test_map_of_logs_has_a_url_for_each_name() -> None:
    text = "north=https://north.example/, south=http://127.0.0.1:8001"
    assert cells(read({"EXECUTIONS_CELLS": text}).cells) == {
        "north": "https://north.example",
        "south": "http://127.0.0.1:8001",
    }


@pytest.mark.parametrize(
    "text",
    [
        "north",
        "north=",
        "North=https://a.example",
        "north=ftp://a.example",
        "north=https://user:secret@a.example",
        "north=https://a.example/path",
        "north=https://a.example,north=https://b.example",
    ],
)
def test_invalid_map_of_logs_is_refused(text: str) -> None:
    with pytest.raises(SetupError, match=r"^cells \(EXECUTIONS_CELLS\): must "):
        read({"EXECUTIONS_CELLS": text})


def test_settings_can_be_copied_with_another_value() -> None:
    assert dataclasses.replace(read({}), log="north").log == "north"


def test_days_of_the_access_log_have_a_default_and_a_minimum() -> None:
    assert read({}).access_log_days == DEFAULT_DAYS
    assert read({"EXECUTIONS_ACCESS_LOG_DAYS": str(LEAST_DAYS)}).access_log_days == LEAST_DAYS
    with pytest.raises(SetupError, match="access_log_days"):
        read({"EXECUTIONS_ACCESS_LOG_DAYS": str(LEAST_DAYS - 1)})

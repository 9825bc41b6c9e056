"""`executions keys`: create, list and revoke keys. A new key is printed once, without other text."""

from __future__ import annotations

import json
import time

import httpx
import pytest
from click.testing import CliRunner, Result

from api.access.keys import PREFIX, is_checked
from api.cli.main import main
from tests.support.api_client import Catalog
from tests.support.running_server import TOKEN, Serving


def keys(server: Serving, *words: str) -> Result:
    command, *options = words
    at = ["--url", server.url, "--token", TOKEN]
    return CliRunner().invoke(main, ["keys", command, *at, *options])


def test_only_the_new_key_is_printed_on_standard_output(server: Serving, catalog: Catalog) -> None:
    words = (
        "--role",
        "provider",
        "--party",
        catalog.provider,
        "--name",
        "ci",
        "--expires",
        "90d",
    )
    result = keys(server, "create", *words, "--right", "executions.work")
    assert result.exit_code == 0, result.output
    assert is_checked(result.stdout.strip().encode(), PREFIX)
    assert result.stdout.count("\n") == 1
    headers = {"Authorization": f"Bearer {result.stdout.strip()}"}
    assert httpx.get(f"{server.url}/api/executions", headers=headers).status_code == 403


def list_until(server: Serving, word: str, *options: str) -> str:
    """The list of keys, once it has a key with this word."""
    deadline = time.monotonic() + 10
    while word not in (listed := keys(server, "list", *options).stdout):
        assert time.monotonic() < deadline, listed
    return listed


def test_keys_are_listed_without_their_secret_and_revoked_by_id(
    server: Serving, catalog: Catalog
) -> None:
    made = keys(server, "create", "--role", "customer", "--customer", catalog.customer)
    listed = list_until(server, '"role": "customer"', "--json")
    found = [json.loads(line) for line in listed.splitlines()]
    (key,) = [entry for entry in found if entry["role"] == "customer"]
    table = keys(server, "list").stdout
    assert key["$id"] in table
    assert made.stdout.strip() not in listed + table
    assert keys(server, "revoke", key["$id"]).exit_code == 0
    assert key["$id"] in list_until(server, key["$id"], "--status", "revoked")
    assert key["$id"] not in keys(server, "list", "--status", "active").stdout
    headers = {"Authorization": f"Bearer {made.stdout.strip()}"}
    assert httpx.get(f"{server.url}/api/executions", headers=headers).status_code == 401


def test_empty_list_of_keys_is_reported_without_a_table(server: Serving) -> None:
    assert (
        keys(server, "list", "--status", "expired").stdout
        == "There are no keys that are expired.\n"
    )
    assert keys(server, "list", "--status", "expired", "--json").stdout == ""


def test_narrowed_key_of_an_assignee_is_listed_with_its_parties(
    server: Serving, catalog: Catalog
) -> None:
    words = ("--role", "assignee", "--party", "worker-7", "--provider", catalog.provider)
    assert keys(server, "create", *words).exit_code == 0
    listed = list_until(server, '"role": "assignee"', "--json")
    [key] = [found for found in map(json.loads, listed.splitlines()) if found["role"] == "assignee"]
    assert (key["party"], key["provider"]) == ("worker-7", catalog.provider)
    assert "customer" not in key


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--role", "provider"), "--role provider needs --party"),
        (("--role", "assignee", "--provider", "acme"), "--role assignee needs --party"),
        (("--role", "provider", "--party", "acme", "--customer", "acme"), "--customer does not go"),
        (("--role", "provider", "--customer", "acme"), "--party says whose key it is"),
        (("--role", "provider", "--party", "acme", "--provider", "acme"), "give --party alone"),
        (("--role", "operator", "--party", "acme"), "leave out --party"),
        (("--role", "operator", "--expires", "soon"), "90d"),
        (("--role", "operator", "--expires", "999999w"), "90d"),
        (("--role", "customer", "--customer", "no-such"), "no-such"),
    ],
)
def test_invalid_key_is_refused_with_the_reason(
    server: Serving, words: tuple[str, ...], said: str
) -> None:
    result = keys(server, "create", *words)
    assert result.exit_code != 0
    assert result.stdout == ""
    assert said in result.output

"""How a client command finds the URL and the token of the service, and errors in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.client.connection import connect
from api.embedded_postgres.address_file import AddressFile, publish_address
from api.embedded_postgres.data_dir import DataDir
from api.settings import SetupError
from service_executions.address import Address
from service_executions.address import read_published as read

HERE = "http://127.0.0.1:18431"
DEFAULT = "http://127.0.0.1:8000"


def address(url: str | None, token: str | None, data_dir: Path) -> Address:
    """The address that a command uses with these options."""
    with connect(url, token, data_dir) as client:
        return client.transport.address


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataDir:
    """The data directory of a server that was started before."""
    monkeypatch.delenv("EXECUTIONS_ADMIN_TOKEN", raising=False)
    monkeypatch.delenv("EXECUTIONS_PORT", raising=False)
    made = DataDir.open(tmp_path)
    made.admin_token()
    return made


@pytest.fixture
def file(folder: DataDir) -> Path:
    return folder.address_file


def test_local_server_is_found_on_any_port(folder: DataDir) -> None:
    with publish_address(folder.address_file, HERE):
        found = address(None, None, folder.path)
    assert found == (HERE, folder.admin_token())


def test_given_address_precedes_the_one_in_the_file(folder: DataDir) -> None:
    with publish_address(folder.address_file, HERE):
        found = address("http://localhost:9/api/", "mine", folder.path)
    assert found == ("http://localhost:9", "mine")


def test_address_file_is_removed_with_its_server(folder: DataDir) -> None:
    with publish_address(folder.address_file, HERE):
        assert folder.address_file.read_text() == f"{HERE}\n"
    assert not folder.address_file.exists()


def test_stale_address_file_is_ignored(folder: DataDir) -> None:
    folder.address_file.write_text(f"{HERE}\n")
    assert address(None, None, folder.path).url == DEFAULT


def test_local_token_is_sent_to_the_address_in_the_file_and_not_to_a_given_one(
    folder: DataDir,
) -> None:
    with publish_address(folder.address_file, "http://192.0.2.7:8000"):
        assert address(None, None, folder.path).token == folder.admin_token()
    assert address("http://192.0.2.7:8000", None, folder.path).token is None


def test_second_server_writes_its_address_when_the_first_has_ended(file: Path) -> None:
    first, second = AddressFile(file, HERE), AddressFile(file, "http://127.0.0.1:9")
    first.publish()
    second.publish()
    assert read(file) == HERE
    second.withdraw()
    assert read(file) == HERE
    first.withdraw()
    assert read(file) is None
    second.publish()
    assert read(file) == "http://127.0.0.1:9"
    second.withdraw()


def test_reading_the_address_takes_no_lock_of_a_server(file: Path) -> None:
    with publish_address(file, HERE):
        assert [read(file) for _ in range(3)] == [HERE] * 3


NO_ADDRESSES = [
    "localhost:18431",
    "ftp://host",
    "/api",
    "http://",
    "http://[",
    "http://[::1",
    "http://host:port",
    "http://local host",
    "http://a..b",
]


@pytest.mark.parametrize("url", NO_ADDRESSES)
def test_invalid_address_is_named(folder: DataDir, url: str) -> None:
    with pytest.raises(SetupError) as refusal:
        address(url, "mine", folder.path)
    assert str(refusal.value) == f"`{url}` is no address like http://127.0.0.1:8000"


@pytest.mark.parametrize(
    "url", ["http://[::1]:8000", "https://host.example/x", "http://b\u00fccher"]
)
def test_valid_address_is_accepted(folder: DataDir, url: str) -> None:
    assert address(url, "mine", folder.path).url == url


def test_white_space_around_a_pasted_token_is_removed(folder: DataDir) -> None:
    assert address(HERE, " mine\r\n", folder.path).token == "mine"


@pytest.mark.parametrize("token", ["sesam\u00e9", "sesame open", "sesame\nopen", "sesame\x07", " "])
def test_invalid_token_is_refused_and_not_shown(folder: DataDir, token: str) -> None:
    with pytest.raises(SetupError, match="EXECUTIONS_TOKEN") as refusal:
        address(HERE, token, folder.path)
    assert "\n" not in str(refusal.value)
    assert "sesam" not in str(refusal.value)


def test_data_directory_that_no_server_has_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="is --data-dir"):
        address(None, None, tmp_path)

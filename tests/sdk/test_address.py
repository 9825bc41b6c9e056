"""How a client finds its service, and the services to which it sends a token."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from service_executions import SetupError
from service_executions.address import find


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EXECUTIONS_DATA_DIR", str(tmp_path))
    (tmp_path / "admin.token").write_text("token-of-this-machine\n")
    return tmp_path


def test_environment_names_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXECUTIONS_URL", "https://executions.test/api/")
    monkeypatch.setenv("EXECUTIONS_TOKEN", " abc\n")
    assert find() == ("https://executions.test", "abc")
    assert find("http://other.test", "t") == ("http://other.test", "t")


def test_service_of_this_machine_is_found_while_it_runs(data_dir: Path) -> None:
    file = data_dir / "address"
    file.write_text("http://127.0.0.1:4711\n")
    with file.open() as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        assert find() == ("http://127.0.0.1:4711", "token-of-this-machine")
    assert find().url == "http://127.0.0.1:8000"


def test_token_of_this_machine_is_sent_to_no_other() -> None:
    assert find("https://elsewhere.test").token is None
    assert find("http://localhost:9").token == "token-of-this-machine"


@pytest.mark.parametrize("url", ["", "ftp://x", "127.0.0.1:8000", "http://"])
def test_invalid_address_is_refused(url: str) -> None:
    if not url:
        assert find(url).url == "http://127.0.0.1:8000"
        return
    with pytest.raises(SetupError, match="no address"):
        find(url)


def test_token_is_not_shown_when_refused() -> None:
    with pytest.raises(SetupError) as refused:
        find("http://x.test", "two words")
    assert "two" not in str(refused.value)

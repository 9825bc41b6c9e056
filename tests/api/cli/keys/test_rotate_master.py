"""`executions keys rotate-master` from end to end, interrupted at every point, and beside a running server."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result

from api.cli.keys import rotate_master
from api.cli.main import main
from api.embedded_postgres.data_dir import DataDir
from api.embedded_postgres.master_key import master_key
from api.log_keys import keys_of_log, require_key_of_log
from api.settings import Settings, SetupError, read
from domain.eventlog.encryption import Vault
from domain.eventlog.migrations import settle_master_key
from domain.eventlog.sessions import program, session_options

SCHEMA = "executions"


class Killed(BaseException):
    """The process was killed."""


class Log:
    """A log with one data key, and its data directory."""

    def __init__(self, database: str, path: Path) -> None:
        self.database = database
        self.folder = DataDir.open(path / "data")
        settle_master_key(database, SCHEMA, self.folder.master_key, self.folder.master_key)
        with psycopg.connect(database, options=session_options(SCHEMA)) as connection:
            _, wrapped = Vault(self.folder.master_key()).make("execution/e")
            connection.execute("INSERT INTO data_keys VALUES ('execution/e', %s)", (wrapped,))
        self.secret = self.keys()
        self.data_key = self.opened()

    def settings(self, **more: str) -> Settings:
        return read({}, data_dir=self.folder.path, database_url=self.database, **more)

    def keys(self, **more: str) -> bytes:
        """The keys that a server of these settings has at its start."""
        folder, settings = DataDir(self.folder.path), self.settings(**more)
        require_key_of_log(self.database, settings, folder)
        return keys_of_log(self.database, settings, folder).secret

    def opened(self, **more: str) -> bytes:
        """The data key, unwrapped by the master key of the settings."""
        vault = Vault(master_key(self.settings(**more), DataDir(self.folder.path)))
        with psycopg.connect(self.database, options=session_options(SCHEMA)) as connection:
            [wrapped] = connection.execute("SELECT wrapped FROM data_keys").fetchone() or [b""]
        return vault.unwrap(bytes(wrapped), "execution/e").material

    def rotate(self, *arguments: str, **more: str) -> Result:
        environment = {
            "EXECUTIONS_DATABASE_URL": self.database,
            "EXECUTIONS_DATA_DIR": str(self.folder.path),
            **more,
        }
        return CliRunner().invoke(main, ["keys", "rotate-master", *arguments], env=environment)


@pytest.fixture
def log(database: str, tmp_path: Path) -> Log:
    return Log(database, tmp_path)


def test_rotation_replaces_the_master_key_file(log: Log) -> None:
    before = log.folder.master_key()
    done = log.rotate()
    assert done.exit_code == 0, done.output
    assert "1 data keys are wrapped" in done.output
    assert log.folder.master_key() != before
    assert log.keys() == log.secret
    assert log.opened() == log.data_key
    former = log.folder.path / f"master.key.former-{Vault(before).id}"
    assert former.exists()
    assert not log.folder.next_master_key_file.exists()
    for secret in (before, log.folder.master_key()):
        assert b64encode(secret).decode() not in done.output


POINTS: dict[str, tuple[object, str]] = {
    "before the log knows": (rotate_master, "begin"),
    "before any is wrapped": (rotate_master, "rewrap"),
    "before it is finished": (rotate_master, "finish"),
    "before the file is replaced": (DataDir, "adopt_next_master_key"),
}


@pytest.mark.parametrize("point", POINTS.values(), ids=POINTS)
def test_rotation_that_is_killed_is_finished_by_the_next_one(
    log: Log, point: tuple[object, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(*point, kill)
        with pytest.raises(Killed):
            log.rotate()
    if point[1] == "begin":
        assert log.keys() == log.secret
    else:
        with pytest.raises(SetupError, match="run `executions keys rotate-master`"):
            log.keys()
    done = log.rotate()
    assert done.exit_code == 0, done.output
    assert (log.keys(), log.opened()) == (log.secret, log.data_key)
    again = log.rotate()
    assert again.exit_code == 0, again.output
    assert (log.keys(), log.opened()) == (log.secret, log.data_key)


def test_rotation_beside_a_running_server_is_refused_with_advice(log: Log) -> None:
    with psycopg.connect(log.database, application_name=program(SCHEMA)):
        done = log.rotate()
    assert done.exit_code == 1
    assert "stop all of them" in done.output
    assert (log.keys(), log.opened()) == (log.secret, log.data_key)


def test_rotation_is_refused_before_any_key_is_wrapped_if_a_server_started_meanwhile(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([False, True])
    with monkeypatch.context() as patched:
        patched.setattr(rotate_master, "is_served", lambda *_: next(answers))
        done = log.rotate()
    assert done.exit_code == 1
    assert log.opened() == log.data_key
    assert log.rotate().exit_code == 0
    assert log.keys() == log.secret


def printing(key: bytes) -> str:
    return f"printf %s {b64encode(key).decode()}"


def test_rotation_changes_from_the_file_to_a_command_and_from_that_to_another(log: Log) -> None:
    first, second = printing(b"1" * 32), printing(b"2" * 32)
    assert log.rotate("--to-command", first).exit_code == 0
    known = {"master_key_command": first}
    assert (log.keys(**known), log.opened(**known)) == (log.secret, log.data_key)
    refused = log.rotate(EXECUTIONS_MASTER_KEY_COMMAND=first)
    assert refused.exit_code == 1
    assert "--to-command" in refused.output
    done = log.rotate("--to-command", second, EXECUTIONS_MASTER_KEY_COMMAND=first)
    assert done.exit_code == 0, done.output
    assert log.opened(master_key_command=second) == log.data_key


FAILING: dict[str, tuple[str, str]] = {
    "status": ("echo Sesame; echo Sesame >&2; exit 3", "status 3"),
    "no key": ("echo Sesame", "no key of 32 bytes in base64"),
    "nothing": ("true", "no key of 32 bytes in base64"),
    "time": ("sleep 60", "within"),
}


@pytest.mark.parametrize(("command", "said"), FAILING.values(), ids=FAILING)
def test_command_that_prints_no_key_is_refused_without_quoting_it(
    command: str, said: str, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.embedded_postgres.master_key.COMMAND_TIMEOUT", 0.3)
    with pytest.raises(SetupError, match=said) as refused:
        log.keys(master_key_command=command)
    assert "Sesame" not in str(refused.value)


def test_key_in_the_environment_opens_the_log(log: Log) -> None:
    key = b64encode(log.folder.master_key()).decode()
    log.folder.master_key_file.unlink()
    assert log.keys(master_key=key) == log.secret
    with pytest.raises(SetupError, match="EXECUTIONS_MASTER_KEY is not the key"):
        log.keys(master_key=b64encode(b"x" * 32).decode())


def test_first_server_with_a_key_command_makes_no_file(database: str, tmp_path: Path) -> None:
    folder = DataDir.open(tmp_path / "new")
    settings = read(
        {},
        data_dir=folder.path,
        database_url=database,
        master_key_command=printing(b"1" * 32),
    )
    require_key_of_log(database, settings, folder)
    assert keys_of_log(database, settings, folder).master == b"1" * 32
    assert not folder.master_key_file.exists()

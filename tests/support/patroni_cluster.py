"""Three nodes under Patroni with quorum commit, installed only from packages of PyPI."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import sleep
from typing import Any

import httpx
import psycopg

from api.embedded_postgres.cluster import Cluster
from tests.support.cluster_node import PASSWORD, Node, Site, ThisMachine, configuration
from tests.support.databases import reachable_folder
from tests.support.primary_proxy import Backend
from tests.support.waiting import wait_until

UP = 90
NAMES = "abc"
SOON = {"loop_wait": 1, "retry_timeout": 3}
"""Settings with which Patroni checks more often than in the example; its `ttl` is the lowest allowed."""
LET_GO = 6.0
"""Seconds after which a proxy drops a node that does not answer."""
WHOLE = [
    ("leader", "running"),
    ("quorum_standby", "streaming"),
    ("quorum_standby", "streaming"),
]


class PatroniCluster:
    """The nodes, of which one leads."""

    def __init__(self, folder: Path, nodes: Sequence[Node], *, hurried: bool = False) -> None:
        self.nodes = nodes
        self._hurried = hurried
        self._log = folder / "cluster.log"

    @property
    def backends(self) -> Sequence[Backend]:
        return [node.backend for node in self.nodes]

    def start(self) -> None:
        """Return once all three run, and commits wait for a quorum."""
        for node in self.nodes:
            node.start_etcd(self.nodes)
        self._wait_until(self.nodes[0].etcd.is_up)  # otherwise Patroni waits for 5 seconds
        for node in self.nodes:
            node.start_patroni()
        self.wait_until_whole()

    def start_node(self, node: Node) -> None:
        """Start all processes of a node that was killed."""
        node.start_etcd(self.nodes)
        node.start_patroni()

    def members(self) -> Mapping[str, Mapping[str, Any]]:
        """The view of all nodes by the first node that answers."""
        return next(filter(None, (node.members() for node in self.nodes)), {})

    def primary(self) -> Node:
        """The node that leads, once there is one."""
        leading: list[Node] = []

        def found() -> bool:
            leading.extend(node for node in self.nodes if node.leads())
            return bool(leading)

        self._wait_until(found)
        return leading[0]

    def standbys(self) -> list[Node]:
        """The other nodes."""
        primary = self.primary()
        return [node for node in self.nodes if node is not primary]

    def wait_until_led_by_other(self, former: Node) -> None:
        """Return once another node is the primary."""
        others = [node for node in self.nodes if node is not former]
        self._wait_until(lambda: any(node.leads() for node in others))

    def hurry(self, former: Node) -> None:
        """If there is no time for `ttl`: end the lease of a frozen or dead primary, once no client is led to it."""
        if self._hurried:
            sleep(LET_GO)
            next(node for node in self.nodes if node is not former).etcd.end_lease()

    def wait_until_led_after(self, timeline: int) -> None:
        """Return once any node is the primary on a later timeline."""
        self._wait_until(lambda: any(node.timeline() > timeline for node in self.nodes))

    def wait_until_without_leader(self, node: Node) -> None:
        """Return once the lease of the primary has expired, as a node sees it."""

        def is_over() -> bool:
            roles = [each["role"] for each in node.members().values()]
            return bool(roles) and "leader" not in roles

        self._wait_until(is_over)

    def wait_until_without_voters(self) -> None:
        """Return once the primary has written to etcd that there is no standby: no other node may lead."""
        self._wait_until(lambda: self.nodes[0].etcd.voters() is None)

    def wait_until_streaming(self, primary: Node) -> None:
        """Return once all others stream from it."""
        self._wait_until(lambda: primary.streaming() == len(self.nodes) - 1)

    def is_whole(self) -> bool:
        """Whether one leads, and both others are standbys that a commit may wait for."""
        return sorted((each["role"], each["state"]) for each in self.members().values()) == WHOLE

    def wait_until_whole(self) -> None:
        self._wait_until(self.is_whole)

    def switch_over(self) -> None:
        """As `patronictl switchover` does without a candidate."""
        node = self.primary()
        answer = httpx.post(f"{node.url}/switchover", json={"leader": node.name}, timeout=UP)
        assert answer.is_success, answer.text

    def log(self) -> str:
        """The end of the logs of all nodes."""
        return self._log.read_text()[-8000:]

    def close(self) -> None:
        for node in self.nodes:
            with suppress(ProcessLookupError):
                node.kill()

    def _wait_until(self, reached: Callable[[], object]) -> None:
        try:
            wait_until(reached, UP, every=0.2)
        except AssertionError:
            raise AssertionError(f"{self.members()}\n{self.log()}") from None


@contextmanager
def patroni_cluster(
    bin_dir: Path | None = None, site: Site | None = None, settings: Mapping[str, Any] | None = None
) -> Iterator[PatroniCluster]:
    """A cluster while the block runs, with an empty database `app` and its owner; `settings` of Patroni override the example's; with
    any, leases may be ended early.
    """
    with reachable_folder() as folder:
        beside = Cluster(folder, bin_dir)
        run_as = beside.run_as()
        run_as.give(folder)
        nodes = [Node(name, folder, site or ThisMachine(), run_as) for name in NAMES]
        cluster, programs = (
            PatroniCluster(folder, nodes, hurried=bool(settings)),
            beside.programs(run_as),
        )
        try:
            for node in nodes:
                made = configuration(node, nodes, programs)
                made["bootstrap"]["dcs"] |= settings or {}
                node.make(made)
            cluster.start()
            with psycopg.connect(cluster.primary().conninfo, autocommit=True) as connection:
                connection.execute(f"CREATE ROLE app LOGIN PASSWORD '{PASSWORD}'".encode())
                connection.execute("CREATE DATABASE app OWNER app")
            yield cluster
        finally:
            cluster.close()

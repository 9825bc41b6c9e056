"""A network of namespaces on this machine, whose links may be cut, in one direction or in both, or slowed down.

Each namespace has one link, to a router between them. The router drops packets of cut links silently.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count

from tests.support.namespace_doors import Doors, doors_into

OUTSIDE = "outside"
"""The name of the namespace with the clients of the nodes."""
ROUTER = "router"
QUEUE = "300ms"
"""How long a packet waits for a slow link, at most; then it is lost."""
_NUMBERS = count(1)


class NoNamespaces(Exception):
    """Namespaces cannot be made here; the message has the reason."""


class Network:
    """The namespaces of nodes, the one of their clients, and the router."""

    network = "10.0.0.0/16"

    def __init__(self, names: Sequence[str]) -> None:
        self._names = (*names, OUTSIDE)
        self._prefix = f"executions-{os.getpid()}-{next(_NUMBERS)}-"
        self._dropped: list[tuple[str, ...]] = []
        self._slow: list[str] = []
        self.doors: Doors

    def address(self, name: str) -> str:
        return f"10.0.{self._names.index(name) + 1}.2"

    def command(self, name: str) -> Sequence[str]:
        return ("ip", "netns", "exec", self.namespace(name))

    def door(self, name: str, port: int) -> int:
        return self.doors.open(self.address(name), port)

    def namespace(self, name: str) -> str:
        """The name of a namespace in the kernel."""
        return self._prefix + name

    def cut(self, source: str, *targets: str) -> None:
        """Drop all packets from one to others; those in the other direction pass."""
        for target in targets:
            rule = ("from", self.address(source), "to", self.address(target), "blackhole")
            self._in_router("ip", "rule", "add", *rule)
            self._dropped.append(rule)

    def cut_off(self, name: str, *others: str) -> None:
        """Drop all packets between one and others."""
        self.cut(name, *others)
        for other in others:
            self.cut(other, name)

    def slow(self, name: str, rate: str) -> None:
        """Limit the bandwidth at which a node receives, in bits per second."""
        limit = ("tbf", "rate", rate, "burst", "16kb", "latency", QUEUE)
        self._in_router("tc", "qdisc", "add", "dev", name, "root", *limit)
        self._slow.append(name)

    def mend(self) -> None:
        """Undo all changes of links."""
        while self._dropped:
            self._in_router("ip", "rule", "del", *self._dropped.pop())
        while self._slow:
            self._in_router("tc", "qdisc", "del", "dev", self._slow.pop(), "root")

    def make(self) -> None:
        """Make the namespaces, the links between them, and the routes.

        Raises:
            NoNamespaces: it is not allowed here, or the kernel lacks a feature.
        """
        try:
            self._make_router()
            for number, name in enumerate(self._names, 1):
                self._link(name, f"10.0.{number}")
            self.cut(OUTSIDE, OUTSIDE)
            self.mend()
        except (OSError, subprocess.CalledProcessError) as error:
            why = getattr(error, "stderr", "") or str(error)
            raise NoNamespaces(f"namespaces cannot be made here: {why.strip()}") from error

    def remove(self) -> None:
        """Remove the namespaces, and the links with them."""
        for name in (*self._names, ROUTER):
            with suppress(subprocess.CalledProcessError, OSError):
                _run("ip", "netns", "del", self.namespace(name))

    def _make_router(self) -> None:
        _run("ip", "netns", "add", self.namespace(ROUTER))
        forward = "echo 1 > /proc/sys/net/ipv4/ip_forward"
        _run(*self.command(ROUTER), "sh", "-c", forward)

    def _link(self, name: str, subnet: str) -> None:
        namespace = self.namespace(name)
        _run("ip", "netns", "add", namespace)
        peer = ("type", "veth", "peer", "name", "eth0", "netns", namespace)
        self._in_router("ip", "link", "add", "name", name, *peer)
        self._in_router("ip", "addr", "add", f"{subnet}.1/24", "dev", name)
        self._in_router("ip", "link", "set", "dev", name, "up")
        for command in (
            ("addr", "add", f"{subnet}.2/24", "dev", "eth0"),
            ("link", "set", "lo", "up"),
            ("link", "set", "eth0", "up"),
            ("route", "add", "default", "via", f"{subnet}.1"),
        ):
            _run("ip", "-n", namespace, *command)

    def _in_router(self, program: str, *command: str) -> None:
        _run(program, "-n", self.namespace(ROUTER), *command)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


@contextmanager
def network(names: Sequence[str]) -> Iterator[Network]:
    """A network while the block runs; all of it is removed.

    Raises:
        NoNamespaces: it cannot be made here.
    """
    made = Network(names)
    try:
        made.make()
        with doors_into(made.namespace(OUTSIDE)) as made.doors:
            yield made
    finally:
        made.remove()

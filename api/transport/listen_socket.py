"""The listening socket: bound before anything is made, opened when everything is ready."""

from __future__ import annotations

import errno
import socket

from api.settings import Settings, SetupError

BACKLOG = 4096
UNSENT_BYTES = 128 * 1024
USER_TIMEOUT_MS = 60_000


def bind(settings: Settings) -> socket.socket:
    """A socket that has the address, but does not listen yet: who comes too early is turned away.

    Raises:
        SetupError: the address cannot be had.
    """
    found = socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if found.family == socket.AF_INET6:
            found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Connections inherit both: little that a slow reader has not read is kept in the kernel,
        # and a client that vanished without a word is noticed.
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
        found.bind((settings.host, settings.port))
    except (OSError, UnicodeError) as error:
        found.close()
        raise _refusal(settings, error) from None
    return found


def listen(on: socket.socket, settings: Settings) -> None:
    """Open the port. Two may have bound it, as long as neither listens: the second hears it here.

    Raises:
        SetupError: another server has come first.
    """
    try:
        on.listen(BACKLOG)
    except OSError as error:
        raise _refusal(settings, error) from None


def url(on: socket.socket) -> str:
    """Where it listens."""
    host, port = on.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def url_from_here(on: socket.socket) -> str:
    """The same for those on this machine: "all addresses" is none that one can go to."""
    for everywhere, here in (("//0.0.0.0:", "//127.0.0.1:"), ("//[::]:", "//[::1]:")):
        if everywhere in url(on):
            return url(on).replace(everywhere, here)
    return url(on)


def _refusal(settings: Settings, error: OSError | UnicodeError) -> SetupError:
    number = error.errno if isinstance(error, OSError) else None
    other_port = "choose another with --port or EXECUTIONS_PORT"
    if number == errno.EADDRINUSE:
        return SetupError(f"port {settings.port} is taken; {other_port}")
    if number in {errno.EACCES, errno.EPERM}:
        return SetupError(f"port {settings.port} is not for this user; {other_port}")
    reason = (isinstance(error, OSError) and error.strerror) or "it is no name of a host"
    return SetupError(
        f"host {settings.host} cannot be listened on ({reason}); "
        "choose another with --host or EXECUTIONS_HOST"
    )

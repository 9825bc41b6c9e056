"""`executions cells map`: writes the map of logs for nginx and HAProxy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import click

from api.settings import SetupError, cells, read

FORMS = {"nginx": '"{key}" {url};', "haproxy": "{key} {name}"}
"""The line of each proxy: the name in a request, and its target."""
NOT_IN_HOSTS = " \t\"';{}/:"


def print_map(proxy: str, tenants: Sequence[str]) -> None:
    """Print a line for each log, and for each tenant that has a host of its own."""
    try:
        urls = cells(read().cells)
        if not urls:
            raise SetupError("there is no map of logs: name them in EXECUTIONS_CELLS")
        if below := [name for name, url in urls.items() if urlsplit(url).path]:
            raise SetupError(f"a proxy adds no path: give `{below[0]}` a host of its own")
        keys = {**{name: name for name in urls}, **_hosts(tenants, urls)}
    except SetupError as error:
        raise click.ClickException(str(error)) from None
    for key, name in keys.items():
        click.echo(FORMS[proxy].format(key=key, name=name, url=urls[name]))


def _hosts(tenants: Sequence[str], urls: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for tenant in tenants:
        host, _, name = tenant.partition("=")
        if not host or any(mark in host for mark in NOT_IN_HOSTS) or name not in urls:
            known = ", ".join(urls)
            raise SetupError(
                f"--tenant must be HOST=NAME, a host without a port and one of {known}: {tenant!r}"
            )
        if host.lower() in urls:
            raise SetupError(f"--tenant names the host `{host}`, which is the name of a log")
        if found.setdefault(host.lower(), name) != name:
            raise SetupError(
                f"--tenant names {host} twice, for `{found[host.lower()]}` and `{name}`"
            )
    return found

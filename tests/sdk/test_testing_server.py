"""Tests of programs that record get a service of their own."""

from __future__ import annotations

from service_executions.testing import Server


def test_server_of_a_test_is_a_real_one() -> None:
    with Server() as server, server.client() as client:
        client.users.create("acme", name="Acme", kind="organization")
        client.services.create("s", name="S", provider="acme")
        client.orders.create("o", service="s", customer="acme")
        with client.track(order="o", service="s") as run:
            pass
        assert client.executions.get(run.id).status == "completed"
        folder = server._folder
    assert not folder.exists()

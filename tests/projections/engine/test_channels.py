"""Workers that a notification about progress wakes."""

from __future__ import annotations

from projections.engine.channels import when_moved


def test_worker_is_woken_when_its_view_has_moved_or_may_have() -> None:
    woken: list[str] = []
    handle = when_moved("timers", lambda: woken.append("timers"))
    for payload in ("claims 7", "timers_of_others 7"):
        handle(payload)
    assert woken == []
    handle("timers 7")
    handle(None)
    assert woken == ["timers", "timers"]

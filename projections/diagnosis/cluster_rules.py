"""Finds faults in the configuration of a PostgreSQL cluster, by a table of rules."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from projections.diagnosis.cluster import ClusterFinding, InspectedCluster, Patroni, ServedDatabase

LEAST_PATRONI = 4
"""The first major version of Patroni with quorum commit."""
LONGEST_TTL = 30
"""Seconds that Patroni's `ttl` should not exceed."""
LEAST_LAG = 2**30
"""Bytes that `maximum_lag_on_failover` should have at least. Views are written without waiting for standbys, so a standby
may lack so many bytes and still have every acknowledged commit."""


def findings(cluster: InspectedCluster) -> list[ClusterFinding]:
    """Return the findings of all rules, those first that may lose commands."""
    found = [each for rule in OF_DATABASE for each in rule(cluster.database)]
    found += [each for node in cluster.patroni for rule in OF_PATRONI for each in rule(node)]
    return sorted(dict.fromkeys(found), key=lambda each: each.severity == "unavailable")


# --- the database ------------------------------------------------------------


def _route(found: ServedDatabase) -> Iterator[ClusterFinding]:
    if found.standby:
        yield ClusterFinding(
            "unavailable",
            "the connection string leads to a standby, on which no server starts",
            "lead it to the primary, through HAProxy with `option httpchk OPTIONS /primary`",
        )
    if found.hosts > 1 and not found.read_write:
        yield ClusterFinding(
            "unavailable",
            "the connection string names several hosts without target_session_attrs=read-write",
            "add it, or better, lead the servers through HAProxy",
        )
    elif found.hosts > 1:
        yield ClusterFinding(
            "unavailable",
            "the connection string names several hosts: a primary that hangs is found again and again",
            "lead the servers through HAProxy with `on-marked-down shutdown-sessions`",
        )


def _pooler(found: ServedDatabase) -> Iterator[ClusterFinding]:
    if found.pooled:
        yield ClusterFinding(
            "unsafe",
            "a pooler (PgBouncer) is in the way: it drops `search_path`, LISTEN and locks of sessions",
            "connect to PostgreSQL, or through HAProxy, which passes connections on whole",
        )


def _durability(found: ServedDatabase) -> Iterator[ClusterFinding]:
    for name in ("fsync", "full_page_writes"):
        if found.settings.get(name) == "off":
            yield ClusterFinding(
                "unsafe",
                f"{name} is off: a crash may lose what was acknowledged",
                f"set {name} = on",
            )
    if (commit := found.settings.get("synchronous_commit")) not in {"on", "remote_apply"}:
        yield ClusterFinding(
            "unsafe",
            f"synchronous_commit is {commit}: no commit waits for a standby's disk",
            "set synchronous_commit = on",
        )


def _quorum(found: ServedDatabase) -> Iterator[ClusterFinding]:
    names = found.settings.get("synchronous_standby_names", "")
    if found.standby:
        return
    if not names:
        yield ClusterFinding(
            "unsafe",
            "synchronous_standby_names is empty: a commit waits for no standby, and is lost with the primary",
            "set synchronous_mode: quorum and synchronous_mode_strict: true in Patroni; where they are set, bring a standby up",
        )
    elif not re.match(r"\s*ANY\s", names, re.IGNORECASE):
        yield ClusterFinding(
            "unavailable",
            f"synchronous_standby_names is {names}: commits wait for named standbys, not for a quorum",
            "set synchronous_mode: quorum in Patroni 4 or later",
        )
    number = sum(each.counts for each in found.standbys)
    if names and not found.monitors:
        yield ClusterFinding(
            "unavailable",
            "the role of the connection string may see neither standbys nor what waits for the archive",
            "GRANT pg_monitor to it",
        )
    elif names and number < 2:
        now = "the next failure stops all commands" if number else "no command is acknowledged now"
        yield ClusterFinding(
            "unavailable",
            f"{number or 'no'} standby that commits wait for is connected: {now}",
            "bring the other standbys back, or add one: three nodes in all",
        )


def _slots(found: ServedDatabase) -> Iterator[ClusterFinding]:
    if found.slots and found.settings.get("max_slot_wal_keep_size") == "-1":
        yield ClusterFinding(
            "unavailable",
            "max_slot_wal_keep_size is not set: the slot of a standby that is gone fills the disk",
            "set it to what the disk can spare, such as 4GB",
        )


def _rewind(found: ServedDatabase) -> Iterator[ClusterFinding]:
    hints, checksums = (found.settings.get(name) for name in ("wal_log_hints", "data_checksums"))
    if "on" not in {hints, checksums}:
        yield ClusterFinding(
            "unavailable",
            "neither wal_log_hints nor data checksums are on: a former primary cannot be rewound",
            "set wal_log_hints = on",
        )


def _archive(found: ServedDatabase) -> Iterator[ClusterFinding]:
    if found.settings.get("archive_mode") == "off":
        yield ClusterFinding(
            "unsafe",
            "archive_mode is off: what was written since the last backup is in no backup",
            "archive WAL, with pgBackRest for instance",
        )
    if found.not_archived:
        yield ClusterFinding(
            "unsafe",
            "WAL has waited for its archive for 10 minutes: it is in no backup, and fills the disk of the primary",
            "see in the log of PostgreSQL why archive_command fails",
        )


OF_DATABASE: tuple[Callable[[ServedDatabase], Iterator[ClusterFinding]], ...] = (
    *(_pooler, _durability, _quorum, _archive, _route, _slots, _rewind),
)

# --- Patroni -----------------------------------------------------------------


def _version(node: Patroni) -> Iterator[ClusterFinding]:
    major = re.match(r"\d+", node.version)
    if major is None or int(major[0]) < LEAST_PATRONI:
        yield ClusterFinding(
            "unsafe",
            f"Patroni is {node.version}: before 4 it has no quorum commit, and a node that wakes may take the lead",
            f"upgrade to Patroni {LEAST_PATRONI} or later",
        )


def _mode(node: Patroni) -> Iterator[ClusterFinding]:
    if (mode := node.configuration.get("synchronous_mode")) != "quorum":
        yield ClusterFinding(
            "unsafe" if not mode else "unavailable",
            f"synchronous_mode is {mode or 'off'}",
            "set synchronous_mode: quorum",
        )
    if not node.configuration.get("synchronous_mode_strict"):
        yield ClusterFinding(
            "unsafe",
            "synchronous_mode_strict is off: without a standby, commits wait for none and are lost with the primary",
            "set synchronous_mode_strict: true",
        )


def _lag(node: Patroni) -> Iterator[ClusterFinding]:
    lag = int(node.configuration.get("maximum_lag_on_failover", 2**20))
    if node.configuration.get("synchronous_mode") and lag < LEAST_LAG:
        yield ClusterFinding(
            "unavailable",
            f"maximum_lag_on_failover is {lag}: a standby that lacks more bytes never leads, though it has every"
            " commit that was acknowledged",
            "set maximum_lag_on_failover: 1099511627776; which standby may lead is decided by the quorum",
        )


def _times(node: Patroni) -> Iterator[ClusterFinding]:
    if (ttl := int(node.configuration.get("ttl", 30))) > LONGEST_TTL:
        yield ClusterFinding(
            "unavailable",
            f"ttl is {ttl}: a machine that dies is missed for so many seconds",
            "set ttl: 20",
        )
    if (start := int(node.configuration.get("primary_start_timeout", 300))) > 0:
        yield ClusterFinding(
            "unavailable",
            f"primary_start_timeout is {start}: a PostgreSQL that died is waited for as many seconds",
            "set primary_start_timeout: 0",
        )


def _state(node: Patroni) -> Iterator[ClusterFinding]:
    if node.configuration.get("pause"):
        yield ClusterFinding(
            "unavailable", "the cluster is paused: nothing fails over", "run `patronictl resume`"
        )
    if node.watchdog_failed:
        yield ClusterFinding(
            "unsafe",
            "the watchdog of a node does not work: a node that hangs may come back as a second primary",
            "load softdog, and give /dev/watchdog to the user of Patroni",
        )


OF_PATRONI: tuple[Callable[[Patroni], Iterator[ClusterFinding]], ...] = (
    _version,
    _mode,
    _lag,
    _times,
    _state,
)


def unreachable(error: str, nodes: Sequence[Patroni]) -> Iterator[ClusterFinding]:
    """The findings about a cluster whose database cannot be reached, by what Patroni answers on its nodes."""
    yield ClusterFinding(
        "unavailable", error, "see below, and whether HAProxy on this machine leads to the primary"
    )
    if not any(node.leads for node in nodes):
        yield ClusterFinding(
            "unavailable",
            f"no node leads, of {len(nodes)} that answer",
            "wait for `ttl` and for nodes that are down or hang; if one does not come back, make another the leader "
            "by hand (docs/high-availability.md, A node led by hand)",
        )

"""`executions audit follow` stores the signed heads of a service, and reports heads that contradict them."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from api.cli.audit.head_folder import HeadFolder
from api.cli.main import main
from projections.audit.note import Signer
from tests.support.api_client import Executions, ok
from tests.support.running_server import MASTER_KEY, TOKEN, Serving, serving
from tests.support.tampering import tampered

ROLLED_BACK = """DELETE FROM events WHERE notification_id > 3; UPDATE head SET position = 3;
    DELETE FROM audit_tiles; UPDATE audit_head SET size = 0, origin = ''"""
FORKED = """UPDATE events SET meta = replace(meta, 'admin', 'nobody') WHERE notification_id = 2;
    DELETE FROM audit_tiles; UPDATE audit_head SET size = 0, origin = ''"""


def follow(url: str, into: Path, *more: str) -> Result:
    arguments = ["audit", "follow", url, "--into", str(into), "--once", "--token", TOKEN, *more]
    return CliRunner().invoke(main, arguments)


def wait_for_head(api: httpx.Client, at_least: int) -> None:
    """Wait until the signed head covers a position."""
    ok(api.get("/audit/tree-head", params={"minPosition": at_least}, headers={"Prefer": "wait=30"}))


def test_heads_are_stored_and_must_be_consistent(
    api: httpx.Client, executions: Executions, server: Serving, tmp_path: Path
) -> None:
    folder = tmp_path / "heads"
    wait_for_head(api, executions.create()["position"])
    done = follow(server.url, folder)
    assert done.exit_code == 0, done.output
    assert f"Pinned the public key {server.system.signer.public_key}" in done.output
    [first] = sorted(folder.glob("head-*"))
    again = follow(f"{server.url}/api", folder)
    assert (again.exit_code, again.output) == (0, "")
    wait_for_head(api, executions.create()["position"])
    later = follow(server.url, folder)
    assert later.exit_code == 0, later.output
    assert "and follow on the" in later.output
    assert min(folder.glob("head-*")) == first
    assert len(list(folder.glob("head-*"))) == 2
    assert not list(folder.glob("contradiction*"))


def test_log_that_was_rolled_back_or_forked_is_reported(database: str, tmp_path: Path) -> None:
    """Both are done with the database and the master key, so that the log alone is consistent."""
    folder, other_folder = tmp_path / "heads", tmp_path / "other"
    with serving(database) as running, running.client() as api:
        for number in range(6):
            position = int(
                api.post(
                    "/users", json={"$id": f"u-{number}", "name": "U", "kind": "person"}
                ).headers["log-position"]
            )
        wait_for_head(api, position)
        for each in (folder, other_folder):
            assert follow(running.url, each).exit_code == 0
    with tampered(database, ROLLED_BACK), serving(database) as running, running.client() as api:
        wait_for_head(api, 3)
        done = follow(running.url, folder)
        assert done.exit_code == 1
        assert "contradicts itself: it was rolled back: it has signed 6 events" in done.output
        assert list(folder.glob("contradiction-*3-*.txt"))
    with tampered(database, FORKED), serving(database) as running, running.client() as api:
        wait_for_head(api, 6)
        done = follow(running.url, folder)
        assert done.exit_code == 1
        assert "it has signed two heads of 6 events" in done.output
        position = int(
            api.post("/users", json={"name": "V", "kind": "person"}).headers["log-position"]
        )
        wait_for_head(api, position)
        done = follow(running.url, other_folder)
        assert done.exit_code == 1
        assert "does not prove that the 6 events that it has signed are the first" in done.output


def test_second_contradiction_of_one_size_is_stored_beside_the_first(tmp_path: Path) -> None:
    folder = HeadFolder(tmp_path, None)
    shown = ["executions/a\n6\nroot\n", "executions/a\n6\nanother root\n"]
    places = [folder.keep_contradiction(note, 6) for note in (*shown, shown[0])]
    assert places[0] == places[2]
    assert [place.read_text() for place in places[:2]] == shown
    assert len(list(tmp_path.iterdir())) == 2


def test_log_with_another_id_or_key_than_the_pinned_one_is_refused(
    api: httpx.Client, executions: Executions, server: Serving, tmp_path: Path
) -> None:
    wait_for_head(api, executions.create()["position"])
    before = Signer(MASTER_KEY, "executions/before").public_key
    done = follow(server.url, tmp_path / "a", "--key", before)
    assert done.exit_code == 1
    assert "it is another log now" in done.output
    done = follow(server.url, tmp_path / "a", "--key", server.system.signer.public_key)
    assert done.exit_code == 1
    assert "is of a log with another key" in done.output


@pytest.mark.parametrize("key", ["rubbish", "executions/a+00000000+AAAA"])
def test_invalid_key_is_not_pinned(tmp_path: Path, key: str) -> None:
    folder = tmp_path / "heads"
    done = follow("http://127.0.0.1:9", folder, "--key", key)
    assert done.exit_code == 2
    assert "is no public key of a log" in done.output
    assert not folder.exists()


def test_follow_of_an_unreachable_service_ends_with_75(tmp_path: Path, server: Serving) -> None:
    done = follow("http://127.0.0.1:9", tmp_path / "heads")
    assert done.exit_code == 75
    assert "could not be asked" in done.output
    arguments = ["audit", "follow", server.url, "--into", str(tmp_path / "h"), "--once"]
    done = CliRunner().invoke(main, [*arguments, "--token", "wrong-token-of-nobody"])
    assert done.exit_code == 75
    assert "does not accept the token" in done.output


def test_damaged_folder_is_refused(
    api: httpx.Client, executions: Executions, server: Serving, tmp_path: Path
) -> None:
    folder = tmp_path / "heads"
    wait_for_head(api, executions.create()["position"])
    assert follow(server.url, folder).exit_code == 0
    [head] = folder.glob("head-*")
    head.write_text(head.read_text().replace("\n", "\n1", 1))
    done = follow(server.url, folder)
    assert done.exit_code == 1
    assert "cannot be used" in done.output

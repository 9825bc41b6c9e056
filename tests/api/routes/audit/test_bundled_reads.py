"""A bundle has the reads of its execution, proven by anchors of the access log in the tree."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from base64 import b64decode, b64encode
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import httpx
import orjson
import pytest

from api.access.rights import Role
from api.web.reads.recorded import OF_EXECUTIONS
from projections.audit.access import segments
from projections.audit.access.proven import OF_MANY
from projections.audit.verify_bundle import ANCHORS, CHECKPOINT, KEY, check, check_accesses
from projections.audit.verify_proofs import Wrong, open_note
from projections.audit.verify_readable import ACCESSES
from tests.support.access_chain import AccessChain
from tests.support.api_client import Executions, ok, refused
from tests.support.callers import admit, caller, client
from tests.support.operations import OPERATIONS
from tests.support.running_server import Serving

CUSTOMER = caller(Role.CUSTOMER, "acme")
Files = dict[str, bytes]


def unpack(answer: httpx.Response) -> Files:
    assert answer.is_success, answer.text
    with ZipFile(BytesIO(answer.content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def bundle_with_anchored_reads(server: Serving, api: httpx.Client, execution: str) -> Files:
    """The bundle of an execution whose reads are anchored."""
    position = asyncio.run(_write_anchored_reads(server.conninfo))
    return unpack(api.get(f"/audit/bundle/{execution}", params={"minPosition": position}))


async def _write_anchored_reads(conninfo: str) -> int:
    async with AccessChain.opened(conninfo) as chain:
        await chain.anchor()
        return (await chain.store.head())[0]


def reads(files: Files) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in files[ACCESSES].splitlines()]


def test_bundle_has_the_anchored_reads_with_their_proofs(
    api: httpx.Client, server: Serving, executions: Executions, tmp_path: Path
) -> None:
    admit(server, CUSTOMER)
    execution = executions.running()
    with client(server, CUSTOMER, **{"X-Purpose": "Invoice <7>"}) as customer:
        ok(customer.get(f"/executions/{execution}"))
    bundle_with_anchored_reads(server, api, execution)
    ok(api.get(f"/executions/{execution}/status"))
    files = bundle_with_anchored_reads(server, api, execution)
    assert [(each["actor"], each["operation"]) for each in reads(files)] == [
        (CUSTOMER.name, "readExecution"),
        ("admin", "readBundle"),
        ("admin", "readStatus"),
    ]
    assert len(files[ANCHORS].splitlines()) == 2
    assert b"Invoice &lt;7&gt;" in files["report.html"]
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-I", tmp_path / "verify.py"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The 3 reads in accesses.ndjson are in the access log" in done.stdout


def test_bundle_without_reads_verifies(
    api: httpx.Client, executions: Executions, server: Serving
) -> None:
    files = unpack(api.get(f"/audit/bundle/{executions.create()['$id']}"))
    assert files[ACCESSES] == b""
    assert check(files, server.system.signer.public_key)


def test_bundle_for_a_party_has_no_reads_that_showed_other_executions(
    api: httpx.Client, server: Serving, executions: Executions
) -> None:
    admit(server, CUSTOMER)
    one, other = executions.create(), executions.create()
    execution, fresh = one["$id"], {"minPosition": other["position"]}
    both = {"$id": {"$in": [execution, other["$id"]]}}
    ok(api.post("/executions/find", json=both, params=fresh))
    ok(api.get(f"/executions/{execution}"))
    with client(server, CUSTOMER) as customer:
        files = bundle_with_anchored_reads(server, customer, execution)
    assert [each["operation"] for each in reads(files)] == ["readExecution"]
    assert other["$id"].encode() not in b"".join(files.values())
    whole = bundle_with_anchored_reads(server, api, execution)
    assert "findExecutions" in {each["operation"] for each in reads(whole)}


def test_bundle_for_a_party_has_no_filters_of_others(
    api: httpx.Client, server: Serving, executions: Executions
) -> None:
    admit(server, CUSTOMER)
    made = executions.create()
    execution, fresh = made["$id"], {"minPosition": made["position"]}
    filter_ = {"$id": execution, "customer": {"$in": ["acme", "another-customer"]}}
    ok(api.post("/executions/find", json=filter_, params=fresh))
    with client(server, CUSTOMER) as customer:
        ok(customer.post("/executions/find", json={"$id": execution}))
        files = bundle_with_anchored_reads(server, customer, execution)
    assert [each["actor"] for each in reads(files)] == [CUSTOMER.name]
    assert b"another-customer" not in b"".join(map(b64decode, leaves(files)))
    assert len(reads(bundle_with_anchored_reads(server, api, execution))) == 3


def leaves(files: Files) -> list[str]:
    return [str(each["entry"]) for each in reads(files)]


def test_bundle_for_a_caller_that_may_not_see_reads_has_none(
    api: httpx.Client, server: Serving, executions: Executions
) -> None:
    assignee = caller(Role.ASSIGNEE, "ada")
    admit(server, assignee)
    execution = executions.create(assignee={"type": "human", "id": "ada", "name": "Ada"})["$id"]
    ok(api.get(f"/executions/{execution}"))
    with client(server, assignee) as who:
        refused(who.get(f"/executions/{execution}/access-log"), 403, "forbidden")
        files = bundle_with_anchored_reads(server, who, execution)
    assert reads(files) == []
    assert b"Who read it" not in files["report.html"]


def test_every_operation_that_reads_several_executions_is_in_the_list_of_these() -> None:
    unnamed = {"streamEvents", "watchExecutions", "monitorExecutions", "listJobs", "readJob"}
    shown = {
        row.name
        for row in OPERATIONS
        if row.shows_executions and not row.path.startswith(OF_EXECUTIONS)
    }
    assert shown - unnamed == OF_MANY


def test_segments_are_of_bounded_size() -> None:
    assert segments.MOST * 32 <= 1024 * 1024


def check_reads(files: Files, changed: Files) -> None:
    origin, size, root = open_note(files[CHECKPOINT], files[KEY].decode().strip()).split("\n")
    stream = next(orjson.loads(line)["source"] for line in files["events.ndjson"].splitlines())
    identity = stream.rpartition("/")[2]
    assert origin
    check_accesses(
        {**files, **changed},
        f"execution/{identity}",
        int(size),
        b64decode(root),
    )


def test_read_that_was_changed_moved_or_forged_is_refused(
    api: httpx.Client, server: Serving, executions: Executions
) -> None:
    execution = executions.running()
    for part in ("status", "progress", "result"):
        ok(api.get(f"/executions/{execution}/{part}"))
    files = bundle_with_anchored_reads(server, api, execution)
    first, second, third = files[ACCESSES].splitlines()
    check_reads(files, {})
    wrong: list[Files] = [
        {ACCESSES: b"\n".join((second, first, third))},
        {ACCESSES: b"\n".join((first, first))},
        {ACCESSES: first.replace(b'"admin"', b'"bob"')},
        {ACCESSES: first.replace(b"readStatus", b"readResult")},
        {ANCHORS: files[ANCHORS].replace(b'"leaf":"A', b'"leaf":"B')},
    ]
    entry = orjson.loads(first)
    content = b64decode(entry["entry"])
    for place in range(0, len(content), 7):
        flipped = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        changed = orjson.dumps({**entry, "entry": b64encode(flipped).decode()})
        wrong.append({ACCESSES: changed})
    for name, value in (("before", "00" * 32), ("path", entry["path"][:-1]), ("path", [])):
        wrong.append({ACCESSES: orjson.dumps({**entry, name: value})})
    for changed_files in wrong:
        with pytest.raises((Wrong, ValueError)):
            check_reads(files, changed_files)


def test_bundle_of_an_execution_with_secrets_verifies_and_contains_no_secret(
    api: httpx.Client, server: Serving, executions: Executions
) -> None:
    hook = {
        "url": "https://93.184.216.34/hooks?token=Sesame",
        "events": ["completed"],
        "headers": {"Authorization": "Bearer Sesame"},
    }
    execution = executions.running(webhooks=[hook], metadata={"deep": {"n": [1, 1.5, None, True]}})
    ok(api.post(f"/executions/{execution}/metrics", json={"cost": 4e-10, "model": "<pre>"}))
    files = bundle_with_anchored_reads(server, api, execution)
    assert b'"***"' in files["events.ndjson"]
    assert check(files, None)
    assert not [name for name, content in files.items() if b"Sesame" in content]

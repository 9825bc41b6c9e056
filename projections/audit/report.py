"""The history of one execution as a page to read and print. It has no scripts, and loads nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import Any

import orjson

from domain.eventlog.access.entry import Entry
from domain.json_forms import format_time
from projections.audit.tables import Head

STYLE = """
body { font: 11pt/1.4 system-ui, sans-serif; color: #111; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse; width: 100% }
td, th { border-bottom: 1px solid #bbb; padding: .3rem .6rem .3rem 0; text-align: left; vertical-align: top }
th { font-weight: 600; white-space: nowrap }
code, pre { font: 9pt/1.3 ui-monospace, monospace; overflow-wrap: anywhere; white-space: pre-wrap; margin: 0 }
@media print { body { margin: 0; max-width: none } tr { break-inside: avoid-page } thead { display: table-header-group } }
"""
HOW = """<p>Each event is a leaf of a Merkle tree (RFC 9162) over the whole log, whose head the service has signed.
<code>python3 verify.py</code>, run in the folder of the unpacked bundle, checks the signature, that each event is in
the tree, and that none is missing, changed or moved; it needs nothing but Python. What the tree cannot show is whose
the public key is: compare it with one that you have from elsewhere.</p>"""


def report(stream: str, envelopes: Sequence[bytes], head: Head, reads: Sequence[Entry] = ()) -> str:
    """The page: who did what in short, what is proven by which head, each event with all that it says, and who
    read it.
    """
    events = [orjson.loads(envelope) for envelope in envelopes]
    name = escape(stream)
    actors = Counter(str(event["actor"]) for event in events)
    facts = {
        "Events": f"{len(events)}, recorded from {events[0]['time']} to {events[-1]['time']}",
        "Last of all": f"{events[-1]['type']} by {events[-1]['actor']}",
        "Who took part": ", ".join(f"{actor} ({count})" for actor, count in actors.items()),
        "Log": head.origin,
        "Signed head": f"{head.size} events, root {head.root.hex()}",
        "Public key": head.public_key,
    }
    rows = "\n".join(
        f"<tr><th>{escape(k)}</th><td><code>{escape(v)}</code></td></tr>" for k, v in facts.items()
    )
    table = "\n".join(_row(event) for event in events)
    return f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{name}</title><style>{STYLE}</style></head>
<body>
<h1>What happened to {name}</h1>
<table>{rows}</table>
<h2>How it is proven</h2>
{HOW}
<h2>Events</h2>
<table>
<thead><tr><th scope="col">Version</th><th scope="col">Position</th><th scope="col">Time (UTC)</th><th scope="col">What, by whom, and what it says</th></tr></thead>
<tbody>
{table}
</tbody>
</table>
{_reads(reads)}
</body>
</html>
"""


def _reads(reads: Sequence[Entry]) -> str:
    if not reads:
        return ""
    rows = "\n".join(
        "<tr>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in (format_time(read.at), *_cells(read)))
        + "</tr>"
        for read in reads
    )
    head = "".join(f"<th>{each}</th>" for each in ("Time (UTC)", "Who", "What", "From", "What for"))
    return f"<h2>Who read it</h2>\n<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"


def _cells(read: Entry) -> tuple[str, ...]:
    access = read.access
    return access.actor, access.operation, access.address, access.purpose


def _row(event: dict[str, Any]) -> str:
    said = orjson.dumps(event["data"], option=orjson.OPT_INDENT_2).decode()
    what = f"<b>{escape(str(event['type']))}</b> by {escape(str(event['actor']))}"
    cells = (str(event["version"]), str(event["position"]), str(event["time"]))
    first = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    return f"<tr>{first}<td>{what}<pre>{escape(said)}</pre></td></tr>"

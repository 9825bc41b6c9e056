"""Makes the history of one execution as an HTML page to read and print. It has no scripts and loads nothing.

In a bundle this file is a part of `verify.py`, which makes the page again from the proven events and compares the two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

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
the tree, that none is missing, changed or moved, and that this page shows them; it needs nothing but Python. What the
tree cannot show is whose the public key is: compare it with one that you have from elsewhere.</p>"""


class Signed(NamedTuple):
    """The signed head that proves the page; the root is in hexadecimal."""

    origin: str
    size: int
    root: str
    public_key: str


def report(
    stream: str,
    events: Sequence[dict[str, Any]],
    said: Sequence[str],
    head: Signed,
    reads: Sequence[tuple[str, ...]] = (),
) -> str:
    """Return the page: a summary, the proof, each event with its content, and the reads.

    `events` are CloudEvents, `said` the `data` of each as indented JSON. A read is a tuple of its time, actor, operation,
    address and purpose.
    """
    name, rows = escape(stream), _facts(events, head)
    table = "\n".join(map(_row, events, said))
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


def _facts(events: Sequence[dict[str, Any]], head: Signed) -> str:
    actors = Counter(str(event["actor"]) for event in events)
    facts = {
        "Events": f"{len(events)}, recorded from {events[0]['time']} to {events[-1]['time']}",
        "Last of all": f"{events[-1]['type']} by {events[-1]['actor']}",
        "Who took part": ", ".join(f"{actor} ({count})" for actor, count in actors.items()),
        "Log": head.origin,
        "Signed head": f"{head.size} events, root {head.root}",
        "Public key": head.public_key,
    }
    return "\n".join(
        f"<tr><th>{escape(k)}</th><td><code>{escape(v)}</code></td></tr>" for k, v in facts.items()
    )


def _reads(reads: Sequence[tuple[str, ...]]) -> str:
    if not reads:
        return ""
    rows = "\n".join(f"<tr>{_cells(read)}</tr>" for read in reads)
    head = "".join(f"<th>{each}</th>" for each in ("Time (UTC)", "Who", "What", "From", "What for"))
    return f"<h2>Who read it</h2>\n<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"


def _row(event: dict[str, Any], said: str) -> str:
    what = f"<b>{escape(str(event['type']))}</b> by {escape(str(event['actor']))}"
    first = _cells((str(event["version"]), str(event["position"]), str(event["time"])))
    return f"<tr>{first}<td>{what}<pre>{escape(said)}</pre></td></tr>"


def _cells(texts: Sequence[str]) -> str:
    return "".join(f"<td>{escape(text)}</td>" for text in texts)

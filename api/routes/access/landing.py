"""The page of a one-time link: it exchanges the code behind `#` for a session, and redirects to the dashboard if there
is one.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from typing import NamedTuple

SCRIPT = """
const said = document.getElementById("said");
const code = location.hash.slice(1);
history.replaceState(null, "", location.pathname);
async function enter() {
  const answer = await fetch("session", {
    method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify({code}),
  });
  const found = await answer.json();
  said.textContent = answer.ok ? "You are signed in as " + found.name + "." : found.detail;
  if (answer.ok && (await fetch("ui/")).ok) location.replace("ui/");
}
if (code) enter(); else said.textContent = "This link has no code: executions open prints a new one.";
"""
STYLE = "body { font: 1rem/1.5 system-ui, sans-serif; margin: 20vh auto; max-width: 30rem; padding: 1rem; }"
HTML = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Executions</title>
<style>{STYLE}</style>
</head>
<body>
<p id="said" role="status">Signing in …</p>
<noscript><p>This page needs JavaScript.</p></noscript>
<script>{SCRIPT}</script>
</body>
</html>
"""


class LandingPage(NamedTuple):
    """A page, and the headers that restrict it to what it needs."""

    html: str
    headers: dict[str, str]


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


PAGE = LandingPage(
    HTML,
    {
        "cache-control": "no-store",
        "content-security-policy": (
            f"default-src 'none'; script-src {_hash(SCRIPT)}; style-src {_hash(STYLE)}; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
    },
)

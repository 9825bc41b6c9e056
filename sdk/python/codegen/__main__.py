"""`python -m codegen [--check] < openapi.json`: writes the generated files, or reports which are not up to date."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from codegen.models import models
from codegen.synchronous import synchronous

PACKAGE = Path(__file__).parents[1] / "service_executions"
BY_HAND = {"__init__.py", "runtime.py"}
"""Files that each half has for itself, written by hand."""


def generate(document: dict[str, Any]) -> dict[Path, str]:
    """Return the formatted text of each generated file, from an OpenAPI document."""
    files = {PACKAGE / "models.py": models(document)}
    for file in sorted((PACKAGE / "_async").glob("*.py")):
        if file.name not in BY_HAND:
            files[PACKAGE / "_sync" / file.name] = synchronous(file.read_text())
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(files, pool.map(format_source, files.values(), files), strict=True))


def format_source(text: str, file: Path) -> str:
    """Return a text as `ruff` formats it, with imports sorted and unused ones removed."""
    ruff = [sys.executable, "-m", "ruff"]
    name = ["--stdin-filename", str(file), "-"]
    for step in (["check", "--quiet", "--fix-only", "--select", "I,F401,UP"], ["format"]):
        done = subprocess.run([*ruff, *step, *name], input=text, text=True, stdout=-1, check=True)
        text = done.stdout
    return text


def main() -> None:
    files = generate(json.load(sys.stdin))
    stale = [file for file, text in files.items() if not file.exists() or file.read_text() != text]
    if "--check" in sys.argv:
        sys.exit("\n".join(f"{file} is not what scripts/sdk makes" for file in stale) or None)
    for file, text in files.items():
        file.write_text(text)


if __name__ == "__main__":
    main()

"""`python -m codegen [--check]`: writes the generated files, or says which are not up to date."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from api.documents.openapi import document
from codegen.models import models
from codegen.synchronous import synchronous
from tests.support.operations import OPERATIONS

PACKAGE = Path(__file__).parents[1] / "service_executions"
BY_HAND = {"__init__.py", "runtime.py"}
"""What the two halves have each for itself."""


def generated() -> dict[Path, str]:
    """Each generated file with what belongs in it, formatted."""
    files = {PACKAGE / "models.py": models(document(OPERATIONS))}
    for file in sorted((PACKAGE / "_async").glob("*.py")):
        if file.name not in BY_HAND:
            files[PACKAGE / "_sync" / file.name] = synchronous(file.read_text())
    return {file: formatted(text, file) for file, text in files.items()}


def formatted(text: str, file: Path) -> str:
    """As `ruff` leaves it: imports in order, none unused."""
    ruff = [sys.executable, "-m", "ruff"]
    name = ["--stdin-filename", str(file), "-"]
    for step in (["check", "--quiet", "--fix-only", "--select", "I,F401,UP"], ["format"]):
        done = subprocess.run([*ruff, *step, *name], input=text, text=True, stdout=-1, check=True)
        text = done.stdout
    return text


def main() -> None:
    stale = [
        file for file, text in generated().items() if not file.exists() or file.read_text() != text
    ]
    if "--check" in sys.argv:
        sys.exit("\n".join(f"{file} is not what scripts/sdk makes" for file in stale) or None)
    for file, text in generated().items():
        file.write_text(text)


if __name__ == "__main__":
    main()

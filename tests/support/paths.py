"""Paths of files that tests read."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The repository."""
DOCS = ROOT / "docs"
DATA = ROOT / "tests" / "data"
SAMPLES = ROOT / "tests" / "samples"

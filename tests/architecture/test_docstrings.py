"""Docstrings name only existing errors."""

from __future__ import annotations

import re

from tests.architecture.test_conventions import FILES, name

SECTION = re.compile(r"Raises:\n((?:(?! *\"\"\") +\S.*\n)+)")
NAMES = re.compile(r"^ +([A-Z]\w+(?:, [A-Z]\w+)*):", re.MULTILINE)
SENTENCE = re.compile(r"\bRaises ([A-Z]\w+)")
RAISED_OR_CAUGHT = re.compile(r"\b(?:raise|except) (.*)")
OF_LIBRARIES = {"IntegrityError"}


def errors_documented(text: str) -> list[str]:
    lists = NAMES.findall("".join(SECTION.findall(text))) + SENTENCE.findall(text)
    return [each for names in lists for each in names.split(", ")]


def test_docstring_names_errors_that_are_raised_or_caught() -> None:
    texts = {name(file): file.read_text() for file in FILES}
    lines = "\n".join(line for text in texts.values() for line in RAISED_OR_CAUGHT.findall(text))
    known = set(re.findall(r"\w+", lines)) | OF_LIBRARIES
    documented = [(file, each) for file in texts for each in errors_documented(texts[file])]
    assert len(documented) > 500
    assert [(file, each) for file, each in documented if each not in known] == []

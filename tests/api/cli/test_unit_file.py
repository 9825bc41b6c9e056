"""The unit file of the guide for operators starts the service as the command line has it."""

from __future__ import annotations

import re
import shlex
from configparser import RawConfigParser

from api.cli.main import main
from tests.support.paths import ROOT


class UnitFile(RawConfigParser):
    """Its keys, such as `ExecStart`, are written as in the file."""

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def test_unit_file_starts_the_service_with_options_that_exist() -> None:
    unit = UnitFile()
    assert unit.read(ROOT / "docs" / "operating" / "executions.service")
    program, command, *options = shlex.split(unit["Service"]["ExecStart"])
    assert program.endswith("/bin/executions")
    context = main.commands[command].make_context(command, options)
    assert context.params["port"] == 8000


def test_unit_file_and_guide_name_the_same_folders() -> None:
    unit = (ROOT / "docs" / "operating" / "executions.service").read_text()
    guide = (ROOT / "docs" / "operating.md").read_text()
    for folder in set(re.findall(r"=-?(/[\w./]+)", unit)):
        assert folder.removesuffix("/bin/executions") in guide

"""`executions import`: imports a process log into the running service."""

from pathlib import Path

import click

from api.cli.command_group import CommandGroup
from api.cli.options import At, at_service

EXAMPLE = """\
{"service": {"$id": "loan-application", "name": "Loan application", "provider": "bank"},
 "customer": "applicants",
 "outcomes": {"Approved": "completed", "Declined": "failed", "Withdrawn": "cancelled"},
 "failure": {"code": "DECLINED", "recoverable": false}}
"""
XES_HELP = f"""Import an IEEE 1849 (XES) event log, plain or gzip.

Every trace becomes an execution, every round of an activity a step, with the times of the
log. The whole file is checked first: an invalid one is refused with line and reason, and
nothing is sent. Run it again after an interruption: it continues where it stopped, and
complete executions are not changed.

The mapping names the service and the customer of the log, and the activities that end a
trace (a trace without them stays running):

\b
{EXAMPLE}
Exits with 1 if the file or the mapping is wrong, if the service cannot be reached, or if
an execution was refused, for example because something else wrote to it.
"""


@click.group("import", cls=CommandGroup)
def import_command() -> None:
    """Import recorded history into the running service."""


@import_command.command("xes", help=XES_HELP)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--mapping",
    "mapping_file",
    required=True,
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The mapping of the log (JSON).",
)
@at_service
@click.option("--json", "as_json", is_flag=True, help="Print the totals as one JSON object.")
def import_xes(
    at: At,
    file: Path,
    mapping_file: Path,
    *,
    as_json: bool,
) -> None:
    from api.cli.client import run_import

    run_import.run(file, mapping_file, lambda: run_import.connect(at), as_json=as_json)

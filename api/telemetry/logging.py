"""The diagnostic log of the program: JSON lines on standard error."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog
from structlog.stdlib import ProcessorFormatter, add_logger_name
from structlog.typing import Processor

from api.telemetry.log_limit import LogLimit, add_left_out


class StandardError:
    """Standard error, whose write errors are ignored, so that no work fails because of the log."""

    def write(self, text: str) -> None:
        with suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            sys.stderr.flush()


NOTED: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)
WRITTEN: tuple[Processor, ...] = (
    structlog.processors.format_exc_info,
    structlog.processors.JSONRenderer(),
)


def configure_logging(level: str) -> None:
    """Log as JSON lines on standard error, including the warnings of libraries."""
    number, limit = logging.getLevelNamesMapping()[level.upper()], LogLimit()
    structlog.configure(
        processors=[limit, *NOTED, *WRITTEN],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, StandardError())),
        cache_logger_on_first_use=True,
    )
    libraries = logging.StreamHandler(cast(TextIO, StandardError()))
    libraries.addFilter(limit)
    libraries.setFormatter(
        ProcessorFormatter(
            processors=[ProcessorFormatter.remove_processors_meta, *WRITTEN],
            foreign_pre_chain=[add_logger_name, add_left_out, *NOTED],
        )
    )
    # The program logs an outage once itself.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[libraries])

"""Reads the master key from its source: a command, the environment, or the file `master.key`."""

from __future__ import annotations

import base64
import binascii
import os
import signal
import subprocess
from contextlib import suppress

from api.embedded_postgres.data_dir import KEY_BYTES, DataDir
from api.settings import Settings, SetupError, environment_of_children

COMMAND_TIMEOUT = 30.0
"""Seconds for the command to print the key."""
COMMAND, VARIABLE = "EXECUTIONS_MASTER_KEY_COMMAND", "EXECUTIONS_MASTER_KEY"
LONGEST = 4_096
"""Bytes of the command's output that are read."""


def master_key(settings: Settings, folder: DataDir) -> bytes:
    """The 32 bytes that wrap every data key. The folder makes them, if it may, where no other source is set.

    Raises:
        SetupError: the key is missing or malformed; the message names its source, and quotes no part of it.
    """
    if settings.master_key_command is not None:
        return key_of_command(settings.master_key_command)
    if settings.master_key is not None:
        return _decode(settings.master_key, VARIABLE)
    return folder.master_key()


def has_master_key(settings: Settings, folder: DataDir) -> bool:
    """Whether there is a master key, or another source for it is set."""
    return is_elsewhere(settings) or folder.master_key_file.exists()


def is_elsewhere(settings: Settings) -> bool:
    """Whether the source is a command or the environment, so that no file is made."""
    return settings.master_key_command is not None or settings.master_key is not None


def describe_source(settings: Settings, folder: DataDir) -> str:
    """Where it comes from, as a message names it."""
    if settings.master_key_command is not None:
        return COMMAND
    return VARIABLE if settings.master_key is not None else str(folder.master_key_file)


def key_of_command(command: str) -> bytes:
    """The key that a shell command prints in base64. Its output is never shown.

    Raises:
        SetupError: the command failed, took too long, or printed no key.
    """
    process = subprocess.Popen(
        ["/bin/sh", "-c", command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment_of_children(),
        start_new_session=True,
    )
    with process:
        try:
            output, _ = process.communicate(timeout=COMMAND_TIMEOUT)
        except BaseException as error:  # also SystemExit, by SIGTERM
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise SetupError(
                    f"{COMMAND} has printed no key within {COMMAND_TIMEOUT:g} seconds"
                ) from None
            raise
    if process.returncode:
        raise SetupError(
            f"{COMMAND} ended with status {process.returncode}: run it by hand to see why"
        )
    return _decode(output[:LONGEST].decode("ascii", "replace"), f"what {COMMAND} printed")


def _decode(text: str, what: str) -> bytes:
    try:
        key = base64.b64decode(text.strip().replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise SetupError(f"{what} is no key of {KEY_BYTES} bytes in base64")
    return key

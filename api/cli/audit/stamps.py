"""Checks the time-stamps (RFC 3161) of stored heads."""

from __future__ import annotations

from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import click

from domain.integrity.fault import Fault

PART = "audit"
SUFFIX = ".tsr"


def check_stamp(file: Path, certificate: Path | None) -> Fault | None:
    """Check the time-stamp beside a stored head, if there is one: print its time, or return what is wrong with it.

    The authority is only checked with the certificate of its root.
    """
    stamp = file.with_name(file.name + SUFFIX)
    if not stamp.exists():
        return None
    if find_spec("rfc3161_client") is None:
        raise click.ClickException(
            f"{stamp} needs the extra `timestamps`: pip install 'executions[timestamps]'"
        )
    from rfc3161_client import VerificationError, decode_timestamp_response

    content = file.read_bytes()
    try:
        response = decode_timestamp_response(stamp.read_bytes())
        info = response.tst_info
        if info.message_imprint.message != sha256(content).digest():
            return Fault(PART, str(stamp), "is the time-stamp of something else")
        if certificate is not None:
            _verify(response, content, certificate)
    except (ValueError, OSError) as error:
        return Fault(PART, str(stamp), f"is no time-stamp: {error}")
    except VerificationError as error:
        return Fault(PART, str(stamp), f"is not signed by that authority: {error}")
    known = "" if certificate else "; give --tsa-certificate to see by whom"
    click.echo(f"{file.name} was time-stamped at {info.gen_time:%Y-%m-%d %H:%M:%S} UTC{known}.")
    return None


def _verify(response: object, content: bytes, certificate: Path) -> None:
    from cryptography.x509 import load_pem_x509_certificates
    from rfc3161_client import VerifierBuilder

    builder = VerifierBuilder()
    for root in load_pem_x509_certificates(certificate.read_bytes()):
        builder = builder.add_root_certificate(root)
    builder.build().verify_message(response, content)  # type: ignore[arg-type]  # of the optional library

"""Builds the admission control of a log: everything that decides whether a request is let in."""

from __future__ import annotations

from functools import partial

from api.access.changes import AccessChanges
from api.access.failed_attempts import FailedAttempts
from api.access.grants import Grants
from api.access.identity import Authenticator, Verifier
from api.access.keys import KeyVerifier
from api.access.open_requests import ENDED, REVOKED
from api.access.request_limits import RequestLimits
from api.access.sessions import SessionVerifier
from api.access.visibility import Visibility
from api.cells.directory import Directory
from api.settings import Settings
from api.web.access.browsers import Browsers
from api.web.access.proxies import Proxies
from api.web.admission import AdmissionControl
from domain.access.key import KeyRevoked
from domain.access.session import SessionEnded
from domain.eventlog.access.access_log import AccessLog
from domain.eventlog.access.parties import parties_of
from domain.eventlog.setup.log_secret import LogKeys, derive
from domain.eventlog.store import Store
from workers.outbound.addresses import networks


def new_admission(
    settings: Settings,
    access: Authenticator,
    changes: AccessChanges,
    access_log: AccessLog,
    grants: Grants,
    *,
    directory: Directory,
    attempts: FailedAttempts,
) -> AdmissionControl:
    """The admission control of a log."""
    return AdmissionControl(
        access,
        Visibility(grants.store.load, partial(parties_of, grants.store)),
        grants,
        access_log,
        directory=directory,
        open_requests=changes.open,
        browsers=Browsers(settings.public_url),
        attempts=attempts,
        limits=RequestLimits(settings.requests_per_second),
        proxies=Proxies(networks(settings.trusted_proxies)),
    )


def new_access(
    settings: Settings, admin_token: str, keys: LogKeys, store: Store, changes: AccessChanges
) -> Authenticator:
    """Make the authenticator of a log, whose cached callers are dropped when their key or session ends."""
    verifiers: tuple[Verifier, ...] = (KeyVerifier(store.load), *_jwt_verifiers(settings))
    pepper = derive(keys.secret, "fingerprints of tokens")
    access = Authenticator(admin_token, pepper, verifiers, used=changes.note_use)

    def key_changed(identity: str | None) -> None:
        access.forget()
        if identity is not None:
            changes.open.end(f"key/{identity}", REVOKED)

    def session_changed(identity: str | None) -> None:
        access.forget(identity)
        if identity is not None:
            changes.open.end(f"session/{identity}", ENDED)

    access.add(SessionVerifier(store.load, lambda: access.admin_parent))
    changes.subscribe("key", [KeyRevoked.type], key_changed)
    changes.subscribe("session", [SessionEnded.type], session_changed)
    return access


def _jwt_verifiers(settings: Settings) -> tuple[Verifier, ...]:
    """The verifiers of JSON Web Tokens. Their library, which takes 2 MB, is imported only where a key is configured."""
    if not (settings.jwt_key or settings.jwt_public_key or settings.jwt_jwks_url):
        return ()
    from api.access.tokens.configured import verifiers

    return verifiers(settings)

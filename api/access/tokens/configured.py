"""Makes the verifiers of JSON Web Tokens from the settings."""

from __future__ import annotations

from functools import partial

from api.access.tokens.jwks import LARGEST, KeySet
from api.access.tokens.signing_keys import FixedKeys, SigningKeys, UnfitKey, of_pem, of_secret
from api.access.tokens.verifier import JwtVerifier, TokenRequirements
from api.settings import PREFIX, Settings, SetupError
from workers.outbound.addresses import networks
from workers.outbound.fetch import fetch

ALLOW = f"{PREFIX}JWT_ALLOW"


def verifiers(settings: Settings) -> tuple[JwtVerifier, ...]:
    """The verifier of JSON Web Tokens; empty where no key is set.

    Raises:
        SetupError: a key is not usable, or the issuer or audience of tokens is not set.
    """
    keys = tuple(_keys(settings))
    if not keys:
        return ()
    if settings.jwt_issuer is None or settings.jwt_audience is None:
        raise SetupError(
            f"{PREFIX}JWT_ISSUER and {PREFIX}JWT_AUDIENCE are needed with a key of tokens: else tokens "
            "for other services would be accepted here"
        )
    required = settings.jwt_issuer, settings.jwt_audience, settings.jwt_leeway
    expected = TokenRequirements(*required, settings.log, named=settings.logs is not None)
    return (JwtVerifier(keys, expected),)


def _keys(settings: Settings) -> list[SigningKeys]:
    found: list[SigningKeys] = []
    if settings.jwt_key is not None:
        found.append(FixedKeys(of_secret(settings.jwt_key)))
    if (file := settings.jwt_public_key) is not None:
        try:
            found.append(FixedKeys(of_pem(file.read_bytes())))
        except OSError as error:
            raise SetupError(f"{PREFIX}JWT_PUBLIC_KEY: {file}: {error.strerror}") from None
        except UnfitKey as error:
            raise SetupError(f"{PREFIX}JWT_PUBLIC_KEY: {file}: {error}") from None
    if settings.jwt_jwks_url is not None:
        allowed = networks(settings.jwt_allow)
        found.append(KeySet(partial(fetch, settings.jwt_jwks_url, LARGEST, allowed, ALLOW)))
    return found

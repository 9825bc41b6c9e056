"""A webhook as it is stored (`Webhook`), and as a client sends it (`WebhookPlan`)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from domain.errors import Invalid
from domain.execution.webhook_events import require_known
from domain.execution.webhook_url import endpoint, mask, require_url
from domain.model import Value
from domain.sealing import MASKED, Secret
from domain.types import Id, Label

MOST_WEBHOOKS = 50
SLACK = ("https://hooks.slack.com/", "https://slack.com/")
HEADER_NAME = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,255}$"  # RFC 9110, token
RESERVED = frozenset(
    {
        *("content-type", "content-length", "transfer-encoding", "host", "connection"),
        *("webhook-id", "webhook-timestamp", "webhook-signature"),
        *("x-webhook-signature", "x-webhook-signature-previous"),
    }
)
"""Headers that a webhook cannot set, as the service sets them."""
HEADER_VALUE = r"^[^\x00-\x08\x0a-\x1f\x7f]*$"


def _not_reserved(name: str) -> str:
    if name.lower() in RESERVED:
        raise ValueError("cannot be set, as the service sets it itself")
    return name


Format = Literal["json", "slack"]
Url = Annotated[
    str,
    Field(max_length=2_048, pattern=r"^https?://[^\s\x00-\x20\x7f/?#][^\s\x00-\x20\x7f]*$"),
    AfterValidator(require_url),
]
HeaderName = Annotated[str, Field(pattern=HEADER_NAME), AfterValidator(_not_reserved)]
HeaderValue = Annotated[str, Field(max_length=8_192, pattern=HEADER_VALUE)]
Headers = Annotated[dict[HeaderName, HeaderValue], Field(max_length=50)]
EventNames = Annotated[tuple[Label, ...], Field(min_length=1, max_length=100)]


class Webhook(Value):
    """A webhook: the URL to call, and the names of the events to call it with. If the URL may have secrets, `url` has `***` for
    them, and `full_url` is the whole URL.
    """

    id: Id
    url: str
    full_url: Secret[str] | None = None
    events: tuple[str, ...]
    headers: dict[str, Secret[str]] | None = None
    format: Format = "json"

    @property
    def target(self) -> str:
        """The whole URL; a `Ciphertext` where it was not opened."""
        return self.full_url or self.url


def _require_known_events(patterns: tuple[str, ...]) -> tuple[str, ...]:
    require_known(patterns)
    return patterns


class WebhookPlan(Value):
    """A webhook as a client sends it.

    With the `id` of an existing webhook it replaces that one. A header with the value `***` keeps its present value, and a
    URL that equals the shown URL with `***` keeps the present URL.
    """

    id: Id | None = None
    url: Url
    events: Annotated[EventNames, AfterValidator(_require_known_events)]
    headers: Headers | None = None
    format: Format | None = None

    def to_webhook(self, hook_id: str, before: Webhook | None, path: str = "") -> Webhook:
        """Make the webhook, which replaces the one before, if any. `path` is its path in the body of the request.

        Raises:
            Invalid: `***` stands where there is no value to keep, or the URL has another origin.
        """
        within = f"{path}." if path else ""
        target = _target(self.url, before, within)
        shown = mask(target)
        chosen = self.format or ("slack" if target.startswith(SLACK) else "json")
        hook = Webhook(id=hook_id, url=shown, events=self.events, format=chosen)
        changes: dict[str, object] = {} if shown == target else {"full_url": target}
        if self.headers:
            same = before is not None and endpoint(before.url) == endpoint(target)
            present = before.headers or {} if before is not None and same else {}
            changes["headers"] = _unmask(self.headers, present, within)
        return hook.model_copy(update=changes) if changes else hook


Webhooks = Annotated[tuple[WebhookPlan, ...], Field(max_length=MOST_WEBHOOKS)]


def _target(url: str, before: Webhook | None, path: str) -> str:
    if before is not None and url == mask(before.url):
        return before.target
    if MASKED in url:
        raise Invalid.field(
            f"{path}url", "must be whole: `***` stands for a part only of a URL that is unchanged"
        )
    return url


def _unmask(headers: dict[str, str], present: dict[str, str], path: str) -> dict[str, str]:
    for name, value in headers.items():
        if value == MASKED and name not in present:
            raise Invalid.field(
                f"{path}headers.{name}",
                "must be given anew: `***` keeps a value only where there is one, for the same origin",
            )
    return {name: present[name] if value == MASKED else value for name, value in headers.items()}

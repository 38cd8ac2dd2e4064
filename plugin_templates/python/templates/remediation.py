"""Actions in {{ cookiecutter.title }}, after approval: the business logic only.

What is written here fits an API of a common shape. Change paths and names to your service's:

    GET  /v1/users/ID           {"id": "u1", "email": "ada@example.com", "suspended": false}
    POST /v1/users/ID/suspend   the same, suspended; Idempotency-Key makes a repeat harmless
    POST /v1/users/ID/resume    the same, not suspended
"""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from aperio_plugin import errors, remediation

DEFAULT_BASE_URL = "https://api.example.com"
MAX_REPLY_BYTES = 1024 * 1024
REQUEST_TIMEOUT_S = 30.0
MAX_WAITS = 3
MAX_WAIT_S = 30.0
LOOPBACK = ("127.0.0.1", "localhost", "::1")

SUSPEND = "{{ cookiecutter.provider.lower() }}.suspend_user"
RESUME = "{{ cookiecutter.provider.lower() }}.resume_user"

CAPABILITIES = remediation.Capabilities(
    provider="{{ cookiecutter.provider }}",
    name="{{ cookiecutter.title }}",
    description="Suspends and resumes users of {{ cookiecutter.title }}",
    auth=remediation.ApiKey("api_key"),
    fields=(
        remediation.Field(
            key="base_url",
            label="Address of the API",
            type=remediation.FieldType.URL,
            default=DEFAULT_BASE_URL,
        ),
        remediation.Field(
            key="api_key",
            label="API key",
            type=remediation.FieldType.PASSWORD,
            required=True,
            secret=True,
            helper="An administrator creates one under Settings, API keys, with write access.",
        ),
    ),
    actions=(
        remediation.Action(
            key=SUSPEND,
            label="Suspend user",
            target_type="user",
            description="Ends the user's sessions and refuses new ones.",
            severity_hint=remediation.SeverityHint.HIGH,
            reversible=True,
            supports_dry_run=True,
        ),
        remediation.Action(
            key=RESUME,
            label="Resume user",
            target_type="user",
            description="Lets a suspended user log in again.",
            reversible=True,
            supports_dry_run=True,
        ),
    ),
)


class {{ cookiecutter.class_name }}(remediation.Remediation):
    """Suspends and resumes users."""

    def capabilities(self) -> remediation.Capabilities:
        """Declare the settings and the actions."""
        return CAPABILITIES

    def execute(
        self, context: remediation.Context, request: remediation.ExecuteRequest
    ) -> remediation.ExecuteResult:
        """Look before acting: what is already as wanted is left alone, even after a restart."""
        wanted = request.action == SUSPEND
        path = f"/v1/users/{urllib.parse.quote(request.target, safe='')}"
        before = is_suspended(call(context, "GET", path))
        if before is wanted:
            return remediation.unchanged()
        change = remediation.Change("suspended", before=before, after=wanted)
        if request.dry_run:
            return remediation.would_change(change)
        step = "suspend" if wanted else "resume"
        answer = call(context, "POST", f"{path}/{step}", key=request.idempotency_key)
        if is_suspended(answer) is not wanted:
            return remediation.failed("the service answered, and left the user as it was")
        return remediation.changed(change)


def is_suspended(user: dict[str, Any]) -> bool:
    """Read whether a user is suspended."""
    suspended = user.get("suspended")
    if not isinstance(suspended, bool):
        raise errors.Unavailable("the service's reply is not a user")
    return suspended


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """Keeps the key from following a redirect to another host."""

    def redirect_request(self, *_: Any) -> None:
        """Give no new request, so that the redirect is an error."""


OPENER = urllib.request.build_opener(NoRedirects)


def call(context: remediation.Context, method: str, path: str, *, key: str = "") -> dict[str, Any]:
    """Give the JSON object that the service answers, waiting when it asks for it.

    Args:
        context: of the call.
        method: GET or POST.
        path: below the configured address.
        key: of the intent, so that a repeat of the request does not act twice.

    Raises:
        errors.PluginError: one that says why there is none.
    """
    headers = {"Authorization": f"Bearer {context.config.text('api_key')}"}
    if key:
        headers["Idempotency-Key"] = key
    for _ in range(MAX_WAITS):
        request = urllib.request.Request(  # noqa: S310 - base_url has checked the scheme
            f"{base_url(context)}{path}", headers=headers, method=method
        )
        try:
            with OPENER.open(request, timeout=REQUEST_TIMEOUT_S) as reply:
                return read_object(reply.read(MAX_REPLY_BYTES + 1))
        except urllib.error.HTTPError as error:
            with error:
                wait_s = seconds_to_wait(error)
        except OSError as error:
            raise errors.Unavailable(f"the service cannot be reached: {error}") from error
        context.sleep(wait_s)
    raise errors.RateLimited("the service keeps asking to be called less often")


def base_url(context: remediation.Context) -> str:
    """Give the configured address: https, or http to this machine for a stub."""
    address = context.config.text("base_url", DEFAULT_BASE_URL).rstrip("/")
    parts = urllib.parse.urlsplit(address)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK):
        return address
    raise errors.InvalidConfig("base_url must begin with https://", field="base_url")


def read_object(body: bytes) -> dict[str, Any]:
    """Give the JSON object in a reply."""
    if len(body) > MAX_REPLY_BYTES:
        raise errors.Unavailable(f"a reply is longer than {MAX_REPLY_BYTES} bytes")
    try:
        value = json.loads(body)
    except ValueError as error:
        raise errors.Unavailable("a reply is not JSON") from error
    if not isinstance(value, dict):
        raise errors.Unavailable("a reply is not a JSON object")
    return value


def seconds_to_wait(error: urllib.error.HTTPError) -> float:
    """Give how long to wait before trying again, or raise what the status means."""
    if error.code == 401:
        raise errors.Unauthenticated("the service does not accept the key") from error
    if error.code == 403:
        raise errors.PermissionDenied("the key may not change users") from error
    if error.code == 404:
        raise errors.InvalidArgument("the service has no such user") from error
    if error.code != 429:
        raise errors.Unavailable(f"the service answered {error.code}") from error
    stated = error.headers.get("Retry-After", "1")
    wait_s = float(stated) if stated.isdecimal() else 1.0
    if wait_s > MAX_WAIT_S:
        # Longer than is good to sit in a call: the host comes back at that time.
        raise errors.RateLimited("the service asks to wait", retry_after_s=wait_s) from error
    return wait_s

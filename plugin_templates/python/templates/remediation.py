"""Actions in {{ cookiecutter.title }}, after approval: the business logic only.

What is written here fits an API of a common shape. Change paths and names to your service's:

    GET  /v1/users/ID           {"id": "u1", "email": "ada@example.com", "suspended": false}
    POST /v1/users/ID/suspend   the same, suspended; Idempotency-Key makes a repeat harmless
    POST /v1/users/ID/resume    the same, not suspended
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from aperio_plugin import errors, remediation, rest

DEFAULT_BASE_URL = "https://api.example.com"

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
            target_types=["user"],
            description="Ends the user's sessions and refuses new ones.",
            severity_hint=remediation.SeverityHint.HIGH,
            response_kind=remediation.ResponseKind.SUSPEND_USER,
            reversible=True,
            reverse_action=RESUME,
            supports_dry_run=True,
        ),
        remediation.Action(
            key=RESUME,
            label="Resume user",
            target_types=["user"],
            description="Lets a suspended user log in again.",
            reversible=True,
            reverse_action=SUSPEND,
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
        path, api = f"/v1/users/{quote(request.target, safe='')}", service(context)
        before = is_suspended(api.get(path).object())
        if before is wanted:
            return remediation.unchanged()
        change = remediation.Change("suspended", before=before, after=wanted)
        if request.dry_run:
            return remediation.would_change(change)
        step = "suspend" if wanted else "resume"
        # The key of the intent goes along, so that a repeat of the request does not act twice.
        key = {"Idempotency-Key": request.idempotency_key}
        answer = api.post(f"{path}/{step}", headers=key).object()
        try:
            after = is_suspended(answer)
        except errors.Unavailable as error:  # it was sent, and this says nothing about the user
            return remediation.unknown(error.summary)
        if after is not wanted:
            return remediation.failed("the service answered, and left the user as it was")
        return remediation.changed(change)


def is_suspended(user: dict[str, Any]) -> bool:
    """Read whether a user is suspended."""
    suspended = user.get("suspended")
    if not isinstance(suspended, bool):
        raise errors.Unavailable("the service's reply is not a user")
    return suspended


def service(context: remediation.Context) -> rest.Service:
    """Give the service at the configured address, with the configured key."""
    return rest.Service(
        context,
        context.config.text("base_url", DEFAULT_BASE_URL),
        headers={"Authorization": f"Bearer {context.config.text('api_key')}"},
        refusals={403: "the key may not change users", 404: "the service has no such user"},
    )

"""OAuth 2.0 grants that the host performs, so that a plugin never sees a client's secret.

Here: the client credentials grant (RFC 6749, section 4.4), client id and secret in the request's
body (section 2.3.1). A secret stands in no message, whatever the server answers.

Where tokens may be asked for: over https, at a host that the manifest's `permissions.egress` or
`egress_from_config` names. And, for stubs and proxies on this machine, over http on a loopback
address, but only when the operator's own setting names it: the `token_url` begins with `{field}`
and the operator gave that field, with scheme, host and port. A plugin cannot bring that about by
itself.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, urlsplit

from aperio_cli import clock
from aperio_cli.errors.running import (
    PluginConfigInvalid,
    TokenRefused,
    TokenUnavailable,
    TokenUrlRefused,
)
from aperio_cli.host.calls.declaration import PLACEHOLDER
from aperio_cli.host.calls.invocation import AccessToken
from aperio_cli.models.address import Place, place_of
from aperio_cli.models.egress import PORTS, covers, permits, split_rule
from aperio_cli.models.reading import Bounds, Unreadable, read_json
from aperio_cli.net.request import Request, Unanswered, answered, off_loop
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aperio_plugin.wire import common_pb2

    from aperio_cli.host.calls.configuration import CheckedConfig
    from aperio_cli.host.process.program import Program

TIMEOUT_S: Final = 30.0
MAX_ANSWER_BYTES: Final = 64 * 1024

_LONGEST_LIFETIME_S: Final = 10 * 365 * 24 * 3600
_OK: Final = 200
_SERVER_ERROR: Final = 500
_BUSY: Final = (408, 425, 429)  # RFC 9110, RFC 8470
_REDIRECTS: Final = range(300, 400)
_REFUSALS: Final = (400, 401, 403)  # RFC 6749, section 5.2, and what services answer beside it
_PASSING: Final = frozenset({"server_error", "slow_down", "temporarily_unavailable"})
"""Codes that are not about the client (RFC 6749, section 4.1.2.1; RFC 8628)."""


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What is sent to obtain a token.

    Attributes:
        url: where; checked.
        form: the parameters of the body; holds the secret.
        is_local: whether it goes to this machine.
    """

    url: str
    form: Mapping[str, str]
    is_local: bool

    def __repr__(self) -> str:
        return f"TokenRequest(url={self.url!r})"


def token_request(
    auth: common_pb2.Auth.OAuth2, config: CheckedConfig, program: Program
) -> TokenRequest:
    """Return the client credentials request that a plugin's declaration and the settings amount to.

    Raises:
        TokenUrlRefused: the address is not one that the manifest permits.
        PluginConfigInvalid: a field that the declaration names has no value.
    """
    url = _substitute(auth.token_url, config, program)
    is_local = _require_permitted(url, auth.token_url, config, program)
    form = {
        "grant_type": "client_credentials",
        "client_id": _setting(auth.client_id_field, config, program),
        "client_secret": _setting(auth.client_secret_field, config, program),
    }
    if auth.scopes:
        form["scope"] = " ".join(auth.scopes)
    for name, template in auth.token_parameters.items():
        form[name] = _substitute(template, config, program)
    return TokenRequest(url, form, is_local)


async def obtain_token(request: TokenRequest, program: Program) -> AccessToken:
    """Return a new access token.

    Raises:
        TokenRefused: the service does not accept the client id and secret.
        TokenUnavailable: it cannot be reached, or answers something unusable.
    """
    try:
        status, body = await off_loop(functools.partial(_post, request))
    except Unanswered as error:
        # The text of such an error may quote what was sent; its kind says enough.
        why = f"no answer in {TIMEOUT_S:g} s" if error.is_late else error.kind
        if error.cause:
            why = f"{error.cause.what}\n{error.cause.why}"
        raise _unavailable(request, program, why) from None
    if status >= _SERVER_ERROR or status in _BUSY:
        raise _unavailable(request, program, f"status {status}")
    if status in _REDIRECTS:
        why = f"status {status}; no redirect is followed with a secret"
        raise _unavailable(request, program, why)
    document = _json_object(body)
    code = _error(document)
    if status == _OK and "access_token" in document:
        return _token(document, request, program)
    if code in _PASSING:
        raise _unavailable(request, program, f"status {status} {code}")
    if code or status in _REFUSALS:
        raise _refused(request, program, status, code)
    why = "an answer without an access_token" if status == _OK else f"status {status}"
    raise _unavailable(request, program, why)


def _post(request: TokenRequest) -> tuple[int, bytes]:
    """Return status and body of the answer, the body cut off at its cap.

    No redirect is followed: the secret goes to the address that was checked, or nowhere.

    Raises:
        Unanswered: no whole answer came in time.
    """
    deadline_s = clock.monotonic_s() + TIMEOUT_S
    sent = Request(request.url, deadline_s, form=request.form, is_local=request.is_local)
    with answered(sent) as response:
        body = b""
        for piece in response.iter_raw():
            body += piece
            if len(body) > MAX_ANSWER_BYTES:
                break
        return response.status_code, body


def _token(document: dict[str, Any], request: TokenRequest, program: Program) -> AccessToken:
    """Return the token in an answer (RFC 6749, section 5.1)."""
    value = document.get("access_token")
    if not isinstance(value, str) or not value or not value.isascii() or not value.isprintable():
        raise _unavailable(request, program, "an answer without an access_token")
    lifetime: Any = document.get("expires_in")
    is_number = isinstance(lifetime, int | float) and not isinstance(lifetime, bool)
    if is_number and 0 < lifetime < _LONGEST_LIFETIME_S:
        return AccessToken(value, clock.now() + timedelta(seconds=lifetime))
    return AccessToken(value)


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        document = read_json(body, Bounds(MAX_ANSWER_BYTES))
    except Unreadable:
        return {}
    return document if isinstance(document, dict) else {}


def _setting(key: str, config: CheckedConfig, program: Program) -> str:
    value = config.values.get(key)
    if value is None or value == "":
        raise PluginConfigInvalid(
            f"`{clean(key, limit=80)}` of {program.subject} is missing; nothing was done",
            why="it is needed to obtain an access token",
            next=[
                f"`--set {clean(key, limit=80)}=VALUE`, where VALUE may be env:NAME or file:PATH"
            ],
        )
    return str(value).lower() if isinstance(value, bool) else str(value)


def _substitute(template: str, config: CheckedConfig, program: Program) -> str:
    """Return the template with each `{field}` replaced by the setting of that name."""
    return PLACEHOLDER.sub(lambda match: _setting(match[1], config, program), template)


# ── where tokens may be asked for ─────────────────────────────────────────────────────────────────


def _require_permitted(url: str, template: str, config: CheckedConfig, program: Program) -> bool:
    """Return whether the address is on this machine, once it is known to be permitted.

    Raises:
        TokenUrlRefused: it is not.
    """
    parts = _split(url)
    if parts is not None:
        place = place_of(parts.hostname or "")
        if place is Place.HERE and parts[:2] == _stated_origin(template, config):
            return True
        is_secure = place is Place.ELSEWHERE and parts.scheme == "https"
        if is_secure and _is_declared(parts, config, program):
            return False
    shown = clean(url.partition("?")[0], limit=200) if parts else "no usable address"
    permitted = ", ".join(_declared(program)) or "nothing"
    raise TokenUrlRefused(
        f"{program.subject} was not given a token: its token address is not permitted",
        why=f"expected https at one of: {permitted}\nreceived {shown}",
        next=[
            "check the setting that the address is made of",
            "a stub on this machine may be named as http://127.0.0.1:PORT in that setting",
        ],
    )


def _stated_origin(template: str, config: CheckedConfig) -> tuple[str, str] | None:
    """Scheme and place (RFC 3986's authority) that the operator's own setting names by itself.

    What the plugin's template adds must not change them: a setting such as `http` would otherwise
    let the plugin choose any port of this machine.
    """
    field = PLACEHOLDER.match(template)
    if field is None or field[1] not in config.given:
        return None
    parts = _split(str(config.values.get(field[1], "")))
    return parts[:2] if parts else None


def _split(url: str) -> SplitResult | None:
    """Return the parts of an address without user name, fragment or odd characters.

    None otherwise.
    """
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return None
    try:
        parts = urlsplit(url)
        valid = parts.scheme in PORTS and parts.hostname and parts.port != 0
    except ValueError:
        return None
    return parts if valid and "@" not in parts.netloc and not parts.fragment else None


def _is_declared(parts: SplitResult, config: CheckedConfig, program: Program) -> bool:
    host, port = (parts.hostname or "").lower(), parts.port or PORTS[parts.scheme]
    is_own = any(split_rule(r.rule)[1] == port and covers(r.rule, host) for r in program.own_rules)
    return is_own or permits(program.manifest, host, port, config.values)


def _declared(program: Program) -> list[str]:
    from_config = [
        f"{{{rule.field}}} ending in {rule.suffix}:{rule.port}"
        for rule in program.manifest.egress_from_config
    ]
    return [*program.manifest.egress, *from_config, *(each.rule for each in program.own_rules)]


# ── what went wrong ───────────────────────────────────────────────────────────────────────────────


def _error(document: dict[str, Any]) -> str:
    """Return the `error` of an answer (RFC 6749, section 5.2), empty unless it is a plain code.

    Only such a one is shown: it cannot hold more.
    """
    code = document.get("error")
    is_plain = isinstance(code, str) and re.fullmatch(r"[a-z_]{1,60}", code, re.ASCII)
    return str(code) if is_plain else ""


def _refused(request: TokenRequest, program: Program, status: int, code: str) -> TokenRefused:
    return TokenRefused(
        f"{program.subject} was not given a token: the service refused the client's credentials",
        why=f"{_place(request)} answered {status} {code}".rstrip(),
        next=[
            "check the client id and the client secret in the plugin's configuration",
            "check that the application is authorized in the service",
        ],
    )


def _unavailable(request: TokenRequest, program: Program, why: str) -> TokenUnavailable:
    return TokenUnavailable(
        f"{program.subject} was not given a token: the service did not answer usefully",
        why=f"{_place(request)}: {why}",
        next=["try again later", "check the network and the address in the configuration"],
    )


def _place(request: TokenRequest) -> str:
    return clean(request.url.partition("?")[0], limit=200)

"""What a plugin declares about itself, the same for all kinds: fields, auth, provider.

The client's secret is the host's alone, whatever a plugin says about the field that holds it.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from aperio_plugin.wire import schema_rules

from aperio_cli.host.answers import understood
from aperio_cli.host.calls.configuration import read_default
from aperio_cli.text import clean, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from aperio_plugin.wire import capabilities_pb2, common_pb2

    from aperio_cli.host.wire.channel import Calls

CAPABILITIES_TIMEOUT_S: Final = 30.0
PLACEHOLDER: Final = re.compile(r"\{([a-z][a-z0-9_]*)\}")
"""A setting's value in an address or a parameter of OAuth 2.0: `{key}`."""

_KEY: Final = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
_MOST_PROBLEMS: Final = 10


async def capabilities(
    calls: Calls, service: str, context: common_pb2.InvocationContext, provider: str
) -> capabilities_pb2.CapabilitiesResponse:
    """Return the Capabilities of a remediation or a destination.

    Args:
        calls: to the plugin.
        service: `/package.Service/`.
        context: on whose behalf.
        provider: what the manifest says it speaks for.

    Raises:
        PluginContractBroken: as `settle`.
        PluginFault: as `Calls.unary`.
    """
    from aperio_plugin.wire import capabilities_pb2

    response: capabilities_pb2.CapabilitiesResponse = await calls.unary(
        service + "Capabilities",
        capabilities_pb2.CapabilitiesRequest(context=context),
        capabilities_pb2.CapabilitiesResponse,
        timeout_s=CAPABILITIES_TIMEOUT_S,
    )
    settle(calls, "Capabilities", response, provider)
    return response


def settle(calls: Calls, method: str, declaration: Any, provider: str) -> None:
    """Refuse a declaration that breaks the interface; withhold the client's secret.

    The field that holds that secret counts as `host_only` and `secret` from here on.

    Args:
        calls: to the plugin.
        method: that answered with it.
        declaration: a SchemaResponse or CapabilitiesResponse; is changed.
        provider: what the manifest says it speaks for.

    Raises:
        PluginContractBroken: it speaks for another provider, declares a key twice, a key that is
            none, or a default that is none of its field, its auth makes no sense, or its streams,
            mappings or checks do not.
    """
    with understood(calls.broken, method):
        _settle(calls, method, declaration, provider)


def _settle(calls: Calls, method: str, declaration: Any, provider: str) -> None:
    if declaration.provider != provider:
        shown = clean(declaration.provider, limit=80)
        raise calls.broken(method, f"provider\nexpected {provider}\nreceived {shown}")
    problems = [*_field_problems(declaration.fields), *auth_problems(declaration)]
    if method == "Capabilities":
        for action in declaration.remediation.actions:
            problems += [f"{action.key}: {text}" for text in _field_problems(action.parameters)]
        problems += [f"action {text}" for text in repeated_keys(declaration.remediation.actions)]
    else:
        problems += schema_rules.problems(declaration)
    if problems:
        lines = [one_line(problem, limit=200) for problem in problems[:_MOST_PROBLEMS]]
        raise calls.broken(method, "\n".join(lines))
    for field in declaration.fields:
        if field.key == client_secret_key(declaration.auth):
            field.host_only = field.secret = True


def client_secret_key(auth: common_pb2.Auth) -> str | None:
    """Return the key of the setting that holds the client's secret.

    None when there is no client.
    """
    is_client = auth.WhichOneof("method") == "oauth2"
    return auth.oauth2.client_secret_field if is_client else None


def _field_problems(fields: Sequence[common_pb2.ConfigField]) -> Iterator[str]:
    yield from repeated_keys(fields)
    for field in fields:
        if not _KEY.fullmatch(field.key):
            yield f"`{field.key}`: a key has lower-case letters, digits, underscores"
        yield from (f"`{field.key}`: {text}" for text in default_problems(field))


def default_problems(field: common_pb2.ConfigField) -> Iterator[str]:
    """Yield what is wrong with the default of a field."""
    try:
        read_default(field)
    except ValueError as error:
        yield str(error)


def repeated_keys(
    fields: Iterable[common_pb2.ConfigField | capabilities_pb2.RemediationCapabilities.Action],
) -> Iterator[str]:
    """Yield what is wrong with the keys of fields, or of actions.

    Which of two of one key would count, nobody can say.
    """
    counts = Counter(field.key for field in fields)
    yield from (f"`{key}` is declared {count} times" for key, count in counts.items() if count > 1)


def auth_problems(declaration: Any) -> Iterator[str]:
    """Yield what is wrong with the auth of a declaration, for a host that would use it."""
    auth, keys = declaration.auth, {field.key for field in declaration.fields}
    method = auth.WhichOneof("method")
    named = [auth.api_key.field] if method == "api_key" else []
    if method == "oauth2":
        named = [auth.oauth2.client_id_field, auth.oauth2.client_secret_field]
        yield from _client_problems(declaration)
    yield from (f"auth names `{key}`, which is no setting" for key in named if key not in keys)


def _client_problems(declaration: Any) -> Iterator[str]:
    oauth2, secret = declaration.auth.oauth2, declaration.auth.oauth2.client_secret_field
    if oauth2.client_id_field == secret:
        yield f"auth names `{secret}` for both the client's id and its secret"
    secrets = {field.key for field in declaration.fields if field.secret} | {secret}
    for name in ("token_url", "authorize_url"):  # addresses stand in messages, logs and histories
        for key in sorted(secrets.intersection(PLACEHOLDER.findall(getattr(oauth2, name)))):
            yield f"auth's {name} has the secret `{key}` in it"

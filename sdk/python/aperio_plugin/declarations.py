"""What a plugin declares: settings, ways to authenticate, how grave something is."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["ApiKey", "Auth", "Field", "FieldType", "Grant", "NoAuth", "OAuth2", "SeverityHint"]


class SeverityHint(enum.Enum):
    """How grave something usually is; the product decides."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class FieldType(enum.Enum):
    """How a setting is asked for, and its JSON type: boolean, number, or else string."""

    TEXT = "text"
    PASSWORD = "password"  # noqa: S105 - a type of field
    URL = "url"
    SELECT = "select"
    BOOLEAN = "boolean"
    NUMBER = "number"


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One setting that the operator gives, or one parameter of an action.

    Attributes:
        key: the key in `Context.config`: lower-case letters, digits, underscores.
        label: what a form calls it.
        type: how it is asked for.
        required: whether there must be a value.
        secret: shown as dots, stored encrypted, never logged.
        placeholder: an example value.
        helper: one sentence that helps to find the value.
        options: the values of a `SELECT`.
        default: the value used when none is given, one that the type takes; None: none.
        host_only: only the host may use it (an OAuth client secret, say): left out of
            `Context.config`.
    """

    key: str
    label: str
    type: FieldType = FieldType.TEXT
    required: bool = False
    secret: bool = False
    placeholder: str = ""
    helper: str = ""
    options: Sequence[str] = ()
    default: str | float | bool | None = None
    host_only: bool = False


class Grant(enum.Enum):
    """How the host obtains an OAuth 2.0 access token (RFC 6749, section 1.3)."""

    AUTHORIZATION_CODE = "authorization_code"
    CLIENT_CREDENTIALS = "client_credentials"


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuth2:
    """The host obtains access tokens and hands them over as `Context.token`.

    Attributes:
        token_url: where the host asks for tokens; may contain `{key}` of a setting that is not
            secret.
        grants: what the service supports, the preferred one first.
        authorize_url: where the operator's browser is sent; unused for client credentials.
        scopes: what the token must be good for.
        client_id_field: key of the setting that holds the client's id.
        client_secret_field: key of the setting that holds the client's secret; declare that one
            `host_only` and `secret`. The host keeps it to itself in any case. The client's id is
            no secret, and reaches the plugin like any setting unless it is `host_only`.
        token_parameters: further parameters of the token request; values may contain `{key}`.
    """

    token_url: str
    grants: Sequence[Grant]
    authorize_url: str = ""
    scopes: Sequence[str] = ()
    client_id_field: str = "client_id"
    client_secret_field: str = "client_secret"  # noqa: S105 - the name of a setting
    token_parameters: Mapping[str, str] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class ApiKey:
    """The service takes a key, which is one of the settings.

    Attributes:
        field: the key of that setting.
    """

    field: str


@dataclass(frozen=True, slots=True)
class NoAuth:
    """The service asks nobody who they are."""


Auth = OAuth2 | ApiKey | NoAuth


_KEY = re.compile(r"[a-z][a-z0-9_]{0,63}")
_NAMED = re.compile(r"\{([a-z][a-z0-9_]*)\}")


def check(
    fields: Sequence[Field],
    auth: Auth = NoAuth(),
) -> None:
    """Refuse declarations that no host could show or use.

    Args:
        fields: settings or parameters.
        auth: how the service authenticates its callers; it names some of them.

    Raises:
        ValueError: saying which one and why.
    """
    keys = [declared.key for declared in fields]
    for declared in fields:
        if not _KEY.fullmatch(declared.key):
            raise ValueError(f"field key {declared.key!r} is not lower-case letters, digits, _")
        if keys.count(declared.key) > 1:
            raise ValueError(f"field {declared.key!r} is declared twice")
        if (declared.type is FieldType.SELECT) != bool(declared.options):
            raise ValueError(f"field {declared.key!r}: SELECT has options, other types have none")
        _check_default(declared)
    named: tuple[str, ...] = ()
    if isinstance(auth, ApiKey):
        named = (auth.field,)
    elif isinstance(auth, OAuth2):
        named = (auth.client_id_field, auth.client_secret_field)
    for key in named:
        if key not in keys:
            raise ValueError(f"auth names the field {key!r}, which is not declared")
    if isinstance(auth, OAuth2):
        _check_client({declared.key: declared for declared in fields}, auth)


def _check_default(declared: Field) -> None:
    if declared.default is None:
        return
    from aperio_plugin._fitting import fit_default  # here: few processes check a default

    try:
        fit_default(declared.type.name, declared.options, declared.default)
    except ValueError as error:
        raise ValueError(f"field {declared.key!r}: its default does not fit: {error}") from error


def _check_client(fields: Mapping[str, Field], auth: OAuth2) -> None:
    """Refuse an OAuth 2.0 client whose secret could leave the host."""
    secret = fields[auth.client_secret_field]
    if auth.client_id_field == secret.key:
        raise ValueError(f"auth names the field {secret.key!r} for the client's id and its secret")
    if not (secret.host_only and secret.secret):
        raise ValueError(
            f"field {secret.key!r} holds the client's secret, which only the host may use:"
            " declare it host_only and secret"
        )
    for name in _NAMED.findall(f"{auth.token_url} {auth.authorize_url}"):
        if name in fields and fields[name].secret:
            raise ValueError(f"auth has the secret field {name!r} in an address")

"""A session: one plugin with one organization's checked settings, ready for invocations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from aperio_cli.data.state import Slice
from aperio_cli.errors.usage import UsageError
from aperio_cli.host.answers import is_known, understood
from aperio_cli.host.calls.configuration import CheckedConfig, check_config
from aperio_cli.host.calls.declaration import client_secret_key
from aperio_cli.host.calls.invocation import (
    DEFAULT_INTEGRATION,
    DEFAULT_ORGANIZATION,
    AccessToken,
    Invocation,
)
from aperio_cli.host.calls.tally import Tally
from aperio_cli.host.grants.oauth import obtain_token, token_request
from aperio_cli.host.process.masking import Referenced

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aperio_plugin.wire import common_pb2

    from aperio_cli.host.launch import RunningPlugin

TOKEN: Final = "access token"  # noqa: S105 - its name
"""What a token is called where it was masked."""


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """Whose session, with which settings.

    Attributes:
        organization_id: the tenant.
        integration_id: the connected account.
        settings: values by key, already resolved from `env:` and `file:`; may hold secrets.
        option: how a setting is given on the command line, for messages.
        token: of a grant that whoever asks performs; None: the host performs it.
        tally: counts the tokens that are obtained.
        are_own: whether the settings are the host's own and stay: what they come to is kept as long
            as the plugin runs.
        traceparent: the host's span, for the plugin; empty: nobody traces it.
        tracestate: what the systems above add to that.
    """

    organization_id: str = DEFAULT_ORGANIZATION
    integration_id: str = DEFAULT_INTEGRATION
    settings: Mapping[str, object] = field(default_factory=dict, repr=False)
    option: str = "--set"
    token: AccessToken | None = None
    tally: Tally = field(default_factory=Tally)
    are_own: bool = False
    traceparent: str = ""
    tracestate: str = ""


@dataclass(frozen=True, slots=True)
class Fitted:
    """Settings that were held against what a plugin declares.

    Attributes:
        settings: as they were stated.
        config: what they come to.
        secrets: those among them, by what to call them.
    """

    settings: Mapping[str, object] = field(repr=False)
    config: CheckedConfig
    secrets: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Session:
    """A running plugin and settings that fit it; use `open_session` to make one.

    Attributes:
        plugin: the running plugin.
        request: whose session.
        declaration: its SchemaResponse or CapabilitiesResponse.
        config: the checked settings.
    """

    plugin: RunningPlugin
    request: SessionRequest
    declaration: Any = field(repr=False)
    config: CheckedConfig

    @property
    def slice(self) -> Slice:
        """Whose stored state it uses."""
        request = self.request
        return Slice(
            self.plugin.program.state_owner, request.organization_id, request.integration_id
        )

    @property
    def can_renew_token(self) -> bool:
        """Whether the host obtains tokens for it, and so can obtain another."""
        return not self.request.token and _client_credentials(self.declaration.auth) is not None

    async def invocation(self, *, may_write: bool = False) -> Invocation:
        """Return a new invocation, with a new token when the plugin's auth needs one.

        The scopes are those of the manifest, which was shown when the plugin was installed.

        Args:
            may_write: whether an approved remediation may write to the service.

        Raises:
            TokenUrlRefused: the token address is not one that the manifest permits.
            TokenRefused: the service does not accept the client id and secret.
            TokenUnavailable: it cannot be reached, or answers something unusable.
            PluginConfigInvalid: a setting that the grant needs is missing.
            UsageError: the plugin's auth needs a grant that this host does not perform.
        """
        return Invocation(
            self.request.organization_id,
            self.request.integration_id,
            self.config.plugin_json,
            await self._token(),
            may_write=may_write,
            granted_scopes=self.plugin.program.manifest.scopes,
            traceparent=self.request.traceparent,
            tracestate=self.request.tracestate,
        )

    async def _token(self) -> AccessToken | None:
        program, auth = self.plugin.program, self.declaration.auth
        if auth.WhichOneof("method") != "oauth2":
            return None
        if held := self.request.token:
            self.plugin.masks.learn({TOKEN: held.value})
            return held
        grant = _client_credentials(auth)
        if grant is None:
            raise UsageError(
                f"{program.subject} needs an authorization in a browser, which `run` does not do",
                why="its auth declares no client credentials grant (RFC 6749, section 4.4)",
                next=["have a host hold the grant, and hand the token over (`Call.token`)"],
            )
        token = await obtain_token(token_request(grant, self.config, program), program)
        self.plugin.masks.learn({TOKEN: token.value})
        self.request.tally.tokens += 1
        return token


async def open_session(plugin: RunningPlugin, request: SessionRequest) -> Session:
    """Return a session, once the settings were checked against what the plugin declares.

    From then on the plugin's masks know the secrets among them.

    Raises:
        PluginConfigInvalid: a key is unknown, missing or of a wrong type; names it.
        PluginFault: the plugin could not say what it declares.
    """
    declaration = plugin.declaration
    if declaration is None:
        blank = Invocation(request.organization_id, request.integration_id)
        declaration = plugin.declaration = await declare(plugin, blank)
    fitted = plugin.fitted
    if fitted is None or fitted.settings is not request.settings or request.token:
        fitted = _fit(plugin, declaration, request)
        if request.are_own and not request.token:
            plugin.fitted = fitted
    plugin.masks.learn(fitted.secrets)
    return Session(plugin, request, declaration, fitted.config)


def _fit(plugin: RunningPlugin, declaration: Any, request: SessionRequest) -> Fitted:
    """Return settings that fit what a plugin declares.

    Raises:
        PluginConfigInvalid, PluginContractBroken: as `open_session`.
    """
    subject = plugin.program.subject
    declaring = "schema" if plugin.program.kind == "connector" else "capabilities"
    with understood(plugin.broken, declaring.capitalize()):
        config = check_config(
            _asked_for(declaration, request),
            request.settings,
            subject=subject,
            option=request.option,
            declaring=declaring,
        )
        secrets = _secrets(declaration, config, request.settings)
    return Fitted(request.settings, config, secrets)


def _asked_for(declaration: Any, request: SessionRequest) -> Sequence[common_pb2.ConfigField]:
    """Return the fields that need values.

    Who brings a token need not say whose: the client's id and secret are for obtaining one.
    """
    fields: Sequence[common_pb2.ConfigField] = declaration.fields
    if request.token is None or declaration.auth.WhichOneof("method") != "oauth2":
        return fields
    fields = list(fields)
    client = {declaration.auth.oauth2.client_id_field, declaration.auth.oauth2.client_secret_field}
    for at, each in enumerate(fields):
        if each.key in client and each.required:
            fields[at] = type(each)()
            fields[at].CopyFrom(each)
            fields[at].required = False
    return fields


def _secrets(
    declaration: Any, config: CheckedConfig, settings: Mapping[str, object]
) -> dict[str, str]:
    """Return the settings to mask, by key: what is declared secret, and what was referred to.

    A number, a choice or a truth value that was referred to is none: it stands in many texts. What
    a type of a newer minor version means nobody knows, so its values are.
    """
    client_secret = client_secret_key(declaration.auth)
    return {
        field.key: str(config.values[field.key])
        for field in declaration.fields
        if field.key in config.values
        and (
            field.secret
            or field.type == field.TYPE_PASSWORD
            or field.key == client_secret
            or not is_known(field.Type, field.type)
            or (
                isinstance(settings.get(field.key), Referenced)
                and field.type in {field.TYPE_UNSPECIFIED, field.TYPE_TEXT, field.TYPE_URL}
            )
        )
    }


async def declare(plugin: RunningPlugin, invocation: Invocation) -> Any:
    """Return what a plugin of any kind declares: its SchemaResponse or CapabilitiesResponse.

    Raises:
        PluginFault: as `Calls.unary`.
    """
    match plugin.program.kind:
        case "connector":
            return await plugin.connector.schema(invocation)
        case "remediation":
            return await plugin.remediation.capabilities(invocation)
        case _:
            return await plugin.destination.capabilities(invocation)


def _client_credentials(auth: common_pb2.Auth) -> common_pb2.Auth.OAuth2 | None:
    """Return the declared OAuth 2.0, when it has the grant that needs no browser."""
    if auth.WhichOneof("method") != "oauth2":
        return None
    wanted = auth.OAuth2.GRANT_CLIENT_CREDENTIALS
    return auth.oauth2 if wanted in auth.oauth2.grants else None

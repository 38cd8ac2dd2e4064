"""What plugins declare."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, cast

from aperio_plugin import _schema_rules, declarations
from aperio_plugin._convert.calls import named
from aperio_plugin._generated.aperio.plugin.v1 import common_pb2, connector_pb2

if TYPE_CHECKING:
    from aperio_plugin import connector, destination, remediation
    from aperio_plugin._generated.aperio.plugin.v1 import capabilities_pb2

INTERFACE_MINOR: Final = 0
APPROVAL_FEATURE: Final = "approval"
CHECKPOINTS_FEATURE: Final = "checkpoints"


def schema_message(schema: connector.Schema) -> connector_pb2.SchemaResponse:
    """Return the message of a connector's schema.

    Raises:
        TypeError, ValueError: a part of it has a wrong type, or makes no sense.
    """
    pb = connector_pb2
    message = pb.SchemaResponse(
        interface=_interface(*(feature.value for feature in schema.features)),
        provider=schema.provider,
        name=schema.name,
        category=schema.category,
        availability=named(pb.SchemaResponse.Availability, "AVAILABILITY", schema.availability),
        description=schema.description,
        docs_url=schema.docs_url,
        read_scopes=schema.read_scopes,
        remediation_scopes=schema.remediation_scopes,
        fields=[_field(field) for field in schema.fields],
        auth=_auth(schema.auth),
        checks=[
            pb.Check(
                key=check.key,
                title=check.title,
                description=check.description,
                severity_hint=_hint(check.severity_hint),
                enabled_by_default=check.enabled_by_default,
            )
            for check in schema.checks
        ],
        remediation_actions=[
            pb.RemediationAction(
                key=action.key,
                label=action.label,
                description=action.description,
                severity_hint=_hint(action.severity_hint),
            )
            for action in schema.actions
        ],
        event_types=schema.event_types,
        readiness_note=schema.readiness_note,
        account_id_field=schema.account_id_field,
        streams=[
            pb.Stream(name=stream.name, description=stream.description) for stream in schema.streams
        ],
        event_mappings=[
            pb.EventMapping(
                event_type=mapping.event_type, product_event_type=mapping.product_event_type
            )
            for mapping in schema.event_mappings
        ],
    )
    for problem in _schema_rules.problems(message):
        raise ValueError(problem)
    return message


def capabilities_message(
    capabilities: remediation.Capabilities | destination.Capabilities, *features: str
) -> capabilities_pb2.CapabilitiesResponse:
    """Return the message of what a remediation or destination declares.

    Args:
        capabilities: what its author states.
        features: what it can beyond the minimum, by the names of the interface.

    Raises:
        TypeError, ValueError: a part of it has a wrong type.
    """
    from aperio_plugin import destination
    from aperio_plugin._generated.aperio.plugin.v1 import capabilities_pb2

    message = capabilities_pb2.CapabilitiesResponse(
        interface=_interface(*features),
        provider=capabilities.provider,
        name=capabilities.name,
        description=capabilities.description,
        docs_url=capabilities.docs_url,
        fields=[_field(field) for field in capabilities.fields],
        auth=_auth(capabilities.auth),
    )
    if isinstance(capabilities, destination.Capabilities):
        message.destination.CopyFrom(_destination(capabilities, capabilities_pb2))
    else:
        message.interface.features.append(APPROVAL_FEATURE)
        message.remediation.SetInParent()
        message.remediation.actions.extend(
            _action(action, capabilities_pb2) for action in capabilities.actions
        )
    return message


def _destination(
    capabilities: destination.Capabilities, pb: Any
) -> capabilities_pb2.DestinationCapabilities:
    kinds = pb.DestinationCapabilities.Stream
    return cast(
        "capabilities_pb2.DestinationCapabilities",
        pb.DestinationCapabilities(
            vendor=capabilities.vendor,
            category=capabilities.category,
            streams=[named(kinds, "STREAM", stream) for stream in capabilities.streams],
            max_batch_envelopes=capabilities.max_batch_envelopes,
        ),
    )


def _action(action: remediation.Action, pb: Any) -> capabilities_pb2.RemediationCapabilities.Action:
    return cast(
        "capabilities_pb2.RemediationCapabilities.Action",
        pb.RemediationCapabilities.Action(
            key=action.key,
            label=action.label,
            description=action.description,
            severity_hint=_hint(action.severity_hint),
            parameters=[_field(field) for field in action.parameters],
            target_types=action.target_types,
            reversible=action.reversible,
            supports_dry_run=action.supports_dry_run,
            scopes=action.scopes,
            response_kind=_response_kind(action, pb),
            required_context=action.required_context,
            reverse_action=action.reverse_action,
            rollback=action.rollback,
            approval_optional=action.approval_optional,
        ),
    )


def _response_kind(action: remediation.Action, pb: Any) -> Any:
    kinds = pb.RemediationCapabilities
    if action.response_kind is None:
        return kinds.RESPONSE_KIND_UNSPECIFIED
    return named(kinds.ResponseKind, "RESPONSE_KIND", action.response_kind)


def _interface(*features: str) -> common_pb2.Interface:
    return common_pb2.Interface(minor=INTERFACE_MINOR, features=features)


def _hint(hint: declarations.SeverityHint) -> Any:
    return named(common_pb2.SeverityHint, "SEVERITY_HINT", hint)


def _field(field: declarations.Field) -> common_pb2.ConfigField:
    return common_pb2.ConfigField(
        key=field.key,
        label=field.label,
        placeholder=field.placeholder,
        helper=field.helper,
        type=named(common_pb2.ConfigField.Type, "TYPE", field.type),
        required=field.required,
        secret=field.secret,
        options=field.options,
        default_json="" if field.default is None else json.dumps(field.default),
        host_only=field.host_only,
    )


def _auth(auth: declarations.Auth) -> common_pb2.Auth:
    pb = common_pb2.Auth
    if isinstance(auth, declarations.ApiKey):
        return pb(api_key=pb.ApiKey(field=auth.field))
    if isinstance(auth, declarations.NoAuth):
        return pb(none=pb.NoAuth())
    return pb(
        oauth2=pb.OAuth2(
            authorize_url=auth.authorize_url,
            token_url=auth.token_url,
            grants=[named(pb.OAuth2.Grant, "GRANT", grant) for grant in auth.grants],
            scopes=auth.scopes,
            client_id_field=auth.client_id_field,
            client_secret_field=auth.client_secret_field,
            token_parameters=auth.token_parameters,
        )
    )

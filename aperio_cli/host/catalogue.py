"""A plugin as the product's own catalogue has it: a connector or a destination definition.

The shapes are the product's (docs/reference/product.md, "The catalogue"): its keys, its words, and
no further key. A value that its form cannot hold becomes the nearest that it can, and each
such change is told.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aperio_cli.host.answers import is_known, word

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CONNECTOR_CATEGORIES: Final = ("Identity", "Productivity", "Source Control", "Messaging")
DESTINATION_CATEGORIES: Final = (
    "Cloud SIEM",
    "Hosted Search",
    "Observability",
    "Graph",
    "Generic",
)
STREAMS: Final = {"finding": "FINDINGS", "event": "EVENTS", "audit_log": "AUDIT_LOGS"}
"""What the product calls a kind of envelope, where it speaks of a stream of them."""

_WEB: Final = re.compile(r"https?://[^\s/?#]", re.ASCII | re.IGNORECASE)
_LEFT_OUT: Final = "absent: the form has no word for it"
_FIELD_TYPES: Final = frozenset({"text", "password", "url"})
_CHECK_HINTS: Final = {"info": "LOW", "low": "LOW", "medium": "MEDIUM", "high": "HIGH"}
_ACTION_HINTS: Final = {"info": "MEDIUM", "low": "MEDIUM", "medium": "MEDIUM", "high": "HIGH"}


@dataclass(frozen=True, slots=True)
class Becomes:
    """Something that the product's form cannot hold as it was declared.

    Attributes:
        path: of the key in the definition, such as `fields.region.type`.
        declared: what the plugin says; not cleaned.
        shown: what stands in the definition.
    """

    path: str
    declared: str
    shown: str

    def to_json(self) -> dict[str, str]:
        """Return it as reports carry it."""
        return {"path": self.path, "declared": self.declared, "shown": self.shown}


@dataclass(frozen=True, slots=True)
class Definition:
    """What the product's catalogue has of a plugin.

    Attributes:
        document: the definition, in the order of the product's keys; outside text.
        becomes: what is another thing there.
    """

    document: Mapping[str, Any]
    becomes: tuple[Becomes, ...]


def define(declaration: Any) -> Definition:
    """Return the definition of a plugin of any kind.

    Args:
        declaration: its SchemaResponse or CapabilitiesResponse.
    """
    told: list[Becomes] = []
    if declaration.DESCRIPTOR.name == "SchemaResponse":
        document = _connector(declaration, told)
    elif declaration.WhichOneof("kind") == "destination":
        document = _destination(declaration, told)
    else:
        document = _remediation(declaration, told)
    return Definition(document, tuple(told))


def _connector(schema: Any, told: list[Becomes]) -> dict[str, Any]:
    note = {"readinessNote": schema.readiness_note} if schema.readiness_note else {}
    availability = word(schema.Availability, schema.availability)
    if availability != "production_ready":
        availability = _become(told, "availability", availability, "preview")
    return {
        "provider": schema.provider,
        "name": schema.name,
        "category": _category(schema.category, CONNECTOR_CATEGORIES, told),
        "availability": availability,
        **note,
        "description": schema.description,
        "readScopes": list(schema.read_scopes),
        "remediationScopes": list(schema.remediation_scopes),
        "remediationActions": [_action(each, told) for each in schema.remediation_actions],
        "findingChecks": [
            {
                "key": check.key,
                "title": check.title
                or _become(told, f"findingChecks.{check.key}.title", "", check.key),
                "description": check.description,
                "severityHint": _hint(check, f"findingChecks.{check.key}", _CHECK_HINTS, told),
                "defaultEnabled": check.enabled_by_default,
            }
            for check in schema.checks
        ],
        "docsUrl": _link(schema.docs_url, told),
        "fields": _fields(schema.fields, told),
    }


def _destination(capabilities: Any, told: list[Becomes]) -> dict[str, Any]:
    offered = capabilities.destination
    return {
        "kind": capabilities.provider,
        "name": capabilities.name,
        "vendor": offered.vendor,
        "description": capabilities.description,
        "category": _category(offered.category, DESTINATION_CATEGORIES, told),
        "docsUrl": _link(capabilities.docs_url, told),
        "defaultStreams": _streams(offered, told),
        "fields": _fields(capabilities.fields, told),
    }


def _remediation(capabilities: Any, told: list[Becomes]) -> dict[str, Any]:
    """Return what the product has of actions; it has no definition of a remediation of its own."""
    actions, kinds = capabilities.remediation.actions, capabilities.remediation.ResponseKind
    for each in actions:
        if not is_known(kinds, each.response_kind):
            stated = word(kinds, each.response_kind)
            told.append(Becomes(f"responseActions.{each.key}", stated, _LEFT_OUT))
    return {
        "provider": capabilities.provider,
        "remediationActions": [_action(each, told) for each in actions],
        "responseActions": [
            {
                "kind": word(kinds, each.response_kind).upper(),
                "action": each.key,
                "targetTypes": list(each.target_types),
                "requiredContext": list(each.required_context),
                "dryRun": each.supports_dry_run,
                "approvalRequired": not each.approval_optional,
                "rollback": each.rollback or each.reverse_action,
            }
            for each in actions
            if each.response_kind and is_known(kinds, each.response_kind)
        ],
        "fields": _fields(capabilities.fields, told),
    }


def _streams(offered: Any, told: list[Becomes]) -> list[str]:
    """Return the streams that the product may send; it sends no other.

    A destination that names none takes all, and one that is unknown here cannot be offered.
    """
    names = list(dict.fromkeys(word(offered.Stream, stream) for stream in offered.streams))
    unknown = [name for name in names if name not in STREAMS]
    told += [Becomes("defaultStreams", name, _LEFT_OUT) for name in unknown]
    if not names:
        told.append(Becomes("defaultStreams", "none named", "all, which it takes then"))
    return [stream for name, stream in STREAMS.items() if not names or name in names]


def _link(address: str, told: list[Becomes]) -> str:
    """Return an address that a form can lead to; a browser does what another one says."""
    if not address or _WEB.match(address):
        return address
    return _become(told, "docsUrl", address, "")


def _action(action: Any, told: list[Becomes]) -> dict[str, Any]:
    at = f"remediationActions.{action.key}"
    return {
        "key": action.key,
        "label": action.label or _become(told, f"{at}.label", "", action.key),
        "description": action.description,
        "severityHint": _hint(action, at, _ACTION_HINTS, told),
    }


def _fields(fields: Iterable[Any], told: list[Becomes]) -> list[dict[str, Any]]:
    return [_field(each, told) for each in fields]


def _field(field: Any, told: list[Becomes]) -> dict[str, Any]:
    """Return one field of a form, with the keys that the product's has and no other."""
    at = f"fields.{field.key}"
    kind = word(field.Type, field.type)
    helper = field.helper
    if kind not in _FIELD_TYPES:
        shown = "password" if field.secret else "text"
        choices = list(field.options) or (["true", "false"] if kind == "boolean" else [])
        if choices:
            helper = " ".join(filter(None, [helper, f"One of: {', '.join(map(_shown, choices))}."]))
        if kind == "select" and not choices:
            told.append(Becomes(f"{at}.options", "none", "any text"))
        kind = _become(told, f"{at}.type", kind, shown)
    if field.default_json:
        helper = " ".join(filter(None, [helper, f"Without it: {field.default_json}."]))
        _become(told, f"{at}.default", field.default_json, "helper")
    if field.host_only:
        _become(told, f"{at}.host_only", "true", "absent: only the host may use it")
    return {
        "key": field.key,
        "label": field.label or _become(told, f"{at}.label", "", field.key),
        **({"placeholder": field.placeholder} if field.placeholder else {}),
        **({"helper": helper} if helper else {}),
        "type": kind,
        "required": field.required,
        "secret": field.secret,
    }


def _shown(choice: str) -> str:
    """Return a choice in a list of them; in quotes where it could be taken for two, or for none."""
    is_plain = choice and choice == choice.strip() and not set(choice) & set(',"')
    return choice if is_plain else json.dumps(choice, ensure_ascii=False)


def _hint(declared: Any, at: str, words: Mapping[str, str], told: list[Becomes]) -> str:
    from aperio_plugin.wire import common_pb2

    stated = word(common_pb2.SeverityHint, declared.severity_hint)
    if stated == "critical":
        return "CRITICAL"
    shown = words.get(stated, "MEDIUM")
    return shown if shown.lower() == stated else _become(told, f"{at}.severityHint", stated, shown)


def _category(declared: str, known: tuple[str, ...], told: list[Becomes]) -> str:
    """Return a category; the product groups by its own, and shows another as it is."""
    if declared not in known:
        told.append(Becomes("category", declared, f"none of {', '.join(known)}"))
    return declared


def _become(told: list[Becomes], path: str, declared: str, shown: str) -> str:
    if declared != shown:
        told.append(Becomes(path, declared, shown))
    return shown

"""A plugin as the product's catalogue has it: its keys, its words, what becomes another thing."""

from __future__ import annotations

from typing import Any

from aperio_plugin.wire import capabilities_pb2, common_pb2, connector_pb2

from aperio_cli.commands.host.catalog import _text
from aperio_cli.host.catalogue import Becomes, define
from tests.rows import each_row

CONNECTOR_KEYS = [
    "provider", "name", "category", "availability", "description", "readScopes",
    "remediationScopes", "remediationActions", "findingChecks", "docsUrl", "fields",
]  # fmt: skip
DESTINATION_KEYS = [
    "kind", "name", "vendor", "description", "category", "docsUrl", "defaultStreams", "fields",
]  # fmt: skip
FIELD_KEYS = {"key", "label", "placeholder", "helper", "type", "required", "secret"}


def schema(**changes: Any) -> connector_pb2.SchemaResponse:
    values: dict[str, Any] = {
        "provider": "OKTA",
        "name": "Okta",
        "category": "Identity",
        "availability": "AVAILABILITY_PRODUCTION_READY",
        "description": "Audit events of Okta",
        "docs_url": "https://example.com/okta",
        "read_scopes": ["okta.logs.read"],
        "remediation_scopes": ["okta.users.manage"],
        "fields": [
            {"key": "domain", "label": "Domain", "type": "TYPE_URL", "required": True,
             "placeholder": "https://acme.okta.com", "helper": "Your Okta address."},
            {"key": "token", "label": "Token", "type": "TYPE_PASSWORD", "secret": True},
        ],
        "checks": [
            {"key": "okta.admin_role_assigned", "title": "Admin role assigned",
             "description": "d", "severity_hint": "SEVERITY_HINT_CRITICAL",
             "enabled_by_default": True},
        ],
        "remediation_actions": [
            {"key": "okta.suspend_user", "label": "Suspend", "description": "d",
             "severity_hint": "SEVERITY_HINT_HIGH"},
        ],
    }  # fmt: skip
    return connector_pb2.SchemaResponse(**(values | changes))


def field(**values: Any) -> common_pb2.ConfigField:
    return common_pb2.ConfigField(**({"key": "f", "label": "F", "type": "TYPE_TEXT"} | values))


def test_a_connector_that_the_products_form_holds_is_told_exactly() -> None:
    defined = define(schema())

    assert defined.becomes == ()
    assert list(defined.document) == CONNECTOR_KEYS
    assert defined.document["fields"] == [
        {
            "key": "domain", "label": "Domain", "placeholder": "https://acme.okta.com",
            "helper": "Your Okta address.", "type": "url", "required": True, "secret": False,
        },
        {"key": "token", "label": "Token", "type": "password", "required": False, "secret": True},
    ]  # fmt: skip
    assert defined.document["findingChecks"] == [
        {
            "key": "okta.admin_role_assigned", "title": "Admin role assigned",
            "description": "d", "severityHint": "CRITICAL", "defaultEnabled": True,
        }
    ]  # fmt: skip
    assert defined.document["remediationActions"][0]["severityHint"] == "HIGH"
    assert defined.document["availability"] == "production_ready"


def test_a_preview_says_why_it_is_one() -> None:
    preview = schema(availability="AVAILABILITY_PREVIEW", readiness_note="No paging yet.")

    found = define(preview)

    assert found.document["availability"] == "preview"
    assert found.document["readinessNote"] == "No paging yet."
    assert "availability" not in [told.path for told in found.becomes]
    assert [key for key in found.document if key != "readinessNote"] == CONNECTOR_KEYS


@each_row(
    ("declared", "type_", "helper", "becomes"),
    [
        (field(type="TYPE_SELECT", options=["eu", "us"], helper="Where."), "text",
         "Where. One of: eu, us.", [("type", "select", "text")]),
        (field(type="TYPE_SELECT", options=["a, b", "c", "", "ü"]), "text",
         'One of: "a, b", c, "", ü.', [("type", "select", "text")]),
        (field(type="TYPE_BOOLEAN", default_json="true"), "text",
         "One of: true, false. Without it: true.",
         [("type", "boolean", "text"), ("default", "true", "helper")]),
        (field(type="TYPE_NUMBER"), "text", None, [("type", "number", "text")]),
        (field(type="TYPE_SELECT"), "text", None,
         [("options", "none", "any text"), ("type", "select", "text")]),
        (field(type=77, secret=True), "password", None, [("type", "unknown_77", "password")]),
        (field(host_only=True), "text", None,
         [("host_only", "true", "absent: only the host may use it")]),
    ],
)  # fmt: skip
def test_what_the_form_lacks_becomes_the_nearest_and_is_told(
    declared: common_pb2.ConfigField,
    type_: str,
    helper: str | None,
    becomes: list[tuple[str, str, str]],
) -> None:
    defined = define(schema(fields=[declared]))

    (shown,) = defined.document["fields"]
    assert (shown["type"], shown.get("helper")) == (type_, helper)
    assert set(shown) <= FIELD_KEYS
    assert defined.becomes == tuple(
        Becomes(f"fields.f.{key}", said, now) for key, said, now in becomes
    )


@each_row(
    ("hint", "check", "action"),
    [
        ("SEVERITY_HINT_INFO", "LOW", "MEDIUM"),
        ("SEVERITY_HINT_LOW", "LOW", "MEDIUM"),
        ("SEVERITY_HINT_MEDIUM", "MEDIUM", "MEDIUM"),
        ("SEVERITY_HINT_HIGH", "HIGH", "HIGH"),
        ("SEVERITY_HINT_CRITICAL", "CRITICAL", "CRITICAL"),
        (77, "MEDIUM", "MEDIUM"),
    ],
)
def test_a_hint_is_one_of_the_products(hint: Any, check: str, action: str) -> None:
    defined = define(
        schema(
            checks=[{"key": "a.b", "severity_hint": hint}],
            remediation_actions=[{"key": "a.c", "severity_hint": hint}],
        )
    )

    assert defined.document["findingChecks"][0]["severityHint"] == check
    assert defined.document["remediationActions"][0]["severityHint"] == action


def test_a_category_of_ones_own_is_shown_and_told() -> None:
    defined = define(schema(category="collaboration"))

    assert defined.document["category"] == "collaboration"
    assert [(each.path, each.declared) for each in defined.becomes] == [
        ("category", "collaboration")
    ]


def test_a_destination_names_the_streams_as_the_product_does() -> None:
    declared = capabilities_pb2.CapabilitiesResponse(
        provider="SPLUNK_HEC", name="Splunk", description="d", docs_url="https://example.com",
        fields=[field(key="token", type="TYPE_PASSWORD", secret=True)],
    )  # fmt: skip
    declared.destination.vendor = "Splunk"
    declared.destination.category = "Cloud SIEM"
    offered = declared.destination
    offered.streams.extend([offered.STREAM_FINDING, offered.STREAM_EVENT, offered.STREAM_AUDIT_LOG])

    defined = define(declared)

    assert list(defined.document) == DESTINATION_KEYS
    assert defined.document["defaultStreams"] == ["FINDINGS", "EVENTS", "AUDIT_LOGS"]
    assert (defined.document["kind"], defined.becomes) == ("SPLUNK_HEC", ())


def test_streams_are_those_that_the_product_may_send() -> None:
    declared = capabilities_pb2.CapabilitiesResponse(provider="X", name="X")
    offered = declared.destination
    offered.category = "Generic"
    every = ["FINDINGS", "EVENTS", "AUDIT_LOGS"]

    defined = define(declared)  # it names none, and is handed all
    assert defined.document["defaultStreams"] == every
    assert [(each.path, each.declared) for each in defined.becomes] == [
        ("defaultStreams", "none named")
    ]
    numbers: Any = [offered.STREAM_AUDIT_LOG, 9, offered.STREAM_EVENT, 9, offered.STREAM_EVENT]
    offered.streams.extend(numbers)
    defined = define(declared)
    assert defined.document["defaultStreams"] == ["EVENTS", "AUDIT_LOGS"]
    assert [(each.path, each.declared) for each in defined.becomes] == [
        ("defaultStreams", "unknown_9")
    ]


@each_row(
    ("address", "is_kept"),
    [
        ("https://docs.example.com/okta?x=1#y", True),
        ("HTTP://docs.example.com", True),
        ("", True),
        ("javascript:alert(1)", False),
        (" https://docs.example.com", False),
        ("data:text/html,x", False),
        ("https:///etc/passwd", False),
        ("docs.example.com", False),
    ],
)
def test_a_link_leads_into_the_web_or_nowhere(address: str, *, is_kept: bool) -> None:
    defined = define(schema(docs_url=address))

    assert defined.document["docsUrl"] == (address if is_kept else "")
    told = [Becomes("docsUrl", address, "")]
    assert list(defined.becomes) == ([] if is_kept else told)


def test_what_has_no_label_is_shown_by_its_key() -> None:
    critical = {"severity_hint": "SEVERITY_HINT_CRITICAL"}
    defined = define(
        schema(
            fields=[field(label="")],
            checks=[{"key": "a.b", **critical}],
            remediation_actions=[{"key": "a.c", **critical}],
        )
    )

    assert defined.document["fields"][0]["label"] == "f"
    assert defined.document["findingChecks"][0]["title"] == "a.b"
    assert defined.document["remediationActions"][0]["label"] == "a.c"
    assert set(defined.becomes) == {
        Becomes("fields.f.label", "", "f"),
        Becomes("findingChecks.a.b.title", "", "a.b"),
        Becomes("remediationActions.a.c.label", "", "a.c"),
    }


def test_a_remediation_tells_its_actions_with_the_products_kinds() -> None:
    declared = capabilities_pb2.CapabilitiesResponse(provider="OKTA", name="Okta")
    declared.remediation.actions.add(
        key="okta.suspend_user", label="Suspend", severity_hint="SEVERITY_HINT_HIGH",
        target_types=["user"], response_kind="RESPONSE_KIND_SUSPEND_USER",
        required_context=["login"], supports_dry_run=True, reverse_action="okta.resume_user",
    )  # fmt: skip
    declared.remediation.actions.add(key="okta.other", label="Other", response_kind=77)

    defined = define(declared)
    document = defined.document

    assert [(each.path, each.declared) for each in defined.becomes] == [
        ("responseActions.okta.other", "unknown_77"),
        ("remediationActions.okta.other.severityHint", "unspecified"),
    ]
    assert document["responseActions"] == [
        {
            "kind": "SUSPEND_USER", "action": "okta.suspend_user", "targetTypes": ["user"],
            "requiredContext": ["login"], "dryRun": True, "approvalRequired": True,
            "rollback": "okta.resume_user",
        }
    ]  # fmt: skip
    assert [each["key"] for each in document["remediationActions"]] == [
        "okta.suspend_user",
        "okta.other",
    ]


def test_a_plugin_that_cannot_be_asked_says_why_in_lines_of_its_own() -> None:
    row = {"plugin": "acme/box", "version": "1.0.0", "badge": "local", "kind": "connector"}
    problem = {"code": "plugin-contract-broken", "what": "it broke", "why": "`a` twice\nb\x1b[2J"}

    shown = _text([{**row, "definition": None, "problem": problem}])

    assert shown.endswith(
        "acme/box: it broke (plugin-contract-broken)\n  `a` twice\n  b\N{REPLACEMENT CHARACTER}[2J"
    )

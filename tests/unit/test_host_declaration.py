"""What a host makes of a declaration: refused, or with the client's secret withheld."""

from __future__ import annotations

from typing import Any

import pytest
from aperio_plugin._generated.aperio.plugin.v1 import capabilities_pb2, common_pb2, connector_pb2

from aperio_cli.errors.running import PluginContractBroken
from aperio_cli.host.calls.declaration import settle
from aperio_cli.host.wire.channel import Calls
from tests.rows import each_row, for_rows


async def no_crash() -> None:
    """Nothing is called here, so nothing ends."""


Response = connector_pb2.SchemaResponse | capabilities_pb2.CapabilitiesResponse
OAUTH2 = common_pb2.Auth(
    oauth2=common_pb2.Auth.OAuth2(
        token_url="{base_url}/token", client_id_field="id", client_secret_field="key"
    )
)
API_KEY = common_pb2.Auth(api_key=common_pb2.Auth.ApiKey(field="key"))


def fields(*keys: str) -> list[common_pb2.ConfigField]:
    return [common_pb2.ConfigField(key=key, type="TYPE_TEXT") for key in keys]


def schema(*keys: str, auth: common_pb2.Auth) -> connector_pb2.SchemaResponse:
    return connector_pb2.SchemaResponse(provider="BOX", fields=fields(*keys), auth=auth)


def settled(declaration: Response) -> list[str]:
    """The keys that only the host may use, once the declaration was settled."""
    method = "Schema" if isinstance(declaration, connector_pb2.SchemaResponse) else "Capabilities"
    calls: Any = Calls(None, "`acme/box` 1.2.0", no_crash)  # type: ignore[arg-type] # unused
    settle(calls, method, declaration, "BOX")
    assert all(field.secret for field in declaration.fields if field.host_only)
    return [field.key for field in declaration.fields if field.host_only]


@each_row(("auth", "withheld"), [(OAUTH2, ["key"]), (API_KEY, []), (common_pb2.Auth(), [])])
def test_only_the_secret_of_a_client_is_withheld(
    auth: common_pb2.Auth, withheld: list[str]
) -> None:
    assert settled(schema("base_url", "id", "key", auth=auth)) == withheld


def test_the_secret_is_withheld_from_every_kind() -> None:
    declared = capabilities_pb2.CapabilitiesResponse(
        provider="BOX", fields=fields("base_url", "id", "key"), auth=OAUTH2
    )

    assert settled(declared) == ["key"]


def client(**changes: str) -> common_pb2.Auth:
    made = common_pb2.Auth()
    made.CopyFrom(OAUTH2)
    for name, value in changes.items():
        setattr(made.oauth2, name, value)
    return made


def catalogued(**parts: Any) -> connector_pb2.SchemaResponse:
    """A schema that says more of itself, with two settings, of which `pin` is secret."""
    made = connector_pb2.SchemaResponse(provider="BOX", fields=fields("tenant", "pin"), **parts)
    made.fields[1].secret = True
    return made


def mapping(ours: str, theirs: str) -> connector_pb2.EventMapping:
    return connector_pb2.EventMapping(event_type=ours, product_event_type=theirs)


@each_row(
    "parts",
    [
        {"interface": {"features": ["backfill", "from-a-newer-version", "\x1b[2J", ""]}},
        {"streams": [{"name": "admin_logs"}, {"name": "2-x"}], "account_id_field": "tenant"},
        {"interface": {"features": ["streams", "event-types"]}, "streams": [{"name": "a"}],
         "event_types": ["box.a"]},
        {"event_mappings": [mapping("A", "X"), mapping("B", "X")]},
        {"checks": [{"key": "ms365.c"}], "remediation_actions": [{"key": "google.c"}]},
    ],
)  # fmt: skip
def test_a_declaration_may_say_what_it_reads_and_what_a_newer_version_knows(
    parts: dict[str, Any],
) -> None:
    assert settled(catalogued(**parts)) == []


@for_rows(
    [
        (catalogued(streams=[{"name": "Logs"}]), "stream 'Logs' is not"),
        (catalogued(streams=[{"name": "\x1b[2J"}]), "stream '\\x1b[2J' is not"),
        (catalogued(streams=[{"name": "a"}, {"name": "a"}]), "stream 'a' is declared twice"),
        (catalogued(interface={"features": ["streams"]}), "`streams` needs"),
        (catalogued(interface={"features": ["event-types"]}), "`event-types` needs"),
        (catalogued(account_id_field="none"), "account_id_field names 'none', which is not"),
        (catalogued(account_id_field="pin"), "account_id_field names 'pin', which is secret"),
        (catalogued(event_mappings=[mapping("", "X")]), "an event type has 1 to 128"),
        (catalogued(event_mappings=[mapping("A", "")]), "event type has 1 to 120 bytes"),
        (catalogued(event_mappings=[mapping("A", "X")] * 2), "'A' is declared twice"),
        (catalogued(checks=[{"key": "c"}]), "check 'c': a key is a prefix"),
        (catalogued(remediation_actions=[{"key": "x.a"}] * 2), "action 'x.a' is declared twice"),
        (schema("id", "key", "id", auth=API_KEY), "`id` is declared 2 times"),
        (schema("id", auth=API_KEY), "auth names `key`, which is no setting"),
        (schema("id", auth=OAUTH2), "auth names `key`, which is no setting"),
        (schema("key", auth=OAUTH2), "auth names `id`, which is no setting"),
        (schema("id", "key", auth=client(client_secret_field="")), "auth names ``"),
        (schema("id", "key", auth=client(client_id_field="key")), "`key` for both"),
        (schema("id", "key", auth=client(token_url="https://x/{key}")), "token_url has the secret"),
        (schema("id", "key", auth=client(authorize_url="https://x/?{key}")), "authorize_url has"),
    ]
)
def test_a_declaration_that_makes_no_sense_breaks_the_interface(
    declaration: Response, why: str
) -> None:
    with pytest.raises(PluginContractBroken) as caught:
        settled(declaration)

    assert why in caught.value.why


def test_any_secret_in_an_address_breaks_the_interface() -> None:
    declared = schema("id", "key", "pin", auth=client(token_url="https://x/{pin}"))
    settled(declared)
    declared.fields[2].secret = True

    with pytest.raises(PluginContractBroken, match="Schema") as caught:
        settled(declared)

    assert caught.value.why == "auth's token_url has the secret `pin` in it"


@pytest.mark.parametrize(("keys", "is_refused"), [(["a", "b"], False), (["a", "a"], True)])
def test_parameters_of_an_action_have_keys_of_their_own(
    keys: list[str], *, is_refused: bool
) -> None:
    declared = capabilities_pb2.CapabilitiesResponse(provider="BOX", fields=fields("a"))
    declared.remediation.actions.add(key="box.x", parameters=fields(*keys))
    if not is_refused:
        assert settled(declared) == []
        return

    with pytest.raises(PluginContractBroken) as caught:
        settled(declared)

    assert caught.value.why == "box.x: `a` is declared 2 times"


@each_row("key", ["", "../../x", "a b", "Key", "1st", "a\x1b[31m", "k" * 65])
def test_a_key_that_is_none_is_refused(key: str) -> None:
    declared = capabilities_pb2.CapabilitiesResponse(provider="BOX", fields=fields("a_1", "k" * 64))
    assert settled(declared) == []
    declared.fields.add(key=key)

    with pytest.raises(PluginContractBroken, match="Capabilities") as caught:
        settled(declared)

    assert "lower-case letters, digits, underscores" in caught.value.why
    assert "\x1b" not in caught.value.why


def test_an_action_that_is_declared_twice_is_refused() -> None:
    declared = capabilities_pb2.CapabilitiesResponse(provider="BOX")
    declared.remediation.actions.add(key="box.x")
    assert settled(declared) == []
    declared.remediation.actions.add(key="box.x", label="another")

    with pytest.raises(PluginContractBroken) as caught:
        settled(declared)

    assert caught.value.why == "action `box.x` is declared 2 times"


def test_a_plugin_cannot_forge_lines_of_ours_with_its_keys() -> None:
    with pytest.raises(PluginContractBroken) as caught:
        settled(schema("a\n  next  trust me", "a\n  next  trust me", auth=common_pb2.Auth()))

    assert len(caught.value.why.splitlines()) == 3  # it is there twice, and is no key either time
    assert all(line.startswith("`a   next") for line in caught.value.why.splitlines())


DEFAULTS_THAT_FIT = [
    ("TYPE_TEXT", '"text"'),
    ("TYPE_TEXT", '""'),
    ("TYPE_URL", '"https://api.box.com"'),
    ("TYPE_URL", '""'),
    ("TYPE_SELECT", '"eu"'),
    ("TYPE_NUMBER", "-1.5e3"),
    ("TYPE_BOOLEAN", "false"),
    (77, '{"of a newer": ["minor version"]}'),
]
DEFAULTS_THAT_BREAK = [
    ("TYPE_TEXT", "[" * 100_000),
    ("TYPE_TEXT", '"\\ud83d"'),
    ("TYPE_TEXT", "text"),
    ("TYPE_TEXT", "1"),
    ("TYPE_TEXT", "null"),
    ("TYPE_TEXT", '"two\\nlines"'),
    ("TYPE_PASSWORD", "true"),
    ("TYPE_URL", '"ftp://api.box.com"'),
    ("TYPE_SELECT", '"asia"'),
    ("TYPE_SELECT", '""'),
    ("TYPE_NUMBER", "NaN"),
    ("TYPE_NUMBER", "1e999"),
    ("TYPE_NUMBER", '"7"'),
    ("TYPE_NUMBER", "9" * 5000),
    ("TYPE_BOOLEAN", '"true"'),
    ("TYPE_BOOLEAN", "0"),
    (77, "NaN"),
    (77, '{"a": 1, "a": 2}'),
]


def defaulted(type_: str | int, default: str) -> list[common_pb2.ConfigField]:
    options = ["eu", "us"] if type_ == "TYPE_SELECT" else []
    made: Any = common_pb2.ConfigField(key="k", type=type_, default_json=default, options=options)  # type: ignore[arg-type] # protobuf takes numbers, too
    return [made]


@each_row(("type_", "default"), DEFAULTS_THAT_FIT)
def test_a_default_of_its_fields_type_is_taken(type_: str | int, default: str) -> None:
    assert (
        settled(connector_pb2.SchemaResponse(provider="BOX", fields=defaulted(type_, default)))
        == []
    )


@for_rows(DEFAULTS_THAT_BREAK)
def test_a_default_that_is_none_of_its_field_breaks_the_interface(
    type_: str | int, default: str
) -> None:
    fields = defaulted(type_, default)
    acting = capabilities_pb2.CapabilitiesResponse(provider="BOX")
    acting.remediation.actions.add(key="box.x", parameters=fields)
    for declared in (connector_pb2.SchemaResponse(provider="BOX", fields=fields), acting):
        with pytest.raises(PluginContractBroken) as caught:
            settled(declared)
        assert "`k`: the plugin's own default " in caught.value.why

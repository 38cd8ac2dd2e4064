"""What a plugin brings along is compared with what its manifest declares."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
from aperio_plugin.wire import common_pb2, connector_pb2

from aperio_cli.accepting.declaring import DECLARING
from aperio_cli.accepting.verdicts import CheckFailed
from aperio_cli.errors.building import EgressOperatorOnly, ManifestInvalid
from aperio_cli.models import egress
from aperio_cli.models.manifest import Manifest
from tests.builders import manifest, manifest_document, table
from tests.rows import each_row, for_each

RULES = ["api.box.com:443", "*.boxcloud.com:8443"]
FROM_CONFIG = [{"field": "site", "suffix": ".okta.com", "port": "443"}]


def a_manifest() -> Manifest:
    return manifest(permissions={"egress": RULES, "egress_from_config": FROM_CONFIG})


def answer(*fields: common_pb2.ConfigField, token_url: str = "") -> Any:
    made = connector_pb2.SchemaResponse(provider="BOX", name="Box", fields=fields)
    made.auth.oauth2.token_url = token_url
    return made


def field(default: str, kind: str = "TYPE_URL", **more: Any) -> common_pb2.ConfigField:
    return common_pb2.ConfigField(key="site", type=kind, default_json=default, **more)


def examine(declaration: Any) -> str:
    bench: Any = SimpleNamespace(
        declaration=declaration, program=SimpleNamespace(manifest=a_manifest())
    )
    (check,) = (check for check in DECLARING if check.key == "egress")

    async def run() -> str:
        return await check.run(bench)

    return asyncio.run(run())


@for_each(
    [
        answer(),
        answer(field("")),
        answer(field('""')),
        answer(field('"https://api.box.com"')),
        answer(field('"HTTPS://API.Box.com:443/2.0?x=y"')),
        answer(field('"https://eu.boxcloud.com:8443"')),
        answer(field('"https://elsewhere.test"', "TYPE_TEXT")),
        answer(field("", "TYPE_SELECT", options=["eu", "https://api.box.com"])),
        answer(token_url="https://api.box.com/oauth2/token"),
        answer(token_url="{site}/oauth2/token"),
        answer(token_url="https://{site}/oauth2/token"),
    ]
)
def test_declared_addresses_pass(declaration: Any) -> None:
    assert "declared host" in examine(declaration)


@each_row(
    ("declaration", "seen"),
    [
        (
            answer(field('"https://api.box.com.elsewhere.test"')),
            "elsewhere.test:443, which is not declared",
        ),
        (answer(field('"http://api.box.com"')), "api.box.com:80"),
        (answer(field('"https://api.box.com:444"')), "api.box.com:444"),
        (answer(field('"https://boxcloud.com:8443"')), "boxcloud.com:8443"),
        (answer(field('"https://ada@elsewhere.test"')), "elsewhere.test:443"),
        (answer(field('"http://localhost:8080"')), "localhost:8080, which only an operator may"),
        (answer(field('"http://127.0.0.1:8080"')), "127.0.0.1:8080, which only an operator may"),
        (answer(field('"https://vault.corp.internal"')), "internal:443, which only an operator"),
        (answer(token_url="login.box.com/token"), "is no http or https address"),
        (answer(field("", "TYPE_SELECT", options=["https://us.test"])), "us.test:443"),
        (answer(token_url="https://login.box.com/token"), "auth: token_url leads to login.box.com"),
    ],
)
def test_other_addresses_fail(declaration: Any, seen: str) -> None:
    with pytest.raises(CheckFailed) as caught:
        examine(declaration)
    assert seen in str(caught.value)
    assert "declares api.box.com:443" in str(caught.value)


def test_a_host_of_the_operators_counts_when_it_is_the_default_too() -> None:
    assert egress.permits(a_manifest(), "acme.okta.com", 443, {"site": "acme.okta.com"})
    assert not egress.permits(a_manifest(), "acme.okta.com", 443, {})
    assert not egress.permits(a_manifest(), "acme.okta.com", 80, {"site": "acme.okta.com"})


@each_row(
    "host",
    [
        "example.com", "api.example.com", "*.example.org", "hooks.example.net", ".example.com",
        "api.acme.example", "service.test", "x.invalid", "app.localhost",
    ],
)  # fmt: skip
def test_names_for_examples_are_known(host: str) -> None:
    assert egress.is_reserved(host)


@each_row(
    "host",
    ["api.box.com", "example.io", "myexample.com", "test.acme.io", "127.0.0.1", "example.com.au"],
)
def test_other_names_are_not_taken_for_examples(host: str) -> None:
    assert not egress.is_reserved(host)


PLACES_OF_OPERATORS = [
    "10.0.0.1:443", "93.184.216.34:443", "127.0.0.1:8080", "169.254.169.254:80", "0x7f.1:443",
    "0177.0.0.1:443", "127.1:80", "1.2.3.4.5:443", "2130706433:443", "0x7f000001:443",
    "10.0.0.1.:443", "[::1]:443", "::1:443", "[::ffff:127.0.0.1]:443", "[fd00::1%25eth0]:443",
    "localhost:443", "intranet:443", "Localhost:443", "app.localhost:443",
    "localhost.localdomain:80",
    "printer.local:631", "*.corp.internal:443", "metadata.google.internal:80", "nas.home.arpa:443",
    "kubernetes.default.svc.cluster.local:443", "router.lan:80", "hidden.onion:443",
]  # fmt: skip


def a_file(**permissions: Any) -> bytes:
    return json.dumps(manifest_document(permissions=permissions)).encode()


@each_row("rule", PLACES_OF_OPERATORS)
def test_no_manifest_asks_for_what_only_an_operator_opens(rule: str) -> None:
    with pytest.raises(EgressOperatorOnly) as caught:
        Manifest.parse(a_file(egress=["api.box.com:443", rule]))
    assert rule in caught.value.why
    assert "api.box.com" not in caught.value.why
    assert "grant PLUGIN --own" in "".join(caught.value.next)


@each_row("suffix", [".corp.internal", ".0.1", ".home.arpa", ".svc.local", ".a.0x1"])
def test_no_setting_is_held_to_what_only_an_operator_opens(suffix: str) -> None:
    with pytest.raises(EgressOperatorOnly) as caught:
        Manifest.parse(a_file(egress_from_config=[FROM_CONFIG[0] | {"suffix": suffix}]))
    assert suffix in caught.value.why


@each_row(
    "rule",
    [
        "api.box.com:443", "*.boxcloud.com:8443", "10.0.0.1.nip.io:443", "localhost.io:443",
        "local.box.com:443", "internal.io:443", "1.box.com:443", "0x1.io:443", "lan.party:80",
    ],
)  # fmt: skip
def test_a_name_that_everybody_reaches_may_be_asked_for(rule: str) -> None:
    assert Manifest.parse(a_file(egress=[rule])).egress == (rule,)


@each_row("rule", ["*:443", "api.box.com", "api.box.com:0", "ada@10.0.0.1:443", ":1"])
def test_what_is_no_place_at_all_is_told_as_that(rule: str) -> None:
    with pytest.raises(ManifestInvalid) as caught:
        Manifest.parse(a_file(egress=[rule]))
    assert caught.value.code == "manifest-invalid"


@pytest.mark.parametrize("rule", ["10.0.0.1:443", "vault.corp.internal:443"])
def test_a_record_of_before_is_read_and_opens_no_such_place(rule: str) -> None:
    """Its plugin stays installed; the host does not send the client's secret there, either."""
    host, port = egress.split_rule(rule)
    stated = manifest_document(permissions={"egress": [rule, "api.box.com:443"]})
    kept = Manifest.from_record(table({"manifest": stated}))
    assert kept.egress == (rule, "api.box.com:443")
    assert not egress.permits(kept, host, port, {})
    assert egress.permits(kept, "api.box.com", 443, {})

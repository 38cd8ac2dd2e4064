"""What a plugin brings along is compared with what its manifest declares."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from aperio_plugin.wire import common_pb2, connector_pb2

from aperio_cli.accepting.declaring import DECLARING
from aperio_cli.accepting.verdicts import CheckFailed
from aperio_cli.models import egress
from tests.builders import manifest

if TYPE_CHECKING:
    from aperio_cli.models.manifest import Manifest

RULES = ["api.box.com:443", "*.boxcloud.com:8443", "127.0.0.1:8080"]
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


@pytest.mark.parametrize(
    "declaration",
    [
        answer(),
        answer(field("")),
        answer(field('""')),
        answer(field('"https://api.box.com"')),
        answer(field('"HTTPS://API.Box.com:443/2.0?x=y"')),
        answer(field('"https://eu.boxcloud.com:8443"')),
        answer(field('"http://127.0.0.1:8080"')),
        answer(field('"https://elsewhere.test"', "TYPE_TEXT")),
        answer(field("", "TYPE_SELECT", options=["eu", "https://api.box.com"])),
        answer(token_url="https://api.box.com/oauth2/token"),
        answer(token_url="{site}/oauth2/token"),
        answer(token_url="https://{site}/oauth2/token"),
    ],
)
def test_declared_addresses_pass(declaration: Any) -> None:
    assert "declared host" in examine(declaration)


@pytest.mark.parametrize(
    ("declaration", "seen"),
    [
        (answer(field('"https://api.box.com.elsewhere.test"')), "api.box.com.elsewhere.test:443"),
        (answer(field('"http://api.box.com"')), "api.box.com:80"),
        (answer(field('"https://api.box.com:444"')), "api.box.com:444"),
        (answer(field('"https://boxcloud.com:8443"')), "boxcloud.com:8443"),
        (answer(field('"https://ada@elsewhere.test"')), "elsewhere.test:443"),
        (answer(field('"http://localhost:8080"')), "localhost:8080"),
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


@pytest.mark.parametrize(
    "host",
    [
        "example.com", "api.example.com", "*.example.org", "hooks.example.net", ".example.com",
        "api.acme.example", "service.test", "x.invalid", "app.localhost",
    ],
)  # fmt: skip
def test_names_for_examples_are_known(host: str) -> None:
    assert egress.is_reserved(host)


@pytest.mark.parametrize(
    "host",
    ["api.box.com", "example.io", "myexample.com", "test.acme.io", "127.0.0.1", "example.com.au"],
)
def test_other_names_are_not_taken_for_examples(host: str) -> None:
    assert not egress.is_reserved(host)

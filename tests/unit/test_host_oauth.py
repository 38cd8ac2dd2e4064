"""Where the host sends a client's secret, and what it makes of the answers."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aperio_plugin._generated.aperio.plugin.v1 import common_pb2

from aperio_cli import clock
from aperio_cli.errors.running import (
    PluginConfigInvalid,
    TokenRefused,
    TokenUnavailable,
    TokenUrlRefused,
)
from aperio_cli.host.calls.configuration import CheckedConfig
from aperio_cli.host.grants import oauth
from aperio_cli.host.grants.oauth import TokenRequest, obtain_token, token_request
from aperio_cli.host.process.program import Program
from aperio_cli.models.grant import OwnRule
from tests.builders import manifest
from tests.rows import each_row, for_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

PERMISSIONS = {
    "egress": ["api.box.com:443", "*.boxcloud.com:8443"],
    "egress_from_config": [{"field": "domain", "suffix": ".okta.com", "port": "443"}],
}
PROGRAM = Program(
    "`acme/box` 1.2.0",
    "acme/box",
    "1.2.0",
    "connector",
    "BOX",
    ("/bin/true",),
    Path("/bin/true"),
    manifest(permissions=PERMISSIONS),
    "acme/box",
)
SECRETS = {"client_id": "me", "client_secret": "hunter2"}


def request(
    token_url: str, *, defaults: dict[str, Any] | None = None, **given: Any
) -> TokenRequest:
    auth = common_pb2.Auth.OAuth2(
        token_url=token_url,
        scopes=["read", "audit"],
        client_id_field="client_id",
        client_secret_field="client_secret",
        token_parameters={"box_subject_id": "{enterprise}"},
    )
    values = {"enterprise": 42} | SECRETS | given | (defaults or {})
    config = CheckedConfig(values, b"{}", frozenset(given))
    return token_request(auth, config, PROGRAM)


# ── where to ──────────────────────────────────────────────────────────────────────────────────────


@each_row(
    ("url", "given"),
    [
        ("https://api.box.com/oauth2/token", {}),
        ("https://API.box.com:443/oauth2/token", {}),
        ("https://eu.boxcloud.com:8443/token", {}),
        ("{base_url}/oauth2/token", {"base_url": "https://api.box.com"}),
        ("https://{domain}/oauth2/token", {"domain": "acme.okta.com"}),
    ],
)
def test_an_address_that_the_manifest_permits_is_used(url: str, given: dict[str, Any]) -> None:
    made = request(url, **given)

    assert made.url.lower().startswith("https://")
    assert not made.is_local


def test_a_host_that_the_operator_opened_is_permitted(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = replace(PROGRAM, own_rules=(OwnRule("login.corp.example:8443"),))
    monkeypatch.setitem(globals(), "PROGRAM", opened)
    assert request("https://login.corp.example:8443/token").url
    with pytest.raises(TokenUrlRefused):
        request("https://login.corp.example/token")


@for_rows(
    [
        ("http://api.box.com/token", {}),
        ("https://api.box.com:8443/token", {}),
        ("https://boxcloud.com:8443/token", {}),
        ("https://evilboxcloud.com:8443/token", {}),
        ("https://api.box.com.evil.com/token", {}),
        ("https://api.box.com@evil.com/token", {}),
        ("https://evil.com#api.box.com", {}),
        ("https://evil.com\\@api.box.com/", {}),
        ("{base_url}/token", {"base_url": "https://evil.com"}),
        ("{base_url}/token", {"base_url": "http://192.0.2.1"}),
        ("{base_url}/token", {"base_url": "http://127.0.0.1.evil.com"}),
        ("{base_url}/token", {"base_url": "http://2130706433"}),
        ("{base_url}/token", {"base_url": "http://localhost.:8080"}),
        ("{base_url}/token", {"base_url": "https://[::ffff:127.0.0.1]"}),
        ("{base_url}/token", {"base_url": "file:///etc"}),
        ("https://{domain}/token", {"domain": "evil.com/.okta.com"}),
        ("https://{domain}/token", {"domain": "evil.com"}),
        ("https://{other}/token", {"other": "acme.okta.com"}),
        ("http://127.0.0.1:8080/token", {}),
        ("http://localhost/{enterprise}", {}),
        ("{scheme}://127.0.0.1:5432/token", {"scheme": "http"}),
        ("{base_url}:5432/token", {"base_url": "http://127.0.0.1"}),
        ("{base_url}5432/token", {"base_url": "http://127.0.0.1:1"}),
        ("https://[::1/token", {}),
        ("https://api.box.com:port/token", {}),
        ("", {}),
    ]
)
def test_any_other_address_is_refused_before_anything_is_sent(
    url: str, given: dict[str, Any]
) -> None:
    with pytest.raises(TokenUrlRefused) as caught:
        request(url, **given)

    assert (caught.value.code, caught.value.exit_status) == ("token-url-refused", 3)
    assert "api.box.com:443" in caught.value.why
    assert "hunter2" not in json.dumps(caught.value.to_json())


@each_row(
    "base",
    ["http://127.0.0.1:8080", "http://localhost:1", "http://[::1]:8080", "https://127.0.0.2"],
)
def test_this_machine_may_be_asked_when_the_operator_names_it(base: str) -> None:
    assert request("{base_url}/token", base_url=base).is_local


def test_a_default_of_the_plugin_cannot_name_this_machine() -> None:
    with pytest.raises(TokenUrlRefused):
        request("{base_url}/token", defaults={"base_url": "http://127.0.0.1:8080"})


# ── what is sent ──────────────────────────────────────────────────────────────────────────────────


def test_the_form_has_the_grant_the_client_the_scopes_and_the_parameters() -> None:
    made = request("https://api.box.com/oauth2/token")

    assert made.form == {
        "grant_type": "client_credentials",
        "client_id": "me",
        "client_secret": "hunter2",
        "scope": "read audit",
        "box_subject_id": "42",
    }
    assert "hunter2" not in repr(made)


@pytest.mark.parametrize("key", ["client_secret", "enterprise"])
def test_a_setting_that_the_grant_needs_is_named_when_it_is_missing(key: str) -> None:
    with pytest.raises(PluginConfigInvalid, match=f"`{key}` of"):
        request("https://api.box.com/oauth2/token", defaults={key: ""})


# ── what comes back ───────────────────────────────────────────────────────────────────────────────


@contextmanager
def server(status: int, body: bytes, headers: dict[str, str] | None = None) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{made.server_address[1]}"
        finally:
            made.shutdown()


def answered(status: int, body: bytes, headers: dict[str, str] | None = None) -> Any:
    with server(status, body, headers) as url:
        return asyncio.run(obtain_token(request("{base_url}/token", base_url=url), PROGRAM))


def test_a_token_comes_with_its_end() -> None:
    token = answered(200, b'{"access_token": "t0ken", "expires_in": 3600}')

    assert token.value == "t0ken"
    assert abs(token.expires_at - clock.now() - timedelta(hours=1)) < timedelta(seconds=10)
    assert "t0ken" not in repr(token)


@each_row("expires", [b"null", b'"soon"', b"-1", b"1e300", b"true"])
def test_a_lifetime_that_is_none_leaves_the_end_unknown(expires: bytes) -> None:
    token = answered(200, b'{"access_token": "t", "expires_in": %s}' % expires)

    assert token.value == "t"
    assert token.expires_at is None


@each_row(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"access_token": "t", "expires_in": 1e400}',
        b'{"access_token": "t", "access_token": "t"}',
        b'{"access_token": 5}',
        b'{"access_token": ""}',
        b'{"access_token": "a\\r\\nX: y"}',
        b'{"access_token": "\\u00e9"}',
        b'{"access_token": "t", "x": "' + b"x" * 100_000 + b'"}',
        b"[" * 50_000,
    ],
)
def test_an_answer_without_a_usable_token_is_unavailable(body: bytes) -> None:
    with pytest.raises(TokenUnavailable, match="did not answer usefully") as caught:
        answered(200, body)

    assert caught.value.exit_status == 4


@each_row("status", [408, 425, 429, 500, 503])
def test_a_server_in_trouble_is_unavailable(status: int) -> None:
    with pytest.raises(TokenUnavailable) as caught:
        answered(status, b"")

    assert f"status {status}" in caught.value.why


@each_row(
    ("status", "body", "shown"),
    [
        (201, b'{"access_token": "t"}', "status 201"),
        (204, b"", "status 204"),
        (404, b"<html>", "status 404"),
        (405, b"", "status 405"),
        (410, b"[]", "status 410"),
        (415, b"", "status 415"),
        (400, b'{"error": "temporarily_unavailable"}', "status 400 temporarily_unavailable"),
        (401, b'{"error": "slow_down"}', "status 401 slow_down"),
        (200, b'{"error": "server_error"}', "status 200 server_error"),
    ],
)
def test_what_is_not_about_the_client_does_not_blame_it(
    status: int, body: bytes, shown: str
) -> None:
    """Such an address is the wrong one, or its service has trouble."""
    with pytest.raises(TokenUnavailable) as caught:
        answered(status, body)

    assert caught.value.why.endswith(shown)


@each_row(
    ("status", "body"),
    [
        (400, b""),
        (403, b"<html>"),
        (404, b'{"error": "invalid_client"}'),
        (200, b'{"error": "incorrect_client_credentials"}'),
    ],
)
def test_what_is_about_the_client_says_so(status: int, body: bytes) -> None:
    """Some services answer 200 to it."""
    with pytest.raises(TokenRefused, match="refused the client's credentials"):
        answered(status, body)


@each_row(
    ("body", "shown"),
    [
        (b'{"error": "invalid_client"}', "answered 401 invalid_client"),
        (b'{"error": "hunter2\\u001b[2J"}', "answered 401"),
        (b"hunter2", "answered 401"),
    ],
)
def test_a_refusal_shows_the_code_and_nothing_else_of_the_answer(body: bytes, shown: str) -> None:
    with pytest.raises(TokenRefused) as caught:
        answered(401, body)

    assert caught.value.why.endswith(shown)
    assert (caught.value.code, caught.value.exit_status) == ("token-refused", 1)


@each_row("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_with_the_secret(status: int) -> None:
    """Nor is a token taken that comes with it."""
    with (
        server(200, b'{"access_token": "stolen"}') as elsewhere,
        pytest.raises(TokenUnavailable) as caught,
    ):
        answered(status, b'{"access_token": "t0ken"}', {"Location": elsewhere})

    assert f"status {status}; no redirect is followed" in caught.value.why


def test_an_answer_that_has_to_be_decompressed_is_not_used() -> None:
    body = gzip.compress(b'{"access_token": "t0ken"}')

    with pytest.raises(TokenUnavailable):
        answered(200, body, {"Content-Encoding": "gzip"})


def test_nobody_there_is_unavailable() -> None:
    with server(200, b"") as url:
        pass

    with pytest.raises(TokenUnavailable) as caught:
        asyncio.run(obtain_token(request("{base_url}/token", base_url=url), PROGRAM))

    assert "ConnectError" in caught.value.why


def test_a_server_that_is_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oauth, "TIMEOUT_S", 0.2)
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as silent:
        url = f"http://127.0.0.1:{silent.server_address[1]}"

        with pytest.raises(TokenUnavailable):
            asyncio.run(obtain_token(request("{base_url}/token", base_url=url), PROGRAM))

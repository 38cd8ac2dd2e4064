"""An OpenID provider: discovery, authorization code flow with PKCE, and somebody who logs in.

OpenID Connect Discovery 1.0, RFC 6749 section 4.1, RFC 7636. Nobody types a password: whoever asks
for a code gets one. The out-of-band way shows the code on a page.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode

from tests.simulators.ci import claims, web
from tests.simulators.ci.web import Answer, Asked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulators.ci.instance import Instance

OUT_OF_BAND = "urn:ietf:wg:oauth:2.0:oob"


@dataclass(slots=True)
class Provider:
    """A provider that answers.

    Attributes:
        instance: mints the tokens.
        url: its own, once it answers.
        codes: what was asked with each code that was given out.
        faults: other answers, by path.
        changes: claims that differ from those of an honest login.
    """

    instance: Instance
    url: str = ""
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    faults: dict[str, Answer] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)

    def answer(self, asked: Asked) -> Answer:
        """The answer to a request."""
        if asked.path in self.faults:
            return self.faults[asked.path]
        ways = {
            "/.well-known/openid-configuration": self._describe,
            "/auth": self._authorize,
            "/token": self._exchange,
        }
        return ways[asked.path](asked) if asked.path in ways else Answer(404)

    def _describe(self, _: Asked) -> Answer:
        return _json(
            {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/auth",
                "token_endpoint": f"{self.url}/token",
            }
        )

    def _authorize(self, asked: Asked) -> Answer:
        query = dict(asked.query)
        if (query["response_type"], query["client_id"]) != ("code", "sigstore"):
            return Answer(400, b"wrong client")
        code = secrets.token_urlsafe(8)
        self.codes[code] = query
        if query["redirect_uri"] == OUT_OF_BAND:
            return Answer(body=f"<code>{code}</code>".encode())
        back = urlencode({"code": code, "state": query["state"]})
        return Answer(302, headers={"Location": f"{query['redirect_uri']}?{back}"})

    def _exchange(self, asked: Asked) -> Answer:
        form = {name: values[0] for name, values in parse_qs(asked.body.decode()).items()}
        query = self.codes.pop(form.get("code", ""), None)
        if query is None or form["redirect_uri"] != query["redirect_uri"]:
            return _json({"error": "invalid_grant"}, 400)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != query["code_challenge"]:
            return _json({"error": "invalid_grant"}, 400)
        token = self.instance.mint(claims.person(self.url), **self.changes)
        # Sigstore's provider gives the identity token under this name too.
        return _json({"access_token": token, "id_token": token, "token_type": "Bearer"})


def _json(document: dict[str, Any], status: int = 200) -> Answer:
    return Answer(status, json.dumps(document).encode(), {"Content-Type": "application/json"})


@contextlib.contextmanager
def providing_login(instance: Instance) -> Iterator[Provider]:
    """A provider that the instance believes, while the block runs."""
    provider = Provider(instance)
    with web.serving(provider.answer) as site:
        provider.url = site.url
        instance.provide_login(site.url)
        yield provider

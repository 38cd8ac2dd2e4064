"""GitHub's endpoint for identity tokens of jobs.

`GET $ACTIONS_ID_TOKEN_REQUEST_URL&audience=sigstore`, with `Authorization: bearer` and the request
token, gives `{"count": n, "value": "<jwt>"}` (docs.github.com, OpenID Connect).
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.simulators.ci import claims, web
from tests.simulators.ci.web import Answer, Asked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.simulators.ci.instance import Instance

REQUEST_TOKEN = "request-token-of-the-job"
PATH = "/_apis/pipelines/oidctoken"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The endpoint while it answers."""

    site: web.Site

    @property
    def environment(self) -> dict[str, str]:
        """What a job with `id-token: write` has in its environment."""
        return {
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{self.site.url}{PATH}?api-version=2.0",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": REQUEST_TOKEN,
        }


WITHOUT_PERMISSION = {"CI": "true", "GITHUB_ACTIONS": "true"}
"""What a job without it has."""


@contextlib.contextmanager
def endpoint(
    instance: Instance, answer: Callable[[Asked], Answer] | None = None, **changes: Any
) -> Iterator[Endpoint]:
    """Serve the endpoint while the block runs.

    Args:
        instance: mints the tokens.
        answer: instead of the honest one.
        changes: claims that differ from those of the usual job.
    """

    def honest(asked: Asked) -> Answer:
        if asked.path != PATH or asked.query.get("api-version") != "2.0":
            return Answer(404)
        if asked.headers.get("authorization") != f"bearer {REQUEST_TOKEN}":
            return Answer(401, b'{"message": "not authorized"}')
        token = instance.mint(claims.github(**changes), aud=asked.query["audience"])
        return Answer(body=json.dumps({"count": len(token), "value": token}).encode())

    with web.serving(answer or honest) as site:
        yield Endpoint(site)

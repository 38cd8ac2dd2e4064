"""A plugin for the pytest of Sigstore's conformance suite: the suite as it is, without a network.

    python -m pytest -p sigstore_conformance_offline --entrypoint=.../sigstore_conformance.py

The suite fetches an identity token and signs with Sigstore's public instance. With this plugin the
token is that of a local trust domain, made for this run, whose services answer on 127.0.0.1. Its
documents are given to whoever signs, and to whoever verifies what was signed in it; the bundles
that come with the suite are verified as ever. docs/reference/sigstore-conformance.md shows a run.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aperio_cli.models.publisher import LOCAL_ISSUER
from aperio_cli.signing.local import create_domain, tokens

if TYPE_CHECKING:
    import pytest

IDENTITY = "conformance@local"


@dataclass(frozen=True)
class Documents:
    """What a client is told about the trust domain."""

    trusted_root: Path
    signing_config: Path

    def added_to(self, arguments: tuple[str, ...]) -> tuple[str, ...]:
        """A command of the protocol that names no trusted root, with this domain's in its place."""
        if "--trusted-root" in arguments:
            return arguments
        *options, what = arguments
        if arguments[0] == "sign-bundle":
            options += ["--trusted-root", str(self.trusted_root)]
            options += ["--signing-config", str(self.signing_config)]
        elif LOCAL_ISSUER in arguments:
            options += ["--trusted-root", str(self.trusted_root)]
        return (*options, what)


@dataclass(frozen=True)
class Response:
    """What the suite reads of an answer over HTTP."""

    data: bytes


def pytest_configure(config: pytest.Config) -> None:
    """Make the domain, and put it where the suite would ask the public instance."""
    stack = contextlib.ExitStack()
    config.add_cleanup(stack.close)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aperio-conformance-")))
    domain = create_domain(folder / "domain", IDENTITY)
    trust = json.loads(stack.enter_context(domain.serving()))
    documents = Documents(folder / "trusted_root.json", folder / "signing_config.json")
    documents.trusted_root.write_text(json.dumps(trust["trustedRoot"]), encoding="utf-8")
    documents.signing_config.write_text(json.dumps(trust["signingConfig"]), encoding="utf-8")
    token = tokens.mint(domain.services().token_key, IDENTITY)
    # The suite's reference client is sigstore-python; this environment has it.
    os.environ["GHA_SIGSTORE_CONFORMANCE_SELFTEST_ENV"] = sys.prefix
    _use(documents, token)


def _use(documents: Documents, token: str) -> None:
    # The suite's own package `test`, which pytest has loaded by now.
    conftest: Any = sys.modules["test.conftest"]
    client: Any = sys.modules["test.client"]
    run = client.SigstoreClient.run
    conftest.request = lambda *_, **__: Response(token.encode())
    conftest._client_config = lambda *_, **__: (documents.trusted_root, documents.signing_config)
    client.SigstoreClient.run = lambda self, *words: run(self, *documents.added_to(words))

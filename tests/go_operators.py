"""An operator who has a plugin of this repository, written in Go, built, signed and installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aperio_cli.scaffolding.go_sdk import go_sdk
from tests.commands import typed
from tests.go_projects import CACHE, COMPILED, OFFLINE, require_go
from tests.projects import ROOT, SDK, WHEELS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

COMMAND = [sys.executable, "-m", "aperio_cli"]
_LONGEST_S = 300.0
EVENTS = 1000
CONNECTOR = f"""\
from collections.abc import Iterator

from aperio_plugin import connector


class SourceConnector(connector.Connector):
    def schema(self) -> connector.Schema:
        return connector.Schema(provider="SOURCE", name="Source")

    def test_connection(self, context: connector.Context) -> connector.TestResult:
        return connector.TestResult(ok=True)

    def sync(self, context: connector.Context, cursor: bytes | None) -> Iterator[connector.Item]:
        for number in range({EVENTS}):
            yield connector.Event(
                source_event_id=f"e{{number}}",
                event_type="source.login",
                occurred_at="2026-01-01T00:00:00Z",
                record={{"number": number, "text": "Grüße\\n\\u2028"}},
            )
            if number % 250 == 249:
                yield connector.Checkpoint(str(number).encode())
"""
"""A connector in Python that needs no service, and reads EVENTS events."""
FINDER = """\
from collections.abc import Iterator

from aperio_plugin import connector


class SourceConnector(connector.Connector):
    def schema(self) -> connector.Schema:
        return connector.Schema(provider="SOURCE", name="Source")

    def test_connection(self, context: connector.Context) -> connector.TestResult:
        return connector.TestResult(ok=True)

    def sync(self, context: connector.Context, cursor: bytes | None) -> Iterator[connector.Item]:
        for status in (connector.FindingStatus.OPEN, connector.FindingStatus.RESOLVED):
            yield connector.Finding(
                rule_id="source.public_link", title="A public link", target="folder-1",
                severity=connector.FindingSeverity.HIGH, risk_score=70, status=status,
                occurred_at="2026-01-01T00:00:00Z", source_event_id="e1",
            )
"""
"""A connector in Python that finds the same thing OPEN and then RESOLVED."""


@dataclass(frozen=True)
class Operator:
    """An operator with a home, in which plugins are installed."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What the operator's shell has: little, and no network for pip and go."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "APERIO_HOME": str(self.folder / "home"),
            "PYTHONPATH": f"{ROOT}:{SDK}",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(WHEELS),
            "GOMODCACHE": str(CACHE / "go"),
            "GOPROXY": f"file://{CACHE}/go/cache/download",
            "GOSUMDB": "off",
            "APERIO_SANDBOX": os.environ["APERIO_SANDBOX"],
        }

    def aperio(self, *words: str, given: str = "", status: int = 0) -> dict[str, Any]:
        """One command with `--json`; gives what it answers."""
        ran = self._run(words, given)
        assert ran.returncode == status, ran.stdout + ran.stderr
        document: dict[str, Any] = json.loads(ran.stdout)
        return document

    def lines(self, *words: str) -> list[dict[str, Any]]:
        """One command with `--json` that writes a line at a time."""
        ran = self._run(words)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return [json.loads(line) for line in ran.stdout.splitlines()]

    def _run(self, words: Sequence[str], given: str = "") -> subprocess.CompletedProcess[str]:
        """Do a command in this process, as its shell would: starting Python costs as much again.

        What has a sandbox is a process: that is forked from as little as may be.
        """
        typed_words = [*words, "--json"]
        if self.environment["APERIO_SANDBOX"] != "none":
            return subprocess.run(
                [*COMMAND, *typed_words],
                input=given, env=self.environment, capture_output=True, text=True,
                timeout=_LONGEST_S, check=False,
            )  # fmt: skip
        return typed(typed_words, self.environment, given=given)


def copy_plugin(name: str, folder: Path) -> Path:
    """A copy of a plugin in `plugins/`, with this checkout's SDK in it."""
    require_go(with_modules=True)
    copy = folder / name
    left_out = shutil.ignore_patterns("third_party", "dist")
    shutil.copytree(ROOT / "plugins" / name, copy, ignore=left_out)
    go_sdk().put_into(copy)
    return copy


def use_compiled(home: Path) -> None:
    """Have builds below a home of aperio use what `make setup` has compiled."""
    COMPILED.mkdir(parents=True, exist_ok=True)
    cache = home / "cache"
    cache.mkdir(parents=True)
    (cache / "go-build").symlink_to(COMPILED)


def install(project: Path, folder: Path) -> Operator:
    """An operator who has built, signed and installed a project."""
    made = Operator(folder)
    use_compiled(folder / "home")
    made.aperio("trust", "local", "init")
    built = made.aperio("plugin", "build", str(project))["data"]["artifacts"][0]["path"]
    made.aperio("plugin", "sign", built, "--trust", "local")
    made.aperio("plugin", "install", built, "--yes")
    return made


def go_test(project: Path) -> None:
    """The tests of a project itself; one that fails shows what Go says."""
    kept = {key: os.environ[key] for key in ("HOME", "APERIO_CI") if key in os.environ}
    kept["PATH"] = f"{CACHE / 'bin'}:{os.environ['PATH']}"
    caches = {"GOMODCACHE": str(CACHE / "go"), "GOCACHE": str(COMPILED), "CGO_ENABLED": "0"}
    caches["GOFLAGS"] = "-trimpath"  # as `make setup` compiles: for whatever folder
    ran = subprocess.run(
        ["go", "test", "./..."],
        cwd=project, env=OFFLINE | kept | caches, capture_output=True, text=True,
        timeout=_LONGEST_S, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr

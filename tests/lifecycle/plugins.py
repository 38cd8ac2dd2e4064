"""Plugins that are small programs, good or bad, as projects and as artifacts."""

from __future__ import annotations

import json
import re
import sysconfig
from pathlib import Path
from typing import Any

from aperio_cli.archive import writing
from tests.builders import TAG, manifest_bytes, write_artifact
from tests.projects import make_project, write

ROOT = Path(__file__).resolve().parents[2]
SIMULATORS = ROOT / "tests" / "simulators" / "plugins"
PLUGIN = "acme/box-connector"
"""The id of them all."""

_SEARCHED = (SIMULATORS, ROOT / "sdk" / "python", sysconfig.get_path("purelib"))
_HERE = json.dumps([str(path) for path in _SEARCHED[1:]])
IMPORTING_FROM_HERE = f"import sys\n\nsys.path[:0] = {_HERE}\n"
"""Lines by which a plugin takes the SDK and what that needs from this checkout."""


def project_of(folder: Path, code: str) -> Path:
    """A project with this plugin.py."""
    project = make_project(folder)
    write(project, "plugin.py", code)
    return project


def lighten(project: Path) -> None:
    """Have a scaffolded project lock nothing, and take its dependencies from here."""
    (project / "requirements.lock").write_text("")
    for name, old, new in (
        ("pyproject.toml", r"^dependencies = .*$", "dependencies = []"),
        ("plugin.py", r"^(?=from aperio_plugin )", f"{IMPORTING_FROM_HERE}\n"),
    ):
        path = project / name
        text, count = re.subn(old, new, path.read_text(), flags=re.MULTILINE)
        assert count == 1, name
        path.write_text(text)


def artifact_of(folder: Path, code: str, **changes: Any) -> Path:
    """An artifact whose starting script is this; changes are of the manifest, by key."""
    stated = {"runtime": {"language": "python", "tags": [TAG]}} | changes
    members = [
        writing.Member("manifest.yaml", manifest_bytes(**stated)),
        writing.Member("bin/box-connector", b"#!/bin/sh\nexit 0\n", executable=True),
        writing.Member("bin/box-connector.py", code.encode()),
        writing.Member(f"lib/{TAG}/dependency.py", b"VALUE = 42\n"),
    ]
    return write_artifact(folder, members)


def simulating(simulator: str) -> str:
    """A program that is one of tests/simulators/plugins."""
    script = SIMULATORS / f"{simulator}.py"
    assert script.is_file()
    searched = [str(path) for path in _SEARCHED]
    return (
        f"import runpy, sys\nsys.path[:0] = {searched!r}\n"
        f"runpy.run_path({str(script)!r}, run_name='__main__')\n"
    )


def sdk_program(kind: str) -> str:
    """A remediation or a destination, made with the SDK as an author would."""
    return f"import sys\nsys.path[:0] = {[str(path) for path in _SEARCHED]!r}\n{_PROGRAMS[kind]}"


_PROGRAMS = {
    "remediation": """
from aperio_plugin import remediation

class Stub(remediation.Remediation):
    def capabilities(self):
        action = remediation.Action(
            key="stub.suspend", label="Suspend", target_types=["user"], supports_dry_run=True
        )
        return remediation.Capabilities(provider="STUB", name="Stub", actions=[action])

    def execute(self, context, request):
        if request.target == "nobody":
            return remediation.failed("there is no such user", detail="looked for nobody")
        if request.dry_run:
            return remediation.would_change(remediation.Change("status", "active", "suspended"))
        return remediation.changed(remediation.Change("status", "active", "suspended"))

remediation.serve(Stub())
""",
    "destination": """
from aperio_plugin import destination

class Stub(destination.Destination):
    def capabilities(self):
        streams = [destination.Stream.EVENT]
        return destination.Capabilities(
            provider="STUB", name="Stub", streams=streams, max_batch_envelopes=2
        )

    def deliver(self, context, envelopes):
        for envelope in envelopes:
            own = envelope.value().get("id")
            print("took", own)
            if own == "x1":
                yield destination.rejected(envelope, "it is the middle one")
            else:
                yield destination.accepted(envelope)

destination.serve(Stub())
""",
}

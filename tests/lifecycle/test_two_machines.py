"""A registry on another machine, as its users live with it: all that a registry is for, once.

The registry is an https server with a certificate of a private authority, behind a cable; what it
serves is signed in a private trust domain. Every command is typed on the machine that it is for.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aperio_cli.models.publisher import LOCAL_ISSUER as ISSUER
from tests.certificates import make_authority
from tests.lifecycle.cli import Done
from tests.lifecycle.plugins import PLUGIN, artifact_of, simulating
from tests.machines import Machine, MachinesMissing, https_server, two_machines, unplug

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "plugins.acme.internal"
PORT = 8443
URL = f"https://{NAME}:{PORT}/"
OLD, NEW = "1.0.0", "2.0.0"
ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 120

pytestmark = [pytest.mark.slow, pytest.mark.sandbox, pytest.mark.timeout(600)]


@dataclass
class Person:
    """Somebody at a machine, with a home.

    Attributes:
        machine: where they are.
        folder: their working folder; their homes are in it.
        variables: of their environment, besides.
    """

    machine: Machine
    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        """Their $APERIO_HOME."""
        return self.folder / ".aperio"

    def __call__(self, *words: object, status: int = 0) -> Done:
        """Type a command that has to end with this status."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "APERIO_HOME": str(self.home),
            "LOGNAME": "alice",
            "APERIO_SANDBOX": "none",
            "XDG_RUNTIME_DIR": os.environ["XDG_RUNTIME_DIR"],
            "PYTHONPATH": f"{ROOT}:{ROOT / 'sdk' / 'python'}",
            **self.variables,
        }
        argv = self.machine.argv(
            sys.executable, "-m", "aperio_cli", *map(str, words), folder=self.folder
        )
        done = subprocess.run(
            argv,
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == status, f"{words}: {done}"
        return Done(done.returncode, done.stdout, done.stderr)

    def refused(self, *words: object, code: str, status: int) -> str:
        """Type a command that has to be refused; what is shown of it."""
        shown = self(*words, status=status).err
        assert f"code  {code} (exit {status})" in shown
        return shown

    def used(self) -> str:
        """Return which version is used."""
        rows = json.loads(self("plugin", "list", "--json").out)["data"]["plugins"]
        [version] = [row["version"] for row in rows if row["current"]]
        return str(version)


class Maintainer(Person):
    """Who keeps the registry, in `registry`."""

    def release(self, version: str, **changes: object) -> None:
        """Publish a version."""
        dist = self.folder / f"dist-{version}"
        artifact_of(dist, simulating("with_sdk"), version=version, **changes)
        self("plugin", "sign", dist, "--trust", "local")
        self("registry", "add", dist, "--dir", "registry")
        self.publish()

    def publish(self) -> None:
        """Publish an edition."""
        self("registry", "build", "--dir", "registry")
        self("registry", "sign", "--dir", "registry", "--trust", "local")
        self("registry", "verify", "--dir", "registry")


@dataclass(frozen=True)
class World:
    """Who lives with the registry, and what was asked of it."""

    maintainer: Maintainer
    operator: Person
    colleague: Person
    requests: Path

    def asked(self) -> list[str]:
        """Return what was asked for so far, by path."""
        lines = self.requests.read_text().splitlines()
        return [line.split('"')[1].split()[1] for line in lines if '"GET ' in line]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Two machines; the registry's has one plugin, and nobody has read it yet."""
    for name in ("there", "operator", "colleague", "runtime"):
        (tmp_path / name).mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    with contextlib.ExitStack() as opened:
        try:
            here, there = opened.enter_context(two_machines(tmp_path, NAME))
        except MachinesMissing as error:
            pytest.skip(f"no second machine can be made: {error}")
        maintainer = Maintainer(there, tmp_path / "there")
        maintainer("trust", "local", "init")
        maintainer("registry", "init", "registry")
        maintainer.release(OLD)
        authority, certificate = make_authority(tmp_path, NAME)
        public = maintainer.folder / "registry" / "public"
        requests = opened.enter_context(https_server(there, public, certificate, PORT))
        trusting = {"SSL_CERT_FILE": str(authority)}
        people = [Person(here, tmp_path / n, trusting) for n in ("operator", "colleague")]
        yield World(maintainer, people[0], people[1], requests)


def introduce(person: Person, maintainer: Maintainer) -> None:
    """Give somebody the trust domain and the configuration, as it is done once, by hand."""
    root = person.folder / "acme-root.json"
    shutil.copy(maintainer.home / "trust" / "local" / "trusted_root.json", root)
    person("trust", "domain", "add", "acme", "--file", root)
    signer = ("--identity", "alice@local", "--issuer", ISSUER)
    person("trust", "publisher", "add", "acme", "--domain", "acme", *signer, "--yes")
    stated = {"url": URL, "domain": "acme", "identity": "alice@local", "issuer": ISSUER}
    lines = "\n".join(f'{key} = "{value}"' for key, value in stated.items())
    (person.home / "config.toml").write_text(f"[[registries]]\n{lines}\n")


def test_registry_on_another_machine_is_lived_with(world: World, tmp_path: Path) -> None:
    maintainer, operator, colleague = world.maintainer, world.operator, world.colleague
    found_by_the_way(world)
    locked_install(operator, colleague)
    update(world)
    rollback(world)
    before = shutil.copytree(maintainer.folder / "registry" / "public", tmp_path / "before")
    revocation(world)
    older_edition(world, before)
    offline(world)


def found_by_the_way(world: World) -> None:
    """Nothing is read before it is known who signs it, and whose certificates count."""
    operator = world.operator
    operator.refused("plugin", "search", "--registry", URL, code="registry-unsigned", status=3)
    assert world.asked() == []
    introduce(operator, world.maintainer)
    introduce(world.colleague, world.maintainer)
    authority = operator.variables.pop("SSL_CERT_FILE")
    shown = operator.refused("plugin", "search", code="certificate-untrusted", status=4)
    assert "SSL_CERT_FILE=FILE" in shown
    operator.variables["SSL_CERT_FILE"] = authority
    assert PLUGIN in operator("plugin", "search").out
    assert f"{URL} (signed by alice@local)" in operator("plugin", "info", PLUGIN).out


def locked_install(operator: Person, colleague: Person) -> None:
    """A lock file that one writes is what the other installs."""
    operator("plugin", "install", PLUGIN, "--lock", "aperio.lock", "--yes")
    lock = operator.folder / "aperio.lock"
    assert f'registry = "{URL}"' in lock.read_text()
    shutil.copy(lock, colleague.folder)
    colleague("plugin", "install", "--locked", "--yes")
    assert colleague.used() == OLD
    colleague("plugin", "run", PLUGIN, "schema")
    lock.unlink()
    operator("plugin", "install", PLUGIN, "--yes")


def update(world: World) -> None:
    """A newer version is seen, agreed to and used; what is locked stays as it was."""
    operator, colleague = world.operator, world.colleague
    hosts = ["api.box.com:443", "upload.box.com:443"]
    world.maintainer.release(NEW, permissions={"egress": hosts})
    assert f"{PLUGIN} {OLD} → {NEW}" in operator("plugin", "list", "--outdated").out
    shown = operator.refused("plugin", "update", PLUGIN, code="consent-missing", status=1)
    assert "+ egress  upload.box.com:443" in shown
    assert operator.used() == OLD
    operator("plugin", "update", PLUGIN, "--yes")
    assert operator.used() == NEW
    operator("plugin", "run", PLUGIN, "schema")
    colleague("plugin", "install", "--locked", "--yes")
    assert colleague.used() == OLD


def rollback(world: World) -> None:
    """The version before is used again, and nobody is asked for it; then the new one once more."""
    operator, asked = world.operator, world.asked()
    operator("plugin", "rollback", PLUGIN)
    assert operator.used() == OLD
    operator("plugin", "run", PLUGIN, "schema")
    operator("plugin", "rollback", f"{PLUGIN}@{NEW}", "--yes")
    assert operator.used() == NEW
    assert world.asked() == asked


def revocation(world: World) -> None:
    """What is revoked is not started once that was heard, and not installed by anybody."""
    maintainer, operator, colleague = world.maintainer, world.operator, world.colleague
    reason = ("--reason", "leaks tokens", "--replacement", OLD)
    shutil.copy(operator.home / "aperio.lock", colleague.folder / "aperio.lock")
    maintainer("registry", "revoke", f"{PLUGIN}@{NEW}", *reason, "--dir", "registry")
    maintainer.publish()
    assert "revoked: leaks tokens" in operator("plugin", "audit", status=1).out
    operator.refused("plugin", "run", PLUGIN, "schema", code="revoked", status=3)
    operator.refused("plugin", "install", code="revoked", status=3)
    colleague.refused("plugin", "install", "--locked", "--yes", code="revoked", status=3)
    operator("plugin", "rollback", PLUGIN)
    operator("plugin", "run", PLUGIN, "schema")
    assert "up to date" in operator("plugin", "update", PLUGIN).out
    assert operator.used() == OLD


def older_edition(world: World, before: Path) -> None:
    """Whoever serves the edition of before, in which nothing is revoked, is refused."""
    public = world.maintainer.folder / "registry" / "public"
    now = public.with_name("now")
    public.rename(now)
    before.rename(public)
    for path in public.glob("registry.json*"):
        path.touch()  # or the server says that nothing has changed since
    shown = world.operator.refused(
        "plugin", "list", "--outdated", code="registry-outdated", status=3
    )
    assert "than the newest that was seen here" in shown
    public.rename(before)
    now.rename(public)
    world.operator("plugin", "list", "--outdated")  # what was kept of the older one counts no more


def offline(world: World) -> None:
    """Without the cable everything that was read before answers, and installs."""
    operator = world.operator
    operator("plugin", "search")
    operator("plugin", "info", PLUGIN)
    unplug(operator.machine)
    asked = world.asked()
    operator.refused("plugin", "update", PLUGIN, code="network-unavailable", status=4)
    assert PLUGIN in operator("plugin", "search", "--offline").out
    assert "revoked: leaks tokens" in operator("plugin", "info", PLUGIN, "--offline").out
    operator("plugin", "list", "--outdated", "--offline")
    assert "known fault" in operator("plugin", "audit", "--offline", status=1).out
    lock = (operator.home / "aperio.lock").read_bytes()
    operator("plugin", "remove", PLUGIN, "--yes")
    (operator.home / "aperio.lock").write_bytes(lock)
    operator("plugin", "install", "--locked", "--offline", "--yes")
    assert operator.used() == OLD
    operator("plugin", "run", PLUGIN, "schema")
    operator.refused("plugin", "install", f"{PLUGIN}@{NEW}", "--offline", code="revoked", status=3)
    assert world.asked() == asked

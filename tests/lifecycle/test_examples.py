"""Every example that a help shows is executed as it stands, in the order of a plugin's life."""

from __future__ import annotations

import json
import shlex
import subprocess
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from typer.main import get_command

from aperio_cli import clock
from aperio_cli.commands.app import load
from aperio_cli.commands.words import MODULES
from tests.lifecycle.cli import DEADLINE_S, wait_until
from tests.lifecycle.plugins import artifact_of, lighten
from tests.registries import Site, plugin_entry
from tests.trust import new_domain
from tests.tuf_repository import TufRepository, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lifecycle.cli import Aperio

_SERVES = "registry serve"
_HOSTS = "host run"
_NEEDS_A_SECOND = "plugin update"
_SCAFFOLDS = "plugin init"


def examples() -> dict[str, list[str]]:
    """The examples of each command, as its help shows them."""
    program = get_command(load())
    found = {}
    for words in MODULES:
        command = program
        for word in words.split():
            command = command.commands[word]  # type: ignore[attr-defined] # a group has them
        lines = (command.epilog or "").splitlines()
        found[words] = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    return found


@dataclass(frozen=True)
class World:
    """Somebody with all that the examples name.

    Attributes:
        aperio: types them.
        tuf: the address of a TUF repository.
        soon: a day that is still ahead.
    """

    aperio: Aperio
    tuf: str
    soon: str


@pytest.fixture
def world(stranger: Aperio) -> Iterator[World]:
    """A folder with the files that examples name, and a server."""
    private = new_domain(stranger.sandbox / "private").trusted_root_json().encode()
    repository = TufRepository(trusted_root__json=private)
    soon = (clock.now() + timedelta(days=30)).date().isoformat()
    publishers = {"schema": "aperio.publishers/v1", "serial": 1, "expires": soon, "publishers": []}
    Site(stranger.folder / "mirror").publish(plugin_entry())
    (stranger.folder / "trusted-root.json").write_bytes(private)
    (stranger.folder / "root.json").write_bytes(repository.first_root)
    (stranger.folder / "publishers.json").write_text(json.dumps(publishers))
    with serving(repository) as url:
        yield World(stranger, url, soon)


def release_a_second_version(aperio: Aperio) -> str:
    """The scaffolded plugin has been released once more, in the registry that is given."""
    hello = {"id": "acme/hello-connector", "version": "0.2.0"}
    artifact = artifact_of(aperio.folder / "second", "print()\n", **hello)
    aperio("plugin", "sign", artifact, "--trust", "local")
    aperio("registry", "init", "released")
    aperio("registry", "add", artifact, "--dir", "released")
    aperio("registry", "build", "--dir", "released")
    return str(aperio.folder / "released" / "public")


def is_up(aperio: Aperio) -> bool:
    """Whether a host answers."""
    return aperio.type("host", "status").status == 0


def end(hosts: list[subprocess.Popen[bytes]]) -> None:
    """End those that run, in good order."""
    while hosts:
        host = hosts.pop()
        host.terminate()
        host.communicate(timeout=DEADLINE_S)
        assert host.returncode == 0


def test_every_command_has_an_example_of_itself() -> None:
    for words, lines in examples().items():
        assert lines, words
        assert all(line.startswith(f"aperio {words}") for line in lines), lines


def test_examples_work_as_they_stand(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # A signature of one's own takes a trust domain, which nothing else here makes.
    hosts: list[subprocess.Popen[bytes]] = []
    ordered = sorted(examples().items(), key=lambda item: item[0] != "trust local init")
    for words, lines in ordered:
        if not words.startswith("host "):
            end(hosts)
        if words == _NEEDS_A_SECOND:
            monkeypatch.setenv("APERIO_REGISTRY", release_a_second_version(world.aperio))
        elif words == "plugin list":
            monkeypatch.delenv("APERIO_REGISTRY")
        for line in lines:
            # What no test can have: that address, and a day that is ahead for ever.
            typed = line.replace("https://tuf.example.com", world.tuf)
            argv = shlex.split(typed.replace("2027-01-31", world.soon))[1:]
            if words == _HOSTS:
                end(hosts)
                hosts.append(world.aperio.start(*argv))
                assert wait_until(lambda: is_up(world.aperio), within_s=DEADLINE_S)
            elif words == _SERVES:
                process = world.aperio.start(*argv, stdin=subprocess.PIPE)
                out, _ = process.communicate(b"", timeout=DEADLINE_S)
                assert (process.returncode, out[:7]) == (0, b"http://")
            else:
                world.aperio(*argv, "--yes")
        if words == _SCAFFOLDS:  # as it is, test_tutorial.py builds, installs and runs it
            lighten(world.aperio.folder / "aperio-plugin-hello")

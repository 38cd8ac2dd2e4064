"""A plugin's network has one way out: what goes through it, and what hostile plugins try."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.errors.running import PluginCrashed
from aperio_cli.host.way_out import Egress
from aperio_cli.models.limits import LEAST
from aperio_cli.running.learning import Learned
from tests.certificates import make_certificate
from tests.egress import PUBLIC, Elsewhere, Server, answer_http
from tests.process.conftest import PLUGINS
from tests.sandbox.conftest import ORDINARY, ROOT_ONLY, acting, host_process
from tests.sandbox.outside import OTHERS, REFUSED, beyond, connecting, key_pair

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aperio_cli.host.egress import Decision
    from aperio_cli.host.sandbox.interface import Sandbox
    from tests.sandbox.conftest import Actor, Stage

GO_PROGRAM = Path(__file__).with_name("go") / "fetch.go"


@dataclass
class World:
    """Somebody who connects, and what is there.

    Attributes:
        actor: the plugin.
        outside: what the host finds beyond this machine.
        decided: everything that the door has decided.
        stub: a port of this machine that the operator's settings name.
        closed: another port, on which somebody listens, too.
    """

    actor: Actor
    outside: Elsewhere
    decided: list[Decision]
    stub: int
    closed: int

    def do(self, deed: str, *arguments: Any) -> Any:
        return self.actor.do(deed, *arguments)


@pytest.fixture(scope="module")
def pem(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for every name, and what the plugin trusts it by."""
    names = ("api.box.com", "rpc.box.com", "evil.io", "eu.boxcloud.com", "away.boxcloud.com")
    made = make_certificate(tmp_path_factory.mktemp("tls") / "server.pem", *names)
    project = stage.folder / "project"
    shutil.copy(PLUGINS / "connects.py", project)
    (project / "ca.pem").write_bytes(key_pair(made)[1])
    return made


@pytest.fixture(scope="module")
def world(stage: Stage, sandbox: Sandbox, pem: Path) -> Iterator[World]:
    with beyond(pem) as there, acting(connecting(stage), sandbox, egress=there.egress) as actor:
        yield World(actor, there.outside, there.decided, there.stub, there.closed)


# ── through the door ──────────────────────────────────────────────────────────────────────────────

SAID = "GET /a HTTP/1.1|Host: api.box.com|"


def test_urllib_reaches_a_granted_host_in_tls_and_without(world: World) -> None:
    assert world.do("get", "https://api.box.com/a") == SAID
    assert world.do("get", "http://api.box.com/a") == SAID


@pytest.mark.parametrize("client", ["httpx", "requests", "aiohttp", "curl", "curl without a proxy"])
def test_client_reaches_a_granted_host(world: World, client: str) -> None:
    assert world.do("client", client, "https://api.box.com/a") == SAID


def test_grpc_reaches_a_granted_host(world: World) -> None:
    assert world.do("client", "grpc", "rpc.box.com:443") == "said /a"


def test_fetch_of_node_reaches_a_granted_host(world: World) -> None:
    if not Path("/usr/bin/node").exists():
        pytest.skip("node is not installed")
    assert world.do("client", "node", "https://api.box.com/a").lower() == SAID.lower()
    assert "evil.io" in world.do("client", "node", "https://evil.io/")


@pytest.mark.go
def test_net_http_of_go_reaches_a_granted_host(world: World, stage: Stage) -> None:
    if shutil.which("go") is None:
        pytest.skip("Go is not installed")
    program = stage.folder / "project" / "fetch"
    subprocess.run(
        ["go", "build", "-o", str(program), str(GO_PROGRAM)],
        check=True, timeout=110, capture_output=True,
        env={**os.environ, "CGO_ENABLED": "0"},
    )  # fmt: skip
    assert world.do("client", "go", "https://api.box.com/a") == f"{SAID} <nil>"
    assert "not-granted" in world.do("client", "go", "https://evil.io/")


def test_a_wildcard_and_a_stub_of_the_operators_are_reached(world: World) -> None:
    assert "eu.boxcloud.com" in world.do("get", "https://eu.boxcloud.com/a")
    assert "200 OK" in world.do("tunnel", "eu.boxcloud.com:443", "eu.boxcloud.com")
    for host in ("localhost", "127.0.0.1"):
        assert "GET /a" in world.do("get", f"http://{host}:{world.stub}/a")
    assert world.do("connect", "AF_INET", ["127.0.0.1", world.stub]) == "connected"


def test_a_second_hop_of_its_own_leads_where_the_first_may(world: World) -> None:
    assert world.do("relay", "api.box.com:443").startswith("HTTP/1.1 200 ")


# ── not through it ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("deed", "said"), REFUSED, ids=[str(deed) for deed, _ in REFUSED])
def test_hostile_plugin_reaches_nothing_else(
    world: World, deed: tuple[Any, ...], said: str
) -> None:
    before = list(world.outside.dialled)
    assert said in str(world.do(*deed))
    reached = set(world.outside.dialled[len(before) :])
    assert reached <= {(PUBLIC, 443), (OTHERS, 443)}, "a place was dialled that is not granted"


@ROOT_ONLY
def test_an_ordinary_users_hostile_plugin_reaches_nothing_else(
    stage: Stage, sandbox: Sandbox, pem: Path, base: Path
) -> None:
    """Its door is opened in a namespace that the user owns; all else is the same."""
    del sandbox
    shutil.copy(pem, base / "server.pem")
    (base / "server.pem").chmod(0o644)
    reached = (("get", "https://api.box.com/a"), SAID)
    rows = [reached, *REFUSED, reached]
    deeds = [list(deed) for deed, _ in rows]
    told = {"pem": str(base / "server.pem")}
    process = host_process(stage, base, deeds, uid=ORDINARY, **told)
    out, err = process.communicate("", timeout=240)
    assert process.returncode == 0, err
    done = json.loads(out.splitlines()[-1])["done"]
    wrong = [
        (deed, said, found)
        for (deed, said), found in zip(rows, done, strict=True)
        if said not in str(found)
    ]
    assert wrong == []


def test_services_of_the_host_are_not_there(world: World) -> None:
    assert world.do("connect", "AF_INET", ["127.0.0.1", world.closed]) == "ECONNREFUSED"


def test_no_name_is_resolved_but_those_that_are_granted(world: World) -> None:
    assert world.do("resolve", "api.box.com") == ["127.10.0.1"]
    assert world.do("resolve", "evil.io")[0].startswith("gaierror")
    assert world.do("resolve", "c2VjcmV0.api.box.com")[0].startswith("gaierror")


def test_the_owner_of_a_name_cannot_answer_twice(world: World) -> None:
    world.outside.ports["127.0.0.1", 443] = world.closed
    first = world.do("tunnel", "twice.boxcloud.com:443")
    second = world.do("tunnel", "twice.boxcloud.com:443")
    assert first.startswith("HTTP/1.1 200 ")
    assert "address-not-public" in second
    assert ("127.0.0.1", 443) not in world.outside.dialled


def test_clients_are_told_of_the_proxy_and_of_nothing_past_it(world: World) -> None:
    told = world.do("variables", "HTTPS_PROXY", "http_proxy", "NO_PROXY", "NODE_USE_ENV_PROXY")
    assert told == ["http://127.0.0.1:3128", "http://127.0.0.1:3128", "", "1"]


# ── what is told ──────────────────────────────────────────────────────────────────────────────────


def test_each_connection_ends_in_one_record_and_each_refused_place_in_one_warning(
    world: World,
) -> None:
    before = len(world.decided)
    refused = world.actor.plugin.egress_refused
    for _ in range(3):
        world.do("tunnel", "told.io:443")
    world.do("get", "https://api.box.com/a")
    # A record is written when its connection has ended: one of a test before may come in between.
    decided = [json.loads(json.dumps(each.to_json())) for each in world.decided[before:]]
    told = [each for each in decided if each["host"] == "told.io"]
    assert [each["verdict"] for each in told] == ["refused"] * 3
    assert world.actor.plugin.egress_refused == refused + 3
    assert (decided[-1]["host"], decided[-1]["verdict"]) == ("api.box.com", "allowed")
    assert told[0]["plugin"] == "acme/box"
    assert decided[-1]["organization"] == "acme"
    warned = [r.message for r in world.actor.logs if r.level == "warn" and "told.io" in r.message]
    assert warned == [
        "egress refused: told.io:443: no rule covers this host and port",
        "  add `told.io:443` to `permissions.egress` of manifest.yaml",
    ]
    verbose = [r.message for r in world.actor.logs if r.message.startswith("egress {")]
    assert sum('"told.io"' in message for message in verbose) == 3


def test_a_door_that_fails_ends_the_plugin(stage: Stage, sandbox: Sandbox, pem: Path) -> None:
    del pem
    egress = Egress(outside=Elsewhere())
    with acting(connecting(stage), sandbox, egress=egress) as actor:
        assert actor.do("variables", "NO_PROXY") == [""]
        held: Any = actor.plugin._run.held
        held.door._listening[0].shutdown(socket.SHUT_RDWR)
        with pytest.raises(PluginCrashed):
            actor.runner.run(actor.plugin.ended())
    assert any("door failed, so it was stopped" in record.message for record in actor.logs)


def test_without_hosts_a_plugin_has_no_door(stage: Stage, sandbox: Sandbox, pem: Path) -> None:
    del pem
    with acting(connecting(stage, egress=()), sandbox) as actor:
        assert actor.do("variables", "HTTPS_PROXY") == [None]
        assert actor.do("connect", "AF_INET", ["127.0.0.1", 3128]) == "ECONNREFUSED"
        said = [r.message for r in actor.logs if r.message.startswith("contained by")]
    assert "egress" in said[0]


# ── as it is typed ────────────────────────────────────────────────────────────────────────────────


def test_learning_lets_through_what_is_public_and_says_so(
    stage: Stage, sandbox: Sandbox, pem: Path
) -> None:
    learned, outside = Learned(), Elsewhere()
    with Server(answer_http, pem) as server:
        outside.serve("evil.io", 443, server.port)
        outside.serve("home.io", 443, server.port, "127.0.0.1")
        egress = Egress("", {}, (), is_learning=True, record=learned.record, outside=outside)
        build = connecting(stage, egress=())
        with acting(build, sandbox, egress=egress, count=learned.count) as actor:
            assert "GET /a" in actor.do("get", "https://evil.io/a")
            assert "address-not-public" in actor.do("get", "https://home.io/a")
            said = [record.message for record in actor.logs if record.level == "warn"]
    assert "egress is only reported: what no rule covers is let through if public" in said
    assert "egress would be refused: evil.io:443: no rule covers this host and port" in said
    proposal = learned.proposal(build.project.manifest).to_json()
    assert proposal["permissions"] == {"egress": ["evil.io:443"]}
    assert set(proposal["limits"]) == {"memory", "tmp"}


def test_the_least_limits_are_enough_to_start_and_answer(
    stage: Stage, sandbox: Sandbox, pem: Path
) -> None:
    del pem
    with acting(connecting(stage, limits=LEAST["python"]), sandbox) as actor:
        assert actor.do("variables", "NO_PROXY") == [""]

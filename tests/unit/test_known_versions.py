"""What is remembered against versions, and what comes of it at every launch."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli import clock
from aperio_cli.config import Config
from aperio_cli.errors import AperioError
from aperio_cli.errors.files import PathShared, RecordNewer
from aperio_cli.errors.registries import IndexTooLarge, KnownVersionsUnreadable, VersionRevoked
from aperio_cli.models.known import BOUNDS, KnownVersions
from aperio_cli.models.machine import Machine as HostMachine
from aperio_cli.models.plugin_id import PluginId, PluginRef
from aperio_cli.models.policy import Policy, PolicyException
from aperio_cli.models.registry.edition import Edition
from aperio_cli.models.registry.plugin_file import VersionStatus
from aperio_cli.paths import Paths
from aperio_cli.registry import open_registry
from aperio_cli.store import listing
from aperio_cli.trust import known_versions
from aperio_cli.trust.known_versions import Heard, load_known, remember, remember_all
from aperio_cli.verifying import clear
from tests.builders import LINUX, PLUGIN, Machine, rule
from tests.registries import Site, artifact_of, plugin_entry, signed_rule, version_entry, withdrawn
from tests.trust import new_domain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aperio_cli.models.publisher import Signer
    from aperio_cli.models.receipt import Receipt
    from aperio_cli.signing.local import LocalDomain

BOX = PluginId.parse(PLUGIN)
MOMENT = "2026-06-06T00:00:00Z"
HERE = HostMachine(LINUX, frozenset(), ())


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> LocalDomain:
    return new_domain(tmp_path_factory.mktemp("trust"))


@pytest.fixture
def machine(tmp_path: Path, domain: LocalDomain) -> Machine:
    made = Machine(tmp_path, domain)
    made.install(made.signed(version="1.2.3"))
    return made


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path / "home", tmp_path / "config.toml", tmp_path / "cache")


def status(state: str = "revoked", **changes: str) -> VersionStatus:
    return VersionStatus(state, "it leaks tokens", MOMENT, **changes)


def edition(serial: int = 1, signer: Signer | None = None, **changes: Any) -> Edition:
    stated: dict[str, Any] = {"registry": "https://registry.example/", "epoch": 1, "serial": serial}
    return Edition(**stated | changes, signer=signer)


def signer(machine: Machine) -> Signer:
    from aperio_cli.models.evidence import proof_of

    proof = proof_of(machine.store.get(PluginRef(BOX)).evidence)
    assert proof
    return proof.signer


# ── the memory ────────────────────────────────────────────────────────────────────────────────────


def test_what_is_said_against_a_version_is_remembered_for_this_user_alone(paths: Paths) -> None:
    assert load_known(paths).status(BOX, "1.2.3") is None
    remember(paths, BOX, edition(), {"1.2.3": status(replacement="1.2.4")})
    assert load_known(paths).status(BOX, "1.2.3") == status(replacement="1.2.4")
    assert load_known(paths).status(BOX, "1.2.4") is None
    assert paths.known_versions.stat().st_mode & 0o777 == 0o600


def test_nothing_to_say_is_not_written(paths: Paths) -> None:
    remember(paths, BOX, edition(), {})
    assert not paths.home.exists()
    remember(paths, BOX, edition(), {"1.2.3": status()})
    before = paths.known_versions.stat().st_mtime_ns
    remember(paths, BOX, edition(), {"1.2.3": status()})
    assert paths.known_versions.stat().st_mtime_ns == before
    remember(paths, BOX, edition(2), {})
    assert load_known(paths) == KnownVersions()


def test_registry_that_says_more_than_can_be_remembered_leaves_the_memory_readable(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember(paths, BOX, edition(), {"1.2.3": status()})
    before = paths.known_versions.read_bytes()
    monkeypatch.setattr(known_versions, "BOUNDS", replace(BOUNDS, size_bytes=4096))
    long = {f"1.0.{n}": VersionStatus("yanked", "x" * 500, MOMENT) for n in range(9)}
    loud = edition(registry="https://loud.example/")
    with pytest.raises(IndexTooLarge, match="than can be remembered") as caught:
        remember(paths, PluginId.parse("acme/other"), loud, long)
    assert caught.value.exit_status == 4
    assert "https://loud.example/" in caught.value.what
    assert paths.known_versions.read_bytes() == before

    remember(paths, PluginId.parse("acme/other"), loud, dict(list(long.items())[:2]))
    assert load_known(paths).status(BOX, "1.2.3") == status()
    many = {f"1.0.{n}": status("yanked") for n in range(9)}
    monkeypatch.setattr(known_versions, "BOUNDS", replace(BOUNDS, members=50))
    with pytest.raises(IndexTooLarge) as caught:
        remember(paths, BOX, loud, many)
    assert caught.value.why == "it has too many members: expected at most 50"


def test_what_is_heard_together_is_read_and_written_once_and_each_by_itself(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A memory that is read anew for each of a hundred plugins is quadratic."""
    read: list[Path] = []
    parse = KnownVersions.parse

    def noted(data: bytes, path: Path, fail: Any) -> KnownVersions:
        read.append(path)
        return parse(data, path, fail)

    monkeypatch.setattr(KnownVersions, "parse", staticmethod(noted))
    many = [PluginId("acme", f"p{n}") for n in range(40)]
    remember(paths, BOX, edition(), {"1.2.3": status()})
    read.clear()
    said = {"1.2.3": status("yanked")}
    remember_all(paths, [Heard(plugin, edition(), said) for plugin in many])
    assert len(read) == 2  # before the lock, and under it
    known = load_known(paths)
    assert {known.status(each, "1.2.3") for each in many} == {status("yanked")}
    assert known.status(BOX, "1.2.3") == status()

    monkeypatch.setattr(known_versions, "BOUNDS", replace(BOUNDS, size_bytes=20_000))
    loud = {f"1.0.{n}": VersionStatus("yanked", "x" * 500, MOMENT) for n in range(60)}
    others = [Heard(each, edition(2), {"1.2.3": status()}) for each in many[1:]]
    with pytest.raises(IndexTooLarge, match=f"says of `{many[0]}`"):
        remember_all(paths, [Heard(many[0], edition(2), loud), *others])
    known = load_known(paths)
    assert {known.status(each, "1.2.3") for each in many[1:]} == {status()}


def test_older_edition_of_a_signed_registry_takes_nothing_back(
    paths: Paths, machine: Machine
) -> None:
    signed = signer(machine)
    remember(paths, BOX, edition(7, signed), {"1.2.3": status()})
    remember(paths, BOX, edition(6, signed), {})
    remember(paths, BOX, edition(9, signed, epoch=0), {})
    assert load_known(paths).status(BOX, "1.2.3")
    remember(paths, BOX, edition(8, signed), {})
    assert load_known(paths).status(BOX, "1.2.3") is None


def test_no_registry_takes_back_what_another_has_said_and_the_worst_counts(paths: Paths) -> None:
    remember(paths, BOX, edition(), {"1.2.3": status()})
    other = edition(registry="/srv/other")
    remember(paths, BOX, other, {"1.2.3": status("deprecated"), "1.0.0": status("yanked")})
    known = load_known(paths)
    assert [known.status(BOX, v) for v in ("1.2.3", "1.0.0")] == [status(), status("yanked")]
    assert listing.rows(str(paths.home)) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda _: b"",
        lambda _: b"[]",
        lambda _: b"{}",
        lambda data: data.replace(b"revoked", b"fine"),
        lambda data: data.replace(b"acme/box", b"Acme Box"),
        lambda data: data.replace(b'"1.2.3"', b'"x"'),
        lambda data: data.replace(MOMENT.encode(), b"yesterday"),
        lambda data: data[:-2],
    ],
)
def test_damaged_memory_is_refused(paths: Paths, change: Callable[[bytes], bytes]) -> None:
    remember(paths, BOX, edition(), {"1.2.3": status()})
    right = paths.known_versions.read_bytes()
    paths.known_versions.write_bytes(change(right))
    with pytest.raises(KnownVersionsUnreadable) as caught:
        load_known(paths)
    assert (caught.value.code, caught.value.exit_status) == ("known-versions-unreadable", 3)
    paths.known_versions.write_bytes(right)
    assert load_known(paths).status(BOX, "1.2.3")


def test_memory_of_a_newer_aperio_or_of_others_is_not_read(paths: Paths) -> None:
    remember(paths, BOX, edition(), {"1.2.3": status()})
    document = json.loads(paths.known_versions.read_bytes())
    paths.known_versions.write_text(json.dumps(document | {"schema": 2}))
    with pytest.raises(RecordNewer):
        load_known(paths)
    paths.known_versions.write_text(json.dumps(document))
    paths.known_versions.chmod(0o666)
    with pytest.raises(PathShared):
        load_known(paths)


# ── at every launch ───────────────────────────────────────────────────────────────────────────────


def policy(paths: Paths, **changes: Any) -> Policy:
    return Policy((rule(),), known=load_known(paths), **changes)


def launched(machine: Machine, **changes: Any) -> tuple[str, ...]:
    receipt: Receipt = machine.store.get(PluginRef(BOX))
    return clear(receipt, policy(machine.paths, **changes), HERE, clock.now().date()).notices


def test_revoked_version_is_not_started_offline_whatever_signed_it(machine: Machine) -> None:
    assert launched(machine) == ()
    remember(machine.paths, BOX, edition(), {"1.2.3": status(replacement="1.2.4")})
    with pytest.raises(VersionRevoked) as caught:
        launched(machine)
    assert (
        caught.value.what
        == "`acme/box-connector` 1.2.3 was not started: its registry has revoked it"
    )
    assert caught.value.why == f"it leaks tokens\nsince {MOMENT}"
    assert caught.value.next[0].startswith("`aperio plugin install acme/box-connector@1.2.4`")
    assert "--rule revoked --until DATE" in caught.value.next[1]


@pytest.mark.parametrize("state", ["yanked", "deprecated"])
def test_yanked_or_deprecated_version_is_started_and_says_so(machine: Machine, state: str) -> None:
    remember(machine.paths, BOX, edition(), {"1.2.3": status(state, replacement="1.2.4")})
    [notice] = launched(machine)
    assert notice == f"its registry says that 1.2.3 is {state}: it leaks tokens; use 1.2.4"


def test_dated_exception_starts_a_revoked_version_and_says_so(machine: Machine) -> None:
    remember(machine.paths, BOX, edition(), {"1.2.3": status()})
    stated = PolicyException(BOX, "", "revoked", "2999-01-01", "no other way")
    assert "revoked" in launched(machine, exceptions=(stated,))[0]
    with pytest.raises(VersionRevoked) as caught:
        launched(machine, exceptions=(replace(stated, until="2026-01-01"),))
    assert "exception until 2026-01-01: no other way" in caught.value.why


def test_list_says_what_is_said_against_a_version(machine: Machine) -> None:
    home = str(machine.paths.home)
    [row] = listing.rows(home)
    assert row["registry_status"] is None
    remember(machine.paths, BOX, edition(), {"1.2.3": status("yanked")})
    [row] = listing.rows(home)
    assert row["registry_status"] == {
        "state": "yanked",
        "reason": "it leaks tokens",
        "at": MOMENT,
        "replacement": None,
    }
    row |= {"sandbox": None, "levels": {}, "egress_reported": False, "may_run": True}
    assert "1.2.3 (yanked)" in listing.render([row])


# ── from a registry ───────────────────────────────────────────────────────────────────────────────


def test_registry_that_is_asked_about_a_plugin_is_heard_about_all_its_versions(
    machine: Machine, tmp_path: Path, domain: LocalDomain
) -> None:
    artifact = machine.signed(version="1.3.0")
    site = Site(tmp_path / "registry", domain)
    site.folder.mkdir()
    for path in artifact.parent.glob(f"{artifact.name}*"):
        (site.folder / path.name).write_bytes(path.read_bytes())
    good = version_entry("1.3.0", artifacts=[artifact_of(site.folder / artifact.name)])
    site.publish(plugin_entry(good, withdrawn("revoked", "1.2.3", replacement="1.3.0")))
    from aperio_cli.registry import Trust
    from tests.trust import root_of

    registry = open_registry(
        "",
        Config(registries=(signed_rule(str(site.folder)),)),
        machine.paths,
        offline=False,
        trust=Trust(lambda: [root_of(domain)], machine.paths.signed_documents),
    )
    offer = registry.resolve(PluginRef(BOX), LINUX)
    assert offer.version == "1.3.0"
    with pytest.raises(VersionRevoked):
        launched(machine)
    with machine.but(policy=policy(machine.paths)).verify(offer) as admitted:
        assert admitted.offer.version == "1.3.0"


def test_file_of_a_revoked_version_is_not_installed_either(machine: Machine) -> None:
    artifact = machine.signed(version="1.2.3")
    remember(machine.paths, BOX, edition(), {"1.2.3": status()})
    with pytest.raises(AperioError) as caught:
        machine.but(policy=policy(machine.paths)).verify(artifact)
    assert caught.value.code == "revoked"
    assert "nothing of it was installed" in caught.value.what

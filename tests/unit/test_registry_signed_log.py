"""Signed registries with a log, as a client reads them: over http, again later, tampered with."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.errors import REFUSED
from aperio_cli.errors.files import NetworkUnavailable
from aperio_cli.errors.registries import (
    IndexTooLarge,
    IndexUnreadable,
    RegistryLogForked,
    RegistryLogUnproven,
    RegistryUnwitnessed,
)
from aperio_cli.models.reading import Table
from aperio_cli.models.registry.rule import RegistryRule, WitnessRule, parse_registry
from aperio_cli.publishing.faults import Fault, Faults
from aperio_cli.publishing.recording import RegistryLog
from aperio_cli.publishing.serving import serving
from aperio_cli.registry import http
from tests.registries import Site, artifact_entry, plugin_entry, signed_rule, version_entry
from tests.rows import each_row
from tests.trust import new_domain
from tests.unit.test_registry_log import WITNESSES, cosign
from tests.unit.test_registry_signed import Client

if TYPE_CHECKING:
    from pathlib import Path

    from aperio_cli.errors import AperioError
    from aperio_cli.signing.local import LocalDomain


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> LocalDomain:
    return new_domain(tmp_path_factory.mktemp("trust"))


class Logged:
    """A registry that keeps a log, over several editions."""

    def __init__(self, folder: Path, domain: LocalDomain) -> None:
        self.domain = domain
        self.site = Site(folder, domain)
        self.log = RegistryLog()

    def publish(self, count: int = 1, **root: Any) -> Logged:
        """Write the edition with so many versions."""
        versions = [
            version_entry(f"1.0.{n}", artifacts=[artifact_entry(sha256=f"{n:064x}")])
            for n in reversed(range(count))
        ]
        self.site.publish(plugin_entry(*versions), log=self.log, **{"serial": count} | root)
        return self


@pytest.fixture
def registry(tmp_path: Path, domain: LocalDomain) -> Logged:
    return Logged(tmp_path / "registry", domain).publish(3)


@pytest.fixture
def client(tmp_path: Path, domain: LocalDomain) -> Client:
    return Client(tmp_path, domain)


def test_offer_carries_the_proof_that_the_log_has_it(client: Client, registry: Logged) -> None:
    with serving(registry.site.folder) as url:
        proof = client.resolve(signed_rule(url)).log_proof
    assert proof
    assert (proof.index, proof.checkpoint) == (0, registry.log.checkpoint)
    assert proof.check(registry.log.entries[proof.index]) == registry.log.checkpoint


def test_registry_is_followed_as_it_grows(client: Client, registry: Logged) -> None:
    with serving(registry.site.folder) as url:
        for count in (3, 4, 9):
            registry.publish(count)
            assert client.resolve(signed_rule(url)).version == f"1.0.{count - 1}"
        assert client.resolve(signed_rule(url), offline=True).log_proof


def test_log_costs_one_tile_and_nothing_when_it_is_known(
    client: Client, registry: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.unit.test_registry_signed import requests

    asked = requests(monkeypatch)
    with serving(registry.site.folder) as url:
        client.resolve(signed_rule(url))
        assert [path for path in asked if path.startswith("log/")] == ["log/tile/0/000.p/3"]


def test_tiles_of_a_longer_log_are_asked_for_once_each(
    client: Client, registry: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.unit.test_registry_signed import requests

    registry.publish(300)
    asked = requests(monkeypatch)
    with serving(registry.site.folder) as url:
        assert client.resolve(signed_rule(url)).log_proof
    tiles = [path for path in asked if path.startswith("log/")]
    assert sorted(tiles) == ["log/tile/0/000", "log/tile/0/001.p/44"]


def _forked(registry: Logged, folder: Path) -> Logged:
    """What whoever signs the registry shows to somebody else: another artifact in an old place."""
    other = Logged(folder, registry.domain)
    other.log = RegistryLog(origin=registry.log.origin)
    versions = [
        version_entry(f"1.0.{n}", artifacts=[artifact_entry(sha256=f"{n + 7:064x}")])
        for n in reversed(range(5))
    ]
    other.site.publish(plugin_entry(*versions), log=other.log, serial=5)
    return other


def test_fork_is_refused_although_it_is_signed(
    client: Client, registry: Logged, tmp_path: Path
) -> None:
    forked = _forked(registry, tmp_path / "forked")
    faults = Faults(Fault("fork"), (forked.site.folder, ()))
    with serving(registry.site.folder, faults=faults) as url:
        assert client.resolve(signed_rule(url)).version == "1.0.2"
        with pytest.raises(RegistryLogForked) as refused:
            client.resolve(signed_rule(url))
    assert refused.value.exit_status == REFUSED
    # The same registry, which went on honestly, is read as before.
    with serving(registry.publish(6).site.folder) as url:
        assert client.resolve(signed_rule(url)).version == "1.0.5"


def _publish_unlogged(registry: Logged, **artifact: Any) -> None:
    """Publish an edition whose artifact the log was not asked about."""
    checkpoint = registry.log.checkpoint
    assert checkpoint
    version = version_entry("1.0.2", artifacts=[artifact_entry(**artifact)])
    registry.site.publish(plugin_entry(version), serial=9, log=None)
    path = registry.site.folder / "registry.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"log": checkpoint.to_json()}))
    registry.site.sign()


@pytest.mark.parametrize(
    "artifact",
    [
        {"sha256": f"{2:064x}"},
        {"sha256": "f" * 64, "log_index": 0},
        {"sha256": f"{2:064x}", "log_index": 1},
        {"sha256": f"{2:064x}", "log_index": 0, "tree": "t1:" + "a" * 64},
        {"sha256": f"{2:064x}", "log_index": 3},
    ],
    ids=["no-index", "other-bytes", "index-of-another", "other-tree", "beyond"],
)
def test_what_the_log_is_not_proved_to_have_is_refused(
    client: Client, registry: Logged, artifact: dict[str, Any]
) -> None:
    rule = signed_rule(str(registry.site.folder))
    _publish_unlogged(registry, sha256=f"{2:064x}", log_index=0)
    assert client.resolve(rule).log_proof
    registry.site.folder.joinpath("registry.json").unlink()
    _publish_unlogged(registry, **artifact)
    with pytest.raises(RegistryLogUnproven) as refused:
        Client(registry.site.folder.parent / "other", registry.domain).resolve(rule)
    assert refused.value.exit_status == REFUSED


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("tamper", RegistryLogUnproven),
        ("truncate", RegistryLogUnproven),
        ("endless", IndexTooLarge),
        ("404", IndexUnreadable),
        ("500", NetworkUnavailable),
        ("slow", NetworkUnavailable),
        ("cut", NetworkUnavailable),
        ("304", NetworkUnavailable),
    ],
)
def test_server_that_does_anything_to_the_log_is_refused(
    client: Client,
    registry: Logged,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    error: type[AperioError],
) -> None:
    monkeypatch.setattr(http, "TIMEOUT_S", 1.0)
    registry.publish(40)
    folder = registry.site.folder
    with serving(folder, faults=Faults(Fault(fault, "nothing/*"))) as url:
        assert client.resolve(signed_rule(url)).log_proof
    registry.publish(41)
    with serving(folder, faults=Faults(Fault(fault, "log/*"))) as url, pytest.raises(error):
        client.resolve(signed_rule(url))


# ── witnesses ─────────────────────────────────────────────────────────────────────────────────────


def test_rule_may_ask_for_witnesses(client: Client, registry: Logged) -> None:
    checkpoint = registry.log.checkpoint
    assert checkpoint
    rule = replace(signed_rule(str(registry.site.folder)), witnesses=WitnessRule(WITNESSES, 2))
    with pytest.raises(RegistryUnwitnessed):
        client.resolve(rule)
    signed = checkpoint.to_bytes([cosign(checkpoint, 0), cosign(checkpoint, 1)])
    (registry.site.folder / "log/checkpoint").write_bytes(signed)
    assert client.resolve(rule).version == "1.0.2"


@pytest.mark.parametrize("is_witnessed", [False, True], ids=["unwitnessed", "witnessed"])
@pytest.mark.parametrize("is_http", [False, True], ids=["folder", "http"])
def test_edition_without_its_witnesses_stands_in_the_way_of_none_that_has_them(
    client: Client, registry: Logged, *, is_http: bool, is_witnessed: bool
) -> None:
    def publish(count: int, serial: int, *, witnesses: tuple[int, ...] = (0, 1)) -> None:
        registry.publish(count, serial=serial)
        checkpoint = registry.log.checkpoint
        assert checkpoint
        signed = checkpoint.to_bytes([cosign(checkpoint, each) for each in witnesses])
        (registry.site.folder / "log/checkpoint").write_bytes(signed)

    with serving(registry.site.folder) as url:
        place = url if is_http else str(registry.site.folder)
        rule = replace(signed_rule(place), witnesses=WitnessRule(WITNESSES, 2))
        publish(3, 3)
        assert client.resolve(rule).version == "1.0.2"
        before = client.paths.signed_documents.read_bytes()
        publish(4, 900, witnesses=(0, 1) if is_witnessed else (0,))
        if is_witnessed:
            assert client.resolve(rule).index_serial == 900
            assert client.paths.signed_documents.read_bytes() != before
            return
        with pytest.raises(RegistryUnwitnessed):
            client.resolve(rule)
        assert client.paths.signed_documents.read_bytes() == before
        publish(5, 4)
        assert client.resolve(rule).version == "1.0.4"


def test_registry_without_a_log_has_no_witnesses(
    client: Client, tmp_path: Path, domain: LocalDomain
) -> None:
    site = Site(tmp_path / "plain", domain)
    rule = signed_rule(str(site.publish(plugin_entry())))
    assert client.resolve(rule).log_proof is None
    with pytest.raises(RegistryUnwitnessed, match="witnesses") as refused:
        client.resolve(replace(rule, witnesses=WitnessRule(WITNESSES, 1)))
    assert "no log" in refused.value.why


def _rule(**stated: Any) -> RegistryRule:
    def fail(key: str, why: str) -> Any:
        raise ValueError(f"{key}: {why}")

    known = {
        "url": "https://r.example/",
        "domain": "public",
        "identity": "a@b",
        "issuer": "https://c.example",
    }
    return parse_registry(Table(known | stated, fail), domains=None, stated_in="config.toml")


def test_rule_states_witnesses_and_how_many_are_enough() -> None:
    keys = list(map(str, WITNESSES))
    assert _rule().witnesses == WitnessRule()
    assert _rule(witnesses=keys).witnesses == WitnessRule(WITNESSES, 3)
    found = _rule(witnesses=keys, witnesses_needed=2)
    assert found.witnesses == WitnessRule(WITNESSES, 2)
    assert found.to_json()["witnesses"] == keys


@each_row(
    "stated",
    [
        {"witnesses": ["witness.example"]},
        {"witnesses": [str(WITNESSES[0]).replace("+", "+0", 1)]},
        {"witnesses": [str(replace(WITNESSES[0], kind=1))]},
        {"witnesses": [str(WITNESSES[0])] * 2},
        {"witnesses": [str(WITNESSES[0]), str(replace(WITNESSES[0], name="w"))]},
        {"witnesses": [str(WITNESSES[0])], "witnesses_needed": 2},
        {"witnesses": [str(WITNESSES[0])], "witnesses_needed": 0},
        {"witnesses_needed": 1},
        {"witnesses": [str(WITNESSES[0])] * 17},
    ],
)
def test_rule_with_other_witnesses_is_refused(stated: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="witnesses"):
        _rule(**stated)

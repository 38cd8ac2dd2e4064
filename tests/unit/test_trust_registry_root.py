"""The root of a registry: who has to have signed it, and what may never come back."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.errors.registries import (
    IndexUnreadable,
    RegistryExpired,
    RegistryLogForked,
    RegistryOutdated,
    RegistrySignatureInvalid,
    RegistryUnsigned,
)
from aperio_cli.models.digest import Digest
from aperio_cli.models.publisher import LOCAL_ISSUER, PublisherRule
from aperio_cli.models.registry.root import parse_root
from aperio_cli.models.registry.rule import RegistryRule
from aperio_cli.models.tlog.merkle import Tree, leaf_hash
from aperio_cli.models.tlog.tiles import Tile, tile_data
from aperio_cli.registry.log import follow_log
from aperio_cli.trust.registry_root import RootRequest, days_until, verify_root
from tests.builders import unchanged
from tests.rows import each_row
from tests.trust import IDENTITY, Forge, new_domain, root_of
from tests.unit.test_registry_documents import root

if TYPE_CHECKING:
    from pathlib import Path

    from aperio_cli.errors import Refusal
    from aperio_cli.models.tlog.note import Checkpoint
    from aperio_cli.signing.local import LocalDomain

SIGNER = PublisherRule("*", "local", IDENTITY, LOCAL_ISSUER, "config.toml")
RULE = RegistryRule("https://registry.example/", SIGNER)
END = "2999-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> LocalDomain:
    return new_domain(tmp_path_factory.mktemp("signer"))


@dataclass(frozen=True)
class Client:
    """Reads roots, as one machine does."""

    domain: LocalDomain
    memory: Path

    def shown(self, rule: RegistryRule = RULE, **changes: Any) -> RootRequest:
        """A root as the registry's signer signed it."""
        stated = {"expires_at": END, "previous": None}
        data = json.dumps(root(**(stated | changes))).encode()
        bundle = Forge.of(self.domain).bundle_json(Digest.of(data))
        return RootRequest(rule, rule.url, data, bundle, (root_of(self.domain),), self.memory)

    def refuses(self, request: RootRequest, error: type[Refusal]) -> str:
        with pytest.raises(error) as caught:
            verify_root(request)
        assert caught.value.exit_status == 3
        assert "the registry https://registry.example/ was not read" in caught.value.what
        return caught.value.why


@pytest.fixture
def client(domain: LocalDomain, tmp_path: Path) -> Client:
    return Client(domain, tmp_path / "trust" / "signed-documents.json")


def test_root_that_is_signed_as_stated_counts(client: Client) -> None:
    found = verify_root(client.shown(serial=7))
    assert (found.stated.serial, found.signer.identity) == (7, IDENTITY)


def test_root_that_was_verified_is_read_again_without_proving(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aperio_cli.proving import signature

    request = client.shown(serial=7)
    first = verify_root(request)
    monkeypatch.setattr(signature, "verify_signature", None)
    assert verify_root(request) == first


def test_registry_that_nobody_signs_is_refused(client: Client) -> None:
    why = client.refuses(client.shown(RegistryRule(RULE.url)), RegistryUnsigned)
    assert why == "the configuration names nobody who signs it"
    why = client.refuses(replace(client.shown(), bundle=None), RegistryUnsigned)
    assert why == "there is no bundle beside its registry.json"
    assert not client.memory.exists()


@pytest.mark.parametrize(
    "change", [lambda data: data.replace(b"7", b"8", 1), lambda data: data + b" ", lambda _: b"{}"]
)
def test_root_that_was_changed_on_the_way_is_refused(client: Client, change: Any) -> None:
    request = client.shown()
    client.refuses(replace(request, data=change(request.data)), RegistrySignatureInvalid)
    verify_root(request)


def test_root_of_another_signer_is_refused(client: Client) -> None:
    other = replace(RULE, signer=replace(SIGNER, identity="bob@local"))
    why = client.refuses(client.shown(other), RegistrySignatureInvalid)
    assert "identity: expected bob@local, found alice@local" in why
    assert "stated in config.toml" in why


def test_other_registry_of_the_same_signer_is_refused(client: Client) -> None:
    named = replace(RULE, name="main")
    client.refuses(client.shown(named, name="staging"), RegistrySignatureInvalid)
    client.refuses(client.shown(RULE, name="main"), RegistrySignatureInvalid)
    verify_root(client.shown(named, name="main", serial=9))
    verify_root(client.shown(replace(RULE, name="staging"), name="staging", serial=2))


def test_signed_bytes_that_are_no_root_are_refused(client: Client) -> None:
    with pytest.raises(IndexUnreadable) as caught:
        verify_root(client.shown(shards=[]))
    assert "expected 256, found 0" in caught.value.why


# ── going back ────────────────────────────────────────────────────────────────────────────────────


def test_older_root_is_refused_wherever_it_lies(client: Client) -> None:
    older = client.shown(serial=6)
    verify_root(client.shown(serial=7))
    mirror = replace(older, where="https://mirror.example/")
    with unchanged(client.memory), pytest.raises(RegistryOutdated) as caught:
        verify_root(mirror)
    assert "expected epoch 1, serial 7 or higher" in caught.value.why
    assert "found    epoch 1, serial 6" in caught.value.why


def test_other_root_with_the_same_serial_is_refused(client: Client) -> None:
    verify_root(client.shown(serial=7))
    forked = client.shown(serial=7, updated_at="2026-11-02T00:00:00Z")
    assert "another file with epoch 1, serial 7" in client.refuses(forked, RegistryOutdated)


def test_new_epoch_starts_serials_anew_and_never_goes_back(client: Client) -> None:
    verify_root(client.shown(epoch=1, serial=2**53 - 1))
    verify_root(client.shown(epoch=2, serial=1))
    why = client.refuses(client.shown(epoch=1, serial=2**53 - 1), RegistryOutdated)
    assert "expected epoch 2, serial 1 or higher" in why
    verify_root(client.shown(epoch=2, serial=2))


def test_memory_of_before_epochs_is_read(client: Client) -> None:
    verify_root(client.shown(serial=7))
    memory = json.loads(client.memory.read_bytes())
    for document in memory["documents"].values():
        del document["epoch"]
    client.memory.write_text(json.dumps(memory))
    verify_root(client.shown(serial=8))


# ── its end ───────────────────────────────────────────────────────────────────────────────────────


def test_root_that_has_ended_is_refused_with_its_age_and_the_ways_out(client: Client) -> None:
    request = client.shown(updated_at="2026-10-01T00:00:00Z", expires_at="2026-10-31T00:00:00Z")
    late = replace(request, now=datetime(2026, 11, 4, 12, tzinfo=UTC))
    with pytest.raises(RegistryExpired) as caught:
        verify_root(late)
    assert "made  2026-10-01T00:00:00Z, 34 days ago" in caught.value.why
    assert "ended 2026-10-31T00:00:00Z, 4 days ago" in caught.value.why
    assert "see that this machine's clock is right" in caught.value.next[-1]
    assert len(caught.value.next) == 3
    verify_root(replace(request, now=datetime(2026, 10, 31, tzinfo=UTC)))


def test_root_that_counted_ends_all_the_same(client: Client) -> None:
    request = client.shown(expires_at="2026-12-01T00:00:00Z")
    verify_root(replace(request, now=datetime(2026, 11, 30, tzinfo=UTC)))
    late = replace(request, now=datetime(2026, 12, 2, tzinfo=UTC))
    assert "1 day ago" in client.refuses(late, RegistryExpired)


@each_row(("day", "left"), [(1, 30), (30, 1), (31, 0)])
def test_days_left_are_whole_ones(day: int, left: int) -> None:
    stated = root(expires_at="2026-10-31T23:00:00Z", updated_at="2026-10-01T00:00:00Z")
    found = parse_root(json.dumps(stated).encode(), where="registry.json")
    assert days_until(found.expires_at, datetime(2026, 10, day, tzinfo=UTC)) == left
    assert days_until(found.expires_at, datetime(2026, 11, 2, tzinfo=UTC)) < 0


# ── the log ───────────────────────────────────────────────────────────────────────────────────────


def _log(size: int, *, evil: int | None = None) -> Tree:
    return Tree(leaf_hash(b"evil" if n == evil else str(n).encode()) for n in range(size))


def _stated(size: int, tree: Tree, origin: str = "registry.example/log") -> dict[str, Any]:
    return {"serial": size, "log": {"origin": origin, "size": size, "root": tree.root(size).hex()}}


@dataclass(frozen=True)
class Followed:
    """A registry whose log a client follows."""

    client: Client
    tree: Tree

    def show(self, size: int, **changes: Any) -> None:
        """Reads the edition with that many entries."""
        read = functools.partial(follow_log, "registry.example", self._read)
        request = self.client.shown(**(_stated(size, self.tree) | changes))
        verify_root(replace(request, follow=read))

    def _read(self, path: str, limit_bytes: int) -> bytes:
        data = tile_data(self.tree, Tile.parse(path.removeprefix("log/")))
        assert len(data) <= limit_bytes
        return data


def test_log_that_grows_is_followed_from_edition_to_edition(client: Client) -> None:
    honest = Followed(client, _log(9))
    for size in (3, 3, 5, 9):
        honest.show(size)
    remembered = json.loads(client.memory.read_text())["documents"]
    assert [each["log"]["size"] for each in remembered.values()] == [9]


def test_fork_is_refused_and_the_honest_log_still_followed(client: Client) -> None:
    Followed(client, _log(9)).show(5)
    before = client.memory.read_bytes()
    with pytest.raises(RegistryLogForked) as caught:
        Followed(client, _log(9, evil=2)).show(8)
    assert _log(5).root().hex() in caught.value.why
    # Nothing of it is remembered: its higher serial locks nobody out.
    assert client.memory.read_bytes() == before
    Followed(client, _log(9)).show(7)


@pytest.mark.parametrize(
    "stated",
    [
        _stated(4, _log(4)) | {"serial": 6},
        _stated(5, _log(5, evil=4)) | {"serial": 6},
        _stated(9, _log(9), "another log"),
        {"serial": 6, "log": None},
        {"serial": 6, "log": None, "epoch": 2},
    ],
    ids=["shorter", "other", "elsewhere", "gone", "gone-epoch"],
)
def test_log_that_goes_back_is_refused_whatever_the_serial(
    client: Client, stated: dict[str, Any]
) -> None:
    honest = Followed(client, _log(9))
    honest.show(5)
    with pytest.raises(RegistryLogForked):
        honest.show(5, **stated)
    honest.show(9)


def test_whoever_does_not_follow_forgets_nothing(client: Client) -> None:
    honest = Followed(client, _log(9))
    honest.show(5)
    verify_root(client.shown(**_stated(8, _log(8, evil=2))))
    with pytest.raises(RegistryLogForked):
        Followed(client, _log(9, evil=2)).show(9)


def test_newer_log_that_another_process_saw_meanwhile_is_followed(client: Client) -> None:
    honest = Followed(client, _log(9))
    honest.show(3)
    request = client.shown(**_stated(9, honest.tree))
    seen: list[int] = []

    def follow(known: Checkpoint, current: Checkpoint | None) -> None:
        seen.append(known.size)
        if len(seen) == 1:
            honest.show(5)
        follow_log("registry.example", honest._read, known, current)

    verify_root(replace(request, follow=follow))
    assert seen == [3, 5]

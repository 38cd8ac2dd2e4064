"""Signed documents of any kind: here a registry's root, whose bytes come from memory."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli import clock
from aperio_cli.errors.trust import SignatureInvalid
from aperio_cli.models.digest import Digest
from aperio_cli.models.publisher import LOCAL_ISSUER, PublisherRule
from aperio_cli.trust.signed_document import DocumentRequest, Schema, verify_document
from tests.builders import unchanged
from tests.trust import IDENTITY, Forge, new_domain, root_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from aperio_cli.signing.local import LocalDomain


@dataclass(frozen=True)
class Root:
    """What a registry states of itself."""

    serial: int
    expires: str
    name: str


class Refused(SignatureInvalid):
    """The kind's own error."""


def refused(why: str, steps: Sequence[str]) -> Refused:
    return Refused("the registry's root was refused", why=why, next=steps)


INDEX = Schema("index", "the root", lambda data: Root(**json.loads(data)), refused)


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> LocalDomain:
    return new_domain(tmp_path_factory.mktemp("signer"))


@dataclass(frozen=True)
class Registry:
    """Signs roots, and reads them as a client does."""

    domain: LocalDomain
    memory: Path

    def signed(self, serial: int, name: str = "acme", kind: str = "index") -> DocumentRequest[Root]:
        stated = {"serial": serial, "expires": "2999-01-01T00:00:00Z", "name": name}
        data = json.dumps(stated).encode()
        bundle = Forge.of(self.domain).bundle_json(Digest.of(data))
        signer = PublisherRule("*", "local", IDENTITY, LOCAL_ISSUER, "config.toml")
        roots = (root_of(self.domain),)
        schema = replace(INDEX, kind=kind)
        return DocumentRequest(schema, data, bundle, signer, name, roots, self.memory)

    def accepts(self, request: DocumentRequest[Root]) -> int:
        return verify_document(request).stated.serial

    def refuses(self, request: DocumentRequest[Root]) -> str:
        with pytest.raises(Refused) as caught:
            verify_document(request)
        return caught.value.why


@pytest.fixture
def registry(domain: LocalDomain, tmp_path: Path) -> Registry:
    return Registry(domain, tmp_path / "trust" / "signed-documents.json")


def test_first_serial_may_be_zero_and_later_ones_only_rise(registry: Registry) -> None:
    for serial in (0, 0, 1, 5):
        assert registry.accepts(registry.signed(serial)) == serial
    assert "expected serial 5 or higher" in registry.refuses(registry.signed(4))


def test_kinds_and_names_have_serials_of_their_own(registry: Registry) -> None:
    assert registry.accepts(registry.signed(5)) == 5
    assert registry.accepts(registry.signed(1, kind="revocations")) == 1
    assert registry.accepts(registry.signed(2, name="globex")) == 2
    assert registry.refuses(registry.signed(1))


def test_errors_are_the_kinds_own_and_name_the_document(registry: Registry) -> None:
    mixed = replace(registry.signed(1), bundle=registry.signed(2).bundle)
    assert registry.refuses(mixed).startswith(
        "the root was refused: its bundle is the signature of another file"
    )


def test_newer_one_that_another_process_saw_meanwhile_counts(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aperio_cli.trust import signed_document

    registry.accepts(registry.signed(1))
    older, newer = registry.signed(2), registry.signed(3)
    remember = signed_document._remember

    def remember_second(*given: Any) -> None:
        monkeypatch.setattr(signed_document, "_remember", remember)
        registry.accepts(newer)
        remember(*given)

    monkeypatch.setattr(signed_document, "_remember", remember_second)
    assert "expected serial 3 or higher" in registry.refuses(older)


@pytest.mark.parametrize("cause", ["nothing", "judge", "name", "end", "signer", "contents", "root"])
def test_document_that_is_refused_leaves_nothing_behind_whatever_the_reason(
    registry: Registry, cause: str
) -> None:
    def judge(stated: Root) -> None:
        raise refused(f"{stated.serial} is not what is asked for", [])

    assert registry.accepts(registry.signed(4)) == 4
    request, before = registry.signed(9), registry.memory.read_bytes()
    lies: dict[str, dict[str, Any]] = {
        "judge": {"judge": judge},
        "name": {"name": "another"},
        "end": {"now": datetime(2999, 1, 2, tzinfo=UTC)},
        "signer": {"signer": replace(request.signer, identity="mallory@local")},
        "contents": {"data": request.data + b" "},
        "root": {"roots": ()},
    }
    if cause == "nothing":
        assert registry.accepts(request) == 9
        assert "serial 9 or higher" in registry.refuses(registry.signed(5))
        return
    registry.refuses(replace(request, **lies[cause]))
    assert registry.memory.read_bytes() == before
    assert registry.accepts(registry.signed(5)) == 5


def test_document_that_was_accepted_is_judged_again(registry: Registry) -> None:
    def judge(_stated: Root) -> None:
        raise refused("more is asked for by now", [])

    request = registry.signed(4)
    registry.accepts(request)
    assert registry.refuses(replace(request, judge=judge)) == "more is asked for by now"
    assert registry.accepts(request) == 4


def test_memory_of_a_newer_aperio_is_neither_read_nor_changed(registry: Registry) -> None:
    registry.accepts(registry.signed(5))
    ours = json.loads(registry.memory.read_bytes())
    registry.memory.write_text(json.dumps(ours | {"schema": 2}))
    with unchanged(registry.memory):
        for serial in (4, 5, 6):
            why = registry.refuses(registry.signed(serial))
            assert "a newer aperio made it\nexpected schema 1\nfound    schema 2" in why
            assert str(registry.memory) in why
    registry.memory.write_text(json.dumps(ours))
    assert registry.accepts(registry.signed(6)) == 6


@pytest.mark.parametrize("back", [timedelta(days=1), timedelta(days=3650)])
def test_what_a_clock_set_back_makes_young_again_is_refused_and_names_the_clock(
    registry: Registry, back: timedelta
) -> None:
    signed = registry.signed(2)
    assert registry.accepts(signed) == 2
    behind = replace(signed, now=signed.now - back)
    with pytest.MonkeyPatch.context() as patch, unchanged(registry.memory.parent):
        patch.setattr(clock, "now", lambda: behind.now)
        with pytest.raises(Refused) as caught:
            verify_document(behind)
    assert "it was signed at a time that is yet to come" in caught.value.why
    assert "set this machine's clock" in caught.value.next[0]
    assert registry.accepts(signed) == 2


def test_what_a_clock_ahead_has_verified_is_verified_anew(registry: Registry) -> None:
    signed = registry.signed(2)
    registry.accepts(replace(signed, now=signed.now + timedelta(days=400)))
    accepted = verify_document(signed)
    assert (accepted.stated.serial, accepted.verified_at) == (2, clock.format_timestamp(signed.now))


def test_clocks_that_differ_a_little_verify_nothing_anew(registry: Registry) -> None:
    signed = registry.signed(2)
    registry.accepts(replace(signed, now=signed.now + timedelta(minutes=4)))
    with unchanged(registry.memory.parent):
        registry.accepts(signed)


def test_what_has_ended_names_the_clock_too(registry: Registry) -> None:
    signed = registry.signed(2)
    ended = replace(signed, now=datetime(2999, 6, 1, tzinfo=UTC))
    with pytest.raises(Refused, match="was refused") as caught:
        verify_document(ended)
    assert "it says 2999-06-01T00:00:00Z" in caught.value.next[-1]

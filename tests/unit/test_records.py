"""Records of our own read back as they were written; older ones have defaults, damaged ones a "no".

What is written by 0.1.0 has to stay readable, so a key may be added here and none be taken away.
"""

from __future__ import annotations

import json
import random
import string
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.errors.installing import ReceiptInvalid, ReceiptNewer
from aperio_cli.models.artifact import Interpreter, published_name
from aperio_cli.models.digest import Digest
from aperio_cli.models.evidence import (
    Evidence,
    ExceptionGranted,
    Verified,
    evidence_from_json,
    evidence_to_json,
    proof_of,
)
from aperio_cli.models.grant import Grant, OwnRule
from aperio_cli.models.limits import Limits
from aperio_cli.models.manifest import EgressFromConfig, Manifest, Runtime
from aperio_cli.models.origin import ORIGINS, Build, Origin
from aperio_cli.models.plugin_id import PluginId
from aperio_cli.models.policy import PolicyException
from aperio_cli.models.proof import Attestation, LogEntry, Proof, Provenance, RootFacts
from aperio_cli.models.publisher import CiIdentity, Demands, PublisherRule, Signer
from aperio_cli.models.receipt import Precedent, Receipt
from aperio_cli.models.registry.plugin_file import VersionStatus
from aperio_cli.models.tlog.note import Checkpoint, Note
from aperio_cli.models.tlog.proof import LogProof
from aperio_cli.publishing.record import PublishedArtifact, PublishedVersion, Record
from tests.builders import (
    ARM,
    LINUX,
    attestation,
    build_rule,
    build_signer,
    manifest,
    proof,
    receipt,
    rule,
    signer,
    table,
)
from tests.rows import each_row, for_each

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = Path("/nonexistent/plugins/acme/box-connector/1.2.3")
FULL = receipt(
    evidence=Verified(proof(attestations=(attestation(),)), rule(stated_in="")),
    interpreter=Interpreter("/usr/bin/python3.11", "3.11.7", "cp311", "/usr"),
    exceptions=(PolicyException(PluginId("acme", "box"), "", "unverified", "2026-06-30", "x"),),
    index_serial=7,
    origin=Origin("registry", "https://registry.example/"),
    log_proof=LogProof(7, (b"x" * 32,), Note(Checkpoint("log.example", 9, b"r" * 32).text)),
    builds=(Build(LINUX, Digest.of(b"artifact"), 8), Build(ARM, Digest.of(b"other"))),
)


def document(**changes: Any) -> dict[str, Any]:
    """A receipt with every key that there is."""
    stated: dict[str, Any] = json.loads(FULL.to_bytes())
    return stated | changes


def parse(stated: object) -> Receipt:
    return Receipt.parse(json.dumps(stated).encode(), FOLDER)


def keys(stated: object, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every key of a document, each by its path."""
    found: list[tuple[str, ...]] = []
    for key, value in stated.items() if isinstance(stated, dict) else ():
        found += [(*path, key), *keys(value, (*path, key))]
    return found


def without(stated: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    changed: dict[str, Any] = json.loads(json.dumps(stated))
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return changed


# ── what is written reads back ────────────────────────────────────────────────────────────────────


class Some:
    """Makes records of every shape; one seed makes the same ones each time."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - the same records each time

    def text(self) -> str:
        letters = string.ascii_letters + ' \n\t"\\é日\u202e:/@.'
        return "".join(self._random.choices(letters, k=self._random.randrange(12)))

    def flag(self) -> bool:
        return self._random.random() < 0.5

    def number(self) -> int:
        return self._random.randrange(10**6)

    def many(self, make: Callable[[], Any]) -> tuple[Any, ...]:
        return tuple(make() for _ in range(self._random.randrange(4)))

    def perhaps(self, make: Callable[[], Any]) -> Any:
        return make() if self.flag() else None

    def digest(self) -> Digest:
        return Digest.of(self.text().encode())

    def signer(self) -> Signer:
        # A file has the claims sorted.
        claims = sorted(
            {self.text(): self.text() for _ in range(self._random.randrange(4))}.items()
        )
        keys = ("domain", "identity", "issuer", "signed_at", "certificate_digest")
        texts: dict[str, Any] = {key: self.text() for key in keys}
        return signer(claims=tuple(claims), **texts)

    def provenance(self) -> Provenance:
        return Provenance(*[self.text() for _ in range(5)])

    def attestation(self) -> Attestation:
        return Attestation(self.text(), self.signer(), self.perhaps(self.provenance))

    def proof(self) -> Proof:
        return Proof(
            signer=self.signer(),
            root=RootFacts(*[self.text() for _ in range(4)]),
            log_entry=self.perhaps(lambda: LogEntry(self.text(), self.number(), self.number())),
            form=self.text(),
            attestations=self.many(self.attestation),
        )

    def rule(self) -> PublisherRule:
        ci = self.perhaps(lambda: CiIdentity("gitlab", *[self.text() for _ in range(7)]))
        return PublisherRule(
            namespace=self.text(),
            domain=self.text(),
            identity="" if ci else self.text(),
            issuer=self.text(),
            stated_in="",
            ci=ci,
            plugin=self.text(),
            tier=self._random.choice(["community", "verified", "official"]),
            valid_from=self.text(),
            valid_until=self.text(),
            demands=Demands(self.flag(), self.text(), self.text()),
        )

    def evidence(self) -> Evidence:
        if self.flag():
            return Verified(self.proof(), self.rule())
        return ExceptionGranted(*[self.text() for _ in range(4)])

    def manifest(self) -> Manifest:
        is_python = self.flag()
        return replace(
            manifest(),
            name=f"x{self.text()}",
            description=f"{self.text()}.",
            runtime=Runtime("python", ("cp311", "cp312")) if is_python else Runtime("go"),
            homepage=self._random.choice(["", "https://example.org/box"]),
            source=self._random.choice(["", "https://example.org/source"]),
            scopes=self.many(lambda: self._random.choice(["a:b", "c.d"])),
            egress=self.many(lambda: f"*.box.com:{self.number() % 65535 + 1}"),
            egress_from_config=self.many(
                lambda: EgressFromConfig("domain", ".okta.com", self.number() % 65535 + 1)
            ),
            folders_from_config=self.many(lambda: self._random.choice(["folder", "place"])),
            limits=Limits(
                memory_bytes=1024 * (self.number() + 1),
                cpu=(self.number() % 900_000 + 1) / 1000,
                processes=self.number() % 999 + 1,
                open_files=self.number() % 999 + 1,
                tmp_bytes=1024**2 * (self.number() % 999 + 1),
                duration_s=self.number() % 9999 + 1,
            ),
            state=self.flag(),
        )

    def grant(self, asked: Manifest) -> Grant:
        granted = replace(asked, egress=asked.egress[:1], limits=self.manifest().limits)
        own = OwnRule.parse(f"10.0.0.{self.number() % 256}:8088", is_any_protocol=self.flag())
        return Grant(granted if self.flag() else asked, self.many(lambda: own))

    def receipt(self) -> Receipt:
        lifted = ("1.0.0", "unverified", self.text(), self.text())
        asked = self.manifest()
        made = Receipt(
            manifest=asked,
            platform=self.text(),
            artifact_digest=self.digest(),
            tree_digest=self.text(),
            installed_at=self.text(),
            badge=self.text(),
            evidence=self.evidence(),
            source=self.text(),
            interpreter=self.perhaps(
                lambda: Interpreter(self.text(), "3.11.7", self.text(), self.text())
            ),
            folder=FOLDER,
            state_owner="",
            grant=self.grant(asked),
            exceptions=self.many(lambda: PolicyException(PluginId("acme", "box"), *lifted)),
            index_serial=self.perhaps(self.number),
            origin=self.perhaps(lambda: Origin(self._random.choice(ORIGINS), self.text())),
            log_proof=self.perhaps(lambda: FULL.log_proof),
            builds=self.many(lambda: Build(ARM, self.digest(), self.perhaps(self.number))),
        )
        owner = self.perhaps(lambda: f"{made.id} {self.text()}") or str(made.id)
        return replace(made, state_owner=owner)

    def published(self, version: str) -> PublishedVersion:
        platforms = self._random.sample([LINUX, ARM], self._random.randrange(3))
        declared = replace(self.manifest(), version=version)
        artifacts = [
            PublishedArtifact(
                platform,
                published_name(declared.id, version, platform),
                self.digest(),
                self.number(),
                self.perhaps(self.digest),
                self.either("", "https://artifacts.example/x?y=z"),
                self.either((), ("https://mirror.example/x", "oci://ghcr.example/x")),
                self.perhaps(self.digest),
                self.either("", f"t1:{self.digest().hex}"),
            )
            for platform in sorted(platforms)
        ]
        status = VersionStatus("yanked", "loses events", self.time(), self.either("", "1.0.0"))
        return PublishedVersion(
            version,
            self.time(),
            self.signer(),
            declared,
            tuple(artifacts),
            self.either(None, status),
        )

    def time(self) -> str:
        return f"20{self._random.randrange(10, 99)}-01-02T03:04:05Z"

    def either(self, one: Any, other: Any) -> Any:
        return self._random.choice((one, other))


@for_each(range(20))
def test_record_of_a_published_plugin_reads_back_as_it_was_written(seed: int) -> None:
    versions = tuple(Some(seed).published(version) for version in ("2.0.0", "1.10.0", "1.9.0"))
    made = Record(PluginId("acme", "box-connector"), "connector", versions)
    assert Record.from_json(table(json.loads(made.to_bytes()))) == made


@for_each(range(60))
def test_receipt_reads_back_as_it_was_written(seed: int) -> None:
    made = Some(seed).receipt()
    assert Receipt.parse(made.to_bytes(), FOLDER) == made
    assert Precedent.parse(made.to_bytes(), FOLDER) == Precedent(
        made.id, made.version, made.artifact_digest, made.evidence, made.state_owner
    )


@for_each(range(20))
def test_evidence_reads_back_as_it_was_written(seed: int) -> None:
    made = Some(seed).evidence()
    assert evidence_from_json(table(evidence_to_json(made))) == made


def test_a_build_s_rule_and_signer_read_back() -> None:
    made = Verified(proof(signer=build_signer()), build_rule(stated_in=""))
    assert evidence_from_json(table(evidence_to_json(made))) == made


def test_manifest_of_a_record_reads_back_with_all_defaults() -> None:
    assert Manifest.from_record(table({"manifest": manifest().to_json()})) == manifest()


# ── written by an earlier release, or by a later one ──────────────────────────────────────────────

LIMITS = ("cpu", "duration", "memory", "open_files", "processes", "tmp")
OPTIONAL = {
    ("builds",),
    ("log_proof",),
    ("origin",),
    ("origin", "registry"),
    ("exception",),
    ("exceptions",),
    ("index_serial",),
    ("interpreter",),
    ("proof",),
    ("state_owner",),
    *((("proof", key)) for key in ("attestations", "form", "log_entry", "root")),
    *((("proof", "root", key)) for key in ("as_of", "origin", "sha256")),
    *((("manifest", key)) for key in ("homepage", "limits", "permissions", "scopes", "source")),
    ("manifest", "state"),
    ("manifest", "runtime", "tags"),
    *(
        (("manifest", "permissions", key))
        for key in ("egress", "egress_from_config", "folders_from_config")
    ),
    *((("manifest", "limits", k)) for k in LIMITS),
    ("grant",),
    ("grant", "permissions", "folders_from_config"),
    *((("grant", "permissions", key)) for key in ("egress", "egress_from_config")),
    *((("grant", "limits", k)) for k in LIMITS),
    ("rule", "identity"),
    ("signer", "further_domains"),
}


@for_each(sorted(OPTIONAL))
def test_receipt_that_lacks_a_key_of_later_has_its_default(path: tuple[str, ...]) -> None:
    assert path in keys(document())
    read = parse(without(document(), path))
    assert (read.id, read.version) == (FULL.id, FULL.version)
    assert Receipt.parse(read.to_bytes(), FOLDER) == read


@for_each(sorted(set(keys(document())) - OPTIONAL))
def test_receipt_that_lacks_what_all_of_them_have_is_damaged(path: tuple[str, ...]) -> None:
    with pytest.raises(ReceiptInvalid) as caught:
        parse(without(document(), path))
    assert (caught.value.code, caught.value.exit_status) == ("receipt-invalid", 3)
    assert path[-1] in caught.value.why
    assert caught.value.next == ("remove the plugin and install it again",)


def test_receipt_of_a_development_version_that_kept_the_signer_only_has_a_blank_root() -> None:
    read = proof_of(parse(without(document(), ("proof",))).evidence)
    assert read == Proof(signer(), RootFacts("local", "", "", ""))


def test_keys_of_a_later_release_are_ignored_wherever_they_stand() -> None:
    def grown(value: object) -> object:
        if isinstance(value, dict):
            return {key: grown(inner) for key, inner in value.items()} | {"of_later": [{}]}
        return [grown(inner) for inner in value] if isinstance(value, list) else value

    stated = document()
    claims = stated["signer"].pop("claims")  # names that a certificate gives, not keys of ours
    later = grown(stated)
    assert isinstance(later, dict)
    later["signer"]["claims"] = claims
    for each in later["proof"]["attestations"]:
        each["signer"]["claims"].pop("of_later")
    assert parse(later) == FULL


@each_row("schema", ["aperio.receipt/v2", "aperio.receipt/v10"])
@each_row("read", [Receipt.parse, Precedent.parse])
def test_receipt_of_a_newer_schema_says_so_and_asks_for_no_removal(
    schema: str, read: Callable[[bytes, Path], object]
) -> None:
    with pytest.raises(ReceiptNewer) as caught:
        read(json.dumps({"schema": schema}).encode(), FOLDER)
    assert (caught.value.code, caught.value.exit_status) == ("receipt-newer", 3)
    assert "a newer aperio made it" in caught.value.why
    assert caught.value.next == ("use that aperio, or a newer one",)


# ── damaged ───────────────────────────────────────────────────────────────────────────────────────

WRONG: tuple[object, ...] = (
    "",
    "text",
    "\x00",
    5,
    -1,
    1.5,
    True,
    ["list"],
    [{}],
    {},
    {"a": 1},
    None,
)


@for_each(keys(document()))
def test_receipt_with_any_odd_value_reads_or_refuses(path: tuple[str, ...]) -> None:
    """Whatever stands under a key: never a crash, and what is read writes and reads again."""
    for odd in WRONG:
        stated = document()
        inner = stated
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = odd
        try:
            read = parse(stated)
        except ReceiptInvalid:
            continue
        assert Receipt.parse(read.to_bytes(), FOLDER) == read


@for_each(
    [
        {"manifest": {}},
        {"manifest": document()["manifest"] | {"permissions": {"egress": ["api.box.com:port"]}}},
        {"manifest": document()["manifest"] | {"kind": "flow"}},
        {"manifest": document()["manifest"] | {"entrypoint": "../../../bin/sh"}},
        {"entrypoint": "another"},
        {"kind": "destination"},
        {"protocol": "2.0"},
        {"signer": {}},
        {"signer": None},
        {"signer": None, "exception": {}},
        {"signer": signer().to_json() | {"claims": None}},
        {"exception": ExceptionGranted("unsigned", "2026-02-01", "both").to_json()},
        {"rule": None},
        {"proof": {"attestations": [{}]}},
        {"proof": {"attestations": 5}},
        {"proof": {"root": 5}},
        {"proof": {"attestations": [attestation().to_json() | {"provenance": {"builder": 1}}]}},
        {"interpreter": {"executable": "/x", "version": "3", "tag": "cp3", "base_prefix": "/"}},
        {"artifact_sha256": "x"},
        {"schema": "aperio.receipt/v0"},
        {"schema": None},
    ]
)
def test_damaged_receipt_is_refused_and_its_key_named(damage: dict[str, Any]) -> None:
    with pytest.raises(ReceiptInvalid) as caught:
        parse(document(**damage))
    assert any(f"`{key}" in caught.value.why for key in (*damage, "signer"))
    assert str(FOLDER / "receipt.json") in caught.value.what


@each_row("data", [b"", b"{", b"[]", b"5", b"\xff", b"[" * 100_000])
def test_receipt_that_is_no_document_is_refused(data: bytes) -> None:
    with pytest.raises(ReceiptInvalid):
        Receipt.parse(data, FOLDER)


def test_precedent_needs_no_more_than_what_it_says() -> None:
    damaged = document(manifest={}, interpreter=5, exceptions=5, badge=None)
    found = Precedent.parse(json.dumps(damaged).encode(), FOLDER)
    assert (found.version, found.evidence) == (FULL.version, FULL.evidence)


def test_a_message_names_the_place_in_a_list() -> None:
    stated = document()
    del stated["proof"]["attestations"][0]["signer"]["issuer"]
    with pytest.raises(ReceiptInvalid) as caught:
        parse(stated)
    assert "`proof.attestations[0].signer.issuer`" in caught.value.why


@each_row("odd", [["true"], {}, "yes", 1])
def test_state_of_a_manifest_is_a_truth_value_or_refused(odd: object) -> None:
    with pytest.raises(ValueError, match=r"manifest\.state: "):
        Manifest.from_record(table({"manifest": manifest().to_json() | {"state": odd}}))

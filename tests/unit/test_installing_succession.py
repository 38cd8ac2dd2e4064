from __future__ import annotations

import io
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.errors.installing import SignerChanged, VersionChanged
from aperio_cli.errors.trust import ProvenanceMissing
from aperio_cli.installing.succession import Follows, Same, decide_succession, find_same
from aperio_cli.models.artifact import Artifact
from aperio_cli.models.digest import Digest
from aperio_cli.models.evidence import ExceptionGranted, Verified
from aperio_cli.models.ownership import describe, owner_by, owner_of_folder
from aperio_cli.models.policy import Policy, PolicyException
from aperio_cli.models.publisher import LOCAL_DOMAIN
from aperio_cli.store.installed import Standing
from aperio_cli.verifying.decide import AdmittedArtifact, Case, decide
from tests.builders import (
    LINUX,
    attestation,
    build_rule,
    build_signer,
    manifest,
    offer,
    proof,
    receipt,
    rule,
    signer,
)
from tests.rows import for_each, for_rows

if TYPE_CHECKING:
    from aperio_cli.models.evidence import Evidence
    from aperio_cli.models.proof import Proof
    from aperio_cli.models.publisher import PublisherRule
    from aperio_cli.models.receipt import Receipt

TODAY = date(2026, 1, 1)
GRANTED = ExceptionGranted("unsigned", "2026-02-01", "trying it out")
PLACE = Path("/home/plugins/acme/box-connector/1.2.3")
ALICE = proof()
BOB = proof(signer=signer(identity="bob@local"))
PUBLIC = proof(signer=build_signer())
NEXT = proof(signer=build_signer("1.2.3"))
FORK = proof(signer=build_signer(source_repository_identifier="666"))
ATTESTED = proof(attestations=(attestation(),))


def admitted(by: Proof | None, *, lifted: PolicyException | None = None) -> AdmittedArtifact:
    """Version 1.2.3, signed by somebody whom the policy names, or taken unsigned."""
    policy = Policy((_rule_for(by),))
    if lifted:
        policy = replace(policy, require="verified", exceptions=(lifted,))
    found = Artifact(Path("/x"), Digest.of(b"artifact"), 8, manifest(), LINUX)
    offered = offer()
    asked = Case(
        plugin=offered.id,
        version=offered.version,
        proof=by,
        exception=None if by else GRANTED,
        is_local=True,
        policy=policy,
        today=TODAY,
        location=offered.location,
        bundle_name="box.tar.gz.sigstore.json",
    )
    return decide(offered, asked, found, io.BytesIO(), platform=LINUX)


def _rule_for(by: Proof | None) -> PublisherRule:
    if by is None or by.signer.domain == LOCAL_DOMAIN:
        return rule(identity=by.signer.identity if by else "")
    named = build_rule()
    assert named.ci
    repository = by.signer.claim("source_repository_identifier")
    return replace(named, ci=replace(named.ci, repository_id=repository))


def recorded(by: Proof | None, version: str = "1.2.3", **changes: Any) -> Receipt:
    """The record of a version that was signed by somebody, or taken unsigned."""
    evidence: Evidence = Verified(by, rule(stated_in="")) if by else GRANTED
    stated = manifest(version=version)
    owner = owner_by(stated.id, evidence, Digest.of(b"artifact"))
    return receipt(**{"manifest": stated, "evidence": evidence, "state_owner": owner} | changes)


def standing(
    same: Receipt | None = None, predecessor: Receipt | None = None, *, is_whole: bool = True
) -> Standing:
    """With version 1.2.3 there, or another, or both; the one that counts is the current one."""
    counting = predecessor or same
    return Standing(
        place=PLACE,
        current=counting.version if counting else None,
        same=same.precedent if same else None,
        receipt=same if is_whole else None,
        predecessor=counting.precedent if counting else None,
    )


@dataclass(frozen=True)
class Row:
    """One succession: what is there, who offers, whose change is accepted, and what it comes to."""

    name: str
    before: Standing
    offered: Proof | None
    expected: Same | str
    accepted: str = ""

    def __str__(self) -> str:
        return self.name


SAME = recorded(ALICE)
CHANGED = recorded(ALICE, artifact_digest=Digest.of(b"other contents"))
OLDER, NEWER = recorded(ALICE, "1.0.0"), recorded(ALICE, "2.0.0")
INSTALLS, REPAIRS = "installs", "repairs"
ADMITTED = [
    Row("the first version", standing(), ALICE, INSTALLS),
    Row("the first version, unsigned", standing(), None, INSTALLS),
    Row("a newer version", standing(None, OLDER), ALICE, INSTALLS),
    Row("an older version", standing(None, NEWER), ALICE, INSTALLS),
    Row("a workflow's next release", standing(None, recorded(PUBLIC, "1.0.0")), NEXT,
        INSTALLS),
    Row("signed after unsigned", standing(None, recorded(None, "1.0.0")), ALICE,
        INSTALLS),
    Row("unsigned after unsigned", standing(None, recorded(None, "1.0.0")), None,
        INSTALLS),
    Row("attested after not attested", standing(None, OLDER), ATTESTED, INSTALLS),
    Row("the same", standing(SAME), ALICE, Same(SAME)),
    Row("the same, unsigned", standing(recorded(None, badge="unsigned")), None,
        Same(recorded(None, badge="unsigned"))),
    Row("the same on better evidence", standing(SAME), None, Same(SAME)),
    Row("the same, to be current again", standing(SAME, NEWER), ALICE, Same(SAME)),
    Row("the same with more stated", standing(SAME), ATTESTED, INSTALLS),
    Row("the same, signed by now", standing(recorded(None)), ALICE, INSTALLS),
    Row("the same under another badge", standing(recorded(ALICE, badge="verified")), ALICE,
        INSTALLS),
    Row("the same, damaged", standing(SAME, is_whole=False), ALICE, REPAIRS),
    Row("the same, damaged, and unsigned", standing(recorded(None), is_whole=False), None,
        REPAIRS),
    Row("another signer who is named", standing(None, OLDER), BOB, INSTALLS,
        "bob@local"),
    Row("unsigned when that is named", standing(None, OLDER), None, INSTALLS,
        "unsigned"),
    Row("public after local when it is named", standing(None, OLDER), PUBLIC,
        INSTALLS, PUBLIC.signer.identity),
    Row("not attested when the signer is named", standing(None, recorded(ATTESTED, "1.0.0")),
        ALICE, INSTALLS, "alice@local"),
    Row("the same of another signer who is named", standing(SAME, recorded(BOB, "2.0.0",
        state_owner=SAME.state_owner)), ALICE, Same(SAME), "alice@local"),
]  # fmt: skip


@for_each(ADMITTED)
def test_succession_admits(row: Row) -> None:
    outcome = decide_succession(row.before, admitted(row.offered), row.accepted)
    found = (INSTALLS, REPAIRS)[outcome.repairs] if isinstance(outcome, Follows) else outcome
    assert found == row.expected


CURRENT = "acme/box-connector"
HANDED = f"{CURRENT} from somebody"
OF_ALICE, OF_BOB, OF_NOBODY = (
    owner_by(manifest().id, recorded(by).evidence, Digest.of(b"artifact"))
    for by in (ALICE, BOB, None)
)
KEPT = (OF_ALICE, OF_BOB)


@for_rows([
        (standing(), ALICE, "", KEPT, OF_ALICE),
        (standing(), BOB, "", (OF_ALICE,), OF_BOB),
        (standing(), None, "", (OF_ALICE,), OF_NOBODY),
        (standing(), PUBLIC, "", (CURRENT,), None),
        (standing(), BOB, "bob@local", (OF_ALICE,), OF_ALICE),
        (standing(), BOB, "bob@local", (), OF_BOB),
        (standing(), BOB, "bob@local", (OF_BOB, OF_ALICE), OF_BOB),
        (standing(), BOB, "alice@local", (OF_ALICE,), OF_BOB),
        (standing(), None, "unsigned", (OF_ALICE,), OF_ALICE),
        (standing(None, recorded(ALICE, "1.0.0", state_owner=HANDED)), ALICE, "", KEPT, HANDED),
        (standing(None, recorded(ALICE, "1.0.0", state_owner=CURRENT)), ALICE, "", (), CURRENT),
        (standing(None, recorded(ALICE, "1.0.0", state_owner=CURRENT)), BOB, "bob@local", KEPT,
         CURRENT),
        (standing(None, OLDER), None, "unsigned", (), OF_ALICE),
        (standing(None, recorded(None, "1.0.0")), ALICE, "", (), OF_ALICE),
        (standing(None, recorded(None, "1.0.0")), ALICE, "alice@local", (), OF_NOBODY),
        (standing(None, recorded(None, "1.0.0", state_owner=HANDED)), None, "", (), HANDED),
        (standing(None, recorded(PUBLIC, "1.0.0", state_owner=HANDED)), NEXT, "", (), HANDED),
        (standing(recorded(ALICE, state_owner=HANDED), is_whole=False), ALICE, "", (), HANDED),
        (standing(SAME), ALICE, "alice@local", (OF_BOB, OF_ALICE), OF_BOB),
        (standing(recorded(ALICE, state_owner=HANDED)), ATTESTED, "alice@local", KEPT, HANDED),
    ])  # fmt: skip
def test_stored_state_goes_to_its_publisher_or_to_whom_it_was_handed(
    before: Standing, offered: Proof | None, accepted: str, kept: tuple[str, ...], owner: str | None
) -> None:
    offer = admitted(offered)
    owner = owner or owner_by(offer.offer.id, offer.evidence, offer.artifact.digest)
    outcome = decide_succession(before, offer, accepted, kept)
    assert isinstance(outcome, Follows)
    assert outcome.state_owner == owner


@for_rows([
        (OF_ALICE, "what alice@local signed"),
        (OF_NOBODY, f"the unsigned artifact {Digest.of(b'artifact')}"),
        (owner_of_folder(manifest().id, Path("/srv/box")), "the folder /srv/box"),
        *((f"{CURRENT}{told}", "what an earlier aperio ran under this id") for told in (
            "", " (development)", ' ["signed"]', ' ["signed", 1, 2, 3]', ' ["folder", 5]', " 7",
            ' {"signed": "x"}', " " + "[" * 5000, " [[]]", ' ["else", "x"]', " \ud800",
        )),
    ])  # fmt: skip
def test_an_owner_is_described_for_people_whatever_stands_in_the_database(
    owner: str, described: str
) -> None:
    assert describe(owner) == described


def test_the_same_goes_on_with_what_was_handed_to_it() -> None:
    handed = recorded(ALICE, state_owner=HANDED)
    for accepted in ("", "alice@local"):
        assert decide_succession(standing(handed), admitted(ALICE), accepted, KEPT) == Same(handed)


@dataclass(frozen=True)
class Refused:
    """As `Row`, of what is refused: the class of the error, and the end of its sentence."""

    name: str
    before: Standing
    offered: Proof | None
    error: type[Exception]
    what: str
    accepted: str = ""

    def __str__(self) -> str:
        return self.name


OTHER = "somebody else signed it, unlike the installed 1.0.0"
REFUSED = [
    Refused("other contents", standing(CHANGED), ALICE, VersionChanged,
            "this version is installed with other contents"),
    Refused("other contents, damaged",
            standing(CHANGED, is_whole=False), ALICE, VersionChanged,
            "this version is installed with other contents"),
    Refused("other contents, whoever is named", standing(CHANGED), BOB,
            VersionChanged, "this version is installed with other contents", "bob@local"),
    Refused("another signer", standing(None, OLDER), BOB, SignerChanged, OTHER),
    Refused("another signer than is named", standing(None, OLDER), BOB, SignerChanged, OTHER,
            "carol@local"),
    Refused("an older version of another signer", standing(None, recorded(BOB, "1.0.0")), ALICE,
            SignerChanged, OTHER),
    Refused("another repository of that name", standing(None, recorded(PUBLIC, "1.0.0")), FORK,
            SignerChanged, OTHER),
    Refused("public after local", standing(None, OLDER), PUBLIC, SignerChanged, OTHER),
    Refused("local after public", standing(None, recorded(PUBLIC, "1.0.0")), ALICE, SignerChanged,
            OTHER),
    Refused("unsigned after signed", standing(None, OLDER), None, SignerChanged,
            "it is not signed, unlike the installed 1.0.0"),
    Refused("not attested after attested", standing(None, recorded(ATTESTED, "1.0.0")), ALICE,
            ProvenanceMissing,
            "nothing signed says how it was built, unlike the installed 1.0.0"),
    Refused("damaged, and of another signer", standing(SAME, is_whole=False), BOB, SignerChanged,
            "somebody else signed it, unlike the installed 1.2.3"),
    Refused("damaged, and not signed any more", standing(SAME, is_whole=False), None,
            SignerChanged, "it is not signed, unlike the installed 1.2.3"),
    Refused("the same, to be current after another signer",
            standing(SAME, recorded(BOB, "2.0.0")), ALICE, SignerChanged,
            "somebody else signed it, unlike the installed 2.0.0"),
    Refused("the same, unsigned, to be current after a signer",
            standing(recorded(None), NEWER), None, SignerChanged,
            "it is not signed, unlike the installed 2.0.0"),
]  # fmt: skip


@for_each(REFUSED)
def test_succession_refuses(row: Refused) -> None:
    with pytest.raises(row.error) as caught:
        decide_succession(row.before, admitted(row.offered), row.accepted)
    assert str(caught.value) == f"`acme/box-connector` 1.2.3 was not installed: {row.what}"


def test_find_same_looks_at_contents_before_evidence() -> None:
    offered = admitted(ALICE)
    assert find_same(standing(SAME), offered) == SAME
    assert find_same(standing(CHANGED), offered) is None
    assert find_same(standing(None, OLDER), offered) is None
    assert find_same(standing(SAME).damaged(), offered) is None


def test_same_is_what_shows_the_exceptions_of_today() -> None:
    lifted = PolicyException(offer().id, "", "unverified", "2026-06-30", "audit", "config.toml")
    offered = admitted(ALICE, lifted=lifted)
    outcome = decide_succession(standing(SAME), offered, "")
    assert outcome == Follows(repairs=False, state_owner=SAME.state_owner)
    shown = recorded(ALICE, exceptions=(replace(lifted, stated_in=""),))
    assert decide_succession(standing(shown), offered, "") == Same(shown)

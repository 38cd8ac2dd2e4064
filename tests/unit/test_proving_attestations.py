"""Attestations: what is kept of them, and every way in which one is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.errors import Refusal
from aperio_cli.errors.trust import TrustRootMissing
from aperio_cli.models.artifact import MAX_ATTESTATIONS_BYTES, MAX_BUNDLE_BYTES
from aperio_cli.models.digest import Digest
from aperio_cli.models.proof import SBOM_TYPE, Provenance
from aperio_cli.proving.attestations import MAX_ATTESTATIONS, verify_attestations
from tests.rows import each_row
from tests.trust import (
    COMMIT,
    HOSTED_BUILDER,
    REPOSITORY,
    WORKFLOW,
    WORKFLOW_BUILD,
    Forge,
    attestations,
    github_identity,
    new_domain,
    provenance,
    root_of,
    snapshot,
    statement,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aperio_cli.models.proof import Attestation
    from aperio_cli.proving.signature import TrustedRootSource
    from aperio_cli.signing.local import LocalDomain

DIGEST = Digest.of(b"the artifact")
OTHER = Digest.of(b"another artifact")
REF = "refs/tags/v1.2.3"

Document = dict[str, Any]


@pytest.fixture(name="domain")
def _domain(tmp_path: Path) -> LocalDomain:
    return new_domain(tmp_path / "own")


@pytest.fixture(name="forge")
def _forge(domain: LocalDomain) -> Forge:
    """Signs as a release build of GitHub Actions."""
    return Forge.of(domain).but(identity=github_identity())


@pytest.fixture(name="root")
def _root(domain: LocalDomain) -> TrustedRootSource:
    return root_of(domain)


def refusal(data: bytes, root: TrustedRootSource) -> Refusal:
    with pytest.raises(Refusal) as caught:
        verify_attestations(DIGEST, data, [root])
    assert caught.value.exit_status == 3
    return caught.value


def only(forge: Forge, root: TrustedRootSource, predicate: Document) -> Attestation:
    """The attestation of one statement with this predicate."""
    (found,) = verify_attestations(DIGEST, forge.statement(DIGEST, predicate=predicate), [root])
    return found


# ── what is kept ──────────────────────────────────────────────────────────────────────────────────


def test_attestations_are_those_of_the_file_in_its_order(
    forge: Forge, root: TrustedRootSource
) -> None:
    bom: Document = {"bomFormat": "CycloneDX", "components": []}
    lines = [
        forge.statement(DIGEST),
        forge.statement(OTHER, DIGEST, predicateType=SBOM_TYPE, predicate=bom),
    ]
    first, second = verify_attestations(DIGEST, attestations(lines), [root])
    assert first.provenance == Provenance(
        builder=HOSTED_BUILDER,
        build_type=WORKFLOW_BUILD,
        source_repository=REPOSITORY,
        source_digest=COMMIT,
        invocation=f"{REPOSITORY}/actions/runs/42/attempts/1",
    )
    assert (second.predicate_type, second.provenance) == (SBOM_TYPE, None)
    assert first.signer.identity == second.signer.identity == f"{REPOSITORY}/{WORKFLOW}@{REF}"


def test_attestations_may_be_by_several_signers_in_several_domains(
    forge: Forge, root: TrustedRootSource, tmp_path: Path
) -> None:
    other = new_domain(tmp_path / "other")
    lines = [
        forge.statement(DIGEST),
        Forge.of(other).statement(DIGEST, predicateType=SBOM_TYPE, predicate={}),
    ]
    named = type(root)("theirs", root_of(other).document)
    found = verify_attestations(DIGEST, attestations(lines), [root, named])
    assert [attestation.signer.domain for attestation in found] == ["local", "theirs"]


def test_statement_of_the_older_form_is_read(forge: Forge, root: TrustedRootSource) -> None:
    older = forge.statement(DIGEST, _type="https://in-toto.io/Statement/v0.1")
    (found,) = verify_attestations(DIGEST, older, [root])
    assert found.provenance is not None


def test_file_without_a_last_line_end_is_read(forge: Forge, root: TrustedRootSource) -> None:
    assert len(verify_attestations(DIGEST, forge.statement(DIGEST), [root])) == 1


def test_attestation_may_be_longer_than_a_signature(forge: Forge, root: TrustedRootSource) -> None:
    bom = {"components": ["x" * 1000] * 2000}
    line = forge.statement(DIGEST, predicateType=SBOM_TYPE, predicate=bom)
    assert len(line) > 2 * MAX_BUNDLE_BYTES
    assert len(verify_attestations(DIGEST, line, [root])) == 1


def test_verifying_attestations_writes_nothing(
    forge: Forge, root: TrustedRootSource, tmp_path: Path
) -> None:
    line = forge.statement(DIGEST)
    before = snapshot(tmp_path)
    verify_attestations(DIGEST, line, [root])
    refusal(b"{}", root)
    assert snapshot(tmp_path) == before


# ── where provenance says the source is ───────────────────────────────────────────────────────────

ELSEWHERE = "https://github.com/acme/library"


def _dependency(repository: str, commit: str = COMMIT) -> Document:
    return {"uri": f"git+{repository}@{REF}", "digest": {"gitCommit": commit}}


def _built(parameters: object, *dependencies: Document) -> Document:
    """Provenance with these external parameters and dependencies."""
    predicate = provenance()
    predicate["buildDefinition"].update(
        externalParameters=parameters, resolvedDependencies=list(dependencies)
    )
    return predicate


OWN: Document = {"workflow": {"repository": REPOSITORY}}
SOURCES: dict[str, tuple[Document, tuple[str, str]]] = {
    "workflow and its dependency": (_built(OWN, _dependency(REPOSITORY)), (REPOSITORY, COMMIT)),
    "only the workflow": (_built(OWN), (REPOSITORY, "")),
    "only the dependency": (_built({}, _dependency(REPOSITORY)), (REPOSITORY, COMMIT)),
    "two dependencies, one of the workflow": (
        _built(OWN, _dependency(ELSEWHERE, "a" * 40), _dependency(REPOSITORY)),
        (REPOSITORY, COMMIT),
    ),
    "only a dependency that is not the workflow's": (
        _built(OWN, _dependency(ELSEWHERE)),
        (REPOSITORY, ""),
    ),
    "two dependencies and no workflow": (
        _built({}, _dependency(ELSEWHERE), _dependency(REPOSITORY)),
        ("", ""),
    ),
    "the same dependency twice": (
        _built({}, _dependency(REPOSITORY), _dependency(REPOSITORY)),
        (REPOSITORY, COMMIT),
    ),
    "a SHA-256 repository": (_built({}, _dependency(REPOSITORY, "b" * 64)), (REPOSITORY, "b" * 64)),
    "a workflow of another shape": (_built({"workflow": "build"}), ("", "")),
    "parameters of another shape": (_built(["build"]), ("", "")),
    "dependencies that are no repository": (
        _built({}, {"uri": "pkg:pypi/x@1"}, {"digest": {"sha256": "00"}}),
        ("", ""),
    ),
    "no ref": (_built({}, {"uri": f"git+{REPOSITORY}"}), (REPOSITORY, "")),
}


@each_row("case", SOURCES)
def test_source_of_provenance_is_what_it_states_without_doubt(
    case: str, domain: LocalDomain, root: TrustedRootSource
) -> None:
    predicate, expected = SOURCES[case]
    found = only(Forge.of(domain), root, predicate).provenance
    assert found is not None
    assert (found.source_repository, found.source_digest) == expected


def test_provenance_without_source_and_run_is_read(forge: Forge, root: TrustedRootSource) -> None:
    least = {"buildDefinition": {"buildType": "x:y"}, "runDetails": {"builder": {"id": "x:z"}}}
    assert only(forge, root, least).provenance == Provenance("x:z", "x:y")


# ── provenance and the certificate of its maker ───────────────────────────────────────────────────

LIES: dict[str, tuple[Document, str]] = {
    "another repository": (provenance(repository=ELSEWHERE), ELSEWHERE),
    "a repository of a longer name": (
        provenance(repository=f"{REPOSITORY}-fork"),
        f"{REPOSITORY}-fork",
    ),
    "credentials in front of the host": (
        provenance(repository="https://github.com@evil.example/acme/aperio-plugin-box"),
        "https://github.com@evil.example/acme/aperio-plugin-box",
    ),
    "another commit": (provenance(commit="a" * 40), "a" * 40),
    "another workflow as builder": (
        provenance(builder="https://github.com/trusted/ci/.github/workflows/sign.yml@refs/tags/v2"),
        "https://github.com/trusted/ci/.github/workflows/sign.yml@refs/tags/v2",
    ),
}


@each_row("case", LIES)
def test_provenance_refuses_when_it_contradicts_the_certificate(
    case: str, forge: Forge, root: TrustedRootSource
) -> None:
    predicate, stated = LIES[case]
    refused = refusal(forge.statement(DIGEST, predicate=predicate), root)
    assert refused.code == "provenance-mismatch"
    assert refused.why.endswith(f"stated    {stated}")


def test_provenance_of_a_reusable_workflow_names_it_as_builder(
    domain: LocalDomain, root: TrustedRootSource
) -> None:
    signer = "https://github.com/acme/ci/.github/workflows/sign.yml@refs/tags/v2"
    forge = Forge.of(domain).but(identity=github_identity(signer=signer))
    assert only(forge, root, provenance(builder=signer)).provenance is not None


def test_provenance_by_a_person_has_no_certificate_to_agree_with(
    domain: LocalDomain, root: TrustedRootSource
) -> None:
    found = only(Forge.of(domain), root, provenance(repository=ELSEWHERE))
    assert found.provenance is not None
    assert (found.signer.identity, found.provenance.source_repository) == ("alice@local", ELSEWHERE)


# ── statements that are none ──────────────────────────────────────────────────────────────────────


def _without(document: Document, *path: str) -> Document:
    changed = json.loads(json.dumps(document))
    holder = changed
    for key in path[:-1]:
        holder = holder[key]
    del holder[path[-1]]
    return dict(changed)


def _with(document: Document, value: object, *path: str) -> Document:
    changed = json.loads(json.dumps(document))
    holder = changed
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return dict(changed)


LONG = "x" * 2049
STATEMENT = statement(DIGEST)
OUR_SUBJECT = {"name": "", "digest": {"sha256": DIGEST.hex}}
WRONG_STATEMENTS: dict[str, tuple[str, object]] = {
    "a list": ("mapping", [STATEMENT]),
    "a text": ("mapping", "statement"),
    "nothing": ("mapping", None),
    "another version": (
        "Statement/v1",
        _with(STATEMENT, "https://in-toto.io/Statement/v0.2", "_type"),
    ),
    "no type": ("Statement/v1", _without(STATEMENT, "_type")),
    "no subject": ("subjects", _with(STATEMENT, [], "subject")),
    "subjects that are one": ("`subject`", _with(STATEMENT, OUR_SUBJECT, "subject")),
    "too many subjects": ("more than 1024", _with(STATEMENT, [OUR_SUBJECT] * 1025, "subject")),
    "a subject that is a digest": ("`subject`", _with(STATEMENT, [DIGEST.hex], "subject")),
    "a subject without digest": (
        "digest",
        _with(STATEMENT, [OUR_SUBJECT, {"name": "x"}], "subject"),
    ),
    "digests in a list": ("digest", _with(STATEMENT, [{"digest": [DIGEST.hex]}], "subject")),
    "a digest in a list": (
        "digest",
        _with(STATEMENT, [{"digest": {"sha256": [DIGEST.hex]}}], "subject"),
    ),
    "no predicate type": ("predicateType", _without(STATEMENT, "predicateType")),
    "a predicate type that moves the cursor": (
        "predicateType",
        _with(STATEMENT, "https://x/\x1b[2J", "predicateType"),
    ),
    "a predicate type that is blank": ("predicateType", _with(STATEMENT, " ", "predicateType")),
    "a predicate type that is too long": ("predicateType", _with(STATEMENT, LONG, "predicateType")),
    "a predicate that is a list": ("predicate", _with(STATEMENT, [], "predicate")),
    "provenance without a predicate": ("buildDefinition", _without(STATEMENT, "predicate")),
}
_path: tuple[str, ...]
_BUILDER = ("predicate", "runDetails", "builder", "id")
_TYPE = ("predicate", "buildDefinition", "buildType")
_SOURCE = ("predicate", "buildDefinition", "externalParameters", "workflow", "repository")
_DEPENDENCIES = ("predicate", "buildDefinition", "resolvedDependencies")
_RUN = ("predicate", "runDetails", "metadata", "invocationId")
for _path in (_BUILDER, _TYPE):
    WRONG_STATEMENTS[f"no {_path[-1]}"] = (_path[-1], _without(STATEMENT, *_path))
    WRONG_STATEMENTS[f"a blank {_path[-1]}"] = (_path[-1], _with(STATEMENT, "", *_path))
for _path in (_BUILDER, _TYPE, _SOURCE, _RUN):
    for _name, _value in {
        "a number": 5,
        "a list": ["x"],
        "a truth value": True,
        "overlong": LONG,
        "two lines": "x\ny",
        "turned around": "x\u202ey",
        "half a character": "\ud800",
        "a NUL": "x\0",
    }.items():
        _reason = "surrogate" if _value == "\ud800" else f"{_path[-2]}.{_path[-1]}`"
        WRONG_STATEMENTS[f"{_path[-1]}: {_name}"] = (_reason, _with(STATEMENT, _value, *_path))
for _name, _value in {
    "dependencies as an object": {},
    "a URI as number": [{"uri": 5}],
    "a commit as number": [{"uri": "git+https://x", "digest": {"gitCommit": 5}}],
    "a commit of another length": [_dependency(REPOSITORY, "a" * 39)],
    "a commit in upper case": [_dependency(REPOSITORY, "A" * 40)],
    "a commit with a line end": [_dependency(REPOSITORY, "a" * 40 + "\n")],
    "two commits": [_dependency(REPOSITORY), _dependency(REPOSITORY, "b" * 40)],
}.items():
    WRONG_STATEMENTS[_name] = ("", _with(STATEMENT, _value, *_DEPENDENCIES))


@each_row("case", WRONG_STATEMENTS)
def test_signed_statement_refuses_when_its_form_is_wrong(
    case: str, forge: Forge, root: TrustedRootSource
) -> None:
    reason, document = WRONG_STATEMENTS[case]
    line = json.dumps(forge.envelope(json.dumps(document).encode())).encode()
    refused = refusal(line, root)
    assert refused.code == "attestation-malformed"
    assert reason in refused.why
    assert refused.why.isprintable() or "\n" in refused.why


TEXT = json.dumps(STATEMENT)
WRONG_PAYLOADS: dict[str, bytes] = {
    "nothing": b"",
    "not JSON": b"<statement/>",
    "not UTF-8": b"\xff" + TEXT.encode(),
    "UTF-16": TEXT.encode("utf-16"),
    "two byte order marks": b"\xef\xbb\xbf" * 2 + TEXT.encode(),
    "half a pair nowhere looked at": TEXT[:-1].encode() + b', "x": "\\ud800"}',
    "a number beyond a float": TEXT[:-1].encode() + b', "x": 1e400}',
    "deep nesting": b"[" * 100_000,
    "a number of 5000 digits": TEXT[:-1].encode() + b', "x": ' + b"9" * 5000 + b"}",
    "not a number": TEXT[:-1].encode() + b', "x": NaN}',
    "infinity": TEXT[:-1].encode() + b', "x": -Infinity}',
    "two documents": TEXT.encode() + TEXT.encode(),
    "a key twice": TEXT[:-1].encode() + b', "predicateType": "https://cyclonedx.org/bom"}',
    "a key twice further down": TEXT.replace('"name":', '"digest": {}, "name":').encode(),
}


@each_row("case", WRONG_PAYLOADS)
def test_signed_payload_refuses_when_it_cannot_be_read_in_one_way(
    case: str, forge: Forge, root: TrustedRootSource
) -> None:
    line = json.dumps(forge.envelope(WRONG_PAYLOADS[case])).encode()
    assert refusal(line, root).code == "attestation-malformed"


@each_row(
    "digest",
    [
        {"sha256": DIGEST.hex.upper()},
        {"sha256": f"sha256:{DIGEST.hex}"},
        {"sha256": DIGEST.hex[:63]},
        {"sha512": DIGEST.hex},
        {"SHA256": DIGEST.hex},
        {},
    ],
    ids=["upper case", "with algorithm", "short", "of another algorithm", "shouted", "none"],
)
def test_statement_refuses_when_no_subject_has_exactly_the_digest(
    digest: dict[str, str], forge: Forge, root: TrustedRootSource
) -> None:
    line = forge.statement(OTHER, subject=[{"name": "x", "digest": digest}])
    assert refusal(line, root).code == "signature-digest-mismatch"


# ── files of attestations that do not hold ────────────────────────────────────────────────────────

BROKEN_LINES: dict[str, tuple[str, Callable[[Forge, Forge], bytes]]] = {
    "another file's": ("signature-digest-mismatch", lambda own, _: own.statement(OTHER)),
    "an object": ("bundle-malformed", lambda _own, _foreign: b"{}"),
    "a signature": ("bundle-malformed", lambda own, _: own.bundle_json(DIGEST)),
    "another domain's": ("trust-domain-unknown", lambda _, foreign: foreign.statement(DIGEST)),
    "another log's": (
        "signature-invalid",
        lambda own, foreign: own.but(log=foreign.log).statement(DIGEST),
    ),
    "half a bundle": ("bundle-malformed", lambda own, _: own.statement(DIGEST)[:2000]),
    "a lie": (
        "provenance-mismatch",
        lambda own, _: own.statement(DIGEST, predicate=provenance(commit="a" * 40)),
    ),
}


@each_row("position", [0, 1, 2])
@each_row("case", BROKEN_LINES)
def test_one_line_that_does_not_hold_refuses_all(
    case: str, position: int, forge: Forge, root: TrustedRootSource, tmp_path: Path
) -> None:
    code, make = BROKEN_LINES[case]
    lines = [forge.statement(DIGEST), forge.statement(DIGEST)]
    lines.insert(position, make(forge, Forge.of(new_domain(tmp_path / "foreign"))))
    refused = refusal(attestations(lines), root)
    assert refused.code == code
    assert f"line {position + 1} of its attestations" in refused.what


@each_row("data", [b"", b"\n", b" \n \n", b"\n" * 20_000])
def test_file_refuses_when_it_has_no_or_too_many_lines(
    data: bytes, root: TrustedRootSource
) -> None:
    refused = refusal(data, root)
    assert refused.code == "attestation-malformed"
    assert "1 to 32 lines" in refused.why


@each_row(
    "shape",
    ["{0}\n{1}\n", "{0}\n{1}", "{0}\n\n{1}\n", "{0}\n{1}\n\n", "\n{0}\n{1}\n",
     "\n\n\n{0}\n \t\n{1}\n\n\n",
     "{0}\r\n{1}\r\n", "{0}\r\n\r\n{1}\r\n\r\n", " {0} \n{1}"],
)  # fmt: skip
def test_file_may_have_blank_lines_and_ends_of_any_kind(
    shape: str, forge: Forge, root: TrustedRootSource
) -> None:
    lines = [forge.statement(DIGEST).decode().strip() for _ in range(2)]
    assert len(verify_attestations(DIGEST, shape.format(*lines).encode(), [root])) == 2
    broken = shape.format(lines[0], lines[1][:-1]).encode()
    number = 1 + broken[: broken.index(lines[1][:-1].encode())].count(b"\n")
    assert f"line {number} of its attestations" in refusal(broken, root).what


def test_file_may_not_consist_of_line_ends(forge: Forge, root: TrustedRootSource) -> None:
    line = forge.statement(DIGEST).strip()
    assert len(verify_attestations(DIGEST, line + b"\n" * 1023, [root])) == 1
    for most in (1024, MAX_ATTESTATIONS_BYTES - len(line)):
        assert "at most 1024" in refusal(line + b"\n" * most, root).why


@each_row("count", [1, 256, 257, 1024])
def test_statement_may_be_about_as_many_files_as_a_release_has(
    count: int, forge: Forge, root: TrustedRootSource
) -> None:
    others = [{"name": f"{n}.tar.gz", "digest": {"sha256": f"{n:064x}"}} for n in range(1, count)]
    stated = _with(STATEMENT, [*others, OUR_SUBJECT], "subject")
    line = json.dumps(forge.envelope(json.dumps(stated).encode())).encode()
    (found,) = verify_attestations(DIGEST, line, [root])
    assert found.predicate_type == STATEMENT["predicateType"]
    if count > 1:
        document = json.dumps(_with(STATEMENT, others, "subject")).encode()
        about_others = json.dumps(forge.envelope(document)).encode()
        assert refusal(about_others, root).code == "signature-digest-mismatch"


def test_file_refuses_when_it_has_one_line_too_many(forge: Forge, root: TrustedRootSource) -> None:
    line = forge.statement(DIGEST)
    longest = attestations([line] * MAX_ATTESTATIONS)
    assert len(verify_attestations(DIGEST, longest, [root])) == MAX_ATTESTATIONS
    assert refusal(longest + line, root).code == "attestation-malformed"


def test_file_refuses_when_it_is_one_byte_too_long(root: TrustedRootSource) -> None:
    refused = refusal(b" " * (MAX_ATTESTATIONS_BYTES + 1), root)
    assert refused.code == "attestation-malformed"
    assert refused.why == "expected at most 16777216 bytes\nfound    16777217"


def test_attestations_refuse_when_there_is_no_root(forge: Forge) -> None:
    with pytest.raises(TrustRootMissing):
        verify_attestations(DIGEST, forge.statement(DIGEST), [])

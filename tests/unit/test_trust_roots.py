from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sigstore.models import ClientTrustConfig

from aperio_cli import clock
from aperio_cli.config import Config, DomainRule
from aperio_cli.errors import Refusal
from aperio_cli.errors.trust import TrustRootInvalid
from aperio_cli.errors.usage import NotFound, UsageError
from aperio_cli.models.digest import Digest
from aperio_cli.models.policy import Policy
from aperio_cli.models.publisher import PublisherRule
from aperio_cli.paths import Paths, find_paths
from aperio_cli.proving.signature import require_usable, verify_signature
from aperio_cli.proving.trusted_root import TrustedRootSource
from aperio_cli.trust.refreshed import RefreshedRoot, Sighting, Versions
from aperio_cli.trust.root_changes import compare_roots
from aperio_cli.trust.roots import (
    DomainRoot,
    domain_roots,
    refreshed_by_default,
    root_age,
    root_repository,
    trust_config_json,
    trusted_roots,
)
from tests.builders import unchanged
from tests.rows import each_row
from tests.trust import Forge, artifact_at, new_domain
from tests.tuf_repository import TufRepository
from tests.vendor_trust_roots import ROOT, TRUST_ROOTS, vendored

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aperio_cli.signing.local import LocalDomain

PUBLIC_URL = "https://tuf-repo-cdn.sigstore.dev/"
NEXT = Versions(root=16, timestamp=400, snapshot=200, targets=20)
TUF = "https://tuf.acme.example/"


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    made = find_paths({}, home=str(tmp_path / "home"))
    made.refreshed_root("public").parent.mkdir(parents=True)
    return made


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> LocalDomain:
    return new_domain(tmp_path_factory.mktemp("trust"))


@pytest.fixture(scope="module")
def document(domain: LocalDomain) -> bytes:
    """A trusted root that is not one of those shipped."""
    return domain.trusted_root_json().encode()


def shipped(name: str, file: str = "trusted_root.json") -> bytes:
    return (TRUST_ROOTS / name / file).read_bytes()


def public_root(paths: Paths, config: Config | None = None) -> DomainRoot:
    return next(r for r in domain_roots(config or Config(), paths) if r.source.name == "public")


def by_file(path: Path, name: str = "acme") -> Config:
    return Config(domains=(DomainRule(name, path, "", None, "config.toml"),))


def over_tuf(first_root: Path, name: str = "acme", url: str = TUF) -> Config:
    return Config(domains=(DomainRule(name, None, url, first_root, "config.toml"),))


def keep(paths: Paths, copy: bytes, versions: Versions = NEXT) -> None:
    """What a refresh of `public` leaves behind."""
    sighting = Sighting(PUBLIC_URL, "2026-11-01T00:00:00Z", versions)
    config = shipped("public", "signing_config.json")
    RefreshedRoot(sighting, copy, config).write(paths.refreshed_root("public"))


# ── the roots that ship with aperio ───────────────────────────────────────────────────────────────


def test_shipped_roots_are_those_of_the_installed_sigstore() -> None:
    stale = []
    for path, expected in vendored().items():
        found = path.read_bytes() if path.exists() else b""
        if path.name == "metadata.json":  # another sigstore may carry the same roots
            same = bool(found) and json.loads(found)["domains"] == json.loads(expected)["domains"]
        else:
            same = found == expected
        stale += [] if same else [str(path.relative_to(ROOT))]

    assert not stale, (
        "the installed sigstore carries other trusted roots; see what changed, then take them "
        f"over with `python tests/vendor_trust_roots.py`: {stale}"
    )


def test_shipped_folder_holds_nothing_else() -> None:
    found = {path for path in TRUST_ROOTS.rglob("*") if path.is_file()}

    assert found == {*vendored(), TRUST_ROOTS / "README.md"}


@pytest.mark.parametrize("name", ["public", "staging"])
def test_shipped_root_is_usable_today(name: str) -> None:
    config = shipped(name, "signing_config.json")

    require_usable(TrustedRootSource(name, shipped(name)), clock.now(), signing_config=config)


@pytest.mark.parametrize("name", ["public", "staging"])
def test_shipped_date_is_not_older_than_what_the_root_holds(name: str, paths: Paths) -> None:
    [source] = [root for root in trusted_roots(Config(), paths) if root.name == name]
    root = json.loads(source.document)
    starts = [log["publicKey"]["validFor"]["start"] for log in (*root["tlogs"], *root["ctlogs"])]

    assert max(starts) < source.as_of < clock.timestamp()


def test_wheel_carries_the_shipped_roots() -> None:
    from hatchling.builders.wheel import WheelBuilder

    names = {
        found.distribution_path
        for found in WheelBuilder(str(ROOT)).recurse_included_files()
        if "trust/shipped" in found.distribution_path
    }

    assert names >= {str(path.relative_to(ROOT)) for path in vendored()}


# ── which roots there are ─────────────────────────────────────────────────────────────────────────


def test_machine_without_configuration_knows_the_shipped_roots(paths: Paths) -> None:
    found = trusted_roots(Config(), paths)

    assert [(root.name, root.origin, root.problem) for root in found] == [
        ("public", "vendored", ""),
        ("staging", "vendored", ""),
    ]
    assert found[0].document == shipped("public")


def test_roots_come_in_the_order_local_configured_public_staging(
    tmp_path: Path, paths: Paths, document: bytes
) -> None:
    new_domain(paths.home)
    stated = tmp_path / "root.json"
    stated.write_bytes(document)

    found = trusted_roots(by_file(stated), paths)

    assert [(root.name, root.origin) for root in found] == [
        ("local", "local"),
        ("acme", "file"),
        ("public", "vendored"),
        ("staging", "vendored"),
    ]


def test_file_with_a_trusted_root_is_taken_byte_for_byte(
    tmp_path: Path, paths: Paths, document: bytes
) -> None:
    stated = tmp_path / "root.json"
    stated.write_bytes(document)

    source = trusted_roots(by_file(stated), paths)[0]

    assert (source.document, source.as_of, source.problem) == (document, "", "")


@pytest.mark.parametrize("indent", [None, 4])
def test_file_with_a_trust_config_gives_its_trusted_root(
    tmp_path: Path, paths: Paths, indent: int | None
) -> None:
    stated = tmp_path / "config.json"
    config = json.loads(trust_config_json("public", Config(), paths))
    stated.write_text(json.dumps(config, indent=indent))

    source = trusted_roots(by_file(stated), paths)[0]

    assert json.loads(source.document) == config["trustedRoot"]
    assert source.facts.digest == Digest.of(source.document).hex
    require_usable(source, clock.now())


def make_folder(path: Path) -> None:
    path.mkdir()


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    "make",
    [
        lambda _: None,
        lambda path: path.write_bytes(b"not json"),
        lambda path: path.write_bytes(b"[]"),
        lambda path: path.write_bytes(b"[" * 100_000),
        lambda path: path.write_bytes(b" " * (1024 * 1024 + 1)),
        make_folder,
        make_pipe,
    ],
    ids=["missing", "text", "list", "deep", "long", "folder", "pipe"],
)
def test_broken_file_is_a_problem_of_its_own_domain_only(
    tmp_path: Path, paths: Paths, make: Callable[[Path], None]
) -> None:
    stated = tmp_path / "root.json"
    make(stated)

    found = domain_roots(by_file(stated), paths)

    assert [(root.source.name, bool(root.source.problem)) for root in found] == [
        ("acme", True),
        ("public", False),
        ("staging", False),
    ]
    assert str(stated) in found[0].source.problem
    assert found[0].source.document == b""


# ── verification with a root that cannot be used ──────────────────────────────────────────────────


def test_broken_root_stands_in_nobodys_way_when_another_one_proves_it(
    tmp_path: Path, paths: Paths
) -> None:
    own = new_domain(paths.home)
    artifact = artifact_at(tmp_path / "artifact")

    proof = verify_signature(
        artifact.digest,
        Forge.of(own).bundle_json(artifact.digest),
        trusted_roots(by_file(tmp_path), paths),
    )

    assert proof.root.name == "local"


def test_broken_root_is_named_when_nothing_else_proves_it(
    tmp_path: Path, paths: Paths, domain: LocalDomain
) -> None:
    artifact = artifact_at(tmp_path / "artifact")
    missing = tmp_path / "gone.json"

    with pytest.raises(Refusal) as refusal:
        verify_signature(
            artifact.digest,
            Forge.of(domain).bundle_json(artifact.digest),
            trusted_roots(by_file(missing), paths),
        )

    assert "`acme`" in refusal.value.what
    assert str(missing) in refusal.value.why


# ── refreshed copies ──────────────────────────────────────────────────────────────────────────────


def test_refreshed_copy_is_used_when_it_is_newer(paths: Paths, document: bytes) -> None:
    keep(paths, document)

    root = public_root(paths)

    assert (root.source.document, root.source.origin) == (document, "refreshed")
    assert root.source.as_of == "2026-11-01T00:00:00Z"
    assert root.source.problem == ""


def test_refreshed_copy_is_not_used_when_aperio_ships_a_newer_root(
    paths: Paths, document: bytes
) -> None:
    keep(paths, document, Versions(1, 1, 1, 1))

    root = public_root(paths)

    assert (root.source.document, root.source.origin) == (shipped("public"), "vendored")


def test_refreshed_copy_is_not_used_when_another_repository_gave_it(
    paths: Paths, document: bytes
) -> None:
    sighting = Sighting("https://evil.example/", "2026-11-01T00:00:00Z", NEXT)
    RefreshedRoot(sighting, document).write(paths.refreshed_root("public"))

    assert public_root(paths).source.origin == "vendored"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    """Another valid document, as a flipped bit could give."""
    found = path.read_bytes()
    assert b"local.aperio" in found
    path.write_bytes(found.replace(b"local.aperio", b"lokal.aperio"))


def rename_schema(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"_root/v1", b"_tree/v1"))


def drop_versions(path: Path) -> None:
    document = json.loads(path.read_bytes())
    del document["versions"]
    path.write_text(json.dumps(document))


def drop_text(path: Path) -> None:
    document = json.loads(path.read_bytes())
    document["trusted_root"] = ["text"]
    path.write_text(json.dumps(document))


def turn_to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def turn_to_dangling_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        empty,
        rename_schema,
        drop_versions,
        turn_to_folder,
        turn_to_dangling_link,
        flip,
        drop_text,
    ],
)
def test_damaged_copy_is_refused_and_the_shipped_root_not_taken_for_it(
    paths: Paths, document: bytes, damage: Callable[[Path], None]
) -> None:
    """It may have ended an authority that the shipped root still trusts."""
    keep(paths, document)
    damage(paths.refreshed_root("public"))

    source = public_root(paths).source

    assert source.document == b""
    assert f"{paths.refreshed_root('public')} is damaged" in source.problem
    assert "`aperio trust refresh public`" in source.remedies[0]
    assert "remove that file" in source.remedies[1]


def test_copy_of_a_newer_aperio_is_refused_and_nobody_is_told_to_remove_it(
    paths: Paths, document: bytes
) -> None:
    keep(paths, document)
    path = paths.refreshed_root("public")
    path.write_text(
        path.read_text().replace("aperio.refreshed_root/v1", "aperio.refreshed_root/v2")
    )

    with unchanged(path):
        source = public_root(paths).source

    assert source.problem.startswith(f"`{path}` was left as it is: a newer aperio made it")
    assert source.remedies == ("use that aperio, or a newer one",)


def test_refusal_over_a_damaged_copy_says_what_to_do(
    tmp_path: Path, paths: Paths, domain: LocalDomain, document: bytes
) -> None:
    keep(paths, document)
    cut(paths.refreshed_root("public"))
    artifact = artifact_at(tmp_path / "artifact")
    public = public_root(paths).source

    with pytest.raises(TrustRootInvalid) as refusal:
        verify_signature(artifact.digest, Forge.of(domain).bundle_json(artifact.digest), [public])

    assert refusal.value.next == public.remedies


def test_removed_copy_begins_again_from_the_shipped_root(paths: Paths, document: bytes) -> None:
    keep(paths, document)
    paths.refreshed_root("public").unlink()

    source = public_root(paths).source

    assert (source.document, source.origin) == (shipped("public"), "vendored")
    assert (source.problem, source.remedies) == ("", ())


@pytest.mark.parametrize("contents", [b"", b"{", b'{"schema": "aperio.seen_root/v1"}'])
def test_records_of_versions_that_an_earlier_aperio_kept_are_not_read(
    paths: Paths, document: bytes, contents: bytes
) -> None:
    keep(paths, document)
    paths.refreshed_root("public").with_name("public.seen.json").write_bytes(contents)

    source = public_root(paths).source

    assert (source.document, source.problem) == (document, "")


def test_staging_is_not_touched_by_damage_to_public(paths: Paths, document: bytes) -> None:
    keep(paths, document)
    cut(paths.refreshed_root("public"))

    assert trusted_roots(Config(), paths)[-1].document == shipped("staging")


# ── domains that are got over TUF ─────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def first_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tuf") / "root.json"
    path.write_bytes(TufRepository().first_root)
    return path


def test_domain_over_tuf_cannot_be_used_before_it_was_got(paths: Paths, first_root: Path) -> None:
    source = trusted_roots(over_tuf(first_root), paths)[0]

    assert "nothing was got yet" in source.problem
    assert source.remedies == ("get it: `aperio trust refresh acme`",)


@pytest.mark.parametrize("url", [TUF, TUF.rstrip("/")])
def test_domain_over_tuf_is_what_was_got(
    paths: Paths, first_root: Path, document: bytes, url: str
) -> None:
    key = root_repository("acme", over_tuf(first_root)).key
    sighting = Sighting(key, "2026-11-01T00:00:00Z", Versions(1, 1, 1, 1))
    RefreshedRoot(sighting, document).write(paths.refreshed_root("acme"))

    source = trusted_roots(over_tuf(first_root, url=url), paths)[0]

    assert (source.document, source.origin, source.problem) == (document, "refreshed", "")


def test_domain_over_tuf_starts_again_when_another_first_root_is_stated(
    tmp_path: Path, paths: Paths, first_root: Path, document: bytes
) -> None:
    key = root_repository("acme", over_tuf(first_root)).key
    sighting = Sighting(key, "2026-11-01T00:00:00Z", Versions(1, 1, 1, 1))
    RefreshedRoot(sighting, document).write(paths.refreshed_root("acme"))
    other = tmp_path / "root.json"
    other.write_bytes(TufRepository().first_root)

    assert trusted_roots(over_tuf(other), paths)[0].problem
    assert trusted_roots(over_tuf(first_root, url="https://other.example/"), paths)[0].problem


def test_domain_over_tuf_cannot_be_used_without_its_first_root(
    tmp_path: Path, paths: Paths
) -> None:
    missing = tmp_path / "gone.json"

    assert str(missing) in trusted_roots(over_tuf(missing), paths)[0].problem
    with pytest.raises(TrustRootInvalid, match="first TUF root"):
        root_repository("acme", over_tuf(missing))


@each_row("name", ["acme", "nonsense", "../x"])
def test_only_repositories_can_be_refreshed(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError) as error:
        root_repository(name, by_file(tmp_path / "root.json"))

    assert "these can be: public, staging" in error.value.next[-1]


def test_local_domain_has_no_newer_root_to_get() -> None:
    with pytest.raises(UsageError, match="this machine's own") as error:
        root_repository("local", Config())

    assert "public, staging" in error.value.next[-1]


def test_staging_is_refreshed_only_when_a_rule_is_about_it(first_root: Path) -> None:
    rule = PublisherRule("acme", "staging", "a@acme.example", "https://issuer.example", "f")

    assert refreshed_by_default(over_tuf(first_root)) == ("public", "acme")
    assert refreshed_by_default(Config(policy=Policy((rule,)))) == ("public", "staging")


# ── trust configs for signing ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["public", "staging"])
def test_trust_config_is_read_by_sigstore(paths: Paths, name: str) -> None:
    read = ClientTrustConfig.from_json(trust_config_json(name, Config(), paths))

    assert read.signing_config.get_tlogs()
    assert (
        json.loads(shipped(name))
        == json.loads(trust_config_json(name, Config(), paths))["trustedRoot"]
    )


def test_trust_config_of_a_file_is_that_file(tmp_path: Path, paths: Paths) -> None:
    stated = tmp_path / "config.json"
    stated.write_text(trust_config_json("staging", Config(), paths))

    found = trust_config_json("acme", by_file(stated), paths)

    assert json.loads(found) == json.loads(stated.read_text())


def test_trust_config_is_refused_when_only_a_trusted_root_is_known(
    tmp_path: Path, paths: Paths, document: bytes
) -> None:
    stated = tmp_path / "root.json"
    stated.write_bytes(document)

    with pytest.raises(NotFound, match="no services that sign"):
        trust_config_json("acme", by_file(stated), paths)


def test_trust_config_is_refused_when_the_root_cannot_be_used(tmp_path: Path, paths: Paths) -> None:
    with pytest.raises(TrustRootInvalid) as error:
        trust_config_json("acme", by_file(tmp_path / "gone"), paths)

    assert "gone" in error.value.why


def test_trust_config_is_refused_for_an_unknown_name(paths: Paths) -> None:
    with pytest.raises(UsageError) as error:
        trust_config_json("publik", Config(), paths)

    assert error.value.why == "known here: public, staging, local"


# ── age ───────────────────────────────────────────────────────────────────────────────────────────

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@each_row(
    ("age", "text"),
    [
        (timedelta(days=21, hours=3), "21 days old"),
        (timedelta(days=1), "1 day old"),
        (timedelta(hours=23), "less than a day old"),
        (timedelta(minutes=-4), "less than a day old"),
        (timedelta(days=-3), "of a time yet to come (2026-11-25T12:00:00Z): see the clock"),
    ],
)
def test_age_is_told_in_days(age: timedelta, text: str) -> None:
    source = TrustedRootSource("public", b"{}", "vendored", clock.format_timestamp(NOW - age))

    assert root_age(source, NOW) == text


@each_row(
    ("origin", "as_of", "text"),
    [
        ("file", "", "of unknown age"),
        ("local", "", "made here"),
        ("refreshed", "nonsense", "of unknown age"),
        ("refreshed", "2026-11-01", "of unknown age"),
    ],
)
def test_age_is_not_made_up(origin: str, as_of: str, text: str) -> None:
    assert root_age(TrustedRootSource("x", b"{}", origin, as_of), NOW) == text


# ── what changed ──────────────────────────────────────────────────────────────────────────────────


def changed(edit: Callable[[dict[str, Any]], object]) -> list[str]:
    root = json.loads(shipped("public"))
    edit(root)
    return [str(change) for change in compare_roots(shipped("public"), json.dumps(root).encode())]


def test_same_root_has_no_changes() -> None:
    assert changed(lambda root: root) == []


def test_removed_log_is_named() -> None:
    [line] = changed(lambda root: root["tlogs"].pop(1))

    assert line.startswith("removed log https://log2025-1.rekor.sigstore.dev (key ")


def test_ended_authority_is_named_with_its_end() -> None:
    end = {"end": "2026-06-01T00:00:00Z"}
    [line] = changed(lambda root: root["certificateAuthorities"][1]["validFor"].update(end))

    assert line.startswith("ended certificate authority https://fulcio.sigstore.dev (key ")
    assert line.endswith("(until 2026-06-01T00:00:00Z)")


def test_later_beginning_counts_as_an_end() -> None:
    start = {"start": "2026-06-01T00:00:00Z"}
    [line] = changed(lambda root: root["tlogs"][0]["publicKey"]["validFor"].update(start))

    assert line.startswith("ended log https://rekor.sigstore.dev")


def test_period_that_is_open_again_is_a_change_and_no_end() -> None:
    [line] = changed(lambda root: root["ctlogs"][0]["publicKey"]["validFor"].pop("end"))

    assert line.startswith("changed certificate log https://ctfe.sigstore.dev/test")


def test_other_key_at_the_same_address_is_another_log() -> None:
    other = json.loads(shipped("staging"))["tlogs"][0]["publicKey"]["rawBytes"]
    lines = changed(lambda root: root["tlogs"][0]["publicKey"].update(rawBytes=other))

    assert [line.split(" (")[0] for line in lines] == [
        "added log https://rekor.sigstore.dev",
        "removed log https://rekor.sigstore.dev",
    ]


@pytest.mark.parametrize("before", [b"", b"nonsense"])
def test_everything_is_added_to_nothing(before: bytes) -> None:
    assert {change.what for change in compare_roots(before, shipped("public"))} == {"added"}

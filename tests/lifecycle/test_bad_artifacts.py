"""Artifacts that must not be installed: each refused by `verify` and `install`, nothing changed.

The hostile archives are signed by the very identity that the operator trusts, so that nothing but
the reader of archives stands between them and the disk.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aperio_cli import clock
from aperio_cli.models.artifact import BUNDLE_SUFFIX
from aperio_cli.models.digest import Digest
from aperio_cli.models.platform import Platform
from aperio_cli.signing.local import open_domain
from tests.archives import END, Fields, gzip_of, tar_member, zeros_gzip
from tests.builders import (
    ARM,
    go_members,
    index_bytes,
    index_entry,
    index_version,
    manifest_bytes,
    python_members,
    registry_folder,
    write_artifact,
)
from tests.lifecycle.plugins import PLUGIN
from tests.trust import Forge

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lifecycle.cli import Aperio
    from tests.lifecycle.conftest import Workshop

NAME = "box-connector_1.2.3_linux_amd64.tar.gz"
LINKED = Fields(linkname=b"/etc/passwd")


def forge_of(aperio: Aperio) -> Forge:
    return Forge.of(open_domain(aperio.home / "trust" / "local"))


def signed(aperio: Aperio, contents: bytes, *, forge: Forge | None = None) -> Path:
    """A file with these contents and a bundle of the operator's own trust domain."""
    artifact = aperio.folder / NAME
    artifact.write_bytes(contents)
    bundle = (forge or forge_of(aperio)).bundle_json(Digest.of(contents))
    artifact.with_name(NAME + BUNDLE_SUFFIX).write_bytes(bundle)
    return artifact


def good(aperio: Aperio) -> Path:
    """An artifact that would be installed."""
    return signed(aperio, write_artifact(aperio.folder / "made", go_members()).read_bytes())


def archive_of(*members: bytes, end: bytes = END) -> bytes:
    return gzip_of(b"".join((tar_member("manifest.yaml", manifest_bytes()), *members, end)))


def bomb() -> bytes:
    """A few kilobytes that unpack to 64 MiB of zeros."""
    size_bytes = 64 * 1024 * 1024
    head = tar_member("manifest.yaml", manifest_bytes())
    head += tar_member("zeros", fields=Fields(size=b"%011o\0" % size_bytes))
    return zeros_gzip(head, size_bytes)


ARCHIVES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "empty": ("archive-truncated", lambda: b""),
    "cut in the gzip": ("archive-truncated", lambda: archive_of()[:-30]),
    "cut in the tar": ("archive-truncated", lambda: archive_of(end=b"")),
    "no archive": ("archive-malformed", lambda: b"#!/bin/sh\nrm -rf /\n"),
    "symbolic link": (
        "archive-member-type",
        lambda: archive_of(tar_member("x", kind=b"2", fields=LINKED)),
    ),
    "hard link": (
        "archive-member-type",
        lambda: archive_of(tar_member("x", kind=b"1", fields=LINKED)),
    ),
    "character device": ("archive-member-type", lambda: archive_of(tar_member("x", kind=b"3"))),
    "block device": ("archive-member-type", lambda: archive_of(tar_member("x", kind=b"4"))),
    "pipe": ("archive-member-type", lambda: archive_of(tar_member("x", kind=b"6"))),
    "absolute path": ("archive-path", lambda: archive_of(tar_member("/etc/x", b"x"))),
    "path that climbs out": ("archive-path", lambda: archive_of(tar_member("../x", b"x"))),
    "name twice": (
        "archive-duplicate",
        lambda: archive_of(tar_member("x", b"1"), tar_member("x", b"2")),
    ),
    "manifest twice": (
        "archive-duplicate",
        lambda: archive_of(tar_member("manifest.yaml", b"id: evil/one\n")),
    ),
    "bomb": ("archive-too-large", bomb),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_signed_but_hostile_archive_is_refused(aperio: Aperio, name: str) -> None:
    code, contents = ARCHIVES[name]
    artifact = signed(aperio, contents())
    told = aperio.refuses("plugin", "install", artifact, code=code, status=3)
    assert told.what.startswith((f"`{PLUGIN}` 1.2.3 was not installed", f"`{artifact}` "))
    assert told.why
    assert told.next
    assert code in aperio("plugin", "verify", artifact, status=3).err


@pytest.mark.parametrize("command", ["sign", "add"])
def test_a_hostile_archive_is_neither_signed_nor_published(aperio: Aperio, command: str) -> None:
    artifact = signed(aperio, archive_of()[:-30])
    words = {
        "sign": ("plugin", "sign", artifact, "--trust", "local"),
        "add": ("registry", "add", artifact, "--dir", "registry"),
    }[command]
    aperio("registry", "init", "registry")
    aperio.refuses(*words, code="archive-truncated", status=3)


# ── signatures ────────────────────────────────────────────────────────────────────────────────────


def test_an_artifact_without_a_bundle_is_refused(aperio: Aperio) -> None:
    artifact = good(aperio)
    artifact.with_name(NAME + BUNDLE_SUFFIX).unlink()
    told = aperio.refuses("plugin", "install", artifact, code="signature-missing", status=3)
    assert told.why == f"there is no Sigstore bundle for {artifact}"


def test_a_bundle_of_another_file_is_refused_with_both_digests(aperio: Aperio) -> None:
    artifact = good(aperio)
    artifact.write_bytes(write_artifact(aperio.folder / "made", python_members()).read_bytes())
    told = aperio.refuses("plugin", "install", artifact, code="signature-digest-mismatch", status=3)
    assert str(Digest.of(artifact.read_bytes())) in told.why


@pytest.mark.parametrize("text", ["", "not json", "{}", '{"mediaType": "x"}'])
def test_a_bundle_that_is_none_is_refused(aperio: Aperio, text: str) -> None:
    artifact = good(aperio)
    artifact.with_name(NAME + BUNDLE_SUFFIX).write_text(text)
    aperio.refuses("plugin", "install", artifact, code="bundle-malformed", status=3)


def test_a_publisher_without_a_rule_is_refused_and_its_identity_shown(aperio: Aperio) -> None:
    rules = aperio.home / "managed.toml"
    rules.write_text(rules.read_text().replace('"*"', '"globex"'))
    told = aperio.refuses("plugin", "install", good(aperio), code="publisher-unknown", status=3)
    assert "acme" in told.what + told.why
    assert "alice@local" in told.why
    assert told.next


def test_a_signer_who_is_not_the_publisher_is_refused_with_both_names(aperio: Aperio) -> None:
    forge = forge_of(aperio)
    mallory = forge.but(identity=replace(forge.identity, subject="mallory@local"))
    contents = write_artifact(aperio.folder / "made", go_members()).read_bytes()
    artifact = signed(aperio, contents, forge=mallory)
    told = aperio.refuses(
        "plugin", "install", artifact, code="signature-identity-mismatch", status=3
    )
    assert "alice@local" in told.why
    assert "mallory@local" in told.why


def test_without_a_trust_domain_nothing_is_installed(stranger: Aperio, workshop: Workshop) -> None:
    told = stranger.refuses(
        "plugin", "install", next(workshop.box.glob("*.gz")), code="trust-domain-unknown", status=3
    )
    assert not any("--allow-unsigned" in step for step in told.next)
    assert not stranger.home.exists()


# ── what the artifact says of itself ──────────────────────────────────────────────────────────────


def test_an_artifact_that_is_another_plugin_than_offered_is_refused(aperio: Aperio) -> None:
    artifact = good(aperio)
    version = index_version(
        download_url=NAME,
        sha256=Digest.of(artifact.read_bytes()).hex,
        sigstore_bundle=artifact.with_name(NAME + BUNDLE_SUFFIX).read_text(),
    )
    index = index_bytes(index_entry(version, id="acme/hello-connector"))
    registry = registry_folder(aperio.folder / "public", index)
    shutil.copy(artifact, registry)
    told = aperio.refuses(
        "plugin", "install", "acme/hello-connector", "--registry", registry,
        code="manifest-mismatch", status=3,
    )  # fmt: skip
    assert PLUGIN in told.why
    assert told.what.startswith("`acme/hello-connector` 1.2.3 was refused and nothing of it was")


def test_an_artifact_of_another_major_interface_is_refused_at_install(aperio: Aperio) -> None:
    contents = write_artifact(aperio.folder / "made", go_members(protocol="2.0")).read_bytes()
    told = aperio.refuses(
        "plugin", "install", signed(aperio, contents), code="protocol-incompatible", status=6
    )
    assert "2.0" in told.why
    assert "1.0" in told.why


def test_an_artifact_without_a_matching_interpreter_is_refused(aperio: Aperio) -> None:
    members = [member for member in python_members("cp398") if "cp399" not in member.path]
    contents = write_artifact(aperio.folder / "made", members).read_bytes()
    told = aperio.refuses(
        "plugin", "install", signed(aperio, contents), code="interpreter-missing", status=6
    )
    assert "cp398" in told.why
    assert told.next


def test_a_version_that_changed_is_refused_with_both_digests(aperio: Aperio) -> None:
    first = good(aperio)
    aperio("plugin", "install", first)
    before = Digest.of(first.read_bytes())
    made = write_artifact(aperio.folder / "made", go_members(description="Something else"))
    second = signed(aperio, made.read_bytes())
    told = aperio.refuses("plugin", "install", second, code="version-changed", status=3)
    assert str(before) in told.why
    assert str(Digest.of(second.read_bytes())) in told.why


def test_verify_refuses_a_changed_version_as_install_does(aperio: Aperio) -> None:
    aperio("plugin", "install", good(aperio))
    made = write_artifact(aperio.folder / "made", go_members(description="Something else"))
    second = signed(aperio, made.read_bytes())
    aperio.refuses("plugin", "verify", second, code="version-changed", status=3)


@pytest.mark.parametrize("command", ["install", "verify"])
def test_a_folder_is_no_artifact(aperio: Aperio, command: str) -> None:
    told = aperio.refuses("plugin", command, aperio.folder, code="not-found", status=1)
    done = {"install": "it was not installed", "verify": "it was not verified"}[command]
    assert told.what == f"`{aperio.folder}` is a folder; {done}"


@pytest.mark.parametrize("command", ["install", "verify"])
def test_what_is_neither_id_nor_path_is_named_before_a_registry_is(
    aperio: Aperio, command: str
) -> None:
    told = aperio.refuses("plugin", command, "box.zip", code="plugin-id-invalid", status=2)
    assert "neither a plugin id nor a path" in told.what
    assert "check the path" in told.next[1]


def test_a_bundle_that_cannot_be_read_is_no_fault_of_the_verifier(aperio: Aperio) -> None:
    artifact = good(aperio)
    below_a_file = artifact / "bundle.json"
    words = ("plugin", "verify", artifact, "--bundle", below_a_file)
    told = aperio.refuses(*words, code="not-found", status=1)
    assert (str(below_a_file) in told.what, told.why) == (True, "Not a directory")


@pytest.mark.parametrize("command", ["install", "verify"])
def test_evidence_may_stand_elsewhere(aperio: Aperio, command: str) -> None:
    artifact = write_artifact(aperio.folder / "made", go_members())
    (sign,) = aperio("plugin", "sign", artifact, "--trust", "local", "--json").data["bundles"]
    moved = []
    for kind in ("bundle", "attestations"):
        there = Path(sign[kind])
        moved += [f"--{kind}", there.rename(aperio.folder / f"{kind} elsewhere")]
    data = aperio("plugin", command, artifact, *moved, "--json").data
    found = data if command == "verify" else data["installed"][0]
    assert [a["predicate_type"] for a in found["proof"]["attestations"]] == sign["statements"]


@pytest.mark.parametrize("option", ["--bundle", "--attestations"])
@pytest.mark.parametrize("command", ["install", "verify"])
def test_evidence_for_what_a_registry_offers_comes_from_there(
    aperio: Aperio, command: str, option: str
) -> None:
    artifact = good(aperio)
    version = index_version(download_url=NAME, sha256=Digest.of(artifact.read_bytes()).hex)
    registry = registry_folder(aperio.folder / "public", index_bytes(index_entry(version)))
    words = ("plugin", command, "acme/box-connector", "--registry", registry, option, artifact)
    told = aperio.refuses(*words, code="usage", status=2)
    assert "go with an artifact;" in told.what


@pytest.mark.parametrize("option", ["--bundle", "--attestations"])
def test_evidence_is_given_for_one_artifact_at_a_time(aperio: Aperio, option: str) -> None:
    artifact = good(aperio)
    words = ("plugin", "install", artifact, artifact, option, artifact)
    aperio.refuses(*words, code="usage", status=2)


def test_a_new_signer_is_accepted_for_one_plugin_at_a_time(aperio: Aperio) -> None:
    artifact = good(aperio)
    accepted = ("--accept-new-signer", "alice@local")
    told = aperio.refuses(
        "plugin", "install", artifact, artifact, *accepted, code="usage", status=2
    )
    assert told.next[0] == "install them one by one"


# ── consent to an unsigned one ────────────────────────────────────────────────────────────────────


def test_an_unsigned_artifact_is_installed_only_with_date_and_reason_and_stays_visible(
    aperio: Aperio,
) -> None:
    artifact = good(aperio)
    artifact.with_name(NAME + BUNDLE_SUFFIX).unlink()
    unsigned = ("plugin", "install", artifact, "--allow-unsigned")
    aperio.refuses(*unsigned, code="usage", status=2)
    aperio.refuses(*unsigned, "--until", "2999-01-01", code="usage", status=2)
    for day in ("2001-01-01", "2999-01-01", "tomorrow"):
        aperio.refuses(*unsigned, "--until", day, "--reason", "trial", code="usage", status=2)
    day = (clock.now() + timedelta(days=30)).date().isoformat()
    aperio(*unsigned, "--until", day, "--reason", "trial")
    assert f"unsigned until {day}" in aperio("plugin", "list").out


def test_consent_to_unsigned_is_not_for_what_a_registry_offers(
    aperio: Aperio, registry: Path
) -> None:
    told = aperio.refuses(
        "plugin", "install", "acme/hello-connector", "--registry", registry,
        "--allow-unsigned", "--until", "2999-01-01", "--reason", "trial",
        code="usage", status=2,
    )  # fmt: skip
    assert "nothing was installed" in told.what


# ── what was asked for, and did not come of it ────────────────────────────────────────────────────

DEEDS = {
    "verify": (("plugin", "verify"), "was not verified", "it was not verified"),
    "add": (("registry", "add", "--dir", "registry"), "was not added", "it was not added"),
    "install": (
        ("plugin", "install"),
        "was refused and nothing of it was installed",
        "it was not installed",
    ),
}


@pytest.mark.parametrize("deed", DEEDS)
def test_a_refusal_names_the_deed_that_was_asked_for(aperio: Aperio, deed: str) -> None:
    words, refused, nothing = DEEDS[deed]
    aperio("registry", "init", "registry")
    artifact = good(aperio)
    bundle = artifact.with_name(NAME + BUNDLE_SUFFIX)
    kept = bundle.read_bytes()
    bundle.unlink()
    told = aperio.refuses(*words, artifact, code="signature-missing", status=3)
    assert told.what == f"`{PLUGIN}` 1.2.3 {refused}: it is not signed"
    bundle.write_bytes(kept)
    rules = aperio.home / "managed.toml"
    stated = rules.read_text()
    rules.write_text(stated.replace('"*"', '"globex"'))
    told = aperio.refuses(*words, artifact, code="publisher-unknown", status=3)
    assert told.what.startswith(f"`{PLUGIN}` 1.2.3 {refused}: no rule")
    rules.write_text(stated)
    aperio(*words, artifact)
    artifact.unlink()
    if deed != "add":
        told = aperio.refuses(*words, artifact, code="not-found", status=1)
        assert told.what == f"`{artifact}` cannot be read; {nothing}"


def test_verify_says_of_another_signer_what_would_not_be_done(aperio: Aperio) -> None:
    aperio("plugin", "install", good(aperio))
    made = write_artifact(aperio.folder / "made", go_members(description="Something else"))
    second = signed(aperio, made.read_bytes())
    told = aperio.refuses("plugin", "verify", second, code="version-changed", status=3)
    assert told.what.startswith(f"`{PLUGIN}` 1.2.3 would not be installed: ")
    told = aperio.refuses("plugin", "install", second, code="version-changed", status=3)
    assert told.what.startswith(f"`{PLUGIN}` 1.2.3 was not installed: ")


# ── for another machine ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("platform", ["linux/arm64", "darwin/amd64", "windows/arm64"])
def test_an_artifact_for_another_machine_is_verified_and_not_installed(
    aperio: Aperio, platform: str
) -> None:
    here = good(aperio)
    aperio("plugin", "install", here)
    made = write_artifact(aperio.folder / "there", go_members(), platform=Platform.parse(platform))
    aperio("plugin", "sign", made, "--trust", "local")
    with aperio.unchanged():
        person = aperio("plugin", "verify", made)
        script = aperio("plugin", "verify", made, "--json")
    assert f"it is for {platform}, not for this machine (linux/amd64)\n" in person.err
    assert f"{PLUGIN} 1.2.3 (connector, {platform})" in person.out
    assert (script.data["platform"], script.data["is_for_this_machine"]) == (platform, False)
    assert aperio("plugin", "verify", here, "--json").data["is_for_this_machine"]
    aperio.refuses("plugin", "install", made, code="platform-incompatible", status=6)


def test_an_artifact_for_another_machine_is_held_to_its_signature(aperio: Aperio) -> None:
    made = write_artifact(aperio.folder / "there", go_members(), platform=ARM)
    aperio.refuses("plugin", "verify", made, code="signature-missing", status=3)

"""Every hostile artifact ends in one refusal, with its code and status, and leaves no trace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from aperio_cli.archive import writing
from aperio_cli.errors import AperioError
from aperio_cli.models.artifact import BUNDLE_SUFFIX
from aperio_cli.models.plugin_id import PluginId
from aperio_cli.models.policy import Policy, PolicyException
from aperio_cli.models.publisher import Demands
from tests.archives import (
    END,
    Fields,
    gzip_of,
    tar_member,
    zeros_gzip,
)
from tests.builders import (
    ARM,
    Machine,
    go_members,
    manifest_bytes,
    rule,
    unchanged,
    write_artifact,
)
from tests.trust import new_domain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aperio_cli.signing.local import LocalDomain


BOX = PluginId("acme", "box-connector")


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> LocalDomain:
    return new_domain(tmp_path_factory.mktemp("trust"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, domain: LocalDomain) -> Machine:
    """A machine on which an earlier version is installed."""
    made = Machine(tmp_path_factory.mktemp("installed"), domain)
    made.install(made.signed(version="1.0.0"))
    return made


@pytest.fixture
def machine(tmp_path: Path, installed: Machine) -> Machine:
    """A copy of it, in which there is something to lose."""
    return installed.copied(tmp_path)


def refused(machine: Machine, artifact: Path) -> AperioError:
    """The refusal, after which nothing is different."""
    with unchanged(machine.root), pytest.raises(AperioError) as caught:
        machine.install(artifact)
    assert caught.value.what.startswith(("`acme/box-connector` ", f"`{artifact}` ", "`manifest"))
    assert caught.value.next
    return caught.value


# ── archives: signed by whom the policy names, hostile all the same ───────────────────────────────


def archive_of(*members: bytes, manifest: bytes | None = None, end: bytes = END) -> bytes:
    """An artifact with a valid manifest and these members."""
    first = tar_member("manifest.yaml", manifest_bytes() if manifest is None else manifest)
    return gzip_of(b"".join((first, *members, end)))


def bomb() -> bytes:
    """A few kilobytes that unpack to hundreds of megabytes of zeros in one file."""
    size = 300 * 1024 * 1024
    head = tar_member("manifest.yaml", manifest_bytes())
    head += tar_member("zeros", fields=Fields(size=b"%011o\0" % size))
    return zeros_gzip(head, size)


LINKED = Fields(linkname=b"/etc/passwd")


@dataclass(frozen=True)
class Attack:
    code: str
    contents: Callable[[], bytes]


ATTACKS = {
    "truncated gzip": Attack("archive-truncated", lambda: archive_of()[:-30]),
    "truncated tar": Attack("archive-truncated", lambda: archive_of(end=b"")),
    "empty file": Attack("archive-truncated", lambda: b""),
    "not an archive": Attack("archive-malformed", lambda: b"#!/bin/sh\nrm -rf /\n"),
    "no manifest": Attack(
        "archive-manifest-missing", lambda: gzip_of(tar_member("bin/x", b"x") + END)
    ),
    "symbolic link": Attack(
        "archive-member-type", lambda: archive_of(tar_member("x", kind=b"2", fields=LINKED))
    ),
    "hard link": Attack(
        "archive-member-type", lambda: archive_of(tar_member("x", kind=b"1", fields=LINKED))
    ),
    "device": Attack("archive-member-type", lambda: archive_of(tar_member("x", kind=b"3"))),
    "pipe": Attack("archive-member-type", lambda: archive_of(tar_member("x", kind=b"6"))),
    "pax header": Attack(
        "archive-member-type", lambda: archive_of(tar_member("x", b"9 path=y\n", kind=b"x"))
    ),
    "climbs out": Attack("archive-path", lambda: archive_of(tar_member("../x", b"x"))),
    "climbs out below": Attack("archive-path", lambda: archive_of(tar_member("a/../../x", b"x"))),
    "absolute": Attack("archive-path", lambda: archive_of(tar_member("/etc/x", b"x"))),
    "twice": Attack(
        "archive-duplicate", lambda: archive_of(tar_member("x", b"1"), tar_member("x", b"2"))
    ),
    "second manifest": Attack(
        "archive-duplicate", lambda: archive_of(tar_member("manifest.yaml", b"id: evil/one\n"))
    ),
    "case only": Attack(
        "archive-duplicate", lambda: archive_of(tar_member("x", b"1"), tar_member("X", b"2"))
    ),
    "bomb": Attack("archive-too-large", bomb),
    "trailing data": Attack("archive-malformed", lambda: archive_of() + b"more"),
    "bytecode": Attack(
        "artifact-bytecode", lambda: archive_of(tar_member("lib/app/x.pyc", b"\xa7\x0d\x0d\x0a"))
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_install_refuses_a_signed_archive_that_is(machine: Machine, name: str) -> None:
    attack = ATTACKS[name]
    path = machine.root / "box-connector_1.2.3_linux_amd64.tar.gz"
    path.write_bytes(attack.contents())
    machine.sign(path)
    error = refused(machine, path)
    assert (error.code, error.exit_status) == (attack.code, 3)


# ── manifests ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("manifest", "code"),
    [
        (b"a: [", "manifest-invalid"),
        (b"", "manifest-invalid"),
        (b"\xff\xfe", "manifest-invalid"),
        (manifest_bytes(schema="aperio.plugin.manifest/v2"), "manifest-invalid"),
        (manifest_bytes(surprise="x"), "manifest-invalid"),
        (manifest_bytes(id=None), "manifest-invalid"),
        (manifest_bytes(id="../x"), "manifest-invalid"),
        (manifest_bytes(id="acme/../x"), "manifest-invalid"),
        (manifest_bytes(version="1"), "manifest-invalid"),
        (manifest_bytes(version="../../x"), "manifest-invalid"),
        (manifest_bytes(entrypoint="../../bin/sh"), "manifest-invalid"),
        (manifest_bytes(kind="rootkit"), "manifest-kind-unknown"),
    ],
)
def test_install_refuses_a_signed_artifact_with_a_bad_manifest(
    machine: Machine, manifest: bytes, code: str
) -> None:
    path = machine.root / "box-connector_1.2.3_linux_amd64.tar.gz"
    path.write_bytes(archive_of(manifest=manifest))
    machine.sign(path)
    error = refused(machine, path)
    assert (error.code, error.exit_status) == (code, 1)


# ── signatures ────────────────────────────────────────────────────────────────────────────────────


def test_install_refuses_an_artifact_without_a_bundle(machine: Machine) -> None:
    error = refused(machine, write_artifact(machine.root / "dist", go_members(version="2.0.0")))
    assert (error.code, error.exit_status) == ("signature-missing", 3)


def test_install_refuses_the_bundle_of_another_file(machine: Machine) -> None:
    path, other = machine.signed(version="2.0.0"), machine.signed(version="3.0.0")
    bundle = other.with_name(other.name + BUNDLE_SUFFIX).read_bytes()
    path.with_name(path.name + BUNDLE_SUFFIX).write_bytes(bundle)
    error = refused(machine, path)
    assert (error.code, error.exit_status) == ("signature-digest-mismatch", 3)


@pytest.mark.parametrize("contents", [b"", b"{}", b"not json", b"[]", b"x" * (1024 * 1024 + 1)])
def test_install_refuses_what_is_no_bundle(machine: Machine, contents: bytes) -> None:
    path = machine.signed(version="2.0.0")
    path.with_name(path.name + BUNDLE_SUFFIX).write_bytes(contents)
    error = refused(machine, path)
    assert (error.code, error.exit_status) == ("bundle-malformed", 3)


def test_install_refuses_one_changed_byte(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "GZIP_LEVEL", 6)  # stored, it would not be a whole gzip file
    path = machine.signed(version="2.0.0")
    data = bytearray(path.read_bytes())
    data[-9] ^= 1  # behind all that a reader of the manifest looks at
    path.write_bytes(data)
    error = refused(machine, path)
    assert (error.code, error.exit_status) == ("signature-digest-mismatch", 3)


def test_install_refuses_the_signature_of_another_trust_domain(
    machine: Machine, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = write_artifact(machine.root / "dist", go_members(version="2.0.0"))
    Machine(machine.root, new_domain(tmp_path_factory.mktemp("other"))).sign(path)
    error = refused(machine, path)
    assert (error.code, error.exit_status) == ("trust-domain-unknown", 3)


def test_install_refuses_a_publisher_without_a_rule(machine: Machine) -> None:
    stranger = machine.but(policy=Policy((rule(namespace="other"),)))
    error = refused(stranger, machine.signed(version="2.0.0"))
    assert (error.code, error.exit_status) == ("publisher-unknown", 3)
    bundle = machine.root / "dist" / "box-connector_2.0.0_linux_amd64.tar.gz.sigstore.json"
    assert f"`aperio trust publisher add acme --from-bundle {bundle}`" in error.next[0]


def test_install_refuses_a_publisher_whom_the_rule_does_not_name(machine: Machine) -> None:
    path = machine.sign(machine.signed(version="2.0.0"), identity="mallory@local")
    error = refused(machine, path)
    assert (error.code, error.exit_status) == ("signature-identity-mismatch", 3)
    assert "identity\n    expected  alice@local\n    found     mallory@local" in error.why


def test_install_refuses_a_publisher_who_is_not_verified_where_that_is_required(
    machine: Machine,
) -> None:
    strict = machine.but(policy=Policy((rule(),), require="verified"))
    error = refused(strict, machine.signed(version="2.0.0"))
    assert (error.code, error.exit_status) == ("publisher-unverified", 3)


def test_install_refuses_without_the_provenance_that_is_required(machine: Machine) -> None:
    strict = machine.but(policy=Policy((rule(),), require_provenance=True))
    error = refused(strict, machine.signed(version="2.0.0"))
    assert (error.code, error.exit_status) == ("provenance-missing", 3)


def test_install_refuses_provenance_of_another_builder_than_the_rule_demands(
    machine: Machine,
) -> None:
    demanding = rule(demands=Demands(builder="https://builder.acme.example"))
    strict = machine.but(policy=Policy((demanding,)))
    error = refused(strict, machine.attest(machine.signed(version="2.0.0")))
    assert (error.code, error.exit_status) == ("provenance-mismatch", 3)
    assert "expected  https://builder.acme.example" in error.why


def test_install_refuses_an_exception_that_has_ended(machine: Machine) -> None:
    ended = PolicyException(BOX, "", "unsigned", "2020-01-01", "trying it out", "config.toml")
    lenient = machine.but(policy=Policy((rule(),), exceptions=(ended,)))
    path = write_artifact(machine.root / "dist", go_members(version="2.0.0"))
    error = refused(lenient, path)
    assert (error.code, error.exit_status) == ("exception-expired", 3)


# ── incompatible ──────────────────────────────────────────────────────────────────────────────────


def test_install_refuses_another_platform(machine: Machine) -> None:
    path = write_artifact(machine.root / "dist", go_members(version="2.0.0"), platform=ARM)
    error = refused(machine, machine.sign(path))
    assert (error.code, error.exit_status) == ("platform-incompatible", 6)


def test_install_refuses_another_major_of_the_interface(machine: Machine) -> None:
    error = refused(machine, machine.signed(version="2.0.0", protocol="2.1"))
    assert (error.code, error.exit_status) == ("protocol-incompatible", 6)
    assert error.why == "plugin 2.1\naperio 1.0"


def test_install_takes_a_newer_minor_of_the_interface(machine: Machine) -> None:
    report = machine.install(machine.signed(version="2.0.0", protocol="1.7"))
    assert report.receipt.protocol == (1, 7)

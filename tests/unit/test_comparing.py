from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from aperio_cli.comparing import Component, Difference, Seen, SeenFile, compare
from aperio_cli.comparing.looking import look_at_admitted, look_at_installed, read_bill
from aperio_cli.models.evidence import Verified
from aperio_cli.models.grant import Grant
from aperio_cli.models.limits import Limits
from aperio_cli.models.manifest import EgressFromConfig, Manifest, Runtime
from aperio_cli.models.plugin_id import PluginId, PluginRef
from aperio_cli.models.proof import PROVENANCE_TYPE, Attestation, Provenance
from tests.builders import Machine, manifest, new_machine, proof, python_members, rule, signer
from tests.rows import each_row, for_each

if TYPE_CHECKING:
    from pathlib import Path

BOX = PluginId("acme", "box-connector")
MEMORY = 1024**2


def seen(**changes: Any) -> Seen:
    files = {"bin/box": SeenFile("a" * 64, 0o755, 3), "LICENSE": SeenFile("b" * 64, 0o644, 5)}
    bill = {"pkg:pypi/idna": Component(("3.7",), ("c" * 64,))}
    evidence = Verified(proof(), rule())
    return replace(Seen("installed", manifest(), evidence, "", bill, files), **changes)


def built(builder: str) -> Verified:
    stated = Attestation(PROVENANCE_TYPE, signer(), Provenance(builder, "https://x/type", "git+x"))
    return Verified(proof(attestations=(stated,)), rule())


def lines(before: Seen, after: Seen) -> list[str]:
    return list(compare(before, after).lines())


def test_the_same_version_has_no_difference() -> None:
    difference = compare(seen(), seen())
    assert difference.is_none
    said = difference.to_json()
    assert said["permissions"] == {"more": [], "less": [], "limits": []}
    assert said["dependencies"] == {"is_known": True, "added": [], "removed": [], "changed": []}


AFTER: dict[str, tuple[dict[str, Any], str]] = {
    "a host": (
        {"manifest": replace(manifest(), egress=("api.evil.test:443", *manifest().egress))},
        "+ egress  api.evil.test:443",
    ),
    "no host": ({"manifest": replace(manifest(), egress=())}, "- egress  api.box.com:443"),
    "a scope": (
        {"manifest": replace(manifest(), scopes=(*manifest().scopes, "x:y"))}, "+ scope   x:y",
    ),
    "state": ({"manifest": replace(manifest(), state=True)}, "+ state   keeps values"),
    "a limit up": (
        {"manifest": replace(manifest(), limits=Limits(memory_bytes=900 * MEMORY))},
        "  limit   memory 900MiB, before",
    ),
    "a limit down": (
        {"manifest": replace(manifest(), limits=Limits(memory_bytes=20 * MEMORY))},
        "  limit   memory 20MiB, before",
    ),
    "a licence": ({"manifest": replace(manifest(), license="GPL-3.0-only")}, "  license  GPL-3.0"),
    "another signer": (
        {"evidence": Verified(proof(signer=signer(identity="mallory@local")), rule())},
        "  signer  mallory@local, before alice@local",
    ),
    "nobody who counts": (
        {"evidence": None, "refusal": "signature-missing"},
        "  signer  nobody who counts here (signature-missing)",
    ),
    "provenance": ({"evidence": built("https://builder")}, "  built   by https://builder of git+x"),
    "a dependency": (
        {"components": {"pkg:pypi/idna": Component(("3.7",), ("c" * 64,)), "x": Component(("1",))}},
        "+ depends x 1",
    ),
    "no dependency": ({"components": {}}, "- depends pkg:pypi/idna 3.7"),
    "a newer dependency": (
        {"components": {"pkg:pypi/idna": Component(("3.8",), ("d" * 64,))}},
        "  depends pkg:pypi/idna 3.8, before 3.7",
    ),
    "other contents of a dependency": (
        {"components": {"pkg:pypi/idna": Component(("3.7",), ("d" * 64,))}},
        "  depends pkg:pypi/idna 3.7, with other contents",
    ),
    "no bill": ({"components": None}, "  depends on what nobody knows"),
    "a file": (
        {"files": {**seen().files, "lib/x.py": SeenFile("e" * 64, 0o644, 9)}},
        "+ file    lib/x.py",
    ),
    "a mode": (
        {"files": {**seen().files, "LICENSE": SeenFile("b" * 64, 0o755, 5)}},
        "  file    LICENSE",
    ),
}  # fmt: skip


@for_each(AFTER)
def test_difference_names_what_is_different_and_only_that(name: str) -> None:
    changes, expected = AFTER[name]
    found = lines(seen(), seen(**changes))
    assert any(line.startswith(expected) for line in found), found
    kinds = {line[2:].split()[0] for line in found}
    assert len(kinds - {"size", "by", "nobody"}) == 1, found
    assert json.loads(json.dumps(compare(seen(), seen(**changes)).to_json()))


OTHERWISE: dict[str, Any] = {
    "id": PluginId("acme", "vault"),
    "kind": "destination",
    "provider": "VAULT",
    "license": "GPL-3.0-only",
    "protocol": (1, 9),
    "runtime": Runtime("python", ("cp311",)),
    "entrypoint": "vault",
    "homepage": "https://acme.example",
    "source": "https://acme.example/source",
    "scopes": ("x:y",),
    "egress": ("api.vault.test:443",),
    "egress_from_config": (EgressFromConfig("domain", ".vault.test", 443),),
    "folders_from_config": ("folder",),
    "limits": Limits(memory_bytes=900 * MEMORY),
    "state": True,
}
"""Of every key of a manifest another value; of a permission a wider one."""
TOLD_OTHERWISE = {"version", "name", "description"}
"""Which two are compared stands above a difference; names and descriptions say nothing safe."""


def test_every_key_of_a_manifest_has_a_value_here() -> None:
    assert OTHERWISE.keys() | TOLD_OTHERWISE == {each.name for each in fields(Manifest)}


@each_row("key", OTHERWISE)
def test_no_key_of_a_manifest_changes_silently_and_none_that_is_granted_unasked(key: str) -> None:
    stated = Grant(manifest()).to_json()
    granted = {*stated, *manifest().to_json()["permissions"]} - {"own", "permissions"}  # type: ignore[misc]
    difference = compare(seen(), seen(manifest=replace(manifest(), **{key: OTHERWISE[key]})))
    assert list(difference.lines())
    assert bool(difference.more) == (key in granted)


def test_a_limit_is_a_permission_when_it_is_raised_and_only_then() -> None:
    more = seen(manifest=replace(manifest(), limits=Limits(memory_bytes=900 * MEMORY)))
    assert [line.split()[0] for line in compare(seen(), more).more] == ["limit"]
    assert compare(more, seen()).more == ()
    assert compare(more, seen()).less == ()


def test_a_renewed_certificate_is_no_other_signer() -> None:
    renewed = Verified(proof(signer=signer(signed_at="2027-01-01T00:00:00Z")), rule())
    assert compare(seen(), seen(evidence=renewed)).is_same_signer


def test_lists_are_cut_for_people_and_whole_for_scripts() -> None:
    files = {f"lib/{number:03}.py": SeenFile("e" * 64, 0o644, 9) for number in range(300)}
    difference = compare(seen(), seen(files={**seen().files, **files}))
    found = list(difference.lines())
    assert len(found) < 30
    assert found[-1] == "  and 280 more"
    assert len(difference.to_json()["files"]["added"]) == 300


def test_text_of_a_plugin_cannot_pass_for_ours() -> None:
    odd = {"x\n+ egress  y": Component(("1\x1b[2J",))}
    said = read_bill(json.dumps({"components": [{"name": n} for n in odd]}).encode())
    assert said
    shown = lines(seen(components={}), seen(components=said))
    assert all("\n" not in line and "\x1b" not in line for line in shown), shown


@each_row(
    "data",
    [b"", b"[]", b"{}", b'{"components": 5}', b'{"components": [5]}', b"[" * 5000, b"\xff"],
)
def test_a_bill_that_cannot_be_read_is_none(data: bytes) -> None:
    assert read_bill(data) is None


def test_bill_joins_the_versions_of_one_component() -> None:
    stated = [
        {"purl": "pkg:pypi/idna@3.7", "version": "3.7", "hashes": [{"content": "c" * 64}]},
        {"purl": "pkg:pypi/idna@3.8", "version": "3.8"},
        {"name": "without purl", "version": "1"},
    ]
    assert read_bill(json.dumps({"components": stated}).encode()) == {
        "pkg:pypi/idna": Component(("3.7", "3.8"), ("c" * 64,)),
        "without purl": Component(("1",)),
    }


def test_an_installed_version_is_as_its_artifact_was(tmp_path: Path) -> None:
    machine: Machine = new_machine(tmp_path)
    path = machine.signed(python_members())
    machine.install(path)
    receipt = machine.store.get(PluginRef(BOX))
    with machine.verify(path) as admitted:
        offered = look_at_admitted(admitted, "registry")
    difference: Difference = compare(look_at_installed(machine.store, receipt), offered)
    assert difference.is_none, list(difference.lines())
    assert offered.size_bytes > 0

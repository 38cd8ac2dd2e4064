"""The log of a registry that is built: what goes in, what it becomes, and what it refuses."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from aperio_cli.config import Config
from aperio_cli.errors.registries import (
    PluginIdConfusing,
    RegistryLogContradicted,
    RegistrySourceInvalid,
)
from aperio_cli.models.plugin_id import PluginId, PluginRef
from aperio_cli.models.registry.root import parse_root
from aperio_cli.models.tlog.note import Checkpoint, Note, NoteSignature
from aperio_cli.paths import Paths
from aperio_cli.publishing import build, find_sealable, init, note_sealed
from aperio_cli.registry import open_registry
from tests.builders import LINUX, snapshot, unchanged
from tests.unit.test_publishing_editions import BOX, YANKED
from tests.writing_registries import put, record_of, write

if TYPE_CHECKING:
    from pathlib import Path

    from aperio_cli.models.offer import Offer


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The source of a registry with one plugin of two versions."""
    init(tmp_path / "registry", name="main")
    put(tmp_path / "registry", BOX, "1.0.0")
    put(tmp_path / "registry", BOX, "1.1.0")
    return tmp_path / "registry"


def logged(source: Path) -> list[dict[str, str]]:
    lines = (source / "log" / "entries.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def checkpoint(source: Path) -> Checkpoint:
    """What the root states, which the published checkpoint says, too."""
    stated = parse_root((source / "public/registry.json").read_bytes(), where="root").log
    note = Note.parse((source / "public/log/checkpoint").read_bytes())
    assert stated is not None
    assert stated == Checkpoint.parse(note.text)
    return stated


def offered(source: Path, ref: str, home: Path) -> Offer:
    """What a client makes of it, proof and all."""
    paths = Paths(home, home / "config.toml", home / "cache")
    registry = open_registry(str(source / "public"), Config(), paths, offline=True)
    return registry.resolve(PluginRef.parse(ref), LINUX)


def test_what_is_built_is_logged_and_proved_to_clients(source: Path, tmp_path: Path) -> None:
    build(source)
    assert [(each["id"], each["version"]) for each in logged(source)] == [
        ("acme/box", "1.0.0"),
        ("acme/box", "1.1.0"),
    ]
    for index, version in enumerate(("1.0.0", "1.1.0")):
        proof = offered(source, f"acme/box@{version}", tmp_path / "home").log_proof
        assert proof
        assert (proof.index, proof.checkpoint) == (index, checkpoint(source))


def test_empty_registry_has_no_log(tmp_path: Path) -> None:
    init(tmp_path / "registry")
    out = build(tmp_path / "registry").out
    assert parse_root((out / "registry.json").read_bytes(), where="root").log is None
    assert not (out / "log").exists()


def test_building_again_changes_neither_log_nor_source(source: Path) -> None:
    build(source)
    built = snapshot(source / "public")
    with unchanged(source):
        build(source)
    assert snapshot(source / "public").keys() == built.keys()


def test_clone_with_its_log_is_built_into_the_same_bytes(source: Path, tmp_path: Path) -> None:
    build(source)
    put(source, BOX, "1.2.0")
    build(source)
    clone = shutil.copytree(source, tmp_path / "clone")
    shutil.rmtree(clone / "public")
    build(clone)
    ours, theirs = (
        {path.removeprefix(str(root)): data for path, (_, data) in snapshot(root).items()}
        for root in (source / "public", clone / "public")
    )
    # Partial tiles of earlier checkpoints are there, too.
    assert ours == theirs
    assert {f"/log/tile/0/000.p/{width}" for width in (2, 3)} <= ours.keys()


def test_states_publishers_and_what_is_gone_are_logged(source: Path) -> None:
    build(source)
    record = record_of(source, BOX)
    record["versions"][1]["status"] = YANKED
    write(source, BOX, record)
    put(source, PluginId("acme", "lamp"), "1.0.0")
    build(source)
    shutil.rmtree(source / "records/acme")
    (source / "publishers").mkdir()
    stated = {"schema": "aperio.registry.publisher/v1", "namespace": "acme", "tier": "community"}
    (source / "publishers/acme.json").write_text(json.dumps(stated | {"signers": []}))
    build(source)
    after = [(each["entry"], each.get("state", "")) for each in logged(source)[2:]]
    assert after == [
        ("status/v1", "yanked"),
        ("artifact/v1", ""),
        ("publisher/v1", ""),
        ("status/v1", "removed"),
        ("status/v1", "removed"),
        ("status/v1", "removed"),
    ]


def test_incremental_build_is_the_whole_one(source: Path, tmp_path: Path) -> None:
    for version in ("1.2.0", "1.3.0"):
        build(source, cache=tmp_path / "cache")
        put(source, BOX, version)
        put(source, PluginId("acme", f"lamp-{version[2]}"), "1.0.0")
        build(source, cache=tmp_path / "cache")
        kept = snapshot(source / "public")
        build(source)
        assert {path: data for path, (_, data) in kept.items()} == {
            path: data for path, (_, data) in snapshot(source / "public").items()
        }


def test_kept_files_of_a_log_that_was_taken_back_are_made_anew(
    source: Path, tmp_path: Path
) -> None:
    build(source, cache=tmp_path / "cache")
    shutil.rmtree(source / "log")
    put(source, PluginId("aaa", "first"), "1.0.0")
    build(source, cache=tmp_path / "cache")
    assert [each["id"] for each in logged(source)] == ["aaa/first", "acme/box", "acme/box"]
    assert offered(source, "acme/box", tmp_path / "home").log_proof


def test_signatures_of_witnesses_stay_with_their_checkpoint(source: Path) -> None:
    build(source)
    path = source / "public/log/checkpoint"
    note = Note(checkpoint(source).text, (NoteSignature("witness.example", b"1234", b"signed"),))
    path.write_bytes(note.to_bytes())
    build(source)
    assert path.read_bytes() == note.to_bytes()
    put(source, BOX, "1.2.0")
    build(source)
    assert Note.parse(path.read_bytes()).signatures == ()


def test_version_that_was_logged_is_not_published_as_another(source: Path) -> None:
    build(source)
    record = record_of(source, BOX)
    record["versions"][0]["artifacts"][0]["sha256"] = "a" * 64
    write(source, BOX, record)
    with unchanged(source), pytest.raises(RegistryLogContradicted, match=r"1\.1\.0"):
        build(source)


def test_id_that_looks_like_another_is_not_published(source: Path) -> None:
    build(source)
    put(source, PluginId("acme", "b0x"), "1.0.0")
    with unchanged(source), pytest.raises(PluginIdConfusing, match="acme/box"):
        build(source)


def test_log_that_was_changed_in_the_source_stops_the_build(source: Path) -> None:
    build(source)
    path = source / "log/entries.jsonl"
    path.write_text(path.read_text().replace('"version":"1.0.0"', '"version":"0.9.0"'))
    with unchanged(source), pytest.raises(RegistrySourceInvalid, match="registry's log"):
        build(source)


def test_entries_that_no_build_has_published_are_not_taken_over(source: Path) -> None:
    build(source)
    before, entries = checkpoint(source), source / "log/entries.jsonl"
    kept = entries.read_bytes()
    entries.write_bytes(kept * 2 + b'{"entry":"status/v1"}\n')
    build(source)
    assert checkpoint(source) == before
    assert entries.read_bytes() == kept


@pytest.mark.parametrize("lost", ["all", "state", "newest", "nothing"])
def test_log_that_does_not_continue_the_signed_one_stops_the_build(
    source: Path, tmp_path: Path, lost: str
) -> None:
    """Whoever forgets to commit it: clients would refuse what comes of that for ever."""
    build(source)
    first = shutil.copytree(source / "log", tmp_path / "first")
    put(source, BOX, "2.0.0")
    build(source, is_renewed=True)
    note_sealed(source, find_sealable(source))
    newest = checkpoint(source)
    whole = shutil.copytree(source / "log", tmp_path / "whole")
    if lost == "state":
        (source / "log/log.json").unlink()
    elif lost != "nothing":
        shutil.rmtree(source / "log")
        if lost == "newest":
            shutil.copytree(first, source / "log")
    if lost != "nothing":
        with pytest.raises(RegistrySourceInvalid, match="is not the registry's log") as caught:
            build(source, is_renewed=True)
        assert newest.root.hex() in caught.value.why
        shutil.rmtree(source / "log", ignore_errors=True)
        shutil.copytree(whole, source / "log")
    put(source, BOX, "3.0.0")
    build(source, is_renewed=True)
    assert checkpoint(source).size == newest.size + 1


def test_record_of_a_later_aperio_is_not_logged_as_gone(source: Path) -> None:
    build(source)
    record = record_of(source, BOX)
    write(source, BOX, record | {"kind": "gadget"})
    report = build(source)
    assert report.skipped
    assert not [each for each in logged(source) if each["entry"] == "status/v1"]

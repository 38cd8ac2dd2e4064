"""Logs as aperio writes them, read by golang.org/x/mod/sumdb: the checksum database of Go."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aperio_cli.models.tlog.merkle import Tree, inclusion_proof, leaf_hash
from aperio_cli.models.tlog.note import ED25519, Checkpoint, Note, NoteKey, NoteSignature
from aperio_cli.models.tlog.proof import LogProof
from aperio_cli.models.tlog.tiles import TILE_WIDTH, bundle_data, bundles_of, tile_data, tiles_of
from tests.interop.conftest import GO, go_build
from tests.sharing import linked_once

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.go, pytest.mark.timeout(300)]

_TIMEOUT_S = 30.0
_SECRET = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
_KEY = NoteKey("registry.example/log", ED25519, _SECRET.public_key().public_bytes_raw())


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Go program."""

    def link(folder: Path) -> None:
        go_build(folder / "tlog", ".", module=GO / "tlog")

    return linked_once(tmp_path_factory, "tlog", link) / "tlog"


def write_log(folder: Path, entries: list[bytes]) -> list[Path]:
    """Writes a log, signed by its key; gives the proofs of the first and the last entry."""
    tree = Tree(map(leaf_hash, entries))
    checkpoint = Checkpoint(_KEY.name, len(entries), tree.root())
    signature = _SECRET.sign(checkpoint.text.encode())
    note = Note(checkpoint.text, (NoteSignature(_KEY.name, _KEY.key_id, signature),))
    files = {"checkpoint": note.to_bytes()}
    files |= {tile.path: tile_data(tree, tile) for tile in tiles_of(len(entries))}
    for bundle in bundles_of(len(entries)):
        first = bundle.index * TILE_WIDTH
        files[bundle.path] = bundle_data(entries[first : first + bundle.width])
    proofs = []
    for index in {0, len(entries) - 1}:
        path = inclusion_proof(index, len(entries), tree.node)
        files[f"{index}.tlog-proof"] = LogProof(index, path, note).to_bytes()
        proofs.append(folder / f"{index}.tlog-proof")
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return proofs


def read_log(reader: Path, folder: Path, proofs: list[Path]) -> subprocess.CompletedProcess[str]:
    """What the Go program says of it."""
    return subprocess.run(
        [reader, folder, *proofs],
        env={"LOG_KEY": str(_KEY)},
        capture_output=True,
        timeout=_TIMEOUT_S,
        check=False,
        text=True,
    )


@pytest.mark.parametrize("size", [1, 2, 7, 255, 256, 257, 600])
def test_log_is_read_and_proved_by_go(reader: Path, tmp_path: Path, size: int) -> None:
    proofs = write_log(tmp_path, [f"entry {number}".encode() for number in range(size)])
    done = read_log(reader, tmp_path, proofs)
    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout == f"{size} entries, {len(proofs)} proofs\n"


@pytest.mark.parametrize(
    "name", ["tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/000", "checkpoint", "0.tlog-proof"]
)
def test_changed_log_is_refused_by_go(reader: Path, tmp_path: Path, name: str) -> None:
    proofs = write_log(tmp_path, [f"entry {number}".encode() for number in range(300)])
    assert read_log(reader, tmp_path, proofs).returncode == 0
    data = bytearray((tmp_path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / name).write_bytes(data)
    assert read_log(reader, tmp_path, proofs).returncode == 1

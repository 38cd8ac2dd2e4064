"""Tiles and bundles, as c2sp.org/tlog-tiles lays them out."""

from __future__ import annotations

import functools
import random
from collections import Counter

import pytest

from aperio_cli.models.tlog.merkle import (
    Frontier,
    ProofInvalid,
    Tree,
    check_consistency,
    check_inclusion,
    leaf_hash,
)
from aperio_cli.models.tlog.tiles import (
    ENTRIES,
    MAX_ENTRY_BYTES,
    Tile,
    TiledTree,
    bundle_data,
    bundles_of,
    entries_in,
    tile_data,
    tiles_of,
    tiles_over,
)
from tests.rows import each_row, for_each

MANY = 70_000  # the size of the specification's own example: levels 0, 1 and 2
PATHS = {
    Tile(0, 0): "tile/0/000",
    Tile(0, 1_234_067): "tile/0/x001/x234/067",  # the specification's example
    Tile(1, 5, 3): "tile/1/005.p/3",
    Tile(2, 1000, 255): "tile/2/x001/000.p/255",
    Tile(ENTRIES, 999): "tile/entries/999",
    Tile(ENTRIES, 67, 1): "tile/entries/067.p/1",
}


@functools.cache
def tree() -> Tree:
    return Tree(leaf_hash(number.to_bytes(4, "big")) for number in range(MANY))


@functools.cache
def files(size: int) -> dict[str, bytes]:
    return {tile.path: tile_data(tree(), tile) for tile in tiles_of(size)}


def tiled(size: int) -> TiledTree:
    return TiledTree(size, lambda tile: files(size)[tile.path])


@each_row(("tile", "path"), PATHS.items())
def test_tile_stands_where_the_specification_says(tile: Tile, path: str) -> None:
    assert tile.path == path
    assert Tile.parse(path) == tile


@for_each([
        "", "tile/0", "tile/0/0", "tile/00/000", "tile/64/000", "tile/-1/000", "tile/0/000.p/0",
        "tile/0/000.p/256", "tile/0/000.p/05", "tile/0/000.p/", "tile/0/x000/000", "tile/0/001/000",
        "tile/0/x001/x000", "tile/0/x001/1000", "/tile/0/000", "tile/0/000/", "tile/0/000\n",
        "tile/entry/000", "tile/0/" + 3 * "\u0660",
    ])  # fmt: skip
def test_other_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="path of a tile"):
        Tile.parse(path)


def test_tree_of_70000_has_the_tiles_of_the_specification() -> None:
    found = Counter((tile.level, tile.width) for tile in tiles_of(MANY))
    assert found == {(0, 256): 273, (0, 112): 1, (1, 256): 1, (1, 17): 1, (2, 1): 1}
    assert [t.path for t in tiles_of(256)] == ["tile/0/000", "tile/1/000.p/1"]
    assert list(tiles_of(0)) == list(bundles_of(0)) == []
    assert [(t.index, t.width) for t in bundles_of(300)] == [(0, 256), (1, 44)]


@each_row("size", [1, 2, 255, 256, 257, 65_535, 65_536, 65_537, MANY])
def test_tiles_alone_give_root_and_proofs(size: int) -> None:
    root = tree().root(size)
    assert tiled(size).root() == root
    for index in {0, size // 2, size - 1}:
        leaf = leaf_hash(index.to_bytes(4, "big"))
        check_inclusion(leaf, index, (size, root), tiled(size).inclusion_proof(index))
    for old in {1, size // 2, size - 1, size} - {0}:
        path = tiled(size).consistency_proof(old)
        check_consistency((old, tree().root(old)), (size, root), path)


@for_each(range(100))
def test_tiles_that_proofs_need_are_known_beforehand_and_few(seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311
    size = dice.randint(1, dice.choice([300, MANY]))
    index, old = dice.randrange(size), dice.randint(0, size)
    read: list[Tile] = []

    def reading(tile: Tile) -> bytes:
        read.append(tile)
        return tile_data(tree(), tile)

    counting = TiledTree(size, reading)
    counting.inclusion_proof(index)
    counting.consistency_proof(old)
    assert counting.earlier_root(old) == tree().root(old)
    assert sorted(read) == tiled(size).tiles_for(entry=index, old=old)
    assert len(read) == len(set(read)) <= 8  # two or three of each level


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 511, 512, 700, 65536 + 300])
def test_tiles_come_as_they_are_known_and_the_edge_gives_the_root(size: int) -> None:
    leaves = [leaf_hash(b"%d" % each) for each in range(size)]
    tree, edge = Tree(leaves), Frontier()
    for leaf in leaves:
        edge.append(leaf)
    assert edge.root() == tree.root()
    found = dict(tiles_over(leaves))
    assert found == {tile: tile_data(tree, tile) for tile in tiles_of(size)}


def test_tile_of_another_length_is_refused() -> None:
    short = TiledTree(300, lambda tile: tile_data(tree(), tile)[1:])
    with pytest.raises(ProofInvalid, match=r"has not 44 hashes"):
        short.inclusion_proof(0)


@each_row("count", [0, 1, 2, 255, 256])
def test_entries_of_a_bundle_come_back(count: int) -> None:
    dice = random.Random(count)  # noqa: S311
    entries = [dice.randbytes(dice.choice([0, 1, 255, 256, 400])) for _ in range(count)]
    assert entries_in(bundle_data(entries), len(entries)) == entries


@each_row(
    ("data", "width"),
    [(b"", 1), (b"\0\1x", 2), (b"\0\1x\0\1y", 1), (b"\0\2x", 1), (b"\0", 1), (b"\0\1x\0", 1)],
)
def test_other_bundle_is_refused(data: bytes, width: int) -> None:
    assert entries_in(b"\0\1x\0\0", 2) == [b"x", b""]
    with pytest.raises(ValueError, match="not a bundle"):
        entries_in(data, width)


def test_entry_that_its_length_cannot_state_is_refused() -> None:
    bundle_data([bytes(MAX_ENTRY_BYTES)])
    with pytest.raises(ValueError, match="at most 65535"):
        bundle_data([bytes(MAX_ENTRY_BYTES + 1)])

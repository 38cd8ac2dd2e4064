"""A log as static files (c2sp.org/tlog-tiles): tiles of 256 hashes, and entries in bundles.

A tile of level 0 has the hashes of 256 leaves; one of the level above, those of 256 full tiles
below. Full tiles never change. The last one of a level is partial while it has fewer hashes, and
stands under another path for each length, so whatever stands under a path stays what it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aperio_cli.models.tlog.merkle import (
    HASH_BYTES,
    ProofInvalid,
    consistency_proof,
    inclusion_proof,
    node_hash,
    tree_root,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from aperio_cli.models.tlog.merkle import Tree

TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT
MAX_TILE_BYTES: Final = TILE_WIDTH * HASH_BYTES
MAX_ENTRY_BYTES: Final = (1 << 16) - 1
MAX_BUNDLE_BYTES: Final = TILE_WIDTH * (2 + MAX_ENTRY_BYTES)
CHECKPOINT_PATH: Final = "checkpoint"
ENTRIES: Final = -1
"""The level of bundles of entries, which stand beside the tiles of level 0."""

_MAX_LEVEL = 63
_GROUP = 1000
_PATH = re.compile(
    r"tile/(?P<level>entries|0|[1-9][0-9]?)/(?P<above>(?:x[0-9]{3}/)*)(?P<last>[0-9]{3})"
    r"(?:\.p/(?P<width>[1-9][0-9]{0,2}))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """One file of a log.

    Attributes:
        level: of its hashes, in steps of 256 leaves; `ENTRIES` for a bundle of entries.
        index: its place within the level.
        width: how many hashes or entries it has, from 1 to 256.
    """

    level: int
    index: int
    width: int = TILE_WIDTH

    @property
    def path(self) -> str:
        """Where it stands below the log's prefix, such as `tile/0/x001/067.p/12`."""
        above, last = divmod(self.index, _GROUP)
        groups = [f"{last:03}"]
        while above:
            above, last = divmod(above, _GROUP)
            groups.append(f"x{last:03}")
        level = "entries" if self.level == ENTRIES else str(self.level)
        partial = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"tile/{level}/{'/'.join(reversed(groups))}{partial}"

    @property
    def is_full(self) -> bool:
        """Whether it will never grow."""
        return self.width == TILE_WIDTH

    @classmethod
    def parse(cls, path: str) -> Tile:
        """Return the tile that stands under a path.

        Raises:
            ValueError: no tile stands there.
        """
        match = _PATH.fullmatch(path)
        if match:
            level = ENTRIES if match["level"] == "entries" else int(match["level"])
            index = int(match["above"].replace("x", "").replace("/", "") + match["last"])
            tile = cls(level, index, int(match["width"] or TILE_WIDTH))
            is_partial = match["width"] is not None
            if tile.path == path and level <= _MAX_LEVEL and is_partial != tile.is_full:
                return tile
        message = "expected the path of a tile, such as tile/0/000.p/5"
        raise ValueError(message)


def tiles_of(size: int) -> Iterator[Tile]:
    """Return every tile of a tree, and no bundle of entries: level by level, from the left."""
    level, count = 0, size
    while count:
        full, rest = divmod(count, TILE_WIDTH)
        yield from (Tile(level, index) for index in range(full))
        if rest:
            yield Tile(level, full, rest)
        level, count = level + 1, full


def partial_tiles(size: int) -> Iterator[Tile]:
    """Return the tiles at the right edge that will grow, with the bundle of entries beside them."""
    level, count = 0, size
    while count:
        if rest := count % TILE_WIDTH:
            yield Tile(level, count // TILE_WIDTH, rest)
            if level == 0:
                yield Tile(ENTRIES, count // TILE_WIDTH, rest)
        level, count = level + 1, count // TILE_WIDTH


def bundles_of(size: int) -> Iterator[Tile]:
    """Return every bundle of entries of a log, from the first entry."""
    full, rest = divmod(size, TILE_WIDTH)
    yield from (Tile(ENTRIES, index) for index in range(full))
    if rest:
        yield Tile(ENTRIES, full, rest)


def tile_data(tree: Tree, tile: Tile) -> bytes:
    """Return the contents of a tile of hashes."""
    start = tile.index * TILE_WIDTH
    return b"".join(tree.nodes(tile.level * TILE_HEIGHT, start, start + tile.width))


def tiles_over(leaves: Iterable[bytes]) -> Iterator[tuple[Tile, bytes]]:
    """Yield every tile of hashes over leaves, with its contents, as soon as it is known.

    It holds one tile of each level, however many leaves there are; what is partial comes last.
    """
    open_tiles: list[list[bytes]] = []
    counts: list[int] = []
    for leaf in leaves:
        level, current = 0, leaf
        while True:
            if level == len(open_tiles):
                open_tiles.append([])
                counts.append(0)
            hashes = open_tiles[level]
            hashes.append(current)
            if len(hashes) < TILE_WIDTH:
                break
            yield Tile(level, counts[level]), b"".join(hashes)
            open_tiles[level], counts[level] = [], counts[level] + 1
            while len(hashes) > 1:
                hashes = list(map(node_hash, hashes[::2], hashes[1::2]))
            level, current = level + 1, hashes[0]
    for level, hashes in enumerate(open_tiles):
        if hashes:
            yield Tile(level, counts[level], len(hashes)), b"".join(hashes)


def bundle_data(entries: Sequence[bytes]) -> bytes:
    """Return the contents of a bundle: each entry after its length, two bytes, big-endian.

    Raises:
        ValueError: an entry is longer than 65,535 bytes.
    """
    if any(len(entry) > MAX_ENTRY_BYTES for entry in entries):
        message = f"an entry of a log has at most {MAX_ENTRY_BYTES} bytes"
        raise ValueError(message)
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def entries_in(data: bytes, width: int) -> list[bytes]:
    """Return the entries of a bundle.

    Raises:
        ValueError: it has not so many, or more than them.
    """
    found: list[bytes] = []
    at = 0
    while at < len(data) and len(found) < width:
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        found.append(data[at + 2 : end])
        at = end
    if len(found) != width or at != len(data):
        message = f"it is not a bundle of {width} entries"
        raise ValueError(message)
    return found


class TiledTree:
    """A tree that is read from tiles, each once, and only those that are needed.

    What it gives is as good as the tiles are: a proof from here is checked like anybody's.

    Args:
        size: how many leaves the tree has; its tiles are those of that size.
        read: gives the contents of a tile.
    """

    def __init__(self, size: int, read: Callable[[Tile], bytes]) -> None:
        self.size = size
        self._read = read
        self._tiles: dict[Tile, bytes] = {}

    def root(self) -> bytes:
        """Return the root; reads the tiles on the right edge."""
        return tree_root(self.size, self.node)

    def earlier_root(self, size: int) -> bytes:
        """Return the root that the tree of the first `size` leaves has.

        Raises:
            ProofInvalid: a tile is none.
        """
        return tree_root(size, self.node)

    def inclusion_proof(self, index: int) -> tuple[bytes, ...]:
        """Return the audit path of a leaf.

        Raises:
            ValueError: there is no such leaf.
            ProofInvalid: a tile is none.
        """
        return inclusion_proof(index, self.size, self.node)

    def consistency_proof(self, old: int) -> tuple[bytes, ...]:
        """Return the proof that this tree begins with the one of `old` leaves.

        Raises:
            ValueError: this one is shorter.
            ProofInvalid: a tile is none.
        """
        return consistency_proof(old, self.size, self.node)

    def node(self, level: int, index: int) -> bytes:
        """Return the hash of a full subtree, computed from the tile that holds its hashes.

        Raises:
            ProofInvalid: the tile has another length than it should.
        """
        tile_level, above = divmod(level, TILE_HEIGHT)
        number, offset = divmod(index << above, TILE_WIDTH)
        data = self._tile(tile_level, number)
        start, end = offset * HASH_BYTES, (offset + (1 << above)) * HASH_BYTES
        hashes = [data[at : at + HASH_BYTES] for at in range(start, end, HASH_BYTES)]
        while len(hashes) > 1:
            hashes = list(map(node_hash, hashes[::2], hashes[1::2]))
        return hashes[0]

    def tiles_for(self, *, entry: int | None = None, old: int = 0) -> list[Tile]:
        """Return the tiles that proofs will read, so that they can be fetched side by side.

        Args:
            entry: a leaf to be proved included.
            old: the size of a tree to be proved the beginning of this one.
        """
        wanted: set[Tile] = set()

        def note(level: int, index: int) -> bytes:
            tile_level, above = divmod(level, TILE_HEIGHT)
            wanted.add(self._tile_at(tile_level, (index << above) // TILE_WIDTH))
            return bytes(HASH_BYTES)

        if entry is not None:
            inclusion_proof(entry, self.size, note)
        if old:
            tree_root(old, note)
            consistency_proof(old, self.size, note)
        return sorted(wanted)

    def _tile_at(self, level: int, number: int) -> Tile:
        width = (self.size >> (TILE_HEIGHT * level)) - number * TILE_WIDTH
        return Tile(level, number, min(width, TILE_WIDTH))

    def _tile(self, level: int, number: int) -> bytes:
        tile = self._tile_at(level, number)
        if tile not in self._tiles:
            data = self._read(tile)
            if len(data) != tile.width * HASH_BYTES:
                raise ProofInvalid(f"{tile.path} has not {tile.width} hashes")
            self._tiles[tile] = data
        return self._tiles[tile]

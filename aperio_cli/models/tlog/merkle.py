"""Merkle trees over a list of entries, and their proofs (RFC 6962 and 9162, section 2.1).

A tree is asked through a function `node(level, index)`: the hash of the full subtree of `2**level`
leaves that begins at leaf `index * 2**level`. Every other hash follows from these. `Tree` has them
in memory, `tiles.TiledTree` reads them from files.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Node = Callable[[int, int], bytes]

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()


class ProofInvalid(ValueError):
    """A proof that does not prove what it was brought for; the text says why."""


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of an entry as a leaf."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node above two others."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """A tree in memory; adding a leaf costs two hashes on average."""

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        self._levels: list[list[bytes]] = [[]]
        for leaf in leaves:
            self.append(leaf)

    def __len__(self) -> int:
        return len(self._levels[0])

    def append(self, leaf: bytes) -> None:
        """Add the hash of a leaf, and of each subtree that it completes."""
        level, current = 0, leaf
        while True:
            if level == len(self._levels):
                self._levels.append([])
            nodes = self._levels[level]
            nodes.append(current)
            if len(nodes) % 2:
                return
            current = node_hash(nodes[-2], nodes[-1])
            level += 1

    def node(self, level: int, index: int) -> bytes:
        """Return the hash of a full subtree of this tree."""
        return self._levels[level][index]

    def nodes(self, level: int, start: int, end: int) -> list[bytes]:
        """Return the hashes of neighbouring full subtrees."""
        return self._levels[level][start:end]

    def root(self, size: int | None = None) -> bytes:
        """Return the root of the first `size` leaves; of all without one."""
        return tree_root(len(self) if size is None else size, self.node)


class Frontier:
    """The right edge of a tree, which is enough to append leaves and to give the root.

    It has as many hashes as the number of leaves has digits in binary, however long the log is.
    """

    def __init__(self) -> None:
        self._peaks: list[tuple[int, bytes]] = []

    def append(self, leaf: bytes) -> None:
        """Add the hash of a leaf."""
        level, current = 0, leaf
        while self._peaks and self._peaks[-1][0] == level:
            current = node_hash(self._peaks.pop()[1], current)
            level += 1
        self._peaks.append((level, current))

    def root(self) -> bytes:
        """Return the root of all leaves."""
        if not self._peaks:
            return EMPTY_ROOT
        *others, (_, current) = self._peaks
        for _, peak in reversed(others):
            current = node_hash(peak, current)
        return current


def tree_root(size: int, node: Node) -> bytes:
    """Return the root of the tree of the first `size` leaves."""
    return _range_hash(0, size, node) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, node: Node) -> tuple[bytes, ...]:
    """Return the audit path of a leaf in the tree of the first `size` leaves, from the leaf up.

    RFC 6962, section 2.1.1.

    Raises:
        ValueError: there is no such leaf.
    """
    if not 0 <= index < size:
        message = f"a tree of {size} has no leaf {index}"
        raise ValueError(message)
    path, start, end = [], 0, size
    while end - start > 1:
        split = start + _split(end - start)
        if index < split:
            path.append(_range_hash(split, end, node))
            end = split
        else:
            path.append(_range_hash(start, split, node))
            start = split
    return tuple(reversed(path))


def consistency_proof(old: int, new: int, node: Node) -> tuple[bytes, ...]:
    """Return the proof that a tree of `old` leaves is how one of `new` leaves begins.

    RFC 6962, section 2.1.2. It is empty when the trees are one, or when the old one is empty.

    Raises:
        ValueError: the old tree is the larger one.
    """
    if not 0 <= old <= new:
        message = f"a tree of {new} leaves cannot follow one of {old}"
        raise ValueError(message)
    if old in {0, new}:
        return ()
    path, start, end, is_whole = [], 0, new, True
    while end != old:
        split = start + _split(end - start)
        if old <= split:
            path.append(_range_hash(split, end, node))
            end = split
        else:
            path.append(_range_hash(start, split, node))
            start, is_whole = split, False
    if not is_whole:
        path.append(_range_hash(start, end, node))
    return tuple(reversed(path))


def root_of_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """Return the root that an audit path leads to (RFC 9162, section 2.1.3.2).

    Raises:
        ProofInvalid: there is no such leaf, or the path has another length than one of this leaf.
    """
    if not 0 <= index < size:
        raise ProofInvalid(f"a log of {size} entries has no entry {index}")
    _check_hashes(path)
    place, last, current = index, size - 1, leaf
    for each in path:
        if last == 0:
            raise ProofInvalid("the proof is too long")
        if place % 2 or place == last:
            current = node_hash(each, current)
            while place % 2 == 0 and place:
                place, last = place >> 1, last >> 1
        else:
            current = node_hash(current, each)
        place, last = place >> 1, last >> 1
    if last:
        raise ProofInvalid("the proof is too short")
    return current


def check_inclusion(
    leaf: bytes, index: int, head: tuple[int, bytes], path: Sequence[bytes]
) -> None:
    """Check that a leaf stands at an index of the tree of a size and a root.

    Raises:
        ProofInvalid: the path does not prove it.
    """
    size, root = head
    if root_of_inclusion(leaf, index, size, path) != root:
        raise ProofInvalid("the proof leads to another root than the checkpoint's")


def check_consistency(
    old: tuple[int, bytes], new: tuple[int, bytes], path: Sequence[bytes]
) -> None:
    """Check that one tree, a size and a root, is how another begins (RFC 9162, section 2.1.4.2).

    Raises:
        ProofInvalid: the path does not prove it.
    """
    (old_size, old_root), (new_size, new_root) = old, new
    if old_size > new_size:
        raise ProofInvalid(f"a log of {new_size} entries cannot follow one of {old_size}")
    if old_size in {0, new_size}:
        expected = EMPTY_ROOT if old_size == 0 else new_root
        if path or old_root != expected:
            raise ProofInvalid("two logs of the same length have different roots")
        return
    _check_hashes(path)
    # The root of a full tree is a node of every larger one, so the path leaves it out.
    hashes = [old_root, *path] if old_size & (old_size - 1) == 0 else list(path)
    if not hashes:
        raise ProofInvalid("the proof is too short")
    if _roots_of_consistency(old_size, new_size, hashes) != (old_root, new_root):
        raise ProofInvalid("the proof leads to other roots than the checkpoints'")


def _roots_of_consistency(old: int, new: int, hashes: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Return the old and the new root that a proof leads to; its first hash is in both trees."""
    place, last = old - 1, new - 1
    while place % 2:
        place, last = place >> 1, last >> 1
    old_root = new_root = hashes[0]
    for each in hashes[1:]:
        if last == 0:
            raise ProofInvalid("the proof is too long")
        if place % 2 or place == last:
            old_root, new_root = node_hash(each, old_root), node_hash(each, new_root)
            while place % 2 == 0 and place:
                place, last = place >> 1, last >> 1
        else:
            new_root = node_hash(new_root, each)
        place, last = place >> 1, last >> 1
    if last:
        raise ProofInvalid("the proof is too short")
    return old_root, new_root


def _range_hash(start: int, end: int, node: Node) -> bytes:
    """Return the hash over leaves of a range that is a subtree of some tree."""
    count = end - start
    if count & (count - 1) == 0 and start % count == 0:
        level = count.bit_length() - 1
        return node(level, start >> level)
    split = start + _split(count)
    return node_hash(_range_hash(start, split, node), _range_hash(split, end, node))


def _split(count: int) -> int:
    """Return the largest power of two below `count`, which is at least 2."""
    return 1 << ((count - 1).bit_length() - 1)


def _check_hashes(path: Sequence[bytes]) -> None:
    if any(len(each) != HASH_BYTES for each in path):
        raise ProofInvalid("a hash of the proof is not 32 bytes long")

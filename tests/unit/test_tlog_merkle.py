"""Trees and proofs, held to published answers, to the definition, and to all that could be forged.

The roots are those of the reference implementation of RFC 6962 (google/certificate-transparency,
`merkle_tree_test`); the definition is written out here as the RFC states it, and shares nothing
with the code.
"""

from __future__ import annotations

import hashlib
import random

import pytest

from aperio_cli.models.tlog.merkle import (
    EMPTY_ROOT,
    ProofInvalid,
    Tree,
    check_consistency,
    check_inclusion,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_of_inclusion,
)
from tests.rows import each_row, for_each

ENTRIES = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
MANY = 300
ALL = 24  # up to here, every leaf of every tree
LEAVES = [leaf_hash(str(number).encode()) for number in range(MANY)]
TREE = Tree(LEAVES)
_DICE = random.Random(6962)  # noqa: S311
SIZES = [*range(1, ALL), 255, 256, 257, *_DICE.sample(range(ALL, MANY), 12)]


def _some(size: int, least: int = 0) -> list[int]:
    """Numbers from `least` up to the size: all of them, or the edges and a few between."""
    if size < ALL:
        return list(range(least, size))
    return sorted({least, size // 2, size - 1, *_DICE.sample(range(least, size), 4)})


def _mth(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, word for word, over leaf hashes."""
    if len(leaves) <= 1:
        return leaves[0] if leaves else hashlib.sha256(b"").digest()
    k = max(1 << power for power in range(20) if 1 << power < len(leaves))
    return hashlib.sha256(b"\x01" + _mth(leaves[:k]) + _mth(leaves[k:])).digest()


def _path(m: int, leaves: list[bytes]) -> list[bytes]:
    """RFC 6962, section 2.1.1."""
    if len(leaves) == 1:
        return []
    k = max(1 << power for power in range(20) if 1 << power < len(leaves))
    if m < k:
        return [*_path(m, leaves[:k]), _mth(leaves[k:])]
    return [*_path(m - k, leaves[k:]), _mth(leaves[:k])]


def _subproof(m: int, leaves: list[bytes], *, b: bool) -> list[bytes]:
    """RFC 6962, section 2.1.2."""
    if m == len(leaves):
        return [] if b else [_mth(leaves)]
    k = max(1 << power for power in range(20) if 1 << power < len(leaves))
    if m <= k:
        return [*_subproof(m, leaves[:k], b=b), _mth(leaves[k:])]
    return [*_subproof(m - k, leaves[k:], b=False), _mth(leaves[:k])]


@each_row("size", range(len(ROOTS)))
def test_root_is_the_published_one(size: int) -> None:
    assert Tree(map(leaf_hash, ENTRIES[:size])).root().hex() == ROOTS[size]
    assert Tree(map(leaf_hash, ENTRIES)).root(size).hex() == ROOTS[size]


def test_inclusion_proof_is_the_published_one() -> None:
    tree = Tree(map(leaf_hash, ENTRIES))
    assert [each.hex() for each in inclusion_proof(0, 8, tree.node)] == [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]
    assert [each.hex() for each in inclusion_proof(2, 3, tree.node)] == [
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"
    ]


def test_consistency_proof_is_the_published_one() -> None:
    tree = Tree(map(leaf_hash, ENTRIES))
    assert [each.hex() for each in consistency_proof(6, 8, tree.node)] == [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


@for_each(SIZES)
def test_proofs_are_those_of_the_definition_and_hold(size: int) -> None:
    root = TREE.root(size)
    assert root == _mth(LEAVES[:size])
    for index in _some(size):
        path = inclusion_proof(index, size, TREE.node)
        assert list(path) == _path(index, LEAVES[:size])
        check_inclusion(LEAVES[index], index, (size, root), path)
    for old in _some(size + 1, 1):
        path = consistency_proof(old, size, TREE.node)
        assert list(path) == _subproof(old, LEAVES[:size], b=True)
        check_consistency((old, TREE.root(old)), (size, root), path)


@for_each(SIZES[1:])
def test_inclusion_is_refused_of_whatever_else_is_claimed(size: int) -> None:
    for index in _some(size):
        _check_forged_inclusions(index, size)


def _check_forged_inclusions(index: int, size: int) -> None:
    root, path = TREE.root(size), list(inclusion_proof(index, size, TREE.node))
    other = path.copy()
    other[_DICE.randrange(len(path))] = leaf_hash(root)
    elsewhere = _DICE.choice([each for each in range(size) if each != index])
    forged = [
        (LEAVES[index], index, (size, root), other),
        (LEAVES[index], index, (size, root), path[:-1]),
        (LEAVES[index], index, (size, root), [*path, root]),
        (LEAVES[index], index, (size, root), [each[1:] for each in path]),
        (LEAVES[index], elsewhere, (size, root), path),
        (LEAVES[elsewhere], index, (size, root), path),
        (LEAVES[index], index, (size, leaf_hash(root)), path),
        (LEAVES[index], size, (size, root), path),
        (LEAVES[index], -1, (size, root), path),
    ]
    check_inclusion(LEAVES[index], index, (size, root), path)
    for each in forged:
        with pytest.raises(ProofInvalid):
            check_inclusion(*each)


@for_each(SIZES[1:])
def test_consistency_is_refused_of_whatever_else_is_claimed(size: int) -> None:
    for old in _some(size, 1):
        _check_forged_consistency(old, size)


def _check_forged_consistency(old: int, size: int) -> None:
    head, before = (size, TREE.root(size)), (old, TREE.root(old))
    path = list(consistency_proof(old, size, TREE.node))
    other = path.copy()
    other[_DICE.randrange(len(path))] = leaf_hash(head[1])
    changed = leaf_hash(before[1])
    check_consistency(before, head, path)
    for each in (
        (before, head, other),
        (before, head, path[:-1]),
        (before, head, [*path, head[1]]),
        (before, head, [each[1:] for each in path]),
        ((old, changed), head, path),
        (before, (size, changed), path),
        (head, before, path),
        ((size, changed), head, ()),
        ((0, changed), head, ()),
    ):
        with pytest.raises(ProofInvalid):
            check_consistency(*each)


def test_same_size_and_the_empty_log_need_no_proof() -> None:
    head = (5, TREE.root(5))
    check_consistency(head, head, ())
    check_consistency((0, EMPTY_ROOT), head, ())
    with pytest.raises(ProofInvalid, match="same length"):
        check_consistency(head, head, [head[1]])


@each_row(("index", "size"), [(0, 0), (5, 5), (-1, 5)])
def test_leaf_outside_of_the_tree_has_no_proof(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="no leaf"):
        inclusion_proof(index, size, TREE.node)


def test_tree_of_one_leaf_is_that_leaf() -> None:
    assert root_of_inclusion(LEAVES[0], 0, 1, ()) == LEAVES[0] == TREE.root(1)
    with pytest.raises(ValueError, match="cannot follow"):
        consistency_proof(2, 1, TREE.node)

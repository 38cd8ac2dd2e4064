"""One rule on the schema of every record: ours is read, a later one refused, all else is damage."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from aperio_cli.config.reading import parse_managed
from aperio_cli.errors import AperioError
from aperio_cli.errors.files import RecordNewer
from aperio_cli.models.known import KnownVersions
from aperio_cli.models.newer import is_newer, is_ours
from aperio_cli.signing.local.domain import open_domain
from aperio_cli.store import listing
from aperio_cli.store.checks import read_checks
from aperio_cli.store.current import Current, read_current
from tests.rows import each_row

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LATER = (2, 10**30)
ODD = ("1", "2", True, False, None, 1.0, 2.0, 0, -1, [1], {"v": 1})
NOTED = {"at": "2026-01-02T03:04:05Z", "ok": True}


@pytest.mark.parametrize("found", LATER)
def test_a_higher_number_is_a_later_aperio_s(found: object) -> None:
    assert is_newer(found, 1)
    assert not is_ours(found, 1)


@each_row("found", ODD)
def test_what_no_aperio_writes_is_neither(found: object) -> None:
    assert not is_newer(found, 1)
    assert not is_ours(found, 1)
    assert is_ours(1, 1)


@each_row(
    ("found", "newer"),
    [
        ("a.b/v2", False), ("a.b/v3", True), ("a.b/v10", True), (f"a.b/v{'9' * 5000}", True),
        ("a.b/v1", False), ("a.b/v03", False), ("a.b/v\u0663", False), ("a.b/v-3", False),
        ("a.b/v3.0", False), ("a.b/v", False), ("x.b/v3", False), (3, False), (None, False),
    ],
)  # fmt: skip
def test_a_number_behind_a_name_follows_the_same_rule(found: object, newer: bool) -> None:  # noqa: FBT001
    assert is_newer(found, "a.b/v2") is newer
    assert is_ours(found, "a.b/v2") is (found == "a.b/v2")


# ── each record ───────────────────────────────────────────────────────────────────────────────────


class _Damaged(Exception):
    """What the reader of a record says of one that it cannot read."""


def _damaged(key: str, why: str) -> NoReturn:
    raise _Damaged(f"{key}: {why}")


def _written(folder: Path, name: str, document: dict[str, Any]) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.write_text(json.dumps(document))
    path.chmod(0o600)
    return path


def _current(folder: Path, schema: object) -> object:
    document = {"schema": schema, "version": "1.2.3", "before": []}
    return read_current(_written(folder, "current.json", document))


def _checks(folder: Path, schema: object) -> object:
    return read_checks(_written(folder, "c.json", {"schema": schema, "checks": {"1.2.3": NOTED}}))


def _known(folder: Path, schema: object) -> object:
    data = json.dumps({"schema": schema, "plugins": {}}).encode()
    return KnownVersions.parse(data, folder / "known.json", _damaged)


def _domain(folder: Path, schema: object) -> object:
    _written(folder, "trusted_root.json", {})
    _written(folder, "domain.json", {"schema": schema, "identity": "ada@local"})
    return open_domain(folder)


def _managed(folder: Path, schema: object) -> object:
    shown = "nothing = 1" if schema is None else f"schema = {json.dumps(schema)}"
    shown = shown.replace('{"v": 1}', "{v = 1}")
    return parse_managed(folder / "managed.toml", f"{shown}\n[policy]\nrequire = 'verified'\n")


READERS: dict[str, Callable[[Path, object], object]] = {
    "current": _current,
    "checks": _checks,
    "known versions": _known,
    "local domain": _domain,
    "managed.toml": _managed,
}
every_reader = each_row("read", READERS.values(), ids=list(READERS))


@every_reader
def test_ours_is_read(read: Callable[[Path, object], object], tmp_path: Path) -> None:
    assert read(tmp_path, 1)


@every_reader
@each_row("schema", LATER)
def test_a_later_aperio_s_is_refused(
    read: Callable[[Path, object], object], schema: object, tmp_path: Path
) -> None:
    with pytest.raises(RecordNewer):
        read(tmp_path, schema)


@every_reader
@each_row("schema", ODD)
def test_what_no_aperio_writes_is_damage(
    read: Callable[[Path, object], object], schema: object, tmp_path: Path
) -> None:
    try:
        found = read(tmp_path, schema)
    except RecordNewer:
        raise
    except (_Damaged, AperioError):
        return
    assert not found  # which says that it cannot be read


# ── the quick list ────────────────────────────────────────────────────────────────────────────────


def _listed(home: Path, **stated: object) -> dict[str, Any]:
    """The row of one version, each of whose records has a schema of its own."""
    of = {"receipt": "aperio.receipt/v1", "current": 1, "checks": 1} | stated
    place = "plugins/acme/box"
    receipt = {"schema": of["receipt"], "id": "acme/box", "version": "1.2.3"}
    _written(home, f"{place}/1.2.3/receipt.json", receipt)
    _written(home, f"{place}/current.json", {"schema": of["current"], "version": "1.2.3"})
    checks = {"schema": of["checks"], "checks": {"1.2.3": NOTED}}
    _written(home, "checks/acme/box.json", checks)
    [row] = listing.rows(str(home))
    return row


@each_row("schema", [1, *LATER, *ODD])
def test_list_reads_records_as_all_commands_do(schema: object, tmp_path: Path) -> None:
    row = _listed(tmp_path, current=schema, checks=schema)
    is_known, is_later = is_ours(schema, 1), is_newer(schema, 1)
    assert row["current"] is is_known
    assert row["last_check"] == (NOTED if is_known else None)
    assert row["problem"] == ("record-newer" if is_later else None)
    assert (tmp_path / "plugins/acme/box/current.json").is_file()
    assert is_known == (_read_as_current(tmp_path) is not None)


def _read_as_current(home: Path) -> Current | None:
    try:
        return read_current(home / "plugins/acme/box/current.json")
    except RecordNewer:
        return None


@each_row(
    ("schema", "problem"),
    [
        ("aperio.receipt/v1", None), ("aperio.receipt/v2", "receipt-newer"),
        (f"aperio.receipt/v{10**30}", "receipt-newer"), ("aperio.receipt/v01", "receipt-invalid"),
        ("aperio.receipt/v", "receipt-invalid"), ("aperio.receipt/v0", "receipt-invalid"),
        ("aperio.receipt/v\u0662", "receipt-invalid"), (1, "receipt-invalid"),
        (True, "receipt-invalid"), (None, "receipt-invalid"), (2.0, "receipt-invalid"),
    ],
)  # fmt: skip
def test_list_judges_receipts_by_the_same_rule(
    schema: object, problem: str | None, tmp_path: Path
) -> None:
    assert _listed(tmp_path, receipt=schema)["problem"] == problem

"""Receipts of runs: what they say, that they stay, and that they stay bounded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.data import run_receipts
from aperio_cli.data.run_receipts import RunReceipts
from aperio_cli.errors.running import DestinationUnavailable
from aperio_cli.host.calls.recording import Invoked, Recording
from aperio_cli.models.plugin_id import PluginId
from aperio_cli.models.run_receipt import FAILED, RUNNING, SUCCEEDED, RunReceipt, make_run_id
from tests.descriptors import open_descriptors
from tests.rows import each_row

if TYPE_CHECKING:
    from pathlib import Path

BOX = PluginId("acme", "box")
BEGUN = RunReceipt(
    make_run_id(bytes(12)), BOX, "1.2.3", "org_1", "int_1", "sync", "2026-01-02T03:04:05.678Z"
)
DONE = replace(
    BEGUN,
    status=SUCCEEDED,
    ended_at="2026-01-02T03:04:06.678Z",
    duration_ms=1000,
    seen=10,
    sent=7,
    filtered=2,
    dead_letters=1,
    checkpoint_sha256="ab" * 32,
    covers_until="2026-01-02T03:00:00Z",
    tokens=2,
    egress_refused=3,
    peak_memory_bytes=1024,
)


def numbered(number: int, **changes: Any) -> RunReceipt:
    return replace(DONE, run_id=make_run_id(number.to_bytes(12, "big")), **changes)


# ── kept ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_receipt_is_read_back_as_it_was_kept(tmp_path: Path) -> None:
    receipts = RunReceipts(tmp_path / "receipts")
    failed = numbered(1, status=FAILED, code="plugin-crashed", error_message="`acme/box` ended")
    odd = numbered(2, organization="ä\u2028\t", peak_memory_bytes=None, covers_until="")
    for receipt in (DONE, failed, odd):
        receipts.keep(receipt)
    assert receipts.newest(BOX) == (odd, failed, DONE)
    assert receipts.plugins() == (BOX,)
    assert receipts.newest(PluginId("acme", "other")) == ()


def test_the_end_of_a_run_takes_the_place_of_its_beginning(tmp_path: Path) -> None:
    receipts = RunReceipts(tmp_path)
    receipts.keep(BEGUN)
    assert receipts.newest(BOX) == (BEGUN,)
    receipts.keep(numbered(1))
    receipts.keep(DONE)
    assert receipts.newest(BOX) == (DONE, numbered(1))


def test_a_run_whose_process_is_gone_has_failed(tmp_path: Path) -> None:
    code = (
        "import sys, os, signal\n"
        "from pathlib import Path\n"
        "from tests.unit.test_run_receipts import BEGUN\n"
        "from aperio_cli.data.run_receipts import RunReceipts\n"
        "RunReceipts(Path(sys.argv[1])).keep(BEGUN)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, tmp_path]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # nobody has asked yet how it ended
        unasked = RunReceipts(tmp_path).newest(BOX)
    assert child.returncode == -9

    (found,) = RunReceipts(tmp_path).newest(BOX)

    assert unasked == (found,)
    assert (found.status, found.code) == (FAILED, "host-ended")
    assert "ended before it did" in found.error_message


def test_another_process_with_the_same_id_does_not_make_it_run(tmp_path: Path) -> None:
    receipts = RunReceipts(tmp_path)
    receipts.keep(BEGUN)
    file = tmp_path / "acme" / "box.jsonl"
    record = json.loads(file.read_bytes())
    assert record["holder"]["pid"] == os.getpid()
    record["holder"]["started"] = "1"
    file.write_text(json.dumps(record) + "\n")
    assert receipts.newest(BOX)[0].status == FAILED


def test_receipts_are_bounded_and_the_newest_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_receipts, "MOST_BYTES", 8000)
    receipts = RunReceipts(tmp_path)
    for number in range(100):
        receipts.keep(numbered(number))

    assert sum(path.stat().st_size for path in tmp_path.rglob("*.jsonl*")) <= 2 * 8000
    assert receipts.newest(BOX, most=3) == (numbered(99), numbered(98), numbered(97))
    assert len(receipts.newest(BOX)) > 8


def test_several_are_kept_at_once_and_one_that_cannot_be_leaves_out_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_receipts, "MOST_BYTES", 2000)
    other = PluginId("acme", "other")
    (tmp_path / "acme" / "other.jsonl").mkdir(parents=True, mode=0o700)
    (tmp_path / "acme").chmod(0o700)
    receipts = RunReceipts(tmp_path)
    before = open_descriptors()

    with receipts.keeping() as keep:
        for number in range(10):  # through several files
            keep(numbered(number))
            with pytest.raises(OSError, match="directory"):
                keep(replace(DONE, plugin=other))

    assert receipts.newest(BOX, most=3) == (numbered(9), numbered(8), numbered(7))
    assert not open_descriptors() - before


@each_row(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"schema": "aperio.run-receipt/v1"}',
        b'{"run_id": "run_../../../etc"}',
        json.dumps(DONE.to_json() | {"status": "DONE"}).encode(),
        json.dumps(DONE.to_json() | {"seen": -1}).encode(),
        json.dumps(DONE.to_json() | {"schema": "aperio.run-receipt/v2"}).encode(),
        json.dumps(DONE.to_json() | {"plugin": "../box"}).encode(),
        json.dumps(DONE.to_json() | {"checkpoint_sha256": "x"}).encode(),
        b"\xff\xfe",
        b"[" * 15_000,
        json.dumps(BEGUN.to_json() | {"holder": "x"}).encode()[:-1],
    ],
)
def test_a_line_that_is_no_receipt_is_passed_over(tmp_path: Path, line: bytes) -> None:
    receipts = RunReceipts(tmp_path)
    receipts.keep(DONE)
    with (tmp_path / "acme" / "box.jsonl").open("ab") as file:
        file.write(line + b"\n")
    receipts.keep(numbered(1))
    assert receipts.newest(BOX) == (numbered(1), DONE)


@each_row("holder", [None, "x", {}, {"pid": "1"}, {"pid": 2**40}, {"pid": -1}])
def test_a_run_of_nobody_has_failed(tmp_path: Path, holder: object) -> None:
    file = tmp_path / "acme" / "box.jsonl"
    file.parent.mkdir(mode=0o700)
    file.write_text(json.dumps(BEGUN.to_json() | {"holder": holder}) + "\n")
    assert RunReceipts(tmp_path).newest(BOX)[0].status == FAILED


def test_a_key_of_a_later_release_is_ignored(tmp_path: Path) -> None:
    file = tmp_path / "acme" / "box.jsonl"
    file.parent.mkdir(mode=0o700)
    file.write_text(json.dumps(DONE.to_json() | {"newer": [1]}) + "\n")
    assert RunReceipts(tmp_path).newest(BOX) == (DONE,)


def test_what_is_not_known_is_null_in_json() -> None:
    document = BEGUN.to_json()
    assert document["plugin"] == "acme/box"
    unknown = {key for key, value in document.items() if value is None}
    assert unknown == {
        "ended_at", "duration_ms", "checkpoint_sha256", "covers_until", "peak_memory_bytes",
        "code", "error_message", "instead_of", "traceparent",
    }  # fmt: skip


# ── recorded ──────────────────────────────────────────────────────────────────────────────────────


def recording(operation: str = "sync", **changes: str) -> tuple[Recording, list[RunReceipt]]:
    kept: list[RunReceipt] = []
    names = {"organization": "org_1", "integration": "int_1"} | changes
    return Recording(Invoked(BOX, "1.2.3", operation=operation, **names), kept.append), kept


def test_a_run_that_may_take_long_has_a_receipt_from_its_beginning() -> None:
    made, kept = recording("sync")
    assert [receipt.status for receipt in kept] == [RUNNING]
    made.tally.sent, made.tally.dead_letters, made.tally.filtered = 5, 2, 1

    done = made.end()

    assert kept[-1] is done
    assert (done.status, done.seen, done.sent) == (SUCCEEDED, 8, 5)
    assert done.run_id == kept[0].run_id
    assert done.duration_ms is not None
    assert done.ended_at >= done.started_at
    assert recording("schema")[1] == []


def test_two_runs_have_two_ids() -> None:
    assert recording()[0].run_id != recording()[0].run_id


@each_row(
    ("error", "code", "said"),
    [
        (DestinationUnavailable("`x` did not take 5"), "destination-unavailable", "did not take"),
        (KeyboardInterrupt(), "interrupted", "it was interrupted"),
        (ValueError("open-sesame"), "internal-error", "ValueError"),
    ],
)
def test_an_error_ends_a_run_with_its_code_and_no_more(
    error: BaseException, code: str, said: str
) -> None:
    made, _ = recording()
    done = made.end(error)
    assert (done.status, done.code) == (FAILED, code)
    assert said in done.error_message
    assert "sesame" not in done.error_message


def test_texts_of_a_receipt_are_bounded() -> None:
    made, _ = recording(organization="o" * 5000)
    done = made.end(DestinationUnavailable("x" * 5000 + "\nnext line"))
    assert len(done.error_message) == 500
    assert len(done.organization) == 200

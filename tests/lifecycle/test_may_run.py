"""Lists say which plugins may run, as a start would; what is remembered never goes stale."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aperio_cli import quick
from aperio_cli.host.sandbox.choosing import choose_sandbox
from aperio_cli.host.sandbox.interface import LIMITS, Confinement
from aperio_cli.store import listing, verdicts

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lifecycle.cli import Aperio

HELLO = "acme/hello-connector"
REQUIRED = '[policy]\nrequire = "verified"\n'


def rows(aperio: Aperio) -> list[dict[str, object]]:
    found: list[dict[str, object]] = aperio("plugin", "list", "--json").data["plugins"]
    return found


def verdict(aperio: Aperio) -> object:
    [row] = rows(aperio)
    assert row["may_run"] is (row["refused_as"] is None)
    return row["refused_as"]


def quick_answer(aperio: Aperio) -> str | None:
    """What the quick path says by itself; None when it leaves the question to the ordinary one."""
    aperio.capsys.readouterr()
    if quick.answer(["plugin", "list"]) is None:
        return None
    return aperio.capsys.readouterr().out


def require_verified(aperio: Aperio) -> None:
    (aperio.home / "config.toml").write_text(REQUIRED)


def test_what_may_not_run_is_listed_with_its_code(installed: Aperio) -> None:
    assert verdict(installed) is None
    assert "  yes  " in installed("plugin", "list").out

    done = installed("trust", "require", "verified", "--yes")
    assert f"{HELLO}@0.1.0  publisher-unverified" in done.err

    assert verdict(installed) == "publisher-unverified"
    assert "  NO: publisher-unverified  " in installed("plugin", "list").out
    [row] = installed("plugin", "list", "--check", "--json", status=3).data["plugins"]
    assert (row["refused_as"], row["problem"]) == ("publisher-unverified", None)
    assert not installed("plugin", "why", HELLO, "--json", status=3).data["may_run"]
    found = installed("doctor", "--json", status=installed.type("doctor").status).data["plugins"]
    assert found == {"installed": 1, "refused": {"publisher-unverified": 1}, "failed_checks": 0}
    assert "1 may not run: publisher-unverified 1\n" in installed.type("doctor").out


def test_doctor_counts_whose_files_were_not_as_installed(installed: Aperio) -> None:
    assert "1 installed, all may run\n" in installed.type("doctor").out
    plugin = installed.home / "plugins" / HELLO / "0.1.0/files/lib/app/connector.py"
    plugin.chmod(0o644)
    plugin.write_text("changed\n")
    installed("plugin", "run", HELLO, "schema", status=3)

    told = installed.type("doctor").out

    assert "1 installed, all may run by the rules; the last check of 1 FAILED" in told
    found = installed("doctor", "--json", status=installed.type("doctor").status).data["plugins"]
    assert (found["refused"], found["failed_checks"]) == ({}, 1)


def test_the_quick_list_says_what_was_judged_and_nothing_else(installed: Aperio) -> None:
    assert quick_answer(installed) is None
    ordinary = installed("plugin", "list").out
    assert quick_answer(installed) == ordinary
    assert installed("plugin", "list").out == ordinary


def test_the_list_says_by_what_each_is_contained(
    installed: Aperio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the ordinary path and in the quick one, and what the site may see of one plugin."""
    [row] = rows(installed)
    assert (row["sandbox"], row["egress_reported"]) == ("none", False)
    assert row["levels"] == dict.fromkeys(LIMITS, "none") | {"open_files": "kernel"}
    assert "  yes      NO  " in installed("plugin", "list").out
    monkeypatch.setenv("APERIO_SANDBOX", "auto")
    offered = choose_sandbox()
    [row] = rows(installed)
    assert row["sandbox"] == offered.name
    found = {each.limit: str(each.level) for each in offered.enforcements(Confinement())}
    assert row["levels"] == found
    reported = f'[sandbox.plugins."{HELLO}"]\negress = "report"\n'
    (installed.home / "config.toml").write_text(reported)
    [row] = rows(installed)
    assert row["egress_reported"]
    assert row["levels"] == found | {"egress": "none"}
    assert quick_answer(installed) == installed("plugin", "list").out
    if offered.name != "none":
        assert "none egress" in installed("plugin", "list").out


def test_another_group_of_processes_has_the_machine_looked_at_again(
    installed: Aperio, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows(installed)
    assert quick_answer(installed)
    group = tmp_path / "cgroup"
    group.write_text("0::/system.slice/aperio.service\n")
    monkeypatch.setattr(verdicts, "_CONFINING", (str(group),))
    assert quick_answer(installed) is None


def _leave(_aperio: Aperio) -> None:
    pass


def _replace_interpreter(aperio: Aperio) -> None:
    [receipt] = aperio.home.rglob("receipt.json")
    document = json.loads(receipt.read_text())
    document["interpreter"]["executable"] = "/nowhere/python3"
    receipt.write_text(json.dumps(document))


def _damage_record(aperio: Aperio) -> None:
    [receipt] = aperio.home.rglob("receipt.json")
    document = json.loads(receipt.read_text())
    document["protocol"] = "2.0"
    receipt.write_text(json.dumps(document))


def _share_configuration(aperio: Aperio) -> None:
    (aperio.home / "managed.toml").chmod(0o666)


CHANGES: dict[str, tuple[Callable[[Aperio], object], str | None]] = {
    "nothing": (_leave, None),
    "a configuration appears": (require_verified, "publisher-unverified"),
    "the rule goes": (lambda a: (a.home / "managed.toml").unlink(), "publisher-unknown"),
    "another interpreter": (_replace_interpreter, "interpreter-changed"),
    "a damaged record": (_damage_record, "receipt-invalid"),
    "others may write": (_share_configuration, "path-shared"),
    "no configuration": (
        lambda a: (a.home / "config.toml").write_text("[polici]\n"),
        "configuration-invalid",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_remembered_verdict_holds_until_something_changes(installed: Aperio, change: str) -> None:
    deed, code = CHANGES[change]
    assert verdict(installed) is None
    before = quick_answer(installed)
    assert before
    deed(installed)

    assert (quick_answer(installed) == before) is (code is None)
    assert verdict(installed) == code
    if code != "path-shared":
        return
    assert quick_answer(installed) is None  # what could not be judged is not kept


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("day", "2026-01-01"),
        ("machine", "Linux other 0"),
        ("aperio", "0.0.1"),
        ("schema", 2),
        ("until", "2020-01-01T00:00:00Z"),
        ("place", "elsewhere"),
        ("depends", []),
        ("versions", {}),
        ("versions", None),
    ],
)
def test_a_verdict_of_another_day_machine_or_program_does_not_hold(
    installed: Aperio, key: str, value: object
) -> None:
    installed("plugin", "list")
    assert quick_answer(installed)
    kept = Path(verdicts.path_of(str(installed.home)))
    kept.write_text(json.dumps(json.loads(kept.read_text()) | {key: value}))

    assert quick_answer(installed) is None
    assert verdict(installed) is None
    assert quick_answer(installed)


@pytest.mark.parametrize(
    "contents", [b"", b"[]", b"{" * 100_000, b"\xff", b'{"depends": {"x": 5}}']
)
def test_verdicts_that_cannot_be_read_are_judged_anew(installed: Aperio, contents: bytes) -> None:
    kept = Path(verdicts.path_of(str(installed.home)))
    kept.parent.mkdir(exist_ok=True)
    kept.write_bytes(contents)
    assert quick_answer(installed) is None
    assert verdict(installed) is None


def test_a_home_for_reading_only_is_judged_every_time(installed: Aperio) -> None:
    checks = installed.home / "checks"
    with contextlib.suppress(FileNotFoundError):
        (checks / "may-run.json").unlink()
    checks.mkdir(exist_ok=True)
    checks.chmod(0o500)
    try:
        assert verdict(installed) is None
        assert os.geteuid() == 0 or quick_answer(installed) is None
    finally:
        checks.chmod(0o700)


def test_options_leave_what_is_remembered_alone(installed: Aperio) -> None:
    installed("plugin", "list", "--home", installed.home)
    assert not Path(verdicts.path_of(str(installed.home))).exists()


def test_states_tell_a_file_that_was_replaced_by_one_of_the_same_size(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("one")
    before = verdicts.state_of(str(file))
    assert verdicts.state_of(str(file)) == before
    other = tmp_path / "b"
    other.write_text("two")
    os.utime(other, ns=(time.time_ns(), file.stat().st_mtime_ns))
    other.rename(file)
    assert verdicts.state_of(str(file)) != before
    assert verdicts.state_of(str(tmp_path / "missing")) is None
    assert listing.rows(str(tmp_path)) == []

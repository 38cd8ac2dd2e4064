"""The systemd unit: what systemd itself makes of it, and what must not stand in it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from aperio_cli.serving.unit import STOP_S, WATCHDOG_S, Unit
from tests.rows import each_row

# What would take from plugins their sandbox, or from the host its plugins' control groups.
FORBIDDEN = {
    "RestrictNamespaces", "ProtectProc", "ProcSubset", "ProtectKernelTunables", "ProtectKernelLogs",
    "ProtectControlGroups", "ProtectHostname", "PrivateUsers", "NoNewPrivileges", "PrivateDevices",
    "SystemCallFilter", "CapabilityBoundingSet", "MemoryDenyWriteExecute", "PrivateNetwork",
    "IPAddressDeny", "RootDirectory", "DynamicUser",
}  # fmt: skip
# These filter system calls, which implies NoNewPrivileges for everybody but root.
FILTERS = {
    "ProtectClock", "ProtectKernelModules", "LockPersonality", "RestrictRealtime",
    "RestrictSUIDSGID", "SystemCallArchitectures",
}  # fmt: skip
ROOTS = Unit([sys.executable, "host", "run"], Path("/root/.aperio"), Path("/etc/aperio/c.toml"))
SOMEBODYS = Unit(
    [sys.executable, "-m", "aperio_cli", "--config", "/etc/a b/c%d$e.toml"],
    Path("/var/lib/aperio home"),
    Path("/etc/a b/c%d$e.toml"),
    user="root",
)
USERS = Unit([sys.executable], Path("/home/u/.aperio"), Path("/home/u/c.toml"), is_users=True)


def settings(unit: Unit) -> dict[str, list[str]]:
    """Values by key, of all sections."""
    found: dict[str, list[str]] = {}
    for line in unit.text().splitlines():
        if line and not line.startswith(("#", "[")):
            key, separator, value = line.partition("=")
            assert separator, line
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("unit", [ROOTS, SOMEBODYS, USERS], ids=["root", "somebody", "user"])
def test_systemd_takes_the_unit(unit: Unit, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not here")
    file = tmp_path / "aperio-host.service"
    file.write_text(unit.text())
    manager = "--user" if unit.is_users else "--system"
    done = subprocess.run(
        [analyze, "verify", manager, "--man=no", "--recursive-errors=no", str(file)],
        capture_output=True, text=True, check=False, timeout=60,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)},
    )  # fmt: skip
    assert (done.returncode, done.stderr.replace(str(file), "")) == (0, ""), unit.text()


@each_row("unit", [ROOTS, SOMEBODYS, USERS], ids=["root", "somebody", "user"])
def test_a_unit_says_what_a_supervisor_needs(unit: Unit) -> None:
    stated = settings(unit)
    assert stated["Type"] == ["notify"]
    assert stated["Delegate"] == ["yes"]
    assert stated["WatchdogSec"] == [str(WATCHDOG_S)]
    assert stated["TimeoutStopSec"] == [str(STOP_S)]
    assert stated["OOMPolicy"] == ["continue"]
    assert stated["ExecReload"] == ["kill -HUP $MAINPID"]
    assert not FORBIDDEN & set(stated)


def test_only_roots_unit_filters_system_calls() -> None:
    assert set(settings(ROOTS)) >= FILTERS
    assert not FILTERS & set(settings(SOMEBODYS))
    assert not FILTERS & set(settings(USERS))


def test_words_are_quoted_as_systemd_reads_them() -> None:
    stated = settings(SOMEBODYS)
    assert stated["ExecStart"][0].endswith(' -m aperio_cli --config "/etc/a b/c%%d$$e.toml"')
    assert stated["Environment"][0] == '"APERIO_HOME=/var/lib/aperio home"'
    odd = Unit(['/a"b\\c\nd', ""], Path("/x$y"), Path("/z"))
    assert settings(odd)["ExecStart"] == ['"/a\\"b\\\\c\\x0ad" ""']
    assert settings(odd)["Environment"][0] == "APERIO_HOME=/x$y"


def test_a_user_has_a_unit_of_the_users_own_manager() -> None:
    assert settings(USERS)["WantedBy"] == ["default.target"]
    assert USERS.place.startswith("~/.config/systemd/user/")
    assert "User" not in settings(USERS)
    assert settings(ROOTS)["WantedBy"] == ["multi-user.target"]
    assert settings(SOMEBODYS)["User"] == ["root"]
    assert any("--user" in step for step in USERS.steps)


def test_the_steps_print_the_same_unit_again_and_may_be_taken_by_who_reads_them() -> None:
    options = ["--config", "/etc/a b.toml", "--all"]
    printing = "aperio host unit --config '/etc/a b.toml' --all"
    assert replace(ROOTS, options=options).steps[0] == f"{printing} > {ROOTS.place}"
    made, written, *_ = replace(USERS, options=options).steps
    assert (made, written) == ("mkdir -p ~/.config/systemd/user", f"{printing} > {USERS.place}")
    steps = replace(SOMEBODYS, options=[*options, "--system"]).steps
    assert steps[0] == f"{printing} --system | sudo tee {SOMEBODYS.place} > /dev/null"
    assert all(step.startswith("sudo systemctl ") for step in steps[1:])

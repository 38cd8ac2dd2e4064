"""What happens in the guest of `sandbox_vm.py`: each way to run aperio there, tried and tested.

It runs as root, as a service. What each way has to offer is what `aperio doctor` must say, and
where plugins are contained the tests of the sandbox run in it.
"""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).resolve().parents[1]
PACKAGES: Final = CHECKOUT.parent / "packages"
STATUS: Final = Path("/dev/ttyS1")
PATHS: Final = os.pathsep.join(map(str, (CHECKOUT, CHECKOUT / "sdk" / "python", PACKAGES)))
KERNEL: Final = dict.fromkeys(("memory", "cpu", "processes", "egress", "isolation"), "kernel")
POLLED: Final = KERNEL | {"memory": "polled", "cpu": "polled"}
NOTHING: Final = dict.fromkeys(KERNEL, "none")
TIMEOUT_S: Final = 3000
USER, OTHER = "tester", "stranger"


@dataclass(frozen=True)
class Way:
    """A way to run aperio.

    Attributes:
        name: of it.
        before: what its command begins with.
        levels: who has to keep which limit.
        mechanism: what has to stand in what keeps memory, or in its remedy.
        is_tested: whether the tests of the sandbox run in it.
    """

    name: str
    before: tuple[str, ...]
    levels: dict[str, str]
    mechanism: str
    is_tested: bool = False


def as_user(name: str, *, has_bus: bool = False) -> tuple[str, ...]:
    """The beginning of a command that runs as a user, with its manager's socket or without."""
    uid = pwd.getpwnam(name).pw_uid
    bus = f"XDG_RUNTIME_DIR=/run/user/{uid}"
    return ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--init-groups", "env", "-i",
            f"HOME=/home/{name}", "PATH=/usr/bin:/bin:/usr/sbin:/sbin", "LANG=C.UTF-8",
            *((bus,) if has_bus else ()))  # fmt: skip


def ways() -> list[Way]:
    """Every way, with what it has to offer."""
    scope = ("systemd-run", "--user", "--scope", "--quiet", "-p", "Delegate=yes", "--")
    service = ("systemd-run", "--quiet", "--pipe", "--wait", f"--uid={USER}", "-p", "Delegate=yes",
               f"--setenv=HOME=/home/{USER}", "--")  # fmt: skip
    return [
        Way("root, in a service", (), KERNEL, "cgroup v2", is_tested=True),
        Way("a user, in a scope of its own manager", (*as_user(USER, has_bus=True), *scope),
            KERNEL, "cgroup v2", is_tested=True),
        Way("a user whose manager is asked", as_user(USER, has_bus=True),
            KERNEL, "cgroup v2, delegated by systemd"),
        Way("a service with Delegate=yes", service, KERNEL, "cgroup v2"),
        Way("a user without a manager", as_user(OTHER), POLLED, "loginctl enable-linger"),
    ]  # fmt: skip


def command(*words: str) -> list[str]:
    """What runs Python with this project."""
    return ["env", f"PYTHONPATH={PATHS}", "PYTHONDONTWRITEBYTECODE=1", "/usr/bin/python3", *words]


def doctor(before: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """What `aperio doctor` says of each limit."""
    done = subprocess.run(
        [*before, *command("-m", "aperio_cli", "doctor", "--json")],
        capture_output=True, text=True, check=False, timeout=120, cwd="/",
    )  # fmt: skip
    try:
        limits = json.loads(done.stdout)["data"]["limits"]
    except (ValueError, KeyError):
        say(done.stdout + done.stderr)
        return {}
    return {each["limit"]: each for each in limits}


def holds(way: Way) -> bool:
    """Whether doctor says of a way what it has to offer."""
    found = doctor(way.before)
    said = {name: found.get(name, {}).get("level", "") for name in way.levels}
    words = f"{found.get('memory', {}).get('mechanism')}; {found.get('memory', {}).get('remedy')}"
    say(f"  doctor: {' '.join(f'{n} {level}' for n, level in said.items())}; memory by {words}")
    return said == way.levels and way.mechanism in words


def passes(way: Way, more: list[str]) -> bool:
    """Whether the tests of the sandbox pass in it."""
    place = f"--basetemp=/tmp/tests-{way.name.split()[0].strip(',')}"
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-rs", place, *more]
    if not any(word.startswith("tests") for word in more):
        words.append("tests/sandbox")
    done = subprocess.run([*way.before, *command(*words)], check=False, timeout=TIMEOUT_S,
                          cwd=CHECKOUT)  # fmt: skip
    return done.returncode == 0


def namespaces_off() -> bool:
    """Whether a machine that allows no user namespaces is told, and how to allow them."""
    switch = Path("/proc/sys/user/max_user_namespaces")
    before = switch.read_text()
    switch.write_text("0")
    try:
        return holds(Way("", as_user(OTHER), NOTHING, "user.max_user_namespaces"))
    finally:
        switch.write_text(before)


def prepare() -> None:
    """Make two users, one with a manager that stays."""
    for name in (USER, OTHER):
        subprocess.run(["useradd", "--create-home", name], check=True)
    subprocess.run(["loginctl", "enable-linger", USER], check=True)
    bus = Path(f"/run/user/{pwd.getpwnam(USER).pw_uid}/bus")
    deadline_s = time.monotonic() + 60
    while not bus.exists() and time.monotonic() < deadline_s:
        time.sleep(0.1)


def say(text: str) -> None:
    """Show a line at once."""
    sys.stdout.write(text.rstrip() + "\n")
    sys.stdout.flush()


def main() -> int:
    """Try every way; return how many things failed."""
    more = (CHECKOUT / ".ci" / "sandbox_vm_arguments").read_text().split("\n")
    more = [word for word in more if word]
    kernel = os.uname().release
    say(f"kernel {kernel}, {subprocess.check_output(['systemctl', '--version'], text=True)[:12]}")
    prepare()
    failed = []
    for way in ways():
        say(f"── {way.name}")
        if not holds(way):
            failed.append(f"doctor: {way.name}")
        if way.is_tested and not passes(way, more):
            failed.append(f"tests: {way.name}")
    say("── user namespaces off")
    if not namespaces_off():
        failed.append("doctor: user namespaces off")
    for text in failed:
        say(f"FAILED {text}")
    say("all went well in the guest" if not failed else f"{len(failed)} things failed")
    return min(len(failed), 100)


if __name__ == "__main__":
    result = 1
    STATUS.write_text("begun\n")
    try:
        result = main()
    finally:
        STATUS.write_text(f"{result}\n")
        os.sync()

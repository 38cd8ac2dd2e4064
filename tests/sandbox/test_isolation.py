"""What a plugin in a sandbox cannot do to the machine, and that it can do all that it has to.

Each attack is made by the same plugin without a sandbox too, where it works: a refusal that would
be there anyway proves nothing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from typing import TYPE_CHECKING, Any, Final

import pytest

from aperio_cli.errors.running import PluginCrashed
from aperio_cli.host.sandbox import seccomp
from aperio_cli.host.sandbox.unconfined import Unconfined
from tests.process.conftest import wait_until
from tests.sandbox.conftest import LIMITS, acting, left_behind

if TYPE_CHECKING:
    from collections.abc import Callable

    from aperio_cli.host.sandbox.interface import Sandbox
    from tests.sandbox.conftest import Actor, Stage, Target

pytestmark = pytest.mark.sandbox
MIB = 1024**2


# ── files, processes, sockets ─────────────────────────────────────────────────────────────────────


# name: (the deed, what comes of it in a sandbox, and without one; None: anything but an error)
ATTACKS: dict[str, tuple[Callable[[Target, Stage], list[Any]], object, object]] = {
    "a private key": (
        lambda prey, _: ["read", str(prey.folder / ".ssh" / "id_ed25519")],
        "ENOENT",
        "a private key",
    ),
    "a folder of secrets": (lambda prey, _: ["listing", str(prey.folder)], "ENOENT", None),
    "accounts": (lambda _, __: ["read", "/etc/shadow"], "ENOENT", None),
    "homes": (lambda _, __: ["listing", "/home"], "ENOENT", None),
    "devices": (lambda _, __: ["listing", "/sys/class/net"], "ENOENT", None),
    "the host's environment": (
        lambda _, __: ["environment_of", str(os.getpid())],
        "ENOENT",
        None,
    ),
    "the host's memory": (lambda _, __: ["read", f"/proc/{os.getpid()}/maps"], "ENOENT", None),
    "the host's process": (lambda _, __: ["signal_process", os.getpid()], "ESRCH", "sent"),
    "another's socket": (
        lambda prey, _: ["connect", "AF_UNIX", prey.path],
        "ENOENT",
        "connected",
    ),
    "an abstract socket": (
        lambda prey, _: ["connect", "AF_UNIX", prey.name],
        "ECONNREFUSED",
        "connected",
    ),
    "a local service": (
        lambda prey, _: ["connect", "AF_INET", ["127.0.0.1", prey.port]],
        "ECONNREFUSED",
        "connected",
    ),
    "files of its own": (
        lambda _, stage: ["write", str(stage.folder / "project" / "added.py")],
        "EROFS",
        "written",
    ),
    "programs of the system": (lambda _, __: ["write", "/usr/aperio-was-here"], "EROFS", None),
}


ROOTS = ("accounts", "the host's environment", "the host's memory")  # a host hides its memory


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_fails_in_a_sandbox_and_works_without(
    name: str, confined: Actor, free: Actor, prey: Target, stage: Stage
) -> None:
    deed, expected, without = ATTACKS[name]
    assert confined.do(*deed(prey, stage)) == expected
    if name == "programs of the system":
        return  # without a sandbox it would really be done
    if name in ROOTS and os.geteuid():
        return  # this user may not do it either
    found = free.do(*deed(prey, stage))
    assert found == without if without is not None else not is_error(found)


def is_error(found: object) -> bool:
    return isinstance(found, str) and found in set(errno.errorcode.values())


def test_what_a_plugin_needs_is_there(confined: Actor) -> None:
    assert confined.do("write", "/tmp/mine", "kept") == "written"
    assert confined.do("read", "/tmp/mine") == "kept"
    assert confined.do("listing", "/etc/ssl/certs")
    assert "plugin" in confined.do("read", "/etc/passwd")
    assert "localhost" in confined.do("read", "/etc/hosts")
    assert confined.do("signal_process", 0) == "sent"  # its own group


def test_a_plugin_sees_its_own_processes_only(confined: Actor, free: Actor) -> None:
    assert confined.do("processes")[:2] == [1, 2]
    assert len(confined.do("processes")) < 5
    assert os.getpid() in free.do("processes")


def test_a_plugin_has_a_user_id_of_its_own_and_no_way_to_another(confined: Actor) -> None:
    found = confined.do("own")
    assert found["cwd"] == "/tmp"
    assert found["host"] == "plugin"
    if os.geteuid():
        assert found["uid"] == os.geteuid()
    else:
        assert found["uid"] == 61001
        assert confined.do("set_user", 0) == "EPERM"
        assert confined.do("set_user_by_program", "/tmp/id") == "61001"
        assert confined.do("read", "/proc/1/environ") == "EACCES"


@pytest.mark.parametrize("path", ["/proc/1/exe", "/proc/self/exe"])
def test_no_program_can_be_written_through_proc(path: str, confined: Actor) -> None:
    """As runc's host binary once could (CVE-2019-5736): bubblewrap is pid 1 in there."""
    assert confined.do("write", path) in {"EACCES", "EROFS", "ETXTBSY", "EPERM"}


def test_the_host_is_not_behind_its_own_root(confined: Actor) -> None:
    assert confined.do("listing", "/proc/1/root/root") in {"EACCES", "ENOENT", "EPERM"}
    for path in ("/x", "/dev/x", "/etc/x", "/proc/x"):
        assert is_error(confined.do("write", path))


def test_devices_cannot_be_made(confined: Actor) -> None:
    assert confined.do("make_device", "/tmp/memory") == "EPERM"


# ── system calls ──────────────────────────────────────────────────────────────────────────────────

# Refused inside; outside the kernel gets as far as looking at the arguments.
CALLS: dict[str, tuple[list[int], tuple[object, ...]]] = {
    "keyctl": ([0, -3, 0], ()),  # the session's keyring
    "add_key": ([0, 0, 0, 0, 0], ("EFAULT",)),
    "io_uring_setup": ([1, 0], ("EFAULT",)),
    "bpf": ([0, 0, 0], ("E2BIG", "EINVAL", "EFAULT")),
    "perf_event_open": ([0, 0, 0, 0, 0], ("EFAULT",)),
    "userfaultfd": ([-1], ("EINVAL",)),
    "process_vm_readv": ([0, 0, 0, 0, 0, 0], (0, "ESRCH")),
    "ptrace": ([16, 0, 0, 0], ("ESRCH",)),  # PTRACE_ATTACH to nobody
    "unshare": ([0], (0,)),
    "setns": ([-1, 0], ("EBADF",)),
    "mount": ([0, 0, 0, 0, 0], ("EFAULT",)),
    "pidfd_getfd": ([-1, 0, 0], ("EBADF",)),
    "open_by_handle_at": ([-1, 0, 0], ("EFAULT", "EBADF")),
    "kcmp": ([0, 0, 9, 0, 0], ("ESRCH", "EINVAL")),
}


@pytest.mark.parametrize("name", CALLS)
def test_system_call_is_refused_in_a_sandbox_only(name: str, confined: Actor, free: Actor) -> None:
    arguments, without = CALLS[name]
    number = seccomp.number_of(name)
    assert confined.do("system_call", number, *arguments) == "EPERM"
    found = free.do("system_call", number, *arguments)
    if os.geteuid() and found in {"EPERM", "EACCES"}:
        return  # a kernel may let root alone do it, as Debian's with bpf
    assert found in without if without else not is_error(found)


def test_no_namespace_can_be_made(confined: Actor, free: Actor) -> None:
    clone, new_user = seccomp.number_of("clone"), 0x10000000
    assert confined.do("system_call", clone, new_user, 0, 0, 0, 0) == "EPERM"
    assert confined.do("system_call", seccomp.number_of("clone3"), 0, 0) == "ENOSYS"
    assert free.do("system_call", seccomp.number_of("clone3"), 0, 0) == "EINVAL"


@pytest.mark.parametrize(
    ("family", "kind", "address"),
    # AF_VSOCK, which not every build of Python has a name for, and AF_PACKET (bits/socket.h)
    [(40, "SOCK_STREAM", [2, 1]), (17, "SOCK_RAW", ["lo", 0])],
)
def test_sockets_that_lead_past_a_network_namespace_are_refused(
    family: int, kind: str, address: list[Any], confined: Actor
) -> None:
    assert confined.do("connect", family, address, kind) == "EAFNOSUPPORT"


@pytest.mark.parametrize("address", ["192.0.2.1", "169.254.169.254"])
@pytest.mark.parametrize("kind", ["SOCK_STREAM", "SOCK_DGRAM"])
def test_without_declared_hosts_there_is_no_network(
    address: str, kind: str, confined: Actor
) -> None:
    assert confined.do("connect", "AF_INET", [address, 80], kind) == "ENETUNREACH"


# ── space and descriptors ─────────────────────────────────────────────────────────────────────────


def test_its_space_is_as_much_as_it_was_given(confined: Actor) -> None:
    fitted = confined.do("fill", "/tmp", 64)
    assert 0 < fitted <= LIMITS.tmp_bytes // MIB
    assert confined.do("fill", "/dev/shm", 8) == 0


def test_its_descriptors_are_as_many_as_it_was_given(confined: Actor) -> None:
    assert 16 < confined.do("open_files", 1000) < LIMITS.open_files
    assert confined.do("open_files", 16) == 16


# ── its end ───────────────────────────────────────────────────────────────────────────────────────


MARK: Final = f"{os.getpid()}-"
"""Of the processes of these tests: others run at the same time, and leave some behind, too."""


def test_a_daemon_that_it_leaves_ends_with_it(stage: Stage, sandbox: Sandbox) -> None:
    with acting(stage.build(), sandbox) as actor:
        actor.do("daemon", MARK)
        assert wait_until(lambda: bool(left_behind(MARK)), within_s=30)
    assert wait_until(lambda: not left_behind(MARK), within_s=30)


def test_without_a_sandbox_a_daemon_stays(stage: Stage) -> None:
    with acting(stage.build(), Unconfined()) as actor:
        actor.do("daemon", MARK)
        assert wait_until(lambda: bool(left_behind(MARK)), within_s=30)
    pids = left_behind(MARK)
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("deed", "said"),
    [
        (["die_by", signal.SIGSEGV], "SIGSEGV"),
        (["die_by", signal.SIGKILL], "SIGKILL"),
        (["kill_group"], "SIGTERM"),
    ],
    ids=["crash", "kill", "its own group"],
)
def test_how_it_ended_is_told_as_without_a_sandbox(
    deed: list[Any], said: str, stage: Stage, sandbox: Sandbox
) -> None:
    whys = []
    for each in (sandbox, Unconfined()):
        with acting(stage.build(), each) as actor, pytest.raises(PluginCrashed) as caught:
            actor.do(*deed)
        whys.append(caught.value.why)
    assert whys[0] == whys[1]
    assert said in whys[0] or str(int(getattr(signal, said))) in whys[0]


def test_a_host_that_dies_takes_everything_with_it(stage: Stage, sandbox: Sandbox) -> None:
    """The end of bubblewrap outside is the end of everything inside."""
    with acting(stage.build(), sandbox) as actor:
        actor.do("daemon", MARK)
        assert wait_until(lambda: bool(left_behind(MARK)), within_s=30)
        os.kill(actor.plugin.pid, signal.SIGKILL)
        assert wait_until(lambda: not left_behind(MARK), within_s=30)


def test_many_start_at_once(stage: Stage, sandbox: Sandbox) -> None:
    with contextlib.ExitStack() as running:
        actors = [running.enter_context(acting(stage.build(), sandbox)) for _ in range(4)]
        assert [actor.do("own")["host"] for actor in actors] == ["plugin"] * 4
        assert all(len(actor.do("processes")) < 5 for actor in actors)

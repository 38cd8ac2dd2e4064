"""Parts of the sandbox that need no kernel: the filter, the view of files, the words."""

from __future__ import annotations

import errno
import struct
from pathlib import Path

import pytest

from aperio_cli.errors.usage import UsageError
from aperio_cli.host.sandbox import choosing, rights, seccomp, telling
from aperio_cli.host.sandbox.bubblewrap import Bubblewrap, Tools
from aperio_cli.host.sandbox.interface import LIMITS, Confinement, Doorway, Level
from aperio_cli.host.sandbox.unconfined import Unconfined
from aperio_cli.host.sandbox.view import View, interpreter_places
from tests.rows import each_row

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ALLOWED, KILLED, ERROR = 0x7FFF0000, 0x80000000, 0x00050000


def judge(program: bytes, architecture: int, number: int, *arguments: int) -> int:
    """What the kernel does with a system call, by the filter: classic BPF, interpreted."""
    padded = (*arguments, *(0,) * (6 - len(arguments)))
    data = struct.pack("=IIQ6Q", number, architecture, 0, *padded)
    instructions = list(struct.iter_unpack("=HBBI", program))
    accumulator = at = 0
    while True:
        code, if_true, if_false, k = instructions[at]
        at += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", data, k)
            case 0x15:
                at += if_true if accumulator == k else if_false
            case 0x35:
                at += if_true if accumulator >= k else if_false
            case 0x45:
                at += if_true if accumulator & k else if_false
            case 0x06:
                return int(k)
            case _:
                raise AssertionError(code)


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_filter_denies_by_name_and_lets_the_rest_pass(machine: str) -> None:
    program, architecture = seccomp.build_filter(machine), ARCHITECTURES[machine]
    for name in seccomp.denied():
        number = seccomp.number_of(name, machine)
        if number >= 0:
            assert judge(program, architecture, number) == ERROR | errno.EPERM, name
    denied = {seccomp.number_of(name, machine) for name in seccomp.denied()}
    special = {seccomp.number_of(name, machine) for name in ("clone", "clone3", "socket", "ioctl")}
    for number in set(range(600)) - denied - special:
        assert judge(program, architecture, number) == ALLOWED


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_filter_looks_at_arguments_where_the_call_is_needed(machine: str) -> None:
    program, architecture = seccomp.build_filter(machine), ARCHITECTURES[machine]

    def call(name: str, *arguments: int) -> int:
        return judge(program, architecture, seccomp.number_of(name, machine), *arguments)

    thread = 0x3D0F00  # what pthread_create asks for
    assert call("clone", thread) == call("clone", 17) == ALLOWED
    for bit in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert call("clone", 17 | bit) == ERROR | errno.EPERM
    assert call("clone3") == ERROR | errno.ENOSYS
    assert [call("socket", family, 1) for family in (1, 2, 10)] == [ALLOWED] * 3
    assert call("socket", 16, 3, 0) == ALLOWED  # NETLINK_ROUTE
    refused = [call("socket", 16, 3, 12), *(call("socket", f, 1) for f in (17, 38, 40, 0, 44))]
    assert set(refused) == {ERROR | errno.EAFNOSUPPORT}
    assert call("ioctl", 0, 0x5412) == ERROR | errno.EPERM
    assert call("ioctl", 0, 0x5413) == ALLOWED


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_filter_denies_memory_that_only_a_control_group_would_see(machine: str) -> None:
    architecture = ARCHITECTURES[machine]
    watched = seccomp.build_filter(machine, is_memory_watched=True)
    counted = seccomp.build_filter(machine)
    for name in ("memfd_create", "shmget", "msgget"):
        number = seccomp.number_of(name, machine)
        assert judge(watched, architecture, number) == ERROR | errno.ENOSYS
        assert judge(counted, architecture, number) == ALLOWED
    assert judge(watched, architecture, 0) == ALLOWED


def test_filter_ends_what_speaks_another_architectures_numbers() -> None:
    program = seccomp.build_filter("x86_64")
    assert judge(program, 0x40000003, 1) == KILLED  # i386
    assert judge(program, ARCHITECTURES["x86_64"], 0x40000000 | 1) == KILLED  # x32
    assert judge(seccomp.build_filter("aarch64"), ARCHITECTURES["x86_64"], 1) == KILLED
    assert not seccomp.is_known("riscv64")


# ── the view ──────────────────────────────────────────────────────────────────────────────────────


def test_view_keeps_links_and_binds_what_they_lead_to(tmp_path: Path) -> None:
    (tmp_path / "real" / "bin").mkdir(parents=True)
    (tmp_path / "real" / "bin" / "python3.11").touch()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "python").symlink_to("link/bin/python3.11")
    view = View()
    view.add(tmp_path / "python")
    told = view.arguments()
    real = str(tmp_path / "real/bin/python3.11")
    assert told[-9:] == [
        "--ro-bind", real, real,
        "--symlink", "link/bin/python3.11", str(tmp_path / "python"),
        "--symlink", "real", str(tmp_path / "link"),
    ]  # fmt: skip


def test_view_opens_the_folders_above_and_covers_once(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    view = View()
    view.add(tmp_path / "a")
    view.add(inner)
    view.add(tmp_path / "missing")
    told = view.arguments()
    assert told.count("--ro-bind") == 1
    assert ["--perms", "0755", "--dir", str(tmp_path)] == told[-7:-3]
    view.add(inner, is_writable=True)
    assert view.arguments()[-3:] == ["--bind", str(inner), str(inner)]


def test_view_survives_links_that_lead_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    view = View()
    view.add(tmp_path / "one")
    assert "--ro-bind" not in view.arguments()


@each_row(
    ("stated", "seen"),
    [
        ("/", "/"),
        ("/usr/../usr/./lib", "/usr/lib"),
        ("/../usr", "/usr"),
        ("/usr//lib/", "/usr/lib"),
    ],
)
def test_view_takes_a_path_as_the_kernel_does(stated: str, seen: str) -> None:
    view = View()
    view.add(Path(stated))
    assert view.arguments()[-3:] == ["--ro-bind", seen, seen]


def test_of_an_interpreter_a_home_around_it_is_not_shown(tmp_path: Path) -> None:
    places = interpreter_places(str(tmp_path / "bin" / "python3.11"), str(tmp_path))
    assert tmp_path not in places
    assert tmp_path / "lib" in places


# ── the words ─────────────────────────────────────────────────────────────────────────────────────

SANDBOX = Bubblewrap(Tools("/usr/bin/bwrap"))


def test_every_limit_is_told_once_by_each_sandbox() -> None:
    for sandbox in (SANDBOX, Unconfined()):
        found = sandbox.enforcements(Confinement())
        assert tuple(each.limit for each in found) == LIMITS


def test_without_a_sandbox_nothing_but_descriptors_is_enforced() -> None:
    said = list(telling.announcements(Unconfined(), Confinement()))
    assert said == [("warn", "not enforced: cpu memory egress processes tmp isolation")]


def test_a_network_is_contained_with_a_door_and_without_one() -> None:
    door = Doorway({}, (), (), lambda _sockets: None)
    for wanted in (Confinement(), Confinement(door=door)):
        (egress,) = [e for e in SANDBOX.enforcements(wanted) if e.limit == "egress"]
        assert egress.level is Level.KERNEL


# ── the choice ────────────────────────────────────────────────────────────────────────────────────


def program(folder: Path, name: str, mode: int = 0o755) -> None:
    (folder / name).write_text("#!/bin/sh\n")
    (folder / name).chmod(mode)


@each_row(
    ("made", "mode", "remedy"),
    [
        ((), 0o755, "install bubblewrap"),
        (("bwrap", "setpriv", "unshare"), 0o4755, "chmod u-s"),
        (("bwrap", "setpriv", "unshare"), 0o755, ""),
    ],
)
def test_sandbox_is_there_when_its_programs_are(
    made: tuple[str, ...], mode: int, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in made:
        program(tmp_path, name, mode if name == "bwrap" else 0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = choosing.missing_remedy(tmp_path / "proc")
    assert remedy in found
    assert bool(found) == bool(remedy)
    assert (choosing.choose_sandbox().name == "none") == bool(remedy)
    assert choosing.choose_sandbox("none").name == "none"


def test_a_kernel_that_allows_no_user_namespaces_has_no_sandbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("bwrap", "setpriv", "unshare"):
        program(tmp_path, name)
    monkeypatch.setenv("PATH", str(tmp_path))
    setting = tmp_path / "sys" / "user" / "max_user_namespaces"
    setting.parent.mkdir(parents=True)
    setting.write_text("0\n")
    assert "max_user_namespaces" in choosing.missing_remedy(tmp_path)
    setting.write_text("1000\n")
    assert choosing.missing_remedy(tmp_path) == ""


def test_a_persons_user_id_is_not_the_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(choosing, "missing_remedy", lambda: "")
    with pytest.raises(UsageError, match="is the user root"):
        choosing.choose_sandbox(plugin_uid=0)
    assert choosing.choose_sandbox(plugin_uid=61001).owner == 61001


@each_row(
    ("held", "is_enough"),
    [
        ("000001fffeffffff", True),
        ("00000000802000c0", True),  # the four, and no other
        ("0000000080200080", False),  # without CAP_SETGID
        ("00000000a80425fb", False),  # what a container's root is usually left with
        ("0000000000000000", False),
    ],
)
def test_root_that_was_left_without_its_rights_confines_nobody(
    tmp_path: Path, held: str, *, is_enough: bool
) -> None:
    status = tmp_path / "status"
    status.write_text(f"Name:\tpython\nCapPrm:\t000001ffffffffff\nCapEff:\t{held}\n")

    assert rights.holds_rights(status) is is_enough
    assert not rights.holds_rights(tmp_path / "absent")

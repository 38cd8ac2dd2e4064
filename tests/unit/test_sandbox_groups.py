"""Control groups on a tree that only looks like the kernel's: version 1, version 2, delegation."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from aperio_cli.host.sandbox import groups
from aperio_cli.host.sandbox.interface import Counters
from aperio_cli.host.sandbox.reaching import limits_reached
from aperio_cli.models.limits import Limits
from tests.rows import each_row

if TYPE_CHECKING:
    from pathlib import Path

LIMITS = Limits(memory_bytes=128 * 1024**2, cpu=0.25, processes=40)
PID = str(os.getpid())


@dataclass
class Machine:
    """A /proc and a tree of control groups."""

    proc: Path
    tree: Path

    def write(self, name: str, text: str) -> Path:
        file = self.tree / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def read(self, name: str) -> str:
        return (self.tree / name).read_text()

    def says(self, cgroup: str, mounts: str) -> None:
        (self.proc / "self").mkdir(parents=True, exist_ok=True)
        (self.proc / "self" / "cgroup").write_text(cgroup)
        (self.proc / "self" / "mountinfo").write_text(mounts.format(tree=self.tree))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "proc", tmp_path / "tree")


V1_MOUNTS = "".join(
    f"3{n} 25 0:3{n} / {{tree}}/{name} rw,relatime - cgroup cgroup rw,{name}\n"
    for n, name in enumerate(("memory", "cpu", "pids"))
)
V2_MOUNT = "30 25 0:26 / {tree} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"


def kernel_files(folder: Path, names: tuple[str, ...]) -> None:
    """What the kernel makes in a new group."""
    for name in names:
        (folder / name).write_text("")


FILES = {
    "memory": ("cgroup.procs", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
    "cpu": ("cgroup.procs", "cpu.cfs_period_us", "cpu.cfs_quota_us"),
    "pids": ("cgroup.procs", "pids.max"),
}
FILES_V2 = (
    "cgroup.procs", "memory.max", "memory.oom.group", "memory.swap.max", "cpu.max", "pids.max",
)  # fmt: skip


@pytest.fixture
def _making(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group that is made has the kernel's files in it."""
    from pathlib import Path

    make = Path.mkdir

    def made(self: Path, *arguments: object, **named: object) -> None:
        make(self, *arguments, **named)  # type: ignore[arg-type] # as they came
        if self.name.startswith("aperio-"):
            names = FILES.get(self.parent.parent.name) or FILES.get(self.parent.name) or FILES_V2
            kernel_files(self, names)

    monkeypatch.setattr(Path, "mkdir", made)


@pytest.fixture
def first(machine: Machine, _making: None) -> Machine:
    machine.says("9:memory:/job\n8:pids:/\n7:cpu,cpuacct:/\n1:name=systemd:/\n0::/\n", V1_MOUNTS)
    for name in ("memory/job", "cpu", "pids"):
        (machine.tree / name).mkdir(parents=True)
    return machine


def test_version_1_takes_what_it_may_write(first: Machine) -> None:
    offer = groups.survey(first.proc)
    assert (offer.version, offer.controllers) == (1, frozenset(FILES))
    assert offer.mechanism == "cgroup v1"


def test_version_1_sets_limits_in_three_trees(first: Machine) -> None:
    group = groups.make_group(groups.survey(first.proc), first.proc)
    assert group
    group.limit(LIMITS)
    group.add(4711)
    group.limit_cpu(LIMITS.cpu)
    (memory,) = (first.tree / "memory" / "job").iterdir()
    (cpu,) = (first.tree / "cpu").iterdir()
    (pids,) = (first.tree / "pids").iterdir()
    assert memory.name == cpu.name == pids.name
    assert memory.name.startswith(f"aperio-{PID}-")
    assert (memory / "memory.limit_in_bytes").read_text() == str(LIMITS.memory_bytes)
    assert (memory / "memory.memsw.limit_in_bytes").read_text() == str(LIMITS.memory_bytes)
    assert (pids / "pids.max").read_text() == "40"
    assert (cpu / "cpu.cfs_quota_us").read_text() == "25000"
    assert {(f / "cgroup.procs").read_text() for f in (memory, cpu, pids)} == {"4711"}
    (memory / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
    (memory / "memory.max_usage_in_bytes").write_text("134217728\n")
    (cpu / "cpu.stat").write_text("nr_periods 9\nnr_throttled 7\nthrottled_time 1500000000\n")
    (pids / "pids.events").write_text("max 12\n")
    assert group.counters() == Counters(134217728, 2, 7, 1.5, 12, None)


@pytest.fixture
def second(machine: Machine, _making: None) -> Machine:
    machine.says("0::/user.slice/app.service\n", V2_MOUNT)
    folder = "user.slice/app.service"
    machine.write(f"{folder}/cgroup.controllers", "cpu memory pids\n")
    machine.write(f"{folder}/cgroup.procs", f"{PID}\n")
    machine.write(f"{folder}/cgroup.subtree_control", "")
    return machine


def test_version_2_divides_a_delegated_group_from_a_leaf(second: Machine) -> None:
    offer = groups.survey(second.proc)
    assert (offer.version, offer.by_systemd) == (2, False)
    group = groups.make_group(offer, second.proc)
    assert group
    folder = "user.slice/app.service"
    assert second.read(f"{folder}/aperio-host/cgroup.procs") == PID
    assert second.read(f"{folder}/cgroup.subtree_control") == "+cpu +memory +pids"
    group.limit(LIMITS)
    group.add(4711)
    group.limit_cpu(LIMITS.cpu)
    (made,) = (second.tree / folder).glob(f"aperio-{PID}-*")
    found = {name: (made / name).read_text() for name in FILES_V2}
    assert found == {
        "cgroup.procs": "4711", "memory.max": str(LIMITS.memory_bytes), "memory.oom.group": "1",
        "memory.swap.max": "0", "cpu.max": "25000 100000", "pids.max": "40",
    }  # fmt: skip
    (made / "memory.events").write_text("low 0\nmax 3\noom 1\noom_kill 3\noom_group_kill 1\n")
    (made / "memory.peak").write_text("134217728\n")
    (made / "cpu.stat").write_text("usage_usec 9\nnr_throttled 5\nthrottled_usec 250000\n")
    assert group.counters() == Counters(134217728, 1, 5, 0.25, None, None)
    (made / "memory.events").write_text("low 0\nmax 3\noom 1\noom_kill 3\n")  # before Linux 5.17
    assert group.counters().memory_kills == 1
    (made / "memory.events").write_text("low 0\nmax 3\noom 0\noom_kill 0\n")
    assert group.counters().memory_kills == 0


def test_version_2_uses_the_leaf_that_it_is_in(second: Machine) -> None:
    folder = "user.slice/app.service"
    second.says(f"0::/{folder}/aperio-host\n", V2_MOUNT)
    second.write(f"{folder}/aperio-host/cgroup.controllers", "cpu memory pids\n")
    second.write(f"{folder}/cgroup.subtree_control", "cpu memory pids\n")
    offer = groups.survey(second.proc)
    assert offer.controllers == {"memory", "cpu", "pids"}
    assert groups.make_group(offer, second.proc)
    assert len(list((second.tree / folder).glob(f"aperio-{PID}-*"))) == 1


def test_version_2_is_nothing_where_others_are_in_the_group(
    second: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    second.write("user.slice/app.service/cgroup.procs", f"{PID}\n1\n")
    monkeypatch.setattr(groups, "_systemd_command", list)
    offer = groups.survey(second.proc)
    assert not offer.controllers
    assert "Delegate=yes" in offer.remedy
    assert groups.make_group(offer, second.proc) is None


def test_systemd_is_asked_where_it_can_delegate(
    second: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    second.write("user.slice/app.service/cgroup.procs", f"{PID}\n1\n")
    monkeypatch.setattr(groups, "_systemd_command", lambda: ["busctl", "--user"])
    # The unit that this process is in lacks a controller that its manager has.
    second.write("user.slice/app.service/cgroup.controllers", "memory pids\n")
    uid = os.geteuid()
    manager = f"user.slice/user-{uid}.slice/user@{uid}.service/" if uid else ""
    second.write(f"{manager}cgroup.controllers", "cpuset cpu io memory pids\n")
    offer = groups.survey(second.proc)
    assert offer.by_systemd
    assert offer.controllers == {"memory", "cpu", "pids"}
    assert offer.mechanism == "cgroup v2, delegated by systemd"
    asked: list[list[str]] = []

    def busctl(words: list[str], **_named: object) -> None:
        asked.append(words)
        scope = f"user.slice/aperio-{PID}.scope"
        second.says(f"0::/{scope}\n", V2_MOUNT)
        second.write(f"{scope}/cgroup.controllers", "cpu memory pids\n")
        second.write(f"{scope}/cgroup.procs", f"{PID}\n")
        second.write(f"{scope}/cgroup.subtree_control", "")

    ask = groups._ask_systemd
    monkeypatch.setattr(groups, "_ask_systemd", lambda: ask(busctl, second.proc))
    assert groups.make_group(offer, second.proc)
    (words,) = asked
    assert words[:2] == ["busctl", "--user"]
    assert words[-9:] == ["2", "PIDs", "au", "1", PID, "Delegate", "b", "true", "0"]
    assert list((second.tree / f"user.slice/aperio-{PID}.scope").glob(f"aperio-{PID}-*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user owns what it was delegated")
def test_root_takes_of_systemds_groups_those_that_are_delegated(
    second: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(groups, "_SYSTEMD", tmp_path)
    monkeypatch.setattr(groups, "_systemd_command", list)
    assert not groups.survey(second.proc).controllers
    said: dict[tuple[Path, str], bytes] = {}

    def getxattr(path: Path, name: str) -> bytes:
        if (path, name) not in said:
            raise OSError(61, "No data available")
        return said[path, name]

    monkeypatch.setattr(os, "getxattr", getxattr)
    assert not groups.survey(second.proc).controllers
    for name, value, is_usable in (
        ("user.delegate", b"0", False),
        ("trusted.delegate", b"1", True),
    ):
        said[second.tree / "user.slice/app.service", name] = value
        assert bool(groups.survey(second.proc).controllers) is is_usable


def test_what_was_offered_and_is_not_there_is_an_error(second: Machine) -> None:
    offer = groups.survey(second.proc)
    second.write("user.slice/app.service/cgroup.controllers", "cpu\n")
    with pytest.raises(OSError, match="memory, pids went away"):
        groups.make_group(offer, second.proc)


def test_groups_of_hosts_that_were_killed_are_swept(first: Machine) -> None:
    left = first.tree / "pids" / "aperio-999999-0badcafe"
    kept = first.tree / "pids" / f"aperio-{PID}-0badcafe"
    left.mkdir()
    kept.mkdir()
    (first.proc / PID).mkdir()
    for folder in (left, kept):
        for file in folder.iterdir():
            file.unlink()  # rmdir(2) of a group does not mind the kernel's files
    assert groups.make_group(groups.survey(first.proc), first.proc)
    assert not left.exists()
    assert kept.exists()


def test_without_any_tree_nothing_is_offered(machine: Machine) -> None:
    machine.says("", "")
    offer = groups.survey(machine.proc)
    assert (offer.version, offer.controllers) == (0, frozenset())
    assert offer.remedy


def test_a_mount_of_a_part_of_the_tree_is_understood(machine: Machine) -> None:
    """As in a container without a control group namespace of its own."""
    machine.says("4:memory:/docker/abc\n", "31 25 0:3 /docker/abc {tree} rw - cgroup c rw,memory\n")
    assert groups.look(machine.proc).folders == {"memory": machine.tree}


# ── the words ─────────────────────────────────────────────────────────────────────────────────────


@each_row(
    ("counted", "words"),
    [
        (Counters(), []),
        (Counters(memory_peak_bytes=1, memory_kills=0, throttled=1, throttled_s=0.1), []),
        (
            Counters(memory_peak_bytes=134217728, memory_kills=2),
            ["memory: limit 128MiB, peak 128MiB, killed 2 times"],
        ),
        (
            Counters(refused_processes=1, throttled=35, throttled_s=2.08),
            [
                "processes: limit 40, threads count, refused once",
                "cpu: limit 0.25 cores, held back 35 times, 2.1 s in all",
            ],
        ),
        (Counters(tmp_used_bytes=33554432), ["tmp: limit 32MiB, full at the end"]),
        (
            Counters(memory_peak_bytes=1, memory_kills=1, refused_processes=3),
            [
                "memory: limit 128MiB, peak 1MiB, killed once",
                "processes: limit 40, threads count, refused 3 times",
            ],
        ),
    ],
)
def test_limits_that_were_reached_are_told_in_words(counted: Counters, words: list[str]) -> None:
    found = limits_reached(LIMITS, counted)
    assert [str(each) for each in found] == words
    assert any(each.was_fatal for each in found) == bool(counted.memory_kills)

"""The system calls that no plugin needs: a filter for the kernel, made here, byte by byte.

The programme is classic BPF over `struct seccomp_data` (linux/seccomp.h, linux/filter.h). A call
that it denies gives an error, so that a program which only tries goes on; one of another
architecture than the machine's ends the process, because numbers mean other calls there.
Numbers are those of asm/unistd_64.h and asm-generic/unistd.h.
"""

from __future__ import annotations

import errno
import functools
import os
import struct
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class _Machine:
    """Where a machine's numbers are in the table, and what it is called in seccomp_data."""

    column: int
    audit: int  # AUDIT_ARCH_* of linux/audit.h
    has_x32: bool


_MACHINES: Final = {
    "x86_64": _Machine(0, 0xC000003E, has_x32=True),
    "aarch64": _Machine(1, 0xC00000B7, has_x32=False),
}
_MISSING: Final = -1
_DENIED: Final = {
    # other processes' memory, descriptors and keys
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # large parts of the kernel that are reached by one call
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "fanotify_init": (300, 262),
    "lookup_dcookie": (212, 18),
    # memory that is neither swapped nor, once unmapped, anybody's
    "memfd_secret": (447, 447),
    # what namespaces and mounts are made of
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "open_tree_attr": (467, 467),
    "statmount": (457, 457),
    "listmount": (458, 458),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    # the machine itself
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "clock_settime": (227, 112),
    "settimeofday": (164, 170),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "acct": (163, 89),
    "syslog": (103, 116),
    "vhangup": (153, 58),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "nfsservctl": (180, 42),
    "iopl": (172, _MISSING),
    "ioperm": (173, _MISSING),
    "modify_ldt": (154, _MISSING),
    "uselib": (134, _MISSING),
    "ustat": (136, _MISSING),
    "sysfs": (139, _MISSING),
    "_sysctl": (156, _MISSING),
}
_UNCOUNTED: Final = {
    # memory that no process has to have mapped: nobody but a control group sees it
    "memfd_create": (319, 279),
    "shmget": (29, 194),
    "msgget": (68, 186),
}
_SPECIAL: Final = {
    "clone": (56, 220),
    "clone3": (435, 435),
    "socket": (41, 198),
    "ioctl": (16, 29),
}
"""Refused by their arguments, or in a way of their own."""

_NEW_NAMESPACES: Final = 0x7E020000  # CLONE_NEW* of linux/sched.h, but NEWTIME, which clone lacks
_FAMILIES: Final = (1, 2, 10)  # AF_UNIX, AF_INET, AF_INET6
_NETLINK: Final = 16  # for NETLINK_ROUTE alone: programs list interfaces by it
_TIOCSTI: Final = 0x5412  # puts words into a terminal
_X32_BIT: Final = 0x40000000

# linux/bpf_common.h and linux/seccomp.h
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16

_Instruction = tuple[int, int, int, int]


def is_known(machine: str = "") -> bool:
    """Return whether there is a filter for a machine, such as `x86_64`; empty: for this one."""
    return (machine or os.uname().machine) in _MACHINES


def number_of(name: str, machine: str = "") -> int:
    """Return the number of a system call that the filter knows.

    Raises:
        KeyError: it is none of them.
    """
    column = _MACHINES[machine or os.uname().machine].column
    return (_DENIED | _UNCOUNTED | _SPECIAL)[name][column]


def denied() -> tuple[str, ...]:
    """Return the names of the system calls that are refused whatever their arguments."""
    return tuple(_DENIED)


@functools.cache
def build_filter(machine: str = "", *, is_memory_watched: bool = False) -> bytes:
    """Return the filter as the array of `struct sock_filter` that bubblewrap takes.

    Args:
        machine: as `uname -m` says; empty: this one.
        is_memory_watched: whether memory is only looked at, as there is no control group: then
            none can be had that is not seen.

    Raises:
        KeyError: nobody has written down the numbers of that machine.
    """
    facts = _MACHINES[machine or os.uname().machine]
    program: list[_Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, facts.audit),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if facts.has_x32:
        program += [(_AT_LEAST, 0, 1, _X32_BIT), (_RETURN, 0, 0, _KILL)]
    for numbers in _DENIED.values():
        if numbers[facts.column] != _MISSING:
            program += _when(numbers[facts.column], [_fail(errno.EPERM)])
    for numbers in _UNCOUNTED.values() if is_memory_watched else ():
        program += _when(numbers[facts.column], [_fail(errno.ENOSYS)])
    # glibc and Go go on with clone, whose flags can be looked at.
    program += _when(_SPECIAL["clone3"][facts.column], [_fail(errno.ENOSYS)])
    program += _when(_SPECIAL["clone"][facts.column], _unless_any_bit(_NEW_NAMESPACES))
    program += _when(_SPECIAL["ioctl"][facts.column], _unless_equal(1, _TIOCSTI))
    program += _when(_SPECIAL["socket"][facts.column], _family())
    program.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def _when(number: int, then: list[_Instruction]) -> list[_Instruction]:
    """Return instructions that run others for one system call, and pass them by for the rest."""
    return [(_EQUAL, 0, len(then), number), *then]


def _fail(number: int) -> _Instruction:
    return (_RETURN, 0, 0, _ERROR | number)


def _argument(index: int) -> _Instruction:
    """Return what loads the low half of an argument; the kernel looks at no more of these."""
    return (_LOAD, 0, 0, _ARGUMENTS + 8 * index)


def _unless_any_bit(bits: int) -> list[_Instruction]:
    allow = (_RETURN, 0, 0, _ALLOW)
    return [_argument(0), (_ANY_BIT, 0, 1, bits), _fail(errno.EPERM), allow]


def _unless_equal(index: int, value: int) -> list[_Instruction]:
    allow = (_RETURN, 0, 0, _ALLOW)
    return [_argument(index), (_EQUAL, 0, 1, value), _fail(errno.EPERM), allow]


def _family() -> list[_Instruction]:
    """Return what allows sockets of some families only: others lead past network namespaces."""
    allow, deny = (_RETURN, 0, 0, _ALLOW), _fail(errno.EAFNOSUPPORT)
    allowed: list[_Instruction] = []
    for family in _FAMILIES:
        allowed += [(_EQUAL, 0, 1, family), allow]
    netlink = [(_EQUAL, 0, 3, _NETLINK), _argument(2), (_EQUAL, 0, 1, 0), allow]
    return [_argument(0), *allowed, *netlink, deny]

"""Why a plugin did not start or did not go on: evidence, gathered where it can still be seen."""

from __future__ import annotations

import os
import signal
import stat
import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SHOWN_LINES: Final = 8
# e_machine of the ELF header (ELF-64 Object File Format, section 4) by `os.uname().machine`.
_ELF_MACHINES: Final = {3: "i386", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv64"}
_ELF_MAGIC: Final = b"\x7fELF"
_ELF_MACHINE_OFFSET: Final = 18


def explain(returncode: int | None, stderr: Sequence[str], binary: Path) -> str:
    """Return evidence about a process that ended, in lines: how it ended, what it said, what it is.

    Args:
        returncode: exit status, or minus the signal's number; None while it runs.
        stderr: its last lines on fd 2, already cleaned.
        binary: the file that was executed.
    """
    lines = [describe_exit(returncode)]
    lines += file_problems(binary)
    if stderr:
        lines += ["its last lines on stderr:", *(f"  {line}" for line in stderr)]
    else:
        lines.append("it wrote nothing on stderr")
    return "\n".join(lines)


def describe_exit(returncode: int | None) -> str:
    """Return how a process ended, in words.

    "exit status 3", "killed by SIGSEGV", "still running".
    """
    if returncode is None:
        return "it is still running"
    if returncode < 0:
        try:
            return f"killed by {signal.Signals(-returncode).name}"
        except ValueError:
            return f"killed by signal {-returncode}"
    return f"exit status {returncode}"


def file_problems(binary: Path) -> list[str]:
    """Return what is wrong with an executable file, if anything.

    Missing, permissions, architecture.
    """
    try:
        status = binary.stat()
    except OSError as error:
        return [f"{binary}: {error.strerror}"]
    problems = []
    if not os.access(binary, os.X_OK):
        mode = stat.S_IMODE(status.st_mode)
        problems.append(
            f"{binary} may not be executed: mode {mode:04o}, owner {status.st_uid}:{status.st_gid}"
        )
    built_for, here = elf_machine(binary), os.uname().machine
    if built_for and built_for != here:
        problems.append(f"{binary} was built for {built_for}; this machine is {here}")
    return problems


def elf_machine(binary: Path) -> str:
    """Return the architecture in a file's ELF header.

    Empty when it is no ELF file or may not be read.
    """
    try:
        with binary.open("rb") as file:
            header = file.read(_ELF_MACHINE_OFFSET + 2)
    except OSError:
        return ""
    if len(header) < _ELF_MACHINE_OFFSET + 2 or not header.startswith(_ELF_MAGIC):
        return ""
    order = ">" if header[5] == 2 else "<"  # noqa: PLR2004 - EI_DATA: 2 means big endian
    (machine,) = struct.unpack_from(f"{order}H", header, _ELF_MACHINE_OFFSET)
    return _ELF_MACHINES.get(machine, f"ELF machine {machine}")

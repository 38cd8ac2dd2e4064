"""Compiles an installed plugin's Python once, so that no start has to and none ever writes.

The bytecode is of the kind "unchecked hash" (PEP 552): it is used whatever the source's time says,
so it survives copies and backups, and equal sources give equal bytes. That it belongs to its source
is not the interpreter's business here: the tree digest covers both, before every launch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aperio_cli.errors.installing import BytecodeFailed
from aperio_cli.machine.children import ChildFailed, ask_child
from aperio_cli.text import clean

if TYPE_CHECKING:
    from pathlib import Path

    from aperio_cli.models.artifact import Interpreter

MEMORY_BYTES = 1024**3
TIMEOUT_S = 120.0
_MAX_EVIDENCE_LINES = 3

# Runs in the child. The limit comes first: a source file can be made to cost any amount of memory.
# A file that does not compile is left without bytecode, as templates and the like may be.
_COMPILE = r"""
import resource, sys
memory, folder, place, tag = int(sys.argv[1]), *sys.argv[2:]
resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
import compileall, os, py_compile, re
os.umask(0o022)
compileall.compile_dir(
    folder,
    maxlevels=64,
    force=True,
    rx=re.compile(r"/lib/(?!%s/)cp3\d+/" % re.escape(tag)),
    quiet=2,
    workers=1,
    invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    stripdir=folder,
    prependdir=place,
)
"""


def compile_tree(files: Path, place: Path, interpreter: Interpreter, *, subject: str) -> None:
    """Write `__pycache__` folders below `files`, for one interpreter's tag only.

    Args:
        files: the unpacked tree, where it stands now.
        place: where it will stand; tracebacks name it.
        interpreter: compiles, and will run the plugin.
        subject: what to call the plugin: "`acme/box` 1.2.0".

    Raises:
        BytecodeFailed: it crashed, or needed more than 1 GiB or two minutes.
    """
    arguments = [str(MEMORY_BYTES), str(files), str(place), interpreter.tag]
    command = [interpreter.executable, "-I", "-S", "-B", "-c", _COMPILE, *arguments]
    try:
        ask_child(command, TIMEOUT_S)
    except (ChildFailed, OSError) as error:
        complaint = error.complaint if isinstance(error, ChildFailed) else ""
        last_lines = "\n".join(complaint.splitlines()[-_MAX_EVIDENCE_LINES:])
        raise BytecodeFailed(
            f"{subject} was not installed: its Python files could not be compiled",
            why=f"{clean(error)}\n{last_lines}\nallowed: {MEMORY_BYTES} bytes, {TIMEOUT_S:g} s",
            next=["tell its publisher", "see that this machine has memory to spare"],
        ) from error

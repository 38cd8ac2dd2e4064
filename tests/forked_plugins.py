"""Plugins in Python, each forked from a process that has imported gRPC: nine tenths of a start.

    pytestmark = pytest.mark.usefixtures("forked_plugins")

For tests of what a running plugin does, not of how one is executed. A fork is a session of its own
with the streams, the descriptors, the folder and the environment that the host gave it; it looks
for modules where an interpreter with its flags does, and begins with its script. Importing gRPC
makes no thread and nothing of its core; of the SDK and of plugins nothing is imported before.
`tests/process/test_forked_plugins.py` holds a fork to what a start is.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import json
import os
import runpy
import socket
import subprocess
import sys
import threading
import types
from typing import Any, ClassVar, Final, NoReturn

from tests.forking import Forked, end_process, is_forking, serve

_FLAGS: Final = ("-I", "-S", "-B")
_OURS: Final = ("aperio_cli", "tests")
_IMPORTED: Final = (
    "concurrent.futures.thread",
    "google.protobuf.empty_pb2",
    "google.protobuf.json_format",
    "google.protobuf.struct_pb2",
    "google.protobuf.timestamp_pb2",
    "grpc",
)


class ForkedPlugin(Forked):
    """A process that is told of as one that Popen started; its words are the whole command."""

    SOURCE: ClassVar = ("tests.forked_plugins", "plugin")

    def _execute_child(self, args: list[str], *rest: Any) -> None:
        program, *words = args
        flags = tuple(word for word in words if word in _FLAGS)
        super()._execute_child([json.dumps(_path(program, "-S" in flags)), *words], *rest)


class Forking:
    """What the host knows as `subprocess`, where plugins in Python are forked."""

    DEVNULL, PIPE = subprocess.DEVNULL, subprocess.PIPE

    @staticmethod
    def Popen(arguments: tuple[str, ...], **options: Any) -> subprocess.Popen[bytes]:  # noqa: N802
        """Fork what this interpreter would run, and start anything else."""
        is_ours = os.path.realpath(arguments[0]) == os.path.realpath(sys.executable)
        if is_forking() and is_ours:
            return ForkedPlugin(list(arguments), **options)
        return subprocess.Popen(arguments, **options)


def _be_plugin(order: dict[str, Any]) -> NoReturn:
    """Run what Python would run with these words, to the end of an interpreter."""
    path, *words = order["words"]
    sys.path[:] = json.loads(path)
    flags = [words.pop(0) for word in tuple(words) if word in _FLAGS]
    sys.dont_write_bytecode = "-B" in flags
    for name in [name for name in sys.modules if name.partition(".")[0] in _OURS]:
        del sys.modules[name]
    for stream in (sys.stdin, sys.stdout):  # as in C.UTF-8, which the host states as the locale
        stream.reconfigure(errors="surrogateescape")  # type: ignore[union-attr] # a TextIOWrapper
    status: Any = 0
    try:
        _run(words)
    except SystemExit as end:
        status = end.code
        if not isinstance(status, int | None):
            print(status, file=sys.stderr)  # noqa: T201 - as an interpreter does
    except BaseException:  # noqa: BLE001 - as the interpreter would show it
        sys.excepthook(*sys.exc_info())
        status = 1
    threading._shutdown()  # type: ignore[attr-defined] # as `Py_FinalizeEx` does, and the next
    atexit._run_exitfuncs()
    end_process(status)


def _run(words: list[str]) -> None:
    if words[0] != "-c":
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")
        return
    sys.argv = ["-c", *words[2:]]
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    exec(compile(words[1], "<string>", "exec"), main.__dict__)  # noqa: S102 - a test's


@functools.cache
def _path(program: str, is_without_site: bool) -> list[str]:  # noqa: FBT001 - for the cache
    """Return where an interpreter looks for modules."""
    flags = ["-I", "-S"] if is_without_site else ["-I"]
    asked = [program, *flags, "-c", "import json, sys; print(json.dumps(sys.path))"]
    found: list[str] = json.loads(subprocess.run(asked, check=True, capture_output=True).stdout)
    return found


if __name__ == "__main__":
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # as the SDK does; gRPC reads it once
    for _name in _IMPORTED:
        importlib.import_module(_name)
    serve(socket.socket(fileno=int(sys.argv[1])), _be_plugin)

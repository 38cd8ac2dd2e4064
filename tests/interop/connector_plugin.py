"""A connector made with our SDK; its arguments, key=value, make it do what a test wants to see."""

import atexit
import faulthandler
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "sdk" / "python"))

from aperio_plugin import connector

OPTIONS = dict(argument.partition("=")[::2] for argument in sys.argv[1:])


def fail(depth: int) -> None:
    """Raise from deep inside, for a long traceback."""
    if depth == 0:
        raise RuntimeError("it broke")
    fail(depth - 1)


class Example(connector.Connector):
    """Answers, after it has done what the arguments say."""

    def schema(self) -> connector.Schema:
        if "print" in OPTIONS:
            sys.stdout.write("one\n")
            sys.stderr.write("to stderr")
            sys.stdout.write("two, no newline")
        if "fail" in OPTIONS:
            fail(12)
        if "crash" in OPTIONS:
            faulthandler._sigsegv()  # type: ignore[attr-defined]  # a native crash
        return connector.Schema(provider="BOX", name="Python SDK")

    def test_connection(self, context: connector.Context) -> connector.TestResult:
        if "hang" in OPTIONS:
            threading.Event().wait()
        context.logger.warning("structured", extra={"text": "a b", "number": 42})
        return connector.TestResult(ok=True)

    def sync(self, _context: connector.Context, _cursor: bytes | None) -> Iterator[connector.Item]:
        for number in range(500):
            yield connector.Event(
                source_event_id=f"e{number}", event_type="box.login", occurred_at=number, record={}
            )


if __name__ == "__main__":
    if "cleanup" in OPTIONS:
        atexit.register(Path(OPTIONS["cleanup"]).write_text, "cleaned up")
    if "thread" in OPTIONS:
        threading.Thread(target=threading.Event().wait).start()
    if "grandchild" in OPTIONS:
        subprocess.Popen(["/bin/sleep", "30"])
    if "pid" in OPTIONS:
        Path(OPTIONS["pid"]).write_text(str(os.getpid()))
    connector.serve(Example())

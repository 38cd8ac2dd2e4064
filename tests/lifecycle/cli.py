"""The command line as tests use it: typed in process, or run as a process that gets signals."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from aperio_cli.__main__ import main
from aperio_cli.files.removing import remove_tree
from aperio_cli.host.sandbox import unconfined
from aperio_cli.machine import interpreters
from tests.builders import Known, snapshot
from tests.forked_plugins import Forking
from tests.forking import Forked, forked_pip, is_forking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

ROOT = Path(__file__).resolve().parents[2]
SDK = ROOT / "sdk" / "python"
DEADLINE_S = 60.0
ENVELOPE_KEYS = {"schema", "command", "status", "exit_status", "data", "errors"}
_OWN = getattr(sys, "_base_executable", "") or sys.executable
_NOTED = ("/cache/", "/checks/", "/state.db", "/trust/local/log/")
"""What may be noted all the same: downloads, the check before a launch, state, what was signed."""


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """Stdout as the one JSON document that it has to be."""
        found: dict[str, Any] = json.loads(self.out)
        assert set(found) == ENVELOPE_KEYS
        assert (found["schema"], found["exit_status"]) == (1, self.status)
        return found

    @property
    def data(self) -> Any:
        """The `data` of the JSON document."""
        return self.document["data"]

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Stdout as lines of JSON."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True)
class Refused:
    """An error as a script and as a person meet it."""

    code: str
    status: int
    what: str
    why: str
    next: tuple[str, ...]
    shown: str


@dataclass
class Aperio:
    """Types commands in a folder of an operator.

    Attributes:
        folder: the working folder.
        home: `$APERIO_HOME`.
        agrees: whether whoever types agrees to what plugins ask for, by `--yes`.
        sandbox: everything that this test may change is below here.
    """

    folder: Path
    home: Path
    capsys: pytest.CaptureFixture[str]
    registry: str = ""
    agrees: bool = True
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _known: Known = field(default_factory=dict)

    @property
    def sandbox(self) -> Path:
        """Everything that this test may change is below here."""
        return self.folder.parent

    # ── in process ────────────────────────────────────────────────────────────────────────────────

    def type(self, *words: object) -> Done:
        """Type a command, whatever comes of it."""
        self.capsys.readouterr()
        before = signal.getsignal(signal.SIGTERM)
        try:
            with contextlib.chdir(self.folder):
                status = main(self._typed(words))
        finally:
            signal.signal(signal.SIGTERM, before)
        said = self.capsys.readouterr()
        assert "internal-error" not in said.out + said.err
        return Done(status, said.out, said.err)

    def _typed(self, words: tuple[object, ...]) -> list[str]:
        is_install = self.agrees and words[:2] == ("plugin", "install")
        return [*map(str, words), *(["--yes"] if is_install else [])]

    def __call__(self, *words: object, status: int = 0) -> Done:
        """Type a command that has to end with this status."""
        done = self.type(*words)
        assert done.status == status, f"{words}: {done}"
        return done

    def refuses(self, *words: object, code: str, status: int, noted: bool = False) -> Refused:
        """Type a command that has to be refused: twice, and nothing may have changed on disk.

        Args:
            words: the command, without `--json`.
            code: of the error.
            status: the exit status.
            noted: whether it may have noted what a run notes.
        """
        with self.unchanged(noted=noted):
            person = self.type(*words)
            script = self.type(*words, "--json")
        assert (person.status, script.status) == (status, status), f"{person}\n{script}"
        document = script.document
        assert (document["status"], document["data"]) == ("error", {})
        [error] = document["errors"]
        assert set(error) == {"code", "what", "why", "next"}
        assert error["code"] == code, error
        assert person.out == ""
        assert f"error: {error['what']}\n" in person.err
        assert person.err.rstrip().endswith(f"code  {code} (exit {status})")
        assert not error["what"].endswith(".")
        return Refused(code, status, error["what"], error["why"], tuple(error["next"]), person.err)

    @contextlib.contextmanager
    def unchanged(self, *, noted: bool = False) -> Iterator[None]:
        """The block leaves every file, folder, link and mode as it was.

        Locks do not count, but for what is no file in the place of one, nor do receipts of runs:
        what was refused has one, too.
        """
        before = self._snapshot(noted=noted)
        yield
        after = self._snapshot(noted=noted)
        changed = {path for path in {*before, *after} if before.get(path) != after.get(path)}
        assert not changed, sorted(changed)

    def _snapshot(self, *, noted: bool) -> dict[str, tuple[int, bytes]]:
        locks = ("store.lock", "managed.lock")
        ignored = (*locks, "/host/", *(_NOTED if noted else ()))
        return {
            path: found
            for path, found in snapshot(self.folder, self.home, known=self._known).items()
            if not any(part in f"{path}/" or path.endswith(part) for part in ignored)
            and not (path.endswith("/.lock") and stat.S_ISREG(found[0]))  # a registry's
        }

    # ── where a test begins ───────────────────────────────────────────────────────────────────────

    def begins_after(self, deed: Callable[[Aperio], object], states: Path) -> None:
        """Come to where an operator is after a deed: it is done once, and copied after that.

        Args:
            deed: changes the working folder and the home, from what every operator has, and nothing
                else; known by its module and name. What it notes of places stays: a receipt has
                the one of the artifact.
            states: where the states are kept, for as long as nobody changes what they begin from.
        """
        state = states / f"{deed.__module__}.{deed.__qualname__}"
        if not state.exists():
            deed(self)
            for place in (self.folder, self.home):
                shutil.copytree(place, state / place.name, symlinks=True)
            return
        for place in (self.folder, self.home):
            remove_tree(place)
            shutil.copytree(state / place.name, place, symlinks=True)

    # ── as a process ──────────────────────────────────────────────────────────────────────────────

    @property
    def runtime(self) -> Path:
        """Where processes make their private folders for sockets."""
        return Path(os.environ["XDG_RUNTIME_DIR"])

    def start(self, *words: object, at: str = "", **options: Any) -> subprocess.Popen[bytes]:
        """Start a command as a process of its own session, most often forked (`tests/forking.py`).

        Args:
            words: the command.
            at: `SIGNAL:NUMBER:EVENT:TEXT`: it sends itself the signal at the n-th such event whose
                arguments contain the text (see `interrupter.py`); empty: never.
            options: of Popen; `prefix` is a command that executes the rest, and `most_bytes` what a
                file that it writes may have.
        """
        prefix, most_bytes = options.pop("prefix", []), options.pop("most_bytes", None)
        streams: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "bufsize": 0,  # `communicate` leaves what `readline` has read ahead
        }
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{SDK}"}
        given: dict[str, Any] = {"cwd": self.folder, "env": environment} | streams | options
        typed = self._typed(words)
        # What an interpreter is told when it starts, a fork of another one is not.
        is_told = prefix or any(name.startswith("PYTHON") for name in os.environ)
        if is_told or (not is_forking() and (at, most_bytes) == ("", None)):
            assert (at, most_bytes) == ("", None)
            arguments = [*prefix, sys.executable, "-m", "aperio_cli", *typed]
            started = subprocess.Popen(arguments, start_new_session=True, **given)
        else:
            started = Forked(typed, at, most_bytes, **given)
        process = cast("subprocess.Popen[bytes]", started)
        self.running.append(process)
        return process

    def run(self, *words: object, at: str = "", **options: Any) -> Done:
        """Run a command as a process to its end."""
        return finish(self.start(*words, at=at, **options))

    def leftovers(self) -> list[str]:
        """Processes that this test's commands left, and what they left in temporary folders."""
        folders = (self.runtime, self.sandbox / "temporary")
        files = [str(path) for folder in folders for path in folder.rglob("*")]
        return [f"process {pid}" for pid in processes_of(self.runtime)] + files

    def assert_nothing_left(self) -> None:
        """No process, no socket, no folder that is only half of something."""
        assert wait_until(lambda: not self.leftovers(), within_s=30), self.leftovers()
        aside = [path for path in self.sandbox.rglob(".aside-*") if "cache" not in path.parts]
        assert not aside

    def close(self) -> None:
        """End what is still running; again, it does nothing: its output is read once."""
        while self.running:
            process = self.running.pop()
            if process.poll() is None:
                process.kill()
            process.communicate()


@contextlib.contextmanager
def operator(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Aperio]:
    """An operator with a working folder, a home and a runtime folder of their own.

    Which Python this is, each install asks it anew; here it is asked once for them all.
    Commands that are typed in this process fork the plugins in Python that they start
    (`tests/forked_plugins.py`); those of commands that run as processes are started.
    """
    folder = tmp_path / "work"
    folder.mkdir()
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    runtime = Path(tempfile.mkdtemp(prefix="rt", dir="/tmp"))  # short: sockets are made below it
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(interpreters, "probe", _probe)
    monkeypatch.setattr(unconfined, "subprocess", Forking)
    made = Aperio(folder, tmp_path / "aperio-home", capsys)
    try:
        with forked_pip():
            yield made
        made.close()
        made.assert_nothing_left()
    finally:
        made.close()
        shutil.rmtree(runtime)


_ask = interpreters.probe
_known: list[interpreters.Candidate] = []
"""What this Python said; a test in which it could not answer leaves nothing to the next."""


def _probe(command: str) -> interpreters.Candidate:
    if command == _OWN and _known:
        return _known[0]
    found = _ask(command)
    if command == _OWN and found.interpreter:
        _known.append(found)
    return found


def finish(process: subprocess.Popen[bytes]) -> Done:
    """Wait for a process; its status is 128 and the number when a signal ended it."""
    out, err = process.communicate(timeout=DEADLINE_S)
    code = process.returncode
    return Done(128 - code if code < 0 else code, (out or b"").decode(), (err or b"").decode())


def processes_of(runtime: Path) -> list[int]:
    """Living processes whose environment names the runtime folder, this one and its parents not."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            status = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
            if os.fsencode(runtime) in (entry / "environ").read_bytes() and status not in "ZX":
                found.append(int(entry.name))
    return found


def wait_until(condition: Callable[[], Any], *, within_s: float) -> bool:
    """Whether a condition became true in time."""
    deadline_s = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.01)
    return True

"""Every command where nothing is as it should be: streams, umask, homes, temporary folders.

Each row of the matrix is one life of a plugin with every command in it. What comes of a command in
odd surroundings is what comes of it in ordinary ones, or one error in words, of the right status.
"""

from __future__ import annotations

import json
import os
import re
import select
import stat
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli import clock
from tests.builders import snapshot
from tests.lifecycle.forker import STREAMS
from tests.lifecycle.plugins import artifact_of

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
FORKER = Path(__file__).with_name("forker.py")
PROGRAM = "raise SystemExit(3)"
ARTIFACT = "./box-connector_1.2.3_linux_amd64.tar.gz"
BOX = "acme/box-connector"
RULE = ("--issuer", "https://idp.example.com", "--identity", "me@example.com")
TUF = ("--tuf", "https://tuf.example.com", "--tuf-root", "root.json")
LIFE: tuple[tuple[str, ...], ...] = (
    ("doctor",),
    ("completion", "bash"),
    ("trust", "local", "init"),
    ("trust", "show"),
    ("trust", "publisher", "add", "acme", *RULE, "--yes"),
    ("trust", "publisher", "list"),
    ("trust", "publisher", "remove", "acme", "--yes"),
    (
        "trust",
        "domain",
        "add",
        "ours",
        "--tuf",
        "https://x.example.com",
        "--tuf-root",
        "root.json",
        "--yes",
    ),
    ("trust", "domain", "list"),
    ("trust", "domain", "remove", "ours"),
    ("trust", "exception", "add", BOX, "--rule", "unsigned", "--until", "{soon}", "--reason", "x"),
    ("trust", "sign-publishers", "publishers.toml", "--trust", "local"),
    ("trust", "refresh", "--offline"),
    ("plugin", "init", "github.com/acme/aperio-plugin-new", "--no-input"),
    ("plugin", "build", "broken"),
    ("plugin", "test", "broken"),
    ("plugin", "sign", ARTIFACT, "--trust", "local"),
    ("plugin", "verify", ARTIFACT),
    (
        "plugin",
        "install",
        ARTIFACT,
        "--allow-unsigned",
        "--until",
        "{soon}",
        "--reason",
        "x",
        "--yes",
    ),
    ("plugin", "list"),
    ("plugin", "list", "--check"),
    ("plugin", "why", BOX),
    ("plugin", "run", "acme/other"),
    ("plugin", "run", BOX, "schema"),
    ("registry", "init", "reg"),
    ("registry", "add", ARTIFACT, "--dir", "reg"),
    ("registry", "build", "--dir", "reg"),
    ("registry", "serve", "missing"),
    ("plugin", "remove", BOX),
    ("trust", "exception", "remove", BOX, "--rule", "unsigned"),
    ("trust", "require", "verified"),
)
HOME_LIFE = tuple(line for line in LIFE if line[0] == "trust" or line[:2] == ("plugin", "list"))
TEMPORARY_LIFE = tuple(
    line for line in LIFE if line[0] in {"plugin", "registry"} or "local" in line
)
NEEDS_TEMPORARY = {("plugin", "verify"), ("plugin", "install"), ("registry", "add")}
# These, and what they need.
SHORT_LIFE = tuple(
    line
    for line in TEMPORARY_LIFE
    if line[:2] in NEEDS_TEMPORARY
    or line[1] in {"local", "sign"}
    or line[:2] == ("registry", "init")
)
FOLLOWS = {"not-found", "not-installed", "signature-missing", "trust-domain-missing"}
"""What comes of lines when a line before them came to nothing."""
SOON = (clock.now() + timedelta(days=20)).date().isoformat()


@dataclass(frozen=True, slots=True)
class Odd:
    """Surroundings.

    Attributes:
        env: what is set besides; None for what is not set.
        closed: streams.
        umask: the process begins with.
        lost: whether the working folder is gone.
        user_home: where the system says that this user is at home; None when it knows none.
    """

    env: dict[str, str | None] = field(default_factory=dict)
    closed: tuple[str, ...] = ()
    umask: int = 0o022
    lost: bool = False
    user_home: str | None = "{folder}/user"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one line."""

    line: tuple[str, ...]
    status: int
    out: str
    err: str


@dataclass(frozen=True)
class World:
    """A folder with all that the life of a plugin takes, and the process that forks commands."""

    folder: Path
    forker: subprocess.Popen[bytes]

    @property
    def home(self) -> Path:
        """The home of its operator."""
        return self.folder / "home"

    def live(self, odd: Odd, life: tuple[tuple[str, ...], ...] = LIFE) -> list[Outcome]:
        """Type every line in these surroundings."""
        return [self.type(odd, line) for line in life]

    def type(self, odd: Odd, line: tuple[str, ...]) -> Outcome:
        """Type one line."""
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder / "user"),
            "APERIO_HOME": str(self.home),
            "PIP_NO_INDEX": "1",
            "TMPDIR": str(self.folder / "tmp"),
            "XDG_RUNTIME_DIR": str(self.folder / "tmp"),
        }
        stated = {name: self._placed(value) for name, value in odd.env.items()}
        (self.folder / "lost").mkdir(exist_ok=True)
        order = {
            "line": [self._placed(word) for word in line],
            "cwd": str(self.folder / "lost" if odd.lost else self.folder / "work"),
            "env": {name: value for name, value in (env | stated).items() if value is not None},
            "closed": odd.closed,
            "umask": odd.umask,
            "lost": odd.lost,
            "stranger": self._placed(odd.user_home),
        }
        assert self.forker.stdin and self.forker.stdout  # noqa: PT018
        self.forker.stdin.write(json.dumps(order).encode() + b"\n")
        self.forker.stdin.flush()
        assert select.select([self.forker.stdout], [], [], 90)[0], line
        found = json.loads(self.forker.stdout.readline())
        return Outcome(line, found["status"], found["out"], found["err"])

    def _placed(self, text: Any) -> Any:
        return text and text.replace("{folder}", str(self.folder)).replace("{soon}", SOON)


@pytest.fixture(scope="module")
def forker() -> Iterator[subprocess.Popen[bytes]]:
    """Without the rights of root, which no mode of a file stops."""
    ordinary = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"]
    process = subprocess.Popen(
        [*(ordinary if os.geteuid() == 0 else ()), sys.executable, str(FORKER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TMPDIR": "/tmp"},
    )
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def world(tmp_path: Path, forker: subprocess.Popen[bytes]) -> World:
    """Not yet lived in."""
    return made_world(tmp_path, forker)


def made_world(folder: Path, forker: subprocess.Popen[bytes]) -> World:
    for name in ("work/broken", "user", "tmp"):
        (folder / name).mkdir(parents=True)
        (folder / name).chmod(0o700)
    artifact_of(folder / "work", PROGRAM)
    (folder / "work/root.json").write_text("{}")
    (folder / "work/publishers.toml").write_text("serial = 1")
    return World(folder, forker)


@pytest.fixture(scope="module")
def ordinary(
    tmp_path_factory: pytest.TempPathFactory, forker: subprocess.Popen[bytes]
) -> dict[tuple[str, ...], int]:
    """The status of each line in ordinary surroundings."""
    world = made_world(tmp_path_factory.mktemp("ordinary"), forker)
    found = {outcome.line: outcome.status for outcome in world.live(Odd())}
    assert {0, 1, 3, 4, 5} <= set(found.values())  # few of them end early
    return found


def require_words(outcome: Outcome, *, is_silent: bool = False) -> None:
    """Whatever came of it was said, and said in words."""
    for sign in ("Traceback", "internal-error", "Exception ignored"):
        assert sign not in outcome.out + outcome.err, outcome
    if outcome.status and not is_silent and outcome.line != ("doctor",):  # it tells findings
        assert outcome.err.count("error: ") == 1, outcome
        assert f"(exit {outcome.status})" in outcome.err, outcome


def code_of(outcome: Outcome) -> str:
    found = re.search(r"^  code  (\S+) ", outcome.err, re.MULTILINE)
    return found[1] if found else ""


def open_to_others(folder: Path) -> list[str]:
    """Files and folders that somebody else may change, and those that their owner may not read."""
    return [
        f"{path}: {mode & 0o777:03o}"
        for path in sorted(folder.rglob("*"))
        if not stat.S_ISLNK(mode := path.lstat().st_mode)
        if mode & 0o022 or not mode & 0o400
    ]


@pytest.mark.parametrize(
    "odd",
    [  # those of one row hide nothing of one another
        pytest.param(
            Odd({"HOME": "", "XDG_RUNTIME_DIR": "/nonexistent"}, closed=("stdin",), umask=0o777),
            id="home-variable-empty, runtime-folder-missing, stdin-closed, umask-777",
        ),
        pytest.param(
            Odd(
                {"HOME": None, "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}, user_home=None, umask=0
            ),
            id="user-unknown, ascii, umask-000",
        ),
        pytest.param(Odd(closed=("stderr",)), id="stderr-closed"),
    ],
)
def test_commands_do_as_ever(world: World, ordinary: dict[tuple[str, ...], int], odd: Odd) -> None:
    for outcome in world.live(odd):
        require_words(outcome, is_silent="stderr" in odd.closed)
        assert outcome.status == ordinary[outcome.line], outcome
        assert outcome.out or outcome.status, outcome

    assert open_to_others(world.folder) == []
    assert not Path("/.aperio").exists()


@pytest.mark.parametrize("closed", [("stdout",), STREAMS])
def test_commands_do_nothing_when_stdout_is_closed(world: World, closed: tuple[str, ...]) -> None:
    before = snapshot(world.folder)

    for outcome in world.live(Odd(closed=closed)):
        require_words(outcome, is_silent="stderr" in closed)
        assert outcome.status == 1, outcome
        assert code_of(outcome) == ("" if "stderr" in closed else "output-unwritten")

    after = snapshot(world.folder)
    after.pop(str(world.folder / "lost"), None)
    assert after == before


@pytest.mark.parametrize("home", ["", "somewhere"])
def test_home_is_where_the_system_says_when_the_variable_names_none(
    world: World, ordinary: dict[tuple[str, ...], int], home: str
) -> None:
    odd = Odd({"HOME": home, "APERIO_HOME": None, "XDG_CONFIG_HOME": None})

    for outcome in world.live(odd, HOME_LIFE):
        require_words(outcome)
        assert outcome.status == ordinary[outcome.line], outcome

    assert (world.folder / "user/.aperio/trust/local").is_dir()
    assert (world.folder / "user/.config/aperio/managed.toml").is_file()
    assert not (world.folder / "work/somewhere").exists()


def test_home_that_nobody_knows_is_asked_for(
    world: World, ordinary: dict[tuple[str, ...], int]
) -> None:
    odd = Odd({"HOME": None, "APERIO_HOME": None}, user_home=None)
    before = snapshot(world.folder / "work")

    asked = set()
    for outcome in world.live(odd, HOME_LIFE):
        require_words(outcome)
        if outcome.status != ordinary[outcome.line]:
            assert (code_of(outcome), outcome.status) == ("home-unknown", 2), outcome
            asked.add(outcome.line)

    assert {("plugin", "list"), ("trust", "local", "init")} < asked
    assert snapshot(world.folder / "work") == before


@pytest.mark.parametrize("place", ["file", "closed", "read-only"])
def test_home_that_cannot_be_used_is_named(
    world: World, ordinary: dict[tuple[str, ...], int], place: str
) -> None:
    if place == "file":
        world.home.touch()
    else:
        world.home.mkdir()
        world.home.chmod(0o000 if place == "closed" else 0o500)
    before = snapshot(world.home)

    refused = set()
    for outcome in world.live(Odd()):
        require_words(outcome)
        if outcome.status != ordinary[outcome.line]:
            refused.add(outcome.line)
            if code_of(outcome) not in FOLLOWS:
                assert outcome.status in {1, 2}, outcome
                assert str(world.home) in outcome.err + outcome.out, outcome
    world.home.chmod(0o700)

    assert ("trust", "local", "init") in refused
    assert (("plugin", "list") in refused) == (place != "read-only")
    assert {p: c for p, (_, c) in snapshot(world.home).items()} == {
        p: c for p, (_, c) in before.items()
    }


@pytest.mark.parametrize("place", ["missing", "read-only", "a file"])
def test_temporary_folder_that_cannot_be_used_is_named(
    world: World, ordinary: dict[tuple[str, ...], int], place: str
) -> None:
    stated = world.folder / "stated"
    if place == "read-only":
        stated.mkdir(mode=0o500)
    elif place == "a file":
        stated.touch()

    life = TEMPORARY_LIFE if place == "missing" else SHORT_LIFE
    refused = set()
    for outcome in world.live(Odd({"TMPDIR": str(stated)}), life):
        require_words(outcome)
        if outcome.status != ordinary[outcome.line] and code_of(outcome) not in FOLLOWS:
            refused.add(outcome.line[:2])
            assert (code_of(outcome), outcome.status) == ("place-unusable", 1), outcome
            assert f"TMPDIR names `{stated}`" in outcome.err

    assert refused == NEEDS_TEMPORARY


def test_working_folder_that_is_gone_is_named(
    world: World, ordinary: dict[tuple[str, ...], int]
) -> None:
    for outcome in world.live(Odd(lost=True)):
        require_words(outcome)
        assert outcome.status in {0, 1, 2, 3, 4, ordinary[outcome.line]}, outcome

"""A line makes ready the command that it names, and no other; every other line, all of them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

_PROGRAM = """
import json, sys
from aperio_cli.commands.app import program as made_ready
for line in json.loads(sys.argv[1]):
    program = made_ready(line)
    assert made_ready(line) is program  # ready once, not again for each line
def words(group, path=()):
    for name, command in group.commands.items():
        found = (*path, name)
        yield from words(command, found) if hasattr(command, "commands") else [" ".join(found)]
print(json.dumps(list(words(program))))
"""


def loaded(*lines: list[str]) -> list[str]:
    """The commands that are ready after these lines, in the order of `--help`."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, json.dumps(lines)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found: list[str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("line", "named"),
    [
        (["plugin", "verify"], "plugin verify"),
        (["trust", "local", "init"], "trust local init"),
        (["doctor"], "doctor"),
    ],
)
def test_line_makes_only_its_command_ready(line: list[str], named: str) -> None:
    assert loaded(line) == [named]


def test_line_that_names_no_command_makes_all_ready() -> None:
    every = loaded([])
    assert {"plugin verify", "registry serve", "trust show", "doctor"} < set(every)
    assert loaded(["plugin"]) == every


def test_order_does_not_depend_on_what_was_made_ready_before() -> None:
    assert loaded(["plugin", "run"], ["doctor"], []) == loaded([])


_OF_A_HOST = ("aperio_cli.serving.host", "aperio_cli.running", "aperio_cli.host.launch")
_ASKING = """
import sys
from aperio_cli.commands.host import choosing, pause, reaching, resume, showing, status
from aperio_cli.serving import single, telling
loaded = [name for name in sys.argv[1:] if name in sys.modules]
from aperio_cli.serving import host  # the names are right
left = [name for name in sys.argv[1:] if name not in sys.modules]
sys.exit(f"loaded {loaded}, left {left}" if loaded or left else 0)
"""


def test_who_asks_a_host_loads_nothing_of_what_a_host_is() -> None:
    """It would take as long as all the rest of the command."""
    done = subprocess.run(
        [sys.executable, "-c", _ASKING, *_OF_A_HOST], capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")

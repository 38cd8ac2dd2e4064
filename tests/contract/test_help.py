"""What people see of the command line before they type it: help, usage, completion."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from typer.main import get_command

from aperio_cli.__main__ import main
from aperio_cli.commands.app import load
from aperio_cli.commands.completion import Shell, script
from aperio_cli.commands.words import MODULES
from tests.builders import manifest, receipt
from tests.projects import make_project

if TYPE_CHECKING:
    from pathlib import Path

_WORD = re.compile(r"[A-Z][A-Z_]*|KEY=VALUE|NAME=VALUE|HOST:PORT")
_ARGUMENT = re.compile(r"[A-Z]+(?:\|[A-Z]+)*|signed\|verified")


def parameters() -> list[tuple[str, Any]]:
    """Every parameter of every command, with the command's words."""
    found = []
    program = get_command(load())
    for words in MODULES:
        command: Any = program
        for word in words.split():
            command = command.commands[word]
        found += [(words, parameter) for parameter in command.params]
    return found


def test_every_value_is_shown_as_a_word() -> None:
    for words, parameter in parameters():
        if parameter.param_type_name == "argument":
            assert _ARGUMENT.fullmatch(parameter.metavar), (words, parameter.metavar)
        elif not parameter.is_flag:
            assert _WORD.fullmatch(parameter.metavar or ""), (words, parameter.opts)


def test_help_of_every_command_is_whole_and_shows_no_type_of_a_parser(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for words in MODULES:
        assert main([*words.split(), "--help"]) == 0, words
        shown = capsys.readouterr().out
        assert not re.search(r"<\w|\]\.\.\.\]|\[\[|\{[A-Z]", shown), shown
        assert f"Usage: aperio {words} [OPTIONS]" in " ".join(shown.split())
        for part in ("--json", "--home", "Examples:"):
            assert part in shown, (words, part)


@pytest.mark.parametrize("columns", [60, 80, 140])
@pytest.mark.parametrize("words", ["host run", "plugin run", "registry serve"])
def test_help_is_wrapped_where_the_terminal_ends_and_nowhere_else(
    words: str, columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", columns)
    assert main([*words.split(), "--help"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    prose = lines[lines.index("") + 1 : next(n for n, x in enumerate(lines) if x.startswith("╭"))]
    assert len(prose) > 3
    for line, following in itertools.pairwise(prose):
        if line and following:
            assert len(line) + len(following.split()[0]) + 1 >= columns - 2, line


# ── completion ────────────────────────────────────────────────────────────────────────────────────


def offered(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> list[str]:
    """What bash offers for the last word of a line."""
    monkeypatch.setenv("_APERIO_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split()) - (not line.endswith(" "))))
    with pytest.raises(SystemExit):
        main([])
    said = capsys.readouterr()
    assert said.err == ""
    return said.out.split()


@pytest.fixture
def places(aperio_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """A home with a plugin and a few rules, another with the plugin, and a project in a folder."""
    places = {"home": aperio_home, "other": tmp_path / "other", "broken": tmp_path / "broken.toml"}
    claim = manifest(id="installed/remediation", version="1.0.0", kind="remediation")
    installed = receipt(manifest=claim).to_bytes()
    for home in (aperio_home, places["other"]):
        folder = home / "plugins/installed/remediation/1.0.0"
        folder.mkdir(parents=True)
        (folder / "receipt.json").write_bytes(installed)
    (aperio_home / "managed.toml").write_text(_MANAGED)
    places["broken"].write_text("=")
    make_project(tmp_path / "project")
    monkeypatch.chdir(tmp_path)
    return places


_MANAGED = """
[[domains]]
name = "mine"
file = "/nowhere/root.json"

[[publishers]]
namespace = "acme"
domain = "mine"
identity = "release@acme.example"
issuer = "https://acme.example"
"""


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("aperio plugin in", "init info install"),
        ("aperio plugin init x --kind ", "connector remediation destination"),
        ("aperio plugin init x --lang p", "python"),
        ("aperio plugin build --platform linux/", "linux/amd64 linux/arm64"),
        ("aperio trust publisher add acme --tier ", "community verified official"),
        ("aperio trust publisher add acme --ci g", "github gitlab"),
        ("aperio trust exception add a/b --rule un", "unsigned unverified"),
        ("aperio trust exception add a/b --rule limit:e", "limit:egress"),
        ("aperio trust require ", "signed verified"),
        ("aperio trust refresh pu", "public"),
        ("aperio plugin sign --trust st", "staging"),
        ("aperio completion f", "fish"),
        ("aperio plugin run a/b s", "sync schema"),
        ("aperio plugin run installed/remediation ", "capabilities execute"),
        ("aperio plugin run installed/remediation@1.0.0 e", "execute"),
        ("aperio plugin run ./project s", "sync schema"),
        ("aperio plugin run ./nothing d", ""),
        ("aperio plugin run --home {other} installed/remediation e", "execute"),
        ("aperio plugin why inst", "installed/remediation"),
        ("aperio plugin remove --home {broken} inst", ""),
        ("aperio trust exception add inst", "installed/remediation"),
        ("aperio trust domain remove ", "mine"),
        ("aperio trust publisher remove a", "acme"),
        ("aperio trust publisher remove acme --domain m", "mine"),
        ("aperio trust domain remove --config {broken} m", ""),
    ],
)
def test_values_are_completed(
    line: str,
    values: str,
    places: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert offered(line.format(**places), monkeypatch, capsys) == values.split()


def test_bash_loads_its_script() -> None:
    text = script(Shell.BASH) + "\ncomplete -p aperio"
    done = subprocess.run(
        ["bash", "-c", text], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "_aperio_completion aperio" in done.stdout


def test_zsh_script_registers_at_once_or_waits_for_compinit() -> None:
    text = script(Shell.ZSH)
    assert text.startswith("#compdef aperio\n")
    # Where `compdef` is used, it is known to be there, or made to be.
    guarded = text.index("if [[ ")
    assert "elif (( $+functions[compdef] )); then\n  compdef" in text[guarded:]
    assert "add-zsh-hook precmd _aperio_register" in text[guarded:]


@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not installed")
@pytest.mark.parametrize("before", ["", "autoload -Uz compinit; compinit -u -D;"])
def test_zsh_loads_its_script_before_and_after_compinit(before: str) -> None:
    show = "print -l $precmd_functions $_comps[aperio]"
    done = subprocess.run(
        ["zsh", "-f", "-c", f"{before}\n{script(Shell.ZSH)}\n{show}"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    expected = "_aperio_completion" if before else "_aperio_register"
    assert done.stdout.split() == [expected]

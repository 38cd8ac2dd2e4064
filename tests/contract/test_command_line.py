"""The contract with people and scripts: statuses, JSON, quick answers, lazy imports, completion."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli import __version__
from aperio_cli import quick as quick_answers
from aperio_cli.__main__ import main
from aperio_cli.errors import Refusal
from aperio_cli.models.evidence import evidence_to_json, proof_of
from aperio_cli.models.plugin_id import PluginId, PluginRef
from aperio_cli.paths import find_paths
from aperio_cli.store import listing
from aperio_cli.store.installed import Store
from tests.builders import receipt

if TYPE_CHECKING:
    from aperio_cli.models.receipt import Receipt

ROOT = Path(__file__).resolve().parents[2]
BOX = PluginId("acme", "box-connector")
L_COMMANDS = {
    "completion", "doctor",
    "plugin build", "plugin init", "plugin install", "plugin list", "plugin remove", "plugin run",
    "plugin sign", "plugin test", "plugin verify", "plugin why",
    "registry add", "registry build", "registry init", "registry serve",
    "trust domain add", "trust domain list", "trust domain remove", "trust exception add",
    "trust exception remove", "trust local init", "trust publisher add", "trust publisher list",
    "trust publisher remove", "trust refresh", "trust require", "trust show",
    "trust sign-publishers",
}  # fmt: skip
HEAVY = ("typer", "rich", "sigstore", "cryptography", "grpc", "cookiecutter", "httpx", "yaml")


def aperio(*argv: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "aperio_cli", *argv],
        capture_output=True, text=True, timeout=60, check=False, cwd="/",
        env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def commands() -> set[str]:
    from typer.main import get_command

    from aperio_cli.commands.app import load

    def walk(group: Any, path: str) -> set[str]:
        found: set[str] = set()
        for name, command in group.commands.items():
            words = f"{path} {name}".strip()
            found |= walk(command, words) if hasattr(command, "commands") else {words}
        return found

    return walk(get_command(load()), "")


def test_commands_are_those_of_this_version() -> None:
    assert commands() == L_COMMANDS


@pytest.mark.parametrize("words", sorted(L_COMMANDS))
def test_help_works_for_every_command(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--json" in shown
    assert "--home" in shown


def test_version_is_answered_the_same_quickly_and_slowly(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["--version"]) == 0
    quick = capsys.readouterr().out
    monkeypatch.setattr(quick_answers, "answer", lambda _argv: None)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == quick == f"aperio {__version__}\n"


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_empty_list_is_answered_the_same_quickly_and_slowly(
    options: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["plugin", "list", *options]) == 0
    quick = capsys.readouterr().out
    monkeypatch.setattr(quick_answers, "answer", lambda _argv: None)
    assert main(["plugin", "list", *options]) == 0
    assert capsys.readouterr().out == quick


def records(home: Path) -> dict[str, Receipt | None]:
    """Records as they may be found, by version, with what a whole reading makes of each."""
    whole = json.loads(receipt().to_bytes())
    earlier = {k: v for k, v in whole.items() if k not in {"proof", "exceptions", "index_serial"}}
    granted = {"rule": "unsigned", "until": "2030-01-01", "reason": "a test"}
    unsigned = whole | {"signer": None, "rule": None, "proof": None, "exception": granted}
    found: dict[str, Receipt | None] = {}
    stated: tuple[dict[str, Any], ...] = (
        whole,
        earlier,
        unsigned,
        whole | {"schema": "aperio.receipt/v2"},
        {"id": 5},
        {},
    )
    for number, record in enumerate(stated):
        version = f"1.0.{number}"
        named = record | {"version": version} if record else {}
        if "manifest" in named:
            named["manifest"] = named["manifest"] | {"version": version}
        folder = home / "plugins/acme/box-connector" / version
        folder.mkdir(parents=True)
        (folder / "receipt.json").write_text(json.dumps(named))
        try:
            found[version] = Store(find_paths({}, home=str(home))).get(PluginRef(BOX, version))
        except Refusal:
            found[version] = None
    return found


def test_list_reads_a_record_quickly_as_it_is_read_whole(aperio_home: Path) -> None:
    found = records(aperio_home)
    assert [version for version, read in found.items() if read] == ["1.0.0", "1.0.1", "1.0.2"]
    rows = {row["version"]: row for row in listing.rows(str(aperio_home))}
    assert list(rows) == list(found)
    for version, read in found.items():
        row = rows[version]
        assert (row["problem"] is None) == bool(read)
        if read:
            proof = proof_of(read.evidence)
            exceptions = [] if proof else [evidence_to_json(read.evidence)["exception"]]
            assert row["signer"] == (proof.signer.identity if proof else None)
            assert row["exceptions"] == exceptions
            told = [row[key] for key in ("kind", "badge", "installed_at", "source")]
            assert told == [read.kind, read.badge, read.installed_at, read.source]


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_list_of_odd_records_is_answered_the_same_quickly_and_slowly(
    options: list[str],
    aperio_home: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    records(aperio_home)
    assert main(["plugin", "list", *options]) == 0
    quick = capsys.readouterr().out
    assert "receipt-newer" in quick
    monkeypatch.setattr("aperio_cli.quick.answer", lambda _argv: None)
    assert main(["plugin", "list", *options]) == 0
    assert capsys.readouterr().out == quick


@pytest.mark.parametrize("argv", [["--version"], ["plugin", "list"], ["plugin", "list", "--json"]])
def test_quick_answers_import_nothing_heavy(argv: list[str]) -> None:
    code = (
        "import sys; from aperio_cli.__main__ import main; status = main(sys.argv[1:]);"
        f"found = [m for m in {HEAVY!r} if m in sys.modules];"
        "sys.exit(repr(found) if found else status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *argv], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "argv", [["--help"], ["plugin", "run", "--help"], ["plugin", "list", "--check"]]
)
def test_ordinary_commands_do_not_import_sigstore(argv: list[str]) -> None:
    code = (
        "import sys; from aperio_cli.__main__ import main; status = main(sys.argv[1:]);"
        "found = [m for m in ('sigstore', 'cookiecutter', 'httpx') if m in sys.modules];"
        "sys.exit(repr(found) if found else status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *argv], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_quick_module_stays_small() -> None:
    assert len((ROOT / "aperio_cli" / "quick.py").read_text().splitlines()) <= 60


@pytest.mark.parametrize(
    "argv",
    [["plugin", "instal"], ["plugin", "list", "--no-such"], ["plugin", "init"], ["nonsense"]],
)
def test_mistyped_line_is_a_usage_error_with_the_next_step(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "was not run" in said.err
    assert "--help`" in said.err
    assert "usage (exit 2)" in said.err


def test_usage_error_in_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugin", "list", "--no-such", "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert set(document) == {"schema", "command", "status", "exit_status", "data", "errors"}
    assert document["status"] == "error"
    assert document["exit_status"] == 2
    assert set(document["errors"][0]) == {"code", "what", "why", "next"}


def test_shared_option_is_accepted_before_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--home", str(tmp_path / "h"), "--json", "trust", "show"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["command"] == ["trust", "show"]
    assert str(tmp_path / "h") in document["data"]["config_file"]


def test_no_arguments_shows_help(capsys: pytest.CaptureFixture[str]) -> None:
    status = main([])
    said = capsys.readouterr()
    assert status in {0, 2}
    assert "plugin" in said.out + said.err


def test_bug_is_told_in_one_line_with_its_traceback_saved(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "rows", lambda _home: 1 / 0)
    assert main(["plugin", "list", "--quiet"]) == 1
    said = capsys.readouterr().err
    assert "internal-error (exit 1)" in said
    assert "Traceback" not in said
    saved = Path(said.split("saved in ")[1].split()[0])
    assert "ZeroDivisionError" in saved.read_text()
    saved.unlink()


def test_reader_that_closes_stdout_is_not_an_error() -> None:
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {sys.executable} -m aperio_cli completion bash | true"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_bash_completion_offers_commands() -> None:
    done = aperio(
        env={
            "_APERIO_COMPLETE": "complete_bash",
            "COMP_WORDS": "aperio plugin in",
            "COMP_CWORD": "2",
        }
    )
    assert done.stdout.split() == ["init", "install"]


def test_ready_command_keeps_the_places_of_the_call(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "a home"
    assert main(["plugin", "run", "./x.tar.gz", "--home", str(home), "--json"]) == 2
    (error,) = json.loads(capsys.readouterr().out)["errors"]
    assert error["next"] == [f"`aperio plugin install ./x.tar.gz --home '{home}'`"]


def test_ready_command_is_as_it_stands_without_such_options(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["plugin", "run", "./x.tar.gz"]) == 2
    assert "`aperio plugin install ./x.tar.gz`" in capsys.readouterr().err

"""The contract with people and scripts: statuses, JSON, quick answers, lazy imports, completion."""

from __future__ import annotations

import errno
import json
import os
import shlex
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
    "completion", "doctor", "host catalog", "host logs", "host pause", "host resume", "host run",
    "host status", "host suggest", "host unit", "plugin audit", "plugin build", "plugin diff",
    "plugin grant",
    "plugin info", "plugin init", "plugin install", "plugin list", "plugin may-run",
    "plugin remove", "plugin rollback", "plugin run", "plugin search", "plugin sign", "plugin test",
    "plugin update", "plugin verify", "plugin why", "registry add", "registry build",
    "registry deprecate", "registry init", "registry mirror", "registry revoke", "registry serve",
    "registry sign", "registry verify", "registry yank", "trust domain add",
    "trust domain list", "trust domain remove", "trust exception add", "trust exception remove",
    "trust local init", "trust publisher add", "trust publisher list", "trust publisher remove",
    "trust refresh", "trust require", "trust show", "trust sign-publishers", "version",
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


@pytest.mark.parametrize("argv", [["--version"], ["-V"], ["version"]])
def test_version_is_answered_the_same_quickly_and_slowly(
    argv: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(argv) == 0
    quick = capsys.readouterr().out
    monkeypatch.setattr(quick_answers, "answer", lambda _argv: None)
    assert main(argv) == 0
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


@pytest.mark.parametrize(
    "argv", [["--version"], ["-V"], ["version"], ["plugin", "list"], ["plugin", "list", "--json"]]
)
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


@pytest.mark.parametrize("argv", [["--version"], ["plugin", "list"], ["plugin", "list", "--json"]])
def test_quick_answers_import_no_more_than_they_need(
    argv: list[str], aperio_home: Path, tmp_path: Path
) -> None:
    # `json` needs `re` and `functools`; `--version` needs neither. Each of these packages takes
    # about as long to import as a bare interpreter to start.
    spared = {"typing", "contextlib", "dataclasses", "pathlib", "asyncio", "inspect"}
    spared |= {"re", "json", "functools"} if argv == ["--version"] else set()
    code = (
        "import sys; from aperio_cli.__main__ import entry_point; import atexit;"
        f"atexit.register(lambda: print(sorted({spared!r} & set(sys.modules)), file=sys.stderr));"
        "entry_point()"
    )
    done = subprocess.run(  # without `site`, which imports some of them where a .pth file asks
        [sys.executable, "-S", "-c", code, *argv],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
        env={"APERIO_HOME": str(aperio_home), "HOME": str(tmp_path), "PATH": os.environ["PATH"]},
    )
    assert (done.returncode, done.stderr) == (0, "[]\n")


@pytest.mark.parametrize(
    "argv", [["--help"], ["plugin", "run", "--help"], ["plugin", "list", "--check"]]
)
def test_ordinary_commands_do_not_import_what_only_others_need(argv: list[str]) -> None:
    # `before`: a .pth file may have imported some of it.
    spared = {"sigstore", "cookiecutter", "httpx", "pydantic"}
    spared |= set() if "--help" in argv else {"asyncio", "http.client"}
    code = (
        "import sys; before = {*sys.modules};"
        "from aperio_cli.__main__ import main; status = main(sys.argv[1:]);"
        f"found = {spared!r} & {{*sys.modules}} - before;"
        "sys.exit(repr(found) if found else status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *argv], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_what_runs_installed_plugins_imports_nothing_that_builds() -> None:
    code = (
        "import sys; before = {*sys.modules};"
        "import aperio_cli.host.launch, aperio_cli.commands.plugin.forwarding;"
        "import aperio_cli.commands.plugin.run, aperio_cli.commands.plugin.running;"
        "print({'aperio_cli.building', 'packaging', 'pydantic'} & {*sys.modules} - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "set()\n"


def test_a_command_that_a_plugin_starts_answers_on_stdout() -> None:
    done = aperio("plugin", "why", "--help", env={"APERIO_PLUGIN_MAGIC_COOKIE": "aperio-plugin-v1"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "aperio plugin why" in done.stdout


def test_quick_module_stays_small() -> None:
    assert len((ROOT / "aperio_cli" / "quick.py").read_text().splitlines()) <= 60


@pytest.mark.parametrize(
    "argv",
    [
        ["plugin", "instal"], ["plugin", "list", "--no-such"], ["plugin", "init"], ["nonsense"],
        ["--no-such"], ["plugin", "--no-such"], ["--home"], ["help", "nonsense"], ["plugin", ""],
    ],
)  # fmt: skip
def test_mistyped_line_is_a_usage_error_with_the_next_step(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "was not run" in said.err
    assert "--help`" in said.err
    assert "usage (exit 2)" in said.err


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("plugin run acme/box sync --to=", "--to"),
        ("plugin run acme/box sync --from=", "--from"),
        ("plugin run acme/box sync --stream=a --stream=", "--stream"),
        ("plugin run acme/box execute --approval-sha256=", "--approval-sha256"),
        ("plugin run acme/box execute --idempotency-key=", "--idempotency-key"),
        ("plugin run acme/box --org=", "--org"),
        ("plugin may-run acme/box --org=", "--org"),
        ("trust require signed --org=", "--org"),
        ("plugin verify x.tar.gz --bundle=", "--bundle"),
        ("plugin list --home=", "--home"),
        ("--config= plugin list --check", "--config"),
        ("plugin build ''", "PROJECT"),
        ("plugin sign ''", "ARTIFACT|DIST"),
        ("plugin install a/bb ''", "PLUGIN|ARTIFACT|URL"),
        ("plugin search ''", "TERM"),
    ],
)
def test_a_value_that_is_empty_is_not_one_that_was_left_out(
    line: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a script it is a variable that is not set."""
    assert main(shlex.split(line)) == 2
    assert f"`{named}` was given, and is empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "named", "values"),
    [
        ("plugin run acme/box --to acme/a --to acme/b", "--to", "`acme/a` and `acme/b`"),
        ("plugin run acme/box --org org_1 sync --org=org_2", "--org", "`org_1` and `org_2`"),
        ("plugin install a.tar.gz --bundle x --bundle y", "--bundle", "`x` and `y`"),
        ("plugin list --home a --home b", "--home", "`a` and `b`"),
        ("--home a plugin list --home b", "--home", "`a` and `b`"),
        ("--registry=a plugin --registry b search", "--registry", "`a` and `b`"),
        ("plugin search --kind connector --kind destination", "--kind", "connector"),
        ("host logs acme/box -n 5 --last 6", "--last", "`5` and `6`"),
        ("registry serve --port 1 --port 2", "--port", "`1` and `2`"),
        ("registry init a --name x --name '\x1b[31my'", "--name", "`x` and `"),
        ("trust require signed --org a --org a --org b", "--org", "given 3 times"),
    ],
)
def test_an_option_that_takes_one_value_is_refused_with_two(
    line: str, named: str, values: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which of two homes, destinations or identities is meant is nobody's guess."""
    assert main(shlex.split(line)) == 2
    said = capsys.readouterr().err
    assert f"`{named}` was given" in said
    assert values in said
    assert "\x1b" not in said


def test_a_value_that_may_be_secret_is_not_shown_when_there_are_two(
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = "plugin sign x.tar.gz --identity-token s3cret-1 --identity-token s3cret-2"
    assert main(line.split()) == 2
    said = capsys.readouterr()
    assert "`--identity-token` was given 2 times" in said.err
    assert "s3cret" not in said.err + said.out


@pytest.mark.parametrize(
    "line",
    [
        "plugin list --home a --home a",  # the same is said twice
        "--json plugin list --json --quiet -q",
        "plugin run acme/box schema --set a=1 --set b=2",
        "plugin run acme/box sync --stream a --stream b",
        "plugin run acme/box schema --to-set a=1 -- --to",
    ],
)
def test_what_is_said_twice_alike_or_may_be_said_often_is_not(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(line.split())
    assert "with different values" not in capsys.readouterr().err


def test_a_setting_may_be_empty(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugin", "run", "acme/box", "schema", "--set", "note="]) == 1
    assert "not-installed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (" ", "it is blank"),
        ("a\nb", "printable characters"),
        ("\udcff", "printable characters"),
        ("o" * 201, "at most 200 characters, found 201"),
    ],
)
@pytest.mark.parametrize(
    "line", ["plugin run a/bb --integration", "plugin why a/bb --org", "trust require signed --org"]
)
def test_a_name_that_nobody_has_is_refused(
    line: str, name: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*line.split(), name]) == 2
    said = capsys.readouterr().err
    assert "names nobody" in said
    assert why in said


@pytest.mark.parametrize("name", ["o" * 200, "org_1", "Zoë & Söhne"])
def test_any_other_name_is_an_organizations(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugin", "run", "acme/box", "schema", "--org", name]) == 1
    assert "not-installed" in capsys.readouterr().err


def test_usage_error_in_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugin", "list", "--no-such", "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert set(document) == {"schema", "command", "status", "exit_status", "data", "errors"}
    assert document["status"] == "error"
    assert document["exit_status"] == 2
    assert set(document["errors"][0]) == {"code", "what", "why", "next"}


@pytest.mark.parametrize(
    "line",
    [
        "--home {home} --json trust show",
        "--home={home} trust -j show",
        "-jq trust --home {home} show",
        "trust --json show --home {home}",
        "--home {home} trust show -j --home {home}",
    ],
)
def test_shared_option_is_accepted_at_every_level(
    line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "h"
    assert main(line.format(home=home).split()) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["command"] == ["trust", "show"]
    assert document["data"]["config_file"] == str(home / "config.toml")


def test_options_before_the_words_stay_options_when_arguments_follow(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--json", "plugin", "why", "--", "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert (document["command"], document["errors"][0]["code"]) == (
        ["plugin", "why"],
        "plugin-id-invalid",
    )


@pytest.mark.parametrize("words", ["plugin list", "trust show", "doctor", "plugin why acme/box"])
def test_a_configuration_file_that_is_named_has_to_be_there(
    words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing, there = tmp_path / "typo.toml", tmp_path / "config.toml"
    there.write_text("")
    assert main([*words.split(), "--config", str(missing), "--json"]) == 2
    [error] = json.loads(capsys.readouterr().out)["errors"]
    assert (error["code"], str(missing) in error["what"]) == ("configuration-invalid", True)
    assert main([*words.split(), "--config", str(there)]) in {0, 1}  # 1: acme/box is not installed


@pytest.mark.parametrize("argv", [[], ["plugin"], ["trust", "publisher"]])
def test_a_script_that_names_no_command_gets_an_error_and_no_help(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*argv, "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert (document["command"], document["status"]) == (argv, "error")


@pytest.mark.parametrize(
    ("alias", "words"),
    [
        ("plugin ls", "plugin list"),
        ("plugin rm", "plugin remove"),
        ("plugin uninstall", "plugin remove"),
        ("plugin upgrade", "plugin update"),
        ("trust publisher ls", "trust publisher list"),
        ("trust domain rm", "trust domain remove"),
    ],
)
def test_alias_is_the_command(alias: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = []
    for line in (alias, words):
        assert main([*line.split(), "--help"]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("plugin instal x", "plugin install"),
        ("install x", "plugin install"),
        ("ls", "plugin list"),
        ("uninstall x", "plugin remove"),
        ("update", "plugin update"),
        ("upgrade x", "plugin update"),
        ("plugins list", "plugin"),
        ("plugin show x", "plugin info"),
        ("trust add acme", "trust publisher add"),
        ("trust remove acme", "trust publisher remove"),
        ("host start", "host run"),
        ("host enable x", "host resume"),
        ("trust publisher drop", ""),
    ],
)
def test_a_word_that_is_no_command_is_told_what_was_meant(
    line: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*line.split(), "--json"]) == 2
    [error] = json.loads(capsys.readouterr().out)["errors"]
    asked = [step for step in error["next"] if step.startswith("did you mean")]
    assert asked[:1] == ([f"did you mean `aperio {meant}`?"] if meant else [])


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("plugin search --kind conector", "connector"),
        ("plugin init github.com/acme/aperio-plugin-x --kind remediaton", "remediation"),
        ("plugin init github.com/acme/aperio-plugin-x --lang pyton", "python"),
    ],
)
def test_a_mistyped_choice_is_told_the_nearest(
    line: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line.split()) == 2
    assert f"next  did you mean `{meant}`?" in capsys.readouterr().err


def test_choices_of_the_parser_are_told_within_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion"]) == 2
    assert "'SHELL'. Choose from: bash, zsh, fish, powershell\n" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["", "plugin", "registry", "trust", "trust publisher"])
def test_a_bare_group_shows_its_help_in_each_form(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = words.split()
    shown = []
    for argv in (typed, [*typed, "--help"], [*typed, "-h"], ["help", *typed], [*typed, "help"]):
        assert main(argv) == 0, argv
        said = capsys.readouterr()
        assert said.err == ""
        shown.append(said.out)
    assert len(set(shown)) == 1
    assert f"Usage: {' '.join(['aperio', *typed])}" in shown[0]


@pytest.mark.parametrize(
    "argv", [["plugin", "why", "-h"], ["help", "plugin", "why"], ["plugin", "help", "why"]]
)
def test_help_of_a_command_is_shown_in_each_form(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 0
    assert "Usage: aperio plugin why" in capsys.readouterr().out


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


@pytest.mark.parametrize(
    "words",
    [
        ["trust", "local", "init", "--home", "/proc/sys/here"],
        ["registry", "init", "/proc/sys/here"],
        ["registry", "init", "/proc/sys/here/below"],
        ["plugin", "init", "github.com/acme/aperio-plugin-box", "--output", "/proc/sys/here"],
    ],
)
def test_place_where_no_file_can_be_made_is_named_and_no_bug(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 1
    said = capsys.readouterr().err
    assert "place-unusable (exit 1)" in said
    assert "`/proc/sys/" in said  # the name that it is made under, aside, may be another


def test_wrong_value_is_told_without_the_parsers_own_words(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["completion", "tcsh"]) == 2
    assert "Invalid value for 'SHELL': 'tcsh' is not one of" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.EIO, "Input/output error", "/there"), "place-unusable"),
        (OSError(errno.ESTALE, "Stale file handle", "/there"), "place-unusable"),
        (OSError(errno.ENOTCONN, "Transport endpoint is not connected", "/"), "place-unusable"),
        (OSError(errno.ENOTCONN, "Transport endpoint is not connected"), "internal-error"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/gone"), "internal-error"),
    ],
)
def test_failing_place_is_told_from_a_bug(
    error: OSError, code: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_home: Path) -> None:
        raise error

    monkeypatch.setattr(listing, "rows", fail)
    assert main(["plugin", "list", "--quiet"]) == 1
    said = capsys.readouterr().err
    assert f"{code} (exit 1)" in said
    if code == "internal-error":
        Path(said.split("saved in ")[1].split()[0]).unlink()


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
    assert done.stdout.split() == ["init", "info", "install"]


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

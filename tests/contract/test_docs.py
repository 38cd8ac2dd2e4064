"""The pages say what is so: links lead somewhere, commands parse, codes and ids are right."""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aperio_plugin.wire import control_pb2

from aperio_cli import config, errors
from aperio_cli.commands.words import read_line
from aperio_cli.host.calls import envelopes
from aperio_cli.host.calls.destination import DELIVER_TIMEOUT_S
from aperio_cli.host.egress import Reason
from aperio_cli.host.process import surroundings
from aperio_cli.host.process.advice import OPERATOR
from aperio_cli.host.sandbox.interface import Confinement, Level
from aperio_cli.host.sandbox.telling import names_at
from aperio_cli.host.sandbox.unconfined import Unconfined
from aperio_cli.paths import find_paths
from tests.rows import for_each

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
GENERATED = {DOCS / "reference" / "errors.md", DOCS / "reference" / "commands.md"}
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
WRITTEN = [page for page in PAGES if page not in GENERATED]
KINDS = {"tutorial.md", "how-to", "reference", "explanation"}
SHELL_WORDS = {"|", "||", "&&", ";", "&", ">", ">>", "<"}
LEASE_OF_THE_PRODUCT_S = 300.0
"""How long the product keeps a delivery for the dispatcher that took it."""
# In the pages, words of this form in backticks are error codes; these are the others.
NOT_CODES = {
    "aperio-cli",
    "aperio-diagnostics-bin",
    "grpc-status-details-bin",
    "aperio-invocation",
    "aperio-plugin-sdk",
    "audit-log",
    "envelope-invalid",  # of one reject; no error of the command
    "event-types",
    "github-hosted",
    "gitlab-hosted",
    "host-only",
    "organization-foreign",  # of one reject
    "self-hosted",
    "site-packages",
    "x-aperio-signature",
}

REASONS = {reason.code for reason in Reason}
"""Why a connection was not let through; no errors of aperio's."""

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_SPAN = re.compile(r"`([^`\n]+)`")
_KEBAB = re.compile(r"[a-z]+(?:-[a-z]+)+")
_SHOWN_CODE = re.compile(r"^  code  (\S+) \(exit (\d+)\)$", re.MULTILINE)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return [body for found, body in _FENCE.findall(text) if found == language]


def prose(page: Path) -> str:
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, made as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    plain = (re.sub(r"[^\w\s-]", "", heading.lower()) for heading in headings)
    return {text.strip().replace(" ", "-") for text in plain}


every_page = for_each(PAGES, name)
every_written_page = for_each(WRITTEN, name)


def test_every_kind_of_page_is_there() -> None:
    assert {path.name for path in DOCS.iterdir()} >= KINDS


# ── links ─────────────────────────────────────────────────────────────────────────────────────────


@every_page
def test_relative_links_and_their_anchors_resolve(page: Path) -> None:
    for target in _LINK.findall(prose(page)):
        if target.startswith(("https://", "http://")):
            continue
        location, _, anchor = target.partition("#")
        path = (page.parent / location).resolve() if location else page
        assert path.exists(), f"{name(page)}: {target}"
        assert not anchor or anchor in anchors(path), f"{name(page)}: {target}"


def test_every_page_can_be_reached_from_the_first() -> None:
    reached = {ROOT / "README.md"}
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        for target in _LINK.findall(prose(page)):
            path = (page.parent / target.partition("#")[0]).resolve()
            found = path / "README.md" if path.is_dir() else path
            if found.suffix == ".md" and found.exists() and found not in reached:
                reached.add(found)
                waiting.append(found)
    assert set(PAGES) - reached == set()


def steps_to_pages() -> Iterator[tuple[str, str, bool]]:
    """Each text of the package that names a page: where, the page, whether by its address."""
    for path in sorted((ROOT / "aperio_cli").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        called = [n for n in ast.walk(tree) if isinstance(n, ast.Call)]
        by_address = {id(n.args[0]) for n in called if getattr(n.func, "id", "") == "page"}
        said = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}  # docstrings
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for found in re.findall(r"docs/[\w/-]+\.md", node.value):
                    if id(node) not in said:
                        yield f"{path.name}:{node.lineno}", found, id(node) in by_address


def test_a_page_that_aperio_leads_to_is_there_and_named_by_its_address() -> None:
    """Whoever meets an error has aperio installed, and no clone of it."""
    found = list(steps_to_pages())
    assert len(found) > 3
    assert [each for each in found if not (ROOT / each[1]).is_file() or not each[2]] == []


def test_only_documents_of_this_repository_are_cited() -> None:
    """Whoever picks the project up has no other."""
    listed = subprocess.run(
        ["git", "ls-files", "*.py", "*.go", "*.md", "*.toml", "*.yml", "Makefile"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    ).stdout.split()  # fmt: skip
    known = {Path(name).name for name in listed}
    cited = re.compile(r"(?<![\w./{`-])[A-Z]{3,}\.md|\bDESIGN,? section")
    missing = []
    for name in listed:
        path = ROOT / name
        if "assets" in path.parts or "{{" in name or not path.is_file():
            continue
        for found in cited.findall(path.read_text(encoding="utf-8", errors="replace")):
            missing += [] if found in known else [f"{name}: {found}"]
    assert missing == []


# ── commands ──────────────────────────────────────────────────────────────────────────────────────


def commands_in(block: str) -> list[list[str]]:
    """The arguments of each `aperio …` command of a console block."""
    typed = re.sub(r"\\\n>?\s*", "", block)
    found = []
    for line in typed.splitlines():
        if not line.startswith("$ "):
            continue
        current: list[str] = []
        lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        for word in [*lexer, ";"]:
            if word not in SHELL_WORDS:
                current.append(word)
                continue
            if current[:1] == ["aperio"]:
                found.append(current[1:])
            current = []
    return found


@functools.cache  # every command's module is imported for it
def tree() -> dict[tuple[str, ...], Any]:
    from typer.main import get_command

    from aperio_cli.commands.app import load

    def walk(group: Any, path: tuple[str, ...]) -> dict[tuple[str, ...], Any]:
        found: dict[tuple[str, ...], Any] = {}
        for word, command in group.commands.items():
            is_group = hasattr(command, "commands")
            found |= walk(command, (*path, word)) if is_group else {(*path, word): command}
        return found

    return walk(get_command(load()), ())


def parse(argv: list[str]) -> None:
    """Nothing, when the command line is one that the program understands."""
    words = read_line(argv).argv
    if words == ["--version"]:
        return
    commands = tree()
    path = next(tuple(words[:n]) for n in (3, 2, 1) if tuple(words[:n]) in commands)
    commands[path].make_context("aperio", words[len(path) :])


@every_page
def test_shown_commands_parse(page: Path) -> None:
    for block in blocks(page, "console"):
        for argv in commands_in(block):
            try:
                parse(argv)
            except Exception as error:  # noqa: BLE001 - whatever it is, the page is wrong
                pytest.fail(f"{name(page)}: aperio {shlex.join(argv)}: {error!r}")


@pytest.mark.parametrize("line", ["plugin lst", "plugin list --chek", "plugin run", "trust local"])
def test_a_command_that_is_wrong_does_not_parse(line: str) -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011 - of Typer's own classes
        parse(line.split())


@pytest.mark.parametrize("limit", ["memory", "cpu", "processes", "open_files", "tmp", "duration"])
def test_the_command_that_raises_a_limit_parses(limit: str) -> None:
    advice = OPERATOR.at_limit.format(plugin="acme/box", limit=limit)
    (command,) = _SPAN.findall(advice)
    parse(shlex.split(command)[1:])


def test_every_command_is_in_a_page_that_people_wrote() -> None:
    text = " ".join(" ".join(page.read_text(encoding="utf-8").split()) for page in WRITTEN)
    missing = [path for path in tree() if f"aperio {' '.join(path)}" not in text]
    assert missing == []


# ── error codes ───────────────────────────────────────────────────────────────────────────────────


@functools.cache
def catalogue() -> dict[str, int]:
    return {error.code: error.exit_status for error in errors.catalogue()}


@every_page
def test_error_codes_are_the_catalogues(page: Path) -> None:
    known = catalogue()
    for code, status in _SHOWN_CODE.findall(page.read_text(encoding="utf-8")):
        assert known.get(code) == int(status), f"{name(page)}: {code} (exit {status})"
    spans = {span for span in _SPAN.findall(prose(page)) if _KEBAB.fullmatch(span)}
    if (
        page.name == "accept-a-plugin.md"
    ):  # its keys are compared in tests/process/test_accepting.py
        return
    assert spans - known.keys() - NOT_CODES - codes_of_go_hosts() - REASONS == set()


@functools.cache
def codes_of_go_hosts() -> set[str]:
    """The codes that are the Go host package's own."""
    sources = (ROOT / "sdk" / "go" / "host").glob("*.go")
    found = (
        re.findall(r'^\t?(?:const )?Code\w+ += "(.+)"$', path.read_text(), re.MULTILINE)
        for path in sources
    )
    return {code for codes in found for code in codes}


def test_codes_of_go_hosts_are_those_of_the_catalogue_and_a_few_on_their_page() -> None:
    own = {"verdict-missing", "verdict-mismatch", "verdict-stale", "receipt-changed"}
    own |= {"organization-foreign"}
    assert codes_of_go_hosts() - catalogue().keys() == own
    page = DOCS / "how-to" / "load-plugins-in-a-go-server.md"
    assert own <= set(_SPAN.findall(prose(page)))


def test_every_method_of_the_control_api_has_a_row_on_its_page() -> None:
    service = control_pb2.DESCRIPTOR.services_by_name["HostService"]
    page = prose(DOCS / "reference" / "control-api.md")
    (table,) = re.findall(r"^## Methods$(.*?)^## ", page, re.MULTILINE | re.DOTALL)
    named = re.findall(r"^\| (`.+`) \|", table, re.MULTILINE)
    assert sorted(_SPAN.findall(" ".join(named))) == sorted(service.methods_by_name)


def test_headings_of_the_refusals_are_codes() -> None:
    page = DOCS / "how-to" / "read-a-refusal.md"
    headings = re.findall(r"^### (.+)$", prose(page), re.MULTILINE)
    codes = {code for heading in headings for code in heading.split(", ")}
    assert codes - catalogue().keys() == set()


def test_both_hosts_end_a_delivery_when_the_reference_says() -> None:
    page = (DOCS / "reference" / "interface.md").read_text(encoding="utf-8")
    stated = re.search(r"^\| `Deliver` \| (\d+) s", page, re.MULTILINE)
    source = (ROOT / "sdk" / "go" / "host" / "calls.go").read_text(encoding="utf-8")
    in_go = re.search(r"^const DeliverTimeout = (\d+) \* time\.Second$", source, re.MULTILINE)
    assert stated
    assert in_go
    assert float(stated[1]) == float(in_go[1]) == DELIVER_TIMEOUT_S
    assert DELIVER_TIMEOUT_S * 2 <= LEASE_OF_THE_PRODUCT_S


# ── what pages state about the program ────────────────────────────────────────────────────────────


def rows(page: Path, columns: int) -> list[list[str]]:
    """The cells of every table row with this many columns, without backticks."""
    lines = [line for line in prose(page).splitlines() if line.startswith("| ")]
    cells = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if len(row) == columns]


def test_ids_in_the_examples_are_what_the_page_and_the_host_compute() -> None:
    examples = rows(DOCS / "reference" / "events.md", 6)[1:]
    assert len(examples) == 2
    for organization, integration, provider, source_event_id, text, identity in examples:
        origin = envelopes.Origin("acme/box@1.0.0", organization, integration, provider)
        assert envelopes.envelope_id(origin, source_event_id) == identity
        assert hashlib.sha256(text.encode()).hexdigest() == identity


def test_the_envelope_in_the_events_page_has_the_keys_of_its_table() -> None:
    page = DOCS / "reference" / "events.md"
    shown = json.loads(blocks(page, "json")[0])["envelope"]
    table = [row[0] for row in rows(page, 3)]
    stated = [key for cell in table[table.index("id") :] for key in re.findall(r"\w+", cell)]
    assert list(shown) == stated[: len(shown)]


def test_an_ingestion_job_is_mapped_column_by_column_and_its_payload_is_the_record() -> None:
    page = rows(DOCS / "reference" / "product.md", 3)
    mapped = {row[0].replace("`", ""): row[1] for row in page}
    columns = [
        "id", "organization_id, integration_id", "provider", "event_type", "source", "actor",
        "occurred_at", "payload", "status, attempts, next_attempt_at, lease_owner", "updated_at",
    ]  # fmt: skip
    assert [name for name in mapped if name in columns] == columns
    assert mapped["payload"].startswith("record`")


def test_the_interface_page_names_every_variable_that_a_plugin_gets(tmp_path: Path) -> None:
    text = (DOCS / "reference" / "interface.md").read_text(encoding="utf-8")
    given = surroundings.build_environment(tmp_path, "socket")
    assert [variable for variable in given if f"`{variable}`" not in text] == []


@pytest.mark.parametrize("page", ["reference/interface.md", "explanation/security.md"])
def test_what_is_not_enforced_is_said_as_the_host_says_it(page: str) -> None:
    found = Unconfined().enforcements(Confinement())
    sentence = f"not enforced: {' '.join(names_at(found, Level.NONE))}"
    assert sentence in (DOCS / page).read_text(encoding="utf-8")


def test_the_shown_configuration_is_accepted(tmp_path: Path) -> None:
    page = DOCS / "reference" / "configuration.md"
    (shown,) = blocks(page, "toml")
    (tmp_path / "config.toml").write_text(shown)
    paths = find_paths({}, home=str(tmp_path))
    loaded = config.load_config(paths, site_file=tmp_path / "none.toml")
    assert loaded.policy.publishers
    assert loaded.sandbox_require
    text = page.read_text(encoding="utf-8")
    assert [key for key in config.REQUIRABLE if f"`{key}`" not in text] == []


# ── examples ──────────────────────────────────────────────────────────────────────────────────────


@every_page
def test_shown_data_can_be_read(page: Path) -> None:
    for block in blocks(page, "json"):
        try:
            json.loads(block)
        except ValueError:  # one object a line, then
            for line in block.splitlines():
                json.loads(line)
    for block in blocks(page, "toml"):
        tomllib.loads(block)
    for number, block in enumerate(blocks(page, "python")):
        if not block.startswith(" "):  # part of a function
            compile(block, f"{name(page)}, block {number}", "exec")


@pytest.mark.parametrize("page", ["README.md", "docs/how-to/install-aperio.md"])
def test_where_packages_of_the_system_are_named_the_sandbox_s_is(page: str) -> None:
    (command,) = re.findall(r"`(apt-get install [^`]+)`", (ROOT / page).read_text("utf-8"))
    assert "bubblewrap" in command.split()


@pytest.mark.parametrize("page", ["README.md", "docs/reference/sdk-python.md"])
def test_the_shown_connector_loses_nothing(page: str) -> None:
    from aperio_plugin.testing import Harness

    source = blocks(ROOT / page, "python")[0]
    (class_name,) = re.findall(r"^class (\w+)", source, re.MULTILINE)
    space: dict[str, Any] = {"__name__": "shown"}
    exec(compile(source, page, "exec"), space)  # noqa: S102 - the page's own example
    harness = Harness(space[class_name]())
    assert harness.test_connection().ok
    assert harness.resume_from_every_checkpoint().events


def test_the_shown_finding_is_passed_on() -> None:
    from aperio_plugin import connector
    from aperio_plugin.testing import Harness

    block = blocks(DOCS / "reference" / "sdk-python.md", "python")[1]
    space: dict[str, Any] = {"connector": connector}
    exec(f"def sync(self, context, cursor):\n{block}", space)  # noqa: S102 - as above

    class Lantern(connector.Connector):
        def schema(self) -> connector.Schema:
            checks = [connector.Check(key="lantern.token_leaked", title="Leaked tokens")]
            features = [connector.Feature.FINDINGS]
            return connector.Schema(
                provider="LANTERN", name="Lantern", checks=checks, features=features
            )

        def test_connection(self, context: connector.Context) -> connector.TestResult:
            del context
            return connector.TestResult(ok=True)

        sync = space["sync"]

    result = Harness(Lantern()).sync()
    assert (len(result.findings), result.dead_letters, result.error) == (1, (), None)


def test_the_shown_connector_of_the_sdk_loses_nothing() -> None:
    """With a service in the place of the `fetch` that the page leaves to its reader."""
    connector, test = blocks(ROOT / "sdk" / "python" / "README.md", "python")
    login = {"id": "e0", "created_at": "2026-01-05T09:00:00Z", "email": "ada@example.com"}
    replies = {"/account": {"name": "Acme"}, "/logins?page=1": [login], "/logins?page=2": []}
    space: dict[str, Any] = {"__name__": "shown", "fetch": lambda _context, path: replies[path]}
    for source in (connector, test):
        exec(compile(source, "sdk/python/README.md", "exec"), space)  # noqa: S102 - as above
    space["test_no_login_is_lost"]()


def test_the_shown_tests_pass() -> None:
    source = blocks(DOCS / "how-to" / "test-a-plugin.md", "python")[0]
    space: dict[str, Any] = {"__name__": "shown"}
    exec(compile(source, "test-a-plugin.md", "exec"), space)  # noqa: S102 - as above
    tests = [value for key, value in space.items() if key.startswith("test_")]
    assert len(tests) > 1
    for test in tests:
        test()


# ── words ─────────────────────────────────────────────────────────────────────────────────────────


@every_page
def test_no_page_names_a_package_index_or_a_place_on_this_machine(page: Path) -> None:
    hosts = [".".join(parts) for parts in (
        ("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "com"), ("crates", "io"),
        ("golang", "org"), ("rubygems", "org"), ("docker", "io"),
    )]  # fmt: skip
    text = page.read_text(encoding="utf-8")
    assert [host for host in hosts if host in text] == []
    assert str(ROOT) not in text
    assert str(Path.home()) + "/" not in text


@every_written_page
def test_pages_end_in_one_line_feed_and_have_one_title(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert len(re.findall(r"^# ", prose(page), re.MULTILINE)) == 1


def test_the_page_on_the_sandbox_names_every_reason_of_the_door() -> None:
    page = (DOCS / "explanation" / "sandbox.md").read_text(encoding="utf-8")
    assert {code for code in REASONS if f"`{code}`" not in page} == set()

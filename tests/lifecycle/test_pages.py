"""Every code block of the documents is executed as it is printed, or says why it is not.

The console blocks of the how-to pages are typed into one shell, by somebody who has done the
tutorial. What differs from what is printed: ports, the address of a service that answers, days that
have to be ahead, and questions that a terminal would ask are answered by `--yes`. Commands are
forked (`typed.py`), and a new project locks no dependencies, which are ten megabytes to build, sign
and install again in each page: `test_tutorial.py` types the same into a shell that starts each
command, with all that a new project locks.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from aperio_cli import clock
from aperio_cli.models.manifest import Manifest
from tests.lifecycle.plugins import IMPORTING_FROM_HERE
from tests.lifecycle.test_tutorial import _AWAIT, environment, fits, free_port
from tests.lifecycle.test_tutorial import steps as tutorial_steps
from tests.lifecycle.typed import typed_aperio

ROOT = Path(__file__).resolve().parents[2]
READERS_HOME = "/home/you"
DEADLINE_S = 280
END = "-- end of"
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_STATUS = re.compile(r"^  code  \S+ \(exit (\d+)\)$")
PAGES = [
    "README.md", "CONTRIBUTING.md", "plugins/box/README.md", "plugins/jsonl-file/README.md",
    "plugins/nats-jetstream/README.md", "plugins/aperio-postgres/README.md",
    "sdk/go/README.md", "sdk/python/README.md",
    *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").rglob("*.md"))),
]  # fmt: skip

# ── what is executed elsewhere, and what is not ───────────────────────────────────────────────────

WHOLE_PAGES = {
    "docs/tutorial.md": "tests/lifecycle/test_tutorial.py",
    "docs/reference/commands.md": "tests/lifecycle/test_examples.py",
}
"""Pages all of whose blocks one test executes."""

ELSEWHERE = {
    ("README.md", 1): "Makefile: CI runs both targets",
    ("README.md", 2): "tests/contract/test_docs.py",
    ("CONTRIBUTING.md", 0): "Makefile: CI runs these targets",
    ("docs/reference/sdk-python.md", 0): "tests/contract/test_docs.py",
    ("docs/reference/sdk-python.md", 1): "tests/contract/test_docs.py",
    ("sdk/go/README.md", 0): "tests/interop/test_go_sdk.py",
    ("sdk/python/README.md", 0): "tests/contract/test_docs.py",
    ("sdk/python/README.md", 1): "tests/contract/test_docs.py",
    ("docs/how-to/install-aperio.md", 0): "tests/contract/test_release.py",
    ("docs/how-to/load-plugins-in-a-go-server.md", 0): "tests/interop/test_go_host.py",
    ("docs/reference/control-api.md", 0): "tests/interop/test_go_callers.py",
    ("docs/reference/control-api.md", 1): "tests/interop/test_go_callers.py",
    ("docs/how-to/mirror-a-registry.md", 0): "tests/lifecycle/test_examples.py",
    ("docs/how-to/mirror-a-registry.md", 2): "tests/lifecycle/test_examples.py",
    ("docs/how-to/refresh-trust-roots.md", 1): "tests/lifecycle/test_trust_refresh.py",
    ("docs/how-to/refresh-trust-roots.md", 2): "tests/lifecycle/test_trust_refresh.py",
    ("docs/how-to/run-a-host.md", 6): "tests/unit/test_serving_unit.py",
    ("docs/how-to/send-events-to-a-destination.md", 0): "tests/lifecycle/test_forwarding.py",
    ("docs/how-to/send-events-to-a-destination.md", 1): "tests/lifecycle/test_forwarding.py",
    ("docs/how-to/send-events-to-a-destination.md", 2): "tests/interop/test_jsonl_file.py",
    ("docs/how-to/send-events-to-a-destination.md", 3): "tests/interop/test_jsonl_file.py",
    ("docs/how-to/sign-in-ci.md", 0): "tests/lifecycle/test_signing_everywhere.py",
    ("docs/how-to/sign-in-ci.md", 3): "tests/lifecycle/test_signing_everywhere.py",
    ("docs/how-to/sign-in-ci.md", 4): "tests/templates/test_release_workflows.py",
    ("docs/how-to/sign-with-your-account.md", 0): "tests/lifecycle/test_signing_everywhere.py",
    ("docs/how-to/sign-with-your-account.md", 1): "tests/lifecycle/test_signing_everywhere.py",
    ("docs/how-to/sign-with-your-account.md", 2): "tests/lifecycle/test_signing_everywhere.py",
    ("docs/how-to/test-a-plugin.md", 0): "tests/templates/test_release_workflows.py",
    ("docs/how-to/test-a-plugin.md", 1): "tests/contract/test_docs.py",
    ("docs/how-to/trust-a-publisher.md", 0): "tests/lifecycle/test_trust_commands.py",
    ("docs/how-to/trust-a-publisher.md", 6): "tests/lifecycle/test_examples.py",
    ("docs/how-to/use-a-private-sigstore.md", 0): "tests/lifecycle/test_trust_commands.py",
    ("docs/how-to/use-a-private-sigstore.md", 1): "tests/lifecycle/test_trust_refresh.py",
    ("docs/how-to/use-a-private-sigstore.md", 4): "tests/lifecycle/test_trust_commands.py",
    ("docs/how-to/use-a-private-sigstore.md", 5): "tests/lifecycle/test_signing_everywhere.py",
    ("docs/how-to/use-a-private-sigstore.md", 6): "tests/lifecycle/test_signing_everywhere.py",
    ("docs/reference/events.md", 5): "tests/lifecycle/test_choosing.py",
    ("docs/reference/events.md", 6): "tests/lifecycle/test_forwarding.py",
    ("docs/reference/store.md", 1): "tests/lifecycle/test_system_store.py",
    ("docs/reference/sigstore-conformance.md", 0): "tests/interop/test_sigstore_conformance.py",
    ("plugins/box/README.md", 1): "Makefile: `make test` runs these tests",
    ("plugins/jsonl-file/README.md", 0): "tests/lifecycle/test_forwarding.py",
    ("plugins/jsonl-file/README.md", 1): "tests/interop/test_jsonl_file.py",
    ("plugins/aperio-postgres/README.md", 0): "tests/interop/test_aperio_postgres.py",
    ("plugins/aperio-postgres/README.md", 1): "tests/interop/test_aperio_postgres_cursor.py",
    ("plugins/aperio-postgres/README.md", 2): "tests/interop/test_aperio_postgres.py",
    ("plugins/nats-jetstream/README.md", 0): "tests/interop/test_nats_jetstream.py",
    ("plugins/nats-jetstream/README.md", 1): "tests/interop/test_nats_jetstream.py",
}
"""Blocks that other tests execute, or that need what no test may touch: accounts, CI services."""

DRAWN = {
    ("docs/explanation/architecture.md", 0): "a picture",
    ("docs/explanation/local-trust-domain.md", 0): "a list of files",
    ("docs/reference/artifact.md", 0): "a list of files",
    ("docs/reference/manifest.md", 1): "an .aperioignore; tests/unit/test_building_contents.py",
    ("docs/reference/store.md", 0): "a list of files",
    ("docs/reference/store.md", 3): "the form of a line",
    ("plugins/box/README.md", 0): "needs an account at Box; tests/interop runs Box on a stub",
}
"""Blocks that nobody can execute."""

# ── what is typed here ────────────────────────────────────────────────────────────────────────────

OWN = "sed -i 's|https://api.example.com|{url}|' connector.py"
PUBLIC = (
    "sed -i 's|{url}|https://api.lantern.io|' connector.py; "
    "sed -i 's|api.example.com:443|api.lantern.io:443|' manifest.yaml"
)
# As `lighten` of `plugins.py` does it.
_IMPORTING = IMPORTING_FROM_HERE.replace("\n", r"\n")
LIGHTEN = (
    "(cd {project} && : >requirements.lock && "
    "sed -i 's/^dependencies = .*/dependencies = []/' pyproject.toml && "
    f"sed -i 's|^from aperio_plugin |{_IMPORTING}&|' plugin.py)"
)
PYTHON = (
    f"mkdir -p .venv/bin; printf '#!/bin/sh\\nexec {sys.executable} \"$@\"\\n' >.venv/bin/python"
)


@dataclass(frozen=True)
class Typed:
    """A page whose console blocks are typed.

    Attributes:
        before: what the reader has done before a block, by its number.
        after: what the reader does at the end of the page.
    """

    before: dict[int, str] = field(default_factory=dict)
    after: str = "true"


RUN = (
    "mkdir -p ~/.config/aperio; cat >>~/.config/aperio/config.toml <<'END'\n"
    '[[run]]\nplugin = "acme/lantern-connector"\n'
    'settings.base_url = "{url}"\nsettings.api_key = "env:LANTERN_KEY"\nEND'
)
READY_AGAIN = (
    "timeout 60 bash -c \"until aperio host status | grep -q ' READY '; do sleep 0.1; done\""
)
END_HOST = "kill $host; wait $host"
# A newer version of the plugin, which asks for more, in the registry of the page before.
NEWER = (
    "cp -r aperio-plugin-lantern newer; cd newer; rm -r dist; "
    "sed -i '/^version/s/0.1.0/0.2.0/' manifest.yaml pyproject.toml; "
    r"sed -i 's/^\( *\)- api.example.com:443/&\n\1- api.lantern.io:443/; s/256MiB/512MiB/' "
    "manifest.yaml; cd ..; aperio plugin build newer; aperio plugin sign newer/dist --trust local; "
    "aperio registry add newer/dist --dir registry; aperio registry build --dir registry; "
    "aperio registry sign --dir registry --trust local; "
    "export APERIO_REGISTRY=~/plugins/registry/public"
)
AS_BEFORE = (
    "cd ~/plugins; rm -rf newer aperio-deployment; unset APERIO_REGISTRY; "
    "aperio plugin remove acme/lantern-connector@0.2.0 --yes"
)

TYPED = {
    "docs/how-to/keep-a-registry.md": Typed(),
    "docs/how-to/update-plugins.md": Typed(
        {0: NEWER, 4: "mkdir aperio-deployment; git -C aperio-deployment init -q"}, after=AS_BEFORE
    ),
    "docs/how-to/say-what-a-plugin-may-do.md": Typed(),
    "docs/how-to/give-settings-and-secrets.md": Typed(),
    "docs/how-to/run-a-host.md": Typed({1: RUN, 7: READY_AGAIN}, after=END_HOST),
    "docs/reference/store.md": Typed(),
    "docs/how-to/develop-in-place.md": Typed(
        {
            0: f"cd aperio-plugin-lantern; {OWN}; cd ..",
            2: f"cd aperio-plugin-lantern; {PYTHON}; chmod +x .venv/bin/python",
        }
    ),
    "docs/how-to/test-a-plugin.md": Typed({2: f"cd aperio-plugin-lantern; {PUBLIC}"}),
    "docs/how-to/sign-in-ci.md": Typed(
        {
            6: "cd aperio-plugin-lantern; git init -q; git add LICENSE; "
            "git -c user.name=a -c user.email=a@b commit -qm x"
        }
    ),
    "README.md": Typed(
        {
            0: 'export HOME=$you/box KEY=$LANTERN_KEY; mkdir ~; cd; sed \'s/"action": action, "at"/'
            '"type": action, "time"/; s/{port}/{box_port}/\' $you/plugins/lantern.py >service.py; '
            "python3 service.py & {await_box}"
        }
    ),
    "docs/how-to/read-a-refusal.md": Typed(
        {
            0: "mkdir -p ~/dist; cp ~/plugins/*lantern/dist/*.tar.gz ~/dist; cd ~",
            1: "export HOME=$you/new; mkdir ~",
            2: "export HOME=$you; cd ~/dist; aperio plugin remove acme/lantern-connector --yes",
        }
    ),
    "docs/how-to/trust-a-publisher.md": Typed({1: "export HOME=$you/box"}),
    "docs/how-to/install-aperio.md": Typed(),
    "docs/how-to/refresh-trust-roots.md": Typed(),
    "docs/reference/artifact.md": Typed({1: "cd aperio-plugin-lantern"}),
    "docs/reference/events.md": Typed(),
}
"""In the order in which they are typed."""


REFUSING = {("docs/how-to/develop-in-place.md", 2)}
"""Blocks whose command ends with status 1, and shows no code of ours."""


@dataclass(frozen=True)
class Step:
    """A command of a page, and the lines that it shows below."""

    page: str
    block: int
    command: str
    shown: list[str]

    @property
    def status(self) -> int:
        """What it ends with."""
        if (self.page, self.block) in REFUSING:
            return 1
        found = [match[1] for line in self.shown if (match := _STATUS.match(line))]
        return int(found[0]) if found else 0


def blocks(page: str) -> list[tuple[str, str]]:
    """The fenced blocks of a page: language and contents."""
    return _FENCE.findall((ROOT / page).read_text(encoding="utf-8"))


def steps(page: str, number: int) -> list[Step]:
    """The commands of a console block."""
    found: list[Step] = []
    for line in blocks(page)[number][1].replace("\\\n", "").splitlines():
        if line.startswith("$ "):
            found.append(Step(page, number, line.removeprefix("$ "), []))
        else:
            found[-1].shown.append(line)
    return found


def typed() -> list[tuple[str, Step]]:
    """What is typed, each step with what comes before it."""
    found: list[tuple[str, Step]] = []
    for page, how in TYPED.items():
        for number, (language, _) in enumerate(blocks(page)):
            if language == "console" and (page, number) not in ELSEWHERE:
                before = how.before.get(number, "true")
                first, *others = steps(page, number)
                found += [(before, first), *(("true", step) for step in others)]
    return found


@dataclass(frozen=True)
class Places:
    """What stands in the place of what is printed."""

    port: str
    box_port: str
    registry_port: str

    def settled(self, text: str) -> str:
        """A command or a file as it can be executed here."""
        soon = (clock.now() + timedelta(days=60)).date().isoformat()
        for printed, real in (
            ("https://api.example.com", f"http://127.0.0.1:{self.port}"),
            ("127.0.0.1:8080", f"127.0.0.1:{self.box_port}"),
            ("8438", self.registry_port),
            ("2027-01-31", soon),
        ):
            text = text.replace(printed, real)
        return text

    def printed(self, text: str) -> str:
        """A line as a page would print it."""
        return text.replace(self.registry_port, "8438")

    def filled(self, text: str) -> str:
        """What comes before a step."""
        values = {
            "port": self.port, "box_port": self.box_port, "url": f"http://127.0.0.1:{self.port}",
            "await_box": _AWAIT.format(port=self.box_port),
        }  # fmt: skip
        return re.sub(r"\{(\w+)\}", lambda match: values[match[1]], text)


def script(places: Places) -> str:
    """All that is typed: the tutorial up to what it installs, then the pages."""
    lines = ["you=$HOME", "cd ~/plugins", "python3 lantern.py &", _AWAIT.format(port=places.port)]
    for told in tutorial_steps():
        if told.command.startswith(("export", "aperio plugin init", "sed", "aperio trust")):
            lines.append(_run(places, told.command))
        elif told.command.startswith(("aperio plugin build", "aperio plugin sign")):
            lines.append(told.command.replace(" --check", ""))
    lines.append(f"echo '{END} the preparation'")
    page = ""
    for before, step in typed():
        if step.page != page:
            lines.append(TYPED[page].after if page else "true")
            page = step.page
            lines.append("export HOME=$you; cd ~/plugins")
        lines += [places.filled(before), "echo '-- begin'", _run(places, step.command)]
        lines.append(f'echo; echo "{END} {step.page} $?"'.replace("echo; echo", "echo"))
    return "\n".join([*lines, "kill $(jobs -p)"]) + "\n"


def _run(places: Places, command: str) -> str:
    command = places.settled(command)
    if "trust publisher add" in command or "trust publisher remove" in command:
        command += " --yes"
    if command.startswith("aperio plugin init"):
        project = command.split()[3].rpartition("/")[2]
        return f"{command}\n[ $? = 0 ] && {LIGHTEN.format(project=project)}"
    if command == "aperio host run":
        ready = "until grep -q ' is READY' $said; do sleep 0.1; done"
        awaited = f'timeout 30 bash -c "{ready}"'
        return f"export said=$(mktemp); {command} 2>$said & host=$!; {awaited}; cat $said"
    if "registry serve" in command:
        # Its address comes after it listens: waited for by its port, it could be ended in between.
        awaited = 'timeout 30 bash -c "until [ -s $said ]; do sleep 0.1; done"'
        served = f"export said=$(mktemp); {command} >$said & served=$!; {awaited}"
        return f"{served}; cat $said; kill $served; wait $served; true"
    return command


def play(home: Path, places: Places) -> list[tuple[int, list[str]]]:
    """Status and lines of each step."""
    folder = home / "plugins"
    folder.mkdir()
    tutorial = dict(reversed(blocks("docs/tutorial.md")))
    (folder / "lantern.py").write_text(tutorial["python"].replace("8437", places.port))
    settings = dict(blocks("docs/how-to/give-settings-and-secrets.md"))["toml"]
    (folder / "lantern.toml").write_text(places.settled(settings))
    typed_lines = script(places).encode()
    said = home / "said"  # a file, since services in the background would keep a pipe open
    known = environment(home)
    with (
        typed_aperio(home / "bin" / "aperio"),
        said.open("wb") as output,
        subprocess.Popen(  # waits for it at the end, killed or not
            ["bash", "--norc"], cwd=folder, env=known, start_new_session=True,
            stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT,
        ) as shell,
    ):  # fmt: skip
        try:
            shell.communicate(typed_lines, timeout=DEADLINE_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
    text = said.read_text().replace(f"{home}/box", READERS_HOME)
    _, _, text = text.replace(str(home), READERS_HOME).partition(f"{END} the preparation\n")
    found = re.findall(rf"^-- begin\n(.*?)^{END} \S+ (\d+)$", text, re.MULTILINE | re.DOTALL)
    return [(int(status), said.splitlines()) for said, status in found]


def in_order(shown: list[str], printed: list[str]) -> str:
    """The first line of a page that was not printed, after those before it; empty: all were."""
    rest = iter(printed)
    for line in shown:
        if line.strip() not in {"", "..."} and not any(_is_shown(line, other) for other in rest):
            return line
    return ""


def _is_shown(shown: str, printed: str) -> bool:
    """Whether a line is as shown, or as far as it is shown: `"id":"21e5…"`."""
    parts = map(re.escape, shown.split("…"))
    return fits(shown, printed) or re.fullmatch(".*".join(parts), printed) is not None


@pytest.mark.skipif(platform.machine() != "x86_64", reason="pages name a linux_amd64 artifact")
@pytest.mark.timeout(DEADLINE_S + 20)
def test_pages_show_what_their_commands_print(tmp_path: Path) -> None:
    places = Places(free_port(), free_port(), free_port())
    played = play(tmp_path, places)
    wrong = []
    for (_, step), (status, printed) in zip(typed(), played, strict=False):
        missing = in_order(step.shown, [*map(places.printed, printed)])
        if status != step.status or missing:
            wrong.append(f"{step.page}: $ {step.command}\nstatus {status}\nmissing: {missing}\n"
                         + "\n".join(printed))  # fmt: skip
    assert not wrong, "\n\n".join(wrong)
    assert len(played) == len(typed())


# ── nothing is left out ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_executed_somewhere_or_says_why_not(page: str) -> None:
    """Data is read by tests/contract/test_docs.py; YAML here."""
    for number, (language, text) in enumerate(blocks(page)):
        place = WHOLE_PAGES.get(page) or ELSEWHERE.get((page, number), "")
        is_typed = page in TYPED and language == "console"
        is_read = language in {"json", "toml", "yaml"}
        if language == "yaml":
            assert yaml.safe_load(text)
        assert place or is_typed or is_read or (page, number) in DRAWN, (page, number, text)
        if place.startswith("tests/"):
            assert (ROOT / place).is_file(), place


def test_no_reason_is_left_of_a_block_that_is_gone() -> None:
    for page, number in (*ELSEWHERE, *DRAWN):
        assert number < len(blocks(page)), (page, number)
    for page, how in TYPED.items():
        assert all(blocks(page)[number][0] == "console" for number in how.before), page


def test_the_shown_manifest_is_one() -> None:
    shown = dict(blocks("docs/reference/manifest.md"))["yaml"]
    assert str(Manifest.parse(shown.encode()).id) == "acme/box-connector"

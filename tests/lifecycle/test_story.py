"""The life of a plugin, told through the command line; every step the real thing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aperio_cli import clock
from aperio_cli.host.sandbox import unconfined
from tests.lifecycle.cli import Aperio, Done, finish
from tests.lifecycle.conftest import author, type_all
from tests.lifecycle.hello_api import KEY, HelloApi
from tests.lifecycle.plugins import PLUGIN, artifact_of, project_of, sdk_program, simulating
from tests.sharing import made_once
from tests.simulators.box import (
    CLIENT_ID,
    CLIENT_SECRET,
    ENTERPRISE_ID,
    BoxOptions,
    BoxSimulator,
    make_events,
)

if TYPE_CHECKING:
    from tests.lifecycle.conftest import Workshop

HELLO = "acme/hello-connector"
BOX = "aperio/box-connector"


def settings(*pairs: str) -> list[str]:
    return [word for pair in pairs for word in ("--set", pair)]


def ids_of(done: Done) -> list[str]:
    """Ids of the events on stdout; a line that is something else fails."""
    assert all(line["type"] == "event" for line in done.lines)
    return [line["envelope"]["id"] for line in done.lines]


# ── the author ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_an_author_goes_from_nothing_to_a_signed_artifact(stranger: Aperio) -> None:
    """In one process; tests/lifecycle/test_tutorial.py types the same way, quickly enough."""
    made = stranger("plugin", "init", "github.com/acme/aperio-plugin-hello")
    project = stranger.folder / "aperio-plugin-hello"
    assert made.out == f"made `{HELLO}` in {project}\n"
    assert f"`aperio plugin build {project}`" in made.err

    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=project, capture_output=True, timeout=60, check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert tests.returncode == 0, tests.stdout

    built = stranger("plugin", "build", project, "--check")
    artifact = project / "dist" / "hello-connector_0.1.0_linux_amd64.tar.gz"
    assert built.out.startswith(f"{artifact}\n  sha256:")
    assert "the same bytes" in built.err

    stranger("trust", "local", "init")
    signed = stranger("plugin", "sign", project / "dist", "--trust", "local")
    assert signed.out.startswith(f"{artifact}.sigstore.json\n  signed by alice@local\n")
    assert f"{artifact}.intoto.jsonl\n  provenance, bill of materials\n" in signed.out
    assert "alice@local" in stranger("plugin", "verify", artifact).out


def test_an_author_runs_the_folder_unsigned_and_is_told_so(
    aperio: Aperio, hello: Path, hello_api: HelloApi
) -> None:
    run = ["plugin", "run", f"./{hello.name}"]
    access = settings(f"base_url={hello_api.url}", f"api_key={KEY}")
    shown = aperio(*run, "schema")
    synced = aperio(*run, "sync", *access)
    assert "development" in shown.err
    assert "development" in synced.err
    assert len(set(ids_of(synced))) == 450
    assert aperio("plugin", "list").out == "no plugins are installed\n"


# ── publishing, and two ways to install ───────────────────────────────────────────────────────────


def test_a_published_plugin_is_verified_installed_and_synced_from_a_folder(
    aperio: Aperio, hello: Path, hello_api: HelloApi
) -> None:
    aperio("registry", "init", "registry")
    aperio("registry", "add", hello / "dist", "--dir", "registry")
    aperio("registry", "build", "--dir", "registry")
    registry = aperio.folder / "registry" / "public"
    with aperio.unchanged():
        verified = aperio("plugin", "verify", HELLO, "--registry", registry)
    assert "it would be installed" in verified.err
    done = aperio("plugin", "install", HELLO, "--registry", registry)
    assert done.out == f"`{HELLO}` 0.1.0 installed (signed by alice@local)\n"
    assert "api.example.com:443" in done.err

    access = settings(f"base_url={hello_api.url}", f"api_key={KEY}")
    assert "hello.login" in aperio("plugin", "run", HELLO, "schema").out
    assert "the connection works" in aperio("plugin", "run", HELLO, "test", *access).out
    first = ids_of(aperio("plugin", "run", HELLO, *access))
    assert len(set(first)) == 450
    hello_api.count += 7
    assert len(ids_of(aperio("plugin", "run", HELLO, "sync", *access))) == 7
    assert len(ids_of(aperio("plugin", "run", HELLO, "sync", "--full", *access))) == 457


def test_box_is_installed_over_http_and_synced_while_its_token_expires(
    aperio: Aperio, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    aperio("registry", "init", "registry")
    aperio("registry", "add", workshop.box, "--dir", "registry")
    aperio("registry", "build", "--dir", "registry")
    server = aperio.start("registry", "serve", "registry", stdin=subprocess.PIPE)
    assert server.stdout
    url = server.stdout.readline().decode().strip()
    aperio("plugin", "install", BOX, "--registry", url)
    monkeypatch.setattr(unconfined, "subprocess", subprocess)  # it starts, with its own gRPC
    served = finish(server)  # its stdin is closed
    assert (served.status, served.err) == (0, "")

    monkeypatch.setenv("BOX_SECRET", CLIENT_SECRET)
    with BoxSimulator(make_events(600), BoxOptions(max_chunk=100)) as box:
        access = settings(
            f"base_url={box.url}", f"enterprise_id={ENTERPRISE_ID}", f"client_id={CLIENT_ID}",
            "client_secret=env:BOX_SECRET",
        )  # fmt: skip
        assert "the connection works" in aperio("plugin", "run", BOX, "test", *access).out
        box.expire_tokens(after_chunks=2)
        synced = aperio("plugin", "run", BOX, *access)
        assert len(set(ids_of(synced))) == 600
        assert "token" in synced.err
        assert CLIENT_SECRET not in synced.out + synced.err
        assert aperio("plugin", "run", BOX, *access).out == ""


def test_a_stream_with_json_has_events_checkpoints_and_one_summary_at_its_end(
    installed: Aperio, hello_api: HelloApi
) -> None:
    access = settings(f"base_url={hello_api.url}", f"api_key={KEY}")
    lines = installed("plugin", "run", HELLO, "--json", *access).lines
    types = [line["type"] for line in lines]
    assert types.count("event") == 450
    assert types.count("checkpoint") == 3
    assert types[-1] == "summary"
    assert lines[-1]["events"] == 450


# ── the other kinds ───────────────────────────────────────────────────────────────────────────────


def install_sdk_plugin(aperio: Aperio, kind: str) -> str:
    name = f"acme/{kind}"
    artifact = artifact_of(
        aperio.folder / "dist", sdk_program(kind), id=name, kind=kind, provider="STUB"
    )
    aperio("plugin", "sign", artifact, "--trust", "local")
    aperio("plugin", "install", artifact)
    return name


def test_a_remediation_acts_only_when_somebody_approved(aperio: Aperio) -> None:
    name = install_sdk_plugin(aperio, "remediation")
    assert "stub.suspend" in aperio("plugin", "run", name, "--json").out
    act = ("plugin", "run", name, "execute", "--action", "stub.suspend", "--target", "u1")
    told = aperio.refuses(*act, code="consent-missing", status=1)
    assert "`--dry-run`" in told.next[0]
    dry = aperio(*act, "--dry-run")
    assert dry.out.startswith("would change\n")
    approved = ("--approve", "--approval-sha256", dry.out.split()[-1].removesuffix("`"))
    assert aperio(*act, *approved).out.startswith("changed\n")
    other = (*act[:-1], "u2", *approved)
    told = aperio.refuses(*other, code="approval-mismatch", status=3, noted=True)
    assert "something else was approved" in told.what
    assert aperio(*act, "--approve").out == 'changed\n  status: "active" -> "suspended"\n'
    failed = aperio(*act[:-1], "nobody", "--approve", status=5)
    assert "there is no such user" in failed.out
    told = aperio.refuses(
        *act[:5], "stub.erase", *act[6:], "--approve", code="usage", status=2, noted=True
    )
    assert told.why == "expected stub.suspend"
    odd = (*act, "--approve", "--parameter", "force=1")
    told = aperio.refuses(*odd, code="plugin-config-invalid", status=2, noted=True)
    assert told.next[-1].startswith("the operation `capabilities`")


def events(*ids: str) -> bytes:
    of = {"organization_id": "local", "kind": "event", "record": {}}
    lines = [json.dumps({"id": one} | of) for one in ids]
    return "".join(line + "\n" for line in lines).encode()


def test_a_destination_takes_lines_and_says_what_became_of_each(aperio: Aperio) -> None:
    name = install_sdk_plugin(aperio, "destination")
    deliver = ("plugin", "run", name)
    done = feed(aperio, deliver, events("x0", "x2"))
    assert (done.status, done.out) == (0, "2 accepted, 0 rejected, 0 to try again\n")
    done = feed(aperio, deliver, events("x0", "x1"))
    assert done.status == 1
    assert "x1  rejected  it is the middle one" in done.out


def test_a_line_that_is_no_envelope_is_one_reject_and_the_next_ones_are_delivered(
    aperio: Aperio,
) -> None:
    name = install_sdk_plugin(aperio, "destination")
    lines = [b"\xef\xbb\xbf" + events("x0", "x2"), b"not json\n", b"x" * 9_000_000 + b"\n"]
    done = feed(aperio, ("plugin", "run", name), b"".join([*lines, events("x3")]))
    assert done.status == 1
    first, *reasons = done.out.splitlines()
    assert first == "3 accepted, 2 rejected, 0 to try again"
    assert reasons == [
        "  line 3  rejected  expected `{` at character 0",
        "  line 4  rejected  expected a line of at most 4194304 bytes",
    ]


def test_a_destination_without_an_input_says_so(aperio: Aperio) -> None:
    name = install_sdk_plugin(aperio, "destination")
    closed = ["sh", "-c", 'exec "$@" <&-', "sh"]
    done = aperio.run("plugin", "run", name, prefix=closed)
    assert done.status == 2
    assert "error: nothing was delivered: stdin is closed" in done.err


def feed(aperio: Aperio, words: tuple[str, ...], lines: bytes) -> Done:
    process = aperio.start(*words, stdin=subprocess.PIPE)
    out, err = process.communicate(lines, timeout=30)
    return Done(process.returncode, out.decode(), err.decode())


def test_a_plugin_that_locks_no_dependency_is_built_installed_and_run(aperio: Aperio) -> None:
    project = project_of(aperio.folder / "project", simulating("bare"))
    aperio("plugin", "build", project)
    aperio("plugin", "sign", project / "dist", "--trust", "local")
    aperio("plugin", "install", next((project / "dist").glob("*.tar.gz")))
    assert aperio("plugin", "run", PLUGIN, "schema", "--json").data["name"] == "Bare"


# ── versions ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="session")
def made_second(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The next version of the scaffolded plugin, built and signed; tests copy it."""

    def make(folder: Path) -> None:
        project = Path(shutil.copytree(workshop.hello, folder / workshop.hello.name))
        shutil.rmtree(project / "dist")
        for name, form in (("manifest.yaml", "version: {}"), ("pyproject.toml", 'version = "{}"')):
            text = (project / name).read_text()
            assert form.format("0.1.0") in text
            (project / name).write_text(text.replace(form.format("0.1.0"), form.format("0.2.0")))
        with author(folder, Path(shutil.copytree(workshop.home, folder / "home"))):
            type_all(
                ["plugin", "build", str(project)],
                ["plugin", "sign", str(project / "dist"), "--trust", "local"],
            )

    return made_once(tmp_path_factory, "second", make) / workshop.hello.name / "dist"


@pytest.fixture
def second_version(aperio: Aperio, made_second: Path) -> Path:
    """The artifact of that version, in the working folder."""
    shutil.copytree(made_second, aperio.folder / "second")
    return aperio.folder / "second" / "hello-connector_0.2.0_linux_amd64.tar.gz"


def test_a_second_version_becomes_current_and_the_first_can_still_be_named(
    installed: Aperio, second_version: Path, registry: Path
) -> None:
    installed("registry", "add", second_version, "--dir", registry.parent)
    installed("registry", "build", "--dir", registry.parent)
    done = installed("plugin", "install", HELLO, "--registry", registry)
    assert f"`{HELLO}` 0.2.0 installed, in place of 0.1.0" in done.out

    rows = installed("plugin", "list", "--json").data["plugins"]
    assert [(row["version"], row["current"]) for row in rows] == [("0.1.0", False), ("0.2.0", True)]
    for name, version in ((HELLO, "0.2.0"), (f"{HELLO}@0.1.0", "0.1.0")):
        assert installed("plugin", "run", name, "schema", "--json").data["name"] == "Hello"
        rows = installed("plugin", "list", "--json").data["plugins"]
        assert {row["version"] for row in rows if row["last_check"]} >= {version}


def test_one_version_is_removed_and_the_other_stays(
    installed: Aperio, second_version: Path
) -> None:
    installed("plugin", "install", second_version)
    assert installed("plugin", "remove", f"{HELLO}@0.1.0").out == f"removed `{HELLO}` 0.1.0\n"
    [row] = installed("plugin", "list", "--json").data["plugins"]
    assert (row["version"], row["current"]) == ("0.2.0", True)
    assert installed("plugin", "run", HELLO, "schema").status == 0


def test_several_are_removed_or_none_when_one_is_not_there(installed: Aperio) -> None:
    with installed.unchanged():
        told = installed.refuses(
            "plugin", "remove", HELLO, "acme/helo-connector", code="not-installed", status=1
        )
    assert told.next == (f"did you mean `{HELLO}`?", "`aperio plugin list`")
    assert installed("plugin", "remove", HELLO, HELLO).out == f"removed `{HELLO}` 0.1.0\n"


def test_what_is_not_installed_is_named_beside_what_is(aperio: Aperio, hello: Path) -> None:
    artifact = next((hello / "dist").glob("*.tar.gz"))
    done = aperio("plugin", "install", artifact, "./no.tar.gz", "--yes", status=1)
    assert "`no.tar.gz` cannot be read; it was not installed" in done.err
    assert f"`{HELLO}` 0.1.0 installed" in done.err


def test_installing_again_says_so_and_changes_nothing(installed: Aperio, hello: Path) -> None:
    artifact = next((hello / "dist").glob("*.tar.gz"))
    with installed.unchanged():
        assert "was installed already" in installed("plugin", "install", artifact).out


def counting(aperio: Aperio) -> Path:
    """A connector that gives two events more at each sync, signed and installed."""
    artifact = artifact_of(aperio.folder / "dist", simulating("bare"))
    aperio("plugin", "sign", artifact, "--trust", "local")
    aperio("plugin", "install", artifact)
    return artifact


def synced(aperio: Aperio) -> list[str]:
    """Sync that connector; what is new, by its id in the service."""
    lines = aperio("plugin", "run", PLUGIN).lines
    return [line["envelope"]["source_event_id"] for line in lines]


def test_a_removed_plugin_keeps_its_state_until_it_is_purged(aperio: Aperio) -> None:
    artifact = counting(aperio)
    assert synced(aperio) == ["e0", "e1"]
    aperio("plugin", "remove", PLUGIN)
    aperio("plugin", "install", artifact)
    assert synced(aperio) == ["e2", "e3"]
    aperio("plugin", "remove", PLUGIN, "--purge")
    assert not list((aperio.home / "plugins").iterdir())
    aperio("plugin", "install", artifact)
    assert synced(aperio) == ["e0", "e1"]


def test_what_a_removed_plugin_stored_is_read_by_no_other_signer_until_it_is_named(
    aperio: Aperio,
) -> None:
    signed = counting(aperio)
    (aperio.folder / "unsigned").mkdir()
    unsigned = shutil.copy(signed, aperio.folder / "unsigned")
    until = (clock.now() + timedelta(days=2)).date().isoformat()
    exception = ("--allow-unsigned", "--until", until, "--reason", "trying it out")
    begins = f"`{PLUGIN}` begins without stored state: what is kept belongs to what alice@local"

    assert synced(aperio) == ["e0", "e1"]
    aperio("plugin", "remove", PLUGIN)
    assert begins in aperio("plugin", "install", unsigned, *exception).err
    assert synced(aperio) == ["e0", "e1"]
    aperio("plugin", "remove", PLUGIN)
    assert "stored state" not in aperio("plugin", "install", signed).err
    assert synced(aperio) == ["e2", "e3"]
    aperio("plugin", "remove", PLUGIN)
    named = ("--accept-new-signer", "unsigned")
    assert "stored state" not in aperio("plugin", "install", unsigned, *exception, *named).err
    assert synced(aperio) == ["e4", "e5"]


def test_purging_drops_what_was_left_by_a_removal_before(aperio: Aperio) -> None:
    counting(aperio)
    synced(aperio)
    aperio("plugin", "remove", PLUGIN)
    done = aperio("plugin", "remove", PLUGIN, "--purge")
    assert done.out == f"dropped the stored state of `{PLUGIN}`, which is not installed\n"
    aperio.refuses("plugin", "remove", PLUGIN, "--purge", code="not-installed", status=1)


def test_purging_what_cannot_be_read_removes_nothing(installed: Aperio) -> None:
    (installed.home / "state.db").write_bytes(b"not a database at all, and long enough" * 100)
    (installed.home / "state.db").chmod(0o600)
    refused = installed.refuses(
        "plugin", "remove", HELLO, "--purge", code="state-unreadable", status=1
    )
    database = f"`{installed.home}/state.db`"
    assert refused.what == f"`{HELLO}` was not removed: {database} is damaged; it was left as it is"
    assert len(refused.next) == 1
    assert installed("plugin", "list", "--json").data["plugins"]
    assert installed("plugin", "remove", HELLO).out == f"removed `{HELLO}` 0.1.0\n"


def test_a_running_plugin_is_not_removed(dripping: Aperio) -> None:
    running = dripping.start("plugin", "run", PLUGIN)
    assert running.stdout
    assert json.loads(running.stdout.readline())["type"] == "event"
    refused = dripping.refuses(
        "plugin", "remove", PLUGIN, code="plugin-in-use", status=1, noted=True
    )
    assert "is running, and was left as it is" in refused.what
    running.terminate()
    assert finish(running).status == 143
    dripping("plugin", "remove", PLUGIN)


def test_an_installed_file_that_changed_is_named_and_reinstalling_repairs_it(
    installed: Aperio, hello: Path
) -> None:
    folder = installed.home / "plugins" / HELLO / "0.1.0" / "files"
    victim = next(path for path in sorted(folder.rglob("connector.py")))
    victim.write_text(victim.read_text() + "\nprint('owned')\n")
    refused = installed.refuses(
        "plugin", "run", HELLO, "schema", code="files-changed", status=3, noted=True
    )
    assert victim.relative_to(folder).as_posix() in refused.why
    checked = installed("plugin", "list", "--check", status=3)
    assert "files-changed" in checked.out
    installed("plugin", "install", next((hello / "dist").glob("*.tar.gz")))
    assert installed("plugin", "run", HELLO, "schema").status == 0

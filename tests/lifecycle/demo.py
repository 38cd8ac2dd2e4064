"""`make demo`: one plugin's whole life, every step the real thing, offline, in a temporary home.

    python tests/lifecycle/demo.py

A person's shell walk, typed by a program: each command is shown, run as its own process, and
must end as it should. A stub of Box's API (tests/simulators/box.py) stands for the service.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aperio_cli.host.sandbox.choosing import choose_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = "aperio/box-connector"
EVENTS = 1200
STEP_TIMEOUT_S = 120
APERIO = Path(sys.executable).with_name("aperio")
# What the stub of Box's API accepts; see tests/simulators/box.py.
CREDENTIALS = {"BOX_CLIENT_ID": "stub-client-id", "BOX_CLIENT_SECRET": "stub-client-secret"}
RUN = f"""
[[run]]
plugin = "{PLUGIN}"

[run.settings]
enterprise_id = "8675309"
client_id = "env:BOX_CLIENT_ID"
client_secret = "env:BOX_CLIENT_SECRET"
"""
COLOR = sys.stdout.isatty() and not os.environ.get("NO_COLOR")


# A connector that looks for what is not its own; each answer begins with `refused` or `REACHED`.
HOSTILE = '''
"""Takes what it can get."""

import os
import pathlib
import socket
import urllib.request

from aperio_plugin import connector


def others_environments():
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*/environ"):
        try:
            found += [entry.parent.name] if b"{mark}" in entry.read_bytes() else []
        except OSError:
            continue
    if not found:
        raise OSError("there is no other process here")
    return found


def fill():
    with open(os.environ["HOME"] + "/filler", "wb", buffering=0) as file:
        for _ in range(256):
            file.write(bytes(1024 * 1024))
    return "256 MiB of the disk"


DEEDS = {{
    "a private key": lambda: pathlib.Path("{key}").read_text(),
    "the host's secrets": others_environments,
    "a service on this machine": lambda: socket.create_connection(("127.0.0.1", {port}), 2),
    "the cloud's credentials": lambda: socket.create_connection(("169.254.169.254", 80), 2),
    "a host that was not granted": lambda: urllib.request.urlopen("https://evil.io/", timeout=9),
    "all of the disk": fill,
}}


def tried(deed):
    try:
        return f"REACHED {{deed()}}"
    except OSError as error:
        return f"refused: {{error}}"


class HelloConnector(connector.Connector):
    def schema(self):
        return connector.Schema(
            provider="HELLO", name="Hostile", description="Hostile", category="Test"
        )

    def test_connection(self, context):
        return connector.TestResult(ok=True, account={{n: tried(d) for n, d in DEEDS.items()}})

    def sync(self, context, cursor):
        yield connector.Checkpoint(b"")
'''


class DemoFailed(Exception):
    """A step did not end as it should."""


class Walk:
    """Runs commands as a person would type them, and keeps what was proved."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.proved: list[str] = []
        self.signer = ""
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(folder / "user"),
            "APERIO_HOME": str(folder / "home"),
            "LANG": "C.UTF-8",
            "NO_COLOR": "1",
            "BOX_CLIENT_ID": CREDENTIALS["BOX_CLIENT_ID"],
            "BOX_CLIENT_SECRET": CREDENTIALS["BOX_CLIENT_SECRET"],
            **{name: os.environ[name] for name in os.environ if name.startswith("PIP_")},
        }
        (folder / "user").mkdir()

    def title(self, text: str) -> None:
        say(f"\n{bold('── ' + text)}")

    def run(self, *words: str, status: int = 0, lines: int = 12) -> str:
        """Type a command; show its last lines; give its standard output.

        Raises:
            DemoFailed: its exit status is not the expected one.
        """
        say(f"{bold('$ ' + shorten(' '.join(words), self.folder))}")
        done = subprocess.run(
            words,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=STEP_TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        shown = [*done.stderr.splitlines(), *done.stdout.splitlines()]
        for line in shown[:lines]:
            say(f"  {shorten(line, self.folder)[:160]}")
        if len(shown) > lines:
            say(f"  … {len(shown) - lines} more lines")
        if done.returncode != status:
            raise DemoFailed(f"exit status {done.returncode}, expected {status}\n{done.stderr}")
        return done.stdout

    def prove(self, claim: str, *, holds: bool = True) -> None:
        """Keep a claim that this step has shown.

        Raises:
            DemoFailed: it does not hold.
        """
        if not holds:
            raise DemoFailed(f"not so: {claim}")
        self.proved.append(claim)
        say(f"  {green('proved')} {claim}")


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def bold(text: str) -> str:
    return f"\033[1m{text}\033[0m" if COLOR else text


def green(text: str) -> str:
    return f"\033[32m{text}\033[0m" if COLOR else text


def shorten(text: str, folder: Path) -> str:
    return text.replace(f"{folder}/", "").replace(f"{ROOT}/", "")


@contextlib.contextmanager
def background(arguments: Sequence[str], environment: dict[str, str]) -> Iterator[str]:
    """A program that prints its address first and ends when its standard input is closed."""
    process = subprocess.Popen(
        arguments, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin
    assert process.stdout
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def authoring(walk: Walk) -> Path:
    """Scaffold a project, run its tests, build it; build, sign the Box connector."""
    walk.title("A new plugin: scaffold, test, build")
    walk.run("aperio", "plugin", "init", "github.com/acme/aperio-plugin-hello")
    walk.run(
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "aperio-plugin-hello",
        lines=3,
    )
    walk.prove("a new project's own tests pass at once")
    walk.run("aperio", "plugin", "build", "aperio-plugin-hello", "--check")
    walk.prove("it builds at once, and twice the same bytes")

    walk.title("The Box connector: build and sign, with a trust domain of our own")
    walk.run("aperio", "plugin", "build", str(ROOT / "plugins" / "box"), "--out", "dist", "--check")
    walk.run("aperio", "trust", "local", "init")
    walk.run("aperio", "plugin", "sign", "dist", "--trust", "local")
    artifact = next((walk.folder / "dist").glob("*.tar.gz"))
    walk.prove(
        "a Sigstore bundle stands beside the artifact",
        holds=artifact.with_name(artifact.name + ".sigstore.json").is_file(),
    )
    return artifact


def publishing(walk: Walk, artifact: Path) -> None:
    """Publish to a registry, and refuse a forgery of what was published."""
    walk.title("Publish to a registry, and verify")
    walk.run("aperio", "registry", "init", "registry")
    walk.run("aperio", "registry", "add", "dist", "--dir", "registry")
    walk.run("aperio", "registry", "build", "--dir", "registry")
    signed = walk.run("aperio", "registry", "sign", "--dir", "registry", "--trust", "local")
    walk.signer = signed.partition("signed by ")[2].split()[0]
    walk.run("aperio", "registry", "verify", "--dir", "registry")
    walk.run("aperio", "plugin", "verify", f"./dist/{artifact.name}")
    forged = walk.folder / "forged" / artifact.name
    forged.parent.mkdir()
    forged.write_bytes(artifact.read_bytes()[:-9] + b"forgery!!")
    bundle = artifact.with_name(artifact.name + ".sigstore.json")
    forged.with_name(bundle.name).write_bytes(bundle.read_bytes())
    walk.run("aperio", "plugin", "install", f"./forged/{artifact.name}", status=3)
    walk.prove("a changed artifact is refused before anything is unpacked")


def installing(walk: Walk) -> None:
    """Install over HTTP from the registry, which has to be signed by whom we state."""
    walk.title("Install it from the signed registry, over HTTP on 127.0.0.1")
    served = str(walk.folder / "registry")
    config = walk.folder / "home" / "config.toml"
    with background([str(APERIO), "registry", "serve", served], walk.environment) as url:
        stated = f'\n[[registries]]\nurl = "{url}"\ndomain = "local"\nidentity = "{{}}"\n'
        before = config.read_text() if config.exists() else ""
        config.write_text(before + stated.format("mallory@local"))
        walk.run("aperio", "plugin", "install", PLUGIN, "--yes", status=3)
        walk.prove("a registry that somebody else has signed is refused")
        config.write_text(before + stated.format(walk.signer))
        walk.run("aperio", "plugin", "install", PLUGIN, "--yes")
        config.write_text(before)
    walk.run("aperio", "plugin", "list")


def running(walk: Walk) -> list[str]:
    """Sync twice against the stub of Box's API; the first time the token expires on the way."""
    walk.title("Run it against an HTTP API; the access token expires on the way")
    server = [sys.executable, str(ROOT / "tests" / "simulators" / "box.py")]
    server += ["--events", str(EVENTS), "--max-chunk", "200", "--expire-after-chunks", "2"]
    with background(server, walk.environment | {"PYTHONPATH": str(ROOT)}) as url:
        settings = []
        for setting in (
            f"base_url={url}",
            "enterprise_id=8675309",
            "client_id=env:BOX_CLIENT_ID",
            "client_secret=env:BOX_CLIENT_SECRET",
        ):
            settings += ["--set", setting]
        walk.run("aperio", "plugin", "run", PLUGIN, "test", *settings)
        events = walk.run("aperio", "plugin", "run", PLUGIN, *settings, lines=4).splitlines()
        ids = [json.loads(line)["envelope"]["id"] for line in events]
        walk.prove(f"{EVENTS} events came, none was lost", holds=len(set(ids)) == EVENTS)
        again = walk.run("aperio", "plugin", "run", PLUGIN, *settings)
        walk.prove("a second sync goes on from the checkpoint: nothing new", holds=again == "")
    return events


def supervising(walk: Walk) -> None:
    """Keep the plugin running under a host, kill its process, see it come back."""
    walk.title("Keep it running under a host, and kill it")
    with (walk.folder / "home" / "config.toml").open("a") as config:
        config.write(RUN)
    with hosted(walk):
        before = instance(walk, "READY")
        walk.run("aperio", "host", "status", lines=6)
        os.kill(before["pid"], signal.SIGKILL)
        say(f"  process {before['pid']} of the plugin was killed")
        after = instance(walk, "READY", restarts=1)
        walk.run("aperio", "host", "status", lines=6)
        walk.run("aperio", "host", "logs", PLUGIN, "--last", "4")
        walk.prove(
            "a plugin that was killed is running again by itself",
            holds=after["pid"] != before["pid"],
        )


@contextlib.contextmanager
def hosted(walk: Walk) -> Iterator[None]:
    """`aperio host run` while the block runs; it has to end its plugins, and well."""
    say(bold("$ aperio host run &"))
    words = [str(APERIO), "host", "run"]
    log = walk.folder / "host.log"
    with log.open("wb") as output:
        host = subprocess.Popen(words, env=walk.environment, stdout=output, stderr=output)
        try:
            yield
        finally:
            host.terminate()
            try:
                host.wait(STEP_TIMEOUT_S)
            finally:
                host.kill()
    for line in log.read_text().splitlines()[:8]:
        say(f"  {shorten(line, walk.folder)[:160]}")
    walk.prove("the host ends its plugins, and itself in good order", holds=host.returncode == 0)


def instance(walk: Walk, state: str, restarts: int = 0) -> dict[str, Any]:
    """Wait until the host says that its plugin is in a state; how it is then.

    Raises:
        DemoFailed: it is not in time.
    """
    deadline_s = time.monotonic() + STEP_TIMEOUT_S
    while time.monotonic() < deadline_s:
        asked = [str(APERIO), "host", "status", "--json"]
        said = subprocess.run(
            asked, env=walk.environment, capture_output=True, timeout=STEP_TIMEOUT_S, check=False
        )
        found = json.loads(said.stdout)["data"].get("instances", ())
        for each in found:
            if each["state"] == state and each["restarts"] >= restarts:
                return dict(each)
        time.sleep(0.1)
    raise DemoFailed(f"{PLUGIN} did not come to {state}")


def attacking(walk: Walk) -> None:
    """Run a plugin that attacks the machine, in its sandbox."""
    walk.title("Run a plugin that is after everything else on this machine")
    if (sandbox := choose_sandbox("auto")).name == "none":
        say(f"  left out: there is no sandbox here: {sandbox.remedy}")  # type: ignore[attr-defined]
        return
    hostile, key = walk.folder / "hostile", walk.folder / "user" / ".ssh" / "id_ed25519"
    key.parent.mkdir()
    key.write_text("a private key")
    shutil.copytree(walk.folder / "aperio-plugin-hello", hostile)
    mark = CREDENTIALS["BOX_CLIENT_SECRET"]
    with socket.create_server(("127.0.0.1", 0)) as service:
        port = service.getsockname()[1]
        source = HOSTILE.format(key=key, mark=mark, port=port)
        (hostile / "connector.py").write_text(source)
        said = walk.run("aperio", "plugin", "run", "./hostile", "test", "--json", lines=3)
    account = json.loads(said)["data"]["account"]
    for what, came in account.items():
        say(f"  {what:<28} {came}")
    refused = [came.startswith("refused: ") for came in account.values()]
    walk.prove(
        "a hostile plugin reaches nothing that is not its own",
        holds=len(refused) == 6 and all(refused),
    )


def tampering(walk: Walk) -> None:
    """Change one installed file; the launch must be refused and name it. Then repair."""
    walk.title("Change one installed file, and try to run it")
    files = walk.folder / "home" / "plugins" / PLUGIN
    victim = next(path for path in files.rglob("*.py") if path.stat().st_size > 0)
    victim.write_text(victim.read_text() + "\nprint('owned')\n")
    walk.run("aperio", "plugin", "run", PLUGIN, "schema", status=3)
    walk.prove("a changed file is named, and nothing of the plugin is executed")


def removing(walk: Walk) -> None:
    walk.title("Remove it")
    walk.run("aperio", "plugin", "remove", PLUGIN, "--purge")
    walk.run("aperio", "plugin", "list")
    left = [path for path in (walk.folder / "home" / "plugins").rglob("*") if path.is_file()]
    walk.prove("nothing of it is left on disk", holds=not left)
    mine = str(walk.folder).encode()
    running = [entry.name for entry in Path("/proc").glob("[0-9]*") if mine in _traces(entry)]
    walk.prove("no process of it is left", holds=not set(running) - {str(os.getpid())})


def _traces(process: Path) -> bytes:
    """Command line and environment of a process, as far as we may see them."""
    with contextlib.suppress(OSError):
        return (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    return b""


def play(folder: Path) -> None:
    """The whole walk in a folder.

    Raises:
        DemoFailed: a step did not end as it should.
    """
    walk = Walk(folder)
    started_s = time.monotonic()
    artifact = authoring(walk)
    publishing(walk, artifact)
    installing(walk)
    events = running(walk)
    supervising(walk)
    attacking(walk)
    tampering(walk)
    removing(walk)
    walk.title("Envelopes, as NDJSON")
    for line in events[:3]:
        say(line)
    walk.title("What was proved")
    for claim in walk.proved:
        say(f"  {green('✓')} {claim}")
    say(f"\n{len(walk.proved)} claims, {time.monotonic() - started_s:.0f} seconds")


def main() -> int:
    """Play the walk in a temporary folder; the exit status."""
    with tempfile.TemporaryDirectory(prefix="aperio-demo-") as folder:
        try:
            play(Path(folder))
        except (DemoFailed, subprocess.TimeoutExpired) as failure:
            sys.stderr.write(f"\nthe demo failed: {failure}\n")
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""What aperio 0.1.0 wrote: a home with a life behind it, and a registry, cut to its records.

    git checkout COMMIT-OF-0.1.0 &&
    PYTHONPATH=. .venv/bin/python tests/assets/0.1.0/make.py tests/assets/0.1.0

Every command is a process of its own, as a person types it. The records are then made neutral (the
machine's folders, its interpreter) and cut: artifacts and installed files are left out, and so are
private keys. test_records_of_0_1_0.py reads the rest, with every later version.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

from aperio_cli import clock
from aperio_cli.data.state import Slice, StateDatabase
from aperio_cli.models.artifact import BUNDLE_SUFFIX
from aperio_cli.models.digest import Digest
from aperio_cli.signing.local import open_domain
from tests.lifecycle.hello_api import KEY, HelloApi
from tests.lifecycle.plugins import artifact_of, sdk_program
from tests.records import ask, restore
from tests.trust import Forge
from tests.tuf_repository import TufRepository, serving

ROOT = Path(__file__).resolve().parents[3]
STEP_TIMEOUT_S = 300
UNTIL = (clock.now() + timedelta(days=360)).date().isoformat()  # an exception is for a year at most
NEUTRAL_FOLDER = "/srv/aperio"
NEUTRAL_INTERPRETER = "/usr/bin/python3.11"
_MEMBERS_KEPT = frozenset({"manifest.yaml"})
_LEFT_OUT = ("*.tar.gz", "*.pem", ".gitignore", "*lock", "cache", "checks", "log")

# By hand, as operators do: every table and key that no command writes.
WRITTEN_BY_HAND = """
# our own registry
[[registries]]
url = "/srv/aperio/registry/public"

[[publishers]]  # a CI build
namespace = "globex"
plugin = "tracker-connector"
domain = "public"
ci = "github"
repository = "https://github.com/globex/aperio-plugin-tracker"
repository_id = "123456"
owner_id = "789"
workflow = ".github/workflows/release.yml"
ref = "refs/tags/v{version}"
runner = "github-hosted"
tier = "verified"
valid_from = 2026-01-01
valid_until = 2035-12-31
require_provenance = true

[python]
interpreters = ["/usr/bin/python3.11"]

[sandbox]
require = ["open_files"]

[host]
mtls = true
"""


class Operator:
    """Types commands in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        kept = {name: os.environ[name] for name in os.environ if name.startswith("PIP_")}
        self._environment = kept | {
            "PATH": os.environ["PATH"],
            "HOME": str(folder / "user"),
            "APERIO_HOME": str(self.home),
            "LOGNAME": "alice",
            "LANG": "C.UTF-8",
            "GOPROXY": f"file://{ROOT}/.cache/go/cache/download",  # filled by `make setup`
            "GOSUMDB": "off",
        }
        (folder / "user").mkdir()

    def type(self, *words: object, given: str = "") -> None:
        """Type a command that has to succeed."""
        subprocess.run(
            [sys.executable, "-m", "aperio_cli", *map(str, words)],
            cwd=self.folder,
            env=self._environment,
            input=given,
            text=True,
            check=True,
            timeout=STEP_TIMEOUT_S,
        )


def publish(operator: Operator) -> None:
    """Make and sign a connector in Python and a destination in Go, and offer both."""
    operator.type("trust", "local", "init")
    operator.type("plugin", "init", "github.com/acme/aperio-plugin-hello", "--output", "hello")
    operator.type("plugin", "build", "hello", "--out", "dist")
    operator.type("plugin", "build", ROOT / "plugins" / "jsonl-file", "--out", "dist")
    operator.type("plugin", "sign", "dist", "--trust", "local")
    operator.type("registry", "init", "registry")
    operator.type("registry", "add", "dist", "--dir", "registry")
    operator.type("registry", "build", "--dir", "registry")


def trust(operator: Operator) -> None:
    """State whom to trust, in every way there is."""
    hello = next((operator.folder / "dist").glob("hello*.tar.gz"))
    operator.type("trust", "publisher", "add", "acme", "--from-bundle", hello, "--yes")
    operator.type("trust", "require", "verified", "--org", "acme-prod")
    exception = ("--rule", "unverified", "--until", UNTIL, "--reason", "audit pending")
    operator.type("trust", "exception", "add", "acme/other", *exception)
    trusted_root = operator.home / "trust" / "local" / "trusted_root.json"
    operator.type("trust", "domain", "add", "internal", "--file", trusted_root)
    repository = TufRepository()
    repository.targets = {"trusted_root.json": trusted_root.read_bytes()}
    repository.publish()
    first_root = operator.folder / "tuf_root.json"
    first_root.write_bytes(repository.first_root)
    with serving(repository) as url:
        stated = ("--tuf", url, "--tuf-root", first_root)
        operator.type("trust", "domain", "add", "instance", *stated)
        operator.type("trust", "refresh", "instance")
    name_publisher_file(operator)


def name_publisher_file(operator: Operator) -> None:
    """Trust publishers that a signed file states."""
    rule = {
        "namespace": "initech",
        "domain": "public",
        "identity": "release@initech.example",
        "issuer": "https://accounts.initech.example",
        "tier": "verified",
    }
    document = {
        "schema": "aperio.publishers/v1",
        "serial": 7,
        "expires": "2035-12-31T00:00:00Z",
        "publishers": [rule],
    }
    path = operator.folder / "publishers.json"
    path.write_text(json.dumps(document))
    forge = Forge.of(open_domain(operator.home / "trust" / "local"))
    path.with_name(path.name + BUNDLE_SUFFIX).write_bytes(
        forge.bundle_json(Digest.of(path.read_bytes()))
    )
    with (operator.home / "config.toml").open("a") as config:
        config.write(f'\n[[publisher_files]]\nfile = "{path}"\ndomain = "local"\n')
        config.write('identity = "alice@local"\n')


def operate(operator: Operator) -> None:
    """Install and run a plugin of each kind, the last by an exception."""
    registry = ("--registry", "registry/public", "--yes")
    run = ("plugin", "run")
    operator.type("plugin", "install", "acme/hello-connector", *registry)
    operator.type("plugin", "install", "aperio/jsonl-file", *registry)
    with HelloApi(3) as api:
        access = ("--set", f"base_url={api.url}", "--set", f"api_key={KEY}")
        operator.type(*run, "acme/hello-connector", "sync", *access)
    stub = {"id": "acme/remediation", "kind": "remediation", "provider": "STUB", "state": True}
    artifact = artifact_of(operator.folder / "stub", sdk_program("remediation"), **stub)
    exception = ("--rule", "unsigned", "--until", UNTIL, "--reason", "trying it out")
    operator.type("trust", "exception", "add", "acme/remediation", *exception)
    operator.type("plugin", "install", artifact, "--yes")
    act = ("--action", "stub.suspend", "--target", "u1", "--approve")
    operator.type(*run, "acme/remediation", "execute", *act)
    with StateDatabase(operator.home / "state.db") as state:
        state.put(Slice("acme/remediation", "local", "local"), "done/u1", b"suspended")


def cut(operator: Operator) -> None:
    """Leave records only, and one database file."""
    for version in operator.home.glob("plugins/*/*/*/files"):
        for path in sorted(version.rglob("*"), reverse=True):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path) if not any(path.iterdir()) else None
            elif path.name not in _MEMBERS_KEPT:
                path.unlink()
    with sqlite3.connect(operator.home / "state.db") as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()


def neutral(data: bytes, operator: Operator) -> bytes:
    """A text record without what it says about this machine."""
    text = data.decode().replace(str(operator.folder), NEUTRAL_FOLDER)
    text = re.sub(r'"executable": "[^"]+"', f'"executable": "{NEUTRAL_INTERPRETER}"', text)
    text = re.sub(r'"base_prefix": "[^"]+"', '"base_prefix": "/usr"', text)
    return re.sub(r"http://127\.0\.0\.1:\d+", "http://127.0.0.1:8080", text).encode()


def keep(operator: Operator, target: Path) -> None:
    """Put what is left into the assets."""
    names = ("publishers.json", f"publishers.json{BUNDLE_SUFFIX}", "tuf_root.json")
    for name in ("home", "registry", *names):
        source, kept = operator.folder / name, target / name
        if source.is_dir():
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(source, kept, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        else:
            shutil.copy(source, kept)
    for path in target.rglob("*"):
        if path.is_file() and path.suffix not in {".db", ".py"}:
            path.chmod(0o644)
            path.write_bytes(neutral(path.read_bytes(), operator))


def main(target: Path) -> None:
    """Live the life in a temporary folder; keep its records below `target`."""
    with tempfile.TemporaryDirectory(prefix="aperio-life-") as folder:
        operator = Operator(Path(folder).resolve())
        publish(operator)
        trust(operator)
        operate(operator)
        with (operator.home / "config.toml").open("a") as config:
            config.write(WRITTEN_BY_HAND)
        cut(operator)
        keep(operator, target)
        said = ask(restore(target.name, Path(folder).resolve() / "restored"))
    (target / "said.json").write_text(json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())

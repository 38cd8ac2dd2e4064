"""What a registry costs whoever reads it: as much with a hundred thousand plugins as with ten.

The large registry has the rows of all its plugins, and the files of the one that is installed: a
client that read another would fail.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from figures import TIMEOUT_S, Figure, in_ms, paired, run
from trust_figures import sign_root

from aperio_cli.models.artifact import BUNDLE_SUFFIX
from aperio_cli.models.digest import Digest
from aperio_cli.models.registry.documents import (
    CATALOGUE_FILE,
    FIXED_FILES,
    PUBLISHERS_FILE,
    ROOT_FILE,
    SHARDS,
    FileRef,
    bundle_path,
    shard_number,
    shard_path,
)
from aperio_cli.net.fetch import FetchRequest, fetch_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

APERIO: Final = Path(sys.executable).with_name("aperio")
BARE_PYTHON: Final = (sys.executable, "-S", "-E", "-c", "pass")
SMALL, LARGE, SEARCHED = 10, 100_000, 10_000
MOMENT, END = "2026-01-01T00:00:00Z", "2999-01-01T00:00:00Z"
CUTS: Final = range(1, 100)
_BODY: Final = os.urandom(1_000_000)


def measure(
    folder: Path, artifact: Path, plugin: str, environment: Mapping[str, str], rounds: int
) -> list[Figure]:
    """The figures of searching, installing and resuming.

    Args:
        folder: one that is not there yet, for registries.
        artifact: a signed one, with its bundle beside it, of version 0.1.0.
        plugin: its id.
        environment: of the `aperio` whose home has a local trust domain.
        rounds: how often each is measured.

    Raises:
        subprocess.CalledProcessError: a command failed.
    """
    folder.mkdir()
    home = Path(environment["APERIO_HOME"])
    config = home / "config.toml"
    before = config.read_bytes() if config.exists() else None
    bench = _Bench(folder, home, artifact, plugin, environment, rounds)
    try:
        return [bench.search_figure(), *bench.install_figures(), resume_figure()]
    finally:
        config.unlink(missing_ok=True)
        if before is not None:
            config.write_bytes(before)


@dataclass(frozen=True, slots=True)
class _Bench:
    folder: Path
    home: Path
    artifact: Path
    plugin: str
    environment: Mapping[str, str]
    rounds: int

    def search_figure(self) -> Figure:
        """A search of ten thousand plugins that were read before, against a bare interpreter."""
        folder = self.folder / "searched"
        self.publish(folder, SEARCHED)
        (self.home / "config.toml").write_text(f'[[registries]]\nurl = "{folder}"\n')
        command = (str(APERIO), "plugin", "search", "service 7777")
        run(command, self.environment)  # reads the catalogue, and keeps its rows
        ours, bare = paired(
            lambda: run(command, self.environment),
            lambda: run(BARE_PYTHON, self.environment),
            self.rounds,
        )
        return Figure(
            name=f"plugin search, {SEARCHED:,} cached plugins",
            value=ours / bare,
            at_most=8.0,
            detail=in_ms(ours, bare),
        )

    def install_figures(self) -> Iterator[Figure]:
        """An installation from a large registry against one from a small one, and what it reads."""
        sizes = {"small": SMALL, "large": LARGE}
        with served(self.folder) as server:
            rules = []
            for name, count in sizes.items():
                self.publish(self.folder / name, count, name=name)
                rules.append(self.signed(name, server.url))
            (self.home / "config.toml").write_text("\n".join(rules))
            large, small = paired(
                lambda: self.install(f"{server.url}large/"),
                lambda: self.install(f"{server.url}small/"),
                self.rounds,
            )
            server.sent_bytes = 0
            self.install(f"{server.url}large/")
            read_kb = (server.sent_bytes - self.artifact.stat().st_size) / 1000
        yield Figure(
            name=f"plugin install from {LARGE:,} plugins, to one from {SMALL}",
            value=large / small,
            at_most=1.2,
            detail=in_ms(large, small),
        )
        yield Figure(
            name=f"what that reads beside the artifact, of {LARGE:,} plugins",
            value=read_kb,
            unit=" kB",
            at_most=300.0,
        )

    def install(self, registry: str) -> float:
        """Seconds of an installation with nothing in the cache."""
        shutil.rmtree(self.home / "cache", ignore_errors=True)
        words = ("plugin", "install", self.plugin, "-qy", "--registry", registry)
        took_s = run((str(APERIO), *words), self.environment)
        subprocess.run(
            [str(APERIO), "plugin", "remove", self.plugin, "--yes"], env=self.environment,
            check=True, timeout=TIMEOUT_S, capture_output=True,
        )  # fmt: skip
        return took_s

    def signed(self, name: str, url: str) -> str:
        """Sign a registry's root in the local domain; give what an operator states of it."""
        identity = sign_root(self.home, self.folder / name / ROOT_FILE)
        return (
            f'[[registries]]\nurl = "{url}{name}/"\nname = "{name}"\ndomain = "local"\n'
            f'identity = "{identity}"\n'
        )

    def publish(self, folder: Path, count: int, name: str = "") -> None:
        """Write a registry of so many plugins, of which one can be installed."""
        folder.mkdir()
        shutil.copy(self.artifact, folder)
        entry = self.entry(folder)
        shards: list[dict[str, Any]] = [
            {"version": 1, "shard": f"{n:02x}", "plugins": {}, "namespaces": []}
            for n in range(SHARDS)
        ]
        others = [f"acme{n % 997}/service-{n}" for n in range(count - 1)]
        for plugin in others:
            ref = {"sha256": hashlib.sha256(plugin.encode()).hexdigest(), "size": 9486}
            shards[shard_number(plugin)]["plugins"][plugin] = ref
        own = _write(folder, f"plugins/{self.plugin}.json", entry)
        shards[shard_number(self.plugin)]["plugins"][self.plugin] = own
        rows = [_row(plugin) for plugin in (*others, self.plugin)]
        files = {path: _write(folder, path, {"version": 1}) for path in FIXED_FILES}
        files[CATALOGUE_FILE] = _write(folder, CATALOGUE_FILE, {"version": 1, "plugins": rows})
        files[PUBLISHERS_FILE] = _write(folder, PUBLISHERS_FILE, {"version": 1, "publishers": []})
        root = {
            "version": 1,
            **({"name": name} if name else {}),
            "updated_at": MOMENT,
            "epoch": 1,
            "serial": 1,
            "expires_at": END,
            "files": files,
            "shards": [_write(folder, shard_path(n), shards[n]) for n in range(SHARDS)],
        }
        _write(folder, ROOT_FILE, root)

    def entry(self, folder: Path) -> dict[str, Any]:
        """The file of the plugin that is installed, its bundle by digest."""
        data = self.artifact.read_bytes()
        bundle = self.artifact.with_name(self.artifact.name + BUNDLE_SUFFIX).read_bytes()
        path = folder / bundle_path(Digest.of(bundle))
        path.parent.mkdir(parents=True)
        path.write_bytes(bundle)
        system, machine = self.artifact.name.removesuffix(".tar.gz").rsplit("_", 2)[1:]
        stated = {
            "os": system,
            "arch": machine,
            "url": self.artifact.name,
            "sha256": Digest.of(data).hex,
            "size": len(data),
            "sigstore_bundle": str(path.relative_to(folder)),
            "bundle_sha256": Digest.of(bundle).hex,
        }
        version = {
            "version": "0.1.0",
            "published_at": MOMENT,
            "protocols": ["1.0"],
            "artifacts": [stated],
        }
        head = {"version": 1, "id": self.plugin, "kind": "connector", "description": "Is long"}
        return head | {"versions": [version]}


def _write(folder: Path, path: str, document: dict[str, Any]) -> dict[str, object]:
    data = json.dumps(document).encode()
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return FileRef.of(data).to_json()


def _row(plugin: str) -> dict[str, Any]:
    return {
        "id": plugin,
        "kind": "connector",
        "description": f"Audit events, findings and remediations of {plugin.replace('-', ' ')}",
        "license": "Apache-2.0",
        "latest": "1.0.0",
        "platforms": ["linux/amd64", "linux/arm64"],
        "publisher": {"name": plugin.partition("/")[0], "verified": True},
        "published_at": MOMENT,
        "status": "active",
    }


# ── servers ───────────────────────────────────────────────────────────────────────────────────────


class _Server(ThreadingHTTPServer):
    """Serves a folder and counts what it sends."""

    daemon_threads = True
    sent_bytes = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class _Handler(SimpleHTTPRequestHandler):
    def copyfile(self, source: Any, outputfile: Any) -> None:
        data = source.read()
        self.server.sent_bytes += len(data)  # type: ignore[attr-defined] # it is a _Server
        outputfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path) -> Iterator[_Server]:
    """A folder on 127.0.0.1 for the length of a `with` block."""
    server = _Server(("127.0.0.1", 0), functools.partial(_Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class _Cutting(SimpleHTTPRequestHandler):
    """Hangs up after a part of the body, and sends the rest to whoever asks for it."""

    cut_bytes = 0

    def do_GET(self) -> None:
        asked = self.headers.get("Range", "")
        start = int(asked[len("bytes=") : -1]) if asked else 0
        self.send_response(206 if start else 200)
        self.send_header("ETag", '"one"')
        self.send_header("Content-Length", str(len(_BODY) - start))
        if start:
            stated = f"bytes {start}-{len(_BODY) - 1}/{len(_BODY)}"
            self.send_header("Content-Range", stated)
        self.end_headers()
        self.wfile.write(_BODY[start:] if start else _BODY[: type(self).cut_bytes])
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def resume_figure() -> Figure:
    """Downloads that are cut at each percent: how many end with the right bytes."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Cutting)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    whole = Digest.of(_BODY)
    good = 0
    try:
        for percent in CUTS:
            _Cutting.cut_bytes = len(_BODY) * percent // 100
            address = f"http://127.0.0.1:{server.server_port}/body"
            request = FetchRequest(address, len(_BODY), timeout_s=30.0)
            body, fetched = fetch_bytes(request, sleep=lambda _: None)
            good += (body, fetched.digest) == (_BODY, whole)
    finally:
        server.shutdown()
        server.server_close()
    return Figure(
        name="downloads cut at each of 1 to 99 %, that end with the right bytes",
        value=good,
        unit=" of 99",
        at_least=len(CUTS),
    )

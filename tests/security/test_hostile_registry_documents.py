"""Documents of a registry made to take memory: each is refused, in a process that has little.

Whoever signs a registry may state any document: the digests are right, the contents are not. A
process gets 400 MiB for everything, in which the largest lawful ones are read.
"""

from __future__ import annotations

import gzip
import json
import resource
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.config import Config
from aperio_cli.errors import AperioError
from aperio_cli.models.plugin_id import PluginId
from aperio_cli.models.reading import Bounds, Unreadable, read_json
from aperio_cli.models.registry.documents import (
    ADVISORIES_BOUNDS,
    ADVISORIES_FILE,
    CATALOGUE_BOUNDS,
    CATALOGUE_FILE,
    PLUGIN_FILE_BOUNDS,
    PUBLISHERS_BOUNDS,
    PUBLISHERS_FILE,
    ROOT_BOUNDS,
    ROOT_FILE,
    SHARD_BOUNDS,
    FileRef,
    shard_number,
    shard_path,
)
from aperio_cli.models.registry.root import parse_root
from aperio_cli.paths import Paths
from aperio_cli.registry import Trust, open_registry
from aperio_cli.registry.reader import read_index_file
from aperio_cli.registry.unsigned import UnsignedRegistry
from tests.builders import PLUGIN
from tests.projects import ROOT
from tests.registries import Site, plugin_entry, row

if TYPE_CHECKING:
    from collections.abc import Callable

    from aperio_cli.registry.reader import RegistryReader

SHARD = shard_path(shard_number(PLUGIN))
PLUGIN_FILE = f"plugins/{PLUGIN}.json"
BOUNDS = {
    ROOT_FILE: ROOT_BOUNDS,
    SHARD: SHARD_BOUNDS,
    PLUGIN_FILE: PLUGIN_FILE_BOUNDS,
    CATALOGUE_FILE: CATALOGUE_BOUNDS,
    PUBLISHERS_FILE: PUBLISHERS_BOUNDS,
    ADVISORIES_FILE: ADVISORIES_BOUNDS,
}
MIB = 1024 * 1024


def filled(begin: bytes, unit: bytes, end: bytes, bounds: Bounds) -> bytes:
    """As many of a unit as fit, at most 32 MiB of them."""
    room = min(bounds.size_bytes, 32 * MIB) - len(begin) - len(end)
    return begin + unit * (room // len(unit)) + end


def few(begin: bytes, unit: bytes, end: bytes, bounds: Bounds) -> bytes:
    """As many of a unit of three members as may be in it, and in 400 MiB."""
    return begin + unit * (min(bounds.members, 2_000_000) // 3 - 9) + end


HOSTILE: dict[str, Callable[[Bounds], bytes]] = {
    "objects": lambda bounds: filled(b'{"version":1,"x":[', b'{"":{}},', b"{}]}", bounds),
    "as many as may be": lambda bounds: few(b'{"x":[', b'{"":{}},', b"{}]}", bounds),
    "depth": lambda bounds: filled(b'{"version":1,"x":', b"[", b"", bounds),
    "a number": lambda bounds: filled(b'{"version":1', b"1", b"}", bounds),
    "numbers": lambda bounds: filled(b'{"version":1,"x":[', b"9" * 301 + b",", b"1]}", bounds),
    "a text": lambda bounds: filled(b'{"version":2,"x":"\xf0\x9f\x98\x80', b"x", b'"}', bounds),
    "no end": lambda bounds: filled(b'{"version":1,"x":"', b"\\\\", b"", bounds),
    "keys": lambda bounds: (
        b"{%b}" % b",".join(b'"%x":0' % n for n in range(min(bounds.members // 2, 400_000)))
    ),
}


def hostile(site: Site, name: str, data: bytes) -> None:
    """Put something in a document's place, and have what states it say so."""
    (site.folder / name).write_bytes(data)
    if name == ROOT_FILE:
        return
    stated = FileRef.of(data).to_json()
    if name == PLUGIN_FILE:
        shard = json.loads((site.folder / SHARD).read_bytes())
        shard["plugins"][PLUGIN] = stated
        hostile(site, SHARD, json.dumps(shard).encode())
        return
    root = json.loads((site.folder / ROOT_FILE).read_bytes())
    if name == SHARD:
        root["shards"][shard_number(PLUGIN)] = stated
    else:
        root["files"][name] = stated
    (site.folder / ROOT_FILE).write_text(json.dumps(root))


def root_of(reader: RegistryReader) -> bytes:
    """The root, which an unsigned registry does without where it has one of before."""
    assert isinstance(reader, UnsignedRegistry)
    return read_index_file(reader.documents, ROOT_FILE, ROOT_BOUNDS.size_bytes)


ASKED: dict[str, Callable[[RegistryReader], object]] = {
    ROOT_FILE: lambda reader: parse_root(root_of(reader), where=ROOT_FILE),
    SHARD: lambda reader: reader.find(PluginId.parse(PLUGIN)),
    PLUGIN_FILE: lambda reader: reader.find(PluginId.parse(PLUGIN)),
    CATALOGUE_FILE: lambda reader: reader.rows(),
    PUBLISHERS_FILE: lambda reader: reader.publishers(),
    ADVISORIES_FILE: lambda reader: reader.advisories(),
}
REFUSED = {"index-unreadable", "index-too-large", "index-version-unknown"}


def ask(name: str, place: str, home: Path) -> str:
    """Read what needs a document; give the code of the refusal, or nothing."""
    paths = Paths(home, home / "config.toml", home / "cache")
    trust = Trust(list, paths.signed_documents)
    (ruled,) = open_registry(place, Config(), paths, offline=False, trust=trust).ruled
    try:
        ASKED[name](ruled.reader)
    except AperioError as error:
        return error.code
    return ""


def limit_memory(mib: int) -> None:
    """Have this process use so much at most: what it maps of libraries is not counted."""
    resource.setrlimit(resource.RLIMIT_DATA, (mib * MIB,) * 2)


def play(folder: str) -> None:
    """Publish and ask for each hostile document in its place; print what came of each."""
    limit_memory(400)
    site, said = Site(Path(folder, "registry")), {}
    for name, bounds in BOUNDS.items():
        for kind, make in HOSTILE.items():
            site.publish(plugin_entry())
            hostile(site, name, make(bounds))
            said[f"{name}: {kind}"] = ask(name, str(site.folder), Path(folder, "home"))
    print(json.dumps(said))  # noqa: T201 - what the parent reads


def play_lawful(folder: str) -> None:
    """Ask for a catalogue of a hundred thousand plugins; print how many there are."""
    site = Site(Path(folder, "registry"))
    site.publish(plugin_entry())
    one = row(plugin_entry(description="d" * 100))
    rows = b",".join(json.dumps(one | {"id": f"acme/box-{n}"}).encode() for n in range(100_000))
    hostile(site, CATALOGUE_FILE, b'{"version":1,"plugins":[%b]}' % rows)
    del rows
    limit_memory(400)
    found: list[object] = []
    ASKED[CATALOGUE_FILE] = lambda reader: found.extend(reader.rows())
    said = ask(CATALOGUE_FILE, str(site.folder), Path(folder, "home"))
    print(json.dumps([said, len(found)]))  # noqa: T201 - what the parent reads


def apart(what: str, folder: Path) -> Any:
    """What a process of its own prints that does one of these."""
    script = f"import sys; from {__name__} import {what}; {what}(sys.argv[1])"
    ran = subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.slow
def test_no_document_takes_much_memory_whatever_it_holds(tmp_path: Path) -> None:
    said = apart("play", tmp_path)
    assert len(said) == len(BOUNDS) * len(HOSTILE)
    assert {what: code for what, code in said.items() if code not in REFUSED} == {}


@pytest.mark.slow
def test_a_catalogue_of_a_hundred_thousand_plugins_is_read_in_that_memory(tmp_path: Path) -> None:
    assert apart("play_lawful", tmp_path) == ["", 100_000]


def test_a_text_of_a_hundred_megabytes_has_no_character_that_makes_it_four_times_as_large() -> None:
    """Each character of a text takes as much as its widest one."""
    for wide in ("\U0001f600".encode(), b"\\ud83d\\ude00"):
        with pytest.raises(Unreadable, match="characters beyond U"):
            read_json(b'{"x":"%b%b"}' % (wide, b"x" * 64 * MIB), CATALOGUE_BOUNDS)
        assert read_json(b'{"x":"%b"}' % wide, CATALOGUE_BOUNDS) == {"x": "\U0001f600"}


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """A hundred megabytes in less than one."""
    return gzip.compress(b" " * 100 * MIB, 1)


@pytest.mark.parametrize("header", ["Content-Encoding", "Transfer-Encoding"])
@pytest.mark.parametrize("name", [ROOT_FILE, CATALOGUE_FILE])
def test_a_document_that_a_server_calls_compressed_is_not_unpacked(
    tmp_path: Path, name: str, header: str, bomb: bytes
) -> None:
    """What unpacks to a hundred megabytes is read as it was sent, or not at all."""
    site = Site(tmp_path / "registry")
    site.publish(plugin_entry())
    hostile(site, name, bomb)

    class Server(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = site.folder / self.path.lstrip("/")
            self.send_response(200 if path.is_file() else 404)
            data = path.read_bytes() if path.is_file() else b""
            if data == bomb:
                is_body = header == "Transfer-Encoding"
                self.send_header(header, "gzip, chunked" if is_body else "gzip")
                data = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if is_body else data
            if data[-4:] != b"\r\n\r\n":
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        place = f"http://127.0.0.1:{server.server_port}"
        assert ask(name, place, tmp_path / "home") in {*REFUSED, "network-unavailable"}
    finally:
        server.shutdown()
        server.server_close()

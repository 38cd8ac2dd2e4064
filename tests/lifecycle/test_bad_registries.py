"""Registries that lie, break off or never end: told, and nothing changed."""

from __future__ import annotations

import json
import threading
from functools import partial
from http.server import (
    BaseHTTPRequestHandler,
    SimpleHTTPRequestHandler,
    ThreadingHTTPServer,
)
from typing import TYPE_CHECKING, Any, Self

import pytest

from aperio_cli.models.artifact import BUNDLE_SUFFIX
from aperio_cli.models.digest import Digest
from tests.builders import index_bytes, index_entry, index_version, registry_folder
from tests.lifecycle.plugins import PLUGIN, artifact_of
from tests.projects import make_project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.lifecycle.cli import Aperio

GIB = 1024**3


@pytest.fixture
def offered(aperio: Aperio) -> Path:
    """A registry of one good plugin, as a folder."""
    artifact = artifact_of(aperio.folder / "dist", "print()\n")
    aperio("plugin", "sign", artifact, "--trust", "local")
    folder = registry_folder(aperio.folder / "public")
    (folder / "artifacts").mkdir()
    (folder / "artifacts" / "box.tar.gz").write_bytes(artifact.read_bytes())
    state(folder, bundle_of(artifact), sha256=Digest.of(artifact.read_bytes()).hex)
    return folder


def bundle_of(artifact: Path) -> str:
    return artifact.with_name(artifact.name + BUNDLE_SUFFIX).read_text()


def state(folder: Path, bundle: str, **changes: Any) -> None:
    """Write an index that offers the artifact in the folder."""
    version = index_version(sigstore_bundle=bundle, **changes)
    (folder / "plugins.json").write_bytes(index_bytes(index_entry(version)))


def restate(folder: Path, **changes: Any) -> None:
    """Change what the index says of the one version."""
    document = json.loads((folder / "plugins.json").read_text())
    document["plugins"][0]["versions"][0] |= changes
    (folder / "plugins.json").write_text(json.dumps(document))


class Server(ThreadingHTTPServer):
    """Answers every request in one bad way."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, way: str) -> None:
        self.way = way
        self.sent_bytes = 0
        super().__init__(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if self.server.way == "status 500":
            self.send_error(500)
            return
        self.send_response(200)
        if self.server.way == "says 1 GiB":
            self.send_header("Content-Length", str(GIB))
        if self.server.way == "breaks off":
            self.send_header("Content-Length", "1000")
        self.end_headers()
        for chunk in self._body():
            try:
                self.wfile.write(chunk)
            except OSError:
                return
            self.server.sent_bytes += len(chunk)

    def _body(self) -> Iterator[bytes]:
        if self.server.way == "breaks off":
            yield b'{"version": 1'
        elif self.server.way == "not json":
            yield b"<html>maintenance</html>"
        else:
            while self.server.sent_bytes < GIB:
                yield b" " * 65536

    def log_message(self, *_: object) -> None:
        """Nothing."""


# ── indexes ───────────────────────────────────────────────────────────────────────────────────────

INDEXES: dict[str, tuple[bytes, str, str]] = {
    "not json": (b"<html>", "index-unreadable", "JSON"),
    "empty": (b"", "index-unreadable", "JSON"),
    "a list": (b"[]", "index-unreadable", ""),
    "nested": (b"[" * 100_000, "index-unreadable", "nested too deeply"),
    "version 2": (index_bytes(version=2), "index-version-unknown", "2"),
    "version missing": (b'{"plugins": []}', "index-unreadable", "`version`"),
    "plugins missing": (
        b'{"version": 1, "updated_at": "2026-01-02T03:04:05Z"}', "index-unreadable", "plugins",
    ),
    "climbing address": (
        index_bytes(index_entry(index_version(download_url="../../etc/passwd"))),
        "index-unreadable",
        "leads out",
    ),
    "address of a file": (
        index_bytes(index_entry(index_version(download_url="file:///etc/passwd"))),
        "index-unreadable",
        "file:",
    ),
}  # fmt: skip


@pytest.mark.parametrize("command", ["verify", "install"])
@pytest.mark.parametrize("name", INDEXES)
def test_an_index_is_refused_that_is(aperio: Aperio, name: str, command: str) -> None:
    data, code, said = INDEXES[name]
    folder = registry_folder(aperio.folder / "public", data)
    told = aperio.refuses("plugin", command, PLUGIN, "--registry", folder, code=code, status=4)
    assert str(folder) in told.what
    assert said in told.what + told.why
    assert told.next


def test_an_index_of_one_gibibyte_is_not_read(aperio: Aperio) -> None:
    folder = registry_folder(aperio.folder / "public")
    with (folder / "plugins.json").open("wb") as file:
        file.truncate(GIB)
    words = ("plugin", "install", PLUGIN, "--registry", folder, "--json")
    done = aperio(*words, status=4)  # not `refuses`: its snapshot would read the gibibyte
    [error] = done.document["errors"]
    assert error["code"] == "index-too-large"
    assert str(folder) in error["what"]
    assert not (aperio.home / "plugins").exists()


@pytest.mark.parametrize(
    ("way", "code"),
    [
        ("endless", "index-too-large"),
        ("says 1 GiB", "index-too-large"),
        ("not json", "index-unreadable"),
        ("breaks off", "network-unavailable"),
        ("status 500", "network-unavailable"),
    ],
)
def test_a_server_is_refused_that(aperio: Aperio, way: str, code: str) -> None:
    with Server(way) as server:
        told = aperio.refuses(
            "plugin", "install", PLUGIN, "--registry", server.url, code=code, status=4, noted=True
        )
        assert server.url in told.what + told.why
        assert server.sent_bytes < GIB / 4
    assert told.next


def test_a_server_that_is_not_there_is_named(aperio: Aperio) -> None:
    with Server("not json") as server:
        url = server.url
    told = aperio.refuses(
        "plugin", "install", PLUGIN, "--registry", url, code="network-unavailable", status=4
    )
    assert url in told.what + told.why


def test_a_registry_elsewhere_that_nobody_signed_is_refused(aperio: Aperio) -> None:
    aperio.refuses(
        "plugin", "install", PLUGIN, "--registry", "https://registry.example",
        code="registry-unsigned", status=3,
    )  # fmt: skip


def test_offline_reads_no_server(aperio: Aperio) -> None:
    with Server("endless") as server:
        aperio.refuses(
            "plugin", "install", PLUGIN, "--registry", server.url, "--offline",
            code="offline", status=4,
        )  # fmt: skip
        assert server.sent_bytes == 0


# ── what was downloaded before ────────────────────────────────────────────────────────────────────


class Folder(ThreadingHTTPServer):
    """Serves a folder, and remembers what was asked for."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), partial(_FolderHandler, directory=str(folder)))
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def downloads(self) -> int:
        """How often the artifact was asked for since the last time."""
        asked, self.asked = self.asked, []
        return sum(path.endswith(".tar.gz") for path in asked)

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join(10)


class _FolderHandler(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Folder)
        self.server.asked.append(self.path)
        super().do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def kept(aperio: Aperio) -> list[Path]:
    return sorted((aperio.home / "cache" / "artifacts").glob("*"))


def test_an_artifact_that_was_downloaded_is_installed_offline(
    aperio: Aperio, offered: Path
) -> None:
    with Folder(offered) as server:
        words = ("plugin", "install", PLUGIN, "--registry", server.url)
        aperio("plugin", "verify", PLUGIN, "--registry", server.url)
        assert server.downloads() == 1
        [file] = kept(aperio)
        assert Digest.of(file.read_bytes()).hex + ".tar.gz" == file.name
        assert file.stat().st_mode & 0o777 == 0o600
        assert "installed" in aperio(*words, "--offline").out
        assert server.asked == []
        aperio("plugin", "remove", PLUGIN)
        aperio(*words)
        assert server.downloads() == 0
        aperio("plugin", "remove", PLUGIN)
        file.unlink()
        aperio.refuses(*words, "--offline", code="offline", status=4)
        aperio(*words)
        assert (server.downloads(), kept(aperio)) == (1, [file])


def test_a_kept_artifact_that_is_another_by_now_is_downloaded_again(
    aperio: Aperio, offered: Path
) -> None:
    with Folder(offered) as server:
        words = ("plugin", "install", PLUGIN, "--registry", server.url)
        aperio(*words)
        [file] = kept(aperio)
        right = file.read_bytes()
        for wrong in (right + b"x", right[:-1], b"", bytes([right[0] ^ 1]) + right[1:]):
            aperio("plugin", "remove", PLUGIN)
            file.write_bytes(wrong)
            assert aperio("plugin", "install", PLUGIN, "--registry", server.url, "--offline",
                          status=4).out == ""  # fmt: skip
            assert not file.exists()
            server.downloads()
            aperio(*words)
            assert (server.downloads(), file.read_bytes()) == (1, right)
        aperio("plugin", "remove", PLUGIN)
        file.unlink()
        file.symlink_to(offered / "artifacts" / "box.tar.gz")
        aperio.refuses(*words, "--offline", code="offline", status=4)


def test_what_is_refused_and_what_is_in_a_folder_is_not_kept(aperio: Aperio, offered: Path) -> None:
    aperio("plugin", "install", PLUGIN, "--registry", offered)
    assert kept(aperio) == []
    restate(offered, sha256="a" * 64)
    with Folder(offered) as server:
        words = ("plugin", "install", PLUGIN, "--registry", server.url)
        aperio(*words, status=3)
        assert (server.downloads(), kept(aperio)) == (1, [])


def test_a_cache_that_cannot_be_written_keeps_nothing_and_nobody_from_installing(
    aperio: Aperio, offered: Path
) -> None:
    (aperio.home / "cache").mkdir(exist_ok=True)
    (aperio.home / "cache" / "artifacts").write_text("a file")
    with Folder(offered) as server:
        aperio("plugin", "install", PLUGIN, "--registry", server.url)
        assert server.downloads() == 1


def test_an_id_without_a_registry_is_refused_and_one_asked_for(aperio: Aperio) -> None:
    told = aperio.refuses("plugin", "install", PLUGIN, code="registry-unconfigured", status=2)
    assert any("--registry" in step for step in told.next)


# ── what an index says of an artifact ─────────────────────────────────────────────────────────────


def test_a_good_offer_is_installed(aperio: Aperio, offered: Path) -> None:
    assert "installed" in aperio("plugin", "install", PLUGIN, "--registry", offered).out


def test_a_wrong_digest_is_refused_with_both(aperio: Aperio, offered: Path) -> None:
    restate(offered, sha256="a" * 64)
    told = aperio.refuses(
        "plugin", "install", PLUGIN, "--registry", offered,
        code="artifact-digest-mismatch", status=3,
    )  # fmt: skip
    assert told.what.startswith(f"`{PLUGIN}` 1.2.3 ")
    found = Digest.of((offered / "artifacts" / "box.tar.gz").read_bytes())
    assert "a" * 64 in told.why
    assert found.hex in told.why


def test_a_bundle_of_another_file_is_refused(aperio: Aperio, offered: Path) -> None:
    other = artifact_of(aperio.folder / "other", "print(2)\n")
    aperio("plugin", "sign", other, "--trust", "local")
    restate(offered, sigstore_bundle=bundle_of(other))
    aperio.refuses(
        "plugin", "install", PLUGIN, "--registry", offered,
        code="signature-digest-mismatch", status=3,
    )  # fmt: skip


def test_an_offer_without_a_bundle_is_refused(aperio: Aperio, offered: Path) -> None:
    restate(offered, sigstore_bundle="")
    told = aperio.refuses(
        "plugin", "install", PLUGIN, "--registry", offered, code="signature-missing", status=3
    )
    assert told.what.startswith(f"`{PLUGIN}` 1.2.3 ")


def test_a_publisher_whom_only_the_index_vouches_for_is_refused(
    aperio: Aperio, offered: Path
) -> None:
    restate(offered, publisher={"name": "acme", "verified": True})
    rules = aperio.home / "managed.toml"
    rules.write_text(rules.read_text().replace('"*"', '"globex"'))
    aperio.refuses(
        "plugin", "install", PLUGIN, "--registry", offered, code="publisher-unknown", status=3
    )


def test_an_artifact_that_is_missing_is_named(aperio: Aperio, offered: Path) -> None:
    (offered / "artifacts" / "box.tar.gz").unlink()
    told = aperio.refuses(
        "plugin", "install", PLUGIN, "--registry", offered, code="not-found-at-source", status=4
    )
    assert "box.tar.gz" in told.what + told.why


@pytest.mark.parametrize("name", ["acme/box", "acme/box-connector@9.9.9"])
def test_what_a_registry_does_not_have_is_answered_with_what_it_has(
    aperio: Aperio, offered: Path, name: str
) -> None:
    told = aperio.refuses(
        "plugin", "install", name, "--registry", offered, code="plugin-not-found", status=1
    )
    assert told.what.startswith(f"`{name}` was not found")
    assert "acme/box-connector" in told.why
    assert "@" not in name or "1.2.3" in told.why


# ── the maintainers' side ─────────────────────────────────────────────────────────────────────────


def test_a_registry_takes_only_what_would_be_installed(aperio: Aperio) -> None:
    aperio("registry", "init", "registry")
    artifact = artifact_of(aperio.folder / "dist", "print()\n")
    aperio.refuses(
        "registry", "add", artifact, "--dir", "registry", code="signature-missing", status=3
    )


def test_a_version_that_is_published_does_not_change(aperio: Aperio) -> None:
    aperio("registry", "init", "registry")
    first, second = (
        artifact_of(aperio.folder / name, f"print({name!r})\n") for name in ("first", "second")
    )
    aperio("plugin", "sign", first, second, "--trust", "local")
    aperio("registry", "add", first, "--dir", "registry")
    told = aperio.refuses(
        "registry", "add", second, "--dir", "registry",
        code="published-version-changed", status=3,
    )  # fmt: skip
    assert told.what.startswith(f"`{PLUGIN}` 1.2.3")


@pytest.mark.parametrize("words", [("add", "dist"), ("build",), ("serve",)])
def test_a_folder_that_is_no_registry_is_refused(aperio: Aperio, words: tuple[str, ...]) -> None:
    make_project(aperio.folder / "dist")
    place = ("dist",) if words == ("serve",) else ("--dir", "dist")
    told = aperio.refuses("registry", *words, *place, code="registry-source-invalid", status=1)
    assert told.next


def test_init_refuses_a_folder_that_holds_something(aperio: Aperio) -> None:
    make_project(aperio.folder / "registry")
    aperio.refuses("registry", "init", "registry", code="registry-source-exists", status=1)


# ── maintainers ───────────────────────────────────────────────────────────────────────────────────


def test_maintainers_are_told_what_was_not_done_and_the_command_that_does_it(
    aperio: Aperio,
) -> None:
    aperio("registry", "init", "a registry")
    where = "--dir 'a registry'"
    undone = {
        ("verify", "--dir", "a registry"): "was not verified",
        ("serve", "a registry"): "was not served",
    }
    for words, said in undone.items():
        refused = aperio.refuses("registry", *words, code="registry-source-invalid", status=1)
        assert said in refused.what
        assert refused.next[0] == f"`aperio registry build {where}`"
    unbuilt = aperio.refuses(
        "registry", "sign", "--dir", "a registry", code="registry-not-built", status=1
    )
    assert unbuilt.next[0] == f"`aperio registry build {where}`"
    artifact = artifact_of(aperio.folder / "dist", "print()\n")
    aperio("plugin", "sign", artifact, "--trust", "local")
    added = aperio("registry", "add", artifact, "--dir", "a registry")
    assert f"next: `aperio registry build {where}`\n" in added.err
    assert "next" not in aperio("registry", "add", artifact, "--dir", "a registry").err
    for typo, next_ in (
        ("acme/box-conector", f"did you mean `{PLUGIN}@1.2.3`?"),
        ("x/yz", "check"),
    ):
        words = ("yank", f"{typo}@1.2.3", "--reason", "typo", "--dir", "a registry")
        missing = aperio.refuses("registry", *words, code="plugin-not-found", status=1)
        assert next_ in missing.next[0]
    yanked = ("yank", f"{PLUGIN}@1.2.3", "--reason", "loses events", "--dir", "a registry")
    assert f"`aperio registry sign --trust local {where}`" in aperio("registry", *yanked).err
    built = aperio("registry", "build", "--dir", "a registry").err
    assert f"plugins.json leaves out {PLUGIN}@1.2.3: withdrawn, " in built
    assert f"next: `aperio registry sign --trust local {where}`\n" in built
    unknown = aperio.refuses(
        "registry", "sign", "--dir", "a registry", code="credential-missing", status=1
    )
    assert "the same command with `--trust local`" in unknown.next[-1]


def test_what_is_no_registry_has_no_log_that_could_be_old(aperio: Aperio) -> None:
    (aperio.folder / "nothing").mkdir()
    for words in (("verify", "nothing", "--log"), ("verify", "--log")):
        refused = aperio.refuses("registry", *words, code="index-unreadable", status=4)
        assert "plugins.json" in refused.what


def test_commands_that_are_told_take_only_the_options_that_they_need(aperio: Aperio) -> None:
    asked = ("--registry", aperio.folder / "nothing")
    refused = aperio.refuses("plugin", "search", *asked, code="index-unreadable", status=4)
    assert "`aperio registry build`" in refused.next[0]
    missing = aperio.refuses("plugin", "remove", PLUGIN, *asked, code="not-installed", status=1)
    assert missing.next
    assert all(step.endswith(f" --registry {asked[1]}`") for step in missing.next)

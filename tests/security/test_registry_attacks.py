"""What a registry can say, when whoever writes it is an enemy."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.config import Config
from aperio_cli.errors import AperioError
from aperio_cli.installing import InstallRequest, install
from aperio_cli.models.artifact import BUNDLE_SUFFIX
from aperio_cli.models.digest import Digest
from aperio_cli.models.plugin_id import PluginRef
from aperio_cli.models.registry_index import MAX_BYTES
from aperio_cli.publishing import serving
from aperio_cli.registry import open_registry
from tests.builders import (
    LINUX,
    PLUGIN,
    Machine,
    index_bytes,
    index_entry,
    index_version,
    registry_folder,
    unchanged,
)
from tests.trust import new_domain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aperio_cli.models.offer import Offer
    from aperio_cli.signing.local import LocalDomain


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> LocalDomain:
    return new_domain(tmp_path_factory.mktemp("trust"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, domain: LocalDomain) -> Machine:
    """A machine on which an earlier version is installed."""
    made = Machine(tmp_path_factory.mktemp("installed"), domain)
    made.install(made.signed(version="1.0.0"))
    return made


@pytest.fixture
def machine(tmp_path: Path, installed: Machine) -> Machine:
    """A copy of it, in which there is something to lose."""
    return installed.copied(tmp_path)


def published(machine: Machine, artifact: Path, **changes: Any) -> Path:
    """A registry with one artifact, telling the truth but for the changes."""
    folder = machine.root / "registry"
    folder.mkdir(exist_ok=True)
    (folder / artifact.name).write_bytes(artifact.read_bytes())
    bundle = artifact.with_name(artifact.name + BUNDLE_SUFFIX).read_text()
    truth = {
        "download_url": artifact.name,
        "sha256": Digest.of(artifact.read_bytes()).hex,
        "sigstore_bundle": bundle,
    }
    return registry_folder(folder, index_bytes(index_entry(index_version(**truth | changes))))


def offered(machine: Machine, folder: Path | str, ref: str = PLUGIN) -> Offer:
    registry = open_registry(str(folder), Config(), machine.paths, offline=False)
    return registry.resolve(PluginRef.parse(ref), LINUX)


def refused(machine: Machine, folder: Path | str, ref: str = PLUGIN) -> AperioError:
    """What an installation from the registry ends with, after which nothing is different."""

    def attempt() -> None:
        with machine.verify(offered(machine, folder, ref)) as admitted:
            install(admitted, machine.store, InstallRequest())

    watched = machine.paths.plugins, machine.root / "registry"
    with unchanged(*watched), pytest.raises(AperioError) as caught:
        attempt()
    return caught.value


def test_truthful_registry_is_installed_from(machine: Machine) -> None:
    with machine.verify(offered(machine, published(machine, machine.signed()))) as admitted:
        assert install(admitted, machine.store, InstallRequest()).replaced == "1.0.0"


def test_truthful_registry_is_installed_from_over_http(machine: Machine) -> None:
    with (
        serving(published(machine, machine.signed())) as url,
        machine.verify(offered(machine, url)) as admitted,
    ):
        install(admitted, machine.store, InstallRequest())
    assert machine.store.get(PluginRef.parse(PLUGIN)).source.startswith(url)


# ── indexes ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("index", "code"),
    [
        (b"<html>not json", "index-unreadable"),
        (b"", "index-unreadable"),
        (index_bytes(version=2), "index-version-unknown"),
        (index_bytes(index_entry(), index_entry()), "index-unreadable"),
        (index_bytes(index_entry(id="../../etc/passwd")), "index-unreadable"),
    ],
)
def test_index_that_cannot_be_used_is_refused(machine: Machine, index: bytes, code: str) -> None:
    error = refused(machine, registry_folder(machine.root / "registry", index))
    assert (error.code, error.exit_status) == (code, 4)
    assert error.what.startswith("the index `")


@pytest.mark.parametrize("is_served", [False, True], ids=["folder", "http"])
def test_index_of_a_gigabyte_is_refused(machine: Machine, *, is_served: bool) -> None:
    folder = registry_folder(machine.root / "registry")
    with (folder / "plugins.json").open("r+b") as file:
        file.truncate(1024**3)  # sparse: takes no space
    if is_served:
        with serving(folder) as url:
            error = refused_without_snapshot(machine, url)
    else:
        error = refused_without_snapshot(machine, folder)
    assert (error.code, error.exit_status) == ("index-too-large", 4)


# An address space is not held to it: a library that is mapped takes some without using it.
LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_DATA, (400 * 1024**2,) * 2)
from aperio_cli.__main__ import main
sys.exit(main(["plugin", "install", "acme/other", "--json", "--registry", sys.argv[1]]))
"""


def install_in_little_memory(machine: Machine, index: bytes) -> tuple[str, int]:
    """The code and the exit status of an installation that has 400 MiB for everything."""
    folder = registry_folder(machine.root / "registry", index)
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(folder)],
        env={"HOME": str(machine.root), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        timeout=100,
        check=False,
    )
    (error,) = json.loads(done.stdout)["errors"]
    return error["code"], done.returncode


@pytest.mark.parametrize(
    ("begin", "unit", "end"),
    [
        (b'{"version":1,"plugins":[', b'{"":{}},', b"{}]}"),
        pytest.param(b'{"version":1,"plugins":[', b"[],", b"0]}", marks=pytest.mark.slow),
        pytest.param(b'{"version":1,"plugins":[', b"0,", b"0]}", marks=pytest.mark.slow),
        (b'{"version":1,"x":{"y":[', b'{"a":[]},', b"{}]}}"),
    ],
    ids=["objects", "lists", "numbers", "ignored"],
)
def test_index_of_many_members_takes_little_memory(
    machine: Machine, begin: bytes, unit: bytes, end: bytes
) -> None:
    """Objects need the most; of lists and numbers test_hostile_documents has the memory."""
    room = MAX_BYTES - len(begin) - len(end)
    index = begin + unit * (room // len(unit)) + end
    assert install_in_little_memory(machine, index) == ("index-unreadable", 4)


def test_large_index_of_a_registry_is_read_in_that_memory(machine: Machine) -> None:
    version = index_version(sigstore_bundle="{" + '"x":[1,{}],' * 20 + '"y":""}')
    entries = [index_entry(version, id=f"acme/box-{number}") for number in range(20_000)]
    index = index_bytes(*entries)
    assert 10 * 1024**2 < len(index) < MAX_BYTES
    assert install_in_little_memory(machine, index) == ("plugin-not-found", 1)


def refused_without_snapshot(machine: Machine, folder: Path | str) -> AperioError:
    """As `refused`, for a registry too large to be compared."""
    with unchanged(machine.paths.plugins), pytest.raises(AperioError) as caught:
        offered(machine, folder)
    return caught.value


def test_detail_file_that_was_exchanged_is_refused(machine: Machine) -> None:
    stated = {"url": "detail.json", "sha256": hashlib.sha256(b"other").hexdigest()}
    folder = registry_folder(machine.root / "registry", index_bytes(index_entry(detail=stated)))
    (folder / "detail.json").write_text(json.dumps(index_entry()))
    error = refused(machine, folder)
    assert (error.code, error.exit_status) == ("artifact-digest-mismatch", 3)


def test_detail_file_of_another_plugin_is_refused(machine: Machine) -> None:
    detail = json.dumps(index_entry(id="evil/plugin")).encode()
    stated = {"url": "detail.json", "sha256": hashlib.sha256(detail).hexdigest()}
    folder = registry_folder(machine.root / "registry", index_bytes(index_entry(detail=stated)))
    (folder / "detail.json").write_bytes(detail)
    error = refused(machine, folder)
    assert error.code == "index-unreadable"
    assert "evil/plugin" in error.why


# ── locations ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "url",
    [
        "../secret",
        "a/../../secret",
        "/etc/passwd",
        "%2e%2e/secret",
        "a%2f..%2f..%2fsecret",
        "..\\secret",
        "./secret",
        "file:///etc/passwd",
        "FILE:///etc/passwd",
        "ftp://127.0.0.1/x",
        "data:text/plain,x",
        "a%00b",
    ],
)
@pytest.mark.parametrize("key", ["download_url", "sigstore_bundle"])
def test_location_outside_of_the_registry_is_refused(machine: Machine, key: str, url: str) -> None:
    (machine.root / "secret").write_text("secret")
    folder = published(machine, machine.signed(), **{key: url})
    error = refused(machine, folder)
    assert (error.code, error.exit_status) == ("index-unreadable", 4)


def test_link_in_the_place_of_an_artifact_is_refused(machine: Machine) -> None:
    artifact = machine.signed()
    folder = published(machine, artifact)
    (folder / artifact.name).unlink()
    (folder / artifact.name).symlink_to(artifact)
    error = refused(machine, folder)
    assert (error.code, error.exit_status) == ("file-not-regular", 3)


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str]]]:
    """A service on this machine that nobody outside may reach: its address, what it was asked."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as service:
        thread = threading.Thread(target=service.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{service.server_port}/", paths
        service.shutdown()
        thread.join()


def pointing(machine: Machine, key: str, url: str) -> Path:
    """A registry whose index has something at an address: a key of a version, or its detail."""
    if key != "detail":
        return published(machine, machine.signed(), **{key: url})
    stated = {"url": url, "sha256": "a" * 64}
    return registry_folder(machine.root / "registry", index_bytes(index_entry(detail=stated)))


POINTING = ["download_url", "sigstore_bundle", "attestations", "detail"]


@pytest.mark.parametrize("key", POINTING)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "localhost."])
def test_index_in_a_folder_cannot_have_this_machine_asked(
    machine: Machine, asked: tuple[str, list[str]], key: str, host: str
) -> None:
    url, paths = asked
    error = refused(machine, pointing(machine, key, url.replace("127.0.0.1", host)))
    assert (error.code, error.exit_status) == ("index-unreadable", 4)
    assert paths == []


@pytest.mark.parametrize("key", POINTING)
def test_index_from_this_machine_over_http_may_have_it_asked(
    machine: Machine, asked: tuple[str, list[str]], key: str
) -> None:
    url, paths = asked
    with serving(pointing(machine, key, url + "x")) as base:
        refused(machine, base)
    assert paths == ["/x"]


@pytest.mark.parametrize(
    "url", ["http://192.0.2.1/x", "//192.0.2.1/x", "http://127.0.0.1.example.org/x"]
)
def test_plain_http_to_another_machine_is_refused(machine: Machine, url: str) -> None:
    with serving(published(machine, machine.signed(), download_url=url)) as base:
        error = refused(machine, base)
    assert (error.code, error.exit_status) == ("insecure-url", 3)


# ── lies about artifacts ──────────────────────────────────────────────────────────────────────────


def test_wrong_digest_is_refused(machine: Machine) -> None:
    error = refused(machine, published(machine, machine.signed(), sha256="0" * 64))
    assert (error.code, error.exit_status) == ("artifact-digest-mismatch", 3)
    assert error.what.startswith("`acme/box-connector` 1.2.3 was refused")
    assert f"expected sha256:{'0' * 64}" in error.why
    assert "received sha256:" in error.why


def test_missing_bundle_is_refused(machine: Machine) -> None:
    error = refused(machine, published(machine, machine.signed(), sigstore_bundle=""))
    assert (error.code, error.exit_status) == ("signature-missing", 3)


def test_genuine_artifact_under_another_version_is_refused(machine: Machine) -> None:
    error = refused(machine, published(machine, machine.signed(), version="9.9.9"))
    assert (error.code, error.exit_status) == ("manifest-mismatch", 3)
    assert error.why == "version: offered 9.9.9, found 1.2.3"


def test_genuine_artifact_under_another_id_is_refused(machine: Machine) -> None:
    folder = published(machine, machine.signed())
    index = json.loads((folder / "plugins.json").read_bytes())
    index["plugins"][0]["id"] = "acme/other"
    (folder / "plugins.json").write_text(json.dumps(index))
    error = refused(machine, folder, "acme/other")
    assert (error.code, error.exit_status) == ("manifest-mismatch", 3)


def test_wrong_length_is_refused(machine: Machine) -> None:
    artifact = machine.signed()
    row = {
        "os": "linux",
        "arch": "amd64",
        "url": artifact.name,
        "sha256": Digest.of(artifact.read_bytes()).hex,
        "sigstore_bundle": artifact.with_name(artifact.name + BUNDLE_SUFFIX).read_text(),
        "size": artifact.stat().st_size + 1,
    }
    error = refused(machine, published(machine, artifact, artifacts=[row]))
    assert (error.code, error.exit_status) == ("artifact-digest-mismatch", 3)


def test_publisher_that_the_index_calls_verified_is_believed_no_more(machine: Machine) -> None:
    artifact = machine.sign(machine.signed(), identity="mallory@local")
    folder = published(
        machine,
        artifact,
        publisher={"name": "acme", "verified": True, "tier": "verified"},
    )
    error = refused(machine, folder)
    assert (error.code, error.exit_status) == ("signature-identity-mismatch", 3)


def test_offer_cannot_bring_its_own_exception(machine: Machine) -> None:
    from aperio_cli.models.evidence import ExceptionGranted

    granted = ExceptionGranted("unsigned", "2099-01-01", "x")
    stated = replace(offered(machine, published(machine, machine.signed())), bundle=None)
    with pytest.raises(AperioError) as caught:
        machine.verify(stated, exception=granted)
    assert caught.value.code == "signature-missing"

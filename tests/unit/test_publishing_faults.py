"""What a server does wrong on purpose, seen from the socket, and what our client makes of each."""

from __future__ import annotations

import contextlib
import http.client
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from aperio_cli.errors.files import (
    DigestMismatch,
    NetworkUnavailable,
    ResponseNotFound,
    ResponseTooLarge,
)
from aperio_cli.errors.usage import UsageError
from aperio_cli.models.digest import Digest
from aperio_cli.net.fetch import FetchRequest, fetch_bytes
from aperio_cli.publishing.faults import NAMES, OF_EDITIONS, SENDING, Fault
from aperio_cli.publishing.serving import faults_of, serving
from tests.builders import registry_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aperio_cli.errors import AperioError

DATA = bytes(range(256)) * 1000
_TIMEOUT_S = 1.0
_WITHIN_S = 30.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = registry_folder(tmp_path / "registry", b'{"version": 1}')
    for name in ("registry.json", "registry.json.sigstore.json", "plugins.json"):
        (made / name).write_bytes(b"this " + name.encode())
    (made / "plugins").mkdir()
    (made / "plugins/box.json").write_bytes(DATA)
    (made / "box.tar.gz").write_bytes(DATA)
    return made


@pytest.fixture
def older(tmp_path: Path) -> Path:
    made = registry_folder(tmp_path / "older", b'{"version": 1}')
    for name in ("registry.json", "registry.json.sigstore.json", "plugins.json"):
        (made / name).write_bytes(b"older " + name.encode())
    return made


@contextlib.contextmanager
def serve(folder: Path, fault: str, other: Path | None = None) -> Iterator[str]:
    with serving(folder, faults=faults_of(fault, other)) as url:
        yield url


def get(url: str, path: str, **headers: str) -> tuple[int, bytes]:
    """Status and body, at most twice the file, whatever the headers announce."""
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(url).port or 0, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        try:
            return response.status, response.read(2 * len(DATA))
        except http.client.IncompleteRead as cut:
            return response.status, cut.partial


def test_every_fault_is_there_and_nothing_else_is_one() -> None:
    assert set(NAMES) == {*SENDING, *OF_EDITIONS}
    assert [Fault.parse(name).name for name in NAMES] == list(NAMES)
    assert Fault.parse("tamper:plugins/*") == Fault("tamper", "plugins/*")
    for text in ("", "tampers", "tamper:", ":x", "Tamper", "404 "):
        with pytest.raises(UsageError, match="no fault"):
            Fault.parse(text)


@pytest.mark.parametrize("name", OF_EDITIONS)
def test_fault_that_mixes_two_needs_the_other_one(name: str, older: Path) -> None:
    assert faults_of(name, older).other == (older, ())
    with pytest.raises(UsageError, match="mix it with another"):
        faults_of(name, None)
    with pytest.raises(UsageError, match="mix it with another"):
        faults_of("tamper", older)
    assert faults_of("", None).fault is None


def test_file_that_the_pattern_spares_is_as_it_is(folder: Path) -> None:
    with serve(folder, "404:plugins/*") as url:
        assert get(url, "/plugins/box.json")[0] == 404
        assert get(url, "/plugins/box.json?x=1")[0] == 404
        assert get(url, "/box.tar.gz") == (200, DATA)


def test_answers_are_wrong_as_asked(folder: Path) -> None:
    middle = len(DATA) // 2
    half, changed = DATA[:middle], bytearray(DATA)
    changed[middle] ^= 1
    expected = {
        "tamper": (200, bytes(changed)), "truncate": (200, half), "cut": (200, half),
        "304": (304, b""), "endless": (200, DATA + bytes(len(DATA))),
    }  # fmt: skip
    for name, answer in expected.items():
        with serve(folder, name) as url:
            assert get(url, "/box.tar.gz") == answer
    with serve(folder, "500") as url:
        assert get(url, "/box.tar.gz")[0] == 500


def test_rest_of_a_file_is_served_to_whoever_has_the_beginning(folder: Path) -> None:
    with serve(folder, "") as url:
        assert get(url, "/box.tar.gz", Range="bytes=1000-") == (206, DATA[1000:])
        assert get(url, "/box.tar.gz", Range="bytes=1000-", **{"If-Range": '"x"'}) == (200, DATA)
        for other in ("bytes=0-", "bytes=5-9", f"bytes={len(DATA)}-", "bytes=-5", "lines=1-"):
            assert get(url, "/box.tar.gz", Range=other) == (200, DATA)


def test_editions_are_mixed_as_asked(folder: Path, older: Path) -> None:
    def words(url: str) -> list[str]:
        paths = ("registry.json", "registry.json.sigstore.json", "plugins.json")
        return [get(url, f"/{path}")[1].split()[0].decode() for path in paths]

    with serve(folder, "stale", older) as url:
        assert words(url) == ["older"] * 3
    with serve(folder, "stale:registry.json*", older) as url:
        assert words(url) == ["older", "older", "this"]
    with serve(folder, "mixed", older) as url:
        assert words(url) == ["this", "this", "older"]
    with serve(folder, "fork", older) as url:
        assert [words(url), words(url)] == [["this"] * 3, ["older"] * 3]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("slow", NetworkUnavailable),
        ("tamper", DigestMismatch),
        ("truncate", DigestMismatch),
        ("cut", NetworkUnavailable),
        ("endless", ResponseTooLarge),
        ("404", ResponseNotFound),
        ("500", NetworkUnavailable),
        ("304", NetworkUnavailable),
    ],
)
def test_client_refuses_each_within_its_time(
    folder: Path, name: str, error: type[AperioError]
) -> None:
    def fetch(url: str, timeout_s: float = _WITHIN_S) -> bytes:
        request = FetchRequest(f"{url}box.tar.gz", len(DATA), Digest.of(DATA), timeout_s=timeout_s)
        return fetch_bytes(request, sleep=lambda _: None)[0]

    with serve(folder, f"{name}:other/*") as url:
        assert fetch(url) == DATA
    with serve(folder, name) as url, pytest.raises(error):
        fetch(url, _TIMEOUT_S if name == "slow" else _WITHIN_S)


def test_server_with_an_endless_answer_stops_when_it_is_told(folder: Path) -> None:
    """The thread that sends it would otherwise go on for as long as somebody reads."""
    with contextlib.ExitStack() as clients, serve(folder, "endless") as url:
        for path in ("/box.tar.gz", "/plugins.json"):
            connection = http.client.HTTPConnection("127.0.0.1", urlsplit(url).port or 0, timeout=5)
            clients.callback(connection.close)
            connection.request("GET", path)
            assert connection.getresponse().read(10)

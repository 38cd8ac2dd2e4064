"""A real nats-server on a free port, and as much of a client as reads a stream back.

Protocol: docs.nats.io, "NATS Protocol" and "JetStream wire API Reference".
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import pytest

from tests.go_projects import CACHE

if TYPE_CHECKING:
    from pathlib import Path

STREAM = "AUDIT"
_PATIENCE_S = 20.0
_PAUSE_S = 0.005
_INBOX = "_INBOX.test"


def require_nats_server() -> str:
    """Gives the program that `make setup` builds; skips the test where it is missing."""
    places = f"{CACHE / 'bin'}:{os.environ['PATH']}"
    if program := shutil.which("nats-server", path=places):
        return program
    pytest.skip("nats-server is not on PATH; `make setup` builds it")


@dataclass(frozen=True)
class Stored:
    """A message as a stream has it."""

    subject: str
    headers: dict[str, str]
    data: bytes


class NatsServer:
    """A server with JetStream on 127.0.0.1; what it stores outlives it, and its port stays.

    Args:
        folder: for its files.
        config: more of its configuration.
        login: what a client of the test says of itself: keys of CONNECT.
    """

    def __init__(self, folder: Path, config: str = "", login: dict[str, str] | None = None) -> None:
        self.port = -1
        self._folder = folder
        self._config = config
        self._login = login or {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, on the port that it had before; it ends with the thread that starts it."""
        program = require_nats_server()
        config = self._folder / "server.conf"
        config.write_text(
            f'listen: "127.0.0.1:{self.port}"\nserver_name: test\n'
            f'jetstream {{ store_dir: "{self._folder}/store" }}\n{self._config}\n'
        )
        words = ["setpriv", "--pdeathsig", "KILL", program, "-c", str(config)]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*words, "--ports_file_dir", str(self._folder)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self.port = self._told_port(self._process)

    def _told_port(self, process: subprocess.Popen[bytes]) -> int:
        told = self._folder / f"nats-server_{process.pid}.ports"
        until = time.monotonic() + _PATIENCE_S
        while time.monotonic() < until and process.poll() is None:
            try:
                [address] = json.loads(told.read_text())["nats"]
            except (OSError, ValueError):  # not yet, or not whole
                time.sleep(_PAUSE_S)
            else:
                return urlsplit(address).port or 0
        pytest.fail((self._folder / "server.log").read_text())

    def kill(self) -> None:
        """End it at once."""
        if self._process:
            self._process.kill()
            self._process.wait(_PATIENCE_S)
            self._process = None

    def make_stream(self, name: str = STREAM, **settings: object) -> None:
        """A stream that takes `events.>`, unless settings say otherwise."""
        config = {
            "name": name, "subjects": ["events.>"], "storage": "file", "max_msgs": -1,
            "max_bytes": -1, "max_age": 0, "max_consumers": -1, "num_replicas": 1,
        }  # fmt: skip
        self._ask(f"STREAM.CREATE.{name}", config | settings)

    def count(self, name: str = STREAM) -> int:
        """How many messages a stream has."""
        messages: int = self._ask(f"STREAM.INFO.{name}")["state"]["messages"]
        return messages

    def stored(self, name: str = STREAM) -> list[Stored]:
        """All messages of a stream, in order."""
        with _Client(self.address, self._login) as client:
            last = client.ask(f"STREAM.INFO.{name}", {})["state"]["last_seq"]
            answers = [
                client.ask(f"STREAM.MSG.GET.{name}", {"seq": number})["message"]
                for number in range(1, last + 1)
            ]
        return [
            Stored(
                subject=answer["subject"],
                headers=_headers(base64.b64decode(answer.get("hdrs", ""))),
                data=base64.b64decode(answer.get("data", "")),
            )
            for answer in answers
        ]

    def _ask(self, what: str, question: object = None) -> dict[str, Any]:
        with _Client(self.address, self._login) as client:
            return client.ask(what, question or {})


def _headers(data: bytes) -> dict[str, str]:
    lines = data.decode().split("\r\n")[1:]
    return dict(line.split(": ", 1) for line in lines if line)


class _Client:
    """One connection that asks one question of the JetStream API after the other."""

    def __init__(self, address: str, login: dict[str, str]) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), _PATIENCE_S)
        self._file = self._socket.makefile("rb")
        assert self._file.readline().startswith(b"INFO ")
        said = json.dumps({"verbose": False, "pedantic": False} | login)
        self._send(f"CONNECT {said}\r\nSUB {_INBOX} 1\r\n".encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def _send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def ask(self, what: str, question: object) -> dict[str, Any]:
        body = json.dumps(question).encode()
        head = f"PUB $JS.API.{what} {_INBOX} {len(body)}\r\n"
        self._send(head.encode() + body + b"\r\n")
        answer: dict[str, Any] = json.loads(self._message())
        assert "error" not in answer, answer
        return answer

    def _message(self) -> bytes:
        while line := self._file.readline():
            if line == b"PING\r\n":
                self._send(b"PONG\r\n")
            elif found := re.fullmatch(rb"MSG \S+ \S+ (?:\S+ )?(\d+)\r\n", line):
                data = self._file.read(int(found[1]))
                assert self._file.read(2) == b"\r\n"
                return data
            else:
                assert not line.startswith(b"-ERR"), line
        pytest.fail("the server closed the connection")

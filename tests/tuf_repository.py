"""A real TUF repository on this machine, made with python-tuf's own metadata and real keys.

`publish` serves a consistent state, as TUF specification 6.2 asks for (consistent snapshots). A
hostile one is made by changing what is `served`, or how a path is answered.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROLES = ("root", "timestamp", "snapshot", "targets")


def later(days: float = 7) -> datetime:
    """A moment some days from now, as TUF writes it."""
    return datetime.now(tz=UTC).replace(microsecond=0) + timedelta(days=days)


class TufRepository:
    """A repository and its keys.

    Attributes:
        targets: what it vouches for: contents by name.
        expires: when each role's metadata ends, from the next publication on.
        versions: of what was published last.
        served: contents by path.
        answers: what is done instead for a path.
        asked: the paths that were asked for, in this order.
    """

    def __init__(self, **targets: bytes) -> None:
        self.keys = {role: CryptoSigner.generate_ed25519() for role in ROLES}
        self.targets = {name.replace("__", "."): data for name, data in targets.items()}
        self.expires = dict.fromkeys(ROLES, later())
        self.versions = dict.fromkeys(ROLES, 0)
        self.served: dict[str, bytes] = {}
        self.answers: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        self.asked: list[str] = []
        self.publish_root()
        self.publish()

    @property
    def first_root(self) -> bytes:
        """The first version of its root."""
        return self.served["/1.root.json"]

    def publish_root(self, *, new_keys: tuple[str, ...] = ()) -> None:
        """A new version of the root; roles that are named get new keys."""
        signers = [self.keys["root"]]
        for role in new_keys:
            self.keys[role] = CryptoSigner.generate_ed25519()
        if self.keys["root"] not in signers:
            signers.append(self.keys["root"])
        root = Root(self._next("root"), expires=self.expires["root"])
        for role, signer in self.keys.items():
            root.add_key(signer.public_key, role)
        self.served[f"/{root.version}.root.json"] = self._signed(root, *signers)

    def publish(self) -> None:
        """A new version of all that hangs from the root."""
        named = {name: TargetFile.from_data(name, data) for name, data in self.targets.items()}
        for name, data in self.targets.items():
            self.served[f"/targets/{hashlib.sha256(data).hexdigest()}.{name}"] = data
        version = self._next("targets")
        targets = Targets(version, expires=self.expires["targets"], targets=named)
        self.served[f"/{version}.targets.json"] = self._signed(targets)
        self.publish_snapshot()

    def publish_snapshot(self) -> None:
        """A new version of the snapshot, and of the timestamp that names it."""
        version = self._next("snapshot")
        meta = {"targets.json": MetaFile(self.versions["targets"])}
        snapshot = Snapshot(version, expires=self.expires["snapshot"], meta=meta)
        self.served[f"/{version}.snapshot.json"] = self._signed(snapshot)
        self.publish_timestamp()

    def publish_timestamp(self) -> None:
        """A new version of the timestamp only."""
        timestamp = Timestamp(
            self._next("timestamp"),
            expires=self.expires["timestamp"],
            snapshot_meta=MetaFile(self.versions["snapshot"]),
        )
        self.served["/timestamp.json"] = self._signed(timestamp)

    def path_of(self, target: str) -> str:
        """The path at which a target is served."""
        return f"/targets/{hashlib.sha256(self.targets[target]).hexdigest()}.{target}"

    def _next(self, role: str) -> int:
        self.versions[role] += 1
        return self.versions[role]

    def _signed(self, signed: Any, *signers: CryptoSigner) -> bytes:
        metadata = Metadata(signed)
        for signer in signers or (self.keys[signed.type],):
            metadata.sign(signer, append=True)
        return metadata.to_bytes()


@contextlib.contextmanager
def serving(repository: TufRepository) -> Iterator[str]:
    """Serves a repository on 127.0.0.1, and gives its address with a slash at the end."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            repository.asked.append(self.path)
            with contextlib.suppress(ConnectionError):  # whoever has enough hangs up
                if answer := repository.answers.get(self.path):
                    answer(self)
                elif self.path in repository.served:
                    reply(self, 200, repository.served[self.path])
                else:
                    reply(self, 404, b"")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def reply(handler: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    """One answer with its length."""
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def refusing(status: int) -> Callable[[BaseHTTPRequestHandler], None]:
    """An answer with this status and nothing else."""
    return lambda handler: reply(handler, status, b"")


def endless(handler: BaseHTTPRequestHandler) -> None:
    """An answer without a length that never ends."""
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b" " * 65536)

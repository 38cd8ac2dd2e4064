"""The transparency log of a local trust domain: an RFC 6962 tree with a C2SP checkpoint.

Entries are `hashedrekord` 0.0.2 as Rekor v2 makes them (sigstore/rekor-tiles,
api/proto/rekor/v2/hashedrekord.proto), one canonical JSON document a line in `entries.jsonl`.
An entry is acknowledged after it is on disk; a line without its end was never acknowledged and
is dropped. `checkpoint` holds the last signed tree head: entries that it covers may not change.

This module loads `cryptography`: import it inside functions only.
"""

from __future__ import annotations

import base64
import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from aperio_cli.files import locking, reading, writing
from aperio_cli.models.reading import Bounds, described, parse_json
from aperio_cli.models.tlog.merkle import Tree, inclusion_proof, leaf_hash

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

MAX_ENTRY_BYTES = 16 * 1024
MAX_ENTRIES = 1_000_000
LOCK_WAIT_S = 20.0

_KIND, _VERSION = "hashedrekord", "0.0.2"
_KEY_DETAILS = "PKIX_ECDSA_P256_SHA_256"
_MAX_CHECKPOINT_BYTES = 4096
_ED25519_NOTE = b"\x01"  # C2SP signed-note: the signature type that enters a key id


class EntryInvalid(ValueError):
    """The body is not an entry that this log records."""


class LogDamaged(Exception):
    """The log's files no longer say what the log signed."""


@dataclass(frozen=True, slots=True)
class EntryRequest:
    """A request to record that a certified key signed a digest.

    Attributes:
        digest: SHA-256 of what was signed, 32 bytes.
        signature: DER ECDSA signature over the digest.
        certificate: the signer's leaf.
    """

    digest: bytes
    signature: bytes
    certificate: x509.Certificate

    @classmethod
    def parse(cls, document: bytes) -> EntryRequest:
        """Return the request in a Rekor v2 CreateEntryRequest as JSON.

        Raises:
            EntryInvalid: when it is anything else than a `hashedrekord` with a P-256 certificate.
        """
        table = parse_json(document, Bounds(MAX_ENTRY_BYTES), _fail)
        request = table.table("hashedRekordRequestV002")
        signature = request.table("signature")
        certificate = signature.table("verifier").table("x509Certificate")
        return cls(
            digest=request.converted("digest", _decoded),
            signature=signature.converted("content", _decoded),
            certificate=certificate.converted("rawBytes", _certificate),
        )

    def check(self, issuer: x509.Certificate) -> None:
        """Find the signature good and the certificate issued by `issuer`.

        Raises:
            EntryInvalid: when one of them is not.
        """
        try:
            self.certificate.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise EntryInvalid("the certificate is not of this trust domain") from error
        key = self.certificate.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise EntryInvalid("only ECDSA signatures are recorded")
        try:
            key.verify(self.signature, self.digest, ec.ECDSA(Prehashed(hashes.SHA256())))
        except (ValueError, InvalidSignature) as error:
            raise EntryInvalid("the signature does not verify") from error

    def body(self) -> bytes:
        """Return the entry as canonical JSON (RFC 8785): what the tree's leaf is the hash of."""
        import rfc8785

        certificate = self.certificate.public_bytes(serialization.Encoding.DER)
        verifier: dict[str, Any] = {
            "keyDetails": _KEY_DETAILS,
            "x509Certificate": {"rawBytes": _encoded(certificate)},
        }
        data = {"algorithm": "SHA2_256", "digest": _encoded(self.digest)}
        signature = {"content": _encoded(self.signature), "verifier": verifier}
        spec: dict[str, Any] = {"hashedRekordV002": {"data": data, "signature": signature}}
        return rfc8785.dumps({"apiVersion": _VERSION, "kind": _KIND, "spec": spec})


@dataclass(frozen=True, slots=True)
class TransparencyLog:
    """An append-only log in a folder.

    Attributes:
        directory: holds `entries.jsonl`, `checkpoint` and `lock`.
        key: signs checkpoints.
        origin: the log's name in checkpoints.
    """

    directory: Path
    key: Ed25519PrivateKey
    origin: str

    @property
    def log_id(self) -> bytes:
        """The key id of C2SP signed-note; its first four bytes mark checkpoint signatures."""
        public = self.key.public_key().public_bytes_raw()
        return hashlib.sha256(self.origin.encode() + b"\n" + _ED25519_NOTE + public).digest()

    def append(self, request: EntryRequest) -> dict[str, Any]:
        """Record an entry and prove it: a TransparencyLogEntry as JSON (sigstore_rekor.proto).

        Raises:
            EntryInvalid: when the entry is longer than 16 KiB, or the log is full.
            LogDamaged: when entries that the last checkpoint covers have changed.
            LockHeld: when another process holds the log for 20 seconds.
            DiskFull: when there is no space for the entry.
            OSError: when the log's files cannot be written.
        """
        body = request.body()
        if len(body) >= MAX_ENTRY_BYTES:
            raise EntryInvalid(f"an entry is at most {MAX_ENTRY_BYTES} bytes")
        lock = self.directory / "lock"
        with locking.FileLock(lock, what="nothing was recorded in the log", timeout_s=LOCK_WAIT_S):
            tree = self._recover()
            if len(tree) >= MAX_ENTRIES:
                raise EntryInvalid(f"the log is full: it has {MAX_ENTRIES} entries")
            tree.append(leaf_hash(body))
            self._write(body)
            checkpoint = self._sign_checkpoint(len(tree), tree.root())
            writing.write_atomic(self.directory / "checkpoint", checkpoint.encode())
        return self._entry(body, tree, checkpoint)

    def _write(self, body: bytes) -> None:
        path = self.directory / "entries.jsonl"
        with writing.disk_full_guard(f"`{path}` was not extended"), path.open("ab") as entries:
            entries.write(body + b"\n")
            entries.flush()
            os.fsync(entries.fileno())

    def _recover(self) -> Tree:
        """Return the tree so far, after an unfinished last line was cut off."""
        tree = Tree()
        complete = 0
        with (self.directory / "entries.jsonl").open("ab+") as entries:
            entries.seek(0)
            while (line := entries.readline(MAX_ENTRY_BYTES)).endswith(b"\n"):
                tree.append(leaf_hash(line[:-1]))
                complete += len(line)
            self._check_history(tree)
            if line:
                entries.truncate(complete)
        return tree

    def _check_history(self, tree: Tree) -> None:
        path = self.directory / "checkpoint"
        if not path.exists():
            return  # nothing was recorded yet
        signed = reading.read_capped(path, _MAX_CHECKPOINT_BYTES).decode("utf-8")
        try:
            size = int(signed.split("\n")[1])
        except (IndexError, ValueError) as error:
            raise LogDamaged("the log's checkpoint cannot be read") from error
        if not 0 <= size <= len(tree) or self._sign_checkpoint(size, tree.root(size)) != signed:
            raise LogDamaged("entries of the log that were already signed have changed")

    def _sign_checkpoint(self, size: int, head: bytes) -> str:
        """Return a signed note (C2SP tlog-checkpoint); the same tree always gives the same text."""
        note = f"{self.origin}\n{size}\n{_encoded(head)}\n"
        signature = _encoded(self.log_id[:4] + self.key.sign(note.encode()))
        return f"{note}\n\N{EM DASH} {self.origin} {signature}\n"

    def _entry(self, body: bytes, tree: Tree, checkpoint: str) -> dict[str, Any]:
        size = len(tree)
        index = size - 1
        return {
            "logIndex": str(index),
            "logId": {"keyId": _encoded(self.log_id)},
            "kindVersion": {"kind": _KIND, "version": _VERSION},
            "inclusionProof": {
                "logIndex": str(index),
                "rootHash": _encoded(tree.root()),
                "treeSize": str(size),
                "hashes": [_encoded(node) for node in inclusion_proof(index, size, tree.node)],
                "checkpoint": {"envelope": checkpoint},
            },
            "canonicalizedBody": _encoded(body),
        }


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _decoded(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _certificate(text: str) -> x509.Certificate:
    return x509.load_der_x509_certificate(_decoded(text))


def _fail(key: str, why: str) -> NoReturn:
    problem = described(key, why)
    raise EntryInvalid(f"not a hashedrekord 0.0.2 request with a certificate: {problem}")

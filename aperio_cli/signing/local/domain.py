"""A local trust domain on disk, and the moment in which its services run.

    trusted_root.json    all that verification reads; holds no secret
    domain.json          {"schema": 1, "identity": "alice@local"}
    keys/*.pem           PKCS#8, unencrypted, 0600; the root's key was never written
    log/                 the transparency log (`log.py`)

One process holds every key, so this domain gives no separation of powers: it shows the whole path
working on one machine, and says nothing to anybody else.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from aperio_cli.errors.trust import IdentityInvalid, TrustDomainExists, TrustDomainMissing
from aperio_cli.files import owning, removing, writing
from aperio_cli.models.newer import is_ours, refuse_newer
from aperio_cli.models.publisher import LOCAL_DOMAIN, LOCAL_ISSUER
from aperio_cli.signing.local import state

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aperio_cli.signing.credential import Credential
    from aperio_cli.signing.local.server import Services

_SCHEMA = 1
_IDENTITY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._+-]{0,62}[A-Za-z0-9_])?@local", re.ASCII)


@dataclass(frozen=True, slots=True)
class LocalDomain:
    """The local trust domain of one user.

    Attributes:
        directory: where it is kept; only its user may look into it.
        identity: whom it certifies: `<login>@local`.
    """

    directory: Path
    identity: str

    name: ClassVar[str] = LOCAL_DOMAIN
    issuer: ClassVar[str] = LOCAL_ISSUER

    def trusted_root_json(self) -> str:
        """Return the trusted root (sigstore_trustroot.proto as JSON).

        Raises:
            TrustDomainBroken: when it cannot be read.
        """
        return json.dumps(state.read_document(self.directory, state.ROOT_FILE))

    @contextlib.contextmanager
    def serving(self) -> Iterator[str]:
        """Run the domain's services while the block runs; gives a ClientTrustConfig as JSON.

        They listen on a free port of 127.0.0.1; afterwards no thread and no port is left. Meanwhile
        this process uses no proxy for 127.0.0.1 and no stored passwords.

        Raises:
            TrustDomainBroken: when a key is missing, damaged, of another domain or not private.
            OSError: when no port can be had.
        """
        from aperio_cli.signing.local import documents, server

        services = self.services()
        root = state.read_document(self.directory, state.ROOT_FILE)
        with server.serving(services) as url, server.direct_connections():
            yield documents.client_trust_config(root, url)

    def identity_token(self) -> str:
        """Return a token that lets its bearer sign as `identity` for five minutes: a secret.

        Raises:
            TrustDomainBroken: when the key is missing, damaged or not private.
        """
        from aperio_cli.signing.local import tokens

        return tokens.mint(self.services().token_key, self.identity)

    def credential(self) -> Credential:
        """Return the domain's user, with a token that lasts five minutes.

        Raises:
            TrustDomainBroken: when the key is missing, damaged or not private.
        """
        from aperio_cli.signing.credential import read_credential

        return read_credential(self.identity_token())

    def services(self) -> Services:
        """Return the services with their keys, not yet listening.

        Raises:
            TrustDomainBroken: when a key is missing, damaged, of another domain or not private.
        """
        from aperio_cli.signing.local import keyring

        return keyring.load(self.directory)


def create_domain(directory: Path, identity: str) -> LocalDomain:
    """Make a new trust domain; it appears whole or not at all.

    Args:
        directory: where to keep it; the folder above is made when missing.
        identity: whom it certifies: `<login>@local`.

    Raises:
        TrustDomainExists: when something is there already; it stays as it is.
        IdentityInvalid: when the identity is not of that form.
        FolderNotPrivate, PathShared: when the folder above, or one on the way to it, is open to
            somebody else.
        DiskFull: when there is no space.
        OSError: when the folder above cannot be written.
    """
    from aperio_cli.signing.local import keyring

    if not _IDENTITY.fullmatch(identity):
        raise IdentityInvalid(
            f"`{identity}` cannot be a local identity, no trust domain was made",
            why="expected <login>@local; a login of ASCII letters, digits and . _ + -",
            next=["run it as a user with such a login name"],
        )
    owning.require_own(directory.parent)
    if _is_taken(directory):
        raise _exists(directory)
    writing.ensure_own(directory.parent)
    aside = directory.with_name(writing.ASIDE_PREFIX + secrets.token_hex(8))
    try:
        with writing.disk_full_guard(f"`{directory}` was not made"):
            keyring.make(aside)
            described = {"schema": _SCHEMA, "identity": identity}
            state.write_document(aside, state.DOMAIN_FILE, described)
            aside.rename(directory)
    except OSError as error:
        removing.remove_tree(aside)
        if _is_taken(directory):  # somebody else was faster
            raise _exists(directory) from error
        raise
    except BaseException:
        removing.remove_tree(aside)
        raise
    writing.sync_folder(directory.parent)
    return LocalDomain(directory, identity)


def open_domain(directory: Path) -> LocalDomain:
    """Return the trust domain in a folder; its keys are read when something is signed.

    Raises:
        TrustDomainMissing: when there is none.
        TrustDomainBroken: when its description or its trusted root cannot be read.
        RecordNewer: when a newer aperio made it.
        PathShared: somebody else may change them.
    """
    if not _is_taken(directory):
        raise TrustDomainMissing(
            "nothing was signed: there is no local trust domain",
            why=f"looked in {directory}",
            next=[state.INIT_COMMAND],
        )
    described = state.read_document(directory, state.DOMAIN_FILE)
    schema = described.get("schema")
    refuse_newer(directory / state.DOMAIN_FILE, schema, _SCHEMA, deed="nothing was signed")
    identity = described.get("identity")
    if not is_ours(schema, _SCHEMA) or not isinstance(identity, str):
        raise state.broken(
            directory, f"expected schema {_SCHEMA} and an identity in {state.DOMAIN_FILE}"
        )
    if not _IDENTITY.fullmatch(identity):
        raise state.broken(directory, f"{state.DOMAIN_FILE} names no local identity")
    state.read_document(directory, state.ROOT_FILE)
    return LocalDomain(directory, identity)


def is_domain(directory: Path) -> bool:
    """Return whether a folder has a domain whose keys this user may read, not only its root."""
    return os.access(directory / "keys", os.R_OK | os.X_OK)


def _is_taken(directory: Path) -> bool:
    """Return whether something stands there; an empty folder is nothing."""
    try:
        return any(directory.iterdir())
    except FileNotFoundError:
        return directory.is_symlink()
    except NotADirectoryError:
        return True


def _exists(directory: Path) -> TrustDomainExists:
    return TrustDomainExists(
        "the local trust domain was made before and was left as it is",
        why=f"found {directory}",
        next=[
            "sign with it: `aperio plugin sign --trust local`",
            "see whether a rule trusts it: `aperio trust show`",
        ],
    )

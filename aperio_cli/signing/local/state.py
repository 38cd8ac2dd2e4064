"""The small documents of a local trust domain, and the error that says it cannot be used."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aperio_cli.errors import AperioError
from aperio_cli.errors.trust import TrustDomainBroken
from aperio_cli.files import owning, reading, writing
from aperio_cli.models.reading import Bounds, Unreadable, read_json

if TYPE_CHECKING:
    from pathlib import Path

ROOT_FILE = "trusted_root.json"
DOMAIN_FILE = "domain.json"
INIT_COMMAND = "`aperio trust local init`"
_BOUNDS = Bounds(256 * 1024)


def read_document(directory: Path, name: str) -> dict[str, Any]:
    """Return a JSON object of the domain in `directory`.

    Raises:
        TrustDomainBroken: when it is missing, too long, or not a JSON object.
        PathShared: somebody else may change it.
    """
    path = directory / name
    owning.require_own(path)
    try:
        document = read_json(reading.read_capped(path, _BOUNDS.size_bytes), _BOUNDS)
    except (OSError, Unreadable, AperioError) as error:
        raise broken(directory, f"{path}: {error}") from error
    if not isinstance(document, dict):
        raise broken(directory, f"{path}: expected a JSON object")
    return document


def write_document(directory: Path, name: str, document: dict[str, Any]) -> None:
    """Write a JSON object into the domain in `directory`.

    Raises:
        DiskFull: when there is no space.
        OSError: when the folder cannot be written.
    """
    writing.write_atomic(directory / name, json.dumps(document, indent=2).encode() + b"\n")


def broken(directory: Path, why: str) -> TrustDomainBroken:
    """Return the error for a domain that cannot be used, with the evidence."""
    return TrustDomainBroken(
        "nothing was signed: the local trust domain cannot be used",
        why=why,
        next=[
            f"bring {directory} back from a copy",
            "move it away and make a new one; to plugins installed before it is a stranger",
            INIT_COMMAND,
        ],
    )

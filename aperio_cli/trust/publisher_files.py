"""Publisher files: signed documents in which somebody whom the operator named states publishers."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aperio_cli import clock
from aperio_cli.errors.trust import PublisherFileInvalid
from aperio_cli.models.publisher_file import (
    MAX_PUBLISHER_FILE_BYTES,
    PublisherList,
    parse_publisher_file,
)
from aperio_cli.trust.signed_document import (
    DocumentRequest,
    Schema,
    SignedDocument,
    read_document,
    verify_document,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from aperio_cli.config import PublisherFile
    from aperio_cli.proving.signature import TrustedRootSource

_KIND = "publishers"


@dataclass(frozen=True, slots=True)
class PublisherFileRequest:
    """What to hold a publisher file against.

    Attributes:
        file: the entry that names the file and its signer.
        domains: names of the trust domains that its rules may name.
        roots: the trusted roots of this machine.
        memory: what is remembered of signed documents; made when missing.
        now: the current moment, aware.
    """

    file: PublisherFile
    domains: Sequence[str]
    roots: Sequence[TrustedRootSource]
    memory: Path
    now: datetime = field(default_factory=clock.now)


def verify_publisher_file(request: PublisherFileRequest) -> SignedDocument[PublisherList]:
    """Return what a publisher file states, as the signer whom its entry names has signed it.

    Raises:
        PublisherFileInvalid: file or bundle cannot be read, the signature is none, or is somebody
            else's, the contents are not as they have to be, it has ended, or it is older than one
            seen before.
        DiskFull: there is no space to remember it.
        LockHeld: another process is remembering one.
    """
    file = request.file
    schema = Schema(
        kind=_KIND,
        subject=f"`{file.path}`",
        parse=functools.partial(
            parse_publisher_file, domains=request.domains, source=str(file.path)
        ),
        refused=functools.partial(_invalid, file),
    )
    data, bundle = read_document(schema, file.path, MAX_PUBLISHER_FILE_BYTES)
    return verify_document(
        DocumentRequest(
            schema=schema,
            data=data,
            bundle=bundle,
            signer=file.rule,
            name=file.name,
            roots=request.roots,
            memory=request.memory,
            now=request.now,
        )
    )


def _invalid(file: PublisherFile, why: str, steps: Sequence[str]) -> PublisherFileInvalid:
    return PublisherFileInvalid(
        f"`{file.path}` was not accepted, so nobody may sign for anyone that it names",
        why=f"stated in {file.rule.stated_in}\n{why}",
        next=steps,
    )

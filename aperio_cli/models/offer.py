"""An offer: one version of a plugin for one platform, as a registry or a local file states it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aperio_cli.models.choice import Choice
    from aperio_cli.models.digest import Digest
    from aperio_cli.models.origin import Build, Origin
    from aperio_cli.models.platform import Platform
    from aperio_cli.models.plugin_id import PluginId
    from aperio_cli.models.registry.edition import Edition
    from aperio_cli.models.tlog.proof import LogProof


@dataclass(frozen=True, slots=True)
class Offer:
    """What somebody says can be had; nothing in it is believed before `verifying` has decided.

    Attributes:
        id: the plugin.
        version: the version.
        kind: connector, remediation or destination.
        platform: what it runs on.
        location: where the artifact is: an absolute path or an http(s) URL.
        digest: what the artifact's digest must be; None when a local file is its own offer.
        size_bytes: what its length must be, when stated.
        bundle: the Sigstore bundle itself, or None when there is none.
        source: whose word this is, for people: a registry's location, or the file.
        attestations: signed statements about the artifact, one Sigstore bundle a line; None when
            there are none.
        index_serial: the edition of the index that made the offer, when it says which.
        origin: where the version comes from; None when whoever offers it is not named.
        builds: the artifacts of the version for every platform, this one's included; empty when
            that is all that is known.
        below: the folder of the registry that the location is in, below which no link is
            followed; empty for an address and for a local file.
        mirrors: further addresses of the same bytes.
        edition: the registry that made the offer; None for a local file.
        choice: why it is this version; None when nobody chose.
        tree: digest of the files that it unpacks to, `t1:<hex>`; empty when it is not stated.
        log_proof: that the registry's log has it; None where there is no log.
    """

    id: PluginId
    version: str
    kind: str
    platform: Platform
    location: str
    digest: Digest | None
    size_bytes: int | None
    bundle: bytes | None
    source: str
    attestations: bytes | None = None
    index_serial: int | None = None
    origin: Origin | None = None
    builds: tuple[Build, ...] = ()
    below: str = ""
    mirrors: tuple[str, ...] = ()
    edition: Edition | None = None
    choice: Choice | None = None
    tree: str = ""
    log_proof: LogProof | None = None

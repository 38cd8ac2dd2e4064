"""How far settings let a plugin reach: the hosts and the folders that they name; pure."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from aperio_cli.host.egress.rules import rules_of
from aperio_cli.host.way_out import stubs_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aperio_cli.models.manifest import Manifest


def reach_of(manifest: Manifest, settings: Mapping[str, object]) -> str:
    """Return a digest of what a process is given for the sake of these settings.

    Calls whose settings have the same can be done by one process; its network and its folders are
    made when it starts.
    """
    hosts = sorted(map(str, (*rules_of(manifest, settings), *stubs_of(settings))))
    folders = [str(settings.get(key, "")) for key in manifest.folders_from_config]
    return hashlib.sha256(repr((hosts, folders)).encode()).hexdigest()[:16]

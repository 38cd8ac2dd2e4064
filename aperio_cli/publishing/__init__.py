"""Stage 4, publish: signed artifacts become entries of a registry; the maintainers' side of one."""

from __future__ import annotations

from aperio_cli.publishing.adding import Added, AddRequest, add
from aperio_cli.publishing.index import BuildReport, build
from aperio_cli.publishing.sealing import Sealable, find_sealable, note_sealed, place_sealed
from aperio_cli.publishing.serving import serve, serving
from aperio_cli.publishing.source import create_source as init
from aperio_cli.publishing.withdrawing import Withdrawn, WithdrawRequest, withdraw

__all__ = [
    "AddRequest",
    "Added",
    "BuildReport",
    "Sealable",
    "WithdrawRequest",
    "Withdrawn",
    "add",
    "build",
    "find_sealable",
    "init",
    "note_sealed",
    "place_sealed",
    "serve",
    "serving",
    "withdraw",
]

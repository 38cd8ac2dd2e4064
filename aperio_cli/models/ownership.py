"""Whose stored state is whose: a name for each of those who may stand behind one plugin id.

An id is what anybody may claim, so it opens no stored state by itself. What does is the id with the
signer's lineage, or with the artifact where nobody signed, or with the folder under development.
The names are texts that stand in the state database and in receipts, and say of whom they speak.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from aperio_cli.models.evidence import proof_of
from aperio_cli.models.reading import Bounds, Unreadable, read_json
from aperio_cli.text import clean

if TYPE_CHECKING:
    from pathlib import Path

    from aperio_cli.models.digest import Digest
    from aperio_cli.models.evidence import Evidence
    from aperio_cli.models.plugin_id import PluginId

_FOLDER = "folder"
_SIGNED = "signed"
_UNSIGNED = "unsigned"


def owner_by(plugin: PluginId, evidence: Evidence, artifact: Digest) -> str:
    """Return the owner of the stored state of an artifact that nobody's state was handed to.

    Args:
        plugin: its id.
        evidence: why it was admitted. All that one publisher signs has one owner.
        artifact: its digest, which is all that an unsigned one has in common with itself.
    """
    proof = proof_of(evidence)
    if proof is None:
        return _owner(plugin, _UNSIGNED, str(artifact))
    return _owner(plugin, _SIGNED, *proof.signer.lineage)


def owner_of_folder(plugin: PluginId, folder: Path) -> str:
    """Return the owner of the stored state of a project that is run in place."""
    return _owner(plugin, _FOLDER, str(folder.resolve()))


def owner_in_0_1_0(plugin: PluginId) -> str:
    """Return the owner of what 0.1.0 stored: there, an id was enough."""
    return str(plugin)


def is_owner_of(plugin: PluginId, owner: str) -> bool:
    """Return whether an owner is one of this plugin id's. No id has a space in it."""
    return owner.partition(" ")[0] == str(plugin)


def is_installed_owner(owner: str) -> bool:
    """Return whether an owner speaks of something that was installed, and of no folder."""
    told = owner.partition(" ")[2]
    return not told or told.startswith((f'["{_SIGNED}"', f'["{_UNSIGNED}"'))


def describe(owner: str) -> str:
    """Return of whom an owner speaks, for people."""
    told = owner.partition(" ")[2].encode(errors="replace")
    try:
        found = read_json(told, Bounds(len(told)))
    except Unreadable:
        found = None
    match found:
        case [kind, _, _, str(name), *_] if kind == _SIGNED:  # behind its domain and its issuer
            return clean(f"what {name} signed")
        case [kind, str(folder)] if kind == _FOLDER:
            return clean(f"the folder {folder}")
        case [kind, str(digest)] if kind == _UNSIGNED:
            return clean(f"the unsigned artifact {digest}")
        case _:
            return "what an earlier aperio ran under this id"


def _owner(plugin: PluginId, *of_whom: str) -> str:
    return f"{plugin} {json.dumps(of_whom)}"

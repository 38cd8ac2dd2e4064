"""Reads registries: a plugin's id becomes an offer.

A registry is a folder or an http address with `plugins.json` in it (`models.registry_index`). Its
word is not believed: it says where an artifact is and what its digest should be, and `verifying`
decides. Here only what could mislead that step is refused: an index that is too large or breaks a
rule, a location outside of the registry's folder, a registry elsewhere that nobody signed.

Registries are asked in order, and the first that has an id decides about it. One that cannot be
read stops the search: going on would let the next one take the id over.
"""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from aperio_cli.errors.registries import PluginNotFound, RegistryUnconfigured, RegistryUnsigned
from aperio_cli.errors.usage import UsageError
from aperio_cli.files.naming import step_for_path
from aperio_cli.models.address import Place, has_user, shown
from aperio_cli.models.registry_index import FILE_NAME
from aperio_cli.net.fetch import place_of_url
from aperio_cli.registry.folder import BUILT_FOLDER, FolderReader, find_built
from aperio_cli.registry.http import Downloads, HttpReader
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aperio_cli.config import Config
    from aperio_cli.models.offer import Offer
    from aperio_cli.models.platform import Platform
    from aperio_cli.models.plugin_id import PluginId, PluginRef
    from aperio_cli.paths import Paths
    from aperio_cli.registry.reader import RegistryReader

__all__ = ["BUILT_FOLDER", "Registry", "find_built", "open_registry"]

_CLOSE_NAMES = 3


class Registry:
    """The registries of one call, in the order in which they are asked."""

    def __init__(self, readers: Sequence[RegistryReader]) -> None:
        self._readers = tuple(readers)

    def resolve(self, ref: PluginRef, platform: Platform) -> Offer:
        """Return the offer of the version named, or of the highest stable one that runs here.

        Raises:
            PluginNotFound: no registry has the id, or its registry not that version.
            ProtocolIncompatible: it speaks other major versions of the interface only.
            PlatformIncompatible: it is there for other platforms only; names them.
            IndexTooLarge, IndexUnreadable, IndexVersionUnknown: an index cannot be used.
            AperioError: something could not be fetched (`fetch_bytes` and its errors).
        """
        known: list[PluginId] = []
        for reader in self._readers:
            index = reader.index()
            entry = index.entry(ref.id)
            if entry:
                offer = reader.offer(entry, ref, platform)
                return replace(offer, index_serial=index.serial)
            known += [each.id for each in index.entries]
        close = difflib.get_close_matches(str(ref.id), map(str, known), n=_CLOSE_NAMES)
        places = ", ".join(reader.name for reader in self._readers)
        steps = [f"did you mean `{close[0]}`?"] if close else ["check the id for a typing error"]
        raise PluginNotFound(
            f"`{ref}` was not found",
            why=f"looked in {places}" + (f"\nthere is {', '.join(close)}" if close else ""),
            next=[*steps, *step_for_path(ref)],
        )


def open_registry(stated: str, config: Config, paths: Paths, *, offline: bool) -> Registry:
    """Return the registry that the call states, or else those of the configuration.

    Args:
        stated: `--registry` or APERIO_REGISTRY: a folder or an address; empty for neither.
        config: gives the configured registries.
        paths: gives the cache.
        offline: read folders and what is cached, nothing else.

    Raises:
        RegistryUnconfigured: none is stated.
        RegistryUnsigned: one is neither a folder nor on this machine, or has to be signed.
        UsageError: an address states a user, a password, a query or a fragment.
        InsecureUrl: an address cannot be read.
    """
    named = [(stated, "")] if stated else [(rule.url, rule.identity) for rule in config.registries]
    if not named:
        raise RegistryUnconfigured(
            "no registry is configured, so no plugin can be looked up by its id",
            why=f"found neither `--registry`, nor APERIO_REGISTRY, nor a rule in {config.file}",
            next=[
                "name one with `--registry FOLDER`",
                f'add `[[registries]]` with `url = "..."` to {config.file}',
                "name an artifact file instead of an id: a path may begin with `./`",
            ],
        )
    downloads = Downloads(paths.cache / "registries", offline)
    return Registry([_reader(text, identity, downloads) for text, identity in named])


def _reader(text: str, identity: str, downloads: Downloads) -> RegistryReader:
    """Return the reader of a folder or of an address."""
    text = text.removesuffix(FILE_NAME)
    if identity:
        raise RegistryUnsigned(
            f"the registry `{shown(text)}` was not read: its signature cannot be checked",
            why=f"it has to be signed by {clean(identity)}, and this version of aperio reads"
            " unsigned registries only: folders, and http on this machine",
            next=["use a newer aperio", "copy the registry into a folder and name that"],
        )
    if "://" in text and not text.lower().startswith("file://"):
        return HttpReader(_checked_address(text), downloads)
    path = unquote(urlsplit(text).path) if "://" in text else text
    return FolderReader.open(Path(path), downloads)


def _checked_address(text: str) -> str:
    """Return the address of a registry on this machine, ending in `/`."""
    if place_of_url(text) is not Place.HERE:
        raise RegistryUnsigned(
            f"the registry `{shown(text)}` was not read: it is not signed",
            why="expected a folder, or http on this machine; a registry elsewhere has to be signed",
            next=["copy the registry into a folder and name that"],
        )
    if has_user(text) or "?" in text or "#" in text:
        raise UsageError(
            f"the registry `{shown(text)}` was not read: its address says more than where it is",
            why="expected an address without user, password, query and fragment, which would be"
            " kept in records and shown",
            next=["name the address alone", "copy the registry into a folder and name that"],
        )
    return text.rstrip("/") + "/"

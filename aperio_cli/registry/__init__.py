"""Reads registries: a plugin's id becomes an offer.

A registry is a folder or an address with documents in it (`models.registry`). What it says of
artifacts is not believed: it says where one is and what its digest should be, and `verifying`
decides. Here what could mislead that step is refused: a registry that nobody has signed although
somebody has to have, one that was taken back or has ended, a document that is not the one that its
root states, a location outside of the registry.

Registries are asked in order. A namespace belongs to the first that states it: in its rule, or in
its own index. Of others that have such a plugin none is taken. One that cannot be read stops the
search: going on would let the next one take the id over.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import itertools
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from aperio_cli.errors import AperioError
from aperio_cli.errors.registries import (
    NamespaceOwned,
    PluginNotFound,
    RegistryUnconfigured,
    RegistryUnsigned,
)
from aperio_cli.errors.usage import UsageError
from aperio_cli.files.naming import step_for_path
from aperio_cli.models.address import Place, has_user, shown
from aperio_cli.models.digest import Digest
from aperio_cli.models.registry.rule import KNOWN, RegistryRule
from aperio_cli.models.registry_index import FILE_NAME
from aperio_cli.net.fetch import local_path, place_of_url
from aperio_cli.registry.choosing import Situation, choose
from aperio_cli.registry.folder import BUILT_FOLDER, FolderReader, find_built
from aperio_cli.registry.http import Downloads, HttpReader
from aperio_cli.registry.rooted import RootedRegistry
from aperio_cli.registry.unsigned import UnsignedRegistry
from aperio_cli.trust.known_versions import Heard, remember_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from aperio_cli.config import Config
    from aperio_cli.models.offer import Offer
    from aperio_cli.models.platform import Platform
    from aperio_cli.models.plugin_id import PluginId, PluginRef
    from aperio_cli.models.publisher import Signer
    from aperio_cli.models.registry.root import Root
    from aperio_cli.paths import Paths
    from aperio_cli.proving.signature import TrustedRootSource
    from aperio_cli.registry.listing import Listing
    from aperio_cli.registry.reader import Documents, RegistryReader
    from aperio_cli.registry.rooted import Follow, Judge

__all__ = [
    "BUILT_FOLDER",
    "Registry",
    "Situation",
    "Trust",
    "find_built",
    "open_registry",
]

_CLOSE_NAMES = 3
_MOST_NAMES = 2000
"""How many ids are compared for a suggestion: of a hundred thousand it would take seconds."""


@dataclass(frozen=True, slots=True)
class Trust:
    """By what the roots of registries are judged.

    Attributes:
        roots: gives the trusted roots of this machine; asked when a registry is read.
        memory: what is remembered of signed documents; made when missing.
    """

    roots: Callable[[], Sequence[TrustedRootSource]]
    memory: Path


@dataclass(frozen=True, slots=True)
class Ruled:
    """A registry, and what the operator states of it."""

    rule: RegistryRule
    reader: RegistryReader

    def owns(self, namespace: str) -> bool:
        """Return whether the operator says that a namespace is its own."""
        return namespace in self.rule.namespaces


class Registry:
    """The registries of one call, in the order in which they are asked.

    Args:
        ruled: the registries.
        heard: told what is found of plugins, before anything is decided by it.
    """

    def __init__(self, ruled: Sequence[Ruled], heard: Callable[[Sequence[Listing]], None]) -> None:
        self.ruled = tuple(ruled)
        self._heard = heard
        self._waiting: list[Listing] | None = None

    @contextlib.contextmanager
    def hearing_together(self) -> Iterator[None]:
        """Remember at the end of the block, at once, what is found of plugins in it.

        Raises:
            AperioError: what registries say against versions cannot be remembered.
        """
        self._waiting = []
        try:
            yield
        finally:
            waiting, self._waiting = self._waiting, None
            if waiting:
                self._heard(waiting)

    def resolve(self, ref: PluginRef, situation: Situation | Platform) -> Offer:
        """Return the offer of the version that is chosen.

        Args:
            ref: the plugin, and the version when one is named.
            situation: for whom; a platform where no rule of the operator's is asked.

        Raises:
            PluginNotFound: no registry has the id, or its registry not that version.
            AperioError: as `find`, and as `choosing.choose`.
        """
        if not isinstance(situation, Situation):
            situation = Situation(situation)
        reader, listing = self.find(ref)
        choice = choose(listing.candidates, ref, situation)
        offer = reader.offer(listing, choice.version, situation.platform)
        return replace(offer, choice=choice)

    def find(self, ref: PluginRef) -> tuple[RegistryReader, Listing]:
        """Return the registry that a plugin belongs to, and what it has of it.

        Args:
            ref: the plugin; a version is for messages only.

        Raises:
            PluginNotFound: no registry has the id.
            NamespaceOwned: its namespace belongs to a registry that does not have it, and another
                has.
            AperioError: a registry cannot be read (`RegistryReader.find`), or what it says
                against versions not be remembered.
        """
        found = self.look_up(ref)
        if found is None:
            raise self._not_found(ref)
        return found

    def look_up(self, ref: PluginRef) -> tuple[RegistryReader, Listing] | None:
        """Return what `find` does; None when no registry has the id.

        Raises:
            AperioError: as `find`, but for PluginNotFound.
        """
        owner = self._owner(ref.id.namespace)
        for ruled in [owner] if owner else self.ruled:
            listing = ruled.reader.find(ref.id)
            if listing:
                self._hear(listing)
                return ruled.reader, listing
        if owner:
            self._refuse_others(owner, ref)
        return None

    def _hear(self, listing: Listing) -> None:
        if self._waiting is None:
            self._heard([listing])
        else:
            self._waiting.append(listing)

    def _owner(self, namespace: str) -> Ruled | None:
        stated = next((each for each in self.ruled if each.owns(namespace)), None)
        if stated or len(self.ruled) == 1:
            return stated
        return next((each for each in self.ruled if each.reader.states(namespace)), None)

    def _refuse_others(self, owner: Ruled, ref: PluginRef) -> None:
        """Refuse a plugin that only others have than the registry that its namespace belongs to.

        Raises:
            NamespaceOwned: there is one.
        """
        others = [each for each in self.ruled if each is not owner and _has(each, ref.id)]
        if not others:
            return
        names = ", ".join(each.reader.name for each in others)
        other = f'state `namespaces = ["{ref.id.namespace}"]` in its `[[registries]]`'
        stated = "your configuration" if owner.owns(ref.id.namespace) else "its index"
        raise NamespaceOwned(
            f"`{ref}` was not taken from {names}: its namespace belongs to another registry",
            why=f"`{ref.id.namespace}` belongs to {owner.reader.name}, as {stated} states,"
            " and that does not have it",
            next=[
                "ask whoever maintains that registry for it",
                f"if you mean the other one: {other}",
            ],
        )

    def _not_found(self, ref: PluginRef) -> PluginNotFound:
        known = list(itertools.islice(_names(self.ruled), _MOST_NAMES))
        close = difflib.get_close_matches(str(ref.id), known, n=_CLOSE_NAMES)
        places = ", ".join(each.reader.name for each in self.ruled)
        steps = [f"did you mean `{close[0]}`?"] if close else ["check the id for a typing error"]
        return PluginNotFound(
            f"`{ref}` was not found",
            why=f"looked in {places}" + (f"\nthere is {', '.join(close)}" if close else ""),
            next=[*steps, *step_for_path(ref)],
        )


def _names(registries: Sequence[Ruled]) -> Iterator[str]:
    """Yield ids for suggestions, of those registries whose list of them can be read."""
    for each in registries:
        with contextlib.suppress(AperioError):
            yield from each.reader.names()


def _has(ruled: Ruled, plugin: PluginId) -> bool:
    """Return whether a registry that is not asked has a plugin, as far as can be told."""
    try:
        return ruled.reader.find(plugin) is not None
    except AperioError:
        return False


def _always(_listing: Listing) -> bool:
    return True


def open_registry(
    stated: str,
    config: Config,
    paths: Paths,
    *,
    offline: bool,
    trust: Trust | None = None,
    heeds: Callable[[Listing], bool] = _always,
) -> Registry:
    """Return the registry that the call states, or else those of the configuration.

    Args:
        stated: `--registry` or APERIO_REGISTRY: a folder, an address, or the name of a known
            registry; empty for neither. One that the configuration states is read by its rule.
        config: gives the configured registries.
        paths: gives the cache, and the memory of signed documents.
        offline: read folders and what is cached, nothing else.
        trust: by what roots are judged; None where none can be.
        heeds: says of a registry that the call states and the configuration does not whether what
            it says against versions is remembered: it keeps them from being started.

    Raises:
        RegistryUnconfigured: none is stated.
        RegistryUnsigned: nobody is stated who has to have signed one that is neither a folder nor
            on this machine.
        UsageError: an address states a user, a password, a query or a fragment.
        InsecureUrl: an address cannot be read, or is a file of another machine.
    """
    rules = [_rule(stated, config)] if stated else list(config.registries)
    if not rules:
        named = f'`url = "..."` or `url = "{next(iter(KNOWN))}"`'
        raise RegistryUnconfigured(
            "no registry is configured, so no plugin can be looked up",
            why=f"found neither `--registry`, nor APERIO_REGISTRY, nor a rule in {config.file}",
            next=[
                "name one with `--registry FOLDER`",
                f"add `[[registries]]` with {named} to {config.file}, and who signs it",
                "name an artifact file instead of an id: a path may begin with `./`",
            ],
        )
    trust = trust or Trust(tuple, paths.signed_documents)
    downloads = Downloads(paths.cache / "registries", offline)
    ruled = [Ruled(rule, _reader(rule, downloads, trust)) for rule in rules]
    if not stated or rules[0] in config.registries:
        heeds = _always
    return Registry(ruled, functools.partial(_remember, paths, heeds))


def _remember(paths: Paths, heeds: Callable[[Listing], bool], listings: Sequence[Listing]) -> None:
    """Remember what a registry says against versions, for launches, which ask no network."""
    heard = [
        Heard(each.id, each.edition, {c.version: c.status for c in each.candidates if c.status})
        for each in listings
        if heeds(each)
    ]
    if heard:
        remember_all(paths, heard)


def _rule(stated: str, config: Config) -> RegistryRule:
    """Return the configuration's rule about a registry that a call states, or one without any."""
    wanted = _plain(KNOWN.get(stated, stated))
    for rule in config.registries:
        if _plain(rule.address) == wanted:
            return rule
    return RegistryRule(stated)


def _plain(address: str) -> str:
    return address.removesuffix(FILE_NAME).rstrip("/")


def _reader(rule: RegistryRule, downloads: Downloads, trust: Trust) -> RegistryReader:
    """Return the reader of a folder or of an address."""
    text = rule.address.removesuffix(FILE_NAME)
    if "://" in text and not text.lower().startswith("file://"):
        return _signed_or_not(HttpReader(_checked_address(text, rule), downloads), rule, trust)
    path = str(local_path(text)) if "://" in text else text
    return _signed_or_not(FolderReader.open(Path(path), downloads), rule, trust)


def _signed_or_not(documents: Documents, rule: RegistryRule, trust: Trust) -> RegistryReader:
    if rule.signer is None:
        return UnsignedRegistry(documents)

    def verify(
        data: bytes, bundle: bytes | None, where: str, follow: Follow, judge: Judge
    ) -> tuple[Root, Signer]:
        from aperio_cli.trust.registry_root import RootRequest, verify_root

        request = RootRequest(
            rule=rule,
            where=where,
            data=data,
            bundle=bundle,
            roots=trust.roots(),
            memory=trust.memory,
            follow=follow,
            judge=judge,
        )
        found = verify_root(request)
        return found.stated, found.signer

    stated = json.dumps([rule.name, rule.signer.to_json()], sort_keys=True)
    return RootedRegistry(documents, verify, rule.witnesses, Digest.of(stated.encode()).hex)


def _checked_address(text: str, rule: RegistryRule) -> str:
    """Return the address of a registry, ending in `/`.

    Raises:
        RegistryUnsigned: it is elsewhere, or nowhere, and nobody is stated who signs it.
        UsageError: it states more than where the registry is.
    """
    if place_of_url(text) is not Place.HERE and rule.signer is None:
        raise _unsigned(text, rule)
    if has_user(text) or "?" in text or "#" in text:
        raise UsageError(
            f"the registry `{shown(text)}` was not read: its address says more than where it is",
            why="expected an address without user, password, query and fragment, which would be"
            " kept in records and shown",
            next=["name the address alone", "copy the registry into a folder and name that"],
        )
    return text.rstrip("/") + "/"


def _unsigned(text: str, rule: RegistryRule) -> RegistryUnsigned:
    url = rule.url if rule.url in KNOWN else shown(text)
    signer = "`domain`, and `identity` with `issuer` or the keys of `ci`"
    step = f'state `[[registries]]` with `url = "{url}"` and who signs it: {signer}'
    return RegistryUnsigned(
        f"the registry `{shown(text)}` was not read: nobody is stated who signs it",
        why="expected a folder, or http on this machine; a registry elsewhere has to be signed, and"
        " the configuration has to say by whom",
        next=[step, "copy the registry into a folder and name that"],
    )

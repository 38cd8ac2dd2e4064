"""Looks at the registries of a configuration: what is kept of each, and whether it answers.

For `aperio doctor`: nothing is decided by it, nothing is kept, and nothing that is wrong ends it.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aperio_cli import clock
from aperio_cli.errors import AperioError
from aperio_cli.errors.files import ResponseNotFound
from aperio_cli.models.address import Place, has_user, shown
from aperio_cli.models.publisher_table import who_signs
from aperio_cli.models.registry.documents import ROOT_BOUNDS, ROOT_FILE
from aperio_cli.models.registry.root import parse_root
from aperio_cli.models.registry_index import FILE_NAME, MAX_BYTES
from aperio_cli.net.cache import AnswerCache
from aperio_cli.net.fetch import FetchRequest, fetch_bytes, local_path, place_of_url
from aperio_cli.net.together import do_together
from aperio_cli.registry.folder import FolderReader
from aperio_cli.registry.http import Downloads
from aperio_cli.text import clean, counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from aperio_cli.models.registry.root import Root
    from aperio_cli.models.registry.rule import RegistryRule

ASKED_S: Final = 3.0
"""How long a registry is waited for; all of them are asked at the same time."""


@dataclass(frozen=True, slots=True)
class Look:
    """One registry.

    Attributes:
        rule: what the operator states of it.
        root: of a folder the one in it, else the last that was accepted; None for none.
        is_reachable: whether it answered; None where it was not asked.
        problem: why not, or why it was not asked; empty where nothing is wrong.
    """

    rule: RegistryRule
    root: Root | None = None
    is_reachable: bool | None = None
    problem: str = ""

    def to_json(self, now: datetime) -> dict[str, object]:
        """Return it as reports carry it."""
        signer = self.rule.signer
        return {
            "url": shown(self.rule.url),
            "address": shown(self.rule.address),
            "name": self.rule.name or None,
            "signer": who_signs(signer) if signer else None,
            "edition": _edition(self.root, now) if self.root else None,
            "is_reachable": self.is_reachable,
            "problem": self.problem,
        }

    def text(self, now: datetime) -> str:
        """Return it on one line, for people."""
        signer = self.rule.signer
        parts = [f"signed by {who_signs(signer)}" if signer else "nobody has to have signed it"]
        if self.root:
            days = _age_days(self.root, now)
            age = f"{counted(days, 'day')} old" if days else "less than a day old"
            end = "ended" if _has_ended(self.root, now) else "until"
            parts.append(f"edition {self.root.serial}, {age}, {end} {self.root.expires_at}")
        else:
            parts.append("no edition was read yet")
        reached = {True: "reachable", False: "not reachable", None: "not asked"}[self.is_reachable]
        return f"{shown(self.rule.url)}  {'; '.join([*parts, reached])}" + (
            f": {self.problem}" if self.problem else ""
        )


def look_at(rules: Sequence[RegistryRule], cache: Path, *, offline: bool) -> list[Look]:
    """Return what is known of registries, and whether each answers within `ASKED_S`.

    Args:
        rules: what the operator states of them.
        cache: where what was read of them is kept.
        offline: look into folders and the cache, and ask nobody.
    """
    found: dict[int, Look] = {}

    def look(job: tuple[int, RegistryRule]) -> None:
        number, rule = job
        found[number] = _look(rule, cache, offline=offline)

    do_together(look, enumerate(rules))
    return [found[number] for number in range(len(rules))]


def _look(rule: RegistryRule, cache: Path, *, offline: bool) -> Look:
    text = rule.address.removesuffix(FILE_NAME)
    try:
        if "://" in text and not text.lower().startswith("file://"):
            return _look_behind(rule, text.rstrip("/") + "/", cache, offline=offline)
        return _look_into(rule, str(local_path(text)) if "://" in text else text, cache)
    except AperioError as error:
        return Look(rule, problem=_said(error))
    except OSError as error:
        return Look(rule, problem=clean(error))


def _look_into(rule: RegistryRule, folder: str, cache: Path) -> Look:
    """Return the look into a folder, which is what `reachable` says of it."""
    reader = FolderReader.open(Path(folder), Downloads(cache, offline=True))
    try:
        try:
            root = _root(reader.read(reader.locate(ROOT_FILE), ROOT_BOUNDS.size_bytes))
        except ResponseNotFound:  # one without a root, if it is one at all
            reader.read(reader.locate(FILE_NAME), MAX_BYTES)
            root = None
    except AperioError as error:
        return Look(rule, None, is_reachable=False, problem=_said(error))
    return Look(rule, root, is_reachable=True)


def _look_behind(rule: RegistryRule, address: str, cache: Path, *, offline: bool) -> Look:
    """Return the look at what is kept of an address, and at who answers there.

    Raises:
        InsecureUrl: it cannot be read.
    """
    kept = AnswerCache(cache).find(address + ROOT_FILE, ROOT_BOUNDS.size_bytes)
    look = Look(rule, _root(kept.body) if kept else None)
    if has_user(address) or "?" in address or "#" in address:
        return replace(look, problem="its address says more than where it is")
    if rule.signer is None and place_of_url(address) is not Place.HERE:
        return replace(look, problem="nobody is stated who signs it")
    if offline:
        return look
    try:
        _ask(address)
    except AperioError as error:
        return replace(look, is_reachable=False, problem=_said(error))
    return replace(look, is_reachable=True)


def _ask(address: str) -> None:
    """Require an answer of a registry: its root, or the index of one without.

    Raises:
        AperioError: it gives neither in time (`fetch_bytes` and its errors).
    """
    request = FetchRequest(address + ROOT_FILE, ROOT_BOUNDS.size_bytes, timeout_s=ASKED_S)
    try:
        fetch_bytes(request)
    except ResponseNotFound:
        fetch_bytes(replace(request, address=address + FILE_NAME, limit_bytes=MAX_BYTES))


def _said(error: AperioError) -> str:
    """Return what is wrong, and the first line of why."""
    return ": ".join(filter(None, [error.what, *error.why.splitlines()[:1]]))


def _root(data: bytes) -> Root | None:
    """Return the root in these bytes; None for what older builds wrote under its name."""
    with contextlib.suppress(AperioError):
        return parse_root(data, where=ROOT_FILE)
    return None


def _edition(root: Root, now: datetime) -> dict[str, object]:
    return {
        "epoch": root.epoch,
        "serial": root.serial,
        "updated_at": root.updated_at,
        "age_days": _age_days(root, now),
        "expires_at": root.expires_at,
        "has_ended": _has_ended(root, now),
    }


def _age_days(root: Root, now: datetime) -> int:
    """Return how many whole days ago an edition was made; 0 for one of a time yet to come."""
    from datetime import datetime

    return max(0, (now - datetime.fromisoformat(root.updated_at)).days)


def _has_ended(root: Root, now: datetime) -> bool:
    return clock.format_timestamp(now) > root.expires_at

"""The signed root of a registry: whose word it is, and that nobody on the way takes it back."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

from aperio_cli import clock
from aperio_cli.errors.registries import (
    RegistryExpired,
    RegistryOutdated,
    RegistrySignatureInvalid,
    RegistryUnsigned,
)
from aperio_cli.models.address import shown
from aperio_cli.models.registry.root import Root, parse_root
from aperio_cli.proving.moments import see_clock
from aperio_cli.text import counted
from aperio_cli.trust.signed_document import (
    DocumentRequest,
    Schema,
    SignedDocument,
    verify_document,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from aperio_cli.models.registry.rule import RegistryRule
    from aperio_cli.models.tlog.note import Checkpoint
    from aperio_cli.proving.signature import TrustedRootSource

WARNED_DAYS: Final = 14
"""How long before the end of a root its maintainers are told."""

_KIND = "registry"
_DAY_S = 24 * 60 * 60
_NEWER: Final = (
    "get a newer one: from the registry itself instead of a mirror, a proxy or a cache; its"
    " maintainers make one with `aperio registry build --renew` and `aperio registry sign`"
)
_WITHOUT: Final = (
    "install from an artifact's file, whose own signature decides:"
    " `aperio plugin install ./FILE.tar.gz`"
)


@dataclass(frozen=True, slots=True)
class RootRequest:
    """A root of a registry, and what to hold it against.

    Attributes:
        rule: where the registry is, and who has to have signed its root.
        where: where these bytes are from, for messages.
        data: contents of `registry.json`.
        bundle: contents of the bundle beside it; None when there is none.
        roots: the trusted roots of this machine.
        memory: what is remembered of signed documents; made when missing.
        now: the current moment, aware.
        follow: refuses a log that does not continue the one that is remembered, given first;
            without it no log is remembered, and what is remembered stays.
        judge: refuses a root that is signed and lacks what else is asked of it, such as witnesses
            of its log, before anything is remembered.
    """

    rule: RegistryRule
    where: str
    data: bytes
    bundle: bytes | None
    roots: Sequence[TrustedRootSource]
    memory: Path
    now: datetime = field(default_factory=clock.now)
    follow: Callable[[Checkpoint, Checkpoint | None], None] | None = None
    judge: Callable[[Root], None] = lambda _: None


def verify_root(request: RootRequest) -> SignedDocument[Root]:
    """Return what the root of a registry states, as the signer whom the rule names has signed it.

    Epoch and serial are remembered by signer and name, wherever the registry is: a mirror is held
    to what the registry itself has shown.

    Raises:
        RegistryUnsigned: the rule names nobody, or there is no bundle.
        RegistrySignatureInvalid: the signature is none, or somebody else's, or it is another
            registry of the same signer; or what is remembered cannot be read or written.
        RegistryExpired: it has ended.
        RegistryOutdated: it is older than one seen before, or another one with the same serial.
        RegistryLogForked: its log does not continue the one seen before; nothing is remembered.
        IndexUnreadable, IndexVersionUnknown: it is signed, and no root that can be read.
        DiskFull: there is no space to remember it.
        LockHeld: another process is remembering one.
        AperioError: those of `judge`.
    """
    rule = request.rule
    if rule.signer is None or request.bundle is None:
        raise _unsigned(request)
    schema = Schema(
        kind=_KIND,
        subject=f"the root of {shown(request.where)}",
        parse=functools.partial(parse_root, where=shown(request.where)),
        refused=functools.partial(_invalid, request),
        outdated=functools.partial(_outdated, request),
        ended=functools.partial(_expired, request),
        epoch=lambda root: root.epoch,
        log=lambda root: root.log,
    )
    return verify_document(
        DocumentRequest(
            schema=schema,
            data=request.data,
            bundle=request.bundle,
            signer=rule.signer,
            name=rule.name,
            roots=request.roots,
            memory=request.memory,
            now=request.now,
            follow=request.follow,
            judge=request.judge,
        )
    )


def days_until(expires_at: str, now: datetime) -> int:
    """Return how many whole days are left until a moment, RFC 3339; negative when it has passed."""
    return int((_moment(expires_at) - now).total_seconds() // _DAY_S)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _unsigned(request: RootRequest) -> RegistryUnsigned:
    is_stated = request.rule.signer is not None
    return RegistryUnsigned(
        f"the registry {shown(request.where)} was not read: it is not signed",
        why="there is no bundle beside its registry.json"
        if is_stated
        else "the configuration names nobody who signs it",
        next=[
            "tell whoever maintains it: `aperio registry sign`"
            if is_stated
            else "state who signs it in its `[[registries]]`, as its maintainers publish it"
        ],
    )


def _invalid(request: RootRequest, why: str, steps: Sequence[str]) -> RegistrySignatureInvalid:
    return RegistrySignatureInvalid(
        f"the registry {shown(request.where)} was not read: its root does not prove who made it",
        why=f"{_stated(request)}{why}",
        next=steps,
    )


def _outdated(request: RootRequest, why: str, steps: Sequence[str]) -> RegistryOutdated:
    return RegistryOutdated(
        f"the registry {shown(request.where)} was not read:"
        " it shows another edition than the newest that was seen here",
        why=f"{_stated(request)}{why}",
        next=[
            "ask again later, or elsewhere: a mirror or a proxy may lag behind, or hold it back",
            *steps,
        ],
    )


def _expired(request: RootRequest, root: Root, now: datetime) -> RegistryExpired:
    made, ended = (now - _moment(each) for each in (root.updated_at, root.expires_at))
    return RegistryExpired(
        f"the registry {shown(request.where)} was not read: its root has ended",
        why=f"made  {root.updated_at}, {counted(made.days, 'day')} ago\n"
        f"ended {root.expires_at}, {counted(ended.days, 'day')} ago\n"
        "a newer one may be held back on the way, and with it what was withdrawn since",
        next=[_NEWER, _WITHOUT, see_clock(now)],
    )


def _stated(request: RootRequest) -> str:
    signer = request.rule.signer
    return f"stated in {signer.stated_in}\n" if signer and signer.stated_in else ""

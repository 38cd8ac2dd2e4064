"""What an installed version may do: agreed to at its installation, and changed by its operator."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NoReturn

from aperio_cli.errors import AperioError
from aperio_cli.errors.installing import LimitTooLow, PermissionNotAsked
from aperio_cli.errors.usage import UsageError
from aperio_cli.models.grant import MOST_OWN_RULES, Grant, additions, is_asked, successor
from aperio_cli.models.limits import LEAST
from aperio_cli.models.manifest import Manifest
from aperio_cli.models.plugin_id import PluginRef
from aperio_cli.models.reading import Table
from aperio_cli.text import clean, nearest

if TYPE_CHECKING:
    from aperio_cli.models.grant import OwnRule
    from aperio_cli.models.receipt import Receipt
    from aperio_cli.store.installed import Standing, Store
    from aperio_cli.verifying.decide import AdmittedArtifact


@dataclass(frozen=True, slots=True)
class Asking:
    """What an operator is asked about before a version is installed.

    Attributes:
        subject: what to call the version in messages.
        before: the version whose grant it goes on with; None when there is none.
        added: what it asks for beyond that, each in words; never empty when somebody is asked.
        grant: what it is going to be granted.
    """

    subject: str
    before: str | None
    added: tuple[str, ...]
    grant: Grant


def asking_of(admitted: AdmittedArtifact, before: Standing, store: Store) -> Asking:
    """Return what has to be agreed to so that an artifact may follow what is installed."""
    receipt = _predecessor(before, store)
    asked = admitted.artifact.manifest
    grant = successor(receipt.grant, receipt.manifest, asked) if receipt else Grant(asked)
    added = additions(receipt.grant if receipt else None, grant.granted)
    return Asking(admitted.subject, receipt.version if receipt else None, tuple(added), grant)


def _predecessor(before: Standing, store: Store) -> Receipt | None:
    """Return the record that a grant goes on with; None when there is none that can be read."""
    if before.receipt:
        return before.receipt
    if before.predecessor is None:
        return None
    try:
        return store.find(PluginRef(before.predecessor.id, before.predecessor.version))
    except AperioError:
        return None


def asking_again(wanted: Receipt, used: str | None, store: Store) -> Asking:
    """Return what has to be agreed to so that an installed version may be used again.

    Args:
        wanted: the record of that version.
        used: the version that is used; None when none is.
        store: where they are installed.
    """
    subject = f"`{wanted.id}` {wanted.version}"
    try:
        ref = PluginRef(wanted.id, used)
        before = store.find(ref) if used and used != wanted.version else None
    except AperioError:  # nobody knows what it was granted
        before = None
    more = beyond(before.grant, wanted.grant) if before else ()
    return Asking(subject, used, more, wanted.grant)


def beyond(before: Grant, after: Grant) -> tuple[str, ...]:
    """Return what one grant has beyond another, each in words, the operator's own rules too."""
    own = (f"own     {rule}" for rule in after.own if rule not in before.own)
    return (*additions(before, after.granted), *own)


@dataclass(frozen=True, slots=True)
class GrantChange:
    """How a grant is to be changed.

    Attributes:
        as_asked: back to what the manifest asks for, before everything else.
        egress: of the hosts that it asks for, only these; None: as it is.
        own: what the operator opens beyond that, in addition.
        limits: names and values, as the manifest writes them.
    """

    as_asked: bool = False
    egress: tuple[str, ...] | None = None
    own: tuple[OwnRule, ...] = ()
    limits: tuple[tuple[str, str], ...] = ()

    @property
    def is_none(self) -> bool:
        """Whether nothing is to be changed."""
        return self == GrantChange()


def change_grant(store: Store, ref: PluginRef, change: GrantChange) -> Receipt:
    """Change what an installed version may do, from its next start on; return its new record.

    Raises:
        NotInstalled, ReceiptInvalid, ReceiptNewer: as `Store.get`.
        PermissionNotAsked: a host is none that the manifest asks for.
        LimitTooLow: nothing could start under a limit.
        UsageError: a limit is none, or has no value of its kind.
        PluginInUse: the version is running.
        LockHeld, DiskFull: the store cannot be changed now.
    """
    subject = f"`{ref}`"
    with store.lock(f"the grant of {subject} was not changed"):
        receipt = store.get(ref)
        changed = replace(receipt, grant=_changed(receipt, change, subject))
        if changed.grant != receipt.grant:
            with store.exclusively(receipt.id, receipt.version):
                store.rewrite(changed)
        return changed


def _changed(receipt: Receipt, change: GrantChange, subject: str) -> Grant:
    before = Grant(receipt.manifest) if change.as_asked else receipt.grant
    granted = before.granted
    if change.egress is not None:
        _require_asked(receipt, change.egress, subject)
        granted = replace(granted, egress=change.egress, egress_from_config=())
    if change.limits:
        granted = _limited(granted, change.limits, subject)
    own = tuple({rule.rule: rule for rule in (*before.own, *change.own)}.values())
    if len(own) > MOST_OWN_RULES:
        raise UsageError(
            f"the grant of {subject} was not changed: it would have {len(own)} rules of your own",
            why=f"expected at most {MOST_OWN_RULES}",
            next=[
                "begin again with what it asks for: `--as-asked`, with the rules that are needed"
            ],
        )
    return Grant(granted, own)


def _require_asked(receipt: Receipt, rules: tuple[str, ...], subject: str) -> None:
    """Require that a manifest asks for hosts.

    Raises:
        PermissionNotAsked: it does not ask for one of them.
    """
    for rule in rules:
        if not is_asked(receipt.manifest, rule):
            asked = receipt.manifest
            stated = [*asked.egress, *(f"*{e.suffix}:{e.port}" for e in asked.egress_from_config)]
            raise PermissionNotAsked(
                f"`{clean(rule, limit=200)}` was not granted: {subject} does not ask for it",
                why=f"it asks for {', '.join(stated) or 'no host'}",
                next=[
                    "grant one of those, or a host that one of them covers",
                    f"to open it all the same, as a rule of your own: `--own {_with_port(rule)}`",
                ],
            )


def _with_port(rule: str) -> str:
    """Return a host as `--own` takes it."""
    shown = clean(rule, limit=200)
    return shown if ":" in shown else f"{shown}:443"


def _limited(granted: Manifest, limits: tuple[tuple[str, str], ...], subject: str) -> Manifest:
    stated = granted.limits.to_json()
    what = f"the grant of {subject} was not changed"
    for name, _ in limits:
        if name not in stated:
            raise UsageError(
                f"{what}: `{clean(name, limit=40)}` is no limit",
                why=f"expected {', '.join(stated)}",
                next=nearest(name, stated) or ["such as `--limit memory=512MiB`"],
            )

    def fail(key: str, why: str) -> NoReturn:
        raise UsageError(
            f"{what}: `{clean(key.rpartition('.')[2], limit=40)}` is wrong",
            why=why,
            next=["such as `--limit memory=512MiB`, `--limit cpu=0.5`, `--limit duration=10m`"],
        )

    record = {"manifest": granted.to_json() | {"limits": stated | dict(limits)}}
    changed = Manifest.from_record(Table(record, fail, is_record=True))
    least = LEAST[granted.runtime.language]
    given = dict(limits)
    if under := [name for name in changed.limits.names_below(least) if name in given]:
        needed = least.to_json()
        lines = [
            f"{name}: expected at least {needed[name]}, received {given[name]}" for name in under
        ]
        raise LimitTooLow(
            f"{what}: no {granted.runtime.language} plugin starts under so low a limit",
            why="\n".join(lines),
            next=[f"`{' '.join(f'--limit {name}={needed[name]}' for name in under)}` is the least"],
        )
    return changed

"""What was named, looked at: an installed version, an artifact, or what a registry offers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from aperio_cli.commands.plugin.arguments import find_source, verify_source
from aperio_cli.comparing import look_at_admitted, look_at_artifact, look_at_installed
from aperio_cli.errors.running import ExceptionExpired
from aperio_cli.errors.trust import (
    PublisherUnknown,
    PublisherUnverified,
    SignatureIdentityMismatch,
    SignatureMissing,
)
from aperio_cli.files.naming import names_path, parse_ref
from aperio_cli.models.address import is_address
from aperio_cli.verifying import VERIFY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aperio_cli.comparing import Difference, Seen
    from aperio_cli.context import Context

_NOBODY_WHO_COUNTS = (
    ExceptionExpired,
    PublisherUnknown,
    PublisherUnverified,
    SignatureIdentityMismatch,
    SignatureMissing,
)


def look(context: Context, named: str) -> Seen:
    """Return what there is to see of what was named.

    A version that is installed is looked at there; what a registry offers has to be admitted; an
    artifact that nobody who counts here has signed is looked at all the same, and says so.

    Raises:
        AperioError: it is not there, or cannot be read; or, of a registry, is refused.
    """
    if not (is_address(named) or names_path(named, context.is_installed)):
        ref = parse_ref(named)
        if receipt := context.store.find(ref):
            context.store.check(receipt)
            return look_at_installed(context.store, receipt)
        situation = replace(context.situation, is_pinned=True)
        offer = context.registry.resolve(ref, situation)
        with verify_source(context, offer, deed=VERIFY) as admitted:
            return look_at_admitted(admitted, "registry")
    source = find_source(context, named, VERIFY)
    try:
        with verify_source(context, source, deed=VERIFY) as admitted:
            return look_at_admitted(admitted, "artifact")
    except _NOBODY_WHO_COUNTS as refusal:
        if not isinstance(source, Path):
            raise
        return look_at_artifact(source, refusal)


def told(difference: Difference) -> Iterator[str]:
    """Yield a difference for people, with a line before it that says of what."""
    before, after = difference.before, difference.after
    same_id = before.manifest.id == after.manifest.id
    other = "" if same_id else f"`{after.manifest.id}` "
    yield (
        f"`{before.manifest.id}` {before.manifest.version} ({before.place})"
        f" and {other}{after.manifest.version} ({after.place})"
    )
    lines = [f"  {line}" for line in difference.lines()]
    yield from lines or ["  no difference"]

"""The bounds of what is kept of registries, seen to at the end of what installs."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from aperio_cli import clock
from aperio_cli.errors import AperioError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aperio_cli.context import Context
    from aperio_cli.models.platform import Platform
    from aperio_cli.models.plugin_id import PluginId
    from aperio_cli.models.receipt import Receipt
    from aperio_cli.registry import Registry


def clean_cache(context: Context) -> None:
    """Bring artifacts and answers that are kept within their bounds.

    What installed versions need to be looked up and installed again offline stays. It has no say
    in whether the command has succeeded: what cannot be cleaned is tried again the next time.
    """
    from aperio_cli.registry.cleaning import clean_answers
    from aperio_cli.verifying import KeptArtifacts

    with contextlib.suppress(AperioError, OSError):
        receipts = context.store.receipts()
        digests = {receipt.artifact_digest for receipt in receipts}
        lock_file = context.store.lock_file.read()
        locked = lock_file.entries if lock_file else ()
        digests |= {build.digest for each in locked for build in each.builds}
        KeptArtifacts(context.paths.artifacts).clean(_now_s(), digests)
        clean_answers(
            context.paths.cache / "registries", _now_s, lambda: _registries(context, receipts)
        )


def _now_s() -> float:
    return clock.now().timestamp()


def _registries(
    context: Context, receipts: Sequence[Receipt]
) -> Iterator[tuple[Registry, list[tuple[PluginId, str, Platform]]]]:
    """Yield the registries that versions were installed from, offline, with those versions."""
    from aperio_cli.models.origin import REGISTRY
    from aperio_cli.models.platform import Platform
    from aperio_cli.registry import Trust, open_registry

    trust = Trust(lambda: context.trusted_roots, context.paths.signed_documents)
    there = [each for each in receipts if each.origin and each.origin.kind == REGISTRY]
    for place in dict.fromkeys(each.origin.place for each in there if each.origin):
        with contextlib.suppress(AperioError, OSError):
            registry = open_registry(
                place, context.config, context.paths, offline=True, trust=trust
            )
            yield (
                registry,
                [
                    (each.id, each.version, Platform.parse(each.platform))
                    for each in there
                    if each.origin and each.origin.place == place
                ],
            )

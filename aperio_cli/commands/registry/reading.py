"""The registry that a command of maintainers or of mirrors reads, from its root down."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aperio_cli.context import Context
    from aperio_cli.registry.rooted import RootedRegistry


def rooted(context: Context, place: str) -> RootedRegistry:
    """Return a registry that has a root.

    Args:
        context: gives the configuration, which says who has to have signed it.
        place: a folder or an address; empty for the first that is configured.

    Raises:
        RegistryLogUnproven: it has plugins.json and no more.
        AperioError: as `open_registry`, and as `RegistryReader.find`.
    """
    from aperio_cli.errors.registries import RegistryLogUnproven
    from aperio_cli.registry import Trust, open_registry
    from aperio_cli.registry.rooted import RootedRegistry
    from aperio_cli.registry.unsigned import UnsignedRegistry

    trust = Trust(lambda: context.trusted_roots, context.paths.signed_documents)
    opened = (
        open_registry(
            place, context.config, context.paths, offline=context.settings.offline, trust=trust
        )
        if place
        else context.registry
    )
    reader = opened.ruled[0].reader
    found = reader.chosen() if isinstance(reader, UnsignedRegistry) else reader
    if isinstance(found, RootedRegistry):
        return found
    found.edition()  # it may be no registry at all
    raise RegistryLogUnproven(
        f"the registry `{reader.name}` has no root and no log",
        why="it has plugins.json, as a registry of before",
        next=["build it with this aperio: `aperio registry build`"],
    )

"""What a plugin asks for, and what it is granted, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aperio_cli.models.grant import additions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aperio_cli.models.grant import Grant
    from aperio_cli.models.manifest import Manifest


def asked(manifest: Manifest) -> Iterator[str]:
    """Yield a line for each kind of thing that a manifest asks for."""
    from_config = (f"*{rule.suffix}:{rule.port}" for rule in manifest.egress_from_config)
    limits = (f"{name} {value}" for name, value in manifest.limits.to_json().items())
    yield f"egress  {' '.join([*manifest.egress, *from_config]) or 'nothing'}"
    for key in manifest.folders_from_config:
        yield f"folder  the one that `{key}` names, to write to"
    yield f"scopes  {' '.join(manifest.scopes) or 'none'}"
    yield f"state   {'yes' if manifest.state else 'no'}"
    yield f"limits  {', '.join(limits)}"


def granted(grant: Grant, manifest: Manifest) -> Iterator[str]:
    """Yield lines of what is granted, then of what the manifest asks for beyond it."""
    yield from asked(grant.granted)
    for rule in grant.own:
        yield f"own     {rule}"
    for line in additions(grant, manifest):
        yield f"not granted: {line}"

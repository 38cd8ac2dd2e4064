"""Choose what an entry offers for a reference and a platform."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aperio_cli.errors.installing import PlatformIncompatible, ProtocolIncompatible
from aperio_cli.errors.registries import (
    PluginNotFound,
)
from aperio_cli.models.plugin_id import PluginRef, is_prerelease
from aperio_cli.models.protocol import INTERFACE, format_protocol, is_compatible

if TYPE_CHECKING:
    from aperio_cli.models.platform import Platform
    from aperio_cli.models.registry_index import (
        Download,
        IndexEntry,
        IndexVersion,
    )


def choose_version(entry: IndexEntry, ref: PluginRef) -> IndexVersion:
    """Return the version named, or the highest stable one that speaks our interface.

    Raises:
        PluginNotFound: there is no such version.
        ProtocolIncompatible: all of them speak other major versions; names one.
    """
    if ref.version:
        candidates = [version for version in entry.versions if version.version == ref.version]
    else:
        candidates = [version for version in entry.versions if not is_prerelease(version.version)]
    if not candidates:
        known = ", ".join(version.version for version in entry.versions[:10]) or "none"
        raise PluginNotFound(
            f"`{ref}` was not found: the registry has no such version",
            why=f"versions of `{entry.id}`: {known}",
            next=[f"name one of them, as in `{entry.id}@VERSION`"],
        )
    for version in candidates:
        if not version.protocols or any(map(is_compatible, version.protocols)):
            return version
    spoken = ", ".join(map(format_protocol, candidates[0].protocols))
    raise ProtocolIncompatible(
        f"`{entry.id}` {candidates[0].version} was not installed:"
        " it speaks another version of the plugin interface",
        why=f"plugin {spoken}\naperio {format_protocol(INTERFACE)}",
        next=["install a newer aperio", "name a version that speaks this one"],
    )


def choose_download(entry: IndexEntry, version: IndexVersion, platform: Platform) -> Download:
    """Return the artifact of a version that runs on a platform.

    Raises:
        PlatformIncompatible: it is there for other platforms only; names them.
    """
    for download in version.downloads:
        if download.platform == platform:
            return download
    older = [v.version for v in entry.versions if any(d.platform == platform for d in v.downloads)]
    there_are = ", ".join(str(download.platform) for download in version.downloads) or "none"
    step = f"ask its publisher to build it for {platform}"
    raise PlatformIncompatible(
        f"`{entry.id}` {version.version} was not installed: it is not there for this platform",
        why=f"this machine {platform}\nthere are    {there_are}",
        next=[f"`aperio plugin install {entry.id}@{older[0]}`", step] if older else [step],
    )

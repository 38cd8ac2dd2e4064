"""`aperio plugin info`: what a registry says of one plugin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from aperio_cli.commands.app import plugin
from aperio_cli.commands.common import command
from aperio_cli.commands.options import argument
from aperio_cli.context import Context
from aperio_cli.errors import AperioError
from aperio_cli.output import Report, pairs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aperio_cli.models.choice import Choice
    from aperio_cli.models.plugin_id import PluginRef
    from aperio_cli.models.registry.advisories import Advisory
    from aperio_cli.models.registry.publishers import RegistryPublisher
    from aperio_cli.registry.choosing import Candidate
    from aperio_cli.registry.earlier import Older
    from aperio_cli.registry.listing import Listing

_SHOWN = 10


@command(
    plugin,
    "plugin",
    "info",
    examples=["aperio plugin info acme/box-connector --registry ./mirror"],
)
def plugin_info(
    context: Context,
    named: Annotated[
        str, argument(metavar="PLUGIN", help="A plugin of a registry: id or id@VERSION.")
    ],
) -> Report:
    """Show what a registry says of a plugin: versions, permissions, publisher, known faults.

    All of it is the registry's word. What you install is judged by its signature and your rules.
    """
    from aperio_cli.files.naming import parse_ref

    ref = parse_ref(named)
    with context.output.working(f"reading about `{ref.id}`"):
        told = _told(context, ref)
    data = told.to_json()
    shown = [(name, value) for name, value in _lines(data) if value not in {"", None}]
    return Report(data, pairs(shown), notes=tuple(_notes(told)))


@dataclass(frozen=True, slots=True)
class _Told:
    """What is known of a plugin.

    Attributes:
        listing: what its registry has of it.
        choice: what would be installed; None where nothing would do.
        refusal: why nothing would do; None where something would.
        publishers: whom the registry knows under its namespace.
        advisories: known faults of it, of any version.
        installed: the version that is used here; empty for none.
        older: what of it is of an older edition than the rest: offline, where no newer was read.
    """

    listing: Listing
    choice: Choice | None
    refusal: AperioError | None
    publishers: tuple[RegistryPublisher, ...]
    advisories: tuple[Advisory, ...]
    installed: str
    older: tuple[Older, ...]

    def to_json(self) -> dict[str, Any]:
        listing, file = self.listing, self.listing.file
        return {
            "id": str(listing.id),
            "kind": listing.kind,
            "description": listing.description,
            "license": file.license if file else "",
            "homepage": file.homepage if file else "",
            "source": file.source if file else "",
            "permissions": _permissions(listing),
            "publisher": _publisher(self.publishers),
            "registry": listing.edition.to_json(),
            "installed": self.installed or None,
            "choice": self.choice.to_json() if self.choice else None,
            "refusal": self.refusal.to_json() if self.refusal else None,
            "versions": [_version(each) for each in listing.candidates],
            "advisories": [_advisory(each, self) for each in self.advisories],
            "older": [each.to_json() for each in self.older],
        }


def _told(context: Context, ref: PluginRef) -> _Told:
    from aperio_cli.registry.choosing import choose

    reader, listing = context.registry.find(ref)
    choice = refusal = None
    try:
        choice = choose(listing.candidates, ref, context.situation)
    except AperioError as error:
        refusal = error
    here = context.store.find(type(ref)(ref.id))
    return _Told(
        listing=listing,
        choice=choice,
        refusal=refusal,
        publishers=tuple(p for p in reader.publishers() if p.namespace == ref.id.namespace),
        advisories=tuple(a for a in reader.advisories(older=True) if _is_about(a, ref)),
        installed=here.version if here else "",
        older=reader.older(),
    )


def _is_about(advisory: Advisory, ref: PluginRef) -> bool:
    is_about = any(each.plugin == ref.id for each in advisory.affected)
    return is_about and not advisory.withdrawn


def _permissions(listing: Listing) -> dict[str, object] | None:
    if listing.file is None:
        return None
    asked = listing.file.permissions
    return {
        "scopes": list(asked.oauth_scopes),
        "egress": list(asked.egress),
        "state": asked.needs_kv,
    }


def _publisher(publishers: tuple[RegistryPublisher, ...]) -> dict[str, object] | None:
    if not publishers:
        return None
    found = publishers[0]
    return {
        "namespace": found.namespace,
        "tier": found.tier,
        "status": found.status,
        "texts": dict(found.texts),
        "signers": [rule.to_json() for rule in found.rules],
    }


def _version(candidate: Candidate) -> dict[str, object]:
    return {
        "version": candidate.version,
        "published_at": candidate.published_at or None,
        "platforms": [str(platform) for platform in candidate.platforms],
        "protocols": [f"{major}.{minor}" for major, minor in candidate.protocols],
        "requires_host": candidate.requires_host,
        "status": candidate.status.report if candidate.status else None,
    }


def _advisory(advisory: Advisory, told: _Told) -> dict[str, object]:
    plugin_id = told.listing.id
    version = told.choice.version if told.choice else ""
    return {
        "id": advisory.id,
        "summary": advisory.summary,
        "severity": dict(advisory.severity),
        "aliases": list(advisory.aliases),
        "references": list(advisory.references),
        "fixed_in": list(advisory.fixed_in(plugin_id)),
        "affects_choice": bool(version) and advisory.affects(plugin_id, version),
    }


def _notes(told: _Told) -> Iterator[str]:
    if told.refusal:
        yield f"{told.refusal.what}: {told.refusal.why.splitlines()[0] if told.refusal.why else ''}"
    yield from map(str, told.older)
    yield "all of this is the registry's word; what you install is judged by your rules"


# ── for people ────────────────────────────────────────────────────────────────────────────────────


def _lines(data: dict[str, Any]) -> Iterator[tuple[str, object]]:
    choice = data["choice"]
    yield "plugin", f"{data['id']} ({data['kind']})"
    yield "description", data["description"]
    yield "would install", choice and choice["version"]
    yield "installed", data["installed"]
    yield "license", data["license"]
    yield "homepage", data["homepage"]
    yield "source", data["source"]
    yield from _asked(data["permissions"])
    yield from _published(data["publisher"])
    registry = data["registry"]
    signed = f"signed by {registry['signer']['identity']}" if registry["signer"] else "unchecked"
    yield "registry", f"{registry['registry']} ({signed})"
    yield "  edition", registry["serial"]
    yield "  until", registry["expires_at"]
    for version in data["versions"][:_SHOWN]:
        yield f"version {version['version']}", _described(version)
    more = len(data["versions"]) - _SHOWN
    yield "older", f"{more} more versions" if more > 0 else ""
    for advisory in data["advisories"][:_SHOWN]:
        fixed = f"; fixed in {', '.join(advisory['fixed_in'])}" if advisory["fixed_in"] else ""
        yield f"fault {advisory['id']}", f"{advisory['summary']}{fixed}"
    more = len(data["advisories"]) - _SHOWN
    yield "faults", f"{more} more: `--json` has them all" if more > 0 else ""


def _asked(permissions: dict[str, Any] | None) -> Iterator[tuple[str, object]]:
    if permissions is None:
        return
    yield "asks for", "stored state" if permissions["state"] else "no stored state"
    yield "  scopes", " ".join(permissions["scopes"]) or "none"
    yield "  egress", " ".join(permissions["egress"]) or "none"


def _published(publisher: dict[str, Any] | None) -> Iterator[tuple[str, object]]:
    if publisher is None:
        yield "publisher", "the registry knows nobody under this namespace"
        return
    status = "" if publisher["status"] == "active" else f", {publisher['status']}"
    name = publisher["texts"].get("display_name", "")
    yield "publisher", f"{publisher['namespace']} {name}".strip()
    yield "  verified", f"{publisher['tier']}{status}, says the registry"
    for signer in publisher["signers"]:
        yield "  signs as", signer.get("identity") or signer.get("repository")


def _described(version: dict[str, Any]) -> str:
    status = version["status"]
    against = f" ({status['state']}: {status['reason']})" if status else ""
    published = (version["published_at"] or "")[:10]
    return f"{published} {' '.join(version['platforms'])}{against}".strip()

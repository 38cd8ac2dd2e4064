"""`aperio plugin search`: what the registries have."""

from __future__ import annotations

import contextlib
import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from aperio_cli import clock
from aperio_cli.commands.app import plugin
from aperio_cli.commands.common import command
from aperio_cli.commands.completing import kinds
from aperio_cli.commands.options import argument, option
from aperio_cli.context import Context
from aperio_cli.errors import AperioError
from aperio_cli.errors.usage import UsageError
from aperio_cli.models.manifest import KINDS
from aperio_cli.output import Report
from aperio_cli.store import finding, verdicts
from aperio_cli.text import nearest, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aperio_cli.registry.searching import Found

_FRESH = timedelta(minutes=10)
"""How long a registry elsewhere need not be asked again, for a search."""


@command(
    plugin,
    "plugin",
    "search",
    examples=[
        "aperio plugin search box --registry ./mirror",
        "aperio plugin search --kind connector --verified --registry ./mirror --json",
    ],
)
def plugin_search(
    context: Context,
    term: Annotated[
        str, argument(metavar="TERM", help="Words that the id or the description have.")
    ] = "",
    *,
    kind: Annotated[
        str,
        option(help="connector, remediation or destination.", metavar="KIND", values=kinds),
    ] = "",
    verified: Annotated[
        bool,
        option("--verified", help="Only of publishers whom the registry says that it knows."),
    ] = False,
) -> Report:
    """Search the registries' catalogues; without a word, list them.

    A registry elsewhere is asked again after ten minutes, and with `--offline` not at all.
    """
    if kind and kind not in KINDS:
        raise UsageError(
            f"`--kind {one_line(kind, limit=40)}` is no kind of plugin; nothing was searched",
            why=f"expected {', '.join(KINDS)}",
            next=nearest(kind, KINDS) or ["leave it out: every kind is searched"],
        )
    # Before anything is read: what changes meanwhile must not pass for what was read.
    watched = _watched(context)
    from aperio_cli.registry.searching import catalogue

    with context.output.working("reading the catalogues"):
        plugins = catalogue(context.registry)
    rows = _rows(plugins)
    # Whoever reads a newer edition later writes this; this search itself may have.
    signed = str(context.paths.signed_documents)
    _keep(context, rows, plugins, watched | {signed: verdicts.state_of(signed)})
    listed = finding.found(rows, finding.Asked(term, kind, verified=verified))
    older = [each for ruled in context.registry.ruled for each in ruled.reader.older()]
    return Report(
        {"plugins": listed, "older": [each.to_json() for each in older]},
        finding.render(listed).rstrip("\n"),
        notes=tuple(map(str, older)),
    )


def _rows(plugins: list[Found]) -> finding.Rows:
    editions = list(dict.fromkeys(each.edition for each in plugins))
    numbers = {edition: str(number) for number, edition in enumerate(editions)}
    lines = [
        finding.line_of(
            {
                "id": str(each.row.id),
                "kind": each.row.kind,
                "latest": each.row.latest,
                "status": each.row.status or "active",
                "publisher": each.row.publisher,
                "verified": str(int(each.row.is_verified)),
                "platforms": " ".join(map(one_line, each.row.platforms)),
                "registry": numbers[each.edition],
                "description": each.row.description,
            }
        )
        for each in plugins
    ]
    return finding.Rows([(each.registry, each.signer is not None) for each in editions], lines)


# ── for the next search ───────────────────────────────────────────────────────────────────────────


def _watched(context: Context) -> dict[str, list[int] | None]:
    """Return the states of everything that says which registries there are, and what is in them."""
    from aperio_cli.config import site_config_file
    from aperio_cli.store import listing

    paths = context.paths
    files = listing.config_files(os.environ, str(paths.home))
    files += map(str, (paths.config_file, paths.managed_file, site_config_file()))
    files += _documents(context)
    return {path: verdicts.state_of(path) for path in files}


def _documents(context: Context) -> Iterator[str]:
    """Yield the entry points of the registries that are folders."""
    from aperio_cli.models.registry.documents import ROOT_FILE
    from aperio_cli.models.registry_index import FILE_NAME

    for each in context.registry.ruled:
        place = each.reader.place
        if "://" not in place:
            yield from (f"{place}/{name}" for name in (ROOT_FILE, FILE_NAME))


def _keep(
    context: Context,
    rows: finding.Rows,
    plugins: list[Found],
    watched: dict[str, list[int] | None],
) -> None:
    """Keep rows where the quick search looks for them; it knows of no options."""
    settings = context.settings
    if settings.home or settings.config or settings.registry:
        return
    editions = {each.edition for each in plugins}
    until = min((each.expires_at for each in editions if each.expires_at), default="")
    is_asked = any("://" in each.reader.place for each in context.registry.ruled)
    fresh = clock.format_timestamp(clock.now() + _FRESH) if is_asked else ""
    path = Path(finding.path_of(str(context.paths.home)))
    kept = finding.Kept(watched, "" if settings.offline else fresh, until)
    if settings.offline and is_asked:
        return
    with contextlib.suppress(AperioError, OSError):  # a home for reading only, say
        from aperio_cli.files import writing

        path.parent.mkdir(mode=0o700, exist_ok=True)
        writing.write_atomic(path, finding.document(os.environ, rows, kept), mode=0o600)

"""`aperio trust refresh`: newer trusted roots, over TUF."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from aperio_cli.commands.app import trust
from aperio_cli.commands.common import command
from aperio_cli.commands.completing import domains
from aperio_cli.commands.options import argument
from aperio_cli.context import Context
from aperio_cli.errors import AperioError
from aperio_cli.errors.files import Offline
from aperio_cli.output import Report

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aperio_cli.trust.refresh import RefreshReport


@command(trust, "trust", "refresh", examples=["aperio trust refresh example"])
def trust_refresh(
    context: Context,
    names: Annotated[
        list[str] | None,
        argument(
            metavar="NAME",
            values=domains,
            help="Trust domains; else public, those got over TUF, and staging if a rule names it.",
        ),
    ] = None,
) -> Report:
    """Get the newest trusted roots: the authorities and logs that signatures are held against.

    Needs the network, as nothing else about verification does. When it fails, the roots stay what
    they were.
    """
    from aperio_cli.trust.roots import refreshed_by_default, root_repository

    config = context.config
    # All names are looked at before anything is fetched.
    wanted = names or list(refreshed_by_default(config))
    repositories = [root_repository(name, config) for name in dict.fromkeys(wanted)]
    if context.settings.offline:
        raise Offline(
            f"{_quoted(wanted)} cannot be refreshed: aperio is offline",
            why="`--offline` allows no network at all",
            next=["run the same command without `--offline`; verification needs no network"],
        )
    from aperio_cli.trust.refresh import RefreshRequest, refresh_root

    reports: list[RefreshReport] = []
    failures: list[AperioError] = []
    for repository in repositories:
        try:
            with context.output.working(f"refreshing `{repository.name}`"):
                reports.append(refresh_root(RefreshRequest(repository, context.paths)))
        except AperioError as error:
            failures.append(error)
    if failures:
        for report in reports:
            context.output.note("\n".join(_lines(report)))
        raise _together(failures, reports)
    data = {"roots": [report.to_json() for report in reports]}
    return Report(data, "\n".join(line for report in reports for line in _lines(report)))


def _together(failures: Sequence[AperioError], reports: Sequence[RefreshReport]) -> AperioError:
    """Return the first failure, with what else came of the call: it has one error to say it in."""
    first, *others = failures
    more = [f"failed, too: {other.what}" for other in others]
    more += [f"refreshed: `{report.name}`" for report in reports]
    if more:
        first.add_evidence("\n".join(more))
    return first


def _lines(report: RefreshReport) -> Iterator[str]:
    before = f"before: {report.before}" if report.before else "there was none"
    root = report.sighting.versions.root
    yield f"{report.name}: as of {report.sighting.as_of} ({before}), TUF root {root}"
    yield from (f"  {change}" for change in report.changes)
    if not report.changes:
        yield "  nothing has changed"


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)

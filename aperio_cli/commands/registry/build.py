"""`aperio registry build`: the files that clients read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from aperio_cli.commands.app import registry
from aperio_cli.commands.common import command
from aperio_cli.commands.options import Directory, option
from aperio_cli.context import Context
from aperio_cli.files.naming import as_path
from aperio_cli.output import Report
from aperio_cli.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aperio_cli.publishing import BuildReport

_SHOWN = 5


@command(
    registry,
    "registry",
    "build",
    examples=["aperio registry build --dir registry"],
)
def registry_build(
    context: Context,
    *,
    directory: Directory = ".",
    out: Annotated[
        str,
        option(help="Where to write (default: public in it).", metavar="DIR"),
    ] = "",
    renew: Annotated[
        bool, typer.Option("--renew", help="Make it a new edition first, changed or not.")
    ] = False,
    full: Annotated[
        bool, typer.Option("--full", help="Make everything anew, whatever was built before.")
    ] = False,
) -> Report:
    """Build the index and all that it names, for any web server.

    Sign what was built: `aperio registry sign`. Where a signed build is there, it stays until then.
    What is built counts until its edition ends; `--renew` makes a new one of the same contents.
    """
    from aperio_cli.commands.plugin.cleaning import clean_builds
    from aperio_cli.publishing import build
    from aperio_cli.publishing.steps import sign_step

    report = build(
        as_path(directory),
        as_path(out) if out else None,
        cache=None if full else context.paths.cache / "registry-builds",
        is_renewed=renew,
    )
    clean_builds(context)
    built = f"{counted(report.plugins, 'plugin')}, {counted(report.versions, 'version')}"
    text = f"built {report.out}: {built}"
    data = report.to_json() | {"out": str(report.out.absolute())}
    notes = list(_notes(context, report, as_path(directory)))
    if not report.is_signed:
        step = sign_step(as_path(directory), lambda: context.trusted_roots, out)
        notes.append(f"next: {step}")
    return Report(data, text, tuple(notes))


def _notes(context: Context, report: BuildReport, directory: Path) -> Iterator[str]:
    from aperio_cli.commands.registry.expiry import expiry_notes

    if report.left_out:
        more = len(report.left_out) - _SHOWN
        yield (
            f"plugins.json leaves out {', '.join(report.left_out[:_SHOWN])}"
            f"{f' and {more} more' if more > 0 else ''}: withdrawn, without a linux/amd64 artifact,"
            " or of another version of the interface"
        )
    for name in report.skipped:
        yield f"{name} was left out: its kind or its schema is one of a later aperio"
    if report.is_too_long:
        yield f"plugins.json has {report.index_bytes} bytes: readers of before take 32 MiB"
    if report.is_waiting:
        yield f"{report.out} stays as it is, which is signed, until edition {report.serial} is, too"
    yield from expiry_notes(context, report.expires_at, directory)

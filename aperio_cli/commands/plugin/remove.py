"""`aperio plugin remove`: installed versions leave the store."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Annotated

from aperio_cli.commands.app import plugin
from aperio_cli.commands.common import command
from aperio_cli.commands.completing import installed
from aperio_cli.commands.options import argument, option
from aperio_cli.context import Context
from aperio_cli.errors import AperioError
from aperio_cli.output import Report

if TYPE_CHECKING:
    from aperio_cli.models.plugin_id import PluginRef
    from aperio_cli.removing import RemoveReport


@command(plugin, "plugin", "remove", examples=["aperio plugin remove acme/hello-connector --purge"])
def plugin_remove(
    context: Context,
    plugins: Annotated[
        list[str],
        argument(
            metavar="PLUGIN",
            help="An id removes every version, id@VERSION one.",
            values=installed,
        ),
    ],
    *,
    purge: Annotated[
        bool, option("--purge", help="Drop its checkpoints and stored values, too.")
    ] = False,
) -> Report:
    """Remove installed plugins.

    A host that runs one ends it first, in good order; one that anything else runs is refused.
    """
    from aperio_cli.commands.host.releasing import done_despite_host
    from aperio_cli.models.plugin_id import PluginRef

    refs = list(dict.fromkeys(PluginRef.parse(text) for text in plugins))
    if len(refs) > 1:
        _require_each(context, refs, purge=purge)
    reports: list[RemoveReport] = []
    try:
        for ref in refs:
            deed = functools.partial(_remove, context, ref, purge=purge)
            reports.append(done_despite_host(context, ref, deed))
    except BaseException:  # what is removed is, whatever becomes of the next one
        for report in reports:
            context.output.warn(_sentence(report))
        raise
    for report in reports:
        _say_what_names_it(context, report)
    return Report(
        {"removed": [report.to_json() for report in reports]}, "\n".join(map(_sentence, reports))
    )


def _require_each(context: Context, refs: list[PluginRef], *, purge: bool) -> None:
    """Require that all of them are there before the first one goes.

    Raises:
        NotInstalled: one is not. To purge what it stored it need not be; that is seen later.
    """
    from aperio_cli.removing import require_installed

    for ref in refs:
        if not purge or context.store.folders(ref.id):
            require_installed(context.store, ref)


def _remove(context: Context, ref: PluginRef, *, purge: bool) -> RemoveReport:
    """Remove one; what is to be purged is opened first, so that a bad one stops it before."""
    from aperio_cli.data.state import open_kept
    from aperio_cli.removing import StoredState, remove

    path = context.paths.state_database
    if not purge:
        return remove(
            context.store, ref, StoredState(hand_on=functools.partial(_hand_on, context, ref))
        )
    state = open_kept(path, deed=f"`{ref}` was not removed")
    with state or contextlib.nullcontext():
        return remove(
            context.store, ref, StoredState(lambda gone: state.forget(str(gone)) if state else 0)
        )


def _hand_on(context: Context, ref: PluginRef, owner: str, heir: str) -> None:
    """Leave stored state to whoever signed; removing has been done, whatever comes of it."""
    from aperio_cli.data.state import open_kept

    kept = f"`{ref}` was removed, and its stored state is kept as it was"
    try:
        state = open_kept(context.paths.state_database, deed=kept)
        with state or contextlib.nullcontext():
            if state:
                state.hand_on(owner, heir)
    except AperioError as error:
        context.output.warn(f"{error.what}: {error.why}")


def _say_what_names_it(context: Context, report: RemoveReport) -> None:
    """Say that the configuration wants the host to run what is not there any more."""
    if report.current is None and any(run.plugin.id == report.id for run in context.config.runs):
        context.output.warn(
            f"a [[run]] table of {context.paths.config_file} still names `{report.id}`:"
            " the host says that it is not installed, until the table is taken out"
        )


def _sentence(report: RemoveReport) -> str:
    if not report.versions:
        return f"dropped the stored state of `{report.id}`, which is not installed"
    purged = " and its stored state" if report.was_purged else ""
    return f"removed `{report.id}` {', '.join(report.versions)}{purged}"

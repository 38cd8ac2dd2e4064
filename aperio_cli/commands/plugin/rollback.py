"""`aperio plugin rollback`: the version that was used before is used again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from aperio_cli.commands.app import plugin
from aperio_cli.commands.common import command
from aperio_cli.commands.completing import installed
from aperio_cli.commands.options import argument
from aperio_cli.context import Context
from aperio_cli.output import Report

if TYPE_CHECKING:
    from aperio_cli.reverting import Return


@command(
    plugin,
    "plugin",
    "rollback",
    examples=["aperio plugin rollback -y acme/hello-connector"],
    is_for_linux=True,
)
def plugin_rollback(
    context: Context,
    named: Annotated[
        str,
        argument(
            metavar="PLUGIN",
            help="An id; id@VERSION says which installed version to go back to.",
            values=installed,
        ),
    ],
) -> Report:
    """Use the version again that was used before, at once and offline.

    It has to be one that may be started today, with the files of its installation. What runs goes
    on as it is; the version that is left stays installed.
    """
    from aperio_cli.models.plugin_id import PluginRef
    from aperio_cli.reverting import find_return, revert
    from aperio_cli.running import clear_target

    ref = PluginRef.parse(named)
    back = find_return(context.store, ref)
    clear_target(context.collaborators, back.to, outcome="was not rolled back to")
    context.store.check(back.to)
    _ask(context, back)
    was_changed = revert(context.store, back)
    done = "rolled back" if was_changed else "was rolled back already"
    leaving, to = back.leaving.version, back.to.version
    data = {
        "id": str(ref.id),
        "version": to,
        "replaced": leaving,
        "was_changed": was_changed,
        "previous": context.store.previous_version(ref.id),
        "grant": back.to.grant.to_json(),
    }
    return Report(data, f"`{ref.id}` {done} to {to}, from {leaving}, which stays installed")


def _ask(context: Context, back: Return) -> None:
    """Go on only when the operator agrees to what that version may do beyond the one in use.

    Raises:
        ConsentMissing, Interrupted: as `Context.ask`.
    """
    from aperio_cli.installing.granting import beyond

    context.output.note(f"`{back.to.id}` {back.leaving.version} goes back to {back.to.version}")
    more = beyond(back.leaving.grant, back.to.grant)
    if not more:
        return
    context.output.note(f"beyond what {back.leaving.version} is granted, it may:")
    for line in more:
        context.output.note(f"  {line}")
    what = f"`{back.to.id}` was not rolled back: nobody agreed to what {back.to.version} may do"
    context.ask("roll back all the same?", what=what)

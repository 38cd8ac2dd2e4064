"""`aperio registry verify`: whether a registry is whole; with `--log`, a monitor of its log."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aperio_cli.commands.app import registry
from aperio_cli.commands.common import command
from aperio_cli.commands.options import Directory
from aperio_cli.context import Context
from aperio_cli.errors import DONE, REFUSED
from aperio_cli.errors.usage import UsageError
from aperio_cli.files.naming import as_path
from aperio_cli.models.address import shown
from aperio_cli.output import Report
from aperio_cli.text import counted

if TYPE_CHECKING:
    from aperio_cli.models.publisher import Signer
    from aperio_cli.models.registry.root import Root


@command(
    registry,
    "registry",
    "verify",
    examples=[
        "aperio registry verify --dir registry",
        "aperio registry verify registry --log",
    ],
)
def registry_verify(
    context: Context,
    place: Annotated[
        str,
        typer.Argument(
            metavar="REGISTRY", help="With --log: a folder or an address.", show_default=False
        ),
    ] = "",
    *,
    directory: Directory = ".",
    is_mirror: Annotated[
        bool,
        typer.Option(
            "--mirror", help="It is a mirror: plugins that were not chosen may be missing."
        ),
    ] = False,
    log: Annotated[
        bool, typer.Option("--log", help="Read the whole log, and compare it with every document.")
    ] = False,
) -> Report:
    """Check every file of a built registry against its root, and the root's signature.

    Who has to have signed it is each client's to say; who did is shown. With --mirror it is one of
    some plugins: what is there has to be whole, with the proofs beside artifacts. With --log it is
    a monitor of any registry: the log has to continue the one seen before, and what log and
    documents do not agree about is told, with exit status 3.
    """
    if log and is_mirror:
        raise UsageError(
            "nothing was verified: the log is that of the whole registry",
            why="`--log` compares it with every document, and `--mirror` is for a part of them",
            next=["leave one of the two out"],
        )
    if log:
        return _watched(context, place or context.settings.registry or directory)
    if place:
        raise UsageError(
            "nothing was verified: a registry that is read from its address has a log to verify",
            why="expected `--log`, or `--dir` for a folder that was built here",
            next=[
                *_of_folder(place),
                f"`aperio registry verify {shlex.quote(shown(place))} --log`",
            ],
        )
    return _checked(context, directory, is_mirror=is_mirror)


def _of_folder(place: str) -> list[str]:
    """Return how the files of a registry are checked that was named as one to be read."""
    folder = as_path(place)
    if not folder.is_dir():
        return []
    return [f"for the files in it: `aperio registry verify --dir {shlex.quote(str(folder))}`"]


def _checked(context: Context, directory: str, *, is_mirror: bool) -> Report:
    from aperio_cli.commands.registry.expiry import expiry_notes
    from aperio_cli.publishing.checking import check_registry

    checked = check_registry(as_path(directory), context.trusted_roots, is_mirror=is_mirror)
    root, left = checked.root, checked.left_out
    left_out = f"; {counted(left, 'plugin')} of the registry not in it" if left else ""
    data = _data(str(checked.folder.absolute()), root, checked.signer) | {
        "plugins": checked.plugins,
        "files": checked.files,
        "left_out": checked.left_out,
        "log": None,
    }
    text = (
        f"{checked.folder} is whole: {counted(checked.plugins, 'plugin')},"
        f" {counted(checked.files, 'file')}{left_out}\n"
        f"  signed by {checked.signer.identity}\n"
        f"  serial {root.serial}, until {root.expires_at}"
    )
    return Report(data, text, tuple(expiry_notes(context, root.expires_at, as_path(directory))))


def _watched(context: Context, place: str) -> Report:
    from aperio_cli.commands.registry.reading import rooted
    from aperio_cli.registry.monitoring import watch

    reader = rooted(context, place)
    found = watch(reader)
    root = reader.root()
    data = _data(found.registry, root, reader.edition().signer) | {
        "plugins": found.plugins,
        "files": len(root.files) + len(root.shards) + found.plugins,
        "left_out": 0,
        "log": found.log_json(),
    }
    lines = [
        f"{each.kind:<12} {each.subject}: {each.why}".replace("\n", ", ") for each in found.findings
    ]
    checkpoint = found.checkpoint
    lines.append(
        f"{found.registry}: {counted(checkpoint.size, 'entry', 'entries')} in {checkpoint.origin},"
        f" {counted(found.plugins, 'plugin')}, {counted(found.artifacts, 'artifact')},"
        f" {counted(len(found.findings), 'finding')}"
        + (f", and {found.left_out} more" if found.left_out else "")
    )
    return Report(data, "\n".join(lines), exit_status=REFUSED if found.findings else DONE)


def _data(path: str, root: Root, signer: Signer | None) -> dict[str, Any]:
    return {
        "path": path,
        "name": root.name,
        "epoch": root.epoch,
        "serial": root.serial,
        "expires_at": root.expires_at,
        "signer": signer.to_json() if signer else None,
    }

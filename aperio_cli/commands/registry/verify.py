"""`aperio registry verify`: whether a built registry is whole."""

from __future__ import annotations

from aperio_cli.commands.app import registry
from aperio_cli.commands.common import command
from aperio_cli.commands.options import Directory
from aperio_cli.context import Context
from aperio_cli.files.naming import as_path
from aperio_cli.output import Report


@command(registry, "registry", "verify", examples=["aperio registry verify --dir registry"])
def registry_verify(context: Context, *, directory: Directory = ".") -> Report:
    """Check every file of a built registry against its root, and the root's signature.

    Who has to have signed it is each client's to say; who did is shown.
    """
    from aperio_cli.commands.registry.expiry import expiry_notes
    from aperio_cli.publishing.checking import check_registry

    checked = check_registry(as_path(directory), context.trusted_roots)
    root = checked.root
    data = {
        "path": str(checked.folder.absolute()),
        "name": root.name,
        "epoch": root.epoch,
        "serial": root.serial,
        "expires_at": root.expires_at,
        "signer": checked.signer.to_json(),
        "plugins": checked.plugins,
        "files": checked.files,
    }
    text = (
        f"{checked.folder} is whole: {checked.plugins} plugins, {checked.files} files\n"
        f"  signed by {checked.signer.identity}\n"
        f"  serial {root.serial}, until {root.expires_at}"
    )
    return Report(data, text, tuple(expiry_notes(root.expires_at)))

"""Containing: in which sandbox plugins are started here, and what of the machine they are given."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aperio_cli.config.model import SANDBOX_MODES
from aperio_cli.errors.usage import UsageError
from aperio_cli.host.sandbox.bubblewrap import PLUGIN_UID
from aperio_cli.host.sandbox.choosing import MODE_VARIABLE, choose_sandbox
from aperio_cli.host.sandbox.interface import Confinement
from aperio_cli.host.sandbox.trying import unreadable
from aperio_cli.host.sandbox.view import interpreter_places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from aperio_cli.config import Config
    from aperio_cli.host.sandbox.interface import Sandbox
    from aperio_cli.models.artifact import Interpreter
    from aperio_cli.models.manifest import Manifest
    from aperio_cli.running.collaborators import Collaborators


def sandbox_of(collaborators: Collaborators) -> Sandbox:
    """Return the sandbox that an operator's plugins are started in.

    Raises:
        UsageError: the mode is none, or the user id is a person's.
    """
    if collaborators.sandbox:
        return collaborators.sandbox()
    config = collaborators.config()
    uid = config.plugin_uid or PLUGIN_UID
    return choose_sandbox(mode_of(config, collaborators.environment), uid)


def unfit_for(collaborators: Collaborators) -> Callable[[Interpreter], str]:
    """Return what says why plugins cannot run on an interpreter here; empty: they can.

    Raises:
        UsageError: as `sandbox_of`.
    """
    sandbox = sandbox_of(collaborators)

    def unfit(interpreter: Interpreter) -> str:
        closed = closed_part(interpreter, sandbox)
        return f"user {sandbox.owner}, as whom plugins run, may not read {closed}" if closed else ""

    return unfit


def closed_part(interpreter: Interpreter, sandbox: Sandbox) -> Path | None:
    """Return what of an interpreter the plugins' user may not read; None: it may all of it."""
    places = interpreter_places(interpreter.executable, interpreter.base_prefix)
    major, minor, *_ = interpreter.version.split(".")
    library = Path(interpreter.base_prefix, "lib", f"python{major}.{minor}")
    return unreadable((*places, library, library / "os.py"), sandbox.owner)


def containment(collaborators: Collaborators) -> dict[str, Any]:
    """Return what plugins are started in, by whom each limit is kept, whose egress is recorded.

    Raises:
        UsageError: as `sandbox_of`.
        AperioError: the configuration cannot be read.
    """
    sandbox = sandbox_of(collaborators)
    found = sandbox.enforcements(Confinement())
    return {
        "sandbox": sandbox.name,
        "levels": {each.limit: str(each.level) for each in found},
        "reported": sorted(collaborators.config().reported),
    }


def mode_of(config: Config, environment: Mapping[str, str]) -> str:
    """Return the mode that is in force: the site's when it demands a sandbox, else the shell's.

    Raises:
        UsageError: what the environment states is no mode.
    """
    auto = SANDBOX_MODES[0]
    stated = environment.get(MODE_VARIABLE, "")
    if stated not in {"", *SANDBOX_MODES}:
        raise UsageError(
            f"`{MODE_VARIABLE}={stated}` names no mode of the sandbox",
            why=f"expected {' or '.join(SANDBOX_MODES)}",
            next=[f"`unset {MODE_VARIABLE}`, and the configuration says it"],
        )
    if config.site.sandbox_mode == auto:
        return auto
    return stated or config.sandbox_mode or auto


def given_folders(
    manifest: Manifest, settings: Mapping[str, object], sandbox: Sandbox
) -> tuple[Path, ...]:
    """Return the folders that a plugin may write to: those that its settings name.

    One that is missing is made, for whoever runs the plugin.

    Args:
        manifest: which settings those are.
        settings: their values; one that is no absolute path is the plugin's to complain about.
        sandbox: in which it runs; outside of one nothing has to be given.

    Raises:
        UsageError: the plugin's user may not write there, or it is the root of all files.
        OSError: it cannot be made.
    """
    if sandbox.name == "none":
        return ()
    return tuple(
        _ready(path, str(manifest.id), sandbox.owner)
        for path in _named(manifest.folders_from_config, settings)
    )


def _named(keys: tuple[str, ...], settings: Mapping[str, object]) -> Iterator[Path]:
    for key in keys:
        value = settings.get(key)
        if isinstance(value, str) and value.startswith("/") and "\0" not in value:
            yield Path(value)


def _ready(path: Path, plugin: str, owner: int | None) -> Path:
    if path.resolve() == Path("/"):
        raise UsageError(
            f"`{plugin}` was not run: it is not given `/` to write to",
            why="one of its settings names a folder that it may write to",
            next=["name a folder for it alone"],
        )
    if not path.exists():
        path.mkdir(mode=0o700, parents=True)
        if owner is not None:
            os.chown(path, owner, owner)
    elif owner is not None and not _may_write(path, owner):
        status = path.stat()
        raise UsageError(
            f"`{plugin}` was not run: it could not write to {path}",
            why=f"plugins of root run as user {owner}; the folder is user {status.st_uid}'s",
            next=[f"`chown -R {owner}:{owner} {path}`", "name a folder that is not there yet"],
        )
    return path


def _may_write(path: Path, uid: int) -> bool:
    status = path.stat()
    if status.st_uid == uid:
        return bool(status.st_mode & 0o200)
    return bool(status.st_mode & (0o020 if status.st_gid == uid else 0o002))

"""Targets: which installed version, or which folder, is meant; and the leave to start it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from aperio_cli import clock
from aperio_cli.errors.usage import UsageError
from aperio_cli.files.naming import as_path, names_path, parse_ref
from aperio_cli.host.sandbox.telling import enforced
from aperio_cli.machine.interpreters import choose_interpreter, missing_part
from aperio_cli.models.address import is_address, shown
from aperio_cli.models.artifact import SUFFIX, DevelopmentBuild
from aperio_cli.models.machine import Machine
from aperio_cli.running.containing import sandbox_of, unfit_for
from aperio_cli.verifying.clearing import NOT_STARTED, Cleared, check_folder, clear

if TYPE_CHECKING:
    from pathlib import Path

    from aperio_cli.models.manifest import Manifest
    from aperio_cli.models.plugin_id import PluginId
    from aperio_cli.models.receipt import Receipt
    from aperio_cli.running.collaborators import Collaborators


def find_target(
    collaborators: Collaborators, text: str, *, organization: str = ""
) -> Receipt | DevelopmentBuild:
    """Return the installed version of an id, or the folder under development at a path. Blocks.

    Args:
        collaborators: whose store and policy are asked.
        text: the id, or the path.
        organization: for whom it is started; empty for the requirements of the whole machine.

    Raises:
        AperioError: it is not installed, or does not build.
        PublisherUnverified: it is a folder, and publishers have to be verified.
    """
    path = as_path(text)
    # `plugins/box` may be both: what is installed counts before a folder that stands here.
    if not (is_address(text) or names_path(text, collaborators.store.has)):
        return collaborators.store.get(parse_ref(text))
    if is_address(text) or path.is_file() or text.endswith(SUFFIX):
        raise UsageError(
            f"`{shown(text)}` was not run: an artifact has to be installed first",
            next=[f"`aperio plugin install {shlex.quote(shown(text))}`"],
        )
    # `clear` asks that too, but by then dependencies have been fetched and programs compiled.
    check_folder(text, collaborators.policy(), organization)
    return _develop(collaborators, path)


def _develop(collaborators: Collaborators, path: Path) -> DevelopmentBuild:
    from aperio_cli.building import develop, load_project

    project = load_project(path)
    interpreter = None
    if project.manifest.runtime.language == "python":
        interpreter = choose_interpreter(
            project.manifest.runtime.tags,
            collaborators.config().python_interpreters,
            subject=f"`{project.manifest.id}` in {path}",
            unfit=unfit_for(collaborators),
        )
    return develop(path, collaborators.paths.cache, interpreter, dict(collaborators.environment))


def clear_target(
    collaborators: Collaborators,
    target: Receipt | DevelopmentBuild,
    organization: str = "",
    *,
    outcome: str = NOT_STARTED,
    limits: frozenset[str] | None = None,
    is_learning: bool = False,
) -> Cleared:
    """Clear one start, by the policy and on the machine as they are now.

    Args:
        collaborators: whose policy and machine are asked.
        target: what is to be started.
        organization: for whom; empty for the requirements of the whole machine.
        outcome: what a refusal comes to, for messages.
        limits: names of those that whoever starts it enforces; None: it is this host.
        is_learning: whether its egress is to be let through and recorded, not enforced.

    Raises:
        AperioError: as `verifying.clear`.
    """
    interpreter = target.interpreter
    found = ((interpreter, missing_part(interpreter)),) if interpreter else ()
    policy = collaborators.policy()
    if limits is None:  # looking at what the machine offers takes longer than all the rest
        is_asked = bool(policy.limits)
        limits = (
            _enforced(collaborators, target, is_learning=is_learning) if is_asked else frozenset()
        )
    machine = Machine(collaborators.platform, limits, found)
    today = clock.now().date()
    return clear(target, policy, machine, today, organization, outcome=outcome)


def _enforced(
    collaborators: Collaborators, target: Receipt | DevelopmentBuild, *, is_learning: bool
) -> frozenset[str]:
    limits = enforced(sandbox_of(collaborators), manifest_of(target))
    if is_learning or str(id_of(target)) in collaborators.config().reported:
        limits -= {"egress"}
    return limits


def manifest_of(target: Receipt | DevelopmentBuild) -> Manifest:
    """Return what is declared by what is to be run, as far as it is granted."""
    if isinstance(target, DevelopmentBuild):
        return target.project.manifest
    return target.grant.granted


def kind_of(target: Receipt | DevelopmentBuild) -> str:
    """Return the kind of what is to be run: connector, remediation or destination."""
    return target.project.manifest.kind if isinstance(target, DevelopmentBuild) else target.kind


def id_of(target: Receipt | DevelopmentBuild) -> PluginId:
    """Return the id of what is to be run."""
    return target.project.manifest.id if isinstance(target, DevelopmentBuild) else target.id

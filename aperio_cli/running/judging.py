"""Judging: which of the installed versions may be started now, asked as before a start."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from aperio_cli.errors import AperioError
from aperio_cli.models.artifact import BUNDLE_SUFFIX
from aperio_cli.paths import find_program
from aperio_cli.running.targets import clear_target

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from aperio_cli.config import Config
    from aperio_cli.models.policy import Policy
    from aperio_cli.models.receipt import Receipt
    from aperio_cli.paths import Paths
    from aperio_cli.running.collaborators import Collaborators
    from aperio_cli.store.verdicts import Codes


def refusal_code(
    collaborators: Collaborators, receipt: Receipt, policy: Policy, organization: str = ""
) -> str:
    """Return the code of what keeps a version from being started; empty when nothing does.

    Args:
        collaborators: whose machine is asked.
        receipt: the version.
        policy: the rules.
        organization: for whom it is started; empty for the requirements of the whole machine.
    """
    asked = replace(collaborators, policy=lambda: policy)
    try:
        clear_target(asked, receipt, organization)
    except AperioError as refusal:
        return refusal.code
    return ""


def judge(collaborators: Collaborators, receipts: Sequence[Receipt]) -> Codes:
    """Return what keeps each version from being started, by id and version.

    A policy that cannot be read keeps all of them; its error's code says so.
    """
    try:
        policy = collaborators.policy()
    except AperioError as error:
        return {(str(receipt.id), receipt.version): error.code for receipt in receipts}
    return {
        (str(receipt.id), receipt.version): refusal_code(collaborators, receipt, policy)
        for receipt in receipts
    }


def depends_on(paths: Paths, config: Config, receipts: Iterable[Receipt]) -> set[str]:
    """Return the paths of everything that verdicts depend on, but for the receipts themselves.

    Args:
        paths: the places of the operator.
        config: the configuration in force.
        receipts: what is judged.
    """
    files = {config.file, config.managed_file, config.site_file, *_trust(paths, config)}
    found = {str(file) for file in files}
    found |= {str(folder) for file in files for folder in file.parents}
    # Required limits: by what plugins are confined here.
    found |= {find_program("bwrap") or "", "/usr/bin/bwrap", "/usr/local/bin/bwrap"} - {""}
    for receipt in receipts:
        if interpreter := receipt.interpreter:
            major, minor, *_ = interpreter.version.split(".")
            prefix = f"{interpreter.base_prefix}/lib/python{major}.{minor}"
            found |= {interpreter.executable, f"{prefix}/os.py"}
    return found


def _trust(paths: Paths, config: Config) -> Iterator[Path]:
    """Yield what is known against versions, and what the rules of publisher files hang on."""
    system = paths.system
    yield from (each.known_versions for each in (paths, system) if each)
    for named in config.publisher_files:
        yield named.path
        yield named.path.with_name(named.path.name + BUNDLE_SUFFIX)
    if config.publisher_files:
        trust = paths.signed_documents.parent
        yield from (path for path in (trust, *trust.glob("*"), *trust.glob("roots/*")))

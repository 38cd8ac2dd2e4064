"""What this machine can do for plugins, found by looking; nothing that is broken ends the look.

Every other command stops at the first thing that is wrong. This one goes on with what is right, so
that all of it is told at once, each with its remedy.
"""

from __future__ import annotations

import contextlib
import functools
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aperio_cli import clock
from aperio_cli.config import Config, load_readable
from aperio_cli.data.state import check_state
from aperio_cli.errors import AperioError
from aperio_cli.errors.installing import ReceiptInvalid
from aperio_cli.errors.registries import RegistrySignatureInvalid
from aperio_cli.errors.trust import TrustDomainBroken, TrustRootInvalid
from aperio_cli.errors.usage import PlaceUnusable
from aperio_cli.files import owning, temporary
from aperio_cli.machine.interpreters import find_interpreters
from aperio_cli.models.publisher import LOCAL_DOMAIN
from aperio_cli.proving.moments import find_wrong_clock
from aperio_cli.signing.local.domain import is_domain, open_domain
from aperio_cli.store.current import FILE_NAME as CURRENT_FILE
from aperio_cli.store.current import read_current
from aperio_cli.store.installed import Store
from aperio_cli.store.lock_place import LockPlace
from aperio_cli.trust.known_versions import load_known
from aperio_cli.trust.publisher_files import PublisherFileRequest, verify_publisher_file
from aperio_cli.trust.roots import DomainRoot, domain_roots
from aperio_cli.trust.signed_document import check_memory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from aperio_cli.models.artifact import Interpreter
    from aperio_cli.paths import Paths

_REMEDIES = (
    "check that it is the place you meant",
    "see that this user may read it, and the folder that it is in",
)


@dataclass(slots=True)
class Examination:
    """What was found.

    Attributes:
        config: what can be read of the configuration; not what is in force, while there is a
            finding about it.
        roots: of the trust domains.
        interpreters: that plugins can run on.
        has_local_domain: whether this machine has a trust domain of its own.
        findings: what is wrong, in the order in which a command would meet it.
    """

    config: Config = field(default_factory=Config)
    roots: tuple[DomainRoot, ...] = ()
    interpreters: tuple[Interpreter, ...] = ()
    has_local_domain: bool = False
    findings: list[AperioError] = field(default_factory=list)

    @contextlib.contextmanager
    def finding(self, what: str) -> Iterator[None]:
        """Keep what goes wrong in the block as a finding, and go on behind it."""
        try:
            yield
        except AperioError as error:
            self.findings.append(error)
        except OSError as error:
            named = f"`{os.fsdecode(error.filename)}`" if error.filename else what
            self.findings.append(
                PlaceUnusable(
                    f"{named} cannot be used", why=error.strerror or str(error), next=_REMEDIES
                )
            )


def examine(paths: Paths | None) -> Examination:
    """Return what is found on this machine.

    Args:
        paths: the operator's places; None when nothing says where they are.
    """
    found = Examination()
    with found.finding("the folder for temporary files"):
        temporary.require_place()
    if paths:
        _examine_places(found, paths)
    with found.finding("the search for interpreters"):
        found.interpreters = tuple(find_interpreters(found.config.python_interpreters))
    return found


def _examine_places(found: Examination, paths: Paths) -> None:
    with found.finding("the home"):
        _require_home(paths)
    with found.finding("the configuration"):
        found.config, problems = load_readable(paths)
        found.findings += problems
    with found.finding("the trusted roots"):
        found.has_local_domain = paths.local_root.exists()
    with found.finding("the trusted roots"):
        found.roots = domain_roots(found.config, paths)
        found.findings += [_unusable(root) for root in found.roots if root.source.problem]
        wrong = find_wrong_clock((root.source for root in found.roots), clock.now())
        found.findings += [wrong] if wrong else []
    for file in found.config.publisher_files:
        with found.finding(f"`{file.path}`"):
            verify_publisher_file(
                PublisherFileRequest(
                    file=file,
                    domains=found.config.domain_names,
                    roots=tuple(root.source for root in found.roots),
                    memory=paths.signed_documents,
                )
            )
    with found.finding("the store"):
        found.findings += Store(paths).inventory().problems
    _examine_records(found, paths)


def _examine_records(found: Examination, paths: Paths) -> None:
    """Read every file that a command keeps and would stop at; none is changed."""
    with found.finding("the store"):
        for file in sorted(paths.plugins.glob(f"*/*/{CURRENT_FILE}")):
            with found.finding(f"`{file}`"):
                _require_current(file)
    with found.finding("the lock file"):
        LockPlace(paths.lock_file, is_home=True).read()
    with found.finding("the stored state"):
        check_state(paths.state_database)
    with found.finding("what is remembered of registries"):
        load_known(paths)
    with found.finding("what is remembered of signed documents"):
        check_memory(paths.signed_documents, functools.partial(_unremembered, paths))
    with found.finding("the local trust domain"):
        _require_domain(paths, found.roots)


def _require_domain(paths: Paths, roots: Sequence[DomainRoot]) -> None:
    """Refuse a local trust domain that cannot sign; its root alone signs nothing anyway."""
    is_found = any(root.source.name == LOCAL_DOMAIN and root.source.problem for root in roots)
    if is_found or not is_domain(paths.local_domain):
        return
    try:
        open_domain(paths.local_domain).services()
    except TrustDomainBroken as broken:
        raise TrustDomainBroken(
            "the local trust domain cannot sign", why=broken.why, next=broken.next
        ) from broken


def _require_current(file: Path) -> None:
    if read_current(file) is None and file.exists():
        plugin = "/".join(file.parts[-3:-1])
        raise ReceiptInvalid(
            f"`{plugin}` is not started unless its version is named: which one is used is unknown",
            why=f"{file} cannot be read",
            next=[f"`aperio plugin install {plugin}@VERSION`"],
        )


def _unremembered(paths: Paths, why: str, steps: Sequence[str]) -> RegistrySignatureInvalid:
    return RegistrySignatureInvalid(
        f"`{paths.signed_documents}` cannot be used: nothing that is signed with a serial is read",
        why=why,
        next=steps,
    )


def _require_home(paths: Paths) -> None:
    """Refuse a home that is there and cannot be read, or that somebody else may change."""
    if os.path.lexists(paths.home):
        os.listdir(paths.home)  # noqa: PTH208 - it is whether it can be read that counts
        owning.require_own(paths.home)


def _unusable(root: DomainRoot) -> TrustRootInvalid:
    source = root.source
    return TrustRootInvalid(
        f"the trusted root `{source.name}` cannot be used",
        why=source.problem,
        next=source.remedies or ["put right what is said above"],
    )

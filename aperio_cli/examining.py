"""What this machine can do for plugins, found by looking; nothing that is broken ends the look.

Every other command stops at the first thing that is wrong. This one goes on with what is right, so
that all of it is told at once, each with its remedy.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aperio_cli import clock
from aperio_cli.config import Config, load_readable
from aperio_cli.errors import AperioError
from aperio_cli.errors.trust import TrustRootInvalid
from aperio_cli.errors.usage import PlaceUnusable
from aperio_cli.files import owning, temporary
from aperio_cli.machine.interpreters import find_interpreters
from aperio_cli.proving.moments import find_wrong_clock
from aperio_cli.store.installed import Store
from aperio_cli.trust.publisher_files import PublisherFileRequest, verify_publisher_file
from aperio_cli.trust.roots import DomainRoot, domain_roots

if TYPE_CHECKING:
    from collections.abc import Iterator

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

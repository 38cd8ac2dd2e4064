"""`aperio trust domain add`: a trust domain besides public, staging and local."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

from aperio_cli.commands.app import domain
from aperio_cli.commands.common import command
from aperio_cli.commands.options import argument, option
from aperio_cli.context import Context
from aperio_cli.errors import AperioError
from aperio_cli.errors.trust import SiteForbids, TrustRootInvalid
from aperio_cli.errors.usage import NotFound, UsageError
from aperio_cli.files import owning, reading
from aperio_cli.files.naming import as_path
from aperio_cli.output import Report
from aperio_cli.text import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aperio_cli.config import DomainRule

_MAX_ROOT_BYTES = 1024 * 1024


@command(
    domain,
    "trust",
    "domain",
    "add",
    examples=[
        "aperio trust domain add acme --file trusted-root.json",
        "aperio trust domain add example --tuf https://tuf.example.com --tuf-root root.json",
    ],
)
def trust_domain_add(
    context: Context,
    name: Annotated[str, argument(metavar="NAME", help="What rules are to call it.")],
    *,
    file: Annotated[
        str,
        option(help="Its ClientTrustConfig or TrustedRoot.", metavar="FILE"),
    ] = "",
    tuf: Annotated[str, option(help="Its TUF repository.", metavar="URL")] = "",
    tuf_root: Annotated[str, option(help="That repository's first root.", metavar="FILE")] = "",
) -> Report:
    """State a trust domain, such as a private Sigstore instance; rules can name it afterwards.

    Nobody is trusted by it alone: rules say who may sign in it.
    """
    from aperio_cli.config import changes, managed, parse_domain_rule
    from aperio_cli.models.digest import Digest
    from aperio_cli.models.reading import Table

    options = {"file": _absolute(file), "tuf": tuf, "tuf_root": _absolute(tuf_root)}
    stated = {"name": name} | {key: value for key, value in options.items() if value}
    if not (file or tuf or tuf_root):
        raise UsageError(
            f"`{one_line(name, limit=80)}` was not added: it is not said where its trusted root is",
            why="expected `--file`, or `--tuf` with `--tuf-root`",
            next=[f"`aperio trust domain add {one_line(name, limit=80)} --file FILE`"],
        )
    fail = functools.partial(_fail, stated)
    wanted = parse_domain_rule(Table(stated, fail), stated_in=str(context.paths.managed_file))
    _refuse_taken(context, wanted)
    root = Path(options["file"] or options["tuf_root"])
    contents = _require_root(root, is_tuf=bool(tuf))
    was_added = managed.change(context.paths, lambda config: changes.with_domain(config, wanted))
    path = wanted.stated_in if was_added else _holder(context, wanted)
    data = {
        "config_file": path,
        "domain": wanted.to_json(),
        "sha256": Digest.of(contents).hex,
        "was_there": not was_added,
    }
    done = f"was added to {path}" if was_added else f"is in {path} already"
    step = "say who may sign in it: `aperio trust publisher add NS --from-bundle FILE`"
    step = f"`aperio trust refresh {name}`" if tuf else step
    return Report(data, f"the trust domain `{name}` {done}", notes=(f"next: {step}",))


def _holder(context: Context, wanted: DomainRule) -> str:
    """Return the file that states a domain of the user's already."""
    return next(
        known.stated_in for known in context.config.user.domains if known.name == wanted.name
    )


def _absolute(path: str) -> str:
    return str(as_path(path).absolute()) if path else ""


def _fail(stated: Mapping[str, str], key: str, why: str) -> NoReturn:
    value = one_line(stated.get(key, ""), limit=200)
    typed = value if key == "name" else f"--{key.replace('_', '-')} {value}".rstrip()
    raise UsageError(
        f"`{typed}` was not accepted; no trust domain was added",
        why=why,
        next=["see what goes there: `aperio trust domain add --help`"],
    )


def _refuse_taken(context: Context, wanted: DomainRule) -> None:
    """Refuse a name that another trust domain has.

    Raises:
        SiteForbids: the site has a domain of that name.
        UsageError: one of the user's files has another one.
    """
    for known in context.config.domains:
        if known.name != wanted.name or known.to_json() == wanted.to_json():
            continue
        if known in context.config.site.domains:
            raise SiteForbids(
                f"`{wanted.name}` was left as it is: the site has a trust domain of that name",
                why=f"stated in {known.stated_in}",
                next=["choose another name"],
            )
        raise UsageError(
            f"`{wanted.name}` was left as it is: there is another trust domain of that name",
            why=f"stated in {known.stated_in}",
            next=["choose another name", "take the other one out of its file first"],
        )


def _require_root(path: Path, *, is_tuf: bool) -> bytes:
    """Return the contents of a root, when it looks like one; it is checked in full when it is used.

    Raises:
        NotFound: it cannot be read.
        TrustRootInvalid: it is something else.
        PathShared: somebody else may change it.
    """
    from aperio_cli.models.reading import Bounds, read_json

    owning.require_own(path)
    try:
        contents = reading.read_capped(path, _MAX_ROOT_BYTES)
    except (AperioError, OSError) as error:
        why = error.why if isinstance(error, AperioError) else str(error.strerror)
        raise NotFound(
            f"`{path}` cannot be read; no trust domain was added",
            why=why,
            next=["check the path for a typing error"],
        ) from error
    if is_tuf:
        _require_first_root(path, contents)
        return contents
    try:
        document = read_json(contents, Bounds(_MAX_ROOT_BYTES))
        # sigstore_trustroot.proto: TrustedRoot, and the ClientTrustConfig that holds one.
        is_root = "certificateAuthorities" in document.get("trustedRoot", document)
    except (ValueError, TypeError, AttributeError):
        is_root = False
    if not is_root:
        raise TrustRootInvalid(
            f"`{path}` is not a trusted root; no trust domain was added",
            why="expected a ClientTrustConfig or TrustedRoot as JSON",
        )
    return contents


def _require_first_root(path: Path, contents: bytes) -> None:
    from aperio_cli.trust.refresh import require_first_root

    try:
        require_first_root(contents)
    except TrustRootInvalid as error:
        raise TrustRootInvalid(
            f"`{path}` is not a trusted root; no trust domain was added",
            why=f"expected a TUF root that its own keys have signed\nfound    {error.why}",
            next=["get the root.json that the instance publishes for its clients"],
        ) from error

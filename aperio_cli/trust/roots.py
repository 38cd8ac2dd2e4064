"""The trusted roots of this machine: what signatures are held against, and how old that is.

Read from disk only. Sigstore's public and staging instances ship with aperio; `aperio trust
refresh` gets newer copies. The newer of the two counts: version of the TUF root, then date. A copy
that is there and cannot be read makes its domain unusable: it may have ended an authority that the
shipped root still trusts, and a retired authority may be a stolen one.

A root that cannot be used stays in the list with its problem, and is an error only where it is
needed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aperio_cli import clock
from aperio_cli.errors import AperioError
from aperio_cli.errors.files import PathShared, RecordNewer
from aperio_cli.errors.trust import TrustRootInvalid
from aperio_cli.errors.usage import NotFound, UsageError
from aperio_cli.files import owning, reading
from aperio_cli.models.digest import Digest
from aperio_cli.models.publisher import (
    LOCAL_DOMAIN,
    PUBLIC_DOMAIN,
    SIGSTORE_DOMAINS,
    STAGING_DOMAIN,
)
from aperio_cli.models.reading import Bounds, Unreadable, read_json
from aperio_cli.proving.moments import is_ahead, latest_known
from aperio_cli.proving.trusted_root import TrustedRootSource
from aperio_cli.text import clean, counted, one_line
from aperio_cli.trust.refreshed import (
    MAX_DOCUMENT_BYTES,
    Damaged,
    RefreshedRoot,
    Sighting,
    Versions,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from aperio_cli.config import Config, DomainRule
    from aperio_cli.paths import Paths

STALE_AFTER = timedelta(days=180)
"""How old a root may get before `aperio doctor` warns."""

_SHIPPED = Path(__file__).resolve().parent / "shipped"
# sigstore_trustroot.proto, ClientTrustConfig as JSON.
_TRUST_CONFIG = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"


@dataclass(frozen=True, slots=True)
class RootRepository:
    """A TUF repository that has a trusted root.

    Attributes:
        name: the trust domain's name.
        url: where its metadata is; ends in a slash.
        first_root: the TUF root from which trust in it starts.
        key: names what may be taken from it; a copy got under another key is not used.
    """

    name: str
    url: str
    first_root: bytes = field(repr=False)
    key: str

    @property
    def folder(self) -> str:
        """Name of the folder for its metadata."""
        return Digest.of(self.key.encode()).hex[:16]


@dataclass(frozen=True, slots=True)
class DomainRoot:
    """What is known of one trust domain.

    Attributes:
        source: its trusted root, as the verifier takes it.
        signing_config: sigstore_trustroot.proto's SigningConfig as JSON; empty when there is none.
    """

    source: TrustedRootSource
    signing_config: bytes = b""


def trusted_roots(config: Config, paths: Paths) -> tuple[TrustedRootSource, ...]:
    """Return every trusted root of this machine: local, configured, public, staging.

    One that cannot be used is among them, with its `problem` and an empty document.
    """
    return tuple(root.source for root in domain_roots(config, paths))


def domain_roots(config: Config, paths: Paths) -> tuple[DomainRoot, ...]:
    """Return what is known of every trust domain, in the order of `trusted_roots`."""
    return tuple(_domain_roots(config, paths))


def _domain_roots(config: Config, paths: Paths) -> Iterator[DomainRoot]:
    if paths.local_root.exists():
        yield _file_root(LOCAL_DOMAIN, paths.local_root, LOCAL_DOMAIN)
    for rule in config.domains:
        if rule.file:
            yield _file_root(rule.name, rule.file, "file")
        else:
            yield _stated_root(rule, paths)
    for name in SIGSTORE_DOMAINS:
        yield root_in_use(_shipped_repository(name), paths)


def trust_config_json(name: str, config: Config, paths: Paths) -> str:
    """Return all that a client needs to sign and verify in a domain: a ClientTrustConfig as JSON.

    Args:
        name: `public`, `staging` or the name of a `[[domains]]` entry.
        config: states the other domains.
        paths: where refreshed copies are.

    Raises:
        UsageError: there is no such domain.
        TrustRootInvalid: its root cannot be used.
        NotFound: it has a trusted root only, which says nothing about signing.
    """
    roots = {root.source.name: root for root in domain_roots(config, paths)}
    if name not in roots:
        raise UsageError(
            f"nothing was signed: `{clean(name)}` is not a trust domain",
            why=f"known here: {', '.join(dict.fromkeys((*roots, LOCAL_DOMAIN)))}",
            next=[
                "check the name for a typing error",
                "state it: `aperio trust domain add NAME --file FILE`",
            ],
        )
    root = roots[name]
    if root.source.problem:
        raise TrustRootInvalid(
            f"the trust domain `{name}` cannot be used",
            why=root.source.problem,
            next=root.source.remedies or ["put right what is said above"],
        )
    if not root.signing_config:
        raise NotFound(
            f"nothing can be signed in `{name}`: no services that sign are stated for it",
            why="expected a ClientTrustConfig, found a TrustedRoot",
            next=["ask whoever runs the instance for its ClientTrustConfig, and state that file"],
        )
    parts = {"trustedRoot": root.source.document, "signingConfig": root.signing_config}
    try:
        document = {key: read_json(part, Bounds(MAX_DOCUMENT_BYTES)) for key, part in parts.items()}
    except Unreadable as error:
        raise TrustRootInvalid(
            f"the trust domain `{name}` cannot be used",
            why=one_line(error),
            next=["put right what is said above"],
        ) from error
    return json.dumps({"mediaType": _TRUST_CONFIG} | document)


def root_repository(name: str, config: Config) -> RootRepository:
    """Return the TUF repository of a trust domain.

    Raises:
        UsageError: there is no such domain, or it is not got over TUF.
        TrustRootInvalid: the first root that the configuration names cannot be read.
    """
    if name in SIGSTORE_DOMAINS:
        return _shipped_repository(name)
    rule = next((rule for rule in config.domains if rule.name == name and rule.tuf), None)
    if rule is not None:
        return _stated_repository(rule)
    is_file = any(rule.name == name for rule in config.domains)
    known = (*SIGSTORE_DOMAINS, *(rule.name for rule in config.domains if rule.tuf))
    if name == LOCAL_DOMAIN:
        raise UsageError(
            "`local` was left as it is: it is this machine's own, and nobody has a newer root",
            next=[f"these can be refreshed: {', '.join(known)}"],
        )
    raise UsageError(
        f"`{clean(name)}` cannot be refreshed",
        why="it is stated as a file" if is_file else "no trust domain of this name is got over TUF",
        next=[
            "replace the file" if is_file else "check the name for a typing error",
            f"these can be: {', '.join(known)}",
        ],
    )


def refreshed_by_default(config: Config) -> tuple[str, ...]:
    """Return the trust domains to refresh when none is named.

    Staging only when a rule is about it.
    """
    rules = (*config.policy.publishers, *(entry.rule for entry in config.publisher_files))
    is_staging = any(rule.domain == STAGING_DOMAIN for rule in rules)
    stated = (rule.name for rule in config.domains if rule.tuf)
    return (PUBLIC_DOMAIN, *stated, *([STAGING_DOMAIN] if is_staging else []))


# ── age ───────────────────────────────────────────────────────────────────────────────────────────


def root_age(source: TrustedRootSource, now: datetime) -> str:
    """Return how old a root is, such as `21 days old`, for people.

    Args:
        source: the root.
        now: the current moment, aware.
    """
    age = root_age_days(source, now)
    if (known := latest_known([source])) and is_ahead(known[0], now):
        return f"of a time yet to come ({clock.format_timestamp(known[0])}): see the clock"
    if age is None:
        return "made here" if source.origin == LOCAL_DOMAIN else "of unknown age"
    return f"{counted(age, 'day')} old" if age else "less than a day old"


def root_age_days(source: TrustedRootSource, now: datetime) -> int | None:
    """Return how many whole days ago a root was known to be current.

    None when nobody knows, or when that is yet to come.
    """
    known = latest_known([source])
    return None if known is None or is_ahead(known[0], now) else max(0, (now - known[0]).days)


# ── one domain ────────────────────────────────────────────────────────────────────────────────────


def refreshed_copy(repository: RootRepository, paths: Paths) -> RefreshedRoot | None:
    """Return what was last got from a repository; None when nothing was, or another gave it.

    Raises:
        Damaged: the copy is there and cannot be used.
        RecordNewer: a newer aperio got it.
    """
    copy = RefreshedRoot.read(paths.refreshed_root(repository.name))
    return copy if copy and copy.sighting.repository == repository.key else None


def root_in_use(repository: RootRepository, paths: Paths) -> DomainRoot:
    """Return the newer of what was got over TUF and what is shipped; unusable: there is neither."""
    name, get_it = repository.name, f"get it: `aperio trust refresh {repository.name}`"
    shipped = _shipped_sighting(name) if name in SIGSTORE_DOMAINS else None
    try:
        owning.require_own(paths.refreshed_root(name))
        copy = refreshed_copy(repository, paths)
    except (PathShared, RecordNewer) as error:
        return _unusable(name, f"{error.what}\n{error.why}", *error.next)
    except Damaged as damage:
        begin_again = "remove that file, to begin again from the root shipped with aperio"
        return _unusable(name, str(damage), get_it, *([begin_again] if shipped else []))
    if copy and (shipped is None or copy.sighting.rank > shipped.rank):
        source = TrustedRootSource(name, copy.trusted_root, "refreshed", copy.sighting.as_of)
        return DomainRoot(source, copy.signing_config)
    if shipped is None:
        nothing = f"nothing was got yet from {repository.url} with this first root"
        return _unusable(name, nothing, get_it)
    document, config = (
        reading.read_capped(_SHIPPED / name / file, MAX_DOCUMENT_BYTES)
        for file in ("trusted_root.json", "signing_config.json")
    )
    return DomainRoot(TrustedRootSource(name, document, "vendored", shipped.as_of), config)


def _stated_root(rule: DomainRule, paths: Paths) -> DomainRoot:
    """Return what was got from a repository that the operator states; there is nothing else."""
    try:
        return root_in_use(_stated_repository(rule), paths)
    except TrustRootInvalid as error:
        return _unusable(rule.name, error.why, *error.next)


def _file_root(name: str, path: Path, origin: str) -> DomainRoot:
    """Return the root in a file: a TrustedRoot, or a ClientTrustConfig that holds one."""
    try:
        owning.require_own(path)
        contents = reading.read_capped(path, MAX_DOCUMENT_BYTES)
        document = read_json(contents, Bounds(MAX_DOCUMENT_BYTES))
    except PathShared as shared:
        return _unusable(name, f"{shared.what}\n{shared.why}", *shared.next, origin=origin)
    except (AperioError, OSError, Unreadable) as error:
        said = error.strerror if isinstance(error, OSError) else error
        return _unusable(name, f"{path}: {one_line(said)}", origin=origin)
    if not isinstance(document, dict):
        return _unusable(name, f"{path}: expected a JSON object", origin=origin)
    if document.get("mediaType") != _TRUST_CONFIG:
        return DomainRoot(TrustedRootSource(name, contents, origin))
    source = TrustedRootSource(name, _canonical(document.get("trustedRoot")), origin)
    return DomainRoot(source, _canonical(document.get("signingConfig")))


def _canonical(document: Any) -> bytes:
    """Return a part of a file as bytes of its own, so that equal parts have equal digests."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _unusable(name: str, problem: str, *remedies: str, origin: str = "refreshed") -> DomainRoot:
    return DomainRoot(
        TrustedRootSource(name, b"", origin, problem=problem, remedies=tuple(remedies))
    )


# ── repositories ──────────────────────────────────────────────────────────────────────────────────


def _shipped_facts(name: str) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((_SHIPPED / "metadata.json").read_bytes())["domains"][name]
    return facts


def _shipped_sighting(name: str) -> Sighting:
    facts = _shipped_facts(name)
    return Sighting(facts["url"], facts["as_of"], Versions(facts["tuf_root_version"], 0, 0, 0))


def _shipped_repository(name: str) -> RootRepository:
    url = _shipped_facts(name)["url"]
    first_root = reading.read_capped(_SHIPPED / name / "tuf_root.json", MAX_DOCUMENT_BYTES)
    # Its first root is not part of the key: a new version of aperio starts from a later one.
    return RootRepository(name, url, first_root, url)


def _stated_repository(rule: DomainRule) -> RootRepository:
    assert rule.tuf_root is not None  # noqa: S101 - the configuration's reader sees to it
    try:
        owning.require_own(rule.tuf_root)
        first_root = reading.read_capped(rule.tuf_root, MAX_DOCUMENT_BYTES)
    except PathShared as shared:
        raise TrustRootInvalid(
            f"`{rule.name}` cannot be used: somebody else may change its first TUF root",
            why=f"{shared.what}\n{shared.why}",
            next=shared.next,
        ) from shared
    except (AperioError, OSError) as error:
        raise TrustRootInvalid(
            f"`{rule.name}` cannot be used: its first TUF root cannot be read",
            why=f"{rule.tuf_root}: {one_line(error)}",
            next=["bring the file back", f"correct `tuf_root` in {rule.stated_in}"],
        ) from error
    url = rule.tuf if rule.tuf.endswith("/") else f"{rule.tuf}/"
    # Whoever names another first root may have lost faith in what the old one led to.
    return RootRepository(rule.name, url, first_root, f"{url} {Digest.of(first_root)}")

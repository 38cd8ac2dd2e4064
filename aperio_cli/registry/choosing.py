"""Choose the version of a plugin, and say why it is that one; pure.

The version named, or the highest of those that are neither pre-releases nor withdrawn, speak this
interface, run with this aperio, are there for this platform, and are such as the policy can admit.
Each that is passed over says why.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from aperio_cli import __version__, clock
from aperio_cli.errors.installing import (
    HostIncompatible,
    PlatformIncompatible,
    ProtocolIncompatible,
)
from aperio_cli.errors.registries import (
    PluginNotFound,
    VersionRevoked,
    VersionTooNew,
    VersionYanked,
)
from aperio_cli.errors.trust import ProvenanceMissing
from aperio_cli.models.choice import CHOSEN, Choice, Considered
from aperio_cli.models.plugin_id import is_prerelease
from aperio_cli.models.policy import REVOKED_RULE, Policy
from aperio_cli.models.protocol import INTERFACE, format_protocol, is_compatible
from aperio_cli.models.registry.plugin_file import DEPRECATED, REVOKED, YANKED
from aperio_cli.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aperio_cli.errors import AperioError
    from aperio_cli.models.platform import Platform
    from aperio_cli.models.plugin_id import PluginId, PluginRef
    from aperio_cli.models.registry.plugin_file import VersionStatus

_COMPARATOR: Final = re.compile(r"\s*(>=|<=|>|<|==|!=)\s*(\d{1,9}(?:\.\d{1,9}){0,2})\s*", re.ASCII)
_LATEST: Final = datetime.max.replace(microsecond=0, tzinfo=UTC)
_RELEASE: Final = re.compile(r"(\d+)\.(\d+)\.(\d+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One version that a registry has.

    Attributes:
        version: the version.
        platforms: those that it is there for.
        attested: those of them that it states signed statements for.
        protocols: versions of the plugin interface that it speaks; empty when not stated.
        requires_host: which versions of aperio it needs, as `>=1.0,<2`; empty for any.
        published_at: when it was added, RFC 3339 in UTC; empty when not stated.
        status: why it should not be used; None when it is active.
    """

    version: str
    platforms: tuple[Platform, ...]
    attested: tuple[Platform, ...] = ()
    protocols: tuple[tuple[int, int], ...] = ()
    requires_host: str = ""
    published_at: str = ""
    status: VersionStatus | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    """For whom a version is chosen.

    Attributes:
        platform: the machine's.
        policy: the operator's rules.
        now: the current moment, aware.
        host_version: of aperio.
        interface: version of the plugin interface that is spoken here.
        is_pinned: whether whoever names a version has named it before it was withdrawn: a lock
            file does.
    """

    platform: Platform
    policy: Policy = field(default_factory=Policy)
    now: datetime = field(default_factory=clock.now)
    host_version: str = __version__
    interface: tuple[int, int] = INTERFACE
    is_pinned: bool = False


def choose(candidates: Sequence[Candidate], ref: PluginRef, situation: Situation) -> Choice:
    """Return the version of a plugin to install, and what was said about those above it.

    Args:
        candidates: its versions, the highest first.
        ref: the plugin, and the version when one is named.
        situation: for whom.

    Raises:
        PluginNotFound: there is no such version, or none but pre-releases.
        VersionRevoked: the version, or the highest of those that would do, is revoked.
        VersionYanked: it is yanked, and no lock file names it.
        ProtocolIncompatible, HostIncompatible, PlatformIncompatible: it does not run here.
        ProvenanceMissing: the policy requires provenance, and it states none.
        VersionTooNew: it was published only now, and none is named.
    """
    named = [each for each in candidates if ref.version in {None, each.version}]
    considered: list[Considered] = []
    for candidate in named:
        found = _judge(candidate, ref, situation)
        considered.append(found)
        if found.verdict == CHOSEN:
            return Choice(candidate.version, tuple(considered), candidate.status)
    pairs = list(zip(named, considered, strict=True))
    raise _none(pairs, candidates, ref, situation) or _not_there(candidates, ref)


def _judge(candidate: Candidate, ref: PluginRef, situation: Situation) -> Considered:
    for verdict, why in _against(candidate, ref, situation):
        if why:
            return Considered(candidate.version, verdict, why)
    deprecated = candidate.status and candidate.status.state == DEPRECATED
    why = f"deprecated: {candidate.status.reason}" if deprecated and candidate.status else ""
    return Considered(candidate.version, CHOSEN, why)


def _against(
    candidate: Candidate, ref: PluginRef, situation: Situation
) -> Iterator[tuple[str, str]]:
    """Yield what may be said against a version, word and sentence; the sentence empty for no."""
    is_named = ref.version is not None
    state = candidate.status.state if candidate.status else ""
    reason = candidate.status.reason if candidate.status else ""
    is_lifted = _lifts_revocation(situation, ref.id, candidate.version)
    yield "pre-release", "it is a pre-release" if not is_named and _is_pre(candidate) else ""
    yield REVOKED, reason if state == REVOKED and not (is_named and is_lifted) else ""
    yield YANKED, reason if state == YANKED and not (is_named and situation.is_pinned) else ""
    yield "interface", _other_interface(candidate, situation)
    yield "host", _other_host(candidate, situation)
    yield "platform", _other_platform(candidate, situation)
    yield "provenance", _no_provenance(candidate, situation)
    yield "cool-down", "" if is_named else _too_new(candidate, situation)


def _is_pre(candidate: Candidate) -> bool:
    return is_prerelease(candidate.version)


def _lifts_revocation(situation: Situation, plugin: PluginId, version: str) -> bool:
    today = situation.now.date().isoformat()
    return bool(situation.policy.exception(plugin, version, REVOKED_RULE, today=today))


def _other_interface(candidate: Candidate, situation: Situation) -> str:
    spoken = candidate.protocols
    if not spoken or any(is_compatible(each, situation.interface) for each in spoken):
        return ""
    stated = ", ".join(map(format_protocol, spoken))
    return f"plugin {stated}\naperio {format_protocol(situation.interface)}"


def _other_host(candidate: Candidate, situation: Situation) -> str:
    if admits_host(candidate.requires_host, situation.host_version):
        return ""
    stated = one_line(candidate.requires_host)
    return f"expected aperio {stated}\nfound    {situation.host_version}"


def _other_platform(candidate: Candidate, situation: Situation) -> str:
    if situation.platform in candidate.platforms:
        return ""
    there_are = ", ".join(map(str, candidate.platforms)) or "none"
    return f"this machine {situation.platform}\nthere are    {there_are}"


def _no_provenance(candidate: Candidate, situation: Situation) -> str:
    is_lacking = (
        situation.policy.require_provenance and situation.platform not in candidate.attested
    )
    return "[policy] require_provenance, and no attestations are stated" if is_lacking else ""


def _too_new(candidate: Candidate, situation: Situation) -> str:
    days = situation.policy.cool_down_days
    if not days or not candidate.published_at:
        return ""
    published = datetime.fromisoformat(candidate.published_at).astimezone(UTC)
    cooled = timedelta(days=days)
    if situation.now - published >= cooled:
        return ""
    end = min(published, _LATEST - cooled) + cooled  # a registry may state the end of the year 9999
    return (
        f"published {candidate.published_at}\n"
        f"[policy] cool_down_days = {days}: until {clock.format_timestamp(end)}"
    )


def admits_host(stated: str, version: str) -> bool:
    """Return whether a requirement such as `>=1.0,<2` admits a version of aperio.

    Parts that are not written are 0. One that cannot be read admits none; pre-releases count as
    the release that they lead to.
    """
    found = _RELEASE.match(version)
    if not stated:
        return True
    if found is None:
        return False
    here = tuple(map(int, found.groups()))
    for part in stated.split(","):
        match = _COMPARATOR.fullmatch(part)
        if match is None or not _compares(here, match[1], match[2]):
            return False
    return True


def _compares(here: tuple[int, ...], operator: str, text: str) -> bool:
    stated = tuple(map(int, text.split(".")))
    wanted = stated + (0,) * (3 - len(stated))
    if operator in {"==", "!="}:
        return (here[: len(stated)] == stated) is (operator == "==")
    return {
        ">=": here >= wanted,
        ">": here > wanted,
        "<=": here <= wanted,
        "<": here < wanted,
    }[operator]


# ── none ──────────────────────────────────────────────────────────────────────────────────────────


def _none(
    pairs: Sequence[tuple[Candidate, Considered]],
    candidates: Sequence[Candidate],
    ref: PluginRef,
    situation: Situation,
) -> AperioError | None:
    """Return why there is none: what is said against the highest that is no pre-release."""
    told = [(c, found) for c, found in pairs if found.verdict != "pre-release"]
    if not told:
        return None
    # What is withdrawn is not what was meant, where there are others.
    candidate, found = next((p for p in told if p[1].verdict not in {REVOKED, YANKED}), told[0])
    subject = f"`{ref.id}` {candidate.version} was not installed"
    if found.verdict in {REVOKED, YANKED}:
        return _withdrawn(subject, candidate, ref, found)
    if found.verdict == "platform":
        return _platform(subject, found, candidates, ref, situation)
    return _refusal(subject, found, ref)


def _refusal(subject: str, found: Considered, ref: PluginRef) -> AperioError:
    named = f"`aperio plugin install {ref.id}@{found.version}`"
    if found.verdict == "interface":
        return ProtocolIncompatible(
            f"{subject}: it speaks another version of the plugin interface",
            why=found.why,
            next=["install a newer aperio", "name a version that speaks this one"],
        )
    if found.verdict == "host":
        return HostIncompatible(
            f"{subject}: it needs another version of aperio",
            why=found.why,
            next=["install the aperio that it needs", "name a version that runs with this one"],
        )
    if found.verdict == "provenance":
        return ProvenanceMissing(
            f"{subject}: nothing signed says how it was built",
            why=found.why,
            next=["ask its publisher to attest releases: `aperio plugin sign` does"],
        )
    return VersionTooNew(
        f"{subject}: it was published only now, and so was every other",
        why=found.why,
        next=["wait until then", f"if you know what it is, name it: {named}"],
    )


def _withdrawn(
    subject: str, candidate: Candidate, ref: PluginRef, found: Considered
) -> VersionRevoked | VersionYanked:
    status = candidate.status
    assert status is not None  # noqa: S101 - it is what the verdict is about
    replacement = status.replacement
    steps = [f"`aperio plugin install {ref.id}@{replacement}`"] if replacement else []
    why = f"{status.reason}\nsince {status.at}"
    if found.verdict == REVOKED:
        name = f"{ref.id}@{candidate.version} --rule {REVOKED_RULE} --until DATE --reason TEXT"
        steps.append("ask its publisher for a version that may be used")
        steps.append(f"if you have to, for a time: `aperio trust exception add {name}`")
        return VersionRevoked(f"{subject}: its registry has revoked it", why=why, next=steps)
    steps.append(f"leave the version out, for the highest that is not yanked: `{ref.id}`")
    return VersionYanked(f"{subject}: it was taken back (yanked)", why=why, next=steps)


def _platform(
    subject: str,
    found: Considered,
    candidates: Sequence[Candidate],
    ref: PluginRef,
    situation: Situation,
) -> PlatformIncompatible:
    others = [each.version for each in candidates if situation.platform in each.platforms]
    steps = [f"`aperio plugin install {ref.id}@{others[0]}`"] if others else []
    return PlatformIncompatible(
        f"{subject}: it is not there for this platform",
        why=found.why,
        next=[*steps, f"ask its publisher to build it for {situation.platform}"],
    )


def _not_there(candidates: Sequence[Candidate], ref: PluginRef) -> PluginNotFound:
    known = ", ".join(each.version for each in candidates[:10]) or "none"
    return PluginNotFound(
        f"`{ref}` was not found: the registry has no such version",
        why=f"versions of `{ref.id}`: {known}",
        next=[f"name one of them, as in `{ref.id}@VERSION`"],
    )

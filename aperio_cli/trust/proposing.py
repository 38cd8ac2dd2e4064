"""A verified signer as the rule that an operator could state about them: exact in every field.

For a CI build the rule names the build and leaves only the version open; what cannot be said that
way is refused, because a rule without the version would take any build for every version.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from aperio_cli.errors.trust import PublisherUnfit
from aperio_cli.errors.usage import UsageError
from aperio_cli.models.publisher import (
    BUILD_CONFIG_URI,
    CI_SERVICES,
    OWNER_ID,
    REPOSITORY_ID,
    REPOSITORY_REF,
    REPOSITORY_URI,
    RUNNER,
    TIERS,
    VERSION_FIELD,
    CiIdentity,
    PublisherRule,
)
from aperio_cli.models.publisher_table import parse_publisher
from aperio_cli.models.reading import Table
from aperio_cli.text import clean

if TYPE_CHECKING:
    from aperio_cli.models.publisher import Signer

_CLAIMS = (OWNER_ID, REPOSITORY_ID, REPOSITORY_URI, REPOSITORY_REF, RUNNER)
# The end of a tag such as `v1.2.3` or `box/1.2.3-rc.1`, when no artifact says which version it is.
_VERSION_AT_END = re.compile(r"(?<![0-9.])\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?$", re.ASCII)


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a rule is to say besides who signs.

    Attributes:
        namespace: the namespace.
        plugin: the only plugin of it; empty for all.
        tier: one of `TIERS`.
        stated_in: the file that the rule would stand in.
    """

    namespace: str
    plugin: str = ""
    tier: str = TIERS[0]
    stated_in: str = ""


def propose_rule(signer: Signer, version: str, proposal: Proposal) -> PublisherRule:
    """Return the rule that admits this signer for every version, and nobody else for any.

    Args:
        signer: who signed, as a verification proved.
        version: which version was signed; empty when nobody knows, and the ref has to tell.
        proposal: what else the rule is to say.

    Raises:
        PublisherUnfit: such a rule cannot be written about the signer.
        UsageError: namespace, plugin or tier are none, or do not go together.
    """
    version = version or _version_in(signer.claim(REPOSITORY_REF))
    ci = _build(signer, version) if signer.claim(BUILD_CONFIG_URI) else None
    proposed = PublisherRule(
        namespace=proposal.namespace,
        domain=signer.domain,
        identity="" if ci else signer.identity,
        issuer=signer.issuer,
        stated_in=proposal.stated_in,
        ci=ci,
        plugin=proposal.plugin,
        tier=proposal.tier,
    )
    rule = parse_publisher(
        Table(proposed.to_json(), _fail), domains=None, stated_in=proposal.stated_in
    )
    differences = rule.differences(signer, version)
    if differences:
        # Its own signer has to pass: whatever is left over here, no rule can express.
        lines = (f"{d.field}: a rule would say {d.expected}, found {d.found}" for d in differences)
        raise _unfit("\n".join(clean(line) for line in lines))
    return rule


def _build(signer: Signer, version: str) -> CiIdentity:
    missing = [name for name in _CLAIMS if not signer.claim(name)]
    if missing:
        raise _unfit(f"its certificate does not say {', '.join(missing)}")
    repository, config = signer.claim(REPOSITORY_URI), signer.claim(BUILD_CONFIG_URI)
    service = _service(repository, config)
    rest = config.removeprefix(repository + CI_SERVICES[service].separator)
    return CiIdentity(
        service=service,
        repository=repository,
        repository_id=signer.claim(REPOSITORY_ID),
        owner_id=signer.claim(OWNER_ID),
        workflow=rest.rpartition("@")[0],
        ref=_ref(signer.claim(REPOSITORY_REF), version),
        runner=signer.claim(RUNNER),
        signer_workflow="" if signer.identity == config else signer.identity,
    )


def _service(repository: str, config: str) -> str:
    """Return which CI service writes its build configurations like this one, on any server."""
    for name in ("gitlab", "github"):  # GitLab's separator begins as GitHub's does
        if config.startswith(repository + CI_SERVICES[name].separator):
            return name
    raise _unfit(
        f"its build configuration is not one of its repository\nrepository     {repository}\n"
        f"configuration  {config}"
    )


def _ref(ref: str, version: str) -> str:
    """Return the ref with `{version}` where the version stands in it.

    Raises:
        PublisherUnfit: the version does not stand in it, or not by itself, or more than once.
    """
    by_itself = rf"(?<![0-9.]){re.escape(version)}(?![0-9.])"
    found = re.findall(by_itself, ref) if version else []
    if len(found) != 1:
        raise _unfit(
            f"it was built from {clean(ref)}, which does not say the version "
            f"{version or '(none is known)'} exactly once: a rule for that ref "
            "would take a build of any version for every version"
        )
    return re.sub(by_itself, VERSION_FIELD, ref)


def _version_in(ref: str) -> str:
    found = _VERSION_AT_END.search(ref)
    return found[0] if found else ""


def _fail(key: str, why: str) -> NoReturn:
    if key in {"namespace", "plugin", "tier"}:  # which the operator chose, not the signer
        name = "NS" if key == "namespace" else f"--{key}"
        raise UsageError(
            f"`{name}` was not accepted; no rule was written",
            why=why,
            next=["see what goes there: `aperio trust publisher add --help`"],
        )
    raise _unfit(f"`{key}`: {why}")


def _unfit(why: str) -> PublisherUnfit:
    return PublisherUnfit(
        "no rule was written: what the signature proves cannot be stated as one",
        why=why,
        next=[
            "ask the publisher to release from a tag that names the version, such as v1.2.3",
            "ask them for an artifact signed by a person or a service account",
        ],
    )

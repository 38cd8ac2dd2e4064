"""Publisher rules as people and publisher files write them: one table with checked keys.

The keys are those of `[[publishers]]` in config.toml (docs/reference/configuration.md), and the
same in a publisher file.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aperio_cli.models.plugin_id import is_namespace
from aperio_cli.models.publisher import (
    ANY_NAMESPACE,
    CI_SERVICES,
    LOCAL_DOMAIN,
    LOCAL_ISSUER,
    TIERS,
    VERSION_FIELD,
    CiIdentity,
    Demands,
    PublisherRule,
)
from aperio_cli.models.reading import unknown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aperio_cli.models.reading import Table

_BUILD_KEYS = ("repository", "repository_id", "owner_id", "workflow", "ref", "runner")
_IDENTITY_KEYS = ("domain", "identity", "issuer", "ci", *_BUILD_KEYS, "signer_workflow")
PUBLISHER_KEYS = (
    "namespace",
    *_IDENTITY_KEYS,
    "plugin",
    "tier",
    "valid_from",
    "valid_until",
    "require_provenance",
    "builder",
    "source_repository",
)
_RUNNERS = {
    "github": ("github-hosted", "self-hosted"),
    "gitlab": ("gitlab-hosted", "self-hosted"),
}
# As in models/plugin_id.py, whose pattern is for the two together.
_PLUGIN = re.compile(r"[a-z0-9][a-z0-9-]{1,62}", re.ASCII)
_REF = re.compile(r"refs/[^\s\\{}]+", re.ASCII)
_SEGMENT = re.compile(r"[^\s\\/@{}]+")


def parse_publisher(
    table: Table, *, domains: Sequence[str] | None, stated_in: str
) -> PublisherRule:
    """Return the rule that one `[[publishers]]` table states.

    Args:
        table: its keys; what is wrong with one is raised by `table.fail`.
        domains: names of the known trust domains; None when they are not to be checked.
        stated_in: the file, for messages.
    """
    table.check_keys(PUBLISHER_KEYS)
    namespace = table.text("namespace")
    if namespace != ANY_NAMESPACE and not is_namespace(namespace):
        table.fail("namespace", f"expected a namespace or `{ANY_NAMESPACE}`")
    domain = parse_domain(table, domains)
    ci, identity, issuer = _signer(table, domain, is_release=True)
    return PublisherRule(
        namespace=namespace,
        domain=domain,
        identity=identity,
        issuer=issuer,
        stated_in=stated_in,
        ci=ci,
        plugin=_plugin(table, namespace),
        tier=_tier(table, namespace, domain),
        valid_from=table.moment("valid_from") if "valid_from" in table else "",
        valid_until=_valid_until(table),
        demands=_demands(table),
    )


def parse_file_signer(
    table: Table, *, domains: Sequence[str] | None, stated_in: str
) -> PublisherRule:
    """Return who has to have signed a publisher file, as a `[[publisher_files]]` table states it.

    Args:
        table: its keys; those besides `file` and `name` say who.
        domains: as for `parse_publisher`.
        stated_in: as for `parse_publisher`.
    """
    return parse_signer(table, ("file", "name"), domains=domains, stated_in=stated_in)


def parse_signer(
    table: Table, keys: Sequence[str], *, domains: Sequence[str] | None, stated_in: str
) -> PublisherRule:
    """Return who has to have signed a document, as a table that names the document states it.

    Args:
        table: its keys.
        keys: those that say something else than who.
        domains: as for `parse_publisher`.
        stated_in: as for `parse_publisher`.
    """
    table.check_keys((*keys, *_IDENTITY_KEYS))
    domain = parse_domain(table, domains)
    ci, identity, issuer = _signer(table, domain, is_release=False)
    return PublisherRule(ANY_NAMESPACE, domain, identity, issuer, stated_in, ci)


def who_signs(rule: PublisherRule) -> str:
    """Return whom a rule is about, in one line: the identity that a certificate has to name."""
    return rule.ci.expected(VERSION_FIELD)["identity"] if rule.ci else rule.identity


def parse_domain(table: Table, domains: Sequence[str] | None) -> str:
    """Return the name of a trust domain that is known."""
    domain = table.text("domain")
    if domains is not None and domain not in domains:
        table.fail("domain", f"no trust domain of that name; {unknown(domain, domains)}")
    return domain


def _signer(table: Table, domain: str, *, is_release: bool) -> tuple[CiIdentity | None, str, str]:
    """Build, identity and issuer: the build or the identity is there, never both."""
    if "ci" in table:
        if "identity" in table:
            table.fail("identity", "a rule has `ci` or `identity`, not both")
        ci = _build(table, is_release=is_release)
        issuer = table.url("issuer") if "issuer" in table else CI_SERVICES[ci.service].issuer
        return ci, "", issuer
    for key in (*_BUILD_KEYS, "signer_workflow"):
        if key in table:
            table.fail(key, f"`{key}` goes with `ci`, which is missing")
    if "identity" not in table:
        table.fail("identity", "`identity` is missing; for a CI build, `ci`")
    is_known = domain == LOCAL_DOMAIN and "issuer" not in table
    issuer = LOCAL_ISSUER if is_known else table.url("issuer")
    if any(issuer == service.issuer for service in CI_SERVICES.values()):
        table.fail("identity", "this issuer vouches for builds, which are named by `ci`")
    return None, table.text("identity"), issuer


def _build(table: Table, *, is_release: bool) -> CiIdentity:
    service = table.choice("ci", tuple(CI_SERVICES))
    return CiIdentity(
        service=service,
        repository=_repository(table, "repository"),
        repository_id=table.number_text("repository_id"),
        owner_id=table.number_text("owner_id"),
        workflow=_workflow(table),
        ref=_ref(table, is_release=is_release),
        runner=table.choice("runner", _RUNNERS[service]),
        signer_workflow=_signer_workflow(table) if "signer_workflow" in table else "",
    )


def _repository(table: Table, key: str) -> str:
    repository = table.url(key)
    if repository.endswith("/") or repository.count("/") <= len("//"):
        table.fail(key, "expected the address of a repository, without / at its end")
    return repository


def _workflow(table: Table) -> str:
    workflow = table.text("workflow")
    segments = workflow.split("/")
    if any(segment in {".", ".."} or not _SEGMENT.fullmatch(segment) for segment in segments):
        table.fail("workflow", "expected a path in the repository: .github/workflows/release.yml")
    return workflow


def _ref(table: Table, *, is_release: bool) -> str:
    ref = table.text("ref")
    fields = ref.count(VERSION_FIELD)
    if is_release and fields != 1:
        # Without it a build of any version would do for every version.
        table.fail("ref", f"expected a ref with one {VERSION_FIELD}: refs/tags/v{VERSION_FIELD}")
    if not is_release and fields:
        table.fail("ref", f"what is signed has no version that {VERSION_FIELD} could stand for")
    if not _REF.fullmatch(ref.replace(VERSION_FIELD, "1")):
        table.fail("ref", "expected a whole ref, which starts with refs/")
    return ref


def _signer_workflow(table: Table) -> str:
    workflow = table.url("signer_workflow")
    path, separator, ref = workflow.partition("@")
    if not separator or not _REF.fullmatch(ref) or path.endswith("/"):
        table.fail("signer_workflow", "expected the workflow's address with @ and its whole ref")
    return workflow


def _plugin(table: Table, namespace: str) -> str:
    if "plugin" not in table:
        return ""
    plugin = table.text("plugin")
    if not _PLUGIN.fullmatch(plugin):
        table.fail("plugin", "expected a plugin's name, without its namespace")
    if namespace == ANY_NAMESPACE:
        table.fail("plugin", f"a rule for one plugin needs its namespace, not `{ANY_NAMESPACE}`")
    return plugin


def _tier(table: Table, namespace: str, domain: str) -> str:
    tier = table.choice("tier", TIERS) if "tier" in table else TIERS[0]
    if tier != TIERS[0] and namespace == ANY_NAMESPACE:
        table.fail("tier", f"nobody knows who signs for `{ANY_NAMESPACE}`: only {TIERS[0]} fits")
    if tier != TIERS[0] and domain == LOCAL_DOMAIN:
        table.fail("tier", f"the local trust domain verifies nobody: only {TIERS[0]} fits")
    return tier


def _valid_until(table: Table) -> str:
    if "valid_until" not in table:
        return ""
    until = table.moment("valid_until", is_end=True)
    if "valid_from" in table and until < table.moment("valid_from"):
        table.fail("valid_until", "it is before `valid_from`, so the rule would admit nobody")
    return until


def _demands(table: Table) -> Demands:
    return Demands(
        provenance=table.flag("require_provenance"),
        builder=table.url("builder") if "builder" in table else "",
        source_repository=(
            _repository(table, "source_repository") if "source_repository" in table else ""
        ),
    )

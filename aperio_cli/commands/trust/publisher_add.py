"""`aperio trust publisher add`: one rule about who may sign for a namespace, after consent."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

from aperio_cli.commands.app import publisher
from aperio_cli.commands.common import command
from aperio_cli.commands.completing import domains, services, tiers
from aperio_cli.commands.options import argument, option
from aperio_cli.commands.trust.stopping import say_stops, stops
from aperio_cli.context import Context
from aperio_cli.errors.installing import ManifestMismatch
from aperio_cli.errors.trust import SiteForbids
from aperio_cli.errors.usage import UsageError
from aperio_cli.output import Report, pairs
from aperio_cli.text import clean, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aperio_cli.models.publisher import PublisherRule
    from aperio_cli.running.bundles import BundleEvidence
    from aperio_cli.trust.proposing import Proposal


_Bundle = Annotated[
    str | None,
    option(help="Take the signer from this bundle, or of this artifact.", metavar="BUNDLE"),
]
_Tier = Annotated[
    str,
    option(
        help="community, verified or official.",
        metavar="TIER",
        values=tiers,
        shows_default=True,
    ),
]
_Domain = Annotated[
    str | None, option(help="In which trust domain.", metavar="NAME", values=domains)
]
_Service = Annotated[
    str | None,
    option(
        help="A build signs, in github or gitlab: say all of it.",
        metavar="SERVICE",
        values=services,
    ),
]
_Repository = Annotated[str | None, option(help="Its repository's address.", metavar="URL")]
_RepositoryId = Annotated[str | None, option(help="Its repository's number.", metavar="NUMBER")]
_OwnerId = Annotated[str | None, option(help="The number of who owns that.", metavar="NUMBER")]
_Workflow = Annotated[
    str | None, option(help="Its workflow file in the repository.", metavar="PATH")
]
_Ref = Annotated[
    str | None, option(help="The whole ref it builds, with {version} in it.", metavar="REF")
]
_Runner = Annotated[
    str | None, option(help="Such as github-hosted or self-hosted.", metavar="KIND")
]
_SignerWorkflow = Annotated[
    str | None,
    option(help="The reusable workflow that signs for it, with @ and its ref.", metavar="URL"),
]


@command(
    publisher,
    "trust",
    "publisher",
    "add",
    examples=[
        (
            "aperio trust publisher add acme"
            " --from-bundle aperio-plugin-hello/dist/hello-connector_0.1.0_linux_amd64.tar.gz"
        )
    ],
)
def trust_publisher_add(  # noqa: PLR0913 - one parameter for each option
    context: Context,
    namespace: Annotated[
        str,
        argument(
            metavar="NAMESPACE",
            help="Whose plugins, such as acme; * for all without a rule of their own.",
        ),
    ],
    *,
    from_bundle: _Bundle = None,
    artifact: Annotated[
        str | None, option(help="What the bundle is for, when it is elsewhere.", metavar="FILE")
    ] = None,
    plugin: Annotated[str | None, option(help="For this plugin only.", metavar="NAME")] = None,
    tier: _Tier = "community",
    identity: Annotated[
        str | None, option(help="Who signs, exactly, without a bundle.", metavar="ID")
    ] = None,
    issuer: Annotated[str | None, option(help="Who vouches for them.", metavar="URL")] = None,
    domain: _Domain = None,
    ci: _Service = None,
    repository: _Repository = None,
    repository_id: _RepositoryId = None,
    owner_id: _OwnerId = None,
    workflow: _Workflow = None,
    ref: _Ref = None,
    runner: _Runner = None,
    signer_workflow: _SignerWorkflow = None,
) -> Report:
    """State who may sign for a namespace, by hand or as a verified bundle proves it.

    A bundle is verified first; what its certificate says is shown, and the rule is written after
    your consent. A CI build becomes a rule by numeric ids, workflow file and tag.
    """
    from aperio_cli.trust.proposing import Proposal

    signer = {"identity": identity, "issuer": issuer, "domain": domain}
    build = {"ci": ci, "repository": repository, "repository_id": repository_id}
    build |= {"owner_id": owner_id, "workflow": workflow, "ref": ref, "runner": runner}
    build |= {"signer_workflow": signer_workflow}
    typed = _stated_only({**signer, **build})
    others = {"from_bundle": from_bundle, "artifact": artifact, "plugin": plugin}
    chosen = _stated_only(others)
    proposal = Proposal(namespace, chosen.get("plugin", ""), tier, str(context.paths.managed_file))
    if "from_bundle" in chosen:
        evidence = _evidence(context, chosen["from_bundle"], chosen.get("artifact", ""), typed)
        return _add(context, _proposed(evidence, proposal), evidence)
    return _add(context, _stated(context, proposal, typed, chosen.get("artifact", "")), None)


def _stated_only(options: Mapping[str, str | None]) -> dict[str, str]:
    """Return the options that were given.

    Raises:
        UsageError: one is blank: an empty variable of a script, say, which must not widen a rule.
    """
    given = {key: value for key, value in options.items() if value is not None}
    for key, value in given.items():
        if not value.strip():
            _fail(given, key, "it is blank")
    return given


def _evidence(
    context: Context, from_bundle: str, artifact: str, typed: dict[str, str]
) -> BundleEvidence:
    from aperio_cli.running.bundles import BundleRequest, bundle_evidence

    for key in typed:
        raise UsageError(
            f"`{_name(key)}` does not go with `--from-bundle`; no rule was written",
            why="the bundle says it",
            next=["leave one of the two out"],
        )
    return bundle_evidence(
        BundleRequest(
            source=from_bundle,
            artifact=artifact,
            roots=lambda: context.trusted_roots,
            registry=lambda: context.registry,
            platform=context.platform,
            offline=context.settings.offline,
        )
    )


def _proposed(evidence: BundleEvidence, proposal: Proposal) -> PublisherRule:
    """Return the rule for the signer of a bundle that is for a plugin of the namespace.

    Raises:
        ManifestMismatch: it is for a plugin of another one, or for another plugin.
        PublisherUnfit: the signer cannot be stated as a rule.
    """
    from aperio_cli.trust.proposing import propose_rule

    claim = evidence.claim
    if claim and proposal.namespace != claim.id.namespace:
        raise ManifestMismatch(
            f"`{clean(proposal.namespace, limit=80)}` was left as it is:"
            " what was signed is a plugin of another namespace",
            why=f"expected {clean(proposal.namespace, limit=80)}/...\nfound    {claim}",
            next=[f"`aperio trust publisher add {claim.id.namespace} --from-bundle ...`"],
        )
    if claim and proposal.plugin not in {"", claim.id.name}:
        raise ManifestMismatch(
            f"`{clean(proposal.plugin, limit=80)}` was left as it is:"
            " what was signed is another plugin",
            why=f"found {claim}",
            next=[f"name it: `--plugin {claim.id.name}`"],
        )
    version = claim.version or "" if claim else ""
    return propose_rule(evidence.proof.signer, version, proposal)


def _stated(
    context: Context, proposal: Proposal, typed: dict[str, str], artifact: str
) -> PublisherRule:
    """Return the rule that the options state.

    Raises:
        UsageError: they do not state one.
    """
    from aperio_cli.models.publisher import LOCAL_DOMAIN, PUBLIC_DOMAIN
    from aperio_cli.models.publisher_table import parse_publisher
    from aperio_cli.models.reading import Table

    if artifact:
        raise UsageError(
            "`--artifact` goes with `--from-bundle`; no rule was written",
            why="it is what a bundle is held against",
            next=["name the bundle, too: `--from-bundle FILE`"],
        )
    if typed.keys() <= {"issuer", "domain"}:
        raise UsageError(
            "no rule was written: it is not said who signs",
            why="expected `--from-bundle`, `--identity` with `--issuer`, or `--ci` with the fields"
            " of a build",
            next=[f"`aperio trust publisher add {clean(proposal.namespace)} --from-bundle FILE`"],
        )
    values = {"domain": PUBLIC_DOMAIN} | typed
    is_known = "issuer" in values or values["domain"] == LOCAL_DOMAIN
    if "identity" in typed and "ci" not in typed and not is_known:
        raise UsageError(
            f"`{clean(typed['identity'])}` was not accepted; no rule was written",
            why="expected `--issuer` as well: an identity is only what its issuer vouches for",
            next=["ask them which issuer their certificates name, and add `--issuer URL`"],
        )
    values |= {"namespace": proposal.namespace, "tier": proposal.tier}
    values |= {"plugin": proposal.plugin} if proposal.plugin else {}
    fail = functools.partial(_fail, values)
    return parse_publisher(
        Table(values, fail), domains=context.config.domain_names, stated_in=proposal.stated_in
    )


def _fail(stated: Mapping[str, str], key: str, why: str) -> NoReturn:
    value = one_line(stated.get(key, ""), limit=200)
    typed = value if key == "namespace" else f"{_name(key)} {value}".rstrip()
    is_build = "ci" in stated and key not in stated
    raise UsageError(
        f"`{typed}` was not accepted; no rule was written",
        why=why,
        next=["have all of it read from a bundle: `--from-bundle FILE`"]
        if is_build
        else ["see what goes there: `aperio trust publisher add --help`"],
    )


def _name(key: str) -> str:
    """Return the option that states a key."""
    return f"--{key.replace('_', '-')}"


def _add(context: Context, rule: PublisherRule, evidence: BundleEvidence | None) -> Report:
    """Write the rule after consent, unless it is there."""
    from aperio_cli.config import changes, managed

    stated = [
        known for known in context.config.user.publishers if known.namespace == rule.namespace
    ]
    same = [known.stated_in for known in stated if known.to_json() == rule.to_json()]
    others = [known for known in stated if known.to_json() != rule.to_json()]
    path = same[0] if same else rule.stated_in
    stopped = stops(context, changes.with_publisher(context.config, rule))
    data = {
        "config_file": path,
        "rule": rule.to_json(),
        "was_there": bool(same),
        "signer": evidence.proof.signer.to_json() if evidence else None,
        "sha256": evidence.digest.hex if evidence else None,
        "held_against": evidence.basis if evidence else None,
        "also_admitted": [known.to_json() for known in others],
        "stops": stopped,
    }
    if same:
        return Report(data, f"the rule for `{rule.namespace}` is in {path} already")
    _require_effect(context, rule)
    _show(context, rule, others, evidence)
    say_stops(context, stopped)
    scope = " for EVERY namespace without a rule of its own" if _is_for_all(rule) else ""
    context.ask(
        f"Add this rule{scope} to {path}?",
        what=f"`{rule.namespace}` was left as it is: no rule was added",
    )
    managed.change(context.paths, lambda config: changes.with_publisher(config, rule))
    return Report(data, f"a rule for `{rule.namespace}` was added to {path}")


def _require_effect(context: Context, rule: PublisherRule) -> None:
    """Check that the site leaves anything of the rule.

    Raises:
        SiteForbids: it does not, and the rule would only close the namespace.
    """
    user = context.config.user
    policy = context.policy_with(replace(user, publishers=(*user.publishers, rule)))
    who = (rule.namespace, rule.domain, rule.identity, rule.issuer, rule.ci)
    for known in policy.publishers:
        if who == (known.namespace, known.domain, known.identity, known.issuer, known.ci):
            return
    raise SiteForbids(
        f"`{rule.namespace}` was left as it is: the site does not admit this signer for it",
        why=f"the rules of {context.config.site_file} are the widest that can be",
        next=["ask whoever keeps that file to state the rule there"],
    )


def _show(
    context: Context,
    rule: PublisherRule,
    others: list[PublisherRule],
    evidence: BundleEvidence | None,
) -> None:
    """Say what is about to be written, and what it rests on; people consent to this."""
    from aperio_cli.models.publisher_table import who_signs

    say = context.output.warn
    if evidence:
        signer = evidence.proof.signer
        shown: dict[str, Any] = {
            "signed by": signer.identity,
            "vouched for by": signer.issuer,
            "signed at": signer.signed_at,
            "trust domain": signer.domain,
        }
        rows = pairs([*shown.items(), *signer.claims, ("held against", evidence.says)])
        for line in rows.splitlines():  # one by one: long claims must not crowd out the others
            say(line)
    say(f"\nthe rule:\n{rule.to_toml()}\n")
    if _is_for_all(rule):
        whom = f"whoever can release from {rule.ci.repository}" if rule.ci else rule.identity
        say(f"{whom} may then sign any plugin of any namespace without a rule of its own")
    if others:
        say(f"`{rule.namespace}` has rules already; these signers stay admitted:")
        for known in others:
            say(f"  {who_signs(known)} (trust domain {known.domain})")
    for words in [] if others else _displaced(context, rule):
        say(words)


def _is_for_all(rule: PublisherRule) -> bool:
    """Return whether a rule opens every namespace that has none of its own."""
    from aperio_cli.models.publisher import ANY_NAMESPACE

    return rule.namespace == ANY_NAMESPACE


def _displaced(context: Context, rule: PublisherRule) -> Iterator[str]:
    """Yield what counts for the namespace now and would not any more: it gets rules of its own."""
    from aperio_cli.models.publisher import ANY_NAMESPACE
    from aperio_cli.models.publisher_table import who_signs

    stated = context.config.user
    everyone = [
        who_signs(known)
        for known in stated.publishers
        if known.namespace == ANY_NAMESPACE and not _admits_as_much(rule, known)
    ]
    if everyone and not _is_for_all(rule):
        signers = ", ".join(everyone)
        yield f"who may sign for `*` could no longer sign for `{rule.namespace}`: {signers}"
    if stated.publisher_files:
        yield f"what publisher files state for `{rule.namespace}` would no longer count"


def _admits_as_much(rule: PublisherRule, known: PublisherRule) -> bool:
    """Return whether a rule admits the signer of another one, whenever and whatever that does."""

    def named(each: PublisherRule) -> tuple[object, ...]:
        whom = (each.domain, each.identity, each.issuer, each.ci)
        return (*whom, each.plugin, each.valid_from, each.valid_until)

    return named(rule) == named(known)

"""`aperio trust publisher add`: one rule about who may sign for a namespace, after consent."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from aperio_cli.commands.app import publisher
from aperio_cli.commands.common import command
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
    from aperio_cli.running.evidence import BundleEvidence
    from aperio_cli.trust.proposing import Proposal


@command(publisher, "trust", "publisher", "add")
def trust_publisher_add(  # noqa: PLR0913 - one parameter for each option
    context: Context,
    namespace: Annotated[
        str, typer.Argument(metavar="NS", help="Whose plugins, such as acme.", show_default=False)
    ],
    *,
    from_bundle: Annotated[
        str,
        typer.Option(
            help="Take the signer from this bundle, or from what a registry offers.",
            metavar="FILE|PLUGIN",
            show_default=False,
        ),
    ] = "",
    artifact: Annotated[
        str,
        typer.Option(
            help="What the bundle is for, when it is elsewhere.", metavar="FILE", show_default=False
        ),
    ] = "",
    plugin: Annotated[
        str, typer.Option(help="For this plugin only.", metavar="NAME", show_default=False)
    ] = "",
    tier: Annotated[
        str, typer.Option(help="community, verified or official.", metavar="TIER")
    ] = "community",
    identity: Annotated[
        str,
        typer.Option(
            help="Who signs, exactly, without a bundle.", metavar="ID", show_default=False
        ),
    ] = "",
    issuer: Annotated[
        str, typer.Option(help="Who vouches for them.", metavar="URL", show_default=False)
    ] = "",
    domain: Annotated[
        str, typer.Option(help="In which trust domain.", metavar="NAME", show_default=False)
    ] = "",
) -> Report:
    """State who may sign for a namespace, by hand or as a verified bundle proves it.

    A bundle is verified first; what its certificate says is shown, and the rule is written after
    your consent. A CI build becomes a rule by numeric ids, workflow file and tag.
    """
    from aperio_cli.trust.proposing import Proposal

    proposal = Proposal(namespace, plugin, tier, str(context.paths.managed_file))
    typed = {"identity": identity, "issuer": issuer, "domain": domain}
    evidence = None
    if from_bundle:
        evidence = _evidence(context, from_bundle, artifact, typed)
        rule = _proposed(evidence, proposal)
    else:
        rule = _stated(context, proposal, typed, artifact)
    return _add(context, rule, evidence)


def _evidence(
    context: Context, from_bundle: str, artifact: str, typed: dict[str, str]
) -> BundleEvidence:
    from aperio_cli.running.evidence import BundleRequest, bundle_evidence

    for name, value in typed.items():
        if value:
            raise UsageError(
                f"`--{name}` does not go with `--from-bundle`; no rule was written",
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
        )
    )


def _proposed(evidence: BundleEvidence, proposal: Proposal) -> PublisherRule:
    """The rule for the signer of a bundle that is for a plugin of the namespace.

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
    """The rule that the options state.

    Raises:
        UsageError: they do not state one.
    """
    from aperio_cli.models.publisher import LOCAL_DOMAIN, PUBLIC_DOMAIN
    from aperio_cli.models.publisher_table import parse_publisher
    from aperio_cli.models.table import Table

    if artifact:
        raise UsageError(
            "`--artifact` goes with `--from-bundle`; no rule was written",
            why="it is what a bundle is held against",
        )
    if not typed["identity"]:
        raise UsageError(
            "no rule was written: it is not said who signs",
            why="expected `--from-bundle`, or `--identity` with `--issuer`",
            next=[f"`aperio trust publisher add {clean(proposal.namespace)} --from-bundle FILE`"],
        )
    given = {key: value for key, value in typed.items() if value}
    values = {"domain": PUBLIC_DOMAIN} | given
    if not typed["issuer"] and values["domain"] != LOCAL_DOMAIN:
        raise UsageError(
            f"`{clean(typed['identity'])}` was not accepted; no rule was written",
            why="expected `--issuer` as well: an identity is only what its issuer vouches for",
            next=["ask them which issuer their certificates name, and add `--issuer URL`"],
        )
    values |= {"namespace": proposal.namespace, "tier": proposal.tier}
    values |= {"plugin": proposal.plugin} if proposal.plugin else {}
    fail = functools.partial(_fail, values)
    return parse_publisher(
        Table(values, fail), domains=context.config.domain_names, source=proposal.source
    )


def _fail(stated: Mapping[str, str], key: str, why: str) -> NoReturn:
    value = one_line(stated.get(key, ""), limit=200)
    typed = value if key == "namespace" else f"--{key} {value}".rstrip()
    raise UsageError(f"`{typed}` was not accepted; no rule was written", why=why)


def _add(context: Context, rule: PublisherRule, evidence: BundleEvidence | None) -> Report:
    """Write the rule after consent, unless it is there."""
    from aperio_cli.config import changes, managed

    stated = [
        known for known in context.config.user.publishers if known.namespace == rule.namespace
    ]
    same = [known.source for known in stated if known.to_json() == rule.to_json()]
    others = [known for known in stated if known.to_json() != rule.to_json()]
    path = same[0] if same else rule.source
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
    context.ask(
        f"Add this rule to {path}?", what=f"`{rule.namespace}` was left as it is: no rule was added"
    )
    managed.change(context.paths, lambda config: changes.with_publisher(config, rule))
    return Report(data, f"a rule for `{rule.namespace}` was added to {path}")


def _require_effect(context: Context, rule: PublisherRule) -> None:
    """Nothing, when the site leaves anything of the rule.

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
    """What is about to be written, and what it rests on; people consent to this."""
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
    if others:
        say(f"`{rule.namespace}` has rules already; these signers stay admitted:")
        for known in others:
            say(f"  {who_signs(known)} (trust domain {known.domain})")
    for words in [] if others else _displaced(context, rule):
        say(words)


def _displaced(context: Context, rule: PublisherRule) -> Iterator[str]:
    """What counts for the namespace now and would not any more: it gets rules of its own."""
    from aperio_cli.models.publisher import ANY_NAMESPACE
    from aperio_cli.models.publisher_table import who_signs

    stated = context.config.user
    everyone = [who_signs(known) for known in stated.publishers if known.namespace == ANY_NAMESPACE]
    if everyone and rule.namespace != ANY_NAMESPACE:
        signers = ", ".join(everyone)
        yield f"who may sign for `*` could no longer sign for `{rule.namespace}`: {signers}"
    if stated.publisher_files:
        yield f"what publisher files state for `{rule.namespace}` would no longer count"

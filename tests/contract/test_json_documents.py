"""The keys of every JSON document that aperio prints: a contract with scripts.

One life of three plugins, connector, remediation and destination, is played with `--json`; each
document is then compared with its schema, which has every key and no other.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema  # type: ignore[import-untyped]  # its types are another distribution
import pytest

from aperio_cli import clock
from aperio_cli.__main__ import main
from aperio_cli.host.sandbox.interface import LIMITS
from tests.contract.test_command_line import L_COMMANDS
from tests.lifecycle.cli import wait_until
from tests.lifecycle.hello_api import KEY, HelloApi
from tests.lifecycle.plugins import artifact_of, sdk_program, simulating
from tests.registries import Site, plugin_entry, version_entry
from tests.rows import for_each
from tests.trust import IDENTITY
from tests.tuf_repository import TufRepository, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]
Schema = dict[str, Any]

# ── words for schemas ─────────────────────────────────────────────────────────────────────────────

TEXT: Schema = {"type": "string"}
WORD: Schema = {"type": "string", "minLength": 1}
NUMBER: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
TRUE: Schema = {"const": True}
NULL: Schema = {"type": "null"}
ANY: Schema = {}
SHA256: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
TIME: Schema = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"}
ID: Schema = {"type": "string", "pattern": "^[a-z0-9-]+/[a-z0-9-]+$"}
PLATFORM: Schema = {"type": "string", "pattern": "^[a-z]+/[a-z0-9]+$"}


def exactly(**properties: Schema) -> Schema:
    """An object with these keys, all of them, and no other."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def some(item: Schema) -> Schema:
    """A list that is not empty."""
    return {"type": "array", "items": item, "minItems": 1}


def any_number_of(item: Schema) -> Schema:
    return {"type": "array", "items": item}


def maybe(schema: Schema) -> Schema:
    return {"anyOf": [NULL, schema]}


def one_of(*values: object) -> Schema:
    return {"enum": list(values)}


SIGNER = exactly(
    domain=WORD, identity=WORD, issuer=WORD, signed_at=TIME, certificate_sha256=SHA256,
    claims={"type": "object"}, further_domains=any_number_of(WORD),
)  # fmt: skip
RULE = exactly(namespace=WORD, domain=WORD, identity=WORD, issuer=WORD)
# Further keys are those of `[[publishers]]`, whichever of them the rule states.
STATED_RULE: Schema = {"type": "object", "required": ["namespace", "domain", "issuer"]}
DAY: Schema = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\d$"}
STATED_EXCEPTION = exactly(plugin=WORD, rule=WORD, until=DAY, reason=WORD)
STOP = exactly(id=ID, version=WORD, code=WORD)
PUBLISHER = exactly(
    namespace=WORD, plugin=maybe(WORD), domain=WORD, identity=WORD, issuer=WORD,
    tier=one_of("community", "verified", "official"), source=WORD,
    shape=one_of("identity", "build"), from_site=FLAG, rule=STATED_RULE,
)  # fmt: skip
DOMAIN = exactly(
    name=WORD, root=WORD, origin=one_of("local", "file", "refreshed", "vendored"),
    as_of=maybe(TIME), age=WORD, age_days=maybe(NUMBER), problem=maybe(WORD),
    source=maybe(WORD), from_site=FLAG,
)  # fmt: skip
STATED_DOMAIN: Schema = {"type": "object", "required": ["name"]}
LEVEL = one_of("signed", "verified")
KINDS = one_of("connector", "remediation", "destination")
BADGES = one_of("official", "verified", "community", "local", "unsigned")
PROVENANCE = exactly(
    builder=WORD, build_type=TEXT, source_repository=TEXT, source_sha=TEXT, invocation=TEXT
)
ATTESTATION = exactly(predicate_type=WORD, signer=SIGNER, provenance=maybe(PROVENANCE))
PROOF = exactly(
    form={"enum": ["signature", "statement"]},
    root=exactly(name=WORD, sha256=SHA256, origin=WORD, as_of=TEXT),
    log_entry=maybe(exactly(log=WORD, index=NUMBER, tree_size=NUMBER)),
    attestations=any_number_of(ATTESTATION),
)
EXCEPTION = exactly(rule=WORD, until=WORD, reason=WORD)
FAULT: dict[str, Schema] = {
    "id": WORD, "summary": TEXT, "severity": {"type": "object"}, "aliases": any_number_of(WORD),
    "references": any_number_of(WORD), "fixed_in": any_number_of(WORD),
}  # fmt: skip
STATUS = exactly(
    state=one_of("deprecated", "yanked", "revoked"), reason=WORD, at=TIME, replacement=maybe(WORD)
)
OLDER = any_number_of(
    exactly(
        document=WORD,
        registry=WORD,
        epoch=maybe(NUMBER),
        serial=maybe(NUMBER),
        expires_at=TIME,
        newest_serial=maybe(NUMBER),
    )
)
EDITION = exactly(
    registry=WORD, is_signed=FLAG, signer=maybe(SIGNER), epoch=maybe(NUMBER), serial=maybe(NUMBER),
    expires_at=maybe(TIME),
)  # fmt: skip
CHOICE = exactly(
    version=WORD, status=maybe(STATUS),
    considered=some(exactly(version=WORD, verdict=WORD, why=TEXT)),
)  # fmt: skip
EGRESS = any_number_of(WORD)
FOLDERS_FROM_CONFIG = any_number_of(WORD)
EGRESS_FROM_CONFIG = any_number_of(exactly(field=WORD, suffix=WORD, port=NUMBER))
PERMISSIONS = exactly(
    egress=EGRESS, egress_from_config=EGRESS_FROM_CONFIG, folders_from_config=FOLDERS_FROM_CONFIG
)
OF_MANIFEST = {
    "permissions": PERMISSIONS,
    "scopes": any_number_of(WORD),
    "limits": exactly(
        memory=WORD,
        cpu={"type": "number"},
        processes=NUMBER,
        open_files=NUMBER,
        tmp=WORD,
        duration=WORD,
    ),
    "state": FLAG,
}
GRANT = exactly(**OF_MANIFEST, own=any_number_of(exactly(rule=WORD, any_protocol=FLAG)))
ENFORCEMENTS = some(exactly(
    limit=WORD, level=one_of("kernel", "polled", "none"), mechanism=WORD, remedy=maybe(WORD)
))  # fmt: skip
LEVELS = exactly(**dict.fromkeys(LIMITS, one_of("kernel", "polled", "none")))
FIELD = exactly(
    key=WORD, label=TEXT, type=WORD, required=FLAG, secret=FLAG, host_only=FLAG, helper=TEXT,
    placeholder=TEXT, options=any_number_of(TEXT), default_json=TEXT,
)  # fmt: skip
DIAGNOSTIC = exactly(severity=WORD, summary=WORD, detail=TEXT, code=TEXT)
ARTIFACT = exactly(path=WORD, sha256=SHA256, size=NUMBER, platform=PLATFORM)
ERROR = exactly(code=WORD, what=WORD, why=TEXT, next=any_number_of(WORD))
ENVELOPE = exactly(
    schema=one_of(1), command=some(WORD), status=one_of("ok", "error"),
    exit_status=NUMBER, data={"type": "object"}, errors=any_number_of(ERROR),
)  # fmt: skip
SEEN = exactly(id=ID, version=WORD, place=one_of("installed", "artifact", "registry"))
DEPENDENCY = exactly(name=WORD, versions=some(TEXT))
DIFFERENCE = exactly(
    before=SEEN, after=SEEN,
    permissions=exactly(
        more=any_number_of(WORD), less=any_number_of(WORD),
        limits=any_number_of(exactly(limit=WORD, before=ANY, after=ANY)),
    ),
    signer=exactly(
        before=maybe(SIGNER), after=maybe(SIGNER), is_same=FLAG, refused_as=maybe(WORD)
    ),
    provenance=exactly(before=any_number_of(PROVENANCE), after=any_number_of(PROVENANCE)),
    declared=any_number_of(exactly(key=WORD, before=TEXT, after=TEXT)),
    dependencies=exactly(
        is_known=FLAG, added=any_number_of(DEPENDENCY), removed=any_number_of(DEPENDENCY),
        changed=any_number_of(exactly(name=WORD, before=some(TEXT), after=some(TEXT))),
    ),
    size=exactly(before=NUMBER, after=NUMBER),
    files=exactly(**{k: any_number_of(WORD) for k in ("added", "removed", "changed")}),
)  # fmt: skip

FINDING = {"plugin audit"}
"""Commands that have found something, which is their result."""
ADVISORY = {
    "id": "APERIO-2026-0001", "modified": "2026-06-06T00:00:00Z", "summary": "It leaks",
    "references": [{"type": "WEB", "url": "https://acme.example/1"}],
    "affected": [
        {
            "package": {"ecosystem": "Aperio", "name": "acme/hello-connector"},
            "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": "9.0.0"}]}],
        }
    ],
}  # fmt: skip

WITHDRAWN = exactly(
    id=ID, version=WORD, state=one_of("deprecated", "yanked", "revoked"), reason=WORD,
    replacement=maybe(WORD), at=TIME, serial=NUMBER, was_there=FLAG,
)  # fmt: skip
DATA: dict[str, Schema] = {
    "completion": exactly(shell=WORD, script=WORD),
    "version": exactly(version=WORD),
    "doctor": exactly(
        version=WORD, platform=PLATFORM, home=maybe(WORD), config_file=maybe(WORD),
        cache=maybe(exactly(path=WORD, size=NUMBER, parts={"type": "object"})),
        interpreters=some(
            exactly(executable=WORD, version=WORD, tag=WORD, base_prefix=WORD, closed=maybe(WORD))
        ),
        tools=exactly(go=maybe(WORD)), not_enforced=any_number_of(WORD),
        sandbox=WORD, limits=ENFORCEMENTS,
        local_trust_domain=FLAG,
        trusted_roots=some(exactly(
            name=WORD, origin=one_of("local", "file", "refreshed", "vendored"), as_of=TEXT,
            age_days=maybe(NUMBER), problem=TEXT,
        )),
        registries=any_number_of(
            exactly(
                url=WORD, address=WORD, name=maybe(WORD), signer=maybe(WORD), problem=TEXT,
                is_reachable=maybe(FLAG),
                edition=maybe(
                    exactly(
                        epoch=NUMBER, serial=NUMBER, updated_at=TIME, age_days=NUMBER,
                        expires_at=TIME, has_ended=FLAG,
                    )
                ),
            )
        ),
        plugins=exactly(installed=NUMBER, refused={"type": "object"}, failed_checks=NUMBER),
        findings=any_number_of(ERROR),
    ),
    "plugin init": exactly(
        path=WORD, id=ID, files=some(WORD), aperio=exactly(**{"from": WORD, "is_locked": FLAG})
    ),
    "plugin build": exactly(
        artifacts=some(ARTIFACT), id=ID, version=WORD, reproducible=maybe(FLAG),
        started=maybe(FLAG),
        left_out=some(exactly(path=WORD, why=WORD, dependency=maybe(WORD))),
        waived=any_number_of(exactly(path=WORD, line=maybe(NUMBER), what=WORD, reason=WORD)),
        placeholders=any_number_of(WORD),
        not_counted=any_number_of(WORD),
    ),
    "plugin test": exactly(
        id=ID, version=WORD, kind=WORD, provider=WORD, passed=FLAG,
        counts=exactly(passed=NUMBER, failed=NUMBER, skipped=NUMBER),
        verdicts=some(exactly(key=WORD, title=WORD, outcome=WORD, evidence=TEXT, fix=TEXT)),
    ),
    "plugin sign": exactly(
        bundles=some(
            exactly(
                artifact=WORD, bundle=WORD, attestations=WORD, statements=some(WORD),
                sha256=SHA256, signer=SIGNER,
            )
        )
    ),
    "plugin verify": exactly(
        id=ID, version=WORD, kind=KINDS, platform=PLATFORM, sha256=SHA256, size=NUMBER, source=WORD,
        badge=BADGES, signer=maybe(SIGNER), rule=maybe(RULE), rule_source=TEXT,
        proof=maybe(PROOF), exception=maybe(EXCEPTION), exceptions=any_number_of(EXCEPTION),
        permissions=exactly(
            scopes=any_number_of(WORD), egress=EGRESS, egress_from_config=EGRESS_FROM_CONFIG,
            folders_from_config=FOLDERS_FROM_CONFIG,
            limits={"type": "object"}, state=FLAG,
        ),
        is_for_this_machine=FLAG,
    ),
    "plugin install": exactly(
        installed=some(
            exactly(
                id=ID, version=WORD, kind=KINDS, badge=BADGES, signer=maybe(SIGNER),
                proof=maybe(PROOF), exception=maybe(EXCEPTION),
                exceptions=any_number_of(EXCEPTION), artifact_sha256=SHA256, tree_digest=WORD,
                permissions=PERMISSIONS,
                scopes=any_number_of(WORD), grant=GRANT, folder=WORD, state_owner=WORD,
                replaced=maybe(WORD), was_installed=FLAG, repaired=FLAG,
                registry=maybe(EDITION), choice=maybe(CHOICE),
            )
        ),
        lock_file=WORD,
    ),
    "plugin grant": exactly(
        id=ID, version=WORD, grant=GRANT, asked=exactly(**OF_MANIFEST), changed=FLAG
    ),
    "plugin list": exactly(
        plugins=some(
            exactly(
                is_system=FLAG,
                id=ID, version=WORD, kind=KINDS, badge=BADGES, signer=maybe(WORD),
                installed_at=TIME, source=WORD, current=FLAG, problem=maybe(WORD),
                may_run=FLAG, refused_as=maybe(WORD),
                sandbox=maybe(WORD), levels=LEVELS, egress_reported=FLAG,
                last_check=maybe(exactly(ok=FLAG, at=TIME)),
                exceptions=any_number_of(EXCEPTION), registry_status=maybe(STATUS),
                newest=maybe(WORD),
            )
        )
    ),
    "plugin search": exactly(
        older=OLDER,
        plugins=some(
            exactly(
                id=ID, kind=KINDS, description=TEXT, latest=maybe(WORD),
                platforms=any_number_of(PLATFORM), publisher=TEXT, is_verified=FLAG,
                status=one_of("active", "deprecated", "yanked", "revoked"), registry=WORD,
                is_signed=FLAG,
            )
        )
    ),
    "plugin info": exactly(
        id=ID, kind=KINDS, description=TEXT, license=TEXT, homepage=TEXT, source=TEXT,
        permissions=maybe(exactly(scopes=any_number_of(WORD), egress=EGRESS, state=FLAG)),
        publisher=maybe(
            exactly(
                namespace=WORD, tier=one_of("community", "verified", "official"), status=WORD,
                texts={"type": "object"}, signers=any_number_of({"type": "object"}),
            )
        ),
        registry=EDITION, installed=maybe(WORD), choice=maybe(CHOICE), refusal=maybe(ERROR),
        versions=some(
            exactly(
                version=WORD, published_at=maybe(TIME), platforms=any_number_of(PLATFORM),
                protocols=any_number_of(WORD), requires_host=TEXT, status=maybe(STATUS),
            )
        ),
        advisories=any_number_of(exactly(**FAULT, affects_choice=FLAG)),
        older=OLDER,
    ),
    "plugin audit": exactly(
        plugins=NUMBER,
        advisories=any_number_of(
            exactly(
                **(FAULT | {"id": ID}), version=WORD, advisory=WORD, modified=TIME, registry=WORD
            )
        ),
        withdrawn=any_number_of(
            exactly(
                id=ID, version=WORD, state=one_of("deprecated", "yanked", "revoked"), reason=WORD,
                at=TIME, replacement=maybe(WORD),
            )
        ),
        unknown=any_number_of(ID),
    ),
    "plugin why": exactly(
        id=ID, version=WORD, kind=KINDS, platform=PLATFORM, badge=BADGES, may_run=FLAG,
        refusal=maybe(ERROR), required=LEVEL, signer=maybe(SIGNER), proof=maybe(PROOF),
        root_now=maybe(exactly(name=WORD, sha256=SHA256, origin=WORD, as_of=TEXT, age=WORD)),
        rule=maybe(STATED_RULE), rule_source=maybe(WORD), rule_at_install=maybe(STATED_RULE),
        exceptions=any_number_of(
            {"type": "object", "required": ["rule", "until", "reason"]}
        ),
        source=WORD, index_serial=maybe(NUMBER),
        log_proof=maybe(
            exactly(origin=WORD, size=NUMBER, root=SHA256, index=NUMBER, proof=WORD)
        ),
        installed_at=TIME, artifact_sha256=SHA256,
        registry_status=maybe(STATUS), tree_digest=WORD,
        last_check=maybe(exactly(ok=FLAG, at=TIME)), sandbox=WORD, limits=ENFORCEMENTS,
    ),
    "plugin may-run": exactly(
        schema=one_of("aperio.launch-verdict/v1"), id=ID, version=WORD, kind=KINDS,
        platform=PLATFORM, protocol=WORD, may_run=TRUE, organization=WORD,
        judged_at=TIME, until=maybe(DAY), receipt_sha256=SHA256, artifact_sha256=SHA256,
        tree_digest=WORD, files_checked=TRUE, badge=BADGES, required=LEVEL,
        signer=maybe(SIGNER), rule=maybe(STATED_RULE), rule_source=maybe(WORD),
        exceptions=any_number_of(
            {"type": "object", "required": ["rule", "until", "reason"]}
        ),
        folder=WORD, arguments=some(WORD), binary_sha256=maybe(SHA256),
        interpreter=maybe(exactly(executable=WORD, version=WORD, tag=WORD, base_prefix=WORD)),
        state_owner=WORD, grant=GRANT, enforced=any_number_of(WORD),
        not_enforced=any_number_of(WORD),
    ),
    "plugin update": exactly(plugins=some(exactly(
        id=ID, before=WORD, version=WORD,
        outcome=one_of("updated", "would_update", "current", "left", "failed"),
        difference=maybe(DIFFERENCE), error=maybe(ERROR),
    ))),
    "plugin diff": DIFFERENCE,
    "plugin rollback": exactly(
        id=ID, version=WORD, replaced=WORD, was_changed=TRUE, previous=maybe(WORD), grant=GRANT
    ),
    "plugin remove": exactly(
        removed=some(exactly(id=ID, versions=some(WORD), current=maybe(WORD), was_purged=FLAG))
    ),
    "registry init": exactly(path=WORD, name=maybe(WORD)),
    "registry add": exactly(
        added=some(
            exactly(
                id=ID, version=WORD, platform=PLATFORM, sha256=SHA256, size=NUMBER, was_there=FLAG
            )
        )
    ),
    "registry mirror": exactly(
        path=WORD, registry=WORD, serial=NUMBER,
        mirrored=any_number_of(
            exactly(id=ID, version=WORD, platform=PLATFORM, sha256=SHA256, size=NUMBER)
        ),
    ),
    "registry build": exactly(
        out=WORD, plugins=NUMBER, versions=NUMBER, left_out=any_number_of(WORD),
        skipped=any_number_of(WORD), serial=NUMBER, expires_at=TIME, signed=FLAG, waiting=FLAG,
    ),
    "registry sign": exactly(
        file=WORD, bundle=WORD, sha256=SHA256, name=TEXT, epoch=NUMBER, serial=NUMBER,
        expires_at=TIME, signer=SIGNER,
    ),
    "registry verify": exactly(
        path=WORD, name=TEXT, epoch=NUMBER, serial=NUMBER, expires_at=TIME,
        signer=maybe(SIGNER), plugins=NUMBER, files=NUMBER, left_out=NUMBER,
        log=maybe(
            exactly(
                origin=WORD, size=NUMBER, root=SHA256, artifacts=NUMBER,
                findings=any_number_of(
                    exactly(
                        kind=one_of("unlogged", "denied", "contradicted", "unreadable"),
                        subject=WORD, why=WORD, index=maybe(NUMBER),
                    )
                ),
                left_out=NUMBER,
            )
        ),
    ),
    "registry deprecate": WITHDRAWN,
    "registry yank": WITHDRAWN,
    "registry revoke": WITHDRAWN,
    "trust local init": exactly(domain=WORD, identity=WORD, config_file=WORD, rule=RULE),
    "trust sign-publishers": exactly(
        file=WORD, bundle=WORD, sha256=SHA256, serial=NUMBER, expires=TIME, publishers=NUMBER,
        signer=SIGNER,
    ),
    "trust refresh": exactly(
        roots=some(exactly(
            name=WORD, url=WORD, before=TEXT, as_of=TIME,
            versions=exactly(root=NUMBER, timestamp=NUMBER, snapshot=NUMBER, targets=NUMBER),
            changes=any_number_of(exactly(what=WORD, name=WORD, until=TEXT)),
        ))
    ),
    "trust publisher add": exactly(
        config_file=WORD, rule=STATED_RULE, was_there=FLAG, signer=maybe(SIGNER),
        sha256=maybe(SHA256), held_against=maybe(one_of("artifact", "index", "bundle")),
        also_admitted=any_number_of(STATED_RULE), stops=any_number_of(STOP),
    ),
    "trust require": exactly(
        config_file=WORD, organization=maybe(WORD), require=LEVEL, before=LEVEL, in_force=LEVEL,
        was_changed=FLAG, stops=any_number_of(STOP),
    ),
    "trust exception add": exactly(
        config_file=WORD, exception=STATED_EXCEPTION, lifts=WORD, was_changed=FLAG,
        is_installed=FLAG,
    ),
    "trust exception remove": exactly(
        config_file=WORD, plugin=WORD, rule=WORD, removed=NUMBER, stops=any_number_of(STOP)
    ),
    "trust domain add": exactly(
        config_file=WORD, domain=STATED_DOMAIN, sha256=SHA256, was_there=FLAG
    ),
    "trust domain list": exactly(domains=some(DOMAIN)),
    "trust domain remove": exactly(config_file=WORD, domain=STATED_DOMAIN),
    "trust publisher list": exactly(publishers=some(PUBLISHER)),
    "trust publisher remove": exactly(
        config_file=WORD, removed=some(STATED_RULE), left=any_number_of(STATED_RULE),
        opened_to=any_number_of(STATED_RULE), stops=any_number_of(STOP),
    ),
    "trust show": exactly(
        config_file=WORD, managed_file=maybe(WORD), site_config_file=maybe(WORD),
        required=exactly(
            level=LEVEL, source=maybe(WORD), from_site=FLAG, provenance=FLAG,
            unsigned_allowed=FLAG,
            organizations=some(
                exactly(id=WORD, level=LEVEL, source=maybe(WORD), from_site=FLAG)
            ),
        ),
        publishers=some(PUBLISHER),
        closed=any_number_of(WORD),
        publisher_files=some(
            exactly(
                file=WORD, source=WORD, from_site=FLAG, problem=maybe(WORD), serial=maybe(NUMBER),
                expires=maybe(TIME), publishers=NUMBER, signer=maybe(SIGNER),
                verified_at=maybe(TIME),
            )
        ),
        domains=some(DOMAIN),
        exceptions=some(
            exactly(
                plugin=WORD, rule=WORD, until=DAY, reason=WORD, days_left=NUMBER, has_ended=FLAG,
                counts=FLAG, source=WORD, from_site=FLAG,
            )
        ),
    ),
}  # fmt: skip

AUTH: Schema = {"type": "object", "minProperties": 1, "maxProperties": 1}
ACTION = exactly(
    key=WORD, label=WORD, description=TEXT, target_types=any_number_of(WORD), severity_hint=WORD,
    parameters=any_number_of(FIELD), reversible=FLAG, supports_dry_run=FLAG,
    scopes=any_number_of(WORD), response_kind=WORD, required_context=any_number_of(WORD),
    reverse_action=TEXT, rollback=TEXT, approval_optional=FLAG,
)  # fmt: skip
DECLARED: dict[str, Schema] = {
    "interface": exactly(minor=NUMBER, features=any_number_of(WORD)),
    "provider": WORD,
    "name": WORD,
    "description": TEXT,
    "docs_url": TEXT,
    "auth": AUTH,
    "fields": any_number_of(FIELD),
}
EXECUTED = exactly(
    outcome=one_of("changed", "unchanged", "would_change", "failed", "unknown"),
    changes=any_number_of(exactly(attribute=WORD, before=ANY, after=ANY)),
    problems=any_number_of(TEXT),
    diagnostics=any_number_of(DIAGNOSTIC),
    idempotency_key=WORD,
    approval_sha256=SHA256,
    provider_request_id=TEXT,
)
RUNS: dict[str, Schema] = {
    "schema": exactly(
        **DECLARED,
        category=TEXT, availability=WORD, read_scopes=any_number_of(WORD),
        remediation_scopes=any_number_of(WORD), checks=any_number_of(ANY),
        remediation_actions=any_number_of(ANY), event_types=any_number_of(WORD),
        readiness_note=TEXT, account_id_field=TEXT, streams=any_number_of(ANY),
        event_mappings=any_number_of(ANY),
    ),
    "test": exactly(
        ok=FLAG, account={"type": "object"}, diagnostics=any_number_of(DIAGNOSTIC),
        retry_after_s=maybe(NUMBER),
    ),
    "catalog": exactly(
        definition=exactly(
            provider=WORD, name=WORD, category=TEXT, availability=WORD, description=TEXT,
            readScopes=any_number_of(WORD), remediationScopes=any_number_of(WORD),
            remediationActions=any_number_of(ANY), findingChecks=any_number_of(ANY), docsUrl=TEXT,
            fields=any_number_of(ANY),
        ),
        becomes=any_number_of(exactly(path=WORD, declared=TEXT, shown=TEXT)),
    ),
    "remediation capabilities": exactly(**DECLARED, remediation=exactly(actions=some(ACTION))),
    "destination capabilities": exactly(
        **DECLARED,
        destination=exactly(
            streams=some(WORD), vendor=TEXT, category=TEXT, max_batch_envelopes=NUMBER
        ),
    ),
    "execute": EXECUTED,
    "execute failed": EXECUTED,
    "deliver": exactly(
        accepted=NUMBER, rejected=NUMBER, retry=NUMBER,
        reasons=any_number_of(
            exactly(
                id=TEXT, status=one_of("rejected", "retry"), reason=TEXT, code=TEXT,
                line=maybe(NUMBER),
            )
        ),
        rejects_file=maybe(WORD),
    ),
}  # fmt: skip

RUN_RECEIPT = exactly(
    run_id={"type": "string", "pattern": "^run_[A-Za-z0-9_-]{16}$"}, plugin=ID, version=WORD,
    organization=WORD, integration=WORD, operation=WORD,
    started_at=WORD, ended_at=maybe(WORD), duration_ms=maybe(NUMBER),
    status=one_of("RUNNING", "SUCCEEDED", "FAILED"), code=maybe(WORD), error_message=maybe(WORD),
    seen=NUMBER, sent=NUMBER, filtered=NUMBER, dead_letters=NUMBER,
    checkpoint_sha256=maybe(SHA256), covers_until=maybe(WORD), tokens=NUMBER,
    egress_refused=NUMBER, peak_memory_bytes=maybe(NUMBER), instead_of=maybe(WORD),
    traceparent=maybe(WORD),
)  # fmt: skip
STATE = one_of("STOPPED", "STARTING", "READY", "BACKOFF", "PAUSED", "STOPPING", "FAILED")
PAUSE = maybe(exactly(by=WORD, at=TIME, reason=maybe(WORD)))
OF_STATUS = {
    "plugin": ID, "organization": WORD, "integration": WORD, "state": STATE,
    "version": maybe(WORD), "kind": maybe(KINDS), "badge": maybe(BADGES), "signer": maybe(WORD),
    "code": maybe(WORD), "reason": maybe(WORD), "until": maybe(TIME), "restarts": NUMBER,
    "last_healthy_at": maybe(TIME), "started_at": maybe(TIME), "pid": maybe(NUMBER),
    "not_enforced": any_number_of(WORD), "exceptions": any_number_of(WORD),
    "peak_memory_bytes": maybe(NUMBER), "breaker": WORD, "is_on_demand": FLAG, "calls": NUMBER,
    "newcomer": maybe(WORD),
    "pause": PAUSE,
    "fallback": maybe(exactly(version=WORD, code=maybe(WORD), reason=maybe(WORD), at=TIME)),
}  # fmt: skip
PAUSED = exactly(
    plugin=ID,
    instances=some(exactly(organization=WORD, integration=WORD, state=STATE, pause=PAUSE)),
)
OFFERED = exactly(
    plugin=ID, version=maybe(WORD), kind=maybe(KINDS), badge=maybe(BADGES), signer=maybe(WORD),
    definition=maybe({"type": "object"}),
    becomes=any_number_of(exactly(path=WORD, declared=TEXT, shown=TEXT)),
    problem=maybe(exactly(code=WORD, what=WORD, why=TEXT)),
)  # fmt: skip
OFFERS = exactly(
    connectors=any_number_of(OFFERED), remediations=any_number_of(OFFERED),
    destinations=any_number_of(OFFERED),
)  # fmt: skip
DATA |= {
    "host unit": exactly(name=WORD, place=WORD, unit=WORD, steps=some(WORD)),
    "host status": exactly(
        host=exactly(pid=NUMBER, version=WORD, started_at=TIME, home=WORD, socket=WORD,
                     summary=WORD, registries_heard_at=maybe(TIME),
                     registries_problem=maybe(WORD)),
        instances=some(
            exactly(**OF_STATUS, last_run=maybe(RUN_RECEIPT), next=any_number_of(WORD))
        ),
        idle=some(
            exactly(id=ID, version=maybe(WORD), kind=maybe(KINDS), badge=maybe(BADGES),
                    signer=maybe(WORD), refused_as=maybe(WORD))
        ),
    ),
    "host pause": PAUSED, "host resume": PAUSED,
    "host catalog": exactly(built_in=OFFERS, community=OFFERS, unknown=any_number_of(OFFERED)),
    "host suggest": exactly(
        plugin=ID, version=WORD, permissions=exactly(egress=any_number_of(WORD)),
        limits={"type": "object"}, evidence=any_number_of(WORD), grants=any_number_of(WORD),
    ),
}  # fmt: skip

COVERAGE = some(exactly(stream=TEXT, covers_until=maybe(TIME)))
LINES: dict[str, Schema] = {
    "event": exactly(
        type=WORD,
        envelope=exactly(
            id=SHA256, schema_version=one_of("aperio.event.v1"), source=WORD, producer=WORD,
            organization_id=WORD, integration_id=WORD, provider=WORD, kind=one_of("event"),
            event_type=WORD, actor=maybe(exactly(id=TEXT, email=TEXT, ip_address=TEXT)),
            occurred_at=TIME, source_event_id=WORD, record={"type": "object"}, origin=TEXT,
            native_event_type=TEXT,
        ),
    ),
    "checkpoint": exactly(type=WORD, events=NUMBER, stream=TEXT, covers_until=maybe(TIME)),
    "dead_letter": exactly(
        type=WORD, reason=WORD, code=WORD, source_event_id=TEXT, position=TEXT, event_type=TEXT,
        origin=TEXT, excerpt=TEXT, record_bytes=NUMBER,
    ),
    "doubt": exactly(type=WORD, source_event_id=WORD, why=WORD),
    "summary": exactly(
        type=WORD, events=NUMBER, findings=NUMBER, audit_log=NUMBER, dead_letters=NUMBER,
        filtered=NUMBER, checkpoints=NUMBER, tokens_renewed=NUMBER,
        duration_s={"type": "number"}, coverage=COVERAGE,
    ),
    "summary of a sync into a destination": exactly(
        type=WORD, events=NUMBER, findings=NUMBER, audit_log=NUMBER, dead_letters=NUMBER,
        filtered=NUMBER, checkpoints=NUMBER, tokens_renewed=NUMBER,
        duration_s={"type": "number"}, coverage=COVERAGE, rejects_file=maybe(WORD),
        deliveries=exactly(
            to=WORD, accepted=NUMBER, rejected=NUMBER, repeated=NUMBER, not_taken=NUMBER
        ),
    ),
    "instance": exactly(type=WORD, **OF_STATUS),
    "log": exactly(
        type=WORD, at=WORD, plugin=ID, organization=WORD, integration=WORD,
        level=one_of("trace", "debug", "info", "warn", "error"), stream=WORD, message=TEXT,
        module=maybe(WORD), said_at=maybe(WORD), fields={"type": "object"},
    ),
    "left_out": exactly(type=WORD, count=NUMBER),
    "error": exactly(
        type=WORD, code=WORD, what=WORD, why=TEXT, next=any_number_of(WORD), exit_status=NUMBER
    ),
}  # fmt: skip


# ── one life ──────────────────────────────────────────────────────────────────────────────────────


def typed(*words: object, stdin: str = "") -> tuple[int, str]:
    """A command with `--json`: its status and its stdout."""
    raw = io.BytesIO()
    with (
        tempfile.TemporaryFile("w+") as given,
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(io.TextIOWrapper(raw)),
    ):
        given.write(stdin)
        given.seek(0)
        patch.setattr(sys, "stdin", given)
        status = main([*map(str, words), "--json"])
        sys.stdout.flush()
        return status, raw.getvalue().decode()


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What every command printed in one life; by its words, and what it did for `plugin run`."""
    root = tmp_path_factory.mktemp("life")
    said: dict[str, Any] = {}

    def play(name: str, *words: object, status: int = 0, stdin: str = "") -> None:
        done, said[name] = typed(*words, stdin=stdin)
        assert done == status, f"{name}: {said[name]}"

    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(root):
        patch.setenv("APERIO_HOME", str(root / "home"))
        patch.setenv("LOGNAME", IDENTITY.removesuffix("@local"))
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_FIND_LINKS", str(ROOT / ".cache" / "wheels"))
        play_author(root, play)
        play_trust(root, play)
        play_refresh(root, play)
        play_registry(play)
        play_operator(root, play)
        play_host(root, play)
        play("plugin remove", "plugin", "remove", "acme/hello-connector", "--purge")
    return said


def play_author(root: Path, play: Any) -> None:
    play("completion", "completion", "bash")
    play("version", "version")
    play("trust local init", "trust", "local", "init")
    play("doctor", "doctor")
    play(
        "plugin init", "plugin", "init", "github.com/acme/aperio-plugin-hello", "--output", "hello"
    )
    play("plugin build", "plugin", "build", "hello")
    play("plugin test", "plugin", "test", "./hello")
    play("plugin sign", "plugin", "sign", "hello/dist", "--trust", "local")
    play("plugin verify", "plugin", "verify", next((root / "hello" / "dist").glob("*.gz")))


def play_trust(root: Path, play: Any) -> None:
    home, soon = root / "home", (clock.now() + timedelta(days=30)).date().isoformat()
    hello = next((root / "hello" / "dist").glob("*.gz"))
    play(
        "trust publisher add", "trust", "publisher", "add", "acme", "--from-bundle", hello, "--yes"
    )
    play("trust publisher list", "trust", "publisher", "list")
    play("trust publisher remove", "trust", "publisher", "remove", "acme", "--yes")
    play("trust require", "trust", "require", "verified", "--org", "acme-prod")
    lifted = ("acme/other", "--rule", "unverified")
    dated = ("--until", soon, "--reason", "audit pending")
    play("trust exception add", "trust", "exception", "add", *lifted, *dated)
    play("trust exception remove", "trust", "exception", "remove", *lifted)
    assert typed("trust", "exception", "add", *lifted, *dated)[0] == 0
    trusted_root = home / "trust" / "local" / "trusted_root.json"
    play("trust domain add", "trust", "domain", "add", "internal", "--file", trusted_root)
    play("trust domain list", "trust", "domain", "list")
    play("trust domain remove", "trust", "domain", "remove", "internal")
    publishers = {"schema": "aperio.publishers/v1", "serial": 1, "expires": soon, "publishers": []}
    stated = home / "publishers.json"
    stated.write_text(json.dumps(publishers))
    play("trust sign-publishers", "trust", "sign-publishers", stated, "--trust", "local")
    with (home / "config.toml").open("a") as config:
        config.write(f'\n[[publisher_files]]\nfile = "{stated}"\ndomain = "local"\n')
        config.write(f'identity = "{IDENTITY}"\n')
    play("trust show", "trust", "show")


def play_refresh(root: Path, play: Any) -> None:
    repository = TufRepository()
    trusted_root = root / "home" / "trust" / "local" / "trusted_root.json"
    repository.targets = {"trusted_root.json": trusted_root.read_bytes()}
    repository.publish()
    first_root = root / "tuf_root.json"
    first_root.write_bytes(repository.first_root)
    with serving(repository) as url:
        stated = ("--tuf", url, "--tuf-root", first_root)
        assert typed("trust", "domain", "add", "instance", *stated)[0] == 0
        play("trust refresh", "trust", "refresh", "instance")


def play_registry(play: Any) -> None:
    play("registry init", "registry", "init", "registry")
    play("registry add", "registry", "add", "hello/dist", "--dir", "registry")
    play("registry build", "registry", "build", "--dir", "registry")
    play("registry sign", "registry", "sign", "--dir", "registry", "--trust", "local")
    play("registry verify", "registry", "verify", "--dir", "registry")
    play(
        "registry mirror",
        "registry", "mirror", "mirror", "acme/hello-connector", "--registry", "registry",
    )  # fmt: skip
    for verb in ("deprecate", "yank", "revoke"):
        reason = ("--reason", "leaks", "--dir", "registry")
        play(f"registry {verb}", "registry", verb, "acme/hello-connector@0.1.0", *reason)


def play_operator(root: Path, play: Any) -> None:
    play(
        "plugin install",
        "plugin",
        "install",
        "acme/hello-connector",
        "--registry",
        "registry/public",
        "--yes",
    )
    site = Site(root / "mirror")
    site.publish(plugin_entry(version_entry(), id="acme/hello-connector"), advisories=[ADVISORY])
    mirror = ("--registry", str(site.folder))
    play("plugin search", "plugin", "search", "hello", *mirror)
    play("plugin info", "plugin", "info", "acme/hello-connector", *mirror)
    play("plugin audit", "plugin", "audit", *mirror, status=1)
    play("plugin grant", "plugin", "grant", "acme/hello-connector", "--own", "10.0.0.7:8088")
    run = ("plugin", "run")
    with HelloApi(3) as api:
        access = ("--set", f"base_url={api.url}", "--set", f"api_key={KEY}")
        play("schema", *run, "acme/hello-connector", "schema")
        play("catalog", *run, "acme/hello-connector", "schema", "--catalog")
        play("test", *run, "acme/hello-connector", "test", *access)
        play("sync", *run, "acme/hello-connector", "sync", *access)
        play("sync refused", *run, "acme/hello-connector", "sync", status=2)
    mortal = artifact_of(root / "mortal", simulating("mortal"), id="acme/mortal")
    assert typed("plugin", "sign", mortal, "--trust", "local")[0] == 0
    assert typed("plugin", "install", mortal, "--yes")[0] == 0
    play("sync mortal", *run, "acme/mortal", "sync")
    for kind in ("remediation", "destination"):
        artifact = artifact_of(
            root / kind, sdk_program(kind), id=f"acme/{kind}", kind=kind, provider="STUB"
        )
        assert typed("plugin", "sign", artifact, "--trust", "local")[0] == 0
        assert typed("plugin", "install", artifact, "--yes")[0] == 0
        play(f"{kind} capabilities", *run, f"acme/{kind}", "capabilities")
    act = ("--action", "stub.suspend", "--target", "u1", "--approve")
    play("execute", *run, "acme/remediation", "execute", *act)
    play(
        "execute failed", *run, "acme/remediation", "execute", *act[:3], "nobody", act[4], status=5
    )
    play("execute refused", *run, "acme/remediation", "execute", *act[:4], status=1)
    of = {"organization_id": "local", "kind": "event", "record": {}}
    events = [json.dumps({"id": f"x{number}"} | of) for number in range(3)]
    events += ["no envelope"]
    play("sync to", *run, "acme/mortal", "--to", "acme/destination")
    play("deliver", *run, "acme/destination", "deliver", stdin="\n".join(events), status=1)
    play_versions(root, play)
    play("plugin list", "plugin", "list")
    play("plugin why", "plugin", "why", "acme/hello-connector")
    play("plugin may-run", "plugin", "may-run", "acme/hello-connector")


def play_versions(root: Path, play: Any) -> None:
    newer = artifact_of(root / "newer", simulating("mortal"), id="acme/mortal", version="2.0.0")
    assert typed("plugin", "sign", newer, "--trust", "local")[0] == 0
    assert typed("registry", "add", newer, "--dir", "registry")[0] == 0
    assert typed("registry", "build", "--dir", "registry")[0] == 0
    # What is served stays the signed one until that is signed, too.
    assert typed("registry", "sign", "--dir", "registry", "--trust", "local")[0] == 0
    where = ("--registry", "registry/public", "--yes")
    play("plugin update", "plugin", "update", "acme/mortal", *where)
    play("plugin diff", "plugin", "diff", "acme/mortal@1.2.3", "acme/mortal@2.0.0")
    play("plugin rollback", "plugin", "rollback", "acme/mortal", "--yes")


def play_host(root: Path, play: Any) -> None:
    play("host unit", "host", "unit")
    with (root / "home" / "config.toml").open("a") as config:
        config.write('\n[[run]]\nplugin = "acme/remediation"\n')
    with running_host(root) as lines:
        play("host status", "host", "status")
        play("host logs", "host", "logs", "acme/remediation")
        play("host pause", "host", "pause", "acme/remediation", "--reason", "its service is down")
        play("host resume", "host", "resume", "acme/remediation")
        play("host catalog", "host", "catalog")
        play("host suggest", "host", "suggest", "acme/remediation")
    life_of_it = [line for line in lines() if '"acme/remediation"' in line]
    assert life_of_it
    for line in life_of_it:
        require(json.loads(line), LINES["instance"])


@contextlib.contextmanager
def running_host(root: Path) -> Iterator[Callable[[], list[str]]]:
    """A host while the block runs; afterwards, what it wrote on stdout."""
    with (root / "host.out").open("w") as out, (root / "host.err").open("w") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "aperio_cli", "host", "run", "--json"],
            stdout=out, stderr=err, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            is_ready = wait_until(
                lambda: "acme/remediation" in (root / "host.err").read_text(), within_s=60
            )
            assert is_ready, (root / "host.err").read_text()
            yield lambda: (root / "host.out").read_text().splitlines()
        finally:
            process.terminate()
            try:
                process.wait(30)
            finally:
                process.kill()
    assert process.returncode == 0, (root / "host.err").read_text()


def require(found: Any, schema: Schema) -> None:
    """Require that a document is as its schema says, which is one: see below."""
    jsonschema.Draft202012Validator(schema).validate(found)


def document(life: dict[str, Any], name: str) -> dict[str, Any]:
    """The one document on stdout, with the right keys around its data."""
    text = life[name]
    assert text.endswith("\n")
    assert text.count("\n") == 1
    found: dict[str, Any] = json.loads(text)
    require(found, ENVELOPE)
    return found


# ── commands ──────────────────────────────────────────────────────────────────────────────────────


def test_schemas_of_documents_are_schemas() -> None:
    schemas = [ENVELOPE, *DATA.values(), *RUNS.values(), *LINES.values()]
    jsonschema.Draft202012Validator.check_schema({"allOf": schemas})


def test_every_command_has_a_schema() -> None:
    streams = {"plugin run", "registry serve", "host run", "host logs"}
    assert set(DATA) == L_COMMANDS - streams


def test_document_has_its_keys_and_no_other(life: dict[str, Any]) -> None:
    @for_each(sorted(DATA))
    def check(command: str) -> None:
        found = document(life, command)
        status = "error" if command in FINDING else "ok"
        assert (found["command"], found["status"], found["errors"]) == (command.split(), status, [])
        require(found["data"], DATA[command])

    check()


def test_an_operation_has_its_keys_and_no_other(life: dict[str, Any]) -> None:
    @for_each(sorted(RUNS))
    def check(operation: str) -> None:
        found = document(life, operation)
        assert found["command"] == ["plugin", "run"]
        require(found["data"], RUNS[operation])

    check()


def test_a_refused_operation_has_an_error_and_no_data(life: dict[str, Any]) -> None:
    found = document(life, "execute refused")
    assert (found["status"], found["exit_status"], found["data"]) == ("error", 1, {})
    assert found["errors"][0]["code"] == "consent-missing"


def test_an_operation_that_was_not_wholly_done_has_data_and_is_no_success(
    life: dict[str, Any],
) -> None:
    found = document(life, "deliver")
    assert (found["status"], found["exit_status"], found["errors"]) == ("error", 1, [])
    assert found["data"]["rejected"] == 2
    assert [each["line"] for each in found["data"]["reasons"]] == [2, 4]


def test_a_stream_has_lines_of_known_types(life: dict[str, Any]) -> None:
    names = ("sync", "sync refused", "sync mortal", "host logs")
    lines = {name: [json.loads(line) for line in life[name].splitlines()] for name in names}
    for line in itertools.chain(*lines.values()):
        require(line, LINES[line["type"]])
    types = [line["type"] for line in lines["sync"]]
    assert types == ["event", "event", "event", "checkpoint", "summary"]
    assert [line["type"] for line in lines["sync refused"]] == ["error"]
    assert sum(line["type"] == "dead_letter" for line in lines["sync mortal"]) == 2
    assert lines["sync mortal"][-1]["dead_letters"] == 2
    assert {line["type"] for line in lines["host logs"]} == {"log"}


def test_the_stream_of_a_sync_into_a_destination_has_no_events(life: dict[str, Any]) -> None:
    *lines, summary = map(json.loads, life["sync to"].splitlines())
    for line in lines:
        require(line, LINES[line["type"]])
    assert [line["type"] for line in lines] == ["dead_letter", "dead_letter", "checkpoint"]
    require(summary, LINES["summary of a sync into a destination"])
    assert summary["deliveries"]["accepted"] == 2


def test_serve_says_its_address_in_one_line(life: dict[str, Any], tmp_path: Path) -> None:
    folder = json.loads(life["registry build"])["data"]["out"]
    served = subprocess.run(
        [sys.executable, "-m", "aperio_cli", "registry", "serve", folder, "--json"],
        input=b"", capture_output=True, timeout=30, check=True, cwd=ROOT,
        env={"HOME": str(tmp_path), "PYTHONPATH": str(ROOT / "sdk" / "python")},
    )  # fmt: skip
    [line] = served.stdout.splitlines()
    require(json.loads(line), exactly(url=WORD))

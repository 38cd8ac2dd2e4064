"""What a run's door leads to, and what is told about it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from aperio_cli.host.egress import Decision, Reason, Verdict
from aperio_cli.host.process.program import Program
from aperio_cli.host.sandbox.interface import Counters
from aperio_cli.host.way_out import Egress, rules_for, stubs_of, told
from aperio_cli.models.grant import OwnRule
from aperio_cli.running.learning import Learned
from tests.builders import manifest
from tests.rows import each_row, for_rows

ASKED = {
    "egress": ["api.box.com:443", "*.boxcloud.com:443", "unused.box.com:443"],
    "egress_from_config": [{"field": "domain", "suffix": ".okta.com", "port": "443"}],
}
PROGRAM = Program(
    "`acme/box` 1.2.0", "acme/box", "1.2.0", "connector", "BOX", ("/bin/true",), Path("/bin/true"),
    manifest(permissions=ASKED), "acme/box",
)  # fmt: skip


def decision(place: str, reason: Reason | None = None, rule: str = "") -> Decision:
    host, _, port = place.rpartition(":")
    verdict = Verdict.REPORTED if reason else Verdict.ALLOWED
    made = Decision("acme/box", "", "", "proxy", host, int(port), rule=rule)
    made.verdict, made.reason = verdict, reason
    return made


def test_the_operators_rules_come_first_and_settings_name_hosts() -> None:
    program = replace(PROGRAM, own_rules=(OwnRule("10.0.0.7:514", is_any_protocol=True),))
    rules = rules_for(program, Egress(settings={"domain": "acme.okta.com"}))
    assert [(str(rule), rule.stated_by) for rule in rules] == [
        ("10.0.0.7:514", "operator"),
        ("api.box.com:443", "manifest"),
        ("*.boxcloud.com:443", "manifest"),
        ("unused.box.com:443", "manifest"),
        ("acme.okta.com:443", "setting domain"),
    ]
    assert [rule.may_be_private for rule in rules] == [True, False, False, False, False]
    assert [rule.is_any_protocol for rule in rules] == [True, False, False, False, False]


@for_rows(
    [
        ("http://127.0.0.1:8080", ["127.0.0.1:8080"]),
        ("https://localhost/api", ["127.0.0.1:443"]),
        ("nats://127.0.0.1:4222, nats://127.0.0.2:4223", ["127.0.0.1:4222", "127.0.0.2:4223"]),
        ("http://127.0.0.1", ["127.0.0.1:80"]),
        ("http://127.1:8080", []),
        ("http://2130706433:8080", []),
        ("http://[::1]:8080", []),
        ("http://0.0.0.0:8080", []),
        ("http://localhost.:8080", []),
        ("http://127.0.0.1.evil.io:8080", []),
        ("http://10.0.0.7:8080", []),
        ("http://169.254.169.254", []),
        ("https://api.box.com", []),
        ("127.0.0.1:8080", []),
        ("http://127.0.0.1:99999", []),
        ("", []),
        (7, []),
        (None, []),
    ]
)
def test_only_what_settings_plainly_name_on_this_machine_is_opened(
    value: object, rules: list[str]
) -> None:
    assert [str(rule) for rule in stubs_of({"base_url": value})] == rules


@each_row(
    ("reason", "helps"),
    [
        (Reason.NOT_GRANTED, "`aperio plugin grant acme/box --own evil.io:443`"),
        (Reason.ADDRESS_NOT_PUBLIC, "`aperio plugin grant acme/box --own evil.io:443`"),
        (
            Reason.UNKNOWN_PROTOCOL,
            "acme/box --own evil.io:443 --any-protocol`",
        ),
        (Reason.SNI_DIFFERS, ""),
    ],
)
def test_what_helps_is_told(reason: Reason, helps: str) -> None:
    what, *more = told(decision("evil.io:443", reason), PROGRAM)
    assert what == f"egress would be refused: evil.io:443: {reason.words}"
    assert helps in "".join(more)
    assert bool(helps) is bool(more)


def test_a_server_that_speaks_first_is_thought_of_where_a_rule_covers_it() -> None:
    (_, helps) = told(decision("nats.io:4222", Reason.LATE, "nats.io:4222 (operator)"), PROGRAM)
    assert "server speaks first" in helps
    assert helps.endswith("`aperio plugin grant acme/box --own nats.io:4222 --any-protocol`")
    assert len(told(decision("nats.io:4222", Reason.LATE), PROGRAM)) == 1


def test_an_author_is_told_the_key_of_the_manifest() -> None:
    of_folder = replace(PROGRAM, is_development=True)
    (_, more) = told(decision("evil.io:443", Reason.NOT_GRANTED), of_folder)
    assert more == "  add `evil.io:443` to `permissions.egress` of manifest.yaml"
    assert len(told(decision("evil.io:443", Reason.ADDRESS_NOT_PUBLIC), of_folder)) == 1
    assert len(told(decision("vault.corp.internal:443", Reason.NOT_GRANTED), of_folder)) == 1


def test_a_host_of_ones_own_network_is_no_authors_to_add() -> None:
    (_, more) = told(decision("vault.corp.internal:443", Reason.NOT_GRANTED), PROGRAM)
    assert more == "  you open it: `aperio plugin grant acme/box --own vault.corp.internal:443`"


# ── learning ──────────────────────────────────────────────────────────────────────────────────────


def test_what_was_seen_becomes_the_exact_permissions_with_evidence() -> None:
    learned = Learned()
    for place, reason, rule in (
        ("api.box.com:443", None, "api.box.com:443 (manifest)"),
        ("eu.boxcloud.com:443", None, "*.boxcloud.com:443 (manifest)"),
        ("eu.boxcloud.com:443", None, "*.boxcloud.com:443 (manifest)"),
        ("new.box.com:443", Reason.NOT_GRANTED, ""),
        ("vault.corp.internal:443", Reason.NOT_GRANTED, ""),
        ("127.0.0.1:8080", None, "127.0.0.1:8080 (setting base_url)"),
        ("acme.okta.com:443", None, "acme.okta.com:443 (setting domain)"),
        ("cdn.box.com:443", Reason.SNI_DIFFERS, "cdn.box.com:443 (manifest)"),
    ):
        learned.record(decision(place, reason, rule))
    learned.count(Counters(memory_peak_bytes=61 * 1024**2, tmp_used_bytes=4096))
    assert learned.has_seen
    assert not Learned().has_seen
    proposal = learned.proposal(PROGRAM.manifest)
    assert list(proposal.lines()) == [
        "permissions:",
        "  egress:",
        '    - "api.box.com:443"  # 1 connection',
        '    - "eu.boxcloud.com:443"  # 2 connections',
        '    - "new.box.com:443"  # 1 connection, not in the manifest',
        "limits:",
        "  memory: 96MiB  # 61MiB were used at most",
        "  tmp: 1MiB  # 4KiB were used at most",
        "# unused.box.com:443: asked for, and not used",
        "# vault.corp.internal:443: only an operator opens it, no manifest (1 connection)",
        "# cdn.box.com:443: TLS asks for another host than the connection is for (1 connection)",
    ]
    found = proposal.to_json()
    assert found["permissions"]["egress"] == [
        "api.box.com:443", "eu.boxcloud.com:443", "new.box.com:443",
    ]  # fmt: skip
    assert found["limits"] == {"memory": "96MiB", "tmp": "1MiB"}


def test_of_nothing_comes_a_manifest_without_hosts() -> None:
    lines = list(Learned().proposal(manifest(permissions={})).lines())
    assert lines == ["permissions:", "  egress: []  # it connected to nothing"]


def test_a_proposal_is_what_a_manifest_can_state() -> None:
    import yaml

    learned = Learned()
    learned.record(decision("new.box.com:443", Reason.NOT_GRANTED))
    learned.count(Counters(memory_peak_bytes=1, tmp_used_bytes=0))
    stated = yaml.safe_load("\n".join(learned.proposal(PROGRAM.manifest).lines()))
    read = manifest(permissions=stated["permissions"], limits=stated["limits"])
    assert read.egress == ("new.box.com:443",)
    assert read.limits.memory_bytes == 16 * 1024**2

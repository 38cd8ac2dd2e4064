"""`aperio plugin why`: one screen about one installed plugin, by the rules as they are now."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.__main__ import main
from aperio_cli.models.artifact import BUNDLE_SUFFIX
from aperio_cli.models.digest import Digest
from aperio_cli.models.plugin_id import PluginRef
from tests.security.world import DOMAIN, World, attest, beside, digest_of, rule
from tests.trust import COMMIT, HOSTED_BUILDER, REPOSITORY, new_domain

if TYPE_CHECKING:
    from pathlib import Path

PLUGIN = "acme/box-connector"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A machine that has one plugin, built by GitHub, with provenance."""
    made = World(tmp_path, new_domain(tmp_path / "trusted"), new_domain(tmp_path / "elsewhere"))
    monkeypatch.setenv("APERIO_HOME", str(made.machine.paths.home))
    signed = made.signed()
    made.install(made.offered(attest(signed, made.forge().statement(digest_of(signed)))))
    configure(made)
    return made


def configure(world: World, *more: str, stated: str = "") -> None:
    """Writes the operator's configuration."""
    root = world.root / "root.json"
    root.write_text(world.instance.trusted_root_json())
    domain = f'[[domains]]\nname = "{DOMAIN}"\nfile = "{root}"'
    text = "\n\n".join([domain, stated or rule().to_toml(), *more])
    world.machine.paths.config_file.write_text(text + "\n")


def why(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> dict[str, Any]:
    """The document's data."""
    assert main(["plugin", "why", PLUGIN, "--json", *words]) == status
    data: dict[str, Any] = json.loads(capsys.readouterr().out)["data"]
    return data


def test_why_shows_who_signed_and_what_proves_it(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plugin", "why", PLUGIN]) == 0
    shown = capsys.readouterr().out
    digest = digest_of(next((world.root / "registry").glob("*.tar.gz")))
    lines = {line[:19].strip(): line[19:].strip() for line in shown.splitlines()}
    assert lines["may run"] == "yes"
    assert lines["badge"] == "verified (signed is required)"
    assert lines["repository"] == REPOSITORY
    assert (lines["repository id"], lines["owner id"]) == ("123456", "789")
    assert lines["ref"] == "refs/tags/v1.2.3"
    assert lines["log entry"].startswith("0 of 1 in ")
    assert lines["builder"] == HOSTED_BUILDER
    assert lines["artifact"] == f"sha256:{digest.hex}"
    assert lines["last launch check"] == "never"
    assert str(world.machine.paths.config_file) in lines["admitted by"]


def test_why_gives_scripts_the_same(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    data = why(capsys)
    root = world.root / "root.json"
    assert (data["may_run"], data["refusal"], data["required"]) == (True, None, "signed")
    assert data["proof"]["root"]["sha256"] != ""
    assert data["root_now"]["sha256"] == Digest.of(root.read_bytes()).hex
    assert data["proof"]["attestations"][0]["provenance"]["source_sha"] == COMMIT
    assert data["exceptions"] == []


def test_why_says_what_would_refuse_it_now(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    ci = rule().ci
    assert ci
    configure(world, stated=rule(ci=replace(ci, owner_id="1")).to_toml())
    data = why(capsys, status=3)
    assert data["may_run"] is False
    assert data["refusal"]["code"] == "signature-identity-mismatch"
    assert (data["rule"], data["rule_source"]) == (None, None)
    assert data["rule_at_install"]["namespace"] == rule().namespace


@pytest.mark.parametrize("passed", [True, False])
def test_why_gives_no_plain_yes_after_a_check_that_failed(
    world: World, capsys: pytest.CaptureFixture[str], *, passed: bool
) -> None:
    store = world.machine.store
    store.checks.note(store.get(PluginRef.parse(PLUGIN)), passed=passed)
    assert main(["plugin", "why", PLUGIN]) == 0
    verdict = capsys.readouterr().out.splitlines()[1]
    assert verdict.startswith("may run ")
    assert verdict.endswith(" yes") is passed
    assert ("FAILED" in verdict) is not passed


def test_why_judges_for_an_organization(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    strict = '[policy.organizations]\nprod = "verified"'
    configure(world, strict, stated=rule(tier="community").to_toml())
    assert why(capsys)["may_run"] is True
    refused = why(capsys, "--org", "prod", status=3)
    assert (refused["required"], refused["refusal"]["code"]) == ("verified", "publisher-unverified")


def test_why_shows_exceptions_of_the_configuration(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    until = "2026-01-01"
    configure(
        world,
        f'[[exceptions]]\nplugin = "{PLUGIN}"\nrule = "unverified"\n'
        f'until = {until}\nreason = "x y"',
    )
    assert why(capsys)["exceptions"] == [
        {"plugin": PLUGIN, "rule": "unverified", "until": until, "reason": "x y"}
    ]


def test_why_refuses_what_is_not_installed(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    del world
    assert main(["plugin", "why", "acme/other"]) == 1
    assert "not-installed" in capsys.readouterr().err


def test_why_needs_no_bundle_to_answer(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """It reads the receipt: the artifact and what stood beside it may be gone."""
    for path in (world.root / "registry").iterdir():
        path.unlink()
    for artifact in (world.root / "dist").glob("*/*.tar.gz"):
        beside(artifact, BUNDLE_SUFFIX).unlink()
    assert why(capsys)["may_run"] is True


def test_why_asks_as_run_does_when_no_organization_is_named(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    strict = '[policy.organizations]\nlocal = "verified"'
    configure(world, strict, stated=rule(tier="community").to_toml())
    refused = why(capsys, status=3)
    assert refused["refusal"]["code"] == "publisher-unverified"
    assert str(world.machine.paths.config_file) in refused["rule_source"]


def test_why_says_what_to_do_about_a_refusal(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(world, '[policy]\nrequire = "verified"', stated=rule(tier="community").to_toml())
    assert main(["plugin", "why", PLUGIN]) == 3
    shown = capsys.readouterr().out
    assert "1.2.3 would not be started: its publisher is not verified" in shown
    assert "expected verified, as is required of every plugin here" in shown
    assert "next" in shown
    assert "aperio trust exception add" in shown


def test_why_refuses_a_path_and_says_what_is_for_files(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    del world
    assert main(["plugin", "why", "./a b.tar.gz"]) == 2
    assert "`aperio plugin verify './a b.tar.gz'`" in capsys.readouterr().err


def anybody(**changes: Any) -> str:
    """The rule that admits the plugin, for `*`."""
    return rule(namespace="*", tier="community", **changes).to_toml()


def test_why_names_the_rule_that_admits_and_not_the_one_that_did(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(world, anybody(), stated=rule(namespace="acme", tier="community").to_toml())
    data = why(capsys)
    assert (data["rule"]["namespace"], data["may_run"]) == ("acme", True)

    assert main(["plugin", "why", PLUGIN]) == 0
    assert "the rule for `acme`, in " in capsys.readouterr().out


def test_why_says_when_a_narrower_rule_shuts_out_who_was_admitted_by_that_for_all(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    ci = rule().ci
    assert ci
    configure(world, stated=anybody())
    assert why(capsys)["rule"]["namespace"] == "*"

    other = rule(namespace="acme", ci=replace(ci, owner_id="1"))
    configure(world, anybody(), stated=other.to_toml())
    data = why(capsys, status=3)
    assert data["refusal"]["code"] == "signature-identity-mismatch"
    assert data["rule"] is None
    assert main(["plugin", "why", PLUGIN]) == 3
    shown = capsys.readouterr().out
    assert "which does not admit it now" in shown
    assert "\nadmitted by" not in shown


def test_why_asks_for_required_limits_and_still_names_the_rule(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(world, '[sandbox]\nrequire = ["open_files"]')
    assert why(capsys)["may_run"] is True
    configure(world, '[sandbox]\nrequire = ["open_files", "memory"]')
    data = why(capsys, status=3)
    assert (data["may_run"], data["refusal"]["code"]) == (False, "limit-required")
    assert "would not be started" in data["refusal"]["what"]
    assert data["rule"]["namespace"] == rule().namespace


def test_why_says_that_a_record_is_damaged(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    (receipt,) = world.machine.paths.plugins.rglob("receipt.json")
    document = json.loads(receipt.read_text())
    receipt.write_text(json.dumps(document | {"signer": {"domain": "public"}}))
    assert main(["plugin", "why", PLUGIN]) == 3
    shown = capsys.readouterr()
    assert "receipt-invalid" in shown.out + shown.err

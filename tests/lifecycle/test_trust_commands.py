"""`aperio trust …`: who may sign, what is required, what is lifted, and all of it on one screen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli import clock
from aperio_cli.__main__ import main
from aperio_cli.config import places
from aperio_cli.context import Context, Settings
from aperio_cli.errors.usage import Interrupted
from aperio_cli.models.artifact import BUNDLE_SUFFIX
from aperio_cli.models.digest import Digest
from aperio_cli.models.publisher import LOCAL_ISSUER
from aperio_cli.signing.local import open_domain
from tests.builders import go_members, write_artifact
from tests.lifecycle.cli import ROOT, SDK
from tests.trust import REPOSITORY, WORKFLOW, Forge, github_identity
from tests.tuf_repository import TufRepository

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aperio_cli.signing.local.authority import LeafIdentity
    from tests.lifecycle.cli import Aperio

    State = Callable[[str], Path]

HELLO = "acme/hello-connector"
SOON = (clock.now() + timedelta(days=30)).date().isoformat()
ADD = ("trust", "publisher", "add")
GRANT = ("trust", "exception", "add", "acme/box-connector")
WHY = ("--until", SOON, "--reason", "audit pending")
PERSON = ("--identity", "release@acme.example", "--issuer", "https://accounts.acme.example")


def config_of(aperio: Aperio) -> str:
    return (aperio.home / "managed.toml").read_text()


def artifact(aperio: Aperio, who: LeafIdentity | None = None, **changes: Any) -> Path:
    """An artifact of acme/box-connector 1.2.3 with a bundle by somebody of the local domain."""
    path = write_artifact(aperio.folder / "dist", go_members(**changes))
    sign(aperio, path, who)
    return path


def sign(aperio: Aperio, path: Path, who: LeafIdentity | None = None) -> None:
    forge = Forge.of(open_domain(aperio.home / "trust" / "local"))
    forge = forge.but(identity=who) if who else forge
    data = forge.bundle_json(Digest.of(path.read_bytes()))
    path.with_name(path.name + BUNDLE_SUFFIX).write_bytes(data)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> State:
    """States the site's configuration."""
    path = tmp_path / "site.toml"
    monkeypatch.setattr(places, "site_config_file", lambda: path)

    def state(text: str) -> Path:
        path.write_text(text)
        return path

    return state


# ── publisher add --from-bundle ───────────────────────────────────────────────────────────────────


def test_refusal_of_a_bundle_names_the_file_that_was_given(aperio: Aperio) -> None:
    built = artifact(aperio)
    bundle = built.with_name(built.name + BUNDLE_SUFFIX)
    bundle.write_bytes(
        Forge.of(open_domain(aperio.home / "trust" / "local")).bundle_json(Digest.of(b"other"))
    )
    refused = aperio.refuses(
        *ADD, "acme", "--from-bundle", bundle, code="signature-digest-mismatch", status=3
    )
    assert refused.what == f"`{bundle}` was refused: its bundle is the signature of another file"


def test_publisher_is_added_as_the_build_that_signed(aperio: Aperio) -> None:
    built = artifact(aperio, github_identity())
    done = aperio(*ADD, "acme", "--from-bundle", built, "--yes", "--json")
    assert done.data["rule"] == {
        "namespace": "acme", "domain": "local", "ci": "github", "repository": REPOSITORY,
        "issuer": "https://token.actions.githubusercontent.com", "repository_id": "123456",
        "owner_id": "789", "workflow": WORKFLOW, "ref": "refs/tags/v{version}",
        "runner": "github-hosted",
    }  # fmt: skip
    assert done.data["held_against"] == "artifact"
    assert done.data["sha256"] == Digest.of(built.read_bytes()).hex
    aperio("plugin", "verify", built)


def test_rule_from_a_bundle_admits_the_next_release_and_no_branch(aperio: Aperio) -> None:
    aperio(*ADD, "acme", "--from-bundle", artifact(aperio, github_identity()), "--yes")
    following = artifact(aperio, github_identity("refs/tags/v2.0.0"), version="2.0.0")
    aperio("plugin", "verify", following)
    sign(aperio, following, github_identity("refs/heads/main"))
    aperio.refuses("plugin", "verify", following, code="signature-identity-mismatch", status=3)


def test_publisher_is_added_as_the_person_who_signed(aperio: Aperio) -> None:
    done = aperio(*ADD, "acme", "--from-bundle", artifact(aperio), "--yes", "--json")
    assert done.data["rule"]["identity"] == "alice@local"


def test_what_is_proved_is_shown_before_consent_is_asked(aperio: Aperio) -> None:
    built = artifact(aperio, github_identity())
    refused = aperio.refuses(*ADD, "acme", "--from-bundle", built, code="consent-missing", status=1)
    assert "`acme` was left as it is" in refused.what
    for shown in (
        "source_repository_owner_identifier  789", "signed at", "the artifact's own bytes",
        'ref = "refs/tags/v{version}"', "trust domain",
    ):  # fmt: skip
        assert shown in refused.shown


def test_adding_what_is_there_asks_nothing_and_changes_nothing(aperio: Aperio) -> None:
    built = artifact(aperio)
    aperio(*ADD, "acme", "--from-bundle", built, "--yes")
    with aperio.unchanged():
        done = aperio(*ADD, "acme", "--from-bundle", built, "--json")
    assert done.data["was_there"]


def test_second_rule_says_that_both_signers_are_admitted(aperio: Aperio) -> None:
    aperio(*ADD, "acme", *PERSON, "--yes")
    done = aperio(*ADD, "acme", "--from-bundle", artifact(aperio), "--yes")
    assert "these signers stay admitted:\n  release@acme.example (trust domain public)" in done.err
    assert config_of(aperio).count('namespace = "acme"') == 2


def test_first_rule_says_who_may_no_longer_sign(aperio: Aperio) -> None:
    """A namespace with a rule of its own is not open to those for every namespace."""
    done = aperio(*ADD, "acme", *PERSON, "--yes")
    assert "who may sign for `*` could no longer sign for `acme`: alice@local" in done.err
    assert "could no longer" not in aperio(*ADD, "*", *PERSON, "--yes").err


def test_first_rule_for_who_signed_before_displaces_nobody(aperio: Aperio) -> None:
    same = ("--identity", "alice@local", "--issuer", LOCAL_ISSUER, "--domain", "local")
    done = aperio(*ADD, "acme", *same, "--yes")
    assert "a rule for `acme` was added" in done.out
    assert "could no longer" not in done.err


def test_local_rule_that_the_site_does_not_admit_says_so(stranger: Aperio, site: State) -> None:
    where = site('[[publishers]]\nnamespace = "acme"\ndomain = "local"\nidentity = "bob@local"\n')
    done = stranger("trust", "local", "init")
    assert f"the rule has no effect: {where} does not admit it" in done.err


def test_bundle_alone_says_what_it_does_not_prove(aperio: Aperio) -> None:
    built = artifact(aperio, github_identity())
    bundle = built.with_name(built.name + BUNDLE_SUFFIX)
    built.unlink()
    done = aperio(*ADD, "acme", "--from-bundle", bundle, "--yes")
    assert "which need not be the plugin you mean" in done.err
    assert 'ref = "refs/tags/v{version}"' in config_of(aperio)


def test_bundle_over_a_statement_says_whom_it_proves(aperio: Aperio) -> None:
    forge = Forge.of(open_domain(aperio.home / "trust" / "local"))
    bundle = aperio.folder / "box.sigstore.json"
    bundle.write_bytes(forge.statement(Digest.of(b"box")))
    done = aperio(*ADD, "acme", "--from-bundle", bundle, "--yes", "--json")
    assert (done.data["held_against"], done.data["sha256"]) == ("bundle", Digest.of(b"box").hex)


def test_artifact_elsewhere_can_be_named(aperio: Aperio) -> None:
    built = artifact(aperio)
    bundle = built.with_name(built.name + BUNDLE_SUFFIX).rename(aperio.folder / "b.sigstore.json")
    done = aperio(*ADD, "acme", "--from-bundle", bundle, "--artifact", built, "--yes", "--json")
    assert done.data["held_against"] == "artifact"


def test_publisher_of_a_registry_is_added(aperio: Aperio, registry: Path) -> None:
    done = aperio(*ADD, "acme", "--from-bundle", HELLO, "--registry", registry, "--yes", "--json")
    assert done.data["held_against"] == "index"
    aperio("plugin", "verify", HELLO, "--registry", registry)


def test_other_namespace_than_the_artifacts_is_refused(aperio: Aperio) -> None:
    """The artifact of one publisher is no proof about another."""
    refused = aperio.refuses(
        *ADD, "globex", "--from-bundle", artifact(aperio), code="manifest-mismatch", status=3
    )
    assert "found    acme/box-connector@1.2.3" in refused.why


def test_other_plugin_than_the_artifacts_is_refused(aperio: Aperio) -> None:
    words = (*ADD, "acme", "--from-bundle", artifact(aperio), "--plugin", "hat")
    aperio.refuses(*words, code="manifest-mismatch", status=3)


def test_build_from_a_branch_is_refused(aperio: Aperio) -> None:
    built = artifact(aperio, github_identity("refs/heads/main"))
    refused = aperio.refuses(*ADD, "acme", "--from-bundle", built, code="publisher-unfit", status=3)
    assert "refs/heads/main, which does not say the version 1.2.3" in refused.why


def test_build_of_another_version_is_refused(aperio: Aperio) -> None:
    built = artifact(aperio, github_identity("refs/tags/v1.0.0"))
    aperio.refuses(*ADD, "acme", "--from-bundle", built, code="publisher-unfit", status=3)


def test_changed_artifact_proves_nobody(aperio: Aperio) -> None:
    built = artifact(aperio)
    other = write_artifact(aperio.folder / "other", go_members(description="another"))
    built.write_bytes(other.read_bytes())
    aperio.refuses(*ADD, "acme", "--from-bundle", built, code="signature-digest-mismatch", status=3)


@pytest.mark.parametrize(
    ("contents", "code"),
    [
        (b"{}", "bundle-malformed"),
        (b"", "bundle-malformed"),
        (b"[]", "bundle-malformed"),
        (b'{"messageSignature": {"messageDigest": {"digest": "AAAA"}}}', "bundle-malformed"),
        (b'{"dsseEnvelope": {"payload": "e30="}}', "bundle-malformed"),
    ],
)
def test_something_else_than_a_bundle_is_refused(
    aperio: Aperio, contents: bytes, code: str
) -> None:
    path = aperio.folder / "x.sigstore.json"
    path.write_bytes(contents)
    aperio.refuses(*ADD, "acme", "--from-bundle", path, code=code, status=3)


def test_bundle_of_another_machines_domain_is_refused(aperio: Aperio, tmp_path: Path) -> None:
    from tests.trust import new_domain

    built = artifact(aperio)
    forge = Forge.of(new_domain(tmp_path / "elsewhere"))
    bundle = forge.bundle_json(Digest.of(built.read_bytes()))
    built.with_name(built.name + BUNDLE_SUFFIX).write_bytes(bundle)
    aperio.refuses(*ADD, "acme", "--from-bundle", built, code="trust-domain-unknown", status=3)


def test_bundle_that_is_not_there_is_named(aperio: Aperio) -> None:
    missing = aperio.folder / "x.sigstore.json"
    refused = aperio.refuses(*ADD, "acme", "--from-bundle", missing, code="not-found", status=1)
    assert str(missing) in refused.what


def test_artifact_without_a_bundle_beside_it_is_what_is_named(aperio: Aperio) -> None:
    built = artifact(aperio)
    built.with_name(built.name + BUNDLE_SUFFIX).unlink()
    words = (*ADD, "acme", "--from-bundle", built)
    refused = aperio.refuses(*words, code="signature-missing", status=3)
    assert f"`{built}` has no bundle beside it" in refused.what
    assert f"--artifact {built}" in refused.next[0]


def test_bundle_under_any_name_is_a_file(aperio: Aperio, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the ready command of `publisher-unknown` may name it, from the same folder."""
    built = artifact(aperio)
    built.with_name(built.name + BUNDLE_SUFFIX).rename(built.with_name("proof.json"))
    monkeypatch.chdir(built.parent)
    words = [*ADD, "acme", "--from-bundle", "proof.json", "--artifact", str(built), "--yes"]
    assert main(words) == 0
    assert 'namespace = "acme"' in config_of(aperio)


def test_what_is_neither_a_file_nor_an_id_is_named(aperio: Aperio) -> None:
    words = (*ADD, "acme", "--from-bundle", "box")
    refused = aperio.refuses(*words, code="plugin-id-invalid", status=2)
    assert refused.what.startswith("`box`")


# ── publisher add by hand ─────────────────────────────────────────────────────────────────────────


def test_publisher_is_added_by_hand(aperio: Aperio) -> None:
    done = aperio(*ADD, "acme", *PERSON, "--tier", "verified", "--yes", "--json")
    assert done.data["rule"] == {
        "namespace": "acme", "domain": "public", "identity": "release@acme.example",
        "issuer": "https://accounts.acme.example", "tier": "verified",
    }  # fmt: skip
    assert done.data["signer"] is None
    shown = aperio("trust", "show", "--json").data["publishers"]
    assert [each["identity"] for each in shown] == ["alice@local", "release@acme.example"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("acme",), "it is not said who signs"),
        (("acme", "--identity", "a@b"), "expected `--issuer` as well"),
        (("acme", *PERSON, "--domain", "publik"), "`--domain publik`"),
        (("acme", *PERSON, "--tier", "best"), "`--tier best`"),
        (("acme", *PERSON, "--plugin", "a/b"), "`--plugin a/b`"),
        (("Acme", *PERSON), "`Acme`"),
        (("*", *PERSON, "--tier", "verified"), "`--tier verified`"),
        (("acme", "--identity", "", "--issuer", "https://x.example"), "`--identity`"),
        (("acme", *PERSON, "--plugin", ""), "`--plugin`"),
        (("acme", *PERSON, "--domain", " "), "`--domain`"),
        (("acme", "--from-bundle", ""), "`--from-bundle`"),
        (("acme", "--issuer", "https://x.example"), "it is not said who signs"),
        (("acme", "--identity", " ", "--issuer", "https://x.example"), "`--identity`"),
        (("acme", "--identity", "a@b", "--issuer", "accounts.example"), "`--issuer accounts"),
        (("acme", *PERSON, "--from-bundle", "x.sigstore.json"), "`--identity` does not go with"),
        (("acme", *PERSON, "--artifact", "x.tar.gz"), "`--artifact` goes with `--from-bundle`"),
    ],
)
def test_rule_that_cannot_be_is_refused(aperio: Aperio, words: tuple[str, ...], named: str) -> None:
    refused = aperio.refuses(*ADD, *words, "--yes", code="usage", status=2)
    assert named in refused.what + refused.why


BUILD = {
    "--ci": "github", "--repository": REPOSITORY, "--repository-id": "123456",
    "--owner-id": "789", "--workflow": WORKFLOW, "--ref": "refs/tags/v{version}",
    "--runner": "github-hosted", "--domain": "local",
}  # fmt: skip


def words_of(options: dict[str, str]) -> list[str]:
    return [word for option in options.items() for word in option]


def test_build_by_hand_is_the_rule_that_its_bundle_gives(aperio: Aperio) -> None:
    built = artifact(aperio, github_identity())
    by_hand = aperio(*ADD, "acme", *words_of(BUILD), "--yes", "--json").data["rule"]
    done = aperio(*ADD, "acme", "--from-bundle", built, "--json")
    assert (done.data["rule"], done.data["was_there"]) == (by_hand, True)
    aperio("plugin", "verify", built)


def test_build_by_hand_may_be_signed_for_by_a_reusable_workflow(aperio: Aperio) -> None:
    signs = f"{REPOSITORY}/.github/workflows/sign.yml@refs/tags/v1"
    more = {"--signer-workflow": signs, "--issuer": "https://ghes.example/_services/token"}
    done = aperio(*ADD, "acme", *words_of(BUILD | more), "--yes", "--json")
    assert done.data["rule"]["signer_workflow"] == signs
    assert done.data["rule"]["issuer"] == more["--issuer"]


@pytest.mark.parametrize("option", [name for name in BUILD if name not in {"--ci", "--domain"}])
@pytest.mark.parametrize("value", [None, "", " ", "https://x.example/?a=b"])
def test_build_by_hand_says_every_field(aperio: Aperio, option: str, value: str | None) -> None:
    given = {name: text for name, text in BUILD.items() if name != option}
    given |= {} if value is None else {option: value}
    refused = aperio.refuses(*ADD, "acme", *words_of(given), "--yes", code="usage", status=2)
    assert f"`{option}" in refused.what
    assert refused.next


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"--ci": "jenkins"}, "`--ci jenkins`"),
        ({"--ci": "gitlab"}, "`--runner github-hosted`"),
        ({"--identity": "a@b"}, "`--identity a@b`"),
        ({"--ref": "refs/heads/main"}, "`--ref refs/heads/main`"),
        ({"--workflow": "../release.yml"}, "`--workflow ../release.yml`"),
        ({"--repository-id": "0"}, "`--repository-id 0`"),
        ({"--signer-workflow": "https://x.example/w.yml"}, "`--signer-workflow https"),
        ({"--from-bundle": "x.sigstore.json"}, "`--domain` does not go with"),
    ],
)
def test_build_by_hand_is_as_checked_as_one_of_the_configuration(
    aperio: Aperio, changes: dict[str, str], named: str
) -> None:
    words = words_of(BUILD | changes)
    refused = aperio.refuses(*ADD, "acme", *words, "--yes", code="usage", status=2)
    assert named in refused.what


def test_field_of_a_build_without_the_service_says_so(aperio: Aperio) -> None:
    words = (*ADD, "acme", "--repository", REPOSITORY, "--yes")
    refused = aperio.refuses(*words, code="usage", status=2)
    assert "goes with `ci`" in refused.why


@pytest.mark.parametrize(
    ("signs", "whom"),
    [
        (PERSON, "release@acme.example"),
        (tuple(words_of(BUILD)), f"whoever can release from {REPOSITORY}"),
    ],
)
def test_rule_for_every_namespace_is_said_plainly_before_consent(
    aperio: Aperio, signs: tuple[str, ...], whom: str
) -> None:
    plain = f"{whom} may then sign any plugin of any namespace without a rule of its own"
    refused = aperio.refuses(*ADD, "*", *signs, code="consent-missing", status=1)
    assert plain in refused.shown
    assert "any namespace" not in aperio(*ADD, "acme", *signs, "--yes").err


def test_damaged_configuration_is_left_as_it_is(aperio: Aperio) -> None:
    (aperio.home / "config.toml").write_text("not toml")
    words = (*ADD, "acme", *PERSON, "--yes")
    aperio.refuses(*words, code="configuration-invalid", status=2)


def test_rule_that_the_site_does_not_admit_is_refused(aperio: Aperio, site: State) -> None:
    """It would admit nobody, and close the namespace."""
    where = site(
        '[[publishers]]\nnamespace = "*"\ndomain = "public"\nidentity = "ada@acme.example"\n'
        'issuer = "https://accounts.acme.example"\n'
    )
    refused = aperio.refuses(*ADD, "acme", *PERSON, "--yes", code="site-forbids", status=3)
    assert str(where) in refused.why
    permitted = ("--identity", "ada@acme.example", *PERSON[2:])
    aperio(*ADD, "acme", *permitted, "--yes")


# ── publisher list and remove ─────────────────────────────────────────────────────────────────────

REMOVE = ("trust", "publisher", "remove")


def test_list_of_publishers_says_what_is_stated_and_where(aperio: Aperio, site: State) -> None:
    mine = aperio.home / "config.toml"
    mine.write_text('[[publishers]]\nnamespace = "hat"\ndomain = "local"\nidentity = "bob@local"\n')
    where = site('[[publishers]]\nnamespace = "acme"\ndomain = "local"\nidentity = "bob@local"\n')
    rows = aperio("trust", "publisher", "list", "--json").data["publishers"]
    assert [(each["namespace"], each["source"], each["from_site"]) for each in rows] == [
        ("acme", str(where), True),
        ("hat", str(mine), False),
        ("*", str(aperio.home / "managed.toml"), False),
    ]
    shown = aperio("trust", "publisher", "list").out
    assert f"stated in {mine}\n" in shown


def test_list_of_publishers_of_a_stranger_is_a_sentence(stranger: Aperio) -> None:
    done = stranger("trust", "publisher", "list")
    assert done.out == "no configuration file states a publisher\n"


def test_rule_is_removed_after_consent_only(aperio: Aperio) -> None:
    aperio(*ADD, "acme", *PERSON, "--yes")
    refused = aperio.refuses(*REMOVE, "acme", code="consent-missing", status=1)
    assert "  release@acme.example (trust domain public)\n" in refused.shown
    assert "open to who may sign for `*`:\n  alice@local (trust domain local)" in refused.shown
    done = aperio(*REMOVE, "acme", "--yes", "--json")
    assert [each["identity"] for each in done.data["removed"]] == ["release@acme.example"]
    assert [each["identity"] for each in done.data["opened_to"]] == ["alice@local"]
    assert (done.data["left"], done.data["stops"]) == ([], [])
    assert "acme" not in config_of(aperio)


def test_removing_says_who_stays_admitted(aperio: Aperio) -> None:
    aperio(*ADD, "acme", *PERSON, "--yes")
    aperio(*ADD, "acme", "--domain", "local", "--identity", "bob@local", "--yes")
    refused = aperio.refuses(*REMOVE, "acme", code="usage", status=2)
    assert "2 rules fit" in refused.what
    assert "release@acme.example (trust domain public)" in refused.why
    done = aperio(*REMOVE, "acme", "--identity", "bob@local", "--yes", "--json")
    assert [each["identity"] for each in done.data["left"]] == ["release@acme.example"]
    assert done.data["opened_to"] == []
    aperio(*ADD, "acme", "--domain", "local", "--identity", "bob@local", "--yes")
    assert len(aperio(*REMOVE, "acme", "--all", "--yes", "--json").data["removed"]) == 2


def test_removing_the_rule_says_what_it_stops(installed: Aperio) -> None:
    refused = installed.refuses(*REMOVE, "*", code="consent-missing", status=1)
    assert f"  {HELLO}@0.1.0  publisher-unknown\n" in refused.shown
    done = installed(*REMOVE, "*", "--yes", "--json")
    assert done.data["stops"] == [STOPPED | {"code": "publisher-unknown"}]
    run = ("plugin", "run", HELLO, "schema")
    installed.refuses(*run, code="publisher-unknown", status=3, noted=True)


def test_rule_of_a_build_is_removed_by_what_the_list_shows(aperio: Aperio) -> None:
    aperio(*ADD, "acme", "--from-bundle", artifact(aperio, github_identity()), "--yes")
    rows = aperio("trust", "publisher", "list", "--json").data["publishers"]
    [shown] = [each["identity"] for each in rows if each["shape"] == "build"]
    aperio(*REMOVE, "acme", "--identity", shown, "--yes")
    assert 'namespace = "acme"' not in config_of(aperio)


@pytest.mark.parametrize(
    "words", [("globex",), ("*", "--identity", "bob@local"), ("*", "--plugin", "box")]
)
def test_rule_that_is_not_there_is_not_removed(aperio: Aperio, words: tuple[str, ...]) -> None:
    refused = aperio.refuses(*REMOVE, *words, "--yes", code="not-found", status=1)
    assert "nothing was changed" in refused.what
    assert (f"alice@local (trust domain local) in {aperio.home}" in refused.why) == (
        words[0] == "*"
    )


@pytest.mark.parametrize("name", ["identity", "domain", "plugin"])
def test_blank_choice_of_a_rule_chooses_none(aperio: Aperio, name: str) -> None:
    refused = aperio.refuses(*REMOVE, "*", f"--{name}", " ", "--yes", code="usage", status=2)
    assert f"`--{name}`" in refused.what


def test_rule_that_config_toml_states_is_not_removed(aperio: Aperio) -> None:
    (aperio.home / "config.toml").write_text(
        '[[publishers]]\nnamespace = "*"\ndomain = "local"\nidentity = "bob@local"\n'
        '[[publishers]]\nnamespace = "hat"\ndomain = "local"\nidentity = "bob@local"\n'
    )
    refused = aperio.refuses(*REMOVE, "hat", "--yes", code="stated-by-hand", status=1)
    assert refused.why.endswith('config.toml:6: namespace = "hat"')


# ── require ───────────────────────────────────────────────────────────────────────────────────────


def test_more_is_required_without_a_question(aperio: Aperio) -> None:
    done = aperio("trust", "require", "verified", "--json")
    assert done.data["before"] == "signed"
    assert (done.data["in_force"], done.data["was_changed"]) == ("verified", True)
    assert aperio("trust", "show", "--json").data["required"]["level"] == "verified"


def test_organization_that_cannot_be_written_is_named(aperio: Aperio) -> None:
    words = ("trust", "require", "verified", "--org", "a\nb")
    assert "`--org`" in aperio.refuses(*words, code="usage", status=2).what


def test_home_below_a_file_is_named_and_no_bug(
    aperio: Aperio, capsys: pytest.CaptureFixture[str]
) -> None:
    home = aperio.home / "managed.toml" / "home"
    for words, more in ((["trust", "local", "init"], []), (["trust", "require"], ["verified"])):
        assert main([*words, *more, "--home", str(home), "--json"]) == 1
        document = json.loads(capsys.readouterr().out)
        [error] = document["errors"]
        assert (document["command"], error["code"]) == (words, "place-unusable")
        assert (str(home) in error["what"], error["why"]) == (True, "Not a directory")


def test_group_without_a_command_shows_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trust", "publisher"]) == 0
    assert "Usage: aperio trust publisher" in capsys.readouterr().out


def test_interrupt_at_a_question_says_what_was_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

        def readline(self) -> str:
            raise KeyboardInterrupt

    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    context = Context(Settings())
    with pytest.raises(Interrupted, match="nothing was done"):
        context.ask("Really?", what="nothing was done")


def test_less_is_required_after_consent_only(aperio: Aperio) -> None:
    aperio("trust", "require", "verified")
    refused = aperio.refuses("trust", "require", "signed", code="consent-missing", status=1)
    assert refused.what == "`verified` is required on this machine as before"
    assert aperio("trust", "require", "signed", "--yes", "--json").data["in_force"] == "signed"


def test_requiring_for_an_organization_is_for_that_one(aperio: Aperio) -> None:
    aperio("trust", "require", "verified", "--org", "acme-prod")
    required = aperio("trust", "show", "--json").data["required"]
    assert required["level"] == "signed"
    assert required["organizations"] == [
        {
            "id": "acme-prod",
            "level": "verified",
            "from_site": False,
            "source": str(aperio.home / "managed.toml"),
        }
    ]
    aperio.refuses(
        "trust", "require", "signed", "--org", "acme-prod", code="consent-missing", status=1
    )


def test_requiring_what_is_required_changes_nothing(aperio: Aperio) -> None:
    aperio("trust", "require", "verified")
    with aperio.unchanged():
        assert not aperio("trust", "require", "verified", "--json").data["was_changed"]


def test_less_than_the_site_requires_stays_without_effect(aperio: Aperio, site: State) -> None:
    where = site('[policy]\nrequire = "verified"\n')
    aperio("trust", "require", "verified")
    done = aperio("trust", "require", "signed", "--yes")
    assert f"the site requires `verified` of every plugin ({where})" in done.err
    assert "`verified` stays in force" in done.err
    assert aperio("trust", "show", "--json").data["required"]["from_site"]


@pytest.mark.parametrize("level", ["", "verifed", "unsigned", "official", "none"])
def test_unknown_requirement_is_refused(aperio: Aperio, level: str) -> None:
    aperio.refuses("trust", "require", level, code="usage", status=2)


def test_plugin_of_an_unverified_publisher_stops_when_verified_is_required(
    installed: Aperio,
) -> None:
    """Asked again before every start, not only at install."""
    installed("trust", "require", "verified")
    installed.refuses(
        "plugin", "run", HELLO, "schema", code="publisher-unverified", status=3, noted=True
    )
    installed(
        "trust", "exception", "add", HELLO, "--rule", "unverified", *WHY,
    )  # fmt: skip
    installed("plugin", "run", HELLO, "schema")
    installed("trust", "exception", "remove", HELLO, "--rule", "unverified")
    installed.refuses(
        "plugin", "run", HELLO, "schema", code="publisher-unverified", status=3, noted=True
    )


# ── what a change stops ───────────────────────────────────────────────────────────────────────────

STOPPED = {"id": HELLO, "version": "0.1.0"}


def test_requiring_says_what_it_stops_before_it_does(installed: Aperio) -> None:
    done = installed("trust", "require", "verified", "--json")
    assert done.data["stops"] == [STOPPED | {"code": "publisher-unverified"}]
    assert "this stops installed plugins" in done.err
    assert f"  {HELLO}@0.1.0  publisher-unverified\n" in done.err
    again = installed("trust", "require", "verified", "--org", "acme-prod", "--json")
    assert again.data["stops"] == []  # it has stopped already


def test_requiring_for_an_organization_says_what_it_stops_there(installed: Aperio) -> None:
    installed("plugin", "run", HELLO, "schema", "--org", "acme-prod")
    done = installed("trust", "require", "verified", "--org", "acme-prod", "--json")
    assert done.data["stops"] == [STOPPED | {"code": "publisher-unverified"}]
    run = ("plugin", "run", HELLO, "schema")
    installed.refuses(*run, "--org", "acme-prod", code="publisher-unverified", status=3, noted=True)
    installed(*run)


def test_what_stops_nothing_says_nothing(installed: Aperio) -> None:
    done = installed("trust", "require", "signed", "--json")
    assert (done.data["stops"], done.err) == ([], "")
    installed("trust", "exception", "add", HELLO, "--rule", "unverified", *WHY)
    assert installed("trust", "require", "verified", "--json").data["stops"] == []


def test_taking_an_exception_back_says_what_it_stops(installed: Aperio) -> None:
    lifted = (HELLO, "--rule", "unverified")
    installed("trust", "exception", "add", *lifted, *WHY)
    installed("trust", "require", "verified")
    done = installed("trust", "exception", "remove", *lifted, "--json")
    assert done.data["stops"] == [STOPPED | {"code": "publisher-unverified"}]
    assert f"  {HELLO}@0.1.0  publisher-unverified\n" in done.err


def test_taking_an_exception_from_a_limit_back_says_what_it_stops(installed: Aperio) -> None:
    (installed.home / "config.toml").write_text('[sandbox]\nrequire = ["memory"]\n')
    lifted = (HELLO, "--rule", "limit:memory")
    installed("trust", "exception", "add", *lifted, *WHY)
    installed("plugin", "run", HELLO, "schema")
    done = installed("trust", "exception", "remove", *lifted, "--json")
    assert done.data["stops"] == [STOPPED | {"code": "limit-required"}]
    installed.refuses("plugin", "run", HELLO, "schema", code="limit-required", status=3, noted=True)


def test_first_rule_of_a_namespace_says_what_it_stops_before_consent(installed: Aperio) -> None:
    """What counted by the rule for every namespace does not any more."""
    words = (*ADD, "acme", *PERSON)
    refused = installed.refuses(*words, code="consent-missing", status=1)
    assert f"  {HELLO}@0.1.0  signature-identity-mismatch\n" in refused.shown
    done = installed(*words, "--yes", "--json")
    assert done.data["stops"] == [STOPPED | {"code": "signature-identity-mismatch"}]
    assert installed(*ADD, "globex", *PERSON, "--yes", "--json").data["stops"] == []


def test_nothing_stops_where_nothing_may_start(installed: Aperio, publisher_file: Path) -> None:
    publisher_file.write_text("{}")
    assert installed("trust", "require", "verified", "--json").data["stops"] == []


# ── exceptions ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("unsigned", "may be installed from a file that nobody has signed"),
        ("unverified", "may be used although its publisher is not verified"),
        ("limit:memory", "may start where `memory` cannot be limited"),
        ("revoked", "may be installed and started although its registry has revoked it"),
    ],
)
def test_exception_says_what_it_lifts(aperio: Aperio, rule: str, said: str) -> None:
    done = aperio(*GRANT, "--rule", rule, *WHY)
    assert said in done.out
    [shown] = aperio("trust", "show", "--json").data["exceptions"]
    assert (shown["plugin"], shown["rule"], shown["until"]) == ("acme/box-connector", rule, SOON)
    assert (shown["days_left"], shown["counts"], shown["has_ended"]) == (30, True, False)


def test_exception_that_lifts_nothing_says_so(aperio: Aperio) -> None:
    assert "changes nothing now" in aperio(*GRANT, "--rule", "unverified", *WHY).err
    assert "changes nothing now" in aperio(*GRANT, "--rule", "limit:cpu", *WHY).err
    aperio("trust", "require", "verified", "--org", "acme-prod")
    assert "changes nothing" not in aperio(*GRANT, "--rule", "unverified", *WHY).err


def test_exception_for_what_is_not_installed_says_so_and_is_made(installed: Aperio) -> None:
    installed("trust", "require", "verified", "--org", "acme-prod")
    words = ("--rule", "unverified", *WHY)
    done = installed("trust", "exception", "add", HELLO, *words, "--json")
    assert (done.data["is_installed"], done.err) == (True, "")
    for plugin, said in (
        ("acme/helo-connector", f"`acme/helo-connector` is not installed; did you mean `{HELLO}`?"),
        ("globex/tracker", "`globex/tracker` is not installed\n"),
        (f"{HELLO}@9.9.9", f"`{HELLO}@9.9.9` is not installed; of it there is 0.1.0"),
    ):
        done = installed("trust", "exception", "add", plugin, *words)
        assert said in done.err
        assert not installed("trust", "exception", "add", plugin, *words, "--json").data[
            "is_installed"
        ]
    assert len(installed("trust", "show", "--json").data["exceptions"]) == 4


def test_exception_can_be_renewed_and_taken_back(aperio: Aperio) -> None:
    aperio(*GRANT, "--rule", "unverified", *WHY)
    again = (*GRANT, "--rule", "unverified", "--until", SOON, "--reason", "still pending")
    assert aperio(*again, "--json").data["was_changed"]
    assert not aperio(*again, "--json").data["was_changed"]
    [shown] = aperio("trust", "show", "--json").data["exceptions"]
    assert shown["reason"] == "still pending"
    remove = ("trust", "exception", "remove", "acme/box-connector", "--rule", "unverified")
    assert aperio(*remove, "--json").data["removed"] == 1
    refused = aperio.refuses(*remove, code="not-found", status=1)
    assert "nothing was changed" in refused.what


def test_exception_of_another_version_is_named_when_none_is_taken_back(aperio: Aperio) -> None:
    aperio(*GRANT[:3], "acme/box-connector@1.2.3", "--rule", "unverified", *WHY)
    remove = ("trust", "exception", "remove", "acme/box-connector", "--rule", "unverified")
    refused = aperio.refuses(*remove, code="not-found", status=1)
    assert "acme/box-connector@1.2.3 unverified" in refused.why


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"rule": "all"}, "`--rule all`"),
        ({"rule": "limit:memry"}, "`--rule limit:memry`"),
        ({"rule": "revoke"}, "`--rule revoke`"),
        ({"until": "tomorrow"}, "`--until tomorrow`"),
        ({"until": "2020-01-01"}, "`--until 2020-01-01`"),
        ({"until": (clock.now() + timedelta(days=368)).date().isoformat()}, "`--until "),
        ({"until": f"{SOON}T00:00:00Z"}, f"`--until {SOON}T00:00:00Z`"),
        ({"reason": ""}, "`--reason`"),
        ({"reason": "x" * 501}, "`--reason xxx"),
        ({"reason": "a\nb"}, "`--reason a b`"),
        ({"plugin": "acme"}, "`acme`"),
        ({"plugin": "*"}, "`*`"),
        ({"plugin": "./box.tar.gz"}, "`./box.tar.gz`"),
        ({"plugin": "acme/box@latest"}, "`acme/box@latest`"),
    ],
)
def test_exception_that_cannot_be_is_refused(
    aperio: Aperio, changes: dict[str, str], named: str
) -> None:
    words = {"plugin": "acme/box", "rule": "unverified", "until": SOON, "reason": "why"} | changes
    options = [f"--{key}={words[key]}" for key in ("rule", "until", "reason")]
    refused = aperio.refuses(
        "trust", "exception", "add", words["plugin"], *options, code="usage", status=2
    )
    assert named in refused.what


@pytest.mark.parametrize(
    ("rule", "stated"),
    [
        ("unverified", '[policy]\nrequire = "verified"\n'),
        ("unsigned", '[policy]\nrequire = "signed"\n'),
        ("unsigned", "[policy]\nrequire_provenance = true\n"),
        ("limit:memory", '[sandbox]\nrequire = ["memory"]\n'),
    ],
)
def test_exception_that_the_site_forbids_is_refused(
    aperio: Aperio, site: State, rule: str, stated: str
) -> None:
    where = site(stated)
    refused = aperio.refuses(*GRANT, "--rule", rule, *WHY, code="site-forbids", status=3)
    assert str(where) in refused.why


def test_exception_written_by_hand_that_the_site_forbids_is_shown_as_such(
    aperio: Aperio, site: State
) -> None:
    aperio(*GRANT, "--rule", "unverified", *WHY)
    site('[policy]\nrequire = "verified"\n')
    [shown] = aperio("trust", "show", "--json").data["exceptions"]
    assert not shown["counts"]
    assert "the site does not allow it" in aperio("trust", "show").out


# ── what a person wrote in config.toml ────────────────────────────────────────────────────────────

BY_HAND = f"""\
# mine
[policy]
require = "verified"  # since March

[[exceptions]]
plugin = "acme/box-connector"
rule = "unverified"
until = {SOON}
reason = "by hand"
"""


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("require", "signed"), 'config.toml:3: require = "verified"'),
        (("require", "signed", "--yes"), 'config.toml:3: require = "verified"'),
        (("exception", "remove", GRANT[3], "--rule", "unverified"), "config.toml:6: plugin = "),
        ((*GRANT[1:], "--rule", "unverified", *WHY), f"config.toml:8: until = {SOON}"),
    ],
)
def test_what_config_toml_states_is_not_changed_by_a_command(
    aperio: Aperio, words: tuple[str, ...], line: str
) -> None:
    (aperio.home / "config.toml").write_text(BY_HAND)
    refused = aperio.refuses("trust", *words, code="stated-by-hand", status=1)
    assert line in refused.why
    assert "by hand" in refused.next[0]


def test_what_config_toml_states_is_named_as_the_file_that_holds_it(aperio: Aperio) -> None:
    mine = aperio.home / "config.toml"
    mine.write_text(BY_HAND)
    with aperio.unchanged():
        done = aperio("trust", "require", "verified", "--json")
    assert (done.data["config_file"], done.data["was_changed"]) == (str(mine), False)
    done = aperio("trust", "require", "verified", "--org", "acme-prod", "--json")
    assert done.data["config_file"] == str(aperio.home / "managed.toml")
    again = aperio(*GRANT, "--rule", "unverified", "--until", SOON, "--reason", "by hand", "--json")
    assert (again.data["config_file"], again.data["was_changed"]) == (str(mine), False)


def test_show_names_the_file_of_each_entry(aperio: Aperio, root: Path) -> None:
    mine, theirs = aperio.home / "config.toml", aperio.home / "managed.toml"
    mine.write_text(BY_HAND)
    aperio("trust", "domain", "add", "acme-internal", "--file", root)
    data = aperio("trust", "show", "--json").data
    assert (data["config_file"], data["managed_file"]) == (str(mine), str(theirs))
    assert data["required"]["source"] == str(mine)
    assert [each["source"] for each in data["publishers"]] == [str(theirs)]
    assert [each["source"] for each in data["exceptions"]] == [str(mine)]
    stated = {each["name"]: each["source"] for each in data["domains"]}
    assert (stated["acme-internal"], stated["public"]) == (str(theirs), None)
    shown = aperio("trust", "show").out
    assert shown.count(f"  stated in {theirs}\n") == 2
    assert f"verified publishers, stated in {mine}\n" in shown


def test_managed_file_that_cannot_be_read_stops_everything(aperio: Aperio) -> None:
    (aperio.home / "managed.toml").write_text("not toml")
    for words in (("trust", "show"), ("trust", "require", "verified"), (*ADD, "acme", *PERSON)):
        told = aperio.refuses(*words, code="configuration-invalid", status=2)
        assert "managed.toml" in told.what


def test_exception_that_a_command_made_is_listed(installed: Aperio) -> None:
    """Also by the quick way, which must know of the file."""
    installed("trust", "exception", "add", HELLO, "--rule", "unverified", *WHY)
    assert f"unverified until {SOON}" in installed("plugin", "list").out
    installed("trust", "exception", "remove", HELLO, "--rule", "unverified")
    assert "unverified" not in installed("plugin", "list").out


# ── trust domains ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def root(aperio: Aperio) -> Path:
    """The trusted root of some instance, as a file."""
    path = aperio.folder / "root.json"
    path.write_bytes((aperio.home / "trust" / "local" / "trusted_root.json").read_bytes())
    return path


def test_domain_is_added_and_can_be_named_by_rules(aperio: Aperio, root: Path) -> None:
    done = aperio("trust", "domain", "add", "acme-internal", "--file", "root.json", "--json")
    assert done.data["domain"] == {"name": "acme-internal", "file": str(root)}
    assert done.data["sha256"] == Digest.of(root.read_bytes()).hex
    aperio(*ADD, "acme", *PERSON, "--domain", "acme-internal", "--yes")
    names = [each["name"] for each in aperio("trust", "show", "--json").data["domains"]]
    assert names == ["local", "acme-internal", "public", "staging"]


def test_domain_over_tuf_is_added_with_its_first_root(aperio: Aperio) -> None:
    first = aperio.folder / "tuf-root.json"
    first.write_bytes(TufRepository().first_root)
    words = ("trust", "domain", "add", "acme", "--tuf", "https://tuf.acme.example/")
    done = aperio(*words, "--tuf-root", first)
    assert "`aperio trust refresh acme`" in done.err
    assert f'tuf_root = "{first}"' in config_of(aperio)


def test_domain_that_is_there_is_not_added_again(aperio: Aperio, root: Path) -> None:
    words = ("trust", "domain", "add", "acme", "--file", root)
    aperio(*words)
    with aperio.unchanged():
        assert aperio(*words, "--json").data["was_there"]


def test_domain_of_another_root_under_the_same_name_is_refused(aperio: Aperio, root: Path) -> None:
    aperio("trust", "domain", "add", "acme", "--file", root)
    other = root.with_name("other.json")
    other.write_bytes(root.read_bytes())
    refused = aperio.refuses(
        "trust", "domain", "add", "acme", "--file", other, code="usage", status=2
    )
    assert "another trust domain of that name" in refused.what


def test_domain_of_the_sites_name_is_refused(aperio: Aperio, site: State, root: Path) -> None:
    site('[[domains]]\nname = "acme"\nfile = "/etc/acme.json"\n')
    aperio.refuses("trust", "domain", "add", "acme", "--file", root, code="site-forbids", status=3)


def test_domain_is_removed_when_no_rule_names_it(aperio: Aperio, root: Path) -> None:
    remove = ("trust", "domain", "remove", "acme")
    aperio("trust", "domain", "add", "acme", "--file", root)
    aperio(*ADD, "acme", *PERSON, "--domain", "acme", "--yes")
    refused = aperio.refuses(*remove, code="trust-domain-in-use", status=1)
    assert f"the rule for acme in {aperio.home / 'managed.toml'}" in refused.why
    aperio(*REMOVE, "acme", "--domain", "acme", "--yes")
    done = aperio(*remove, "--json")
    assert done.data["domain"] == {"name": "acme", "file": str(root)}
    names = [each["name"] for each in aperio("trust", "domain", "list", "--json").data["domains"]]
    assert names == ["local", "public", "staging"]


def test_list_of_domains_names_their_files(aperio: Aperio, root: Path) -> None:
    aperio("trust", "domain", "add", "acme", "--file", root)
    rows = aperio("trust", "domain", "list", "--json").data["domains"]
    managed = str(aperio.home / "managed.toml")
    assert [each["source"] for each in rows] == [None, managed, None, None]
    assert f"  stated in {managed}\n" in aperio("trust", "domain", "list").out


def test_domain_that_no_command_stated_is_not_removed(aperio: Aperio, site: State) -> None:
    where = site('[[domains]]\nname = "theirs"\nfile = "/etc/acme.json"\n')
    for name, why in (
        ("theirs", str(where)), ("public", "without being stated"), ("x", "no command stated any")
    ):  # fmt: skip
        refused = aperio.refuses("trust", "domain", "remove", name, code="not-found", status=1)
        assert why in refused.why


def test_domain_that_config_toml_states_is_not_removed(aperio: Aperio, root: Path) -> None:
    mine = aperio.home / "config.toml"
    mine.write_text(f'[[domains]]\nname = "acme"\nfile = "{root}"\n')
    words = ("trust", "domain", "remove", "acme")
    assert aperio.refuses(*words, code="stated-by-hand", status=1).why.startswith(f"{mine}:2: ")


@pytest.mark.parametrize("name", ["public", "staging", "local", "Acme", "", "../x", "a" * 41])
def test_domain_of_a_name_that_cannot_be_is_refused(aperio: Aperio, root: Path, name: str) -> None:
    aperio.refuses("trust", "domain", "add", name, "--file", root, code="usage", status=2)


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--tuf", "https://tuf.acme.example/"),
        ("--tuf-root", "root.json"),
        ("--file", "root.json", "--tuf", "https://tuf.acme.example/"),
        ("--tuf", "http://tuf.acme.example/", "--tuf-root", "root.json"),
    ],
)
def test_domain_without_the_one_root_it_needs_is_refused(
    aperio: Aperio, root: Path, options: tuple[str, ...]
) -> None:
    assert root.exists()
    aperio.refuses("trust", "domain", "add", "acme", *options, code="usage", status=2)


@pytest.mark.parametrize("contents", ["", "{}", "[]", '{"signed": {"_type": "root"}}', "3"])
def test_file_that_is_no_trusted_root_is_refused(aperio: Aperio, root: Path, contents: str) -> None:
    root.write_text(contents)
    words = ("trust", "domain", "add", "acme", "--file", root)
    aperio.refuses(*words, code="trust-root-invalid", status=3)


def test_trusted_root_in_place_of_a_first_tuf_root_is_refused(aperio: Aperio, root: Path) -> None:
    words = ("--tuf", "https://tuf.acme.example/", "--tuf-root", root)
    aperio.refuses("trust", "domain", "add", "acme", *words, code="trust-root-invalid", status=3)


def test_first_tuf_root_that_nobody_signed_is_refused(aperio: Aperio) -> None:
    document = json.loads(TufRepository().first_root)
    first = aperio.folder / "tuf-root.json"
    first.write_text(json.dumps(document | {"signatures": []}))
    words = ("trust", "domain", "add", "acme", "--tuf", "https://tuf.acme.example/")
    told = aperio.refuses(*words, "--tuf-root", first, code="trust-root-invalid", status=3)
    assert "its own keys" in told.why


def test_root_that_is_not_there_is_named(aperio: Aperio) -> None:
    aperio.refuses("trust", "domain", "add", "acme", "--file", "x.json", code="not-found", status=1)


# ── sign-publishers ───────────────────────────────────────────────────────────────────────────────

LISTED = {
    "namespace": "globex", "domain": "public", "identity": "grace@globex.example",
    "issuer": "https://accounts.globex.example",
}  # fmt: skip
LIST = {"schema": "aperio.publishers/v1", "serial": 3, "expires": SOON, "publishers": [LISTED]}
SIGN = ("trust", "sign-publishers", "publishers.json", "--trust", "local")


def test_signed_publishers_are_read_where_their_signer_is_named(aperio: Aperio) -> None:
    path = aperio.folder / "publishers.json"
    path.write_text(json.dumps(LIST))
    done = aperio(*SIGN, "--json")
    assert done.data["bundle"] == "publishers.json" + BUNDLE_SUFFIX
    assert (done.data["serial"], done.data["publishers"]) == (3, 1)
    assert done.data["signer"]["identity"] == "alice@local"
    assert done.data["sha256"] == Digest.of(path.read_bytes()).hex
    (aperio.home / "config.toml").write_text(
        f'[[publisher_files]]\nfile = "{path}"\ndomain = "local"\nidentity = "alice@local"\n'
    )
    data = aperio("trust", "show", "--json").data
    assert data["publisher_files"][0]["serial"] == 3
    assert "globex" in [each["namespace"] for each in data["publishers"]]


def test_publishers_are_signed_again_after_a_change(aperio: Aperio) -> None:
    path = aperio.folder / "publishers.json"
    path.write_text(json.dumps(LIST))
    aperio(*SIGN)
    path.write_text(json.dumps(LIST | {"serial": 4}))
    said = aperio(*SIGN).out
    assert "signed by alice@local\n  serial 4, 1 rule, until " in said


@pytest.mark.parametrize(
    ("contents", "why"),
    [
        ("not json", "it is not JSON"),
        ("[]", "it is not a mapping of keys"),
        (json.dumps(LIST | {"serial": "3"}), "`serial`: expected a whole number"),
        (json.dumps(LIST | {"serial": 0}), "`serial`: expected a whole number"),
        (json.dumps(LIST | {"serial": 1.5}), "`serial`: expected a whole number"),
        (json.dumps({key: LIST[key] for key in LIST if key != "serial"}), "`serial` is missing"),
        (json.dumps(LIST | {"publishers": [LISTED | {"namespace": "*"}]}), "`publishers[0].names"),
        (json.dumps(LIST | {"expires": "2020-01-01"}), "it ended on 2020-01-01T23:59:59Z"),
    ],
)
def test_what_no_machine_would_accept_is_not_signed(
    aperio: Aperio, contents: str, why: str
) -> None:
    (aperio.folder / "publishers.json").write_text(contents)
    refused = aperio.refuses(*SIGN, code="publisher-file-invalid", status=3)
    assert why in refused.why


def test_publishers_that_are_not_there_are_not_signed(aperio: Aperio) -> None:
    refused = aperio.refuses(*SIGN, code="not-found", status=1)
    assert refused.what.startswith("`publishers.json` cannot be read")


@pytest.mark.parametrize(
    ("words", "code", "status"),
    [
        (("--trust", "local", "--identity-token", "x"), "usage", 2),
        (("--identity-token", "x", "--oob"), "usage", 2),
        (("--trust", "nowhere"), "usage", 2),
        (("--trust", "public", "--offline"), "offline", 4),
    ],
)
def test_publishers_are_signed_with_the_options_of_plugin_sign(
    aperio: Aperio, words: tuple[str, ...], code: str, status: int
) -> None:
    (aperio.folder / "publishers.json").write_text(json.dumps(LIST))
    refused = aperio.refuses(*SIGN[:3], *words, code=code, status=status)
    assert "nothing was signed" in refused.what
    if "--trust" in words and "nowhere" not in words:
        assert "`aperio trust sign-publishers publishers.json --trust local`" in refused.next


# ── show ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def publisher_file(aperio: Aperio) -> Path:
    """A file of publishers that the local domain signed, and its entry in config.toml."""
    path = aperio.home / "publishers.json"
    rule = {
        "namespace": "globex", "domain": "public", "identity": "grace@globex.example",
        "issuer": "https://accounts.globex.example", "tier": "verified",
    }  # fmt: skip
    path.write_text(
        json.dumps(
            {"schema": "aperio.publishers/v1", "serial": 3, "expires": SOON, "publishers": [rule]}
        )
    )
    sign(aperio, path)
    with (aperio.home / "config.toml").open("a") as file:
        file.write(
            f'\n[[publisher_files]]\nfile = "{path}"\ndomain = "local"\nidentity = "alice@local"\n'
        )
    return path


def test_show_says_all_of_the_policy_on_one_screen(
    aperio: Aperio, site: State, publisher_file: Path, root: Path
) -> None:
    aperio(*ADD, "acme", *PERSON, "--plugin", "box", "--yes")
    aperio("trust", "require", "verified", "--org", "acme-prod")
    aperio("trust", "domain", "add", "acme-internal", "--file", root)
    aperio(*GRANT, "--rule", "unverified", *WHY)
    where = site('[sandbox]\nrequire = ["memory"]\n')
    shown = aperio("trust", "show").out
    for part in (
        str(where), "required       signed publishers", "acme-prod    verified publishers",
        "acme/box", "signed by release@acme.example", "globex     verified   public",
        "signed by grace@globex.example", f"stated in {publisher_file}",
        f"{publisher_file}: serial 3, 1 rule, until {SOON}", "signed by alice@local on ",
        "acme-internal", "shipped with aperio", "days old", f"{SOON} (30 days left)",
        "audit pending",
    ):  # fmt: skip
        assert part in shown, part


def test_show_says_why_a_publisher_file_does_not_count(
    aperio: Aperio, publisher_file: Path
) -> None:
    publisher_file.write_text("{}")
    done = aperio("trust", "show", "--json")
    [shown] = done.data["publisher_files"]
    assert "signature of another file" in shown["problem"]
    assert (shown["serial"], shown["signer"]) == (None, None)
    assert done.data["publishers"] == []
    assert "nothing is admitted" in aperio("trust", "show").err


def test_publisher_file_that_does_not_count_stops_install_and_start(
    installed: Aperio, publisher_file: Path, hello_artifact: Path
) -> None:
    installed("plugin", "run", HELLO, "schema")
    publisher_file.write_text("{}")
    for words in (("run", HELLO, "schema"), ("install", hello_artifact)):
        installed.refuses("plugin", *words, code="publisher-file-invalid", status=3, noted=True)


def test_run_with_an_unchanged_publisher_file_imports_no_sigstore(
    installed: Aperio, publisher_file: Path
) -> None:
    assert publisher_file.exists()
    code = (
        "import sys; from aperio_cli.__main__ import main; status = main(sys.argv[1:]);"
        "print('sigstore' in sys.modules, status, file=sys.stderr)"
    )
    words = [sys.executable, "-c", code, "plugin", "run", HELLO, "schema", "--json"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{SDK}"}
    said = [
        subprocess.run(
            [*words, "--home", str(installed.home)],
            capture_output=True, text=True, timeout=60, check=True, env=environment,
        ).stderr.splitlines()[-1]
        for _ in range(2)
    ]  # fmt: skip
    assert said == ["True 0", "False 0"]


def test_show_says_what_the_site_states(aperio: Aperio, site: State) -> None:
    where = site(
        '[[publishers]]\nnamespace = "acme"\ndomain = "local"\nidentity = "bob@local"\n'
        '[policy]\nrequire = "verified"\n[policy.organizations]\nacme-prod = "signed"\n'
    )
    data = aperio("trust", "show", "--json").data
    [publisher] = data["publishers"]
    assert (publisher["namespace"], publisher["source"]) == ("acme", str(where))
    assert publisher["from_site"]
    assert data["site_config_file"] == str(where)
    assert data["required"]["from_site"]
    assert not data["required"]["unsigned_allowed"]
    assert "(site)" in aperio("trust", "show").out


def test_show_of_a_stranger_says_how_to_begin(stranger: Aperio) -> None:
    done = stranger("trust", "show")
    assert "nobody is trusted" in done.out
    assert "`aperio trust local init`" in done.err
    assert not stranger.home.exists()


def test_show_says_what_narrows_a_rule(aperio: Aperio) -> None:
    aperio(*ADD, "acme", *PERSON, "--yes")
    path = aperio.home / "managed.toml"
    narrowed = 'issuer = "https://accounts.acme.example"'
    more = "\nvalid_until = 2030-12-31\nrequire_provenance = true"
    path.write_text(path.read_text().replace(narrowed, narrowed + more))
    shown = aperio("trust", "show").out
    assert "  only until 2030-12-31T23:59:59Z\n  only with signed provenance\n" in shown
    assert max(map(len, shown.splitlines())) <= max(100, len(str(path)) + 60)


def test_show_names_a_build_by_what_its_certificate_has_to_say(aperio: Aperio) -> None:
    aperio(*ADD, "acme", "--from-bundle", artifact(aperio, github_identity()), "--yes")
    [shown] = [
        each
        for each in aperio("trust", "show", "--json").data["publishers"]
        if each["namespace"] == "acme"
    ]
    assert shown["shape"] == "build"
    assert shown["identity"] == f"{REPOSITORY}/{WORKFLOW}@refs/tags/v{{version}}"

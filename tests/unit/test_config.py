from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aperio_cli.config import Config, RegistryRule, add_publisher_rule, load_config
from aperio_cli.errors import ConfigurationInvalid, FolderNotPrivate
from aperio_cli.models.plugin_id import PluginId
from aperio_cli.models.publisher import LOCAL_ISSUER
from aperio_cli.paths import Paths
from tests.builders import rule, unchanged

if TYPE_CHECKING:
    from pathlib import Path

LOCAL = '[[publishers]]\nnamespace = "*"\ndomain = "local"\nidentity = "alice@local"\n'
ACME = '[[publishers]]\nnamespace = "acme"\ndomain = "local"\nidentity = "bob@local"\n'


def load(folder: Path, user: str = "", site: str = "") -> Config:
    paths = Paths(folder, folder / "config.toml", folder / "cache")
    paths.config_file.write_text(user)
    (folder / "site.toml").write_text(site)
    return load_config(paths, site_file=folder / "site.toml")


def test_load_config_says_nothing_without_files(tmp_path: Path) -> None:
    paths = Paths(tmp_path, tmp_path / "config.toml", tmp_path / "cache")
    config = load_config(paths, site_file=tmp_path / "site.toml")
    assert config == Config(file=tmp_path / "config.toml")


def test_load_config_reads_every_section(tmp_path: Path) -> None:
    text = (
        LOCAL
        + '[[registries]]\nurl = "/srv/registry"\n'
        + '[python]\ninterpreters = ["/opt/python3.11"]\n[sandbox]\nrequire = ["cpu", "memory"]\n'
    )
    config = load(tmp_path, text)
    assert [r.to_json() for r in config.policy.publishers] == [rule().to_json()]
    assert config.registries == (RegistryRule("/srv/registry"),)
    assert config.python_interpreters == ("/opt/python3.11",)
    assert config.sandbox_require == ("memory", "cpu")


def test_load_config_knows_the_issuer_of_the_local_domain(tmp_path: Path) -> None:
    assert load(tmp_path, LOCAL).policy.publishers[0].issuer == LOCAL_ISSUER


def test_load_config_keeps_an_issuer_that_is_stated(tmp_path: Path) -> None:
    stated = load(tmp_path, LOCAL + 'issuer = "https://example.org"\n')
    assert stated.policy.publishers[0].issuer == "https://example.org"


def test_load_config_takes_the_same_rule_twice(tmp_path: Path) -> None:
    assert len(load(tmp_path, LOCAL + LOCAL).policy.publishers) == 2


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("publishers = 3", "two brackets"),
        ("[publishers]\nnamespace = 'acme'", "two brackets"),
        ("[[publisher]]\nnamespace = 'acme'", "did you mean `publishers`"),
        (LOCAL + 'identify = "x"', "config.toml:5: unknown: identify; did you mean `identity`"),
        (LOCAL.replace('"alice@local"', '""'), "config.toml:4: expected text that is not blank"),
        (LOCAL.replace('"alice@local"', '"  "'), "not blank"),
        (LOCAL.replace('"alice@local"', "7"), "not blank"),
        (LOCAL.replace('"alice@local"', '"a\\u0007b"'), "not blank"),
        (LOCAL.replace('namespace = "*"\n', ""), "`namespace` is missing"),
        (LOCAL.replace('"*"', '"Acme"'), "expected a namespace or `*`"),
        (LOCAL.replace('"*"', '"../x"'), "expected a namespace or `*`"),
        (LOCAL.replace('"local"', '"public"'), "`issuer` is missing"),
        (LOCAL + 'issuer = ""', "not blank"),
        ("[[registries]]\nidentity = 'x'", "`url` is missing"),
        ("[[registries]]\nurl = '/x'\nidentity = ''", "not blank"),
        ("[[registries]]\nurl = './registry'", "starts with / or ~"),
        ("[python]\ninterpreters = 'python3'", "a list of texts"),
        ("[python]\ninterpreters = ['']", "a list of texts"),
        ("[python]\ninterpreter = []", "did you mean `interpreters`"),
        ("[sandbox]\nrequire = ['memmory']", "did you mean `memory`"),
        ("sandbox = []", "expected a table"),
        ("not toml", "Expected '='"),
        ("a = 1\na = 2", "Cannot overwrite"),
    ],
)
def test_load_config_refuses_and_names_what_is_wrong(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        load(tmp_path, text)
    assert named in caught.value.why
    assert str(tmp_path / "config.toml") in caught.value.what
    assert caught.value.exit_status == 2


def test_load_config_refuses_a_file_over_the_limit(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid, match="was not read"):
        load(tmp_path, "#" * (1024 * 1024 + 1))


def test_load_config_refuses_what_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationInvalid):
        load_config(Paths(tmp_path, tmp_path / "config.toml", tmp_path))


def test_load_config_refuses_a_folder_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "config.toml").mkdir()
    with pytest.raises(ConfigurationInvalid):
        load_config(Paths(tmp_path, tmp_path / "config.toml", tmp_path))


# ── the site's floor ──────────────────────────────────────────────────────────────────────────────


def test_site_rules_count_for_a_user_without_rules(tmp_path: Path) -> None:
    assert load(tmp_path, "", ACME).policy.publishers[0].identity == "bob@local"


def test_user_rule_counts_only_when_the_site_has_it_too(tmp_path: Path) -> None:
    kept = load(tmp_path, LOCAL + ACME, ACME).policy.publishers
    assert [each.namespace for each in kept] == ["acme"]


def test_user_rule_for_every_namespace_is_not_admitted_and_leaves_the_sites_own(
    tmp_path: Path,
) -> None:
    policy = load(tmp_path, LOCAL, ACME).policy
    assert [rule.namespace for rule in policy.publishers] == ["acme"]
    assert policy.rules_for(PluginId("globex", "box")) == ()


def test_user_rule_for_another_signer_than_the_sites_closes_the_namespace(tmp_path: Path) -> None:
    """Neither the user's signer nor the site's rule for every namespace opens it again."""
    site = ACME + ACME.replace('"acme"', '"*"').replace("bob@local", "carol@local")
    policy = load(tmp_path, ACME.replace("bob@local", "mallory@local"), site).policy
    assert policy.rules_for(PluginId("acme", "box")) == ()


def test_user_rule_for_every_namespace_does_not_displace_the_sites_own(tmp_path: Path) -> None:
    everyone = ACME.replace('"acme"', '"*"').replace("bob@local", "carol@local")
    policy = load(tmp_path, everyone, ACME + everyone).policy
    assert [rule.identity for rule in policy.rules_for(PluginId("acme", "box"))] == ["bob@local"]
    assert [rule.identity for rule in policy.rules_for(PluginId("globex", "x1"))] == ["carol@local"]


def test_site_without_publishers_leaves_the_user_free(tmp_path: Path) -> None:
    assert len(load(tmp_path, LOCAL, "[python]\ninterpreters = ['x']").policy.publishers) == 1


def test_sandbox_requirements_of_both_count(tmp_path: Path) -> None:
    config = load(tmp_path, "[sandbox]\nrequire = ['cpu']", "[sandbox]\nrequire = ['memory']")
    assert config.sandbox_require == ("memory", "cpu")


def test_site_registries_are_asked_first(tmp_path: Path) -> None:
    both = "[[registries]]\nurl = '/mine'\n[[registries]]\nurl = '/site'\n"
    config = load(tmp_path, both, "[[registries]]\nurl = '/site'\n")
    assert [each.url for each in config.registries] == ["/site", "/mine"]


# ── writing ───────────────────────────────────────────────────────────────────────────────────────


def test_add_publisher_rule_makes_a_private_file_that_loads(tmp_path: Path) -> None:
    path = tmp_path / "etc" / "config.toml"
    assert add_publisher_rule(path, rule())
    assert path.stat().st_mode & 0o777 == 0o600
    loaded = load_config(Paths(tmp_path, path, tmp_path), site_file=tmp_path / "none")
    assert [each.to_json() for each in loaded.policy.publishers] == [rule().to_json()]


def test_add_publisher_rule_keeps_every_byte_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    before = "# mine\n" + ACME + '[python]  # here\ninterpreters = ["x"]'
    path.write_text(before)
    assert add_publisher_rule(path, rule())
    assert path.read_text().startswith(before)
    loaded = load_config(Paths(tmp_path, path, tmp_path), site_file=tmp_path / "none")
    assert [each.namespace for each in loaded.policy.publishers] == ["acme", "*"]


def test_add_publisher_rule_leaves_the_file_alone_when_it_is_there(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(LOCAL)
    with unchanged(tmp_path):
        assert not add_publisher_rule(path, rule())


def test_add_publisher_rule_writes_text_that_cannot_end_its_string(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    hostile = 'a"\n[[publishers]]\nnamespace = "*\\'
    add_publisher_rule(path, rule(identity='a"b\\', domain="x", issuer="\\"))
    config = load_config(Paths(tmp_path, path, tmp_path), site_file=tmp_path / "none")
    assert config.policy.publishers[0].identity == 'a"b\\'
    assert rule(identity=hostile).to_toml().count("\n[[") == 0


def test_add_publisher_rule_refuses_a_damaged_file_and_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("not toml")
    with unchanged(tmp_path), pytest.raises(ConfigurationInvalid):
        add_publisher_rule(path, rule())


def test_add_publisher_rule_refuses_publishers_of_another_form(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("publishers = []\n")
    with unchanged(tmp_path), pytest.raises(ConfigurationInvalid, match="left as it is") as caught:
        add_publisher_rule(path, rule())
    assert 'identity = "alice@local"' in caught.value.why


def test_add_publisher_rule_writes_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "dotfiles").mkdir()
    (tmp_path / "config.toml").symlink_to(tmp_path / "dotfiles" / "aperio.toml")
    add_publisher_rule(tmp_path / "config.toml", rule())
    assert (tmp_path / "config.toml").is_symlink()
    assert "alice@local" in (tmp_path / "dotfiles" / "aperio.toml").read_text()


def test_add_publisher_rule_refuses_a_parent_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "home").symlink_to(tmp_path / "nowhere")
    with unchanged(tmp_path), pytest.raises((FolderNotPrivate, OSError)):
        add_publisher_rule(tmp_path / "home" / "config.toml", rule())

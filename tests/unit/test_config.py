"""Reading config.toml: what it states, and that everything wrong in it is refused by name."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from aperio_cli import clock
from aperio_cli.config import Config, DomainRule, RegistryRule, load_config
from aperio_cli.errors.files import PathShared
from aperio_cli.errors.usage import ConfigurationInvalid
from aperio_cli.host.lifecycle import Patience
from aperio_cli.models.plugin_id import PluginId
from aperio_cli.models.policy import PolicyException
from aperio_cli.models.publisher import LOCAL_ISSUER, CiIdentity, Demands
from aperio_cli.paths import Paths
from tests.builders import rule
from tests.rows import each_row

LOCAL = '[[publishers]]\nnamespace = "*"\ndomain = "local"\nidentity = "alice@local"\n'
PERSON = """
[[publishers]]
namespace = "acme"
domain = "public"
identity = "release@acme.example"
issuer = "https://accounts.acme.example"
"""
BUILD = """
[[publishers]]
namespace = "acme"
domain = "public"
ci = "github"
repository = "https://github.com/acme/box"
repository_id = "123456"
owner_id = 789
workflow = ".github/workflows/release.yml"
ref = "refs/tags/v{version}"
runner = "github-hosted"
"""
FILE = """
[[publisher_files]]
file = "/etc/aperio/publishers.json"
domain = "public"
identity = "security@acme.example"
issuer = "https://accounts.acme.example"
"""
DOMAIN = '\n[[domains]]\nname = "acme-internal"\nfile = "/etc/aperio/acme.json"\n'
TUF = '\n[[domains]]\nname = "x"\ntuf = "https://tuf.acme.example/"\ntuf_root = "/etc/root.json"\n'
SOON = (clock.now() + timedelta(days=30)).date().isoformat()
EXCEPTION = f"""
[[exceptions]]
plugin = "acme/box-connector"
rule = "unverified"
until = {SOON}
reason = "audit pending"
"""


def load(folder: Path, user: str = "", site: str = "") -> Config:
    paths = Paths(folder, folder / "config.toml", folder / "cache")
    paths.config_file.write_text(user)
    (folder / "site.toml").write_text(site)
    return load_config(paths, site_file=folder / "site.toml")


def without(text: str, key: str) -> str:
    return "".join(
        line for line in text.splitlines(keepends=True) if not line.startswith(f"{key} =")
    )


def but(text: str, key: str, value: str) -> str:
    """The text with another value for a key, which has to be there."""
    assert without(text, key) != text
    return without(text, key) + f"{key} = {value}\n"


def refusal(folder: Path, user: str, site: str = "") -> ConfigurationInvalid:
    with pytest.raises(ConfigurationInvalid) as caught:
        load(folder, user, site)
    assert caught.value.exit_status == 2
    return caught.value


# ── what it states ────────────────────────────────────────────────────────────────────────────────


def test_load_config_says_nothing_without_files(tmp_path: Path) -> None:
    paths = Paths(tmp_path, tmp_path / "config.toml", tmp_path / "cache")
    config = load_config(paths, site_file=tmp_path / "site.toml")
    managed = tmp_path / "managed.toml"
    assert config == Config(
        file=tmp_path / "config.toml", managed_file=managed, site_file=tmp_path / "site.toml"
    )


def test_load_config_reads_what_is_no_matter_of_trust(tmp_path: Path) -> None:
    text = (
        LOCAL
        + '[[registries]]\nurl = "/srv/registry"\n'
        + '[python]\ninterpreters = ["/opt/python3.11"]\n[sandbox]\nrequire = ["cpu", "memory"]\n'
        + "[host]\nmtls = true\nhandshake_timeout_s = 60\n"
    )
    config = load(tmp_path, text)
    assert [r.to_json() for r in config.policy.publishers] == [rule().to_json()]
    assert config.registries == (RegistryRule("/srv/registry"),)
    assert config.python_interpreters == ("/opt/python3.11",)
    assert config.sandbox_require == ("memory", "cpu")
    assert config.mtls
    assert Patience.stated(config.handshake_timeout_s) == Patience(handshake_s=60)


def test_handshake_may_take_what_the_user_says_else_the_site_else_as_usual(tmp_path: Path) -> None:
    stated = "[host]\nhandshake_timeout_s = "

    assert Patience.stated(load(tmp_path).handshake_timeout_s) == Patience()
    assert load(tmp_path, "", f"{stated}90").handshake_timeout_s == 90
    assert load(tmp_path, f"{stated}20", f"{stated}90").handshake_timeout_s == 20


def test_load_config_knows_the_issuer_of_the_local_domain(tmp_path: Path) -> None:
    assert load(tmp_path, LOCAL).policy.publishers[0].issuer == LOCAL_ISSUER


def test_load_config_keeps_an_issuer_that_is_stated(tmp_path: Path) -> None:
    stated = load(tmp_path, LOCAL + 'issuer = "https://example.org"\n')
    assert stated.policy.publishers[0].issuer == "https://example.org"


def test_load_config_takes_the_same_rule_twice(tmp_path: Path) -> None:
    assert len(load(tmp_path, LOCAL + LOCAL).policy.publishers) == 2


def test_load_config_reads_a_build_as_its_fields(tmp_path: Path) -> None:
    [found] = load(tmp_path, BUILD).policy.publishers
    assert found.ci == CiIdentity(
        service="github",
        repository="https://github.com/acme/box",
        repository_id="123456",
        owner_id="789",
        workflow=".github/workflows/release.yml",
        ref="refs/tags/v{version}",
        runner="github-hosted",
    )
    assert (found.identity, found.issuer) == ("", "https://token.actions.githubusercontent.com")


def test_load_config_reads_a_build_of_an_own_server_and_a_reusable_workflow(tmp_path: Path) -> None:
    signer = "https://git.acme.example/acme/ci/.github/workflows/sign.yml@refs/tags/v2"
    text = BUILD + f'issuer = "https://git.acme.example/oidc"\nsigner_workflow = "{signer}"\n'
    [found] = load(tmp_path, text).policy.publishers
    assert found.issuer == "https://git.acme.example/oidc"
    assert found.ci
    assert found.ci.signer_workflow == signer


def test_load_config_reads_what_narrows_a_rule(tmp_path: Path) -> None:
    text = PERSON + (
        'plugin = "box-connector"\ntier = "verified"\nvalid_from = 2026-01-01\n'
        "valid_until = 2027-01-01\nrequire_provenance = true\n"
        'builder = "https://builder.example/v1"\n'
        'source_repository = "https://github.com/acme/box"\n'
    )
    [found] = load(tmp_path, text).policy.publishers
    assert (found.plugin, found.tier) == ("box-connector", "verified")
    assert found.valid_from == "2026-01-01T00:00:00Z"
    assert found.valid_until == "2027-01-01T23:59:59Z"
    assert found.demands == Demands(
        provenance=True,
        builder="https://builder.example/v1",
        source_repository="https://github.com/acme/box",
    )


@each_row(
    ("stated", "expected"),
    [
        ("2026-03-01", "2026-03-01T00:00:00Z"),
        ('"2026-03-01"', "2026-03-01T00:00:00Z"),
        ("2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z"),
        ("2026-03-01T12:00:00+02:00", "2026-03-01T10:00:00Z"),
        ('"2026-03-01T00:30:00+01:00"', "2026-02-28T23:30:00Z"),
        ('"2026-03-01 12:00:00z"', "2026-03-01T12:00:00Z"),
    ],
)
def test_load_config_normalises_moments(tmp_path: Path, stated: str, expected: str) -> None:
    [found] = load(tmp_path, PERSON + f"valid_from = {stated}\n").policy.publishers
    assert found.valid_from == expected


@each_row(
    "stated",
    [
        "2026-03-01T12:00:00",
        "12:00:00",
        '"2026-03-01T12:00:00"',
        '"2026-W09-1"',
        '"20260301"',
        '"tomorrow"',
        '"2026-02-30"',
        '"9999-12-31T23:59:59-23:00"',
        "2026-03-01T12:00:00.5Z",
        "0001-01-01",
        "20260301",
        "true",
        '""',
        "[2026-03-01]",
    ],
)
def test_load_config_refuses_a_moment_that_could_be_misread(tmp_path: Path, stated: str) -> None:
    assert "expected a date" in refusal(tmp_path, PERSON + f"valid_until = {stated}\n").why


def test_load_config_reads_publisher_files_and_domains(tmp_path: Path) -> None:
    config = load(tmp_path, FILE + DOMAIN + TUF)
    [file] = config.publisher_files
    assert (file.path, file.name) == (Path("/etc/aperio/publishers.json"), "")
    assert file.rule.identity == "security@acme.example"
    source = str(tmp_path / "config.toml")
    assert config.domains == (
        DomainRule("acme-internal", Path("/etc/aperio/acme.json"), "", None, source),
        DomainRule("x", None, "https://tuf.acme.example/", Path("/etc/root.json"), source),
    )
    assert config.domain_names == ("public", "staging", "local", "acme-internal", "x")


def test_load_config_reads_the_name_of_a_publisher_file(tmp_path: Path) -> None:
    [file] = load(tmp_path, FILE + 'name = "core"\n').publisher_files
    assert file.name == "core"
    assert "expected text" in refusal(tmp_path, FILE + "name = ''\n").why


def test_load_config_reads_a_publisher_file_that_a_build_signs(tmp_path: Path) -> None:
    build = without(BUILD.replace("publishers", "publisher_files"), "namespace")
    text = but(build, "ref", '"refs/heads/main"') + 'file = "/etc/aperio/publishers.json"\n'
    [file] = load(tmp_path, text).publisher_files
    assert file.rule.ci
    assert file.rule.ci.ref == "refs/heads/main"


def test_load_config_reads_a_path_in_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    config = load(tmp_path, but(FILE, "file", '"~/publishers.json"'))
    assert config.publisher_files[0].path == Path("/home/ada/publishers.json")


def test_load_config_lets_a_rule_name_a_stated_domain(tmp_path: Path) -> None:
    text = but(PERSON, "domain", '"acme-internal"') + DOMAIN
    assert load(tmp_path, text).policy.publishers[0].domain == "acme-internal"


def test_load_config_reads_requirements_and_exceptions(tmp_path: Path) -> None:
    text = EXCEPTION + but(EXCEPTION, "plugin", '"acme/box-connector@1.2.3"')
    text += '[policy]\nrequire = "verified"\nrequire_provenance = true\n'
    text += '[policy.organizations]\nacme-prod = "verified"\n"acme test" = "signed"\n'
    policy = load(tmp_path, text).policy
    assert (policy.require, policy.require_provenance) == ("verified", True)
    assert policy.organizations == (("acme-prod", "verified"), ("acme test", "signed"))
    box = PluginId("acme", "box-connector")
    source = str(tmp_path / "config.toml")
    assert policy.exceptions == (
        PolicyException(box, "", "unverified", SOON, "audit pending", source),
        PolicyException(box, "1.2.3", "unverified", SOON, "audit pending", source),
    )
    assert policy.allow_unsigned


def test_load_config_takes_an_exception_that_has_ended(tmp_path: Path) -> None:
    config = load(tmp_path, but(EXCEPTION, "until", "2020-01-31"))
    assert config.policy.exceptions[0].until == "2020-01-31"


# ── what it refuses ───────────────────────────────────────────────────────────────────────────────


@each_row(
    ("text", "named"),
    [
        ("publishers = 3", "two brackets"),
        ("[publishers]\nnamespace = 'acme'", "two brackets"),
        ("publishers = [3]", "two brackets"),
        ("[[publisher]]\nnamespace = 'acme'", "did you mean `publishers`"),
        (LOCAL + 'identify = "x"', "config.toml:5: unknown: identify; did you mean `identity`"),
        (LOCAL.replace('"alice@local"', '""'), "config.toml:4: expected text that is not blank"),
        (LOCAL.replace('"alice@local"', '"  "'), "not blank"),
        (LOCAL.replace('"alice@local"', "7"), "not blank"),
        (LOCAL.replace('"alice@local"', '"a\\u0007b"'), "printable characters"),
        (LOCAL.replace('namespace = "*"\n', ""), "config.toml:1: `namespace` is missing"),
        (LOCAL.replace('"*"', '"Acme"'), "expected a namespace or `*`"),
        (LOCAL.replace('"*"', '"../x"'), "expected a namespace or `*`"),
        (LOCAL.replace('"*"', '"acme*"'), "expected a namespace or `*`"),
        (LOCAL.replace('"local"', '"public"'), "`issuer` is missing"),
        (LOCAL + 'issuer = ""', "not blank"),
        ("[[registries]]\nidentity = 'x'", "`url` is missing"),
        ("[[registries]]\nurl = '/x'\nidentity = 'x'", "`domain` is missing"),
        ("[[registries]]\nurl = '/x'\ndomain = 'local'\nidentity = ''", "not blank"),
        ("[[registries]]\nurl = '/x'\ndomain = 'mars'\nidentity = 'x'", "no trust domain"),
        ("[[registries]]\nurl = '/x'\nname = 'x'", "`domain` is missing"),
        ("[[registries]]\nurl = '/x'\nnamespaces = ['Acme']", "expected namespaces"),
        ("[[registries]]\nurl = '/x'\nnamespaces = 'acme'", "a list of texts"),
        ("[[registries]]\nurl = 'elsewhere'", "starts with / or ~"),
        ("[policy]\ncool_down_days = -1", "from 0 to 365"),
        ("[policy]\ncool_down_days = 366", "from 0 to 365"),
        ("[policy]\ncool_down_days = '3'", "from 0 to 365"),
        ("[[registries]]\nurl = './registry'", "starts with / or ~"),
        ("[python]\ninterpreters = 'python3'", "a list of texts"),
        ("[python]\ninterpreters = ['']", "a list of texts"),
        ("[python]\ninterpreter = []", "did you mean `interpreters`"),
        ("[sandbox]\nrequire = ['memmory']", "did you mean `memory`"),
        ("sandbox = []", "expected a table"),
        ("[sandbox]\nplugins = 1", "expected a table `[sandbox.plugins]`"),
        ('[sandbox.plugins."acme/box"]\negress = "open"', "unknown: open; known: enforce, report"),
        ('[sandbox.plugins."acme/box"]\n', "`egress` is missing"),
        ('[sandbox.plugins."acme/box@1.0.0"]\negress = "report"', "namespace/name"),
        ("[host]\nhandshake_timeout_s = 0", "from 1 to 600"),
        ("[host]\nhandshake_timeout_s = '60'", "from 1 to 600"),
        ("[host]\nmtls = 'yes'", "config.toml:2: expected true or false"),
        ("not toml", "Expected '='"),
        ("a = 1\na = 2", "Cannot overwrite"),
    ],
)
def test_load_config_refuses_and_names_what_is_wrong(tmp_path: Path, text: str, named: str) -> None:
    error = refusal(tmp_path, text)
    assert named in error.why
    assert str(tmp_path / "config.toml") in error.what


BLANK = "not blank"


@each_row(
    ("text", "named"),
    [
        (but(PERSON, "domain", '"publik"'), "no trust domain of that name"),
        (but(PERSON, "domain", '"publik"'), "did you mean `public`"),
        (but(PERSON, "domain", '"acme-internal"'), "no trust domain of that name"),
        (but(PERSON, "issuer", '"accounts.acme.example"'), "https://"),
        (but(PERSON, "issuer", '"http://accounts.acme.example"'), "expected https://"),
        (but(PERSON, "issuer", '"https://u:p@acme.example"'), "without user"),
        (but(PERSON, "issuer", '"https://acme.example/?x"'), "without user, query"),
        (but(PERSON, "issuer", '"https://acme.example/#x"'), "and fragment"),
        (but(PERSON, "issuer", '"https://acme.example:port"'), "https://"),
        (but(PERSON, "issuer", '"https:///path"'), "https://"),
        (but(PERSON, "issuer", '"https://acme.example/a b"'), "https://"),
        (but(PERSON, "issuer", '"https://127.0.0.1.acme.example\\\\@x"'), "https://"),
        (but(PERSON, "issuer", '"http://127.0.0.1.acme.example"'), "expected https://"),
        (but(PERSON, "issuer", '"http://0x7f.1"'), "expected https://"),
        (but(PERSON, "issuer", '"file:///etc/passwd"'), "https://"),
        (without(PERSON, "issuer"), "`issuer` is missing"),
        (without(PERSON, "identity"), "`identity` is missing"),
        (without(PERSON, "domain"), "`domain` is missing"),
        (PERSON + 'plugin = "acme/box"', "without its namespace"),
        (PERSON + 'plugin = ""', BLANK),
        (but(PERSON, "namespace", '"*"') + 'plugin = "box"', "needs its namespace"),
        (PERSON + 'tier = "trusted"', "unknown: trusted"),
        (PERSON + 'tier = "verifid"', "did you mean `verified`"),
        (but(PERSON, "namespace", '"*"') + 'tier = "verified"', "nobody knows who signs"),
        (but(PERSON, "domain", '"local"') + 'tier = "official"', "verifies nobody"),
        (PERSON + "valid_from = 2027-01-02\nvalid_until = 2027-01-01", "before `valid_from`"),
        (PERSON + 'require_provenance = "yes"', "expected true or false"),
        (PERSON + 'builder = "builder"', "https://"),
        (PERSON + 'builder = ""', BLANK),
        (PERSON + 'source_repository = "https://github.com/"', "address of a repository"),
        (PERSON + 'Identity = "x"', "did you mean `identity`"),
    ],
)
def test_load_config_refuses_a_bad_publisher(tmp_path: Path, text: str, named: str) -> None:
    error = refusal(tmp_path, text)
    assert named in error.why
    assert "publishers." in error.what


def test_load_config_takes_an_issuer_on_this_machine(tmp_path: Path) -> None:
    text = but(PERSON, "issuer", '"http://127.0.0.1:8888"')
    assert load(tmp_path, text).policy.publishers[0].issuer == "http://127.0.0.1:8888"


@each_row(
    ("text", "named"),
    [
        (BUILD + 'identity = "ada@acme.example"', "`ci` or `identity`, not both"),
        (
            but(PERSON, "issuer", '"https://token.actions.githubusercontent.com"'),
            "builds, which are named by `ci`",
        ),
        (but(BUILD, "ci", '"jenkins"'), "unknown: jenkins"),
        (without(BUILD, "ci"), "`repository` goes with `ci`"),
        (PERSON + 'signer_workflow = "x"', "goes with `ci`"),
        (PERSON + 'runner = "self-hosted"', "goes with `ci`"),
        (without(BUILD, "repository"), "`repository` is missing"),
        (without(BUILD, "repository_id"), "`repository_id` is missing"),
        (without(BUILD, "owner_id"), "`owner_id` is missing"),
        (without(BUILD, "workflow"), "`workflow` is missing"),
        (without(BUILD, "ref"), "`ref` is missing"),
        (without(BUILD, "runner"), "`runner` is missing"),
        (but(BUILD, "repository", '"github.com/acme/box"'), "https://"),
        (but(BUILD, "repository", '"https://github.com/acme/box/"'), "without / at its end"),
        (but(BUILD, "repository", '"https://github.com"'), "address of a repository"),
        (but(BUILD, "repository_id", '""'), "as digits"),
        (but(BUILD, "repository_id", "0"), "as digits"),
        (but(BUILD, "repository_id", "-5"), "as digits"),
        (but(BUILD, "repository_id", "1.5"), "as digits"),
        (but(BUILD, "repository_id", "true"), "as digits"),
        (but(BUILD, "repository_id", '"0x10"'), "as digits"),
        (but(BUILD, "repository_id", '"012"'), "as digits"),
        (but(BUILD, "repository_id", '"\\u0661\\u0662"'), "as digits"),
        (but(BUILD, "owner_id", '"acme"'), "as digits"),
        (but(BUILD, "owner_id", "[1]"), "as digits"),
        (but(BUILD, "workflow", '"/release.yml"'), "a path in the repository"),
        (but(BUILD, "workflow", '"../release.yml"'), "a path in the repository"),
        (but(BUILD, "workflow", '".github/./release.yml"'), "a path in the repository"),
        (but(BUILD, "workflow", '".github//release.yml"'), "a path in the repository"),
        (but(BUILD, "workflow", "'.github\\release.yml'"), "a path in the repository"),
        (but(BUILD, "workflow", '"release.yml@refs/heads/main"'), "a path in the repository"),
        (but(BUILD, "ref", '"refs/heads/main"'), "one {version}"),
        (but(BUILD, "ref", '"refs/tags/{version}-{version}"'), "one {version}"),
        (but(BUILD, "ref", '"refs/tags/v{Version}"'), "one {version}"),
        (but(BUILD, "ref", '"v{version}"'), "a whole ref"),
        (but(BUILD, "ref", '"refs/tags/{{version}}"'), "a whole ref"),
        (but(BUILD, "ref", '"refs/tags/v {version}"'), "a whole ref"),
        (but(BUILD, "runner", '"*"'), "unknown: *"),
        (but(BUILD, "runner", '"gitlab-hosted"'), "did you mean `github-hosted`"),
        (BUILD + 'signer_workflow = "https://github.com/acme/ci/sign.yml"', "@ and its whole ref"),
        (BUILD + 'signer_workflow = "https://github.com/acme/ci/s.yml@v1"', "@ and its whole ref"),
        (BUILD + 'signer_workflow = "https://github.com/a/s@refs/tags/{version}"', "@ and its"),
    ],
)
def test_load_config_refuses_a_bad_build(tmp_path: Path, text: str, named: str) -> None:
    error = refusal(tmp_path, text)
    assert named in error.why
    assert "publishers." in error.what


def test_load_config_names_the_line_in_the_right_one_of_several_tables(tmp_path: Path) -> None:
    error = refusal(tmp_path, PERSON + BUILD + but(PERSON, "identity", '""'))
    assert error.why.startswith(f"{tmp_path / 'config.toml'}:23: ")
    assert error.what.endswith("`publishers.identity`")


def test_load_config_names_the_header_when_a_key_is_missing(tmp_path: Path) -> None:
    error = refusal(tmp_path, PERSON + without(PERSON, "domain"))
    assert ":8: `domain` is missing" in error.why


def test_load_config_names_no_other_tables_line_for_inline_tables(tmp_path: Path) -> None:
    error = refusal(tmp_path, 'publishers = [{namespace = "acme"}]\n')
    assert "`domain` is missing" in error.why


@each_row(
    ("text", "named"),
    [
        (without(FILE, "file"), "`file` is missing"),
        (but(FILE, "file", '"publishers.json"'), "starts with /"),
        (but(FILE, "file", '"./publishers.json"'), "starts with /"),
        (but(FILE, "file", '"~root/publishers.json"'), "starts with /"),
        (but(FILE, "file", '"https://acme.example/p.json"'), "starts with /"),
        (but(FILE, "file", "3"), BLANK),
        (FILE + 'namespace = "acme"', "unknown: namespace"),
        (FILE + 'tier = "verified"', "unknown: tier"),
        (but(FILE, "domain", '"acme"'), "no trust domain"),
        (without(FILE, "identity"), "`identity` is missing"),
        (but(FILE, "issuer", '"https://gitlab.com"'), "builds, which are named by `ci`"),
        (FILE + 'ci = "github"', "not both"),
        (
            without(BUILD.replace("publishers", "publisher_files"), "namespace")
            + 'file = "/etc/p.json"',
            "no version that {version} could stand for",
        ),
    ],
)
def test_load_config_refuses_a_bad_publisher_file(tmp_path: Path, text: str, named: str) -> None:
    assert named in refusal(tmp_path, text).why


@each_row(
    ("text", "named"),
    [
        (but(DOMAIN, "name", '"public"'), "none of public, staging, local"),
        (but(DOMAIN, "name", '"staging"'), "none of public, staging, local"),
        (but(DOMAIN, "name", '"local"'), "none of public, staging, local"),
        (but(DOMAIN, "name", '"Acme"'), "a-z, 0-9 and -"),
        (but(DOMAIN, "name", '"../acme"'), "a-z, 0-9 and -"),
        (but(DOMAIN, "name", f'"{"a" * 41}"'), "at most 40"),
        (but(DOMAIN, "name", '""'), BLANK),
        (without(DOMAIN, "name"), "`name` is missing"),
        (without(DOMAIN, "file"), "one of the two"),
        (DOMAIN + 'tuf = "https://tuf.acme.example"', "one of the two"),
        (DOMAIN + 'tuf_root = "/etc/root.json"', "go together"),
        (without(TUF, "tuf_root"), "go together"),
        (without(TUF, "tuf"), "one of the two"),
        (but(TUF, "tuf", '"http://tuf.acme.example/"'), "expected https://"),
        (but(TUF, "tuf", '"ftp://tuf.acme.example/"'), "expected https://"),
        (but(TUF, "tuf_root", '"root.json"'), "starts with /"),
        (but(DOMAIN, "file", '"acme.json"'), "starts with /"),
        (DOMAIN + DOMAIN, "another domain of that name"),
        (DOMAIN + 'url = "x"', "unknown: url"),
    ],
)
def test_load_config_refuses_a_bad_domain(tmp_path: Path, text: str, named: str) -> None:
    assert named in refusal(tmp_path, text).why


@each_row(
    ("text", "named"),
    [
        ('[policy]\nrequire = "official"', "unknown: official; known: signed, verified"),
        ('[policy]\nrequire = "verifed"', "did you mean `verified`"),
        ('[policy]\nrequire = "unsigned"', "did you mean `signed`"),
        ('[policy]\nrequire = ""', BLANK),
        ("[policy]\nrequire = false", BLANK),
        ('[policy]\nrequired = "verified"', "did you mean `require`"),
        ("[policy]\nrequire_provenance = 1", "expected true or false"),
        ("policy = 3", "expected a table `[policy]`"),
        ('[policy]\norganizations = ["acme"]', "expected a table `[policy.organizations]`"),
        ('[policy.organizations]\nacme = "none"', "config.toml:2: unknown: none"),
        ("[policy.organizations]\nacme = true", BLANK),
        ('[policy.organizations]\n"" = "signed"', "it is blank"),
        ('[policy.organizations]\n" " = "signed"', "it is blank"),
        (f'[policy.organizations]\n{"a" * 201} = "signed"', "at most 200"),
        ("allow_unsigned = true", "unknown: allow_unsigned"),
        ("[policy]\nallow_unsigned = true", "unknown: allow_unsigned"),
    ],
)
def test_load_config_refuses_a_bad_policy(tmp_path: Path, text: str, named: str) -> None:
    assert named in refusal(tmp_path, text).why


FAR = (clock.now() + timedelta(days=368)).date().isoformat()


@each_row(
    ("text", "named"),
    [
        (without(EXCEPTION, "plugin"), "`plugin` is missing"),
        (but(EXCEPTION, "plugin", '"acme"'), "is not a plugin id"),
        (but(EXCEPTION, "plugin", '"*"'), "is not a plugin id"),
        (but(EXCEPTION, "plugin", '"acme/*"'), "is not a plugin id"),
        (but(EXCEPTION, "plugin", '"acme/box@latest"'), "is not a version"),
        (but(EXCEPTION, "plugin", '"acme/box@"'), "is not a version"),
        (but(EXCEPTION, "rule", '"all"'), "unknown: all"),
        (but(EXCEPTION, "rule", '"limit:memry"'), "did you mean `limit:memory`"),
        (but(EXCEPTION, "rule", '"limit:"'), "unknown: limit:"),
        (without(EXCEPTION, "rule"), "`rule` is missing"),
        (without(EXCEPTION, "until"), "expected a date such as"),
        (but(EXCEPTION, "until", '"never"'), "expected a date such as"),
        (but(EXCEPTION, "until", "2026-12-31T00:00:00Z"), "expected a date such as"),
        (but(EXCEPTION, "until", "9999-12-31"), "within a year"),
        (but(EXCEPTION, "until", FAR), "within a year"),
        (without(EXCEPTION, "reason"), "`reason` is missing"),
        (but(EXCEPTION, "reason", '" "'), BLANK),
        (but(EXCEPTION, "reason", '"a\\nb"'), "printable characters"),
        (but(EXCEPTION, "reason", f'"{"x" * 501}"'), "at most 500"),
        (EXCEPTION + 'version = "1.0.0"', "unknown: version"),
    ],
)
def test_load_config_refuses_a_bad_exception(tmp_path: Path, text: str, named: str) -> None:
    error = refusal(tmp_path, text)
    assert named in error.why
    assert "exceptions." in error.what


# ── files that are no configuration ───────────────────────────────────────────────────────────────


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


def test_load_config_refuses_a_file_that_everybody_may_change(tmp_path: Path) -> None:
    load(tmp_path, LOCAL)
    (tmp_path / "config.toml").chmod(0o666)
    with pytest.raises(PathShared, match="somebody else may change it"):
        load_config(Paths(tmp_path, tmp_path / "config.toml", tmp_path))


@pytest.mark.parametrize("depth", [50_000])
def test_load_config_refuses_nesting_without_end(tmp_path: Path, depth: int) -> None:
    error = refusal(tmp_path, f"a = {'[' * depth}{']' * depth}")
    assert "was not read" in error.what


# ── the site's file ───────────────────────────────────────────────────────────────────────────────


@each_row(
    "text",
    [but(FILE, "file", '"~/p.json"'), but(DOMAIN, "file", '"~/root.json"'),
     but(TUF, "tuf_root", '"~/root.json"')],
    ids=["publisher file", "root", "first TUF root"],
)  # fmt: skip
def test_load_config_refuses_a_site_that_leaves_a_path_to_each_user(
    tmp_path: Path, text: str
) -> None:
    """What `~` means is up to the user, who could put a root of his own there."""
    error = refusal(tmp_path, "", text)
    assert error.why.endswith("expected a path that starts with /")
    assert str(tmp_path / "site.toml") in error.what


def test_load_config_lets_a_users_rule_name_a_domain_of_the_site(tmp_path: Path) -> None:
    text = but(PERSON, "domain", '"acme-internal"')
    assert load(tmp_path, text, DOMAIN).policy.publishers[0].domain == "acme-internal"


def test_load_config_refuses_a_site_that_names_a_domain_of_the_user(tmp_path: Path) -> None:
    """Otherwise the user would say which root stands behind the site's rule."""
    error = refusal(tmp_path, DOMAIN, but(PERSON, "domain", '"acme-internal"'))
    assert "no trust domain of that name" in error.why

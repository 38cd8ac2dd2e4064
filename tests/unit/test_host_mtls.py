"""AutoMTLS in the handshake, in the environment and in the configuration."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from aperio_cli.config import load_config
from aperio_cli.errors.installing import ProtocolIncompatible
from aperio_cli.errors.running import HandshakeMalformed
from aperio_cli.errors.usage import ConfigurationInvalid
from aperio_cli.host.process.surroundings import build_environment
from aperio_cli.host.wire.handshake import Dialect, parse
from aperio_cli.paths import Paths
from tests.rows import each_row

FOLDER = "/run/user/1000/aperio-x/plugin"
CERTIFICATE = bytes(range(256)) * 2
FIELD = base64.b64encode(CERTIFICATE).rstrip(b"=")
OTHERS = Dialect(("OTHER_COOKIE", "open sesame"), (5, 6))


def line(field: bytes, version: bytes = b"1") -> bytes:
    return b"1|%s|unix|%s/s|grpc|%s\n" % (version, FOLDER.encode(), field)


def test_a_certificate_without_padding_is_read() -> None:
    assert b"=" not in FIELD
    assert len(FIELD) % 4 != 0

    found = parse(line(FIELD), folder=FOLDER, subject="it", mtls=True)

    assert found.certificate == CERTIFICATE


@each_row(
    ("field", "why"),
    [
        (b"", "it gave no certificate"),
        (b"A" * 50, "it gave no certificate"),
        (b"*" * 800, "error parsing server cert"),
        (b"A" * 801, "error parsing server cert"),
        (b"A" * 400 + b"\\n" + b"A" * 400, "error parsing server cert"),
    ],
)
def test_what_is_no_certificate_is_refused(field: bytes, why: str) -> None:
    with pytest.raises(HandshakeMalformed) as caught:
        parse(line(field), folder=FOLDER, subject="it", mtls=True)

    assert why in caught.value.why


def test_a_certificate_that_nobody_asked_for_is_refused() -> None:
    with pytest.raises(HandshakeMalformed, match="cannot be understood") as caught:
        parse(line(FIELD), folder=FOLDER, subject="it")

    assert "did not ask for" in caught.value.why


@pytest.mark.parametrize("version", [b"5", b"6"])
def test_a_version_of_another_dialect_is_accepted(version: bytes) -> None:
    found = parse(line(b"", version), folder=FOLDER, subject="it", dialect=OTHERS)

    assert found.version == int(version)


def test_a_version_that_no_side_shares_names_all_of_the_hosts() -> None:
    with pytest.raises(ProtocolIncompatible) as caught:
        parse(line(b"", b"1"), folder=FOLDER, subject="it", dialect=OTHERS)

    assert "Plugin version: 1, Client versions: [5 6]" in caught.value.why


def test_the_environment_has_a_certificate_only_when_there_is_one() -> None:
    plain = build_environment(Path(FOLDER))
    secure = build_environment(Path(FOLDER), "", "-----BEGIN", OTHERS)

    assert "PLUGIN_CLIENT_CERT" not in plain
    assert secure["PLUGIN_CLIENT_CERT"] == "-----BEGIN"
    assert (secure["OTHER_COOKIE"], secure["PLUGIN_PROTOCOL_VERSIONS"]) == ("open sesame", "5,6")
    assert "APERIO_PLUGIN_MAGIC_COOKIE" not in secure


DEMANDED = "[host]\nmtls = true\n"


@each_row(
    ("user", "site", "demanded"),
    [
        ("", "", False),
        (DEMANDED, "", True),
        ("", DEMANDED, True),
        ("[host]\nmtls = false\n", DEMANDED, True),
        ("[host]\n", "", False),
    ],
)
def test_policy_demands_mtls_and_a_user_cannot_lower_the_sites(
    tmp_path: Path, user: str, site: str, *, demanded: bool
) -> None:
    paths = Paths(tmp_path, tmp_path / "config.toml", tmp_path / "cache")
    paths.config_file.write_text(user)
    (tmp_path / "site.toml").write_text(site)

    assert load_config(paths, site_file=tmp_path / "site.toml").mtls is demanded


@each_row("text", ['[host]\nmtls = "yes"\n', "[host]\nmtls = 1\n", "[host]\ntls = true\n"])
def test_a_value_that_is_no_flag_is_refused_with_its_line(tmp_path: Path, text: str) -> None:
    paths = Paths(tmp_path, tmp_path / "config.toml", tmp_path / "cache")
    paths.config_file.write_text(text)

    with pytest.raises(ConfigurationInvalid) as caught:
        load_config(paths, site_file=tmp_path / "none.toml")

    assert "config.toml:2" in caught.value.why

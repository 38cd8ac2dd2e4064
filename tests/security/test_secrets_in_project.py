"""Credentials in a project's folder stop the build before anything is downloaded or written.

The made-up secrets are put together here, so that this file does not look like one itself.
"""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from aperio_cli.building import BuildRequest, build, load_project
from aperio_cli.building.contents import project_files
from aperio_cli.building.secret_files import PYPIRC, RULES, refuse_secrets
from aperio_cli.errors import REFUSED
from aperio_cli.errors.building import SecretInProject, SecretScanTooLong
from tests.projects import HERE, NO_INDEX, make_project, snapshot, write

if TYPE_CHECKING:
    from pathlib import Path

    from aperio_cli.building.secret_files import Rule

KEY_HEADER = "-----BEGIN " + "PRIVATE KEY-----"
BODY = "Zm9vYmFyYmF6cXV4" * 4

BY_NAME = [
    ".env", ".env.production", "prod.env", ".ENV", ".netrc", ".git-credentials", ".htpasswd",
    "id_rsa", "id_ed25519", "keys/id_ecdsa", "store.p12", "store.pfx", "store.jks",
]  # fmt: skip
BY_CONTENTS = {
    "key.pem": f"{KEY_HEADER}\n{BODY}\n",
    "server.key": "-----BEGIN RSA " + f"PRIVATE KEY-----\n{BODY}\n",
    "notes.txt": "-----BEGIN OPENSSH " + f"PRIVATE KEY-----\n{BODY}\n",
    "armored.asc": "-----BEGIN PGP " + f"PRIVATE KEY BLOCK-----\n{BODY}\n",
    "jwk.json": '{"kty": "EC", "crv": "P-256", "d": "' + BODY + '"}',
    "aws.py": "KEY = '" + "AKIA" + "Q3EGRZ7W5KX2MN4P'",
    "session.py": "KEY = '" + "ASIA" + "Q3EGRZ7W5KX2MN4P'",
    "github.py": "TOKEN = '" + "ghp_" + BODY[:36] + "'",
    "fine.py": "TOKEN = '" + "github_pat_" + BODY[:60] + "'",
    "gitlab.py": "TOKEN = '" + "glpat-" + BODY[:20] + "'",
    "slack.py": "TOKEN = '" + "xoxb-" + "123456789012-abcdefghijkl'",
    "stripe.py": "KEY = '" + "sk_live_" + BODY[:24] + "'",
    ".npmrc": "//index.invalid/:_auth" + f"Token={BODY[:36]}",
    ".pypirc": "[pypi]\nusername = ada\npass" + "word = made-up\n",
    "index.cfg": "token = " + "pypi-AgE" + BODY,
    "google.json": '{"type": "service_account", "private_key_id": "' + BODY[:40] + '"}',
    "jwt.txt": ".".join(["eyJ" + BODY[:20], "eyJ" + BODY[:30], BODY[:43]]),
    "box/data/nested.json": '{"note": "' + KEY_HEADER + '"}',
}
HARMLESS = {
    ".env.example": "API_KEY=\n",
    "documented.py": "KEY = '" + "AKIA" + "IOSFODNN7EXAMPLE'",
    "public.pem": "-----BEGIN CERTIFICATE-----\n" + BODY,
    "public.json": '{"kty": "EC", "crv": "P-256", "x": "' + BODY + '"}',
    ".npmrc": "//index.invalid/:_auth" + "Token=${TOKEN}",
    "words.md": "A private key never goes into a project; ghp_ begins a token.",
    ".pypirc": "[pypi]\nusername = ada\n",
    "environment.py": "import os\nKEY = os.environ['KEY']\n",
}


def refused(project: Path, out: Path) -> SecretInProject:
    request = BuildRequest(load_project(project), (HERE,), out, environment=NO_INDEX)
    before = snapshot(project)
    with pytest.raises(SecretInProject) as caught:
        build(request)
    assert snapshot(project) == before
    assert not out.exists()
    return caught.value


@pytest.mark.parametrize("name", BY_NAME)
def test_build_refuses_a_file_with_the_name_of_a_secret(tmp_path: Path, name: str) -> None:
    project = make_project(tmp_path / "project")
    write(project, name, "made-up-secret")
    error = refused(project, tmp_path / "out")
    assert (error.code, error.exit_status) == ("secret-in-project", REFUSED)
    assert error.why.startswith(f"{name}  has the name of ")
    assert "made-up-secret" not in str(error.to_json())


@pytest.mark.parametrize("name", BY_CONTENTS)
def test_build_refuses_a_file_that_contains_a_secret(tmp_path: Path, name: str) -> None:
    project = make_project(tmp_path / "project")
    write(project, name, f"first line\n{BY_CONTENTS[name]}\n")
    error = refused(project, tmp_path / "out")
    assert error.why.startswith(f"{name}  contains ")
    assert BODY[:16] not in str(error.to_json())
    assert "Q3EGRZ7W5KX2MN4P" not in str(error.to_json())


@pytest.mark.parametrize("name", HARMLESS)
def test_build_takes_a_file_that_only_resembles_one(tmp_path: Path, name: str) -> None:
    project = make_project(tmp_path / "project")
    write(project, name, HARMLESS[name])
    request = BuildRequest(load_project(project), (HERE,), tmp_path / "out", environment=NO_INDEX)
    assert build(request)[0].path.is_file()


def test_build_names_every_file_but_never_a_secret(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    for name in ("aws.py", "slack.py"):
        write(project, name, BY_CONTENTS[name])
    lines = refused(project, tmp_path / "out").why.splitlines()
    assert lines == [
        "aws.py  contains an AWS access key id, line 1",
        "slack.py  contains a Slack token, line 1",
    ]


def test_build_names_every_line_of_a_file(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    aws = BY_CONTENTS["aws.py"]
    write(project, "keys.txt", f"\n{aws} {aws}\n\n{BY_CONTENTS['slack.py']}\n{aws}")
    assert refused(project, tmp_path / "out").why.splitlines() == [
        "keys.txt  contains an AWS access key id, line 2",
        "keys.txt  contains an AWS access key id, line 5",
        "keys.txt  contains a Slack token, line 4",
    ]


def test_build_names_at_most_twenty_files(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    for number in range(25):
        write(project, f"{number:02}.env", "")
    lines = refused(project, tmp_path / "out").why.splitlines()
    assert (len(lines), lines[-1]) == (21, "and 5 more")


def test_build_finds_a_secret_behind_bytes_that_are_no_text(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    (project / "data.bin").write_bytes(b"\xff\x00" * 300_000 + KEY_HEADER.encode())
    assert "data.bin" in refused(project, tmp_path / "out").why


def test_build_shows_no_control_characters_of_a_name(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    write(project, "a\x1b[2J\n.env", "")
    assert "\x1b" not in refused(project, tmp_path / "out").why


def test_build_lets_tests_have_made_up_secrets(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    write(project, "test_box.py", BY_CONTENTS["aws.py"])
    write(project, "tests/cert.pem", BY_CONTENTS["key.pem"])
    request = BuildRequest(load_project(project), (HERE,), tmp_path / "out", environment=NO_INDEX)
    assert build(request)[0].path.is_file()


# ── files that were made to keep the scan busy ────────────────────────────────────────────────────

WORST = {
    "a private key in PEM form": ["-----BEGIN ", "-----BEGIN A", "A ", "-----BEGIN PRIVATE KEY "],
    "a private JSON Web Key": ['"kty":"EC" "d" ', '"d"', '"d":"A', " ", '"kty" '],
    "a signed JSON Web Token": [
        "-eyJ",
        "eyJ",
        "eyJeyJeyJeyJeyJeyJ.",
        ".eyJ",
        "-eyJ-----------------",
    ],
    "an AWS access key id": ["AKIA", "AKIA ", "AKIA000000000EXAMPL"],
    "a GitHub token": ["ghp_", "github_pat_", "ghp_0000000000000000000000000000000000 "],
    "a GitLab token": ["glpat-", "glpat-0000000000000000000 "],
    "a Slack token": ["xoxb-", "xoxb-0000000000000000000 "],
    "a Stripe key": ["sk_live_", "sk_live_00000000000000000000000 "],
    "an npm token": ["npm_", ":_authToken ", ":_authToken", " "],
    "a Python index token": ["pypi-AgE", "pypi-AgE "],
    "a Google service account": ['"type":"service_account" "private_key" ', '"private_key"', " "],
    "a password for a Python index": ["\n", "\r\n", " ", "password", "\n password"],
}
"""For each rule what, repeated, makes it begin most often and give up as late as it can."""

SCAN = """
import sys
from aperio_cli.building.secret_files import PYPIRC, RULES
for rule in (*RULES, PYPIRC):
    for text in eval(sys.argv[1])[rule.words]:
        for sign in rule.signs:
            list(rule.lines(sign + b" " + text.encode() * (1_000_000 // len(text))))
print("looked through")
"""


def test_every_rule_looks_through_its_worst_file() -> None:
    """A rule that took the square of a file's length would need minutes for this megabyte."""
    command = [sys.executable, "-c", SCAN, repr(WORST)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout == "looked through\n"


@pytest.mark.parametrize("rule", [*RULES, PYPIRC], ids=lambda rule: rule.words)
def test_every_repeat_in_a_rule_has_a_bound(rule: Rule) -> None:
    assert WORST[rule.words]
    for pattern in rule.patterns:
        plain = re.sub(rb"\\.|\[[^]]*\]", b"x", pattern.pattern)  # no class, no escape
        assert not re.search(rb"[*+](?!\+)|\{\d*,\}", re.sub(rb"(\})\+", rb"\1", plain))


def test_a_scan_that_takes_too_long_refuses(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    files = project_files(project)
    refuse_secrets(project, files)
    with pytest.raises(SecretScanTooLong, match="could not be looked through") as caught:
        refuse_secrets(project, files, deadline_s=-1)
    assert (caught.value.code, caught.value.exit_status) == ("secret-scan-too-long", REFUSED)
    assert "LICENSE" in caught.value.why


def test_build_takes_a_file_that_resembles_secrets_all_over(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    write(project, "words.txt", "-eyJ" * 100_000)
    write(project, ".pypirc", "\n" * 400_000)
    request = BuildRequest(load_project(project), (HERE,), tmp_path / "out", environment=NO_INDEX)
    assert build(request)[0].path.is_file()

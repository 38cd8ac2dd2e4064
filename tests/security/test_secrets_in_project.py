"""Credentials in a project's folder stop the build before anything is downloaded or written.

The made-up secrets are put together here, so that this file does not look like one itself.
"""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from aperio_cli.building import BuildRequest, build, build_and_tell, load_project
from aperio_cli.building.contents import ProjectFile
from aperio_cli.building.secret_files import PYPIRC, RULES, refuse_secrets
from aperio_cli.errors import REFUSED
from aperio_cli.errors.building import SecretInProject, SecretScanTooLong
from aperio_cli.errors.files import FileTooLarge, MemberUnfit
from tests.projects import HERE, NO_INDEX, make_project, snapshot, write
from tests.rows import each_row

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


def write_packed(project: Path, name: str, text: str) -> None:
    """Write a file that is packed, although it would be left out if it is a hidden one."""
    write(project, name, text)
    if name.startswith("."):
        write(project, ".aperioignore", f"!{name}\n")


def findings(error: SecretInProject) -> list[str]:
    """The lines that name a file and a rule, without the fingerprints."""
    return [line.rpartition(" (")[0] for line in error.why.splitlines()]


@each_row("name", BY_NAME)
def test_build_refuses_a_file_with_the_name_of_a_secret(tmp_path: Path, name: str) -> None:
    project = make_project(tmp_path / "project")
    write_packed(project, name, "made-up-secret")
    error = refused(project, tmp_path / "out")
    assert (error.code, error.exit_status) == ("secret-in-project", REFUSED)
    assert error.why.startswith(f"{name}  has the name of ")
    assert "made-up-secret" not in str(error.to_json())


@each_row("name", BY_CONTENTS)
def test_build_refuses_a_file_that_contains_a_secret(tmp_path: Path, name: str) -> None:
    project = make_project(tmp_path / "project")
    write_packed(project, name, f"first line\n{BY_CONTENTS[name]}\n")
    error = refused(project, tmp_path / "out")
    assert error.why.startswith(f"{name}  contains ")
    assert BODY[:16] not in str(error.to_json())
    assert "Q3EGRZ7W5KX2MN4P" not in str(error.to_json())


@each_row("name", HARMLESS)
def test_build_takes_a_file_that_only_resembles_one(tmp_path: Path, name: str) -> None:
    project = make_project(tmp_path / "project")
    write_packed(project, name, HARMLESS[name])
    request = BuildRequest(load_project(project), (HERE,), tmp_path / "out", environment=NO_INDEX)
    assert build(request)[0].path.is_file()


def test_build_names_every_file_but_never_a_secret(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    for name in ("aws.py", "slack.py"):
        write(project, name, BY_CONTENTS[name])
    assert findings(refused(project, tmp_path / "out")) == [
        "aws.py  contains an AWS access key id, line 1",
        "slack.py  contains a Slack token, line 1",
    ]


def test_build_names_every_line_of_a_file(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    aws = BY_CONTENTS["aws.py"]
    write(project, "keys.txt", f"\n{aws} {aws}\n\n{BY_CONTENTS['slack.py']}\n{aws}")
    assert findings(refused(project, tmp_path / "out")) == [
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
    with pytest.raises(MemberUnfit, match="cannot be packed") as caught:
        build(BuildRequest(load_project(project), (HERE,), tmp_path / "out"))
    assert "\x1b" not in str(caught.value.to_json())


# ── what is not packed is not judged ──────────────────────────────────────────────────────────────


def test_build_judges_only_what_is_packed(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    for name in BY_NAME:
        write(project, f"tests/{name}", "made-up-secret")
        if name.startswith("."):
            write(project, name, "made-up-secret")
    write(project, "test_box.py", BY_CONTENTS["aws.py"])
    write(project, "private/cert.pem", BY_CONTENTS["key.pem"])
    write(project, ".aperioignore", "/private/\n")
    (project / "notes").symlink_to("/etc")
    with (project / "dump.sql").open("wb") as dump:
        dump.truncate(200_000_000)
    request = BuildRequest(load_project(project), (HERE,), tmp_path / "out", environment=NO_INDEX)
    assert build(request)[0].size < 100_000


def test_build_judges_modules_that_are_called_like_tests(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    write(project, "box_test.py", BY_CONTENTS["aws.py"])
    assert "box_test.py" in refused(project, tmp_path / "out").why


@each_row("name", ["README.md", "LICENSE", "manifest.yaml"])
def test_build_judges_the_documents_even_if_they_are_ignored(tmp_path: Path, name: str) -> None:
    project = make_project(tmp_path / "project")
    text = (project / name).read_text()
    write(project, name, f"{text}# {BY_CONTENTS['aws.py']}\n")
    write(project, ".aperioignore", f"{name}\n")
    assert name in refused(project, tmp_path / "out").why


def test_build_refuses_a_wanted_file_that_is_too_long_to_be_judged(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    with (project / "model.bin").open("wb") as model:
        model.truncate(64 * 1024 * 1024 + 1)
    write(project, ".aperioignore", "!model.bin\n")
    with pytest.raises(FileTooLarge, match=r"model\.bin is too long to be looked through"):
        build(BuildRequest(load_project(project), (HERE,), tmp_path / "out"))


# ── waivers ───────────────────────────────────────────────────────────────────────────────────────

PLACEHOLDER = f"Put your key here:\n\n    {KEY_HEADER}\n    ...\n    -----END PRIVATE KEY-----\n"
NO_SECRETS = {
    "setup.md": PLACEHOLDER,
    "docs/api.md": f"A token:\n\n```\n{BY_CONTENTS['jwt.txt']}\n```\n",
    "example.env": "API_KEY=\n",
}


def waivers(error: SecretInProject, reason: str = "made up") -> str:
    """Lines of .aperioignore for all that was found."""
    lines = ""
    for line in error.why.splitlines():
        path, fingerprint = line.partition("  ")[0], line[-17:-1]
        lines += f"# waive {fingerprint} {path}: {reason}\n"
    return lines


@pytest.fixture(name="waiving")
def _waiving(tmp_path: Path) -> Path:
    """A project whose three placeholders are waived."""
    project = make_project(tmp_path / "project")
    for name, text in NO_SECRETS.items():
        write(project, name, text)
    write(project, ".aperioignore", waivers(refused(project, tmp_path / "out"), "a placeholder"))
    return project


def test_build_tells_what_is_waived_and_why(waiving: Path, tmp_path: Path) -> None:
    request = BuildRequest(load_project(waiving), (HERE,), tmp_path / "out", environment=NO_INDEX)
    built = build_and_tell(request)
    assert [(each.path, each.line, each.what) for each in built.waived] == [
        ("docs/api.md", 4, "a signed JSON Web Token"),
        ("example.env", 0, "an environment file"),
        ("setup.md", 3, "a private key in PEM form"),
    ]
    assert {each.reason for each in built.waived} == {"a placeholder"}
    assert built.unused == ()


def test_refusal_prints_the_waiver(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    write(project, "setup.md", PLACEHOLDER)
    error = refused(project, tmp_path / "out")
    line = waivers(error, "REASON").strip()
    assert f"`{line}`" in error.next[-1]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("setup.md", PLACEHOLDER.replace("...", BODY)),
        ("setup.md", PLACEHOLDER + BY_CONTENTS["key.pem"]),
        ("setup.md", PLACEHOLDER + BY_CONTENTS["aws.py"]),
        ("docs/api.md", NO_SECRETS["docs/api.md"] + BY_CONTENTS["jwt.txt"].replace("Z", "Y")),
        ("docs/other.md", NO_SECRETS["docs/api.md"]),
        ("example.env", "API_KEY=made-up\n"),
        ("example.env", BY_CONTENTS["aws.py"]),
    ],
)
def test_a_waiver_is_of_what_was_found_only(
    waiving: Path, tmp_path: Path, name: str, text: str
) -> None:
    write(waiving, name, text)
    assert all(line.startswith(name) for line in refused(waiving, tmp_path / "out").why.split("\n"))


def test_a_waiver_moves_with_what_it_waives(waiving: Path, tmp_path: Path) -> None:
    write(waiving, "setup.md", f"# Set up\n\nFirst of all:\n\n{PLACEHOLDER}\nThen go on.\n")
    request = BuildRequest(load_project(waiving), (HERE,), tmp_path / "out", environment=NO_INDEX)
    assert build_and_tell(request).waived[-1].line == 7


def test_build_tells_a_waiver_that_waives_nothing(waiving: Path, tmp_path: Path) -> None:
    write(waiving, "setup.md", "")
    request = BuildRequest(load_project(waiving), (HERE,), tmp_path / "out", environment=NO_INDEX)
    assert build_and_tell(request).unused == ("setup.md",)


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
            list(rule.matches(sign + b" " + text.encode() * (1_000_000 // len(text))))
print("looked through")
"""


def test_every_rule_looks_through_its_worst_file() -> None:
    """A rule that took the square of a file's length would need minutes for this megabyte."""
    command = [sys.executable, "-c", SCAN, repr(WORST)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout == "looked through\n"


@each_row("rule", [*RULES, PYPIRC], ids=lambda rule: rule.words)
def test_every_repeat_in_a_rule_has_a_bound(rule: Rule) -> None:
    assert WORST[rule.words]
    for pattern in rule.patterns:
        plain = re.sub(rb"\\.|\[[^]]*\]", b"x", pattern.pattern)  # no class, no escape
        assert not re.search(rb"[*+](?!\+)|\{\d*,\}", re.sub(rb"(\})\+", rb"\1", plain))


def test_a_scan_that_takes_too_long_refuses(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    files = [ProjectFile("LICENSE", project / "LICENSE")]
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

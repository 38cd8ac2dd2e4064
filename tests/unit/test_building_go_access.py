"""Modules that not everybody may have: who asks for them, and what is said when that is refused."""

from __future__ import annotations

import base64
import contextlib
import functools
import os
import re
import shlex
import ssl
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.building import BuildRequest, build, go_failures, load_project
from aperio_cli.building import go_tool as tool
from aperio_cli.building.go_environment import go_environment, module_cache
from aperio_cli.errors.building import (
    GoBuildFailed,
    GoModuleDenied,
    GoModuleMissing,
    GoTransportRefused,
)
from aperio_cli.errors.files import NetworkUnavailable
from tests.certificates import make_certificate
from tests.go_projects import (
    COMPILED,
    OFFLINE,
    make_go_project,
    make_module,
    require_go,
    use_module,
)
from tests.projects import HERE, write
from tests.rows import each_row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aperio_cli.errors import AperioError

pytestmark = pytest.mark.go
MODULE = "github.com/acme/dep"
DEP = 'package dep\n\nconst Name = "dep"\n'
PASSWORD = "correct-horse"
WANTED = "Basic " + base64.b64encode(f"ada:{PASSWORD}".encode()).decode()


@pytest.fixture(autouse=True)
def _needs_go() -> None:
    require_go()


class Guarded(SimpleHTTPRequestHandler):
    """Serves a folder to whoever says the password."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.headers.get("Authorization") == WANTED:
            super().do_GET()
            return
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="modules"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@contextlib.contextmanager
def served(folder: Path, certificate: Path) -> Iterator[str]:
    """Serve a folder; gives host and port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Guarded, directory=folder))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("certificate") / "certificate.pem")


@pytest.fixture
def guarded(tmp_path: Path, certificate: Path) -> Iterator[dict[str, str]]:
    """A module proxy that asks for a password; gives what an author says of it."""
    make_module(tmp_path / "proxy", DEP)
    with served(tmp_path / "proxy", certificate) as place:
        yield {"GOPROXY": f"https://{place}", "SSL_CERT_FILE": str(certificate)}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that imports a module."""
    folder = make_go_project(tmp_path / "project")
    use_module(folder, make_module(tmp_path / "proxy", DEP))
    return folder


def a_run(project: Path, tmp_path: Path, **environment: str) -> tool.GoRun:
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    return tool.GoRun(
        toolchain=tool.find_toolchain(OFFLINE, tmp_path, "it"),
        project=project,
        source=project,
        scratch=scratch,
        modules=tmp_path / "modules",
        compiled=COMPILED,
        environment={**OFFLINE, **environment},
        platform=HERE,
    )


def fetched(run: tool.GoRun) -> bool:
    """Have go fetch what the project imports."""
    return bool(tool.run_go(run, ["list", "-deps", "."]))


# ── a module proxy ────────────────────────────────────────────────────────────────────────────────


def test_build_says_that_the_proxy_asks_who_wants_it(
    project: Path, guarded: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(GoModuleDenied) as caught:
        fetched(a_run(project, tmp_path, **guarded))
    assert "401 Unauthorized" in caught.value.why
    assert "GOAUTH" in caught.value.next[0]


def test_goauth_names_a_program_of_the_author(
    project: Path, guarded: dict[str, str], tmp_path: Path
) -> None:
    """It stands where the author's other programs do, and needs a HOME, as such programs do."""
    programs = tmp_path / "programs"
    answer = f"{guarded['GOPROXY']}/\\n\\nAuthorization: {WANTED}\\n\\n"
    program = write(programs, "say-who", f"#!/bin/sh\ntest -d $HOME && printf '{answer}'\n")
    program.chmod(0o755)
    path = f"{OFFLINE['PATH']}{os.pathsep}{programs}"
    own = {"GOAUTH": "say-who", "PATH": path, "HOME": str(tmp_path)}
    assert fetched(a_run(project, tmp_path, **guarded, **own))
    assert not (tmp_path / ".config").exists(), "go keeps its counts elsewhere"


@pytest.mark.parametrize("variable", ["HOME", "NETRC"])
def test_netrc_says_who_asks(
    variable: str, project: Path, guarded: dict[str, str], tmp_path: Path
) -> None:
    machine = guarded["GOPROXY"].removeprefix("https://")  # go compares the port, too
    words = f"machine {machine} login ada password {PASSWORD}\n"
    path = write(tmp_path / "home", ".netrc", words)
    value = str(path.parent if variable == "HOME" else path)
    assert fetched(a_run(project, tmp_path, **guarded, **{variable: value}))


# ── git ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory, certificate: Path) -> Iterator[str]:
    """A private repository over https; gives its host and port."""
    folder = tmp_path_factory.mktemp("forge")
    source, bare = folder / "source", folder / "served" / "acme" / "dep"
    write(source, "go.mod", f"module {MODULE}\n\ngo 1.21\n")
    write(source, "dep.go", DEP)
    for words in (
        ("-C", source, "init", "-q"),
        ("-C", source, "add", "."),
        ("-C", source, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"),
        ("-C", source, "tag", "v1.0.0"),
        ("clone", "-q", "--bare", source, bare),
        ("-C", bare, "update-server-info"),
    ):
        subprocess.run(["git", *map(str, words)], check=True, timeout=30)
    with served(folder / "served", certificate) as place:
        yield place


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """A project that imports a module of the private repository."""
    folder = make_go_project(tmp_path / "private")
    with (folder / "go.mod").open("a") as file:
        file.write(f"\nrequire {MODULE} v1.0.0\n")
    write(folder, "go.sum", make_module(tmp_path / "sums", DEP, path=MODULE))
    write(folder, "plugin.go", f'package main\n\nimport _ "{MODULE}"\n\nfunc main() {{}}\n')
    return folder


def instead(place: str, certificate: Path | None = None) -> str:
    """A git configuration that has github.com elsewhere."""
    trusted = f"[http]\n\tsslCAInfo = {certificate}\n" if certificate else ""
    return f'[url "{place}/"]\n\tinsteadOf = https://github.com/\n{trusted}'


DIRECT = {"GOPROXY": "direct", "GOPRIVATE": "github.com"}


def test_build_takes_a_private_module_by_the_authors_git_configuration(
    private: Path, forge: str, certificate: Path, tmp_path: Path
) -> None:
    """The password comes from a program that the configuration names."""
    helper = write(
        tmp_path, "helper", f"#!/bin/sh\necho username=ada\necho 'password={PASSWORD}'\n"
    )
    helper.chmod(0o755)
    settings = instead(f"https://{forge}", certificate) + f"[credential]\n\thelper = {helper}\n"
    write(tmp_path / "home", ".gitconfig", settings)
    environment = {**OFFLINE, **DIRECT, "HOME": str(tmp_path / "home")}
    request = BuildRequest(
        load_project(private), (HERE,), tmp_path / "out", environment=environment,
        compile_cache=COMPILED,
    )  # fmt: skip
    (artifact,) = build(request)
    assert artifact.size > 0


@pytest.mark.parametrize(
    ("user", "expected", "shown"),
    [
        ("", GoModuleDenied, "could not read Username"),
        ("ada:wrong@", GoModuleDenied, "Authentication failed"),
    ],
)
def test_build_says_that_the_repository_asks_who_wants_it(  # noqa: PLR0913, PLR0917 - fixtures
    user: str,
    expected: type[AperioError],
    shown: str,
    private: Path,
    forge: str,
    certificate: Path,
    tmp_path: Path,
) -> None:
    path = write(tmp_path, "gitconfig", instead(f"https://{user}{forge}", certificate))
    with pytest.raises(expected) as caught:
        fetched(a_run(private, tmp_path, **DIRECT, GIT_CONFIG_GLOBAL=str(path)))
    assert shown in caught.value.why
    assert "wrong" not in caught.value.why


def test_build_says_that_the_repositorys_certificate_is_not_trusted(
    private: Path, forge: str, tmp_path: Path
) -> None:
    path = write(tmp_path, "gitconfig", instead(f"https://{forge}"))
    with pytest.raises(NetworkUnavailable, match="is not trusted") as caught:
        fetched(a_run(private, tmp_path, **DIRECT, GIT_CONFIG_GLOBAL=str(path)))
    assert "http.sslCAInfo" in caught.value.next[0]


@pytest.mark.parametrize("place", ["http://127.0.0.1:9", "file:///nowhere", "git://127.0.0.1:9"])
def test_git_is_held_to_https_and_ssh(place: str, private: Path, tmp_path: Path) -> None:
    path = write(tmp_path, "gitconfig", instead(place))
    with pytest.raises(GoTransportRefused) as caught:
        fetched(a_run(private, tmp_path, **DIRECT, GIT_CONFIG_GLOBAL=str(path)))
    assert "not allowed" in caught.value.why


def test_the_authors_configuration_may_come_by_variables(
    private: Path, forge: str, certificate: Path, tmp_path: Path
) -> None:
    """As CI services give it."""
    pairs = {
        f"url.https://ada:{PASSWORD}@{forge}/.insteadOf": "https://github.com/",
        "http.sslCAInfo": str(certificate),
    }
    given = {"GIT_CONFIG_COUNT": str(len(pairs))}
    for number, (key, value) in enumerate(pairs.items()):
        given |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    assert fetched(a_run(private, tmp_path, **DIRECT, **given))


def test_what_a_project_names_is_not_run_where_the_author_names_the_project(
    private: Path, tmp_path: Path
) -> None:
    """HOME, GOAUTH and PATH that lead into it bring nothing of its into go or git."""
    sprung = tmp_path / "sprung"
    trap = write(private, "bin/git", f"#!/bin/sh\necho $0 >>{sprung}\nexit 1\n")
    trap.chmod(0o755)
    settings = f"[credential]\n\thelper = !{trap}\n[core]\n\tsshCommand = {trap}\n"
    for name in (".gitconfig", ".git/config", "git/config"):
        write(private, name, settings + instead("ssh://127.0.0.1"))
    write(private, ".git/HEAD", "ref: refs/heads/main\n")
    (private / ".git/objects").mkdir()
    (private / ".git/refs").mkdir()
    link = tmp_path / "link"
    link.symlink_to(private)
    hostile = {
        "HOME": str(link),
        "XDG_CONFIG_HOME": str(private),
        "GIT_CONFIG_GLOBAL": ".gitconfig",
        "GIT_ASKPASS": str(trap),
        "GOAUTH": f"git {link}; git {private};git .git",
        "PATH": f"{link}/bin:{private}/bin:bin:.:{OFFLINE['PATH']}",
    }
    run = a_run(private, tmp_path, GOPROXY="http://127.0.0.1:9", **hostile)
    assert {"HOME", "XDG_CONFIG_HOME", "GIT_ASKPASS"}.isdisjoint(go_environment(run))
    assert go_environment(run)["GOAUTH"] == "off"
    for where in ("direct", "http://127.0.0.1:9"):
        run = a_run(private, tmp_path, **DIRECT | {"GOPROXY": where}, **hostile)
        subprocess.run(
            [tool.find_toolchain(OFFLINE, tmp_path, "it").executable, "list", "-deps", "."],
            cwd=private, env=go_environment(run) | {"GIT_SSH_COMMAND": "false"},
            timeout=60, check=False, capture_output=True,
        )  # fmt: skip
    assert not sprung.exists()


@each_row(
    ("name", "stated"),
    [
        ("GOAUTH", "bin/trap"), ("GOAUTH", "PROJECT/bin/trap x"), ("GOAUTH", "LINK/bin/trap"),
        ("GOAUTH", "sh bin/trap"), ("GOAUTH", "sh trap.sh"), ("GOAUTH", "'PROJECT/bin/trap' x"),
        ("GIT_SSH", "LINK/bin/trap"), ("GIT_SSH_COMMAND", "PROJECT/bin/trap -v"),
        ("GIT_SSH_COMMAND", "ssh -F ~/project/bin/trap"), ("GIT_SSH_COMMAND", "$HOME/link/trap.sh"),
        ("GIT_CONFIG_PARAMETERS", "'core.sshcommand'='PROJECT/bin/trap'"),
        ("GIT_CONFIG_VALUE_0", "PROJECT/bin/trap"), ("GIT_CONFIG_VALUE_0", "!LINK/bin/trap"),
        ("GIT_ASKPASS", "LINK/bin/trap"), ("NETRC", "PROJECT/bin/trap"),
    ],
)  # fmt: skip
def test_a_program_or_setting_of_the_project_does_not_count(
    name: str, stated: str, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    for place in ("bin/trap", "trap.sh"):
        write(project, place, "#!/bin/sh\n")
    (tmp_path / "link").symlink_to(project)
    value = stated.replace("PROJECT", str(project)).replace("LINK", str(tmp_path / "link"))
    given = {"HOME": str(tmp_path), "GIT_CONFIG_COUNT": "1", name: value}
    made = go_environment(a_run(project, tmp_path, **given))
    assert value not in made.values()
    assert ("GIT_CONFIG_COUNT" in made) is not name.startswith(("GIT_CONFIG_KEY", "GIT_CONFIG_VAL"))
    assert made["GOAUTH"] == ("off" if name == "GOAUTH" else "netrc")


@each_row(
    ("name", "value"),
    [
        ("GOAUTH", "netrc"), ("GOAUTH", "trap.sh"), ("GOAUTH", "/opt/say-who --of acme"),
        ("GOAUTH", "git /home/ada;say-who"), ("GIT_SSH", "ssh"), ("GIT_SSH", "/usr/bin/ssh"),
        ("GIT_SSH_COMMAND", "ssh -i ~/.ssh/acme -F /dev/null"), ("GIT_SSH_COMMAND", "x" * 9000),
        ("GIT_CONFIG_PARAMETERS", "'url.https://acme.test/.insteadof'='https://github.com/'"),
        ("GIT_CONFIG_KEY_0", "url.ssh://git@acme.test/.insteadOf"),
        ("GIT_CONFIG_VALUE_0", "https://github.com/"),
    ],
)  # fmt: skip
def test_a_program_or_setting_of_the_author_counts(name: str, value: str, tmp_path: Path) -> None:
    """A program without a slash is one of PATH, whatever the project has of that name."""
    project = tmp_path / "project"
    write(project, "trap.sh", "#!/bin/sh\n")
    given = {"HOME": str(tmp_path), "GIT_CONFIG_COUNT": "1", name: value}
    assert go_environment(a_run(project, tmp_path, **given)).items() >= given.items()


# ── the module cache ──────────────────────────────────────────────────────────────────────────────


def test_the_authors_module_cache_is_used(project: Path, tmp_path: Path) -> None:
    """What is there already is not downloaded again."""
    own = tmp_path / "own"
    served = {**OFFLINE, "GOPROXY": f"file://{tmp_path}/proxy", "GOMODCACHE": str(own)}
    request = BuildRequest(
        load_project(project), (HERE,), tmp_path / "out", environment=served,
        download_cache=tmp_path / "downloads", compile_cache=COMPILED,
    )  # fmt: skip
    build(request)
    assert (own / "cache/download/example.com/dep").is_dir()
    assert not (tmp_path / "downloads").exists()


@each_row("stated", ["", "relative/folder", "."])
def test_a_module_cache_that_is_no_absolute_path_does_not_count(stated: str) -> None:
    assert module_cache({"GOMODCACHE": stated}, Path("/project"), Path("/ours")) == Path("/ours")
    assert module_cache({}, Path("/project"), Path("/ours")) == Path("/ours")


# ── what is said ──────────────────────────────────────────────────────────────────────────────────

READING = "m.go:2:8: example.com/dep@v1.0.0: reading https://proxy.acme.test/dep/@v/v1.0.0.zip: "
VERSION = "go: github.com/acme/dep@v1.0.0: invalid version: "
IMPORT = 'm.go:2:8: unrecognized import path "acme.test/dep"'
GIT = "m.go:2:8: reading github.com/acme/dep/go.mod at revision v1.0.0: git ls-remote -q origin: "


@each_row(
    ("output", "expected"),
    [
        (READING + "401 Unauthorized", GoModuleDenied),
        (READING + "403 Forbidden", GoModuleDenied),
        (READING + "407 Proxy Authentication Required", GoModuleDenied),
        (READING + "404 Not Found", GoModuleMissing),
        (READING + "410 Gone", GoModuleMissing),
        (READING + "429 Too Many Requests", NetworkUnavailable),
        (READING + "503 Service Unavailable", NetworkUnavailable),
        (READING + "tls: failed to verify certificate: x509: unknown", NetworkUnavailable),
        (GIT + "\n\tfatal: could not read Username for 'https://x'", GoModuleDenied),
        (GIT + "\n\tgit@x: Permission denied (publickey).\n\tfatal: Could not", GoModuleDenied),
        (GIT + "\n\tHost key verification failed.\n\tfatal: Could not read", GoModuleDenied),
        (GIT + "\n\tfatal: repository 'https://x/' not found", GoModuleMissing),
        (GIT + "\n\tremote: Repository not found.\n\tfatal: Authentication", GoModuleMissing),
        ("m.go:2:8: reading x/go.mod at revision v1.1.0: unknown revision v1.1.0", GoModuleMissing),
        (GIT + "\n\tssh: connect to host x port 22: Connection refused", NetworkUnavailable),
        (GIT + "\n\tfatal: unable to access 'https://x/': Failed to connect", NetworkUnavailable),
        (VERSION + "git ls-remote x:\n\tssh: connect to host x: No", NetworkUnavailable),
        (VERSION + "git ls-remote -q x in y:\n\tremote: Repository not found.", GoModuleMissing),
        (VERSION + "git fetch -f x:\n\tgit@x: Permission denied (publickey).", GoModuleDenied),
        (VERSION + 'Get "https://proxy/x": dial tcp: no such host', NetworkUnavailable),
        (VERSION + "should be v0 or v1, not v2", GoModuleMissing),
        (IMPORT + ': https fetch: Get "https://x/y?go-get=1": dial tcp: no', NetworkUnavailable),
        (IMPORT + ': https fetch: Get "https://x/y?go-get=1": EOF', NetworkUnavailable),
        (IMPORT + ": reading https://x/y?go-get=1: 404 Not Found", GoModuleMissing),
        (IMPORT + ": parse https://x/y?go-get=1: no go-import meta tags ()", GoModuleMissing),
        ("m.go:2:8: no secure protocol found for repository", GoTransportRefused),
        ("m.go:2:8: x@v1: refusing to pass credentials to insecure URL: y", NetworkUnavailable),
        ('m.go:2:8: parse "http://127.0.0.1:bad": invalid port ":bad"', NetworkUnavailable),
        ('./m.go:4:2: cannot use parse "x"', GoBuildFailed),
        ("./m.go:4:1: syntax error: unexpected EOF, expecting }", GoBuildFailed),
        ("go: could not create module cache: permission denied", GoBuildFailed),
    ],
)
def test_each_failure_has_its_cause(
    output: str, expected: type[AperioError], tmp_path: Path
) -> None:
    error = go_failures.explain(a_run(tmp_path, tmp_path), f"go: downloading x v1\n{output}\n")
    assert type(error) is expected
    assert "downloading" not in error.why


def test_passwords_in_addresses_are_not_shown(tmp_path: Path) -> None:
    output = GIT + "\n\tfatal: unable to access 'https://ada:hunter2@git.acme.test/dep/': 500"
    error = go_failures.explain(a_run(tmp_path, tmp_path), output)
    assert "hunter2" not in error.why
    assert "https://git.acme.test/dep/" in error.why


def test_the_command_that_shows_the_same_does(tmp_path: Path) -> None:
    folder = make_go_project(tmp_path / "broken", "package main\n\nfunc main() { missing() }\n")
    with pytest.raises(GoBuildFailed) as caught:
        tool.run_go(a_run(folder, tmp_path), ["build", "."])
    (command,) = re.findall("`(.+)`", caught.value.next[0])
    words = shlex.split(command)
    ran = subprocess.run(
        ["env", *words], cwd=folder, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "GOFLAGS": "-x", "GOWORK": "/nowhere", "GOCACHE": str(COMPILED)},
    )  # fmt: skip
    assert ran.stderr.strip() == caught.value.why


def test_nothing_is_said_to_show_the_same_that_does_not(tmp_path: Path) -> None:
    error = go_failures.failed(a_run(tmp_path, tmp_path), "go build was stopped after 900 s")
    assert "go build" not in error.next[0]

"""Registries that somebody else has written, with links where files and folders belong.

A registry's source is cloned, its pull requests are built in CI, and folders are served and
installed from. Whatever place a link stands in, nothing beyond it is written, published or read.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.models.artifact import ATTESTATIONS_SUFFIX, BUNDLE_SUFFIX
from tests.builders import go_members, write_artifact
from tests.lifecycle.cli import Aperio, Refused, finish, operator
from tests.rows import for_each
from tests.trust import IDENTITY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PLUGIN = "acme/box-connector"
NAME = "box-connector_1.2.3_linux_amd64.tar.gz"
FOLDER = "artifacts/acme/box-connector/1.2.3"
SECRET = "AWS_SECRET_ACCESS_KEY=hunter2"
LINKED = ("file-not-regular", 3)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home, a signed artifact with attestations, and the source of a registry that has it."""
    from aperio_cli.__main__ import main

    root = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("APERIO_HOME", str(root / "home"))
        patch.setenv("HOME", str(root))
        patch.setenv("LOGNAME", IDENTITY.removesuffix("@local"))
        artifact = write_artifact(root / "dist")
        for words in (
            ["trust", "local", "init"],
            ["plugin", "sign", str(artifact), "--trust", "local"],
            ["registry", "init", str(root / "registry")],
            ["registry", "add", str(artifact), "--dir", str(root / "registry")],
        ):
            assert main(words) == 0, words
    assert artifact.with_name(NAME + ATTESTATIONS_SUFFIX).exists()
    return root


@pytest.fixture
def aperio(
    template: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Aperio]:
    """A maintainer with a clone of the registry; what must not be touched is in `ssh`."""
    with operator(tmp_path, capsys, monkeypatch) as made:
        shutil.copytree(template / "home", made.home)
        made.home.chmod(0o700)
        for config in made.home.glob("*.toml"):
            config.write_text(config.read_text().replace(str(template / "home"), str(made.home)))
        shutil.copytree(template / "registry", made.folder / "registry")
        shutil.copytree(template / "dist", made.folder / "dist")
        (made.folder / "ssh").mkdir()
        (made.folder / "ssh/authorized_keys").write_text(SECRET)
        yield made


def link(place: Path, target: Path | str) -> None:
    """A link in the place of what is there, which moves out of the registry."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        root = next(path for path in place.parents if path.name == "registry")
        place.rename(root.parent / f"moved-{place.name}")
        target = root.parent / f"moved-{place.name}"
    place.symlink_to(target)


def restore(place: Path) -> None:
    """Put back what `link` moved out of the registry."""
    root = next(path for path in place.parents if path.name == "registry")
    place.unlink()
    (root.parent / f"moved-{place.name}").rename(place)


def answer(url: str) -> int:
    """The status with which a server answers."""
    try:
        with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310 - of this machine
            return int(response.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def build(aperio: Aperio, *words: object) -> None:
    aperio("registry", "build", "--dir", "registry", *words)


def published(aperio: Aperio) -> bytes:
    """Every byte that was built, links unfollowed."""
    public = aperio.folder / "registry/public"
    if public.is_symlink():
        return b""
    return b"".join(p.read_bytes() for p in public.rglob("*") if p.is_file() and not p.is_symlink())


def secret_is_kept(aperio: Aperio) -> None:
    assert [path.name for path in (aperio.folder / "ssh").iterdir()] == ["authorized_keys"]
    assert (aperio.folder / "ssh/authorized_keys").read_text() == SECRET
    assert SECRET.encode() not in published(aperio)


# ── building ──────────────────────────────────────────────────────────────────────────────────────

READ = [
    "aperio-registry.json",
    ".lock",
    "records",
    "records/acme",
    "records/acme/box-connector.json",
    "artifacts",
    "artifacts/acme",
    "artifacts/acme/box-connector",
    FOLDER,
    f"{FOLDER}/{NAME}",
    f"{FOLDER}/{NAME}{BUNDLE_SUFFIX}",
    f"{FOLDER}/{NAME}{ATTESTATIONS_SUFFIX}",
]


def test_plain_registry_is_built_and_built_again(aperio: Aperio) -> None:
    build(aperio)
    with aperio.unchanged(noted=True):
        build(aperio)
    aperio("plugin", "verify", PLUGIN, "--registry", "registry")


@pytest.mark.parametrize("place", [*READ, "records/evil", "records/evil/x.json", "public"])
def test_build_refuses_a_link_that_leads_to_the_very_same(aperio: Aperio, place: str) -> None:
    """Even contents that are right: who follows links once, follows them anywhere."""
    link(aperio.folder / "registry" / place, aperio.folder / "ssh")
    code, status = LINKED
    told = aperio.refuses("registry", "build", "--dir", "registry", code=code, status=status)
    assert told.what == f"`registry/{place}` was not used: it is a symbolic link"
    secret_is_kept(aperio)


def test_build_publishes_no_environment_of_ci(aperio: Aperio) -> None:
    """`x.tar.gz.sigstore.json -> /proc/self/environ` in a pull request."""
    bundle = aperio.folder / "registry" / FOLDER / (NAME + BUNDLE_SUFFIX)
    bundle.unlink()
    bundle.symlink_to("/proc/self/environ")
    code, status = LINKED
    aperio.refuses("registry", "build", "--dir", "registry", code=code, status=status)
    assert not (aperio.folder / "registry/public").exists()


def claim(aperio: Aperio, **changes: Any) -> None:
    """Have the record say something else about its one artifact."""
    path = aperio.folder / "registry/records/acme/box-connector.json"
    record = json.loads(path.read_text())
    record["versions"][0]["artifacts"][0] |= changes
    path.write_text(json.dumps(record))


def claim_no_bundle(aperio: Aperio) -> None:
    """Have the record be one of before bundles were recorded."""
    path = aperio.folder / "registry/records/acme/box-connector.json"
    record = json.loads(path.read_text())
    del record["versions"][0]["artifacts"][0]["bundle_sha256"]
    path.write_text(json.dumps(record))


def built_with_link(aperio: Aperio, place: str) -> None:
    """An earlier build from the same clone, in which a folder is a link to `ssh`."""
    build(aperio)
    shutil.rmtree(aperio.folder / "registry/public" / place)
    (aperio.folder / "registry/public" / place).symlink_to(aperio.folder / "ssh")


def test_build_writes_nothing_through_a_tracked_output(aperio: Aperio) -> None:
    """A tracked link in `public`, and a record that calls its artifact `authorized_keys`."""
    public = aperio.folder / "registry/public"
    (public / FOLDER).parent.mkdir(parents=True)
    (public / FOLDER).symlink_to(aperio.folder / "ssh")
    keys = aperio.folder / "registry" / FOLDER / "authorized_keys"
    (aperio.folder / "registry" / FOLDER / NAME).rename(keys)
    claim(aperio, file="authorized_keys")
    words = ("registry", "build", "--dir", "registry")
    aperio.refuses(*words, code="registry-output-foreign", status=3)
    keys.rename(keys.with_name(NAME))
    claim(aperio, file=NAME)
    aperio.refuses(*words, code="registry-output-foreign", status=3)
    secret_is_kept(aperio)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", ".hidden", "", NAME + "x", NAME.upper()])
def test_build_takes_no_other_name_for_an_artifact(aperio: Aperio, name: str) -> None:
    claim(aperio, file=name)
    told = aperio.refuses(
        "registry", "build", "--dir", "registry", code="registry-source-invalid", status=1
    )
    assert "box-connector.json" in told.what


@pytest.mark.parametrize("place", ["artifacts/acme", FOLDER, "plugins/acme"])
def test_build_replaces_an_earlier_build_and_follows_no_link_in_it(
    aperio: Aperio, place: str
) -> None:
    built_with_link(aperio, place)
    build(aperio)
    assert not [p for p in (aperio.folder / "registry/public").rglob("*") if p.is_symlink()]
    secret_is_kept(aperio)


@pytest.mark.parametrize("place", ["artifacts", "plugins"])
def test_build_refuses_a_link_at_the_top_of_an_earlier_build(aperio: Aperio, place: str) -> None:
    built_with_link(aperio, place)
    code, status = LINKED
    told = aperio.refuses("registry", "build", "--dir", "registry", code=code, status=status)
    assert f"registry/public/{place}`" in told.what
    secret_is_kept(aperio)


@pytest.mark.parametrize("way", ["site", "registry/site"])
def test_build_refuses_an_output_that_is_a_link(aperio: Aperio, way: str) -> None:
    (aperio.folder / "empty").mkdir()
    (aperio.folder / way).symlink_to(aperio.folder / "empty")
    code, status = LINKED
    words = ("registry", "build", "--dir", "registry", "--out", way)
    aperio.refuses(*words, code=code, status=status)


def test_build_follows_what_the_operator_named_up_to_the_output(aperio: Aperio) -> None:
    (aperio.folder / "srv").mkdir()
    (aperio.folder / "link").symlink_to("srv")
    (aperio.folder / "clone").symlink_to("registry")
    aperio("registry", "build", "--dir", "clone", "--out", "link/new/site")
    assert (aperio.folder / "srv/new/site/plugins.json").is_file()


@pytest.mark.parametrize("way", ["registry/site/new", "clone/site/new", "x/../registry/site/new"])
def test_build_follows_no_link_within_the_source_on_the_way_to_the_output(
    aperio: Aperio, way: str
) -> None:
    (aperio.folder / "clone").symlink_to("registry")
    (aperio.folder / "registry/site").symlink_to(aperio.folder / "ssh")
    code, status = LINKED
    words = ("registry", "build", "--dir", "registry", "--out", way)
    told = aperio.refuses(*words, code=code, status=status)
    assert "registry/site`" in told.what
    secret_is_kept(aperio)


def make_file(path: Path) -> None:
    path.write_text("a file")


def make_project(path: Path) -> None:
    path.mkdir()
    (path / "thesis.tex").write_text("years of work")


def make_build_with_more(path: Path) -> None:
    path.mkdir()
    for name in ("plugins.json", "registry.json", "CNAME"):
        (path / name).write_text("{}")


FOREIGN: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "a file": (make_file, "file-not-regular", "a regular file"),
    "a project": (make_project, "registry-output-foreign", "thesis.tex"),
    "a build and more": (make_build_with_more, "registry-output-foreign", "CNAME"),
    "a fifo": (os.mkfifo, "file-not-regular", "a fifo"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_build_replaces_nothing_but_what_it_built(aperio: Aperio, kind: str) -> None:
    make, code, said = FOREIGN[kind]
    make(aperio.folder / "site")
    words = ("registry", "build", "--dir", "registry", "--out", "site")
    told = aperio.refuses(*words, code=code, status=3)
    assert said in told.why


@pytest.mark.parametrize("out", ["registry", ".", "registry/artifacts", "registry/../registry"])
def test_build_does_not_replace_its_own_source(aperio: Aperio, out: str) -> None:
    words = ("registry", "build", "--dir", "registry", "--out", out)
    aperio.refuses(*words, code="registry-output-foreign", status=3)


def test_build_takes_an_empty_folder_and_an_earlier_build(aperio: Aperio) -> None:
    (aperio.folder / "site").mkdir(mode=0o700)
    build(aperio, "--out", "site")
    (aperio.folder / "site/artifacts/acme/gone").mkdir()
    build(aperio, "--out", "site")
    assert not (aperio.folder / "site/artifacts/acme/gone").exists()
    assert (aperio.folder / "site").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("contents", [SECRET, "", "{}", "[]", '{"mediaType": "x"}'])
def test_build_publishes_as_a_bundle_what_is_one(aperio: Aperio, contents: str) -> None:
    bundle = aperio.folder / "registry" / FOLDER / (NAME + BUNDLE_SUFFIX)
    bundle.write_text(contents)
    assert "expected sha256:" in refused_bundle(aperio).why
    claim_no_bundle(aperio)
    assert "not a Sigstore bundle" in refused_bundle(aperio).why


def test_build_publishes_no_bundle_of_another_file(aperio: Aperio) -> None:
    other = write_artifact(aperio.folder / "others", go_members(version="9.0.0"))
    aperio("plugin", "sign", other, "--trust", "local")
    genuine = other.with_name(other.name + BUNDLE_SUFFIX)
    shutil.copy(genuine, aperio.folder / "registry" / FOLDER / (NAME + BUNDLE_SUFFIX))
    assert "expected sha256:" in refused_bundle(aperio).why
    claim_no_bundle(aperio)
    assert "the signature of another file" in refused_bundle(aperio).why


def refused_bundle(aperio: Aperio) -> Refused:
    words = ("registry", "build", "--dir", "registry")
    told = aperio.refuses(*words, code="registry-source-invalid", status=1)
    assert BUNDLE_SUFFIX in told.what
    assert not (aperio.folder / "registry/public").exists()
    return told


@pytest.mark.parametrize("moment", ["1:os.rename:'public'", "2:os.rename:'public'"])
def test_interrupted_replacement_leaves_a_whole_build(aperio: Aperio, moment: str) -> None:
    """Between the two renames too."""
    build(aperio)
    done = aperio.run("registry", "build", "--dir", "registry", at=f"SIGINT:{moment}")
    assert done.status == 130
    aperio.assert_nothing_left()
    aperio("plugin", "verify", PLUGIN, "--registry", "registry")


def test_killed_replacement_is_cleaned_up_by_the_next(aperio: Aperio) -> None:
    build(aperio)
    at = "SIGKILL:2:os.rename:'public'"
    assert aperio.run("registry", "build", "--dir", "registry", at=at).status == 137
    assert not (aperio.folder / "registry/public").exists()
    build(aperio)
    aperio.assert_nothing_left()
    aperio("plugin", "verify", PLUGIN, "--registry", "registry")


# ── signing and checking what was built ───────────────────────────────────────────────────────────

SIGN = ("registry", "sign", "--dir", "registry", "--trust", "local")


@pytest.mark.parametrize("place", ["public", "site", "site/inner"])
def test_sign_writes_through_no_link_in_the_source(aperio: Aperio, place: str) -> None:
    """To another registry of the maintainer's, for example."""
    out = [] if place == "public" else ["--out", f"registry/{place}"]
    build(aperio, *out)
    aperio(*SIGN, *out)
    linked = aperio.folder / "registry" / place.partition("/")[0]
    link(linked, "")
    bundle = linked.resolve().joinpath(*place.split("/")[1:], f"registry.json{BUNDLE_SUFFIX}")
    bundle.unlink()
    code, status = LINKED
    told = aperio.refuses(*SIGN, *out, code=code, status=status)
    assert told.what == f"`registry/{linked.name}` was not used: it is a symbolic link"
    assert not bundle.exists()


def test_sign_takes_a_link_that_the_operator_names(aperio: Aperio) -> None:
    build(aperio)
    (aperio.folder / "link").symlink_to("registry/public")
    aperio(*SIGN, "--out", "link")


def test_verify_finds_what_would_be_published_besides(aperio: Aperio) -> None:
    """Whoever copies a site somewhere may follow links: `tar --dereference`, `rsync -L`."""
    words = ("registry", "verify", "--dir", "registry")
    build(aperio)
    aperio(*SIGN)
    aperio(*words)

    @for_each(["evil", ".nojekyll", "log/evil", "log/tile/evil", "log/checkpoint"])
    def check(name: str) -> None:
        place = aperio.folder / "registry/public" / name
        before = place.read_bytes() if place.exists() else None
        place.unlink(missing_ok=True)
        try:
            place.symlink_to("/proc/self/environ")
            told = aperio.refuses(*words, code="registry-damaged", status=1)
            assert name in told.why
            assert "take away what is too much" in "".join(told.next)
            place.unlink()
            os.mkfifo(place)
            aperio.refuses(*words, code="registry-damaged", status=1)
        finally:
            place.unlink()
            if before is not None:
                place.write_bytes(before)

    check()
    aperio(*words)


# ── adding ────────────────────────────────────────────────────────────────────────────────────────


def fresh(aperio: Aperio) -> Path:
    """A registry that knows the namespace, but not yet the artifact."""
    shutil.rmtree(aperio.folder / "registry")
    aperio("registry", "init", "registry")
    return aperio.folder / "registry"


def test_add_puts_an_artifact_into_a_plain_registry(aperio: Aperio) -> None:
    fresh(aperio)
    aperio("registry", "add", "dist", "--dir", "registry")
    build(aperio)


@pytest.mark.parametrize("place", READ)
def test_add_writes_through_no_link(aperio: Aperio, place: str) -> None:
    registry = fresh(aperio)
    link(registry / place, aperio.folder / "ssh")
    code, status = LINKED
    told = aperio.refuses("registry", "add", "dist", "--dir", "registry", code=code, status=status)
    assert told.what == f"`registry/{place}` was not used: it is a symbolic link"
    secret_is_kept(aperio)


# ── serving and reading ───────────────────────────────────────────────────────────────────────────

LOOKED_AT = {
    "source": ["public", "public/plugins.json"],
    "built": ["plugins.json"],
}


@pytest.mark.parametrize(
    ("named", "place"), [(named, place) for named, places in LOOKED_AT.items() for place in places]
)
def test_serve_starts_over_no_link(aperio: Aperio, named: str, place: str) -> None:
    build(aperio)
    folder = "registry" if named == "source" else "registry/public"
    link(aperio.folder / folder / place, aperio.folder / "ssh")
    code, status = LINKED
    told = aperio.refuses("registry", "serve", folder, code=code, status=status)
    assert f"{folder}/{place}`" in told.what


def test_serve_gives_no_file_behind_a_link_and_goes_on_after_a_build(aperio: Aperio) -> None:
    build(aperio)
    server = aperio.start("registry", "serve", "registry")
    assert server.stdout
    url = server.stdout.readline().decode().strip()
    build(aperio)
    aperio("plugin", "verify", PLUGIN, "--registry", url)
    bundle = next((aperio.folder / "registry/public/bundles").rglob(f"*{BUNDLE_SUFFIX}"))
    offered = [
        f"{FOLDER}/{NAME}",
        str(bundle.relative_to(aperio.folder / "registry/public")),
        f"plugins/{PLUGIN}.json",
    ]
    assert [answer(url + path) for path in offered] == [200, 200, 200]
    for name, path in zip(("artifacts", "bundles", "plugins"), offered, strict=True):
        link(aperio.folder / "registry/public" / name, aperio.folder / "ssh")
        assert (aperio.folder / "registry/public" / path).is_file()  # to whoever follows links
        assert answer(url + path) == 404
        # What was verified may be kept, and is taken by its digest without asking.
        shutil.rmtree(aperio.home / "cache")
        aperio("plugin", "install", PLUGIN, "--registry", url, "--yes", status=4)
        restore(aperio.folder / "registry/public" / name)
    aperio("plugin", "install", PLUGIN, "--registry", url, "--yes")
    server.send_signal(signal.SIGINT)
    assert finish(server).status == 130


OFFERED = [
    "plugins.json",
    "plugins",
    "plugins/acme",
    f"plugins/{PLUGIN}.json",
    "artifacts",
    "artifacts/acme",
    FOLDER,
    f"{FOLDER}/{NAME}",
    "bundles",
    "bundles/sha256",
    f"bundles/sha256/*/*{BUNDLE_SUFFIX}",
    f"bundles/sha256/*/*{ATTESTATIONS_SUFFIX}",
]


@pytest.mark.parametrize("command", ["install", "verify"])
def test_folder_is_installed_from_without_links(aperio: Aperio, command: str) -> None:
    """Even when it leads to the very bytes that were published."""
    build(aperio)
    public = aperio.folder / "registry/public"
    words = ("plugin", command, PLUGIN, "--registry", "registry/public")
    code, status = LINKED

    @for_each(OFFERED)
    def check(pattern: str) -> None:
        (named,) = public.glob(pattern)
        link(named, "")
        try:
            told = aperio.refuses(*words, code=code, status=status)
        finally:
            restore(named)
        place = named.relative_to(public)
        assert f"registry/public/{place}` was not used: it is a symbolic link" in told.what

    check()
    aperio("plugin", "install", *words[2:])


def test_source_whose_build_is_a_link_is_not_read(aperio: Aperio) -> None:
    build(aperio)
    link(aperio.folder / "registry/public", "")
    code, status = LINKED
    words = ("plugin", "install", PLUGIN, "--registry", "registry")
    told = aperio.refuses(*words, code=code, status=status)
    assert "name the place that it leads to" in told.next


@pytest.mark.parametrize("way", ["registry", "registry/public", "link"])
def test_folder_that_the_operator_names_may_be_a_link(aperio: Aperio, way: str) -> None:
    build(aperio)
    (aperio.folder / "link").symlink_to("registry/public")
    aperio("plugin", "install", PLUGIN, "--registry", way)


# ── artifacts that are verified and added ─────────────────────────────────────────────────────────


def beside(aperio: Aperio, suffix: str) -> Path:
    return aperio.folder / "dist" / (NAME + suffix)


@pytest.mark.parametrize("target", ["the same", "/proc/self/environ"])
@pytest.mark.parametrize("suffix", [BUNDLE_SUFFIX, ATTESTATIONS_SUFFIX])
@pytest.mark.parametrize(
    "words",
    [("plugin", "verify", f"dist/{NAME}"), ("registry", "add", "dist", "--dir", "registry")],
    ids=["verify", "add"],
)
def test_what_lies_beside_an_artifact_is_read_without_links(
    aperio: Aperio, words: tuple[str, ...], suffix: str, target: str
) -> None:
    """It came with the artifact; nobody named it."""
    aperio(*words)
    file = beside(aperio, suffix)
    kept = aperio.folder / "kept"
    file.rename(kept)
    file.symlink_to(kept if target == "the same" else target)
    code, status = LINKED

    told = aperio.refuses(*words, code=code, status=status)

    assert f"dist/{NAME}{suffix}` was not read: it is not a regular file" in told.what


def test_bundle_that_the_operator_names_may_be_a_link(aperio: Aperio) -> None:
    beside(aperio, BUNDLE_SUFFIX).rename(aperio.folder / "kept")
    (aperio.folder / "link").symlink_to("kept")
    aperio("plugin", "verify", f"dist/{NAME}", "--bundle", "link")


def test_artifact_that_the_operator_names_may_be_a_link(aperio: Aperio) -> None:
    beside(aperio, "").rename(aperio.folder / "kept")
    beside(aperio, "").symlink_to("../kept")
    aperio("plugin", "verify", f"dist/{NAME}")
    aperio("registry", "add", f"dist/{NAME}", "--dir", "registry")


@pytest.mark.parametrize(
    "words",
    [
        ("registry", "add", "dist", "--dir", "registry"),
        ("plugin", "sign", "dist", "--trust", "local"),
    ],
    ids=["add", "sign"],
)
def test_artifact_that_is_found_in_a_folder_may_be_no_link(
    aperio: Aperio, words: tuple[str, ...]
) -> None:
    beside(aperio, "").rename(aperio.folder / "kept")
    beside(aperio, "").symlink_to("../kept")
    code, status = LINKED

    told = aperio.refuses(*words, code=code, status=status)

    assert told.what == f"`dist/{NAME}` was not used: it is a symbolic link"

"""An operator for each test, and what takes long to make: made once, copied."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aperio_cli.__main__ import main
from tests.lifecycle.cli import Aperio, operator
from tests.lifecycle.hello_api import HelloApi
from tests.lifecycle.plugins import artifact_of, lighten, simulating
from tests.sharing import made_once
from tests.trust import IDENTITY

if TYPE_CHECKING:
    from collections.abc import Iterator

WHEELS = Path(__file__).resolve().parents[2] / ".cache" / "wheels"


@dataclass(frozen=True, slots=True)
class Workshop:
    """What an author made, and the home that trusts it.

    Attributes:
        home: with a trust domain and a rule for it, nothing installed.
        hello: the scaffolded project, its artifact and bundle in `dist`. It takes its dependencies
            from here, and so locks none: they are ten megabytes, which most tests need not read,
            pack, sign, install and start from. `whole` has them; a sandbox hides those from here.
        box: the Box connector's artifact and bundle.
    """

    home: Path
    hello: Path
    box: Path


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Made once; tests copy from it."""
    root = made_once(tmp_path_factory, "workshop", lambda root: _furnish(workshop_at(root)))
    return workshop_at(root)


def workshop_at(root: Path) -> Workshop:
    """Name the places of a workshop below a folder."""
    return Workshop(root / "home", root / "aperio-plugin-hello", root / "box")


@contextlib.contextmanager
def author(root: Path, home: Path) -> Iterator[None]:
    """Be the author, in a folder; the home may not be there yet."""
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(root):
        patch.setenv("APERIO_HOME", str(home))
        patch.setenv("HOME", str(root))
        patch.setenv("LOGNAME", IDENTITY.removesuffix("@local"))
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_FIND_LINKS", str(WHEELS))
        yield
    shutil.rmtree(home / "cache", ignore_errors=True)


def type_all(*lines: list[str]) -> None:
    """Type commands, each of which has to succeed."""
    for words in lines:
        assert main(words) == 0, words


_INIT = ["plugin", "init", "github.com/acme/aperio-plugin-hello"]


def _furnish(made: Workshop) -> None:
    root = made.home.parent
    plugins = WHEELS.parents[1] / "plugins"
    with author(root, made.home):
        type_all(["trust", "local", "init"], _INIT)
        lighten(made.hello)
        type_all(
            ["plugin", "build", str(made.hello)],
            ["plugin", "build", str(plugins / "box"), "--out", str(made.box)],
            ["plugin", "sign", str(made.hello / "dist"), str(made.box), "--trust", "local"],
        )


@pytest.fixture(scope="session")
def whole(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scaffolded project as it is, with all that it locks; built, and signed as the other."""

    def make(root: Path) -> None:
        home = Path(shutil.copytree(workshop.home, root / "home"))
        with author(root, home):
            project = root / workshop.hello.name
            type_all(
                _INIT,
                ["plugin", "build", str(project)],
                ["plugin", "sign", str(project / "dist"), "--trust", "local"],
            )

    return made_once(tmp_path_factory, "whole", make) / workshop.hello.name


@pytest.fixture
def stranger(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Aperio]:
    """Somebody who has just installed aperio: no home, an empty folder."""
    monkeypatch.setenv("LOGNAME", IDENTITY.removesuffix("@local"))
    with operator(tmp_path, capsys, monkeypatch) as made:
        yield made


@pytest.fixture
def aperio(stranger: Aperio, workshop: Workshop) -> Aperio:
    """An operator with a trust domain, and nothing installed."""
    shutil.copytree(workshop.home, stranger.home, symlinks=True)
    stranger.home.chmod(workshop.home.stat().st_mode & 0o777)
    return stranger


@pytest.fixture
def hello(aperio: Aperio, workshop: Workshop) -> Path:
    """A copy of the scaffolded project in the working folder, built and signed."""
    return Path(shutil.copytree(workshop.hello, aperio.folder / workshop.hello.name))


@pytest.fixture
def whole_hello(aperio: Aperio, whole: Path) -> Path:
    """A copy of the whole project in the working folder."""
    return Path(shutil.copytree(whole, aperio.folder / whole.name))


@pytest.fixture
def hello_artifact(hello: Path) -> Path:
    """The scaffolded plugin's artifact, signed."""
    return next((hello / "dist").glob("*.tar.gz"))


@pytest.fixture(scope="session")
def published(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built registry that offers the scaffolded plugin; tests copy it."""

    def publish(folder: Path) -> None:
        home = ("--home", str(shutil.copytree(workshop.home, folder / "home")))
        source = str(folder / "registry")
        for words in (
            ("init", source),
            ("add", str(workshop.hello / "dist"), "--dir", source),
            ("build", "--dir", source),
        ):
            assert main(["registry", *words, *home]) == 0, words

    return made_once(tmp_path_factory, "published", publish) / "registry"


@pytest.fixture
def registry(aperio: Aperio, hello: Path, published: Path) -> Path:
    """A built registry that offers the scaffolded plugin; its source is the folder above."""
    del hello  # stands beside it
    return Path(shutil.copytree(published, aperio.folder / "registry")) / "public"


@pytest.fixture(scope="session")
def store_with_hello(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a home in which the scaffolded plugin was installed."""

    def install(folder: Path) -> None:
        home = shutil.copytree(workshop.home, folder / "home")
        artifact = next((workshop.hello / "dist").glob("*.tar.gz"))
        assert main(["plugin", "install", "-y", str(artifact), "--home", str(home)]) == 0

    return made_once(tmp_path_factory, "installed", install) / "home" / "plugins"


@pytest.fixture(scope="session")
def states(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `Aperio.begins_after` keeps what it can begin from."""
    return tmp_path_factory.mktemp("states")


@pytest.fixture
def installed(aperio: Aperio, store_with_hello: Path) -> Aperio:
    """An operator who has installed the scaffolded plugin."""
    shutil.copytree(store_with_hello, aperio.home / "plugins")
    shutil.copy(store_with_hello.parent / "aperio.lock", aperio.home)
    return aperio


@pytest.fixture
def dripping(aperio: Aperio, states: Path) -> Aperio:
    """An operator with a plugin that sends 160 events slowly, two and a checkpoint at a time."""

    def install_what_drips(aperio: Aperio) -> None:
        artifact = artifact_of(aperio.folder / "dist", simulating("drips"))
        aperio("plugin", "sign", artifact, "--trust", "local")
        aperio("plugin", "install", artifact)

    aperio.begins_after(install_what_drips, states)
    return aperio


@pytest.fixture
def hello_api() -> Iterator[HelloApi]:
    """The API that the scaffolded plugin reads, with 450 events: three pages."""
    with HelloApi(450) as api:
        yield api

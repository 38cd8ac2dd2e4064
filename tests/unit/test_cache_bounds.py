"""What is kept of registries: within bounds, and never without what offline use rests on."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.commands.plugin.cleaning import clean_builds
from aperio_cli.config import Config
from aperio_cli.errors.files import Offline
from aperio_cli.files.trimming import (
    Bound,
    is_within,
    note_use,
    size_of,
    trim,
    trim_below,
    trim_trees,
)
from aperio_cli.models.digest import Digest
from aperio_cli.models.plugin_id import PluginId
from aperio_cli.net.cache import AnswerCache
from aperio_cli.net.model import Fetched
from aperio_cli.paths import find_paths
from aperio_cli.publishing import serving
from aperio_cli.registry import open_registry
from aperio_cli.registry.cleaning import clean_answers
from aperio_cli.verifying import KeptArtifacts
from tests.builders import LINUX, PLUGIN
from tests.registries import plugin_entry, signed_rule
from tests.rows import each_row
from tests.trust import new_domain
from tests.unit.test_registry_signed import Client
from tests.unit.test_registry_signed_log import Logged

if TYPE_CHECKING:
    from pathlib import Path

    from aperio_cli.signing.local import LocalDomain

NOW_S = 2_000_000_000.0
DAY_S = 86_400.0


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> LocalDomain:
    return new_domain(tmp_path_factory.mktemp("trust"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three files of 10 bytes, used 3, 2 and 1 days ago."""
    made = tmp_path / "kept"
    made.mkdir(mode=0o700)
    for days, name in ((3, "c"), (2, "b"), (1, "a")):
        put(made, name, days)
    return made


def put(folder: Path, name: str, days: float, size_bytes: int = 10) -> Path:
    path = folder / name
    path.write_bytes(b"x" * size_bytes)
    os.utime(path, (NOW_S - days * DAY_S,) * 2)
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def tree(folder: Path, name: str, days: float, size_bytes: int = 10) -> Path:
    """A folder with a file two levels below it, used so many days ago."""
    made = folder / name
    (made / "lib" / "x").mkdir(parents=True)
    (made / "lib" / "x" / "file").write_bytes(b"x" * size_bytes)
    os.utime(made, (NOW_S - days * DAY_S,) * 2)
    return made


@each_row(
    ("bound", "left"),
    [
        (Bound(30, 4 * DAY_S), ["a", "b", "c"]),
        (Bound(29, 4 * DAY_S), ["a", "b"]),
        (Bound(0, 4 * DAY_S), []),
        (Bound(30, 1.5 * DAY_S), ["a"]),
    ],
)
def test_folders_go_as_wholes_the_least_lately_used_first(
    tmp_path: Path, bound: Bound, left: list[str]
) -> None:
    outside = tree(tmp_path, "outside", 900, size_bytes=1000)
    kept = tmp_path / "kept"
    kept.mkdir(mode=0o700)
    for days, name in ((3, "c"), (2, "b"), (1, "a")):
        tree(kept, name, days)
    (kept / "a" / "link").symlink_to(outside)
    os.utime(kept / "a", (NOW_S - DAY_S,) * 2)
    assert size_of(kept) == 30
    trim_trees(kept, bound, NOW_S, nothing_stays)
    assert names(kept) == left
    assert size_of(outside) == 1000
    trim_trees(kept, Bound(0, 0), NOW_S, lambda name, _: name == "a")
    assert names(kept) == [name for name in left if name == "a"]


def test_files_at_any_depth_go_oldest_first(tmp_path: Path) -> None:
    kept = tmp_path / "http"
    for number, days in enumerate((3, 2, 1, 100)):
        place = kept / str(number) / "y"
        place.mkdir(parents=True, mode=0o700)
        put(place, "file", days)
    trim_below(kept, Bound(20, 90 * DAY_S), NOW_S)
    left = sorted(str(path.relative_to(kept)) for path in kept.rglob("file"))
    assert left == ["1/y/file", "2/y/file"]
    trim_below(tmp_path / "not there", Bound(0, 0), NOW_S)
    assert size_of(tmp_path / "not there") == 0


class _Cleaned:
    """What `clean_builds` needs of a command's context."""

    def __init__(self, home: Path) -> None:
        self.paths = find_paths({}, home=str(home))


def test_what_builds_keep_is_swept_once_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context: Any = _Cleaned(tmp_path / "home")
    clean_builds(context)  # nothing is there, and nothing is made
    assert not (tmp_path / "home").exists()
    cache = context.paths.cache
    for folder in ("development", "registry-builds", "downloads/http-v2"):
        (cache / folder).mkdir(parents=True, mode=0o700)
    now_s = time.time()
    monkeypatch.setattr("aperio_cli.commands.plugin.cleaning._now_s", lambda: now_s)
    old, new = (now_s - 100 * DAY_S,) * 2, (now_s - 60,) * 2
    for path, used in (
        (tree(cache / "development", "cp311-x", 0), old),
        (tree(cache / "development", "view-y", 0), new),
        (put(cache / "downloads/http-v2", "old", 0), old),
        (put(cache / "downloads/http-v2", "new", 0), new),
        (put(cache / "registry-builds", "old.db", 0), old),
        (put(cache / "registry-builds", "new.db", 0), new),
        (tree(cache / "downloads", "go", 0), old),
    ):
        os.utime(path, used)
    clean_builds(context, language="python")
    assert names(cache / "development") == ["view-y"]
    assert names(cache / "downloads") == ["http-v2"]  # modules that nobody has used, too
    assert names(cache / "downloads/http-v2") == ["new"]
    assert names(cache / "registry-builds") == ["new.db"]
    late = put(cache / "downloads/http-v2", "late", 0)
    os.utime(late, old)
    clean_builds(context)
    assert late.exists()  # it was swept today
    monkeypatch.setattr("aperio_cli.commands.plugin.cleaning._now_s", lambda: now_s + 2 * DAY_S)
    clean_builds(context)
    assert not late.exists()
    modules = tree(cache / "downloads", "go", 0)
    os.utime(modules, old)
    monkeypatch.setattr("aperio_cli.commands.plugin.cleaning._now_s", lambda: now_s + 4 * DAY_S)
    clean_builds(context, language="go")
    assert modules.exists()  # a build has just used them


def nothing_stays(_name: str, _used_s: float) -> bool:
    return False


@pytest.mark.parametrize(
    ("bound", "left"),
    [
        (Bound(30, 4 * DAY_S), ["a", "b", "c"]),
        (Bound(29, 4 * DAY_S), ["a", "b"]),
        (Bound(10, 4 * DAY_S), ["a"]),
        (Bound(0, 4 * DAY_S), []),
        (Bound(30, 1.5 * DAY_S), ["a"]),
    ],
)
def test_least_lately_used_goes_first(folder: Path, bound: Bound, left: list[str]) -> None:
    assert is_within(folder, bound, NOW_S) is (left == ["a", "b", "c"])
    trim(folder, bound, NOW_S, nothing_stays)
    assert names(folder) == left
    assert is_within(folder, bound, NOW_S)


def test_what_stays_is_spared_and_others_go_instead(folder: Path) -> None:
    trim(folder, Bound(10, DAY_S / 2), NOW_S, lambda name, _: name == "c")
    assert names(folder) == ["c"]


def test_what_is_used_is_not_old(folder: Path) -> None:
    note_use(folder / "c")
    trim(folder, Bound(100, 2.5 * DAY_S), os.stat(folder / "c").st_mtime, nothing_stays)  # noqa: PTH116
    assert "c" in names(folder)


def test_folders_links_and_what_is_written_now_are_left_alone(folder: Path, tmp_path: Path) -> None:
    outside = put(tmp_path, "outside", 300)
    (folder / "link").symlink_to(outside)
    (folder / "below").mkdir()
    put(folder, ".aside-now", 0, 1000)
    put(folder, ".aside-left", 300)
    trim(folder, Bound(0, 100 * DAY_S), NOW_S, nothing_stays)
    assert names(folder) == [".aside-now", "below", "link"]
    assert outside.exists()


def test_folder_of_somebody_else_is_left_alone(folder: Path) -> None:
    folder.chmod(0o777)
    trim(folder, Bound(0, 0), NOW_S, nothing_stays)
    assert names(folder) == ["a", "b", "c"]
    folder.chmod(0o700)
    trim(folder, Bound(0, 0), NOW_S, nothing_stays)
    assert names(folder) == []


def test_artifacts_of_installed_versions_stay(tmp_path: Path) -> None:
    kept = KeptArtifacts(tmp_path / "artifacts")
    kept.folder.mkdir(mode=0o700)
    installed, other = Digest.of(b"installed"), Digest.of(b"other")
    for digest in (installed, other):
        put(kept.folder, f"{digest.hex}.tar.gz", 200)
    put(kept.folder, f"{other.hex}.tar.gz.part", 200)
    kept.clean(NOW_S, {installed})
    assert names(kept.folder) == [f"{installed.hex}.tar.gz"]
    kept.clean(NOW_S, ())
    assert names(kept.folder) == []


# ── registries' answers ───────────────────────────────────────────────────────────────────────────


class Kept:
    """A client that has read a registry, and has installed one of its two plugins."""

    def __init__(self, tmp_path: Path, domain: LocalDomain) -> None:
        self.registry = Logged(tmp_path / "registry", domain)
        self.client = Client(tmp_path, domain)
        self.folder = self.client.paths.cache / "registries"
        other = plugin_entry(id="acme/other")
        with serving(self.registry.site.folder) as self.url:
            self.registry.site.publish(plugin_entry(), other, log=self.registry.log)
            self.rule = signed_rule(self.url)
            self.client.resolve(self.rule)
            self.client.resolve(self.rule, ref="acme/other")
            assert self.client.opened(self.rule).ruled[0].reader.rows()
        self.is_asked = False

    def clean(self, bound: Bound, now_s: float) -> None:
        def registries() -> Any:
            self.is_asked = True
            registry = open_registry(
                self.url,
                Config(registries=(self.rule,)),
                self.client.paths,
                offline=True,
                trust=self.client.trust,
            )
            yield registry, [(PluginId.parse(PLUGIN), "1.2.3", LINUX)]

        clean_answers(self.folder, lambda: now_s, registries, bound)

    def age(self, days: float, now_s: float) -> None:
        """Have everything been used last so many days ago."""
        for path in self.folder.iterdir():
            os.utime(path, (now_s - days * DAY_S,) * 2)


def test_answers_that_offline_use_of_the_installed_needs_stay_whatever_the_bound(
    tmp_path: Path, domain: LocalDomain
) -> None:
    kept = Kept(tmp_path, domain)
    put(kept.folder, "f" * 64, 0)
    now_s = os.stat(tmp_path).st_mtime  # noqa: PTH116
    kept.age(100, now_s)
    before = len(names(kept.folder))
    kept.clean(Bound(0, 90 * DAY_S), now_s)
    assert 0 < len(names(kept.folder)) < before
    offer = kept.client.resolve(kept.rule, offline=True)
    assert offer.log_proof
    assert len(kept.client.opened(kept.rule, offline=True).ruled[0].reader.rows()) == 2
    with pytest.raises(Offline):
        kept.client.resolve(kept.rule, ref="acme/other", offline=True)


def test_answers_within_their_bound_are_left_and_nobody_is_asked(
    tmp_path: Path, domain: LocalDomain
) -> None:
    kept = Kept(tmp_path, domain)
    before = names(kept.folder)
    kept.clean(Bound(2**30, 90 * DAY_S), os.stat(tmp_path).st_mtime)  # noqa: PTH116
    assert (names(kept.folder), kept.is_asked) == (before, False)
    assert kept.client.resolve(kept.rule, ref="acme/other", offline=True).version == "1.2.3"


def test_answer_that_is_found_counts_as_used(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path / "answers")
    cache.keep("https://a.example/", b"x", Fetched(Digest.of(b"x"), 1, None, is_modified=True))
    (path,) = cache.folder.iterdir()
    os.utime(path, (1, 1))
    assert cache.find("https://a.example/", 10)
    assert path.stat().st_mtime > DAY_S

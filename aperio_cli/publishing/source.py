"""The source of a registry: a folder of JSON records and artifacts that maintainers keep in git.

    aperio-registry.json                 {"schema", "serial", "updated_at", ...}: `edition`
    records/<namespace>/<name>.json      one plugin: its versions and their artifacts
    publishers/<namespace>.json          one publisher, as `models.registry.publishers` reads it
    advisories/<ID>.json                 one known fault, a record of OSV
    artifacts/<namespace>/<name>/<version>/<artifact>, its .sigstore.json and .intoto.jsonl
    public/                              what `registry build` makes of it

A record whose schema is a later one, or whose kind is unknown, is left out of what is built, not
fatal; whoever would change it refuses.

A clone was written by others: no link in it is followed (`beneath`).
"""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from aperio_cli.errors import AperioError
from aperio_cli.errors.files import FileNotRegular
from aperio_cli.errors.registries import RegistrySourceExists, RegistrySourceInvalid
from aperio_cli.files import writing
from aperio_cli.files.beneath import Beneath, OpenFolders
from aperio_cli.models.manifest import KINDS
from aperio_cli.models.newer import is_newer, refuse_newer
from aperio_cli.models.plugin_id import PluginId, check_version
from aperio_cli.models.reading import Bounds, described, parse_json
from aperio_cli.models.registry.advisories import parse_advisory
from aperio_cli.models.registry.publishers import RegistryPublisher, parse_entry
from aperio_cli.publishing.edition import SCHEMA as SOURCE_SCHEMA
from aperio_cli.publishing.edition import Edition, check_name
from aperio_cli.publishing.record import SCHEMA as RECORD_SCHEMA
from aperio_cli.publishing.record import Record
from aperio_cli.registry import BUILT_FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aperio_cli.models.reading import Table

FILE_NAME = "aperio-registry.json"
RECORDS = "records"
PUBLISHERS = "publishers"
ADVISORIES = "advisories"
ARTIFACTS = "artifacts"
_PUBLISHER_SCHEMA = "aperio.registry.publisher/v1"
_SOURCE_BOUNDS = Bounds(64 * 1024)
_RECORD_BOUNDS = Bounds(16 * 1024 * 1024, members=750_000)
_PUBLISHER_BOUNDS = Bounds(256 * 1024)
_ADVISORY_BOUNDS = Bounds(1024 * 1024)
_SUFFIX = ".json"
_OPEN_FOLDERS = 16  # records are read folder by folder


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of the source, and what tells without reading it that it is the same as before.

    Attributes:
        parts: its path.
        signature: size, times and inode.
    """

    parts: tuple[str, ...]
    signature: tuple[int, int, int, int]

    @classmethod
    def of(cls, parts: tuple[str, ...], status: os.stat_result) -> SourceFile:
        """Return the file of this status."""
        times = (status.st_mtime_ns, status.st_ctime_ns)
        return cls(parts, (status.st_size, *times, status.st_ino))

    @property
    def path(self) -> str:
        """Its path as text, relative to the source."""
        return "/".join(self.parts)


class RegistryFolder:
    """The folder that the maintainers of a registry keep, held open; `open_source` gives one.

    Every method refuses a link on its way with FileNotRegular.

    Attributes:
        root: the folder.
    """

    def __init__(self, root: Beneath) -> None:
        self.root = root
        self._folders = OpenFolders(root, _OPEN_FOLDERS)

    def close(self) -> None:
        """Let go of folders below that are held open; the root is whose who gave it."""
        self._folders.close()

    @property
    def path(self) -> Path:
        """The folder, as it was named."""
        return self.root.root

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Held by whoever changes the source."""
        return self.root.lock(".lock", what=f"the registry in `{self.path}` was not changed")

    def edition(self) -> Edition:
        """Return the edition that the folder is at.

        Raises:
            RegistrySourceInvalid: the file cannot be read.
        """
        table = self._load((FILE_NAME,), _SOURCE_BOUNDS)
        self._check_schema((FILE_NAME,), table, SOURCE_SCHEMA)
        return Edition.from_json(table)

    def write_edition(self, edition: Edition) -> None:
        """Replace the edition.

        Raises:
            DiskFull: there is no space; it is as it was.
            OSError: the folder cannot be written.
        """
        self.root.write_atomic(FILE_NAME, data=edition.to_bytes())

    def record(self, plugin: PluginId) -> Record | None:
        """Return the record of a plugin; None when there is none.

        Raises:
            RegistrySourceInvalid: it is damaged.
            RecordNewer: a newer aperio wrote it.
        """
        parts = record_parts(plugin)
        if self.root.mode(*parts) is None:
            return None
        table = self._load(parts, _RECORD_BOUNDS)
        self._check_schema(parts, table, RECORD_SCHEMA)
        return self._record(parts, table)

    def known_record(self, parts: tuple[str, ...]) -> Record | None:
        """Return the record in a file; None when it is of a later schema or an unknown kind.

        Raises:
            RegistrySourceInvalid: it is damaged.
        """
        table = self._load(parts, _RECORD_BOUNDS, self._folders.read)
        if is_newer(table.values.get("schema"), RECORD_SCHEMA):
            return None
        self._check_schema(parts, table, RECORD_SCHEMA)
        if table.recorded("kind") not in KINDS:
            return None
        return self._record(parts, table)

    def write_record(self, record: Record) -> None:
        """Replace the record of a plugin, and move the source to its next edition.

        Raises:
            DiskFull: there is no space; the record is as it was.
            OSError: the folder cannot be written.
        """
        parts = record_parts(record.id)
        self.root.make_folders(*parts[:-1])
        # The edition first: an interrupted change leaves a serial that means nothing, instead of
        # two editions with one serial.
        self.write_edition(self.edition().next())
        self.root.write_atomic(*parts, data=record.to_bytes())

    def record_files(self) -> Iterator[SourceFile]:
        """Yield all records, sorted by id; other files beside them are nobody's concern."""
        for namespace, status in self._visible(RECORDS):
            if stat.S_ISDIR(status.st_mode):
                yield from self._files(RECORDS, namespace)

    def publisher_files(self) -> Iterator[SourceFile]:
        """Yield all publishers, sorted by namespace."""
        return self._files(PUBLISHERS)

    def publisher(self, parts: tuple[str, ...]) -> RegistryPublisher:
        """Return the publisher in a file.

        Raises:
            RegistrySourceInvalid: it is damaged.
            RecordNewer: a newer aperio wrote it: what it says of a signer would be left out.
        """
        table = self._load(parts, _PUBLISHER_BOUNDS)
        self._check_schema(parts, table, _PUBLISHER_SCHEMA)
        stated_in = str(self.root.path(*parts))
        publisher = parse_entry(table, stated_in=stated_in, is_source=True)
        if publisher_parts(publisher.namespace) != parts:
            raise _invalid(self.root.path(*parts), f"it speaks for `{publisher.namespace}`")
        return publisher

    def advisories(self) -> list[dict[str, object]]:
        """Return the records of OSV, sorted by id.

        Raises:
            RegistrySourceInvalid: one of them is damaged, or two differ in case only.
        """
        found: dict[str, dict[str, object]] = {}
        for file in self._files(ADVISORIES):
            table = self._load(file.parts, _ADVISORY_BOUNDS)
            advisory = parse_advisory(table)
            if file.parts != (ADVISORIES, advisory.id + _SUFFIX):
                raise _invalid(self.root.path(*file.parts), f"it is `{advisory.id}`")
            if found.setdefault(advisory.id.casefold(), dict(table.values)) != table.values:
                raise _invalid(self.root.path(*file.parts), "another id differs in case only")
        return [found[each] for each in sorted(found)]

    def _files(self, *parts: str) -> Iterator[SourceFile]:
        for name, status in self._visible(*parts):
            if name.endswith(_SUFFIX) and not stat.S_ISDIR(status.st_mode):
                yield SourceFile.of((*parts, name), status)

    def _visible(self, *parts: str) -> list[tuple[str, os.stat_result]]:
        if self.root.mode(*parts) is None:
            return []
        return [each for each in self.root.entries(*parts) if not each[0].startswith(".")]

    def _record(self, parts: tuple[str, ...], table: Table) -> Record:
        record = Record.from_json(table)
        if record_parts(record.id) != parts:
            raise _invalid(self.root.path(*parts), f"it speaks for `{record.id}`")
        return record

    def _load(
        self, parts: tuple[str, ...], bounds: Bounds, read: Callable[..., bytes] | None = None
    ) -> Table:
        try:
            data = (read or self.root.read)(*parts, limit_bytes=bounds.size_bytes)
        except FileNotRegular:
            raise
        except (OSError, AperioError) as error:
            raise _invalid(self.root.path(*parts), str(error)) from error
        return parse_json(data, bounds, functools.partial(self._fail, parts))

    def _fail(self, parts: tuple[str, ...], key: str, why: str) -> NoReturn:
        raise _invalid(self.root.path(*parts), described(key, why))

    def _check_schema(self, parts: tuple[str, ...], table: Table, schema: str) -> None:
        stated = table.values.get("schema")
        if stated == schema:
            return
        refuse_newer(self.root.path(*parts), stated, schema, deed="the registry is as it was")
        table.fail("schema", f"expected {schema}")


def typed(words: str, directory: Path) -> str:
    """Return a command about the source in a folder, as it is typed.

    Args:
        words: those behind `aperio registry`, such as `build --renew`.
        directory: the source, as it was named; the folder that people stand in needs no naming.
    """
    where = "" if directory == Path() else f" --dir {shlex.quote(str(directory))}"
    return f"`aperio registry {words}{where}`"


def is_source(directory: Path) -> bool:
    """Return whether a folder is the source of a registry, which can be built."""
    return directory.joinpath(FILE_NAME).is_file()


def version_folder(plugin: PluginId, version: str) -> tuple[str, ...]:
    """Return where the artifacts of a version are, in the source and in what is built of it."""
    return ARTIFACTS, plugin.namespace, plugin.name, check_version(version)


def record_parts(plugin: PluginId) -> tuple[str, ...]:
    """Return where the record of a plugin is."""
    return RECORDS, plugin.namespace, plugin.name + _SUFFIX


def publisher_parts(namespace: str) -> tuple[str, ...]:
    """Return where a publisher's file is."""
    return PUBLISHERS, namespace + _SUFFIX


def create_source(path: Path, *, name: str = "") -> None:
    """Make the source of a new, empty registry.

    Args:
        path: a folder that is empty or not there yet.
        name: which of its signer's registries it is; empty: the only one.

    Raises:
        UsageError: the name is none.
        RegistrySourceExists: something is in it; it stays as it is.
        DiskFull: there is no space.
        OSError: the folder cannot be written.
    """
    check_name(name)
    if path.is_dir() and any(path.iterdir()):
        is_source = (path / FILE_NAME).exists()
        raise RegistrySourceExists(
            f"`{path}` was left as it is: "
            + ("it is the source of a registry already" if is_source else "it is not empty"),
            next=[typed("add ARTIFACT", path)] if is_source else ["name another folder"],
        )
    with writing.disk_full_guard(f"`{path}` was not made"):
        path.mkdir(parents=True, exist_ok=True)
        ignored = f".lock\n{writing.ASIDE_PREFIX}*\n/{BUILT_FOLDER}/\n"
        with Beneath(path) as root:
            root.write_atomic(".gitignore", data=ignored.encode())
            RegistryFolder(root).write_edition(Edition.first(name))


@contextlib.contextmanager
def open_source(path: Path) -> Iterator[RegistryFolder]:
    """Hold the source of a registry open for the length of the block.

    Raises:
        RegistrySourceInvalid: there is none in the folder, or it is damaged.
        FileNotRegular: a link stands in the place of its file.
        OSError: the folder may not be read.
    """
    with contextlib.ExitStack() as opened:
        try:
            root = opened.enter_context(Beneath(path))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise _no_source(path) from error
        if root.mode(FILE_NAME) is None:
            raise _no_source(path)
        registry = RegistryFolder(root)
        opened.callback(registry.close)
        registry.edition()
        yield registry


def _no_source(path: Path) -> RegistrySourceInvalid:
    return RegistrySourceInvalid(
        f"`{path}` is not the source of a registry",
        why=f"it has no {FILE_NAME}",
        next=[
            "name its folder with `--dir DIR`",
            f"make one: `aperio registry init {_place_for_one(path)}`",
        ],
    )


def _place_for_one(path: Path) -> str:
    """Return where a registry can be made: in a folder that is empty or not there, not in another.

    What may not be looked into counts as another.
    """
    try:
        is_free = not os.path.lexists(path) or (path.is_dir() and not any(path.iterdir()))
    except OSError:
        is_free = False
    return shlex.quote(str(path)) if is_free else "DIR"


def _invalid(path: Path, why: str) -> RegistrySourceInvalid:
    return RegistrySourceInvalid(
        f"`{path}` was not read; the registry is as it was",
        why=why,
        next=["bring the file back from the registry's history"],
    )

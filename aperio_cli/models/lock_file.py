"""aperio.lock: which version of each plugin is used, who signed it, and its digests everywhere.

TOML, written whole by commands:

    schema = 1

    [[plugins]]
    id = "acme/box-connector"
    version = "1.2.3"
    kind = "connector"
    registry = "https://registry.example/"     # or `file`, or `url`, of an artifact that was named
    index_serial = 7
    signer = {domain = "public", identity = "…", issuer = "…"}     # or `unsigned = true`
    artifacts = [
        {platform = "linux/amd64", sha256 = "…", size = 123},
    ]

Nothing in it differs from one machine to the next: not when something was signed, or installed, and
no path but that of a file that was named, relative to the lock file where it is below its folder.
"""

from __future__ import annotations

import functools
import posixpath
import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NoReturn

from aperio_cli.errors.installing import LockFileInvalid
from aperio_cli.models.evidence import proof_of
from aperio_cli.models.manifest import KINDS
from aperio_cli.models.newer import is_ours, refuse_newer
from aperio_cli.models.origin import FILE, Build, Origin, joined
from aperio_cli.models.platform import Platform
from aperio_cli.models.plugin_id import PluginId, check_version
from aperio_cli.models.publisher import BUILD_CONFIG_URI, OWNER_ID, REPOSITORY_ID, Signer
from aperio_cli.models.reading import Bounds, described, parse_toml

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from aperio_cli.models.reading import Table
    from aperio_cli.models.receipt import Receipt

SCHEMA: Final = 1
MAX_BYTES: Final = 4 * 1024 * 1024
MOST_PLUGINS: Final = 10_000
_MOST_BUILDS: Final = 32
_MOST_TEXT: Final = 4096
_HEAD: Final = (
    "Written by aperio's commands: which version of each plugin is used, and its digests.",
    "Keep it under version control; `aperio plugin install` installs exactly what it names.",
)
_CLAIMS: Final = {
    "workflow": BUILD_CONFIG_URI,
    "owner_id": OWNER_ID,
    "repository_id": REPOSITORY_ID,
}
_CONFLICT: Final = re.compile(r"^(?:<{7}|={7}|>{7}|\|{7})(?: |$)", re.MULTILINE)
_ENTRY: Final = re.compile(r"\s*\[\[\s*plugins\s*\]\]\s*(?:#.*)?")
_PLACE: Final = re.compile(r"plugins\[(\d+)\]\.?(\w*)")


@dataclass(frozen=True, slots=True)
class Locked:
    """What a lock file says of one plugin.

    Attributes:
        id: the plugin.
        version: the version that is used.
        kind: connector, remediation or destination.
        origin: where it came from.
        builds: its artifacts, by platform; at least one.
        signer: who signed it, as far as that is the same for every platform; None when nobody did.
        index_serial: the edition of the index that offered it, when it was locked; None when that
            did not say.
    """

    id: PluginId
    version: str
    kind: str
    origin: Origin
    builds: tuple[Build, ...]
    signer: Signer | None
    index_serial: int | None = None

    def build(self, platform: Platform) -> Build | None:
        """Return the artifact for a platform; None when there is none."""
        return next((build for build in self.builds if build.platform == platform), None)

    def is_signed_by(self, signer: Signer | None) -> bool:
        """Return whether whoever signed is whom the lock file names, by whatever root it shows."""
        if self.signer is None or signer is None:
            return self.signer is signer
        shown = (replace(signer, domain=domain) for domain in signer.domains)
        return any(each.lineage == self.signer.lineage for each in shown)

    def after(self, before: Locked | None) -> Locked:
        """Return what to write where a lock file has something of the plugin already.

        What was locked of the same version stays as it was; platforms may come in addition.
        """
        if before is None or before.version != self.version or not before.is_signed_by(self.signer):
            return self
        known = {build.platform: build.digest for build in before.builds}
        is_same = all(known.get(each.platform, each.digest) == each.digest for each in self.builds)
        if not is_same:
            return self
        return replace(before, builds=joined((*before.builds, *self.builds)))

    @classmethod
    def of(cls, receipt: Receipt) -> Locked:
        """Return what a lock file says of an installed version."""
        proof = proof_of(receipt.evidence)
        own = Build(Platform.parse(receipt.platform), receipt.artifact_digest)
        return cls(
            id=receipt.id,
            version=receipt.version,
            kind=receipt.kind,
            origin=receipt.origin or Origin.of_source(receipt.source),
            builds=joined((*receipt.builds, own)),
            signer=_portable(proof.signer) if proof else None,
            index_serial=receipt.index_serial,
        )


@dataclass(frozen=True, slots=True)
class LockFile:
    """The contents of a lock file.

    Attributes:
        entries: by id.
    """

    entries: tuple[Locked, ...] = ()

    def find(self, plugin: PluginId) -> Locked | None:
        """Return what it says of a plugin; None when that is nothing."""
        return next((entry for entry in self.entries if entry.id == plugin), None)

    def but(self, plugin: PluginId, entry: Locked | None) -> LockFile:
        """Return the same with another entry of a plugin, or with none."""
        others = [each for each in self.entries if each.id != plugin]
        return LockFile(tuple(sorted([*others, *([entry] if entry else [])], key=_id)))

    @classmethod
    def parse(cls, data: bytes, path: Path) -> LockFile:
        """Return what the file says.

        Raises:
            LockFileInvalid: it is no lock file, or not as one was written; names the line.
            RecordNewer: a newer aperio made it.
        """
        text = data.decode("utf-8", "replace")
        _refuse_conflict(text, path)
        fail = functools.partial(_fail, path, text)
        table = parse_toml(data, Bounds(MAX_BYTES), fail)
        refuse_newer(path, table.values.get("schema"), SCHEMA)
        if not is_ours(table.value("schema"), SCHEMA):
            table.fail("schema", f"expected {SCHEMA}")
        entries: dict[PluginId, Locked] = {}
        for each in table.tables("plugins", most=MOST_PLUGINS) if "plugins" in table else ():
            entry = _entry(each, path.parent)
            if entries.setdefault(entry.id, entry) is not entry:
                each.fail("id", f"`{entry.id}` is there twice")
        return cls(tuple(sorted(entries.values(), key=_id)))

    def to_bytes(self, folder: Path) -> bytes:
        """Return the contents of the file that says this.

        Args:
            folder: where it is going to stand, for files that are named relative to it.
        """
        import tomlkit

        document = tomlkit.document()
        for line in _HEAD:
            document.add(tomlkit.comment(line))
        document.add("schema", tomlkit.item(SCHEMA))
        tables = tomlkit.aot()
        for entry in self.entries:
            tables.append(_written(entry, folder))
        if self.entries:
            document.add("plugins", tables)
        return tomlkit.dumps(document).encode()


def _id(entry: Locked) -> PluginId:
    return entry.id


# ── reading ───────────────────────────────────────────────────────────────────────────────────────


def _entry(table: Table, folder: Path) -> Locked:
    origin = Origin.from_json(table)
    if origin.kind == FILE:
        origin = Origin(FILE, posixpath.normpath(folder / origin.place))
    return Locked(
        id=table.converted("id", PluginId.parse),
        version=table.converted("version", check_version),
        kind=table.choice("kind", KINDS),
        origin=origin,
        builds=_builds(table),
        signer=_signer(table),
        index_serial=table.integer("index_serial") if "index_serial" in table else None,
    )


def _builds(table: Table) -> tuple[Build, ...]:
    builds = [Build.from_json(each) for each in table.tables("artifacts", most=_MOST_BUILDS)]
    if not builds:
        table.fail("artifacts", "expected at least one artifact")
    counted = Counter(build.platform for build in builds)
    if twice := [str(platform) for platform, count in counted.items() if count > 1]:
        table.fail("artifacts", f"{twice[0]} is there twice")
    return joined(builds)


def _signer(table: Table) -> Signer | None:
    is_unsigned = table.flag("unsigned")
    if is_unsigned == ("signer" in table):
        table.fail("signer", "expected a signer, or `unsigned = true`, and not both")
    if is_unsigned:
        return None
    stated = table.table("signer")
    domain, identity, issuer = (
        stated.text(key, limit=_MOST_TEXT) for key in ("domain", "identity", "issuer")
    )
    claims = tuple(
        (claim, stated.text(key, limit=_MOST_TEXT))
        for key, claim in _CLAIMS.items()
        if key in stated
    )
    return Signer(domain, identity, issuer, "", "", claims)


def _portable(signer: Signer) -> Signer:
    """Return what is the same of every artifact of a version: each has a certificate of its own."""
    claims = tuple((name, signer.claim(name)) for name in _CLAIMS.values() if signer.claim(name))
    return Signer(signer.domain, signer.identity, signer.issuer, "", "", claims)


def _refuse_conflict(text: str, path: Path) -> None:
    """Refuse a file that two sides of a merge stand in.

    Raises:
        LockFileInvalid: they do.
    """
    if found := _CONFLICT.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise LockFileInvalid(
            f"`{path}` was not read: a merge left both of its sides in line {line}",
            why=f"line {line}: {found[0].strip()}",
            next=[
                "keep one side of the file, whole, then run the same command again",
                "what the other side had in addition: `aperio plugin install PLUGIN`",
            ],
        )


def _fail(path: Path, text: str, key: str, why: str) -> NoReturn:
    line = _line(text, key)
    raise LockFileInvalid(
        f"`{path}` was not read: {f'line {line} is wrong' if line else 'it is no lock file'}",
        why=described(key, why),
        next=[
            "bring the file back as a command wrote it, from version control, say",
            f"move it away: `aperio plugin install PLUGIN --lock {path}` writes it anew",
        ],
    )


def _line(text: str, key: str) -> int:
    """Return the number of the line that a key stands in, or its entry begins in; 0: unknown."""
    lines = text.splitlines()
    found = _PLACE.match(key)
    if found is None:
        return _first(lines, key.partition("[")[0], 0, len(lines)) if key else 0
    starts = [number for number, line in enumerate(lines) if _ENTRY.fullmatch(line)]
    if int(found[1]) >= len(starts):
        return 0
    begin = starts[int(found[1])]
    end = next((start for start in starts if start > begin), len(lines))
    return _first(lines, found[2], begin, end) or begin + 1


def _first(lines: list[str], key: str, begin: int, end: int) -> int:
    wanted = re.compile(rf"\s*{re.escape(key)}\s*=")
    return next((n + 1 for n in range(begin, end) if key and wanted.match(lines[n])), 0)


# ── writing ───────────────────────────────────────────────────────────────────────────────────────


def _written(entry: Locked, folder: Path) -> Any:
    import tomlkit

    table = tomlkit.table()
    for key, value in _stated(entry, folder).items():
        table.add(key, value)
    signer = tomlkit.inline_table()
    for key, text in _signer_stated(entry.signer).items():
        signer.add(key, text)
    table.add(*(("signer", signer) if entry.signer else ("unsigned", True)))
    artifacts = tomlkit.array().multiline(multiline=True)
    for build in entry.builds:
        row = tomlkit.inline_table()
        row.update(build.to_json())
        artifacts.append(row)
    table.add("artifacts", artifacts)
    return table


def _stated(entry: Locked, folder: Path) -> dict[str, object]:
    place = entry.origin.place
    if entry.origin.kind == FILE and place.startswith(f"{folder}/"):
        place = place.removeprefix(f"{folder}/")
    serial = {} if entry.index_serial is None else {"index_serial": entry.index_serial}
    return {
        "id": str(entry.id),
        "version": entry.version,
        "kind": entry.kind,
        entry.origin.kind: place,
        **serial,
    }


def _signer_stated(signer: Signer | None) -> Mapping[str, str]:
    if signer is None:
        return {}
    stated = {"domain": signer.domain, "identity": signer.identity, "issuer": signer.issuer}
    claims = {key: signer.claim(claim) for key, claim in _CLAIMS.items()}
    return stated | {key: value for key, value in claims.items() if value}

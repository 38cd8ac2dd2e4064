"""The schemas that a build puts into a registry, and the readers, take the same documents."""

from __future__ import annotations

import copy
import json
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import (  # type: ignore[import-untyped]  # its types are another distribution
    Draft202012Validator,
    ValidationError,
    validators,
)
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from aperio_cli.errors import AperioError
from aperio_cli.models.plugin_id import PluginId
from aperio_cli.models.publisher_table import PUBLISHER_KEYS
from aperio_cli.models.registry_index import RegistryIndex
from aperio_cli.publishing import build, init
from aperio_cli.publishing.source import open_source
from tests.builders import index_entry, index_version
from tests.unit import test_registry_documents as documents
from tests.writing_registries import put, record_of, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FOLDER = Path(__file__).resolve().parents[2] / "aperio_cli/publishing/schemas"
SCHEMAS = {path.name: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
BOX = PluginId("acme", "box-connector")
SAMPLE = 80

At = tuple[str | int, ...]


def _pattern(_: Any, pattern: str, instance: Any, __: Any) -> Iterator[ValidationError]:
    """ECMA 262 as JSON Schema wants it: `$` is the very end, and not before a last line feed."""
    ending = re.sub(r"(?<!\|)\$$", r"\\Z", pattern)
    if isinstance(instance, str) and not re.search(ending, instance, re.ASCII):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


Validator = validators.extend(Draft202012Validator, {"pattern": _pattern})
# Without `$schema`, which would choose the validator that reads `$` as Python does.
RESOURCES: Any = Registry().with_resources(
    (name, DRAFT202012.create_resource({k: v for k, v in schema.items() if k != "$schema"}))
    for name, schema in SCHEMAS.items()
)


def errors(kind: str, document: object) -> list[str]:
    """What the schema of a kind of document says against one."""
    checked = Validator({"$ref": f"{kind}.schema.json"}, registry=RESOURCES)
    return [f"{list(error.path)}: {error.message}" for error in checked.iter_errors(document)]


# ── documents, and who reads them ─────────────────────────────────────────────────────────────────


def _index() -> dict[str, Any]:
    artifact = documents.artifact(attestations_sha256=documents.SHA, tree=f"t1:{documents.SHA}")
    del artifact["mirrors"]
    arm = artifact | {"arch": "arm64", "attestations": "bundles/b.intoto.jsonl"}
    whole = index_version(
        version="1.1.0", artifacts=[artifact, arm], protocols=["1.0"], requires_host=">=1.0",
        published_at="2026-11-01T00:00:00Z", signer={"type": "local", "identity": "you@local"},
        sha256=documents.SHA,
    )  # fmt: skip
    seed = index_version(version="1.0.0", size=99, attestations="a.jsonl")
    texts = dict.fromkeys(("description", "license", "homepage", "source", "status"), "x")
    asked = {"oauth_scopes": ["a"], "egress": ["b:443"], "needs_kv": True}
    detail = {"url": "plugins/acme/box.json", "sha256": documents.SHA, "size": 1385}
    entry = index_entry(whole, seed, detail=detail, permissions=asked, signer={"type": "x"})
    return {
        "version": 1, "updated_at": "2026-11-01T00:00:00Z", "schema": "1.1", "epoch": 1,
        "serial": 7, "expires_at": "2026-12-01T00:00:00Z", "links": {"root": "registry.json"},
        "plugins": [entry | texts, index_entry(id="acme/other")],
    }  # fmt: skip


def _read_index(document: dict[str, Any], _: Path) -> RegistryIndex:
    return RegistryIndex.parse(json.dumps(document).encode(), where="plugins.json")


def _source(**changes: Any) -> dict[str, Any]:
    return {
        "schema": "aperio.registry.source/v1", "serial": 7, "updated_at": "2026-11-01T00:00:00Z",
        "name": "main", "epoch": 2, "valid_days": 14, "private": True,
        "signed": [{"serial": 6, "sha256": documents.SHA}],
    } | changes  # fmt: skip


BUILD = {
    "domain": "public", "ci": "github", "repository": "https://github.com/acme/box",
    "repository_id": "768213997", "owner_id": 2314423, "workflow": ".github/workflows/a.yml",
    "ref": "refs/tags/v{version}", "runner": "github-hosted", "plugin": "box-connector",
    "valid_from": "2026-01-01", "valid_until": "2036-01-01T00:00:00+02:00",
    "signer_workflow": "https://github.com/acme/ci/.github/workflows/sign.yml@refs/tags/v1",
    "require_provenance": True, "builder": "https://builder.example/b",
    "source_repository": "https://github.com/acme/box",
}  # fmt: skip
PERSON = {"domain": "public", "identity": "a@acme.example", "issuer": "https://i.example"}


def _publisher() -> dict[str, Any]:
    texts = {"contact": "security@acme.example", "homepage": "https://acme.example"}
    return documents.publisher(signers=[PERSON, BUILD], **texts)


def _record(folder: Path) -> dict[str, Any]:
    init(folder)
    put(folder, BOX, "1.0.0", has_artifact=True)
    put(folder, BOX, "1.1.0")
    record = record_of(folder, BOX)
    newest = record["versions"][0]
    newest["status"] = documents.STATUS | {"replacement": "1.0.0"}
    newest["artifacts"][0] |= {
        "tree": f"t1:{documents.SHA}",
        "attestations_sha256": documents.SHA,
        "mirrors": ["https://mirror.example/box.tar.gz", "oci://ghcr.example/acme/box"],
    }
    return record


@dataclass(frozen=True)
class Kind:
    """One kind of document.

    Attributes:
        whole: makes one with every key, in a folder.
        read: reads one; an AperioError refuses it.
        shown: where a reader takes everything for nothing, because nothing hangs of it.
        beyond: where a reader compares several values, which a schema cannot.
    """

    whole: Callable[[Path], dict[str, Any]]
    read: Callable[[dict[str, Any], Path], object]
    shown: str = "$^"
    beyond: str = "$^"


def _served(kind: str) -> Callable[[dict[str, Any], Path], object]:
    return lambda document, _: documents.read(kind, document)


def _kept(name: str, read: Callable[[Any], object]) -> Callable[[dict[str, Any], Path], object]:
    def read_source(document: dict[str, Any], folder: Path) -> object:
        if not (folder / "aperio-registry.json").exists():
            init(folder)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(document))
        with open_source(folder) as source:
            return read(source)

    return read_source


STATUSED = documents.STATUS | {"replacement": "1.1.0"}
KINDS = {
    "root": Kind(
        lambda _: documents.root(name="main"),
        _served("root"),
        beyond=r"updated_at|expires_at|serial|previous\.serial|log\.origin",
    ),
    "shard": Kind(
        lambda _: documents.shard(),
        _served("shard"),
        beyond=r"shard|plugins\..*|namespaces(\.\d+)?",
    ),
    "plugin": Kind(
        lambda _: documents.plugin(
            homepage="https://acme.example",
            source="https://acme.example",
            versions=[
                documents.version(version="1.1.0"),
                documents.version(status=documents.STATUS | {"state": "deprecated"}),
            ],
            withdrawn=[documents.version(version="0.9.0", status=STATUSED)],
        ),
        _served("plugin"),
        shown=r"description|license|homepage|source|permissions|.*\.publisher"
        r"|.*\.publisher\.(name|tier)|.*\.signer(\..*)?|.*\.requires_host",
        beyond=r"(versions|withdrawn)\.\d+\.version",
    ),
    "plugins": Kind(
        lambda _: _index(),
        _read_index,
        shown=r"updated_at|schema|epoch|expires_at|links(\..*)?|.*\.(description|license|homepage)"
        r"|.*\.(source|status|published_at|requires_host|tree|bundle_sha256|attestations_sha256)"
        r"|.*\.(permissions|signer|publisher)(\..*)?|.*\.versions\.0\.download_url",
        beyond=r"plugins\.\d+\.id|.*\.versions\.\d+\.version|.*\.versions\.0\.sha256"
        r"|.*\.artifacts\.\d+\.(os|arch|sha256)",
    ),
    "catalogue": Kind(
        lambda _: documents.catalogue(
            plugins=[documents.row(), documents.row(id="acme/other", latest="")]
        ),
        _served("catalogue"),
        shown=r".*\.(description|license|status|latest|publisher|published_at|publisher\.name)",
        beyond=r"plugins\.\d+\.id",
    ),
    "publishers": Kind(
        lambda _: documents.publishers(publishers=[_publisher()]),
        _served("publishers"),
        beyond=r".*\.valid_(from|until)",
    ),
    "advisories": Kind(
        lambda _: documents.advisories(),
        _served("advisories"),
        shown=r".*\.(summary|url)",
    ),
    "publisher": Kind(
        lambda _: {"schema": "aperio.registry.publisher/v1"} | _publisher(),
        _kept("publishers/acme.json", lambda source: source.publisher(("publishers", "acme.json"))),
        beyond=r"namespace|.*\.valid_(from|until)",
    ),
    "record": Kind(
        _record,
        _kept("records/acme/box-connector.json", lambda source: source.record(BOX)),
        beyond=r"id|kind|versions\.\d+\.(version|manifest.*)|.*\.artifacts\.\d+\.(os|arch|file)",
    ),
    "source": Kind(
        lambda _: _source(),
        _kept("aperio-registry.json", lambda source: source.edition()),
        beyond=r"serial|signed\.\d+\.serial",
    ),
}


def is_read(kind: str, document: dict[str, Any], folder: Path) -> bool:
    try:
        KINDS[kind].read(document, folder)
    except AperioError:
        return False
    return True


# ── what both take, and what both refuse ──────────────────────────────────────────────────────────


def test_every_schema_is_one_and_belongs_to_a_kind() -> None:
    for schema in SCHEMAS.values():
        Draft202012Validator.check_schema(schema)
    assert {name.removesuffix(".schema.json") for name in SCHEMAS} == {*KINDS, "common"}


def test_schema_of_signers_knows_the_keys_of_the_reader() -> None:
    signer = SCHEMAS["common.schema.json"]["$defs"]["signer"]
    assert set(signer["properties"]) == set(PUBLISHER_KEYS) - {"namespace", "tier"}


@pytest.mark.parametrize("kind", KINDS)
def test_both_take_a_whole_document_and_keys_of_a_later_aperio(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "registry"
    whole = KINDS[kind].whole(folder)
    assert errors(kind, whole) == []
    assert is_read(kind, whole, folder)
    later = whole | {"later": {"than": "this"}}
    assert errors(kind, later) == []
    assert is_read(kind, later, folder)


STRANGE: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 2**53, 10**12, 1.5, "", " ", "x", "X", "a/bc", "a b", "a\nb",
    "\0", "1", "01", "1.0", "1.2.3", "1.2.3+x", "linux", "yanked", "deprecated", "connector",
    "2026-11-01", "2026-11-01T00:00:00", "2026-13-01T00:00:00Z", "2026-11-01T00:00:00.5Z",
    "https://a.example/b", "http://a.example/b", "https://u:p@a.example/", "ftp://a.example",
    "oci://a.example/b", "../a", "/a", "a/b.json", "ab" * 32, "AB" * 32, "t1:" + "ab" * 32,
    "x" * 121, "x" * 5000, [], [[]], [None], ["x"], [""], [{}], {}, {"": {}}, {"x": 1},
)  # fmt: skip


def places(document: Any, at: At = ()) -> Iterator[At]:
    """Every place of a document; of a list its first two."""
    if isinstance(document, dict):
        items: Any = document.items()
    else:
        items = enumerate(document[:2]) if isinstance(document, list) else ()
    for key, value in items:
        yield (*at, key)
        yield from places(value, (*at, key))


def edited(text: str, chooser: random.Random) -> str:
    at = chooser.randint(0, len(text))
    return text[:at] + chooser.choice("09.:-/+ aAz_@?#\n{") + text[at + chooser.randint(0, 1) :]


def changed(document: dict[str, Any], at: At, chooser: random.Random) -> dict[str, Any]:
    """The document with another value, or none, at one place."""
    made: Any = copy.deepcopy(document)
    holder = made
    for key in at[:-1]:
        holder = holder[key]
    value = holder[at[-1]]
    chance = chooser.random()
    if chance < 0.15 and isinstance(holder, dict):
        del holder[at[-1]]
    elif chance < 0.5 and isinstance(value, str):
        holder[at[-1]] = edited(value, chooser)
    else:
        holder[at[-1]] = copy.deepcopy(chooser.choice(STRANGE))
    return dict(made)


def compare(kind: str, folder: Path, chooser: random.Random, number: int) -> None:
    whole = KINDS[kind].whole(folder)
    everywhere = list(places(whole))
    answers = set()
    for _ in range(number):
        at = chooser.choice(everywhere)
        document = changed(whole, at, chooser)
        path = ".".join(map(str, at))
        said, is_taken = errors(kind, document), is_read(kind, document, folder)
        answers.add(is_taken)
        if re.fullmatch(KINDS[kind].shown, path):
            assert is_taken or said, (path, document)
        elif re.fullmatch(KINDS[kind].beyond, path):
            assert not (is_taken and said), (path, said, document)
        else:
            assert is_taken is not bool(said), (path, said, document)
    assert answers == {True, False}


@pytest.mark.parametrize("kind", KINDS)
def test_schema_and_reader_agree_about_changed_documents(kind: str, tmp_path: Path) -> None:
    compare(kind, tmp_path / "registry", random.Random(13), 40 if kind == "root" else SAMPLE)  # noqa: S311 - repeatable


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_schema_and_reader_agree_about_many_changed_documents(kind: str, tmp_path: Path) -> None:
    compare(kind, tmp_path / "registry", random.Random(7), 300 if kind == "root" else 4000)  # noqa: S311 - repeatable


def test_what_is_built_keeps_the_schemas(tmp_path: Path) -> None:
    source = tmp_path / "registry"
    record = _record(source)
    write(source, BOX, record)
    put(source, PluginId("acme", "other"), "2.0.0-rc.1")
    for name, document in (
        ("publishers/acme.json", {"schema": "aperio.registry.publisher/v1"} | _publisher()),
        ("advisories/APERIO-2026-0001.json", documents.advisory()),
    ):
        (source / name).parent.mkdir()
        (source / name).write_text(json.dumps(document))
    del record["versions"][0]["artifacts"][0]["attestations_sha256"]
    write(source, BOX, record)
    out = build(source).out
    found = {"root": "registry.json", "plugin": "plugins/acme/box-connector.json"}
    found |= {kind: f"{kind}.json" for kind in ("catalogue", "plugins", "publishers", "advisories")}
    for kind, name in found.items():
        assert errors(kind, json.loads((out / name).read_bytes())) == [], name
    for path in (out / "shards").iterdir():
        assert errors("shard", json.loads(path.read_bytes())) == [], path.name
    schemas = {path.name: path.read_text() for path in (out / "schemas").iterdir()}
    assert set(schemas) == {f"{kind}.schema.json" for kind in (*found, "shard", "common")}
    assert {name: json.loads(text) for name, text in schemas.items()}.items() <= SCHEMAS.items()
    referred = re.findall(r'"\$ref": "([^#"]*)', "".join(schemas.values()))
    assert {*referred} - {""} <= set(schemas)  # whoever has the built folder needs nothing else
    for kind, name in (
        ("source", "aperio-registry.json"),
        ("record", "records/acme/box-connector.json"),
        ("record", "records/acme/other.json"),
    ):
        assert errors(kind, json.loads((source / name).read_bytes())) == [], name

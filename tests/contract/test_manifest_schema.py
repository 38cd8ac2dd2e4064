"""The schema in docs/reference and models/manifest.py accept and refuse the same manifests."""

from __future__ import annotations

import copy
import json
import random
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from jsonschema import (  # type: ignore[import-untyped]  # its types are another distribution
    Draft202012Validator,
    ValidationError,
    validators,
)

from aperio_cli.errors.building import ManifestInvalid, ManifestKindUnknown
from aperio_cli.models.limits import Limits
from aperio_cli.models.manifest import Manifest
from tests.builders import table
from tests.projects import MANIFEST
from tests.rows import for_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "docs/reference/manifest.schema.json").read_text())
GOOD = MANIFEST.replace("TAGS", "cp311")
LABEL = "a" * 63


def _pattern(_: Any, pattern: str, instance: Any, __: Any) -> Iterator[ValidationError]:
    """ECMA 262 as JSON Schema wants it: `$` is the very end, and not before a last line feed."""
    if isinstance(instance, str) and not re.search(re.sub(r"\$$", r"\\Z", pattern), instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


Validator = validators.extend(Draft202012Validator, {"pattern": _pattern})


def with_key(path: str, value: Any) -> dict[str, Any]:
    """The good manifest with one key, such as `limits.cpu`, set; ... removes it."""
    document: dict[str, Any] = yaml.load(GOOD, Loader=yaml.BaseLoader)  # noqa: S506 - strings only
    *parents, last = path.split(".")
    place = document
    for parent in parents:
        place = place.setdefault(parent, {})
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return document


def is_accepted_by_schema(document: Any) -> bool:
    return bool(Validator(SCHEMA).is_valid(document))


def is_accepted_by_parser(document: Any) -> bool:
    return is_accepted_as_text(yaml.safe_dump(document, allow_unicode=True))


def is_accepted_as_text(text: str) -> bool:
    try:
        Manifest.parse(text.encode())
    except (ManifestInvalid, ManifestKindUnknown):
        return False
    return True


ENTRY = {"field": "domain", "suffix": ".okta.com", "port": "443"}
ACCEPTED: list[tuple[str, Any]] = [
    ("id", "a/bc"),
    ("id", "0/0x"),
    ("id", "a" * 39 + "/" + "b" * 63),
    ("version", "0.0.0"),
    ("version", "1.2.3-rc.1"),
    ("version", "1.2.3-0a.b-c"),
    ("kind", "remediation"),
    ("kind", "destination"),
    ("provider", "A"),
    ("provider", "GOOGLE_WORKSPACE2"),
    ("name", "x" * 500),
    ("description", "\N{LATIN SMALL LETTER O WITH DIAERESIS} two\nlines"),
    ("license", "(MIT OR Apache-2.0)"),
    ("homepage", "https://example.com/\N{LATIN SMALL LETTER O WITH DIAERESIS}?a=b#c"),
    ("source", "http://example.com"),
    ("protocol", "1.0"),
    ("protocol", "9999.9999"),
    ("runtime", {"language": "go"}),
    ("runtime", {"language": "go", "tags": []}),
    ("runtime.tags", ["cp39", "cp311", "cp314"]),
    ("entrypoint", "0"),
    ("scopes", []),
    ("scopes", ["read:user", "https://example.com/auth/admin.readonly", "x" * 200]),
    ("permissions", {}),
    ("permissions.egress", ["api.box.com:443", "*.box.com:1", "a.b:65535"]),
    ("permissions.egress", [f"{LABEL}.{LABEL}:443"]),
    ("permissions.egress", ["10.0.0.1.nip.io:443", "local.box.com:1", "notlocal.xlocal:2"]),
    ("permissions.egress_from_config", [ENTRY]),
    ("permissions.folders_from_config", ["folder", "other_2"]),
    ("limits", {}),
    ("limits.memory", "1KiB"),
    ("limits.memory", "999999999GiB"),
    ("limits.memory", "010MiB"),
    ("limits.cpu", "0.001"),
    ("limits.cpu", "999.999"),
    ("limits.cpu", "2"),
    ("limits.cpu", "0.12345"),
    ("limits.processes", "8.0"),
    ("limits.processes", "1"),
    ("limits.open_files", "999999"),
    ("limits.tmp", "32MiB"),
    ("limits.duration", "1s"),
    ("limits.duration", "090m"),
    ("limits.duration", "99999h"),
    ("state", "true"),
    ("state", "false"),
]
REFUSED: list[tuple[str, Any]] = [
    *((key, ...) for key in SCHEMA["required"]),
    ("extra", "x"),
    ("Version", "1.0.0"),
    ("schema", "aperio.plugin.manifest/v2"),
    ("id", "box"),
    ("id", "a/b"),
    ("id", "Acme/box"),
    ("id", "../box"),
    ("id", "acme/box/x"),
    ("id", "acme/../x"),
    ("id", "acme/-box"),
    ("id", "-acme/box"),
    ("id", "acme/box\n"),
    ("id", "acme/b\N{CYRILLIC SMALL LETTER O}x"),
    ("id", "a" * 40 + "/box"),
    ("id", "acme/" + "b" * 64),
    ("id", ["acme/box"]),
    ("version", "1.2"),
    ("version", "01.2.3"),
    ("version", "1.2.3+build"),
    ("version", "1.2.3-01"),
    ("version", "1.2.3-"),
    ("version", "v1.2.3"),
    ("version", "1.2.3\n"),
    ("version", "1.2.3-" + "a" * 60),
    ("version", "\N{ARABIC-INDIC DIGIT ONE}.0.0"),
    ("kind", "conector"),
    ("kind", ""),
    ("kind", ["connector"]),
    ("provider", "box"),
    ("provider", "1PASSWORD"),
    ("provider", "A" * 64),
    ("name", ""),
    ("name", "  "),
    ("name", "x" * 501),
    ("name", {"a": "b"}),
    ("description", "\n"),
    ("license", "MIT/X11"),
    ("license", "x" * 121),
    ("license", " "),
    ("homepage", "ftp://example.com"),
    ("homepage", "https://"),
    ("homepage", "https://exa mple.com"),
    ("homepage", "javascript:alert(1)"),
    ("source", "https://example.com/<script>"),
    ("source", "https://example.com/" + "x" * 500),
    ("protocol", "1"),
    ("protocol", "0.1"),
    ("protocol", "1.00"),
    ("protocol", "1.0.0"),
    ("protocol", "10000.0"),
    ("runtime", "python"),
    ("runtime", {}),
    ("runtime", {"language": "python"}),
    ("runtime", {"language": "python", "tags": []}),
    ("runtime", {"language": "go", "tags": ["cp311"]}),
    ("runtime", {"language": "rust"}),
    ("runtime", {"language": ["go"]}),
    ("runtime.interpreter", "python3"),
    ("runtime.tags", "cp311"),
    ("runtime.tags", ["cp27"]),
    ("runtime.tags", ["cp3"]),
    ("runtime.tags", ["cp313t"]),
    ("runtime.tags", ["cp311"] * 65),
    ("entrypoint", "../sh"),
    ("entrypoint", "box.py"),
    ("entrypoint", "-box"),
    ("entrypoint", "bin/box"),
    ("entrypoint", "a" * 64),
    ("scopes", "read"),
    ("scopes", ["a b"]),
    ("scopes", [""]),
    ("scopes", ["x" * 201]),
    ("scopes", [["a"]]),
    ("permissions", []),
    ("permissions.network", "all"),
    ("permissions.egress", "api.box.com:443"),
    ("permissions.egress", ["api.box.com"]),
    ("permissions.egress", ["api.box.com:0"]),
    ("permissions.egress", ["api.box.com:65536"]),
    ("permissions.egress", ["api.box.com:x"]),
    ("permissions.egress", ["*:443"]),
    ("permissions.egress", ["*.*.com:443"]),
    ("permissions.egress", ["api.*.com:443"]),
    ("permissions.egress", ["localhost:443"]),
    ("permissions.egress", ["10.0.0.1:443"]),
    ("permissions.egress", ["0x7f.1:443"]),
    ("permissions.egress", ["2130706433:443"]),
    ("permissions.egress", ["vault.corp.internal:443"]),
    ("permissions.egress", ["*.home.arpa:443"]),
    ("permissions.egress", ["app.localhost:443"]),
    ("permissions.egress_from_config", [{**ENTRY, "suffix": ".corp.internal"}]),
    ("permissions.egress_from_config", [{**ENTRY, "suffix": ".0.1"}]),
    ("permissions.egress", ["API.box.com:443"]),
    ("permissions.egress", ["https://api.box.com:443"]),
    ("permissions.egress", ["api.box.com:443/path"]),
    ("permissions.egress", ["[::1]:443"]),
    ("permissions.egress", ["-a.com:443"]),
    ("permissions.egress", [f"a{LABEL}.com:443"]),
    ("permissions.egress", ["a.com:443"] * 65),
    ("permissions.egress_from_config", [{**ENTRY, "suffix": ".com"}]),
    ("permissions.egress_from_config", [{**ENTRY, "suffix": "okta.com"}]),
    ("permissions.egress_from_config", [{**ENTRY, "field": "Domain"}]),
    ("permissions.egress_from_config", [{**ENTRY, "port": "0"}]),
    ("permissions.egress_from_config", [{**ENTRY, "port": "70000"}]),
    ("permissions.egress_from_config", [{**ENTRY, "path": "/"}]),
    ("permissions.egress_from_config", [{"field": "domain"}]),
    ("permissions.egress_from_config", ["domain"]),
    ("permissions.folders_from_config", ["/var/lib"]),
    ("permissions.folders_from_config", "folder"),
    ("permissions.folders_from_config", ["folder"] * 65),
    ("limits", ["memory"]),
    ("limits.disk", "1GiB"),
    ("limits.memory", "256"),
    ("limits.memory", "256MB"),
    ("limits.memory", "0MiB"),
    ("limits.memory", "1.5GiB"),
    ("limits.memory", "-1MiB"),
    ("limits.memory", "1234567890MiB"),
    ("limits.cpu", "0"),
    ("limits.cpu", "0.0"),
    ("limits.cpu", "1e3"),
    ("limits.cpu", "1000"),
    ("limits.cpu", "0.0001"),
    ("limits.processes", "0"),
    ("limits.processes", "1000000"),
    ("limits.open_files", "many"),
    ("limits.duration", "0h"),
    ("limits.duration", "1d"),
    ("limits.duration", "1.5h"),
    ("limits.duration", "3600"),
    ("limits.duration", "123456s"),
    ("limits.duration", 60),
    ("limits.cpu", "0.0009"),
    ("limits.cpu", []),
    ("limits.processes", "8."),
    ("limits.processes", ["8"]),
    ("limits.memory", {"a": "1MiB"}),
    ("permissions.egress_from_config", [{**ENTRY, "port": ["443"]}]),
    ("state", []),
    ("state", ["true"]),
    ("state", {"a": "b"}),
    ("state", "yes"),
    ("state", ""),
]  # fmt: skip


def test_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_both_accept_the_good_manifest() -> None:
    document = yaml.load(GOOD, Loader=yaml.BaseLoader)  # noqa: S506 - strings only
    assert is_accepted_by_schema(document)
    assert is_accepted_by_parser(document)


@for_rows(ACCEPTED)
def test_both_accept(path: str, value: Any) -> None:
    document = with_key(path, value)
    assert is_accepted_by_schema(document)
    assert is_accepted_by_parser(document)


@for_rows(REFUSED)
def test_both_refuse(path: str, value: Any) -> None:
    document = with_key(path, value)
    assert not is_accepted_by_schema(document)
    assert not is_accepted_by_parser(document)


@pytest.mark.parametrize("document", [None, [], "text", {}])
def test_both_refuse_what_is_no_manifest_at_all(document: Any) -> None:
    assert not is_accepted_by_schema(document)
    assert not is_accepted_by_parser(document)


def test_schema_states_the_defaults_of_the_parser() -> None:
    limits = SCHEMA["properties"]["limits"]["properties"]
    stated = {key: limits[key]["default"] for key in limits}
    assert stated == {key: str(value) for key, value in Limits().to_json().items()}
    assert Manifest.parse(GOOD.encode()).state is False
    assert SCHEMA["properties"]["state"]["default"] == "false"


def test_schema_and_parser_and_these_tests_know_the_same_keys() -> None:
    record: dict[str, Any] = Manifest.parse(GOOD.encode()).to_json()
    properties = SCHEMA["properties"]
    assert set(record) == set(properties)
    for part in ("runtime", "permissions", "limits"):
        assert set(record[part]) == set(properties[part]["properties"])
    optional = set(properties) - set(SCHEMA["required"])
    for paths in ([path for path, _ in ACCEPTED], [path for path, _ in REFUSED], EXTRA):
        assert optional - {path.partition(".")[0] for path in paths} == set()


@for_rows(ACCEPTED)
def test_a_record_keeps_what_both_accept(path: str, value: Any) -> None:
    manifest = Manifest.parse(json.dumps(with_key(path, value)).encode())
    assert Manifest.from_record(table({"manifest": manifest.to_json()})) == manifest


def test_schema_accepts_what_an_editor_reads_from_unquoted_scalars() -> None:
    """Editors read YAML's types; aperio reads text."""
    text = GOOD + "limits: {cpu: 0.5, processes: 8.0}\nstate: true\n"
    assert is_accepted_by_schema(yaml.safe_load(text))
    manifest = Manifest.parse(text.encode())
    assert (manifest.limits.processes, manifest.state) == (8, True)


def test_schema_asks_for_quotes_where_an_editor_would_read_another_version() -> None:
    text = GOOD.replace('"1.0"', "1.10")
    assert not is_accepted_by_schema(yaml.safe_load(text))
    assert Manifest.parse(text.encode()).protocol == (1, 10)


@pytest.mark.parametrize("value", [".nan", "NaN", ".inf", "1e-1", "0x1"])
def test_parser_refuses_cores_that_are_no_plain_number(value: str) -> None:
    with pytest.raises(ManifestInvalid):
        Manifest.parse(f"{GOOD}limits: {{cpu: {value}}}\n".encode())


STRANGE: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 8, 10, 443, 1000, 65536, 999999, 1000000, 2**64, 0.0, -0.0, 1.0,
    8.0, 443.0, 1.5, 1.05, 0.5, 0.3, 0.001, 0.0011, 0.0009, 0.00001, 999.999, 999.9999999999,
    1000.0, 1e16, "", " ", "0", "1", "1.0", "1.10", "8.0", "8.", "08", "8.00", "0.001", "0.0010000",
    "0.0009", "1e-1", "1000.0", "999.9999", "true", "False", "null", "cp311", "go", "python",
    "a.b:1", "1.1:1", "a.local:1", ENTRY, "a.b:65536", ".okta.com", [], {}, [[]], [{}], [""],
    [None], ["cp311"], {"a": "b"}, "x" * 501,
)  # fmt: skip
EXTRA = (
    *(
        f"limits.{key}"
        for key in ("memory", "cpu", "processes", "open_files", "tmp", "duration", "cpus")
    ),
    *(
        f"permissions.{key}"
        for key in ("egress", "egress_from_config", "folders_from_config", "network")
    ),
    *("homepage", "source", "scopes", "state", "runtime.tags", "extra"),
)
FULL = yaml.load(GOOD, Loader=yaml.BaseLoader) | {  # noqa: S506 - strings only
    "homepage": "https://example.com/a?b#c",
    "scopes": ["read:user"],
    "permissions": {
        "egress": ["*.box.com:443"],
        "egress_from_config": [ENTRY | {"port": 443}],
        "folders_from_config": ["folder"],
    },
    "limits": {
        "memory": "1GiB",
        "cpu": 0.5,
        "processes": 8,
        "open_files": "9",
        "tmp": "1KiB",
        "duration": "1h",
    },
    "state": False,
}


def places_of(document: Any) -> list[tuple[Any, Any]]:
    """Every list or mapping with each of its keys."""
    keys = document.keys() if isinstance(document, dict) else range(len(document))
    found = [(document, key) for key in keys]
    for _, key in tuple(found):
        if isinstance(document[key], dict | list):
            found += places_of(document[key])
    return found


def edited(text: str, chooser: random.Random) -> str:
    at = chooser.randint(0, len(text))
    inserted: str = chooser.choice(
        ("", *"0019.:-/*+ aAz_\n", "\N{ARABIC-INDIC DIGIT ONE}", text[:9])
    )
    return text[:at] + inserted + text[at + chooser.choice((0, 0, 1)) :]


def mutated(chooser: random.Random) -> dict[str, Any]:
    document: dict[str, Any] = copy.deepcopy(FULL)
    for _ in range(chooser.choice((1, 1, 1, 2))):
        holder, key = chooser.choice(places_of(document))
        if chooser.random() < 0.1:
            del holder[key]
        elif chooser.random() < 0.5 and not isinstance(holder[key], dict | list):
            holder[key] = edited(str(holder[key]), chooser)
        else:
            holder[key] = copy.deepcopy(chooser.choice(STRANGE))
        parent, _, last = chooser.choice(EXTRA).rpartition(".")
        place = document.get(parent) if parent else document
        if chooser.random() < 0.1 and isinstance(place, dict):
            place[last] = copy.deepcopy(chooser.choice(STRANGE))
    return document


def as_text(value: Any) -> Any:
    """What aperio reads of a document: every scalar as it is written."""
    if isinstance(value, dict):
        return {key: as_text(each) for key, each in value.items()}
    if isinstance(value, list):
        return [as_text(each) for each in value]
    return value if isinstance(value, str) else json.dumps(value)


@pytest.mark.parametrize(
    "count", [pytest.param(20_000, marks=[pytest.mark.slow, pytest.mark.timeout(600)]), 500]
)
def test_schema_and_parser_agree_on_random_changes(count: int) -> None:
    """On what aperio reads always; and what an editor's types let pass, aperio accepts."""
    chooser, validator = random.Random(count), Validator(SCHEMA)  # noqa: S311 - a fixed seed
    accepted = 0
    for _ in range(count):
        document = mutated(chooser)
        text = json.dumps(document, ensure_ascii=False)  # which is YAML as well
        is_accepted = is_accepted_as_text(text)
        accepted += is_accepted
        assert validator.is_valid(as_text(document)) == is_accepted, text
        assert is_accepted or not validator.is_valid(document), text
    assert count / 10 < accepted < count * 9 / 10  # the changes reach both sides of the border


def test_reference_page_names_every_key() -> None:
    page = (ROOT / "docs/reference/manifest.md").read_text()
    for key in SCHEMA["properties"]:
        assert f"`{key}" in page
    for part in ("permissions", "limits"):
        for key in SCHEMA["properties"][part]["properties"]:
            assert f"`{part}.{key}`" in page


def test_example_of_the_reference_page_is_accepted() -> None:
    page = (ROOT / "docs/reference/manifest.md").read_text()
    example = page.partition("```yaml\n")[2].partition("```")[0]
    assert str(Manifest.parse(example.encode()).id) == "acme/box-connector"

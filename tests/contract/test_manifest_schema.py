"""The schema in docs/reference and models/manifest.py accept and refuse the same manifests."""

from __future__ import annotations

import json
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
from tests.projects import MANIFEST

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
    try:
        Manifest.parse(yaml.safe_dump(document, allow_unicode=True).encode())
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
    ("permissions.egress_from_config", [ENTRY]),
    ("limits", {}),
    ("limits.memory", "1KiB"),
    ("limits.memory", "999999999GiB"),
    ("limits.memory", "010MiB"),
    ("limits.cpu", "0.001"),
    ("limits.cpu", "999.999"),
    ("limits.cpu", "2"),
    ("limits.processes", "1"),
    ("limits.open_files", "999999"),
    ("limits.tmp", "32MiB"),
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
    ("state", "yes"),
    ("state", ""),
]  # fmt: skip


def test_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_both_accept_the_good_manifest() -> None:
    document = yaml.load(GOOD, Loader=yaml.BaseLoader)  # noqa: S506 - strings only
    assert is_accepted_by_schema(document)
    assert is_accepted_by_parser(document)


@pytest.mark.parametrize(("path", "value"), ACCEPTED)
def test_both_accept(path: str, value: Any) -> None:
    document = with_key(path, value)
    assert is_accepted_by_schema(document)
    assert is_accepted_by_parser(document)


@pytest.mark.parametrize(("path", "value"), REFUSED)
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


def test_schema_accepts_what_an_editor_reads_from_unquoted_scalars() -> None:
    """Editors read YAML's types; aperio reads text."""
    text = GOOD.replace('"1.0"', "1.0") + "limits: {cpu: 0.5, processes: 8}\nstate: true\n"
    assert is_accepted_by_schema(yaml.safe_load(text))
    assert Manifest.parse(text.encode()).state is True


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

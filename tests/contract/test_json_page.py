"""docs/reference/json.md lists the keys that are pinned: all of them, and no other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.contract.test_json_documents import DATA, RUNS
from tests.rows import for_each

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "json.md"
Keys = dict[str, "Keys"]
_ROW = re.compile(r"^\| (`[^|]+) \| ([^|]+) \|$", re.MULTILINE)
_TOKEN = re.compile(r"`(\w+)`|([()])")


def listed() -> dict[str, Keys]:
    """What the page says of each command: its keys, and those inside of them."""
    table = PAGE.read_text(encoding="utf-8").partition("## `data` by command")[2]
    found = {}
    for command, cell in _ROW.findall(table):
        found[command.strip("`").removeprefix("plugin run … ")] = keys(cell)
    return found


def keys(cell: str) -> Keys:
    """The keys in a cell; those in parentheses belong to the key before."""
    top: Keys = {}
    open_ones, last = [top], top
    for name, bracket in _TOKEN.findall(cell):
        if name:
            last = open_ones[-1].setdefault(name, {})
        elif bracket == "(":
            open_ones.append(last)
        else:
            open_ones.pop()
    return top


def pinned(schema: dict[str, Any]) -> dict[str, Any]:
    """The properties of an object, of the items of a list, or of what may also be null."""
    for inner in (schema.get("items"), *schema.get("anyOf", [])):
        if inner:
            return pinned(inner) or pinned(schema.get("anyOf", [{}])[-1])
    properties: dict[str, Any] = schema.get("properties", {})
    return properties


def differences(page: Keys, schema: dict[str, Any], where: str) -> list[str]:
    """What the page leaves out, and what it invents. Objects of which it names no key are told in
    words; values that are no objects may be listed as words."""
    expected = pinned(schema)
    if not page or not expected:
        return []
    found = [f"{where}: `{key}` is missing" for key in expected.keys() - page.keys()]
    found += [f"{where}: `{key}` is not there" for key in page.keys() - expected.keys()]
    for key in page.keys() & expected.keys():
        found += differences(page[key], expected[key], f"{where} {key}")
    return sorted(found)


@for_each(DATA)
def test_the_page_lists_the_keys_of_a_command(command: str) -> None:
    assert differences(listed()[command], DATA[command], command) == []


@for_each(["test", "execute", "deliver"])
def test_the_page_lists_the_keys_of_an_operation(operation: str) -> None:
    assert differences(listed()[operation], RUNS[operation], operation) == []


def test_a_key_too_few_and_one_too_many_are_found() -> None:
    page = keys(
        "`out`, `plugins` (counts), `versions`, `serials`, `skipped`, `expires_at`, `signed`,"
        " `waiting`"
    )
    assert differences(page, DATA["registry build"], "build") == [
        "build: `left_out` is missing",
        "build: `serial` is missing",
        "build: `serials` is not there",
    ]
    inner = keys("`removed` (`id`, `versions`, `current`)")
    assert differences(inner, DATA["plugin remove"], "x") == ["x removed: `was_purged` is missing"]

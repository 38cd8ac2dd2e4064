"""What `aperio doctor` says of the registries of a configuration."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.models.registry.documents import ROOT_FILE
from aperio_cli.models.registry.rule import RegistryRule
from aperio_cli.net import fetch as net_fetch
from aperio_cli.publishing import serving
from aperio_cli.registry import looking
from aperio_cli.registry.http import Downloads
from aperio_cli.registry.looking import ASKED_S, look_at
from tests.builders import registry_folder
from tests.registries import MOMENT, Site, signed_rule
from tests.rows import each_row

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 6, 10, 12, tzinfo=UTC)
END = "2026-07-01T00:00:00Z"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that are asked."""
    found: list[str] = []
    fetch = net_fetch.fetch_bytes

    def noting(request: Any) -> Any:
        assert request.timeout_s == ASKED_S
        found.append(request.address)
        return fetch(request)

    monkeypatch.setattr(looking, "fetch_bytes", noting)
    return found


def look(rule: RegistryRule, cache: Path, *, offline: bool = False) -> dict[str, Any]:
    [found] = look_at([rule], cache, offline=offline)
    text = found.text(NOW)
    assert text.startswith(f"{rule.url}  ")
    return found.to_json(NOW) | {"text": text}


def test_registry_that_was_read_and_answers_is_told_with_its_edition(
    tmp_path: Path, asked: list[str]
) -> None:
    folder = Site(tmp_path / "registry").publish(serial=7, expires_at=END)
    with serving(folder) as url:
        Downloads(tmp_path / "cache", offline=False).read(f"{url}{ROOT_FILE}", 1024 * 1024)
        found = look(signed_rule(url, name="main"), tmp_path / "cache")
    assert asked == [f"{url}{ROOT_FILE}"]
    edition = {"epoch": 1, "serial": 7, "updated_at": MOMENT, "age_days": 4, "expires_at": END}
    assert found.pop("text") == (
        f"{url}  signed by alice@local; edition 7, 4 days old, until {END}; reachable"
    )
    assert found == {
        "url": url, "address": url, "name": "main", "signer": "alice@local", "problem": "",
        "edition": edition | {"has_ended": False}, "is_reachable": True,
    }  # fmt: skip
    gone = look(signed_rule(url), tmp_path / "cache")
    assert (gone["is_reachable"], gone["edition"]["serial"]) == (False, 7)
    assert f"`{url}{ROOT_FILE}` was not fetched" in gone["problem"]
    assert gone["text"].endswith(f"; not reachable: {gone['problem']}")


def test_offline_nobody_is_asked_and_the_cache_still_told(tmp_path: Path, asked: list[str]) -> None:
    folder = Site(tmp_path / "registry").publish(expires_at="2026-06-09T00:00:00Z")
    with serving(folder) as url:
        Downloads(tmp_path / "cache", offline=False).read(f"{url}{ROOT_FILE}", 1024 * 1024)
        found = look(signed_rule(url), tmp_path / "cache", offline=True)
    assert (asked, found["is_reachable"]) == ([], None)
    assert found["edition"]["has_ended"]
    assert "ended 2026-06-09T00:00:00Z; not asked" in found["text"]


@each_row(
    ("rule", "problem"),
    [
        (RegistryRule("https://registry.example/"), "nobody is stated who signs it"),
        (signed_rule("https://registry.example/?a=b"), "its address says more than where it is"),
        (signed_rule("http://registry.example/"), "the address is not secure"),
    ],
)
def test_address_that_no_command_would_read_is_told(
    tmp_path: Path, rule: RegistryRule, problem: str
) -> None:
    (found,) = look_at([rule], tmp_path, offline=False)
    assert not found.is_reachable
    assert problem in found.to_json(NOW)["problem"]  # type: ignore[operator]  # it is text


def test_folders_are_looked_into_and_each_is_told_in_order(tmp_path: Path) -> None:
    root = Site(tmp_path / "rooted").publish(serial=3)
    index = registry_folder(tmp_path / "indexed")
    rules = [RegistryRule(str(place)) for place in (root, index, tmp_path / "missing")]
    found = look_at(rules, tmp_path / "cache", offline=True)
    assert [each.is_reachable for each in found] == [True, True, False]
    assert [each.root.serial if each.root else None for each in found] == [3, None, None]
    assert "is not there" in found[2].problem
    assert "nobody has to have signed it; no edition was read yet" in found[1].text(NOW)


def test_registry_without_a_root_answers_by_its_index(tmp_path: Path, asked: list[str]) -> None:
    with serving(registry_folder(tmp_path / "indexed")) as url:
        assert look(RegistryRule(url), tmp_path / "cache")["is_reachable"]
    assert asked == [f"{url}{ROOT_FILE}", f"{url}plugins.json"]

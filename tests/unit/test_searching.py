"""`search`, `info`, `list --outdated` and `audit`: what registries say, quickly and offline."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli import quick
from aperio_cli.__main__ import main
from aperio_cli.publishing import serving
from aperio_cli.store import finding
from tests.builders import PLUGIN, Machine, registry_folder
from tests.registries import MOMENT, Site, plugin_entry, row, version_entry, withdrawn
from tests.trust import new_domain

if TYPE_CHECKING:
    from pathlib import Path

LAMP = plugin_entry(
    version_entry("2.0.0"),
    id="beta/lamp-remediation",
    kind="remediation",
    description="Turns lamps off, also boxed ones",
)
ADVISORY: dict[str, Any] = {
    "id": "APERIO-2026-0001",
    "modified": MOMENT,
    "summary": "Tokens are written to the log",
    "aliases": ["CVE-2026-0001"],
    "affected": [
        {
            "package": {"ecosystem": "Aperio", "name": PLUGIN},
            "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": "1.3.0"}]}],
        }
    ],
}
PUBLISHER = {
    "namespace": "acme",
    "display_name": "Acme Inc.",
    "tier": "verified",
    "status": "active",
    "signers": [
        {"domain": "public", "identity": "release@acme.example", "issuer": "https://acme.example"}
    ],
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("APERIO_HOME", str(folder))
    monkeypatch.delenv("APERIO_REGISTRY", raising=False)
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def site(tmp_path: Path, home: Path) -> Site:
    """A folder with two plugins, which the configuration names."""
    made = Site(tmp_path / "registry")
    made.publish(plugin_entry(), LAMP)
    (home / "config.toml").write_text(f'[[registries]]\nurl = "{made.folder}"\n')
    return made


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Any:
    """Type a command; give its status and its stdout."""

    def run(*words: str, status: int = 0) -> str:
        capsys.readouterr()
        found = main(["plugin", *words])
        shown = capsys.readouterr()
        assert found == status, shown.err
        return shown.out

    return run


def data(text: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(text)
    found: dict[str, Any] = document["data"]
    return found


def ids(text: str) -> list[str]:
    return [row["id"] for row in data(text)["plugins"]]


# ── search ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize(
    ("words", "found"),
    [
        ((), [PLUGIN, LAMP["id"]]),
        (("box",), [PLUGIN, LAMP["id"]]),  # an id before a description
        (("BOX audit",), [PLUGIN]),
        (("audit lamps",), []),
        (("lamp", "--kind", "remediation"), [LAMP["id"]]),
        (("--kind", "connector"), [PLUGIN]),
        (("--verified",), []),
        (("linux/amd64",), []),
        (("nothing like it",), []),
    ],
)
def test_search_finds_by_the_words_of_id_and_description(
    typed: Any, words: tuple[str, ...], found: list[str]
) -> None:
    assert ids(typed("search", *words, "--json")) == found
    assert quick.answer(["plugin", "search", *words, "--json"]) == 0


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize("words", [(), ("box",), ("--kind", "connector", "--json"), ("x", "-j")])
def test_search_answers_quickly_with_the_same_bytes(
    typed: Any, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    assert quick.answer(["plugin", "search", *words]) is None
    slowly = typed("search", *words)
    assert quick.answer(["plugin", "search", *words]) == 0
    assert capsys.readouterr().out == slowly


def test_search_shows_a_row_for_each_plugin(site: Site, typed: Any) -> None:
    [found] = data(typed("search", "audit", "--json"))["plugins"]
    assert found == {
        "id": PLUGIN,
        "kind": "connector",
        "description": "Audit events from Box",
        "latest": "1.2.3",
        "platforms": ["linux/amd64"],
        "publisher": "acme",
        "is_verified": False,
        "status": "active",
        "registry": str(site.folder),
        "is_signed": False,
    }
    assert "acme/box-connector" in typed("search", "audit")
    assert typed("search", "nothing") == "nothing was found\n"


def test_search_looks_again_when_anything_changed(site: Site, home: Path, typed: Any) -> None:
    words = ["plugin", "search", "--json"]
    typed("search")
    assert quick.answer(words) == 0
    site.publish(plugin_entry(description="Another one, which is longer"), serial=2)
    assert quick.answer(words) is None
    assert ids(typed("search", "--json")) == [PLUGIN]
    with (home / "config.toml").open("a") as file:
        file.write("# changed\n")
    assert quick.answer(words) is None
    typed("search")
    kept = home / "checks" / "search.rows"
    assert kept.stat().st_mode & 0o777 == 0o600
    for wrong in (b"", b"{}\n", b"\xff", kept.read_bytes().replace(b'"schema": 1', b'"schema": 2')):
        kept.write_bytes(wrong)
        assert quick.answer(words) is None


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize(
    "words",
    [("a", "b"), ("--kind",), ("--kind", "x"), ("-v",), ("--home", "/x"), ("--help",), ("",)],
)
def test_search_leaves_other_words_to_the_ordinary_path(typed: Any, words: tuple[str, ...]) -> None:
    typed("search")
    assert quick.answer(["plugin", "search", *words]) is None


def test_search_asks_a_server_again_after_a_while_and_offline_never(
    home: Path, tmp_path: Path, typed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path / "registry")
    site.publish(plugin_entry())
    with serving(site.folder) as url:
        (home / "config.toml").write_text(f'[[registries]]\nurl = "{url}"\n')
        typed("search", "--offline", status=4)
        slowly = typed("search", "--json")
        assert quick.answer(["plugin", "search", "--json"]) == 0
    monkeypatch.setattr(time, "gmtime", lambda: (2999, 1, 1, 0, 0, 0, 0, 1, 0))
    assert quick.answer(["plugin", "search", "--json"]) is None
    assert quick.answer(["plugin", "search", "--json", "--offline"]) == 0
    assert typed("search", "--json", "--offline") == slowly
    monkeypatch.setattr(time, "gmtime", lambda: (2016, 1, 1, 0, 0, 0, 0, 1, 0))
    assert quick.answer(["plugin", "search", "--json", "--offline"]) is None


@pytest.mark.usefixtures("home")
def test_search_without_a_registry_says_how_to_name_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["plugin", "search", "box"]) == 2
    told = capsys.readouterr().err
    assert "registry-unconfigured" in told
    assert 'url = "aperio"' in told


def test_search_reads_a_registry_of_before(home: Path, tmp_path: Path, typed: Any) -> None:
    folder = registry_folder(tmp_path / "seed")
    assert ids(typed("search", "box", "--registry", str(folder), "--json")) == [PLUGIN]
    assert not (home / "checks").exists()


def test_search_shows_a_plugin_once_as_it_would_be_found(
    home: Path, tmp_path: Path, typed: Any
) -> None:
    first, second = Site(tmp_path / "first"), Site(tmp_path / "second")
    first.publish(plugin_entry(), namespaces=["acme"])
    foreign = plugin_entry(id="acme/other-connector")
    second.publish(plugin_entry(description="Not this one"), foreign, LAMP)
    places = [f'[[registries]]\nurl = "{site.folder}"\n' for site in (first, second)]
    (home / "config.toml").write_text("".join(places))
    found = data(typed("search", "--json"))["plugins"]
    assert [(each["id"], each["registry"]) for each in found] == [
        (PLUGIN, str(first.folder)),
        (LAMP["id"], str(second.folder)),
    ]


def test_ten_thousand_rows_are_searched_by_lines() -> None:
    lines = [
        finding.line_of(
            {
                "id": f"acme/p{number}",
                "kind": "connector",
                "latest": "1.0.0",
                "status": "active",
                "publisher": "acme",
                "verified": "1",
                "platforms": "linux/amd64",
                "registry": "0",
                "description": "with\ta tab" if number == 77 else "one",
            }
        )
        for number in range(10_000)
    ]
    rows = finding.Rows([("/srv", True)], lines)
    [found] = finding.found(rows, finding.Asked("tab", verified=True))
    assert (found["id"], found["description"]) == ("acme/p77", "with a tab")
    shown = finding.render(finding.found(rows, finding.Asked()))
    assert shown.count("\n") == 52
    assert "and 9950 more" in shown


# ── info ──────────────────────────────────────────────────────────────────────────────────────────


def test_info_says_what_the_registry_knows(site: Site, typed: Any) -> None:
    gone = withdrawn("revoked", "1.0.0", replacement="1.2.3")
    site.publish(plugin_entry(version_entry(), gone), advisories=[ADVISORY], publishers=[PUBLISHER])
    found = data(typed("info", PLUGIN, "--json"))
    assert found["choice"]["version"] == "1.2.3"
    assert found["permissions"] == {"scopes": [], "egress": ["api.box.com:443"], "state": False}
    assert (found["publisher"]["tier"], found["publisher"]["texts"]) == (
        "verified",
        {"display_name": "Acme Inc."},
    )
    assert [each["status"] and each["status"]["state"] for each in found["versions"]] == [
        None,
        "revoked",
    ]
    [fault] = found["advisories"]
    assert (fault["id"], fault["fixed_in"], fault["affects_choice"]) == (
        "APERIO-2026-0001",
        ["1.3.0"],
        True,
    )
    shown = typed("info", PLUGIN)
    for text in ("api.box.com:443", "verified, says the registry", "1.3.0", "revoked", "unchecked"):
        assert text in shown


def test_info_of_what_would_not_do_says_why(site: Site, typed: Any) -> None:
    site.publish(plugin_entry(withdrawn("revoked")))
    found = data(typed("info", PLUGIN, "--json"))
    assert (found["choice"], found["refusal"]["code"]) == (None, "revoked")
    typed("info", "acme/nothing-there", status=1)


@pytest.mark.usefixtures("home")
def test_info_reads_a_registry_of_before(tmp_path: Path, typed: Any) -> None:
    folder = registry_folder(tmp_path / "seed")
    found = data(typed("info", PLUGIN, "--registry", str(folder), "--json"))
    assert (found["permissions"], found["publisher"]) == (None, None)
    assert "knows nobody" in typed("info", PLUGIN, "--registry", str(folder))


# ── what is installed ─────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def machine(site: Site) -> Machine:
    made = Machine(site.folder.parent, new_domain(site.folder.parent))
    made.install(made.signed(version="1.2.3"))
    return made


@pytest.mark.usefixtures("machine")
def test_list_shows_what_is_outdated(site: Site, typed: Any) -> None:
    assert ids(typed("list", "--outdated", "--json")) == []
    assert "nothing is outdated" in typed("list", "--outdated")
    site.publish(plugin_entry(version_entry("1.3.0"), version_entry()), serial=2)
    [found] = data(typed("list", "--outdated", "--json"))["plugins"]
    assert (found["version"], found["newest"]) == ("1.2.3", "1.3.0")
    [found] = data(typed("list", "--json"))["plugins"]
    assert found["newest"] is None


def test_one_damaged_record_keeps_nobody_from_the_list_of_what_is_outdated(
    machine: Machine, site: Site, typed: Any
) -> None:
    machine.install(machine.signed(version="1.3.0"))
    (machine.paths.plugins / PLUGIN / "1.3.0" / "receipt.json").write_text("{")
    site.publish(plugin_entry(version_entry("1.4.0")), serial=2)
    assert data(typed("list", "--outdated", "--json"))["plugins"] == []


def test_list_shows_what_was_taken_back_as_outdated_and_remembers_it(
    machine: Machine, site: Site, typed: Any
) -> None:
    site.publish(plugin_entry(version_entry("1.0.0"), withdrawn("revoked")), serial=2)
    [found] = data(typed("list", "--outdated", "--json"))["plugins"]
    assert (found["newest"], found["registry_status"]["state"]) == ("1.0.0", "revoked")
    assert found["refused_as"] in {"revoked", "trust-root-missing", "publisher-unknown"}
    assert (machine.paths.home / "trust" / "known-versions.json").is_file()


def test_registry_that_was_only_looked_at_stops_nothing_from_elsewhere(
    machine: Machine, typed: Any
) -> None:
    """Somebody's folder may say of any plugin that it was revoked; one of its own, it may stop."""
    theirs = Site(machine.root / "theirs")
    theirs.publish(plugin_entry(version_entry("1.0.0"), withdrawn("revoked")))
    named = ("--registry", str(theirs.folder))
    memory = machine.paths.home / "trust" / "known-versions.json"
    for words in (("info", PLUGIN), ("list", "--outdated"), ("audit",)):
        typed(*words, *named, status=1 if words == ("audit",) else 0)
    [told] = data(typed("audit", "--json", *named, status=1))["withdrawn"]
    assert (told["version"], told["state"]) == ("1.2.3", "revoked")
    assert not memory.exists()
    [row] = data(typed("list", "--json"))["plugins"]
    assert row["registry_status"] is None

    receipt = next((machine.paths.plugins / PLUGIN).glob("*/receipt.json"))
    document = json.loads(receipt.read_text())
    document["origin"] = {"registry": str(theirs.folder)}
    receipt.write_text(json.dumps(document))
    typed("audit", *named, status=1)
    [row] = data(typed("list", "--json"))["plugins"]
    assert row["registry_status"]["state"] == "revoked"


@pytest.mark.usefixtures("machine")
def test_audit_names_faults_and_what_was_taken_back(site: Site, typed: Any) -> None:
    found = data(typed("audit", "--json"))
    assert found == {"plugins": 1, "advisories": [], "withdrawn": [], "unknown": []}
    assert "no known faults in 1 version" in typed("audit")
    site.publish(
        plugin_entry(version_entry("1.3.0"), withdrawn("yanked")),
        advisories=[ADVISORY, ADVISORY | {"id": "APERIO-2026-0002", "withdrawn": MOMENT}],
        serial=2,
    )
    found = data(typed("audit", "--json", status=1))
    [fault] = found["advisories"]
    assert (fault["advisory"], fault["fixed_in"]) == ("APERIO-2026-0001", ["1.3.0"])
    assert [each["state"] for each in found["withdrawn"]] == ["yanked"]
    shown = typed("audit", status=1)
    assert "fixed in 1.3.0" in shown
    assert "2 known faults in 1 version" in shown


@pytest.mark.usefixtures("machine")
def test_what_a_registry_says_cannot_pass_for_ours_nor_steer_a_terminal(
    site: Site, typed: Any
) -> None:
    forged = "fine\nno known faults in 9 versions\x1b[2J\u202e"
    said = ADVISORY | {"summary": forged, "references": [{"type": "WEB", "url": forged}]}
    entry = plugin_entry(description=forged, license=forged, homepage=forged)
    site.publish(entry, advisories=[said], publishers=[PUBLISHER])
    rows = json.loads((site.folder / "catalogue.json").read_text())
    rows["plugins"][0]["platforms"] = ["linux/amd64\x9b2J"]
    root = json.loads((site.folder / "registry.json").read_text())
    root["files"]["catalogue.json"] = site.write("catalogue.json", rows)
    site.write("registry.json", root)
    shown = typed("audit", status=1)
    assert [line for line in shown.splitlines() if line.startswith("no known")] == []
    for words in (("audit",), ("info", PLUGIN), ("search",), ("search", "--json")):
        # The second search is answered from rows that were kept.
        for _ in range(2):
            text = typed(*words, status=1 if words == ("audit",) else 0)
            assert not {"\x1b", "\u202e", "\x9b"} & set(text)


def test_audit_says_what_it_could_not_look_at(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    receipt = next((machine.paths.plugins / PLUGIN).glob("*/receipt.json"))
    receipt.write_text("{")
    capsys.readouterr()
    assert main(["plugin", "audit"]) == 0
    shown = capsys.readouterr()
    assert f"not looked at: the record of an installed version is damaged: `{receipt}`" in shown.err
    assert "in 0 versions" in shown.out


@pytest.mark.usefixtures("machine")
def test_audit_says_of_what_nobody_speaks(site: Site, typed: Any) -> None:
    site.publish(LAMP, serial=2)
    assert data(typed("audit", "--json"))["unknown"] == [PLUGIN]
    assert "no registry has it" in typed("audit")
    assert row(LAMP)["id"] == LAMP["id"]

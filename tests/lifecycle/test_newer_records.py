"""A home in which an aperio of a later release was at work: nothing of it is touched.

The later release is played by raising the schema of one file, with contents that this one cannot
read. Whoever needs the file is refused and told whose it is; whoever only notes something does
without, and says so.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.lifecycle.cli import Aperio

HELLO = "acme/hello-connector"
RUN = ("plugin", "run", HELLO, "schema")
REQUIRE = ("trust", "require", "verified", "--yes")
LATER = {"of": ["a later release"]}


def later_json(schema: object) -> Callable[[Path], None]:
    """Make a file that release's, as JSON."""

    def write(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.write_text(json.dumps({"schema": schema} | LATER))
        path.chmod(0o600)

    return write


def later_toml(path: Path) -> None:
    path.write_text(
        f'schema = 2\n{path.read_text().replace("schema = 1", "")}\n[later]\nof = "a"\n'
    )


def later_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.executescript("CREATE TABLE later (of TEXT); PRAGMA user_version = 3;")
    path.chmod(0o640)  # nor is its mode


CURRENT = f"plugins/{HELLO}/current.json"
RECEIPT = f"plugins/{HELLO}/0.1.0/receipt.json"
CHECKS = f"checks/{HELLO}.json"
EVERY_USE = (RUN, ("plugin", "why", HELLO), ("plugin", "remove", HELLO),
             ("plugin", "install", "ARTIFACT"), ("plugin", "verify", "ARTIFACT"))  # fmt: skip
NEEDED: dict[str, tuple[Callable[[Path], None], tuple[tuple[str, ...], ...]]] = {
    CURRENT: (later_json(2), EVERY_USE),
    RECEIPT: (
        later_json("aperio.receipt/v2"),
        (*EVERY_USE, ("plugin", "remove", f"{HELLO}@0.1.0")),
    ),
    "state.db": (
        later_database,
        (RUN, ("plugin", "remove", HELLO, "--purge"),
         ("plugin", "install", "ARTIFACT", "--accept-new-signer", "alice@local")),
    ),
    "managed.toml": (
        later_toml,
        (RUN, REQUIRE, ("trust", "show"), ("plugin", "install", "ARTIFACT")),
    ),
    "trust/local/domain.json": (
        later_json(2),
        (("plugin", "sign", "ARTIFACT", "--trust", "local"),),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NEEDED)
def test_a_record_of_a_later_release_refuses_whoever_needs_it(
    installed: Aperio, hello_artifact: Path, name: str
) -> None:
    make_later, uses = NEEDED[name]
    path = installed.home / name
    assert path.parent.is_dir()
    make_later(path)
    code = "receipt-newer" if name == RECEIPT else "record-newer"
    for words in uses:
        typed = [str(hello_artifact) if word == "ARTIFACT" else word for word in words]
        told = installed.refuses(*typed, code=code, status=3)
        assert str(path) in told.what
        assert told.why.startswith("a newer aperio made it\nexpected schema ")
        assert told.next == ("use that aperio, or a newer one",)


def test_the_same_uses_of_our_own_records_are_not_refused(
    installed: Aperio, hello_artifact: Path
) -> None:
    for words in (RUN, ("plugin", "why", HELLO), ("plugin", "install", hello_artifact)):
        installed(*words)
    for name in NEEDED:
        assert (installed.home / name).is_file()


def test_a_version_that_is_named_needs_no_word_on_which_is_the_current_one(
    installed: Aperio,
) -> None:
    later_json(2)(installed.home / CURRENT)
    installed("plugin", "run", f"{HELLO}@0.1.0", "schema")
    for check in ([], ["--check"]):
        done = installed("plugin", "list", "--json", *check, status=3 if check else 0)
        [row] = done.data["plugins"]
        assert (row["problem"], row["current"]) == ("record-newer", False)


def test_noted_checks_of_a_later_release_keep_nothing_from_being_done(
    installed: Aperio, hello_artifact: Path
) -> None:
    path = installed.home / CHECKS
    later_json(2)(path)
    before = path.read_bytes()
    said = f"`{path}` was left as it is: a newer aperio made it"
    assert said in installed(*RUN).err
    done = installed("plugin", "why", HELLO, "--json")
    assert said in done.err
    assert done.data["last_check"] is None
    [row] = installed("plugin", "list", "--json").data["plugins"]
    assert (row["last_check"], row["problem"]) == (None, None)
    assert said in installed("plugin", "remove", HELLO).err
    installed("plugin", "install", hello_artifact)
    assert path.read_bytes() == before


def test_checks_that_0_1_0_noted_are_read_and_written_anew(installed: Aperio) -> None:
    path = installed.home / CHECKS
    path.parent.mkdir(parents=True, exist_ok=True)
    noted = {"at": "2026-01-02T03:04:05Z", "ok": True}
    path.write_text(json.dumps({"0.1.0": noted, "0.0.9": noted}))
    assert installed("plugin", "list", "--json").data["plugins"][0]["last_check"] == noted
    installed(*RUN)
    written = json.loads(path.read_bytes())
    assert (written["schema"], written["checks"]["0.0.9"]) == (1, noted)
    assert written["checks"]["0.1.0"]["at"] > noted["at"]
    [row] = installed("plugin", "list", "--json").data["plugins"]
    assert row["last_check"] == written["checks"]["0.1.0"]


def later_source(aperio: Aperio, hello: Path, name: str) -> Path:
    """Make a registry's source with a plugin, and one file of it a later release's."""
    aperio("registry", "init", "source")
    aperio("registry", "add", hello / "dist", "--dir", "source")
    path = aperio.folder / "source" / name
    schema = json.loads(path.read_bytes())["schema"]
    path.write_text(json.dumps({"schema": schema.replace("/v1", "/v10")} | LATER))
    return path


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("aperio-registry.json", "add"),
        ("aperio-registry.json", "build"),
        (f"records/{HELLO}.json", "add"),
    ],
)
def test_a_registrys_source_of_a_later_release_is_left_as_it_is(
    aperio: Aperio, hello: Path, name: str, command: str
) -> None:
    later_source(aperio, hello, name)
    words = ("registry", command, *([hello / "dist"] if command == "add" else []))
    told = aperio.refuses(*words, "--dir", "source", code="record-newer", status=3)
    assert name in told.what
    assert told.next == ("use that aperio, or a newer one",)


def test_a_build_leaves_out_the_record_of_a_later_release_and_says_so(
    aperio: Aperio, hello: Path
) -> None:
    name = f"records/{HELLO}.json"
    path = later_source(aperio, hello, name)
    before = path.read_bytes()
    done = aperio("registry", "build", "--dir", "source", "--json")
    assert (done.data["plugins"], done.data["skipped"]) == (0, [name])
    assert f"{name} was left out: its kind or its schema is one of a later aperio" in done.err
    assert path.read_bytes() == before
    assert HELLO not in (aperio.folder / "source/public/plugins.json").read_text()

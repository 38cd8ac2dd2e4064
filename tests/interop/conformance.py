"""The conformance list of go-plugin: 48 items, and where this project differs on purpose.

P is a plugin made with our Python SDK under a stock Go host; H is our host with a stock Go plugin.
Tests carry `@pytest.mark.conformance(item, "P")`; docs/reference/go-plugin.json is what they came
to, and docs/generate.py makes the page from it.
"""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "reference" / "go-plugin.json"
RESULTS_VARIABLE = "APERIO_CONFORMANCE"
"""Environment variable: `1` makes a test run write its results to `RESULTS`."""


@dataclass(frozen=True, slots=True)
class Item:
    """One behaviour of go-plugin.

    Attributes:
        number: its number in the list.
        directions: whom it is about: `P`, `H` or `PH`.
        behaviour: what is expected.
        differs: by direction, why this project does something else on purpose; what it does is
            tested all the same.
    """

    number: int
    directions: str
    behaviour: str
    differs: dict[str, str]


def _item(number: int, directions: str, behaviour: str, **differs: str) -> Item:
    return Item(number, directions, behaviour, differs)


_NO_REATTACH = (
    "the host only runs what it has checked and started itself: a record of a running process"
    " names something that nobody checked"
)
_NO_BROKER = (
    "there is no broker: it needs a second listener for each connection and ends with the first"
    " stream; a plugin reaches the host's key-value store over a socket named in its environment."
    " A dial times out and hurts nobody"
)
_OWN_CERTIFICATES = (
    "certificates of an author's own are not supported: plain on a private socket, or AutoMTLS;"
    " the refusals of the item are tested with AutoMTLS"
)

ITEMS = (
    _item(
        1,
        "H",
        "address and network parsed as printed, unix and tcp",
        H="unix as printed; tcp is refused, any process of the machine could connect",
    ),
    _item(2, "H", "a kill before any connection works; a second kill is harmless"),
    _item(3, "H", "a kill after a failed start does not start the process again"),
    _item(4, "PH", "a kill lets the plugin clean up; no error is logged"),
    _item(5, "PH", "a unary call, then a kill: the exit is graceful"),
    _item(
        6, "PH", "plugin killed by SIGKILL: noticed within 2 s, the pending call fails UNAVAILABLE"
    ),
    _item(7, "H", "a protocol that is not allowed is refused at start"),
    _item(8, "PH", "printed bytes arrive in order and unchanged, newline or not"),
    _item(
        9,
        "H",
        "exactly one of command, reattach, runner",
        H="`launch` takes one cleared target, so two cannot be said; " + _NO_REATTACH,
    ),
    _item(
        10, "H", "reattach from a saved record; calls work; a kill ends the process", H=_NO_REATTACH
    ),
    _item(11, "H", "a reattach record without protocol has a default", H=_NO_REATTACH),
    _item(12, "H", "reattach to a dead address is an error", H=_NO_REATTACH),
    _item(
        13,
        "H",
        "reattach to a plugin in a session of its own",
        H=_NO_REATTACH + "; every plugin has a session of its own and ends with the host",
    ),
    _item(
        14,
        "P",
        "a test-mode server gives a reattach record",
        P="`aperio plugin run PROJECT --debug` prints the record, with the negotiated version, and"
        " a stock host attaches to it; its kill ends nothing, the command does. The plugin has no"
        " mode for that: without a cookie it refuses to start",
    ),
    _item(15, "H", "a bad version in the line is refused, the process reaped"),
    _item(16, "H", "only versions that are not shared: the error names both sides"),
    _item(17, "H", "no line before the deadline: an error, the process killed"),
    _item(18, "H", "raw stderr is kept byte for byte, also beyond the line buffer"),
    _item(19, "H", "JSON that is no object, or has no level, is kept verbatim"),
    _item(
        20,
        "H",
        "a text prefix sets the level; the level filter is applied before parsing",
        H="the prefix sets the level; every record reaches the sink, which filters by level",
    ),
    _item(21, "H", "an over-long JSON line comes out in DEBUG pieces, none dropped"),
    _item(22, "PH", "structured pairs, text and number, show up as key and value"),
    _item(23, "P", "a crash reaches the host's log at ERROR with its traceback"),
    _item(
        24, "H", "stdin is passed through when configured", H="never: a plugin's stdin is /dev/null"
    ),
    _item(
        25,
        "H",
        "the environment is inherited or not, as configured",
        H="never inherited: a plugin's environment is built from nothing",
    ),
    _item(
        26,
        "PH",
        "multiplexing: the named error; the plugin answers `false` only when asked",
        H="our host never asks for multiplexing; the variable does not reach a plugin",
    ),
    _item(
        27,
        "H",
        "a wrong checksum is refused before anything runs, a right one accepted",
    ),
    _item(
        28,
        "PH",
        "configured TLS: a plain client fails, the right client works",
        P=_OWN_CERTIFICATES,
        H=_OWN_CERTIFICATES,
    ),
    _item(29, "PH", "AutoMTLS: start, call, exit; native P-256, and the relay for P-521"),
    _item(30, "PH", "AutoMTLS with a broker in both directions", P=_NO_BROKER, H=_NO_BROKER),
    _item(31, "PH", "health `plugin` is SERVING, twice; fails after the server stops"),
    _item(32, "P", "an old host sends one version, a new one several: the highest shared wins"),
    _item(
        33,
        "PH",
        "a bidirectional stream echoes in order",
        P="the plugin interface has no bidirectional stream; the order of Sync's is tested",
    ),
    _item(
        34,
        "PH",
        "reflection lists the services (optional)",
        P="not offered: the interface is fixed, and the module costs every start an import",
    ),
    _item(35, "P", "the socket is in PLUGIN_UNIX_SOCKET_DIR; a group gives 0660 and the group"),
    _item(
        36,
        "H",
        "the socket's folder is 0770 with the group, inside the base; removed afterwards",
        H="0700 without a group: only the host's user may connect",
    ),
    _item(37, "H", "a slow reader of stdout loses no last lines and logs no errors at exit"),
    _item(38, "P", "a wrong cookie: three lines of text, exit 1, nothing on stdout"),
    _item(39, "P", "no certificate unless asked, no `=`; a seventh field only when asked"),
    _item(40, "P", "Shutdown answers at once; gone within 2 s with a stuck handler and threads"),
    _item(41, "P", "SIGINT is ignored, SIGTERM is clean; gone when the host is killed, no socket"),
    _item(42, "H", "1 MiB of prints that nobody asked for does not block the plugin"),
    _item(43, "H", "a grandchild that holds the pipes: the stop keeps its bound, the group dies"),
    _item(44, "H", '`{"@message":5}`, invalid UTF-8, NUL, 1 MiB lines do not hurt the host'),
    _item(45, "H", "a message over 4 MiB: RESOURCE_EXHAUSTED, not taken for a crash"),
    _item(46, "PH", "a socket path of 107 bytes works, 108 gives an error that names the limit"),
    _item(47, "H", "inherited PLUGIN_*, proxies and secrets never reach the plugin"),
    _item(48, "PH", "go-plugin 1.0.1 works as well as 1.8"),
)


def verdict(item: Item, direction: str, results: dict[str, Any]) -> str:
    """What stands in the table: empty, `passes`, `differs`, or what is wrong."""
    if direction not in item.directions:
        return ""
    outcomes = set(results["outcomes"].get(f"{item.number}{direction}", {}).values())
    if outcomes != {"passed"}:
        return "**not tested**" if not outcomes else f"**{', '.join(sorted(outcomes))}**"
    return "differs" if direction in item.differs else "passes"


def reasons(item: Item) -> list[tuple[str, str]]:
    """Why an item differs: each reason with its directions."""
    texts = dict.fromkeys(item.differs.values())
    return [
        (text, ", ".join(key for key, value in item.differs.items() if value == text))
        for text in texts
    ]


def covering_tests(folder: Path) -> dict[str, set[tuple[int, str]]]:
    """What the tests of a folder say that they cover: by function, pairs of item and direction."""
    found: dict[str, set[tuple[int, str]]] = {}
    for path in sorted(folder.glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                marks = set(_marks(node))
                if marks:
                    found[node.name] = marks
    return found


def _marks(function: ast.FunctionDef) -> Iterable[tuple[int, str]]:
    for decorator in function.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).endswith("conformance"):
            number, direction = (ast.literal_eval(argument) for argument in decorator.args)
            yield int(number), str(direction)


def read_results() -> dict[str, Any]:
    """The results that were last recorded: versions, and outcomes by `<item><direction>`."""
    document: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return document

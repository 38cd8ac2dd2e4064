"""The words of a command line: which command they name, before any command is made ready."""

from __future__ import annotations

import difflib
import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aperio_cli.errors.usage import UsageError
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MODULES: Final = {
    "plugin init": "plugin.init",
    "plugin build": "plugin.build",
    "plugin test": "plugin.test",
    "plugin sign": "plugin.sign",
    "plugin verify": "plugin.verify",
    "plugin search": "plugin.search",
    "plugin info": "plugin.info",
    "plugin install": "plugin.install",
    "plugin update": "plugin.update",
    "plugin diff": "plugin.diff",
    "plugin list": "plugin.list",
    "plugin why": "plugin.why",
    "plugin audit": "plugin.audit",
    "plugin may-run": "plugin.may_run",
    "plugin rollback": "plugin.rollback",
    "plugin grant": "plugin.grant",
    "plugin run": "plugin.run",
    "host run": "host.run",
    "host unit": "host.unit",
    "host status": "host.status",
    "host logs": "host.logs",
    "host pause": "host.pause",
    "host resume": "host.resume",
    "host catalog": "host.catalog",
    "host suggest": "host.suggest",
    "plugin remove": "plugin.remove",
    "registry init": "registry.init",
    "registry add": "registry.add",
    "registry build": "registry.build",
    "registry sign": "registry.sign",
    "registry verify": "registry.verify",
    "registry mirror": "registry.mirror",
    "registry serve": "registry.serve",
    "registry deprecate": "registry.deprecate",
    "registry yank": "registry.yank",
    "registry revoke": "registry.revoke",
    "trust show": "trust.show",
    "trust local init": "trust.local_init",
    "trust publisher add": "trust.publisher_add",
    "trust publisher list": "trust.publisher_list",
    "trust publisher remove": "trust.publisher_remove",
    "trust require": "trust.require",
    "trust exception add": "trust.exception_add",
    "trust exception remove": "trust.exception_remove",
    "trust domain add": "trust.domain_add",
    "trust domain list": "trust.domain_list",
    "trust domain remove": "trust.domain_remove",
    "trust sign-publishers": "trust.sign_publishers",
    "trust refresh": "trust.refresh",
    "doctor": "doctor",
    "completion": "completion",
    "version": "version",
}
"""The module of each command, which registers it on import; `--help` shows them in this order,
which is that of a plugin's life."""

_ALIASES: Final = {"ls": "list", "rm": "remove", "uninstall": "remove", "upgrade": "update"}
# Words that people type for a command of another name: it is named to them, and not done.
_MEANT: Final = {
    "new": "plugin init",
    "create": "plugin init",
    "delete": "plugin remove",
    "explain": "plugin why",
    "show": "plugin info",
    "start": "host run",
    "enable": "host resume",
    "disable": "host pause",
    "outdated": "plugin list",
}
_FLAGS: Final = {"--json", "--quiet", "--verbose", "--offline", "--yes"}
_SHORT_FLAGS: Final = re.compile(r"-[jqvy]+", re.ASCII)
_VALUES: Final = {"--home", "--config", "--registry"}
_HELP: Final = "help"
_CLOSE_NAMES: Final = 3


@dataclass(frozen=True, slots=True)
class Line:
    """A command line, in the order in which it is parsed.

    Attributes:
        words: of the command, or of the group, that it names.
        arguments: all that stands behind the words.
    """

    words: tuple[str, ...]
    arguments: tuple[str, ...]

    @property
    def argv(self) -> list[str]:
        """The whole line."""
        return [*self.words, *self.arguments]


def asks_for_json(argv: Sequence[str]) -> bool:
    """Return whether a line that may be wrong asks for one JSON document."""
    options = itertools.takewhile(lambda word: word != "--", argv)
    return any(w == "--json" or (_SHORT_FLAGS.fullmatch(w) and "j" in w) for w in options)


def read_line(argv: Sequence[str]) -> Line:
    """Return a line with its words in front: `aperio -j plugin --home X ls` is `plugin list …`.

    `help` in front of or between words is `--help` behind them, and so is nothing at all.

    Raises:
        UsageError: a word stands where a command has to be, and is none.
    """
    words, moved, rest, is_help = _divide(argv)
    if " ".join(words) in MODULES:
        more = ["--help"] if is_help else []
        return Line(tuple(words), (*more, *moved, *rest))
    if rest and not rest[0].startswith("-"):
        raise _unknown(words, rest[0])
    if rest and rest[0] in _VALUES:
        raise UsageError(
            f"`{_typed(words)}` was not run: `{rest[0]}` needs a value",
            next=[f"`{_typed(words)} --help`"],
        )
    if rest:
        return Line(tuple(words), tuple(rest))
    if asks_for_json(moved) and not is_help:
        raise UsageError(
            f"`{_typed(words)}` was not run: a command is missing",
            next=[f"`{_typed(words)} --help`"],
        )
    return Line(tuple(words), ("--help",))


def words_of(argv: Sequence[str]) -> tuple[str, ...]:
    """Return the words of a command, as far as a line that may be wrong has some."""
    return tuple(_divide(argv)[0])


def _divide(argv: Sequence[str]) -> tuple[list[str], list[str], list[str], bool]:
    """Return the words, the options between them, what follows, and whether `help` was there."""
    words: list[str] = []
    moved: list[str] = []
    position, is_help = 0, False
    while position < len(argv) and " ".join(words) not in MODULES:
        count = _option_length(argv[position:])
        found = _word(words, argv[position])
        if count:
            moved += argv[position : position + count]
        elif argv[position] == _HELP:
            is_help = True
        elif found:
            words.append(found)
        else:
            break
        position += count or 1
    return words, moved, list(argv[position:]), is_help


def _option_length(line: Sequence[str]) -> int:
    """Return how many words the option takes that goes everywhere and begins the line; 0: none."""
    name, equals, _ = line[0].partition("=")
    if line[0] in _FLAGS or _SHORT_FLAGS.fullmatch(line[0]) or (name in _VALUES and equals):
        return 1
    return 2 if line[0] in _VALUES and len(line) > 1 else 0


def _word(words: Sequence[str], typed: str) -> str:
    """Return the word that may follow, aliases as what they stand for; empty when none may."""
    known = set(_following(words))
    return next((word for word in (typed, _ALIASES.get(typed, "")) if word in known), "")


def _following(words: Sequence[str]) -> Iterator[str]:
    """Yield the words that may follow."""
    count = len(words)
    for parts in map(str.split, MODULES):
        if parts[:count] == list(words) and len(parts) > count:
            yield parts[count]


def _unknown(words: Sequence[str], typed: str) -> UsageError:
    close = difflib.get_close_matches(typed, dict.fromkeys(_following(words)), n=_CLOSE_NAMES)
    meant = [" ".join([*words, word]) for word in close]
    wanted = _ALIASES.get(typed, typed)
    elsewhere = [command for command in MODULES if command.split()[-1] == wanted]
    elsewhere += [_MEANT[typed]] if typed in _MEANT else []
    # A command of the group that was typed comes first: for `trust add` that of `trust publisher`.
    elsewhere.sort(key=lambda command: command.split()[: len(words)] != list(words))
    named = dict.fromkeys([*elsewhere, *meant])
    return UsageError(
        f"`{_typed([*words, clean(typed, limit=40)])}` was not run: there is no such command",
        next=[
            *(f"did you mean `aperio {command}`?" for command in list(named)[:_CLOSE_NAMES]),
            f"`{_typed([*words, '--help'])}`",
        ],
    )


def _typed(words: Sequence[str]) -> str:
    return " ".join(["aperio", *words])

"""The environment of the go command, built from nothing.

Of the author's only what `PASSED_ON` names is given on: where modules come from, which go.sum pins
anyway, and who asks for them. `GOFLAGS`, `GOOS`, `GOEXPERIMENT`, a `go env -w` file and a `go.work`
above the project would change what is built, so they have no effect.

Nothing that a project names is executed: no C compiler, no go command of another version, and to
fetch a module from where it is developed git alone, over https or ssh. The author's git
configuration, netrc and GOAUTH count, with the programs that they name. The configuration of a
repository that the project is or stands in does not, and none of these variables that leads to
what the project reaches (`reach`), the top of its checkout included: by a path, or by a word of a
command or a setting.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aperio_cli.machine.children import WAY_OUT
from aperio_cli.machine.reach import import_path, leads_there, reach_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from aperio_cli.building.go_tool import GoRun

_PLACES = (
    "GIT_ASKPASS",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "HOME",
    "NETRC",
    "SSH_ASKPASS",
    "SSH_AUTH_SOCK",
    "XDG_CONFIG_HOME",
)
_WORDS = (
    "GIT_CONFIG_NOSYSTEM",
    "GIT_SSL_NO_VERIFY",
    "GOINSECURE",
    "GONOPROXY",
    "GONOSUMDB",
    "GOPRIVATE",
    "GOPROXY",
    "GOSUMDB",
    *WAY_OUT,
)
_COMMANDS = ("GIT_CONFIG_PARAMETERS", "GIT_SSH", "GIT_SSH_COMMAND")
_COUNT = "GIT_CONFIG_COUNT"
PASSED_ON = (*_PLACES, *_WORDS, *_COMMANDS, _COUNT)
"""Variables that go is given when the author has them.

So are `GIT_CONFIG_KEY_*` and `GIT_CONFIG_VALUE_*` (git-config, "Environment"), and, narrowed,
GOAUTH, GOVCS and PATH.
"""

_MODULES = "GOMODCACHE"
_PROXIES = "GOPROXY"
# Where none is stated: from where modules are developed. What go would take then is its own.
_DEFAULT_PROXIES = "direct"
_TOOLS = ("go", "git", "ssh")
_TELEMETRY = "TEST_TELEMETRY_DIR"
_NUMBERED = re.compile(r"GIT_CONFIG_(?:KEY|VALUE)_\d{1,3}", re.ASCII)
_BETWEEN = re.compile(r"""[\s"'!;:,=|&()<>`]+""")
"""What ends a word of a command, of a setting of git's, or of a list of paths."""
_HOME = re.compile(r"^(?:~|\$HOME|\$\{HOME\})(?=/)")


def module_cache(environment: Mapping[str, str], project: Path, default: Path) -> Path:
    """Return where modules are kept: the author's GOMODCACHE, else a place of ours.

    Args:
        environment: the caller's; a path that is not absolute does not count, as go has it, nor
            one that the project reaches: go compiles what is unpacked there without a look at
            go.sum, and runs git in the repositories there.
        project: the author's folder.
        default: our place.
    """
    stated = Path(environment.get(_MODULES, ""))
    return stated if _is_elsewhere(stated, reach_of(project)) else default


def go_environment(run: GoRun) -> dict[str, str]:
    """Return all of the environment for one run of go."""
    author = _Author(run.environment, (run.project, run.source), reach_of(run.project))
    return {
        **dict(_passed_on(author)),
        **_downloaded_already(author),
        "PATH": os.pathsep.join(
            [str(run.toolchain.executable.parent), *_folders(author), os.defpath]
        ),
        "TMPDIR": str(run.scratch),
        "LC_ALL": "C",
        "CGO_ENABLED": "0",
        "GOOS": run.platform.os,
        "GOARCH": run.platform.arch,
        "GOAMD64": "v1",
        "GOARM64": "v8.0",
        "GO111MODULE": "on",
        "GOENV": "off",
        # Modules are checked by their digests; this lets the cache be removed like other folders.
        # -buildvcs=false: else go asks git, and git the repository that the project is.
        "GOFLAGS": "-modcacherw -buildvcs=false",
        "GOPATH": str(run.scratch / "gopath"),
        _MODULES: str(run.modules),
        "GOCACHE": str(run.compiled),
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GOAUTH": _who_asks(author),
        "GOVCS": _narrowed(run.environment.get("GOVCS", "")),
        "GIT_ALLOW_PROTOCOL": "https:ssh",
        # go runs git in the module cache, where git looks for a repository in the folders above.
        "GIT_CEILING_DIRECTORIES": str(run.modules.parent),
        "GIT_TERMINAL_PROMPT": "0",
        # Where go finds whether to count what it does (cmd/internal/telemetry); `count_nothing`.
        _TELEMETRY: str(run.scratch / "telemetry"),
    }


def count_nothing(environment: Mapping[str, str]) -> None:
    """Have go keep no counters, whatever the author's own go does.

    Else it leaves a process of a session of its own, that writes there when go has long ended
    (golang.org/x/telemetry, start_posix.go); a file `mode` says no (internal/telemetry/dir.go).
    """
    folder = Path(environment[_TELEMETRY])
    folder.mkdir(exist_ok=True)
    (folder / "mode").write_text("off\n")


@dataclass(frozen=True, slots=True)
class _Author:
    """What an author states, and what does not count of it.

    Attributes:
        environment: all that is stated.
        sources: folders in which a word may be a file's name.
        reach: folders that the project reaches.
    """

    environment: Mapping[str, str]
    sources: tuple[Path, ...]
    reach: tuple[Path, ...]


def not_counted(environment: Mapping[str, str], project: Path) -> tuple[str, ...]:
    """Return what of the author's has no effect, because the project reaches where it leads.

    Args:
        environment: the caller's.
        project: the author's folder.

    Returns:
        Names of variables, and `PATH: FOLDER` for each folder that has a tool.
    """
    author = _Author(environment, (project,), reach_of(project))
    kept = dict(_passed_on(author))
    found = {name for name, value in environment.items() if value and _is_checked(name)} - {*kept}
    if _who_asks(author) != (environment.get("GOAUTH", "netrc") or "off"):
        found.add("GOAUTH")
    if _downloaded_already(author):
        found.add(_MODULES)
    folders = [each for each in _stated_folders(environment) if leads_there(each, author.reach)]
    tools = (f"PATH: {each}" for each in folders if _has_tools(each))
    return (*sorted(found), *tools, *import_path(environment, project))


def counted(environment: Mapping[str, str], project: Path) -> dict[str, str]:
    """Return the author's environment without what does not count, for a copy elsewhere.

    Args:
        environment: the caller's.
        project: the author's folder.
    """
    author = _Author(environment, (project,), reach_of(project))
    kept = dict(_passed_on(author))
    found = {name: value for name, value in environment.items() if not _is_checked(name)} | kept
    if "PATH" in found:
        found["PATH"] = search_path(environment, project)
    if "GOAUTH" in found:
        found["GOAUTH"] = _who_asks(author)
    if downloads := _downloaded_already(author):
        del found[_MODULES]
        found |= downloads
    return found


def _is_checked(name: str) -> bool:
    return name in {*_PLACES, *_COMMANDS} or bool(_NUMBERED.fullmatch(name))


def _has_tools(folder: str) -> bool:
    return any(os.access(Path(folder, name), os.X_OK) for name in _TOOLS)


def _passed_on(author: _Author) -> Iterator[tuple[str, str]]:
    settings = {}
    for name, value in author.environment.items():
        if name in _PLACES:
            if not value or _is_elsewhere(value, author.reach):
                yield name, value
        elif name in _WORDS or (name in _COMMANDS and not _leads_inside(value, author)):
            yield name, value
        elif name == _COUNT or _NUMBERED.fullmatch(name):
            settings[name] = value
    if not any(_leads_inside(value, author) for value in settings.values()):
        yield from settings.items()  # git wants all that it is told the number of


def _leads_inside(value: str, author: _Author) -> bool:
    """Return whether a word of a command or a setting leads to what the project reaches."""
    home = author.environment.get("HOME", "")
    words = [_HOME.sub(lambda _: home, word) for word in _BETWEEN.split(value)]
    # Quotes may hold the blanks of a path.
    whole = [path for path in re.split("""["'!;=]""", value) if path.startswith("/")]
    return any(_is_inside(word, author) for word in [*words, *whole] if word)


def _is_inside(word: str, author: _Author) -> bool:
    if word.startswith("/"):
        return not _is_elsewhere(word, author.reach)
    # go runs a program in the folder of the sources, where a word may be a file's name.
    with contextlib.suppress(OSError):  # too long for a name
        return any((folder / word).is_file() for folder in author.sources)
    return False


def _is_elsewhere(place: str | Path, reach: Iterable[Path]) -> bool:
    return os.path.isabs(place) and not leads_there(place, reach)  # noqa: PTH117 - or a text


def _stated_folders(environment: Mapping[str, str]) -> list[str]:
    return [each for each in environment.get("PATH", "").split(os.pathsep) if each]


def _folders(author: _Author) -> list[str]:
    """Return where go finds git, and git what its configuration names."""
    stated = _stated_folders(author.environment)
    return [folder for folder in stated if _is_elsewhere(folder, author.reach)]


def search_path(environment: Mapping[str, str], project: Path) -> str:
    """Return the folders of PATH in which go is looked for: none that the project reaches."""
    author = _Author({"PATH": os.defpath, **environment}, (project,), reach_of(project))
    return os.pathsep.join(_folders(author))


def _downloaded_already(author: _Author) -> dict[str, str]:
    """Return GOPROXY with what stands in a module cache that the project reaches.

    What go downloaded is a module proxy by its form (Go modules reference, "Module cache"), and
    all that it takes from one is held to go.sum.
    """
    stated = Path(author.environment.get(_MODULES, ""))
    if not stated.is_absolute() or _is_elsewhere(stated, author.reach):
        return {}
    downloads = (stated / "cache" / "download").as_uri()
    return {_PROXIES: f"{downloads},{author.environment.get(_PROXIES) or _DEFAULT_PROXIES}"}


def _who_asks(author: _Author) -> str:
    """Return the author's GOAUTH, without `git FOLDER` and programs that are the project's.

    In such a folder git would read what the project's own repository names as its credential
    helper (`go help goauth`).
    """
    stated = author.environment.get("GOAUTH", "netrc")
    return ";".join(one for one in stated.split(";") if _is_the_authors(one, author)) or "off"


def _is_the_authors(method: str, author: _Author) -> bool:
    words = method.split(maxsplit=1)
    if words[:1] == ["git"]:
        return _is_elsewhere("".join(words[1:]).strip(), author.reach)
    # A program without a slash is one of the search path, whatever the project has of that name.
    named = method if "/" in "".join(words[:1]) else "".join(words[1:])
    return not _leads_inside(named, author)


def _narrowed(stated: str) -> str:
    """Return the rules of a GOVCS, none of which allows more than git.

    They are `pattern:name|name` separated by commas, and the first that fits counts (Go modules
    reference, "Controlling version control tools with GOVCS").
    """
    rules = []
    for rule in stated.split(",") if stated else []:
        pattern, _, allowed = rule.partition(":")
        names = {name.strip() for name in allowed.split("|")}
        rules.append(f"{pattern.strip()}:{'git' if names & {'git', 'all'} else 'off'}")
    return ",".join([*rules, *([] if any(r.startswith("*:") for r in rules) else ["*:git"])])

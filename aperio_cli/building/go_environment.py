"""The environment of the go command, built from nothing.

Of the author's only what `PASSED_ON` names is given on: where modules come from, which go.sum pins
anyway, and who asks for them. `GOFLAGS`, `GOOS`, `GOEXPERIMENT`, a `go env -w` file and a `go.work`
above the project would change what is built, so they have no effect.

Nothing that a project names is executed: no C compiler, no go command of another version, and to
fetch a module from where it is developed git alone, over https or ssh. The author's git
configuration, netrc and GOAUTH count, with the programs that they name. The configuration of a
repository that the project is or stands in does not, and none of these variables that leads into
the project: by a path, or by a word of a command or a setting.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from aperio_cli.machine.children import WAY_OUT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
_TELEMETRY = "TEST_TELEMETRY_DIR"
_NUMBERED = re.compile(r"GIT_CONFIG_(?:KEY|VALUE)_\d{1,3}", re.ASCII)
_BETWEEN = re.compile(r"""[\s"'!;:,=|&()<>`]+""")
"""What ends a word of a command, of a setting of git's, or of a list of paths."""
_HOME = re.compile(r"^(?:~|\$HOME|\$\{HOME\})(?=/)")


def module_cache(environment: Mapping[str, str], default: Path) -> Path:
    """Return where modules are kept: the author's GOMODCACHE, else a place of ours.

    Args:
        environment: the caller's; a path that is not absolute does not count, as go has it.
        default: our place.
    """
    stated = Path(environment.get(_MODULES, ""))
    return stated if stated.is_absolute() else default


def go_environment(run: GoRun) -> dict[str, str]:
    """Return all of the environment for one run of go."""
    return {
        **dict(_passed_on(run)),
        "PATH": _search_path(run),
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
        "GOAUTH": _who_asks(run),
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


def _passed_on(run: GoRun) -> Iterator[tuple[str, str]]:
    settings = {}
    for name, value in run.environment.items():
        if name in _PLACES:
            if not value or _is_elsewhere(value, run.project):
                yield name, value
        elif name in _WORDS or (name in _COMMANDS and not _leads_inside(value, run)):
            yield name, value
        elif name == _COUNT or _NUMBERED.fullmatch(name):
            settings[name] = value
    if not any(_leads_inside(value, run) for value in settings.values()):
        yield from settings.items()  # git wants all that it is told the number of


def _leads_inside(value: str, run: GoRun) -> bool:
    """Return whether a word of a command or a setting is the project, or a file of its."""
    home = run.environment.get("HOME", "")
    words = [_HOME.sub(lambda _: home, word) for word in _BETWEEN.split(value)]
    # Quotes may hold the blanks of a path.
    whole = [path for path in re.split("""["'!;=]""", value) if path.startswith("/")]
    return any(_is_inside(word, run) for word in [*words, *whole] if word)


def _is_inside(word: str, run: GoRun) -> bool:
    if word.startswith("/"):
        return not _is_elsewhere(word, run.project)
    # go runs a program in the folder of the sources, where a word may be a file's name.
    with contextlib.suppress(OSError):  # too long for a name
        return any((folder / word).is_file() for folder in (run.project, run.source))
    return False


def _is_elsewhere(place: str, project: Path) -> bool:
    """Return whether a path is absolute and not the project's, by whatever name."""
    path = Path(place)
    if not path.is_absolute():
        return False
    inside = (path, Path(os.path.realpath(path)))
    outside = (project, Path(os.path.realpath(project)))
    return not any(one.is_relative_to(other) for one in inside for other in outside)


def _search_path(run: GoRun) -> str:
    """Return where go finds git, and git what its configuration names."""
    stated = run.environment.get("PATH", "").split(os.pathsep)
    folders = [folder for folder in stated if folder and _is_elsewhere(folder, run.project)]
    return os.pathsep.join([str(run.toolchain.executable.parent), *folders, os.defpath])


def _who_asks(run: GoRun) -> str:
    """Return the author's GOAUTH, without `git FOLDER` and programs that are the project's.

    In such a folder git would read what the project's own repository names as its credential
    helper (`go help goauth`).
    """
    stated = run.environment.get("GOAUTH", "netrc")
    return ";".join(one for one in stated.split(";") if _is_the_authors(one, run)) or "off"


def _is_the_authors(method: str, run: GoRun) -> bool:
    words = method.split(maxsplit=1)
    if words[:1] == ["git"]:
        return _is_elsewhere("".join(words[1:]).strip(), run.project)
    # A program without a slash is one of the search path, whatever the project has of that name.
    named = method if "/" in "".join(words[:1]) else "".join(words[1:])
    return not _leads_inside(named, run)


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

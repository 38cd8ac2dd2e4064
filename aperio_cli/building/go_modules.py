"""What a Go program was linked from, read from the program itself.

The format is that of `go version -m` (Go documentation, runtime/debug, `BuildInfo.String`): lines
of fields separated by tabs, `dep` with path, version and sum, and `=>` for what replaces it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Module:
    """A module that was linked into a program.

    Attributes:
        path: such as `github.com/hashicorp/go-plugin`.
        version: such as `v1.8.0`.
        sum: `h1:` and the digest of its files (Go modules reference, "go.sum files"); empty for
            a folder.
        folder: the folder that replaces it, relative to the project; or empty.
    """

    path: str
    version: str
    sum: str = ""
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Linked:
    """What a program was made of.

    Attributes:
        toolchain: the Go that compiled it, such as `go1.26.8`.
        modules: in the order of their paths, without the program's own.
    """

    toolchain: str
    modules: tuple[Module, ...]


def parse_build_info(text: str) -> Linked:
    """Return what `go version -m` says of one program.

    Raises:
        ValueError: it is not in the documented form.
    """
    first, _, rest = text.partition("\n")
    _, separator, toolchain = first.rpartition(": ")
    if not separator or not toolchain.startswith("go"):
        raise ValueError(f"no version of Go in {first[:200]!r}")
    modules: list[Module] = []
    for line in rest.splitlines():
        match line.split("\t")[1:]:
            case ["dep", path, version, *sums]:
                modules.append(Module(path, version, "".join(sums)))
            case ["=>", path, *_] if path.startswith((".", "/")) and modules:
                modules[-1] = replace(modules[-1], sum="", folder=path)
            case ["=>", path, version, *sums] if modules:
                modules[-1] = Module(path, version, "".join(sums))
            case _:
                continue
    return Linked(toolchain, tuple(sorted(modules, key=lambda module: module.path)))

"""What a confined plugin sees of the machine's files: arguments of bubblewrap, in mount order.

The root is empty; in it appear the system's programs and libraries, certificates, and what this
plugin has to read, all for reading only, each at its own path. A path that leads through links
keeps them, so that programs which look at their own path find what they expect.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aperio_cli import clock

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HOME: Final = Path("/tmp")  # noqa: S108 - inside of the sandbox, where it is a place of its own
"""Where a plugin finds its own folder: home, temporary files, its socket."""

_SYSTEM: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_CERTIFICATES: Final = (
    "/etc/ssl/certs",  # not /etc/ssl: private keys stand beside them
    "/etc/ssl/openssl.cnf",
    "/etc/ca-certificates",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/ca-trust/extracted",
)
_CONFIGURATION: Final = (
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/protocols",
    "/etc/services",
    "/etc/timezone",
)
_MAX_LINKS: Final = 40  # as many as the kernel follows (path_resolution(7))


class View:
    """Collects what is to be seen, and gives the arguments for it."""

    def __init__(self) -> None:
        self._links: dict[str, str] = {}
        self._bound: dict[str, bool] = {}  # path: whether it may be written

    def add(self, path: Path, *, is_writable: bool = False) -> None:
        """Add a file or a folder, and the links on the way to it; what is not there is left out."""
        self._add(str(path), is_writable=is_writable)

    def _add(self, path: str, *, is_writable: bool) -> None:
        real = self._follow(path)
        if real is not None:
            self._bound[real] = self._bound.get(real, False) or is_writable

    def add_system(self) -> None:
        """Add programs, libraries and certificates; nothing by which names are resolved."""
        known = _system(int(clock.monotonic_s()))
        self._links |= known._links  # noqa: SLF001 - of its own kind
        self._bound = known._bound | self._bound  # noqa: SLF001

    def arguments(self) -> list[str]:
        """Return the arguments of bubblewrap: folders above, then binds, then links."""
        found: list[str] = []
        tops = [path for path in sorted(self._bound) if not self._is_covered(path)]
        shown = frozenset(tops)
        links = {link: to for link, to in self._links.items() if shown.isdisjoint(_above(link))}
        for folder in _folders_above((*tops, *links)):
            # Otherwise bubblewrap closes it to others when what is bound below is in a closed one.
            found += ["--perms", "0755", "--dir", folder]
        for path in tops:
            found += ["--bind" if self._bound[path] else "--ro-bind", path, path]
        for link, to in links.items():
            found += ["--symlink", to, link]
        return found

    def _is_covered(self, path: str) -> bool:
        """Return whether a folder above is bound, and gives as much."""
        return any(
            above in self._bound and (self._bound[above] or not self._bound[path])
            for above in _above(path)
        )

    def _follow(self, path: str) -> str | None:
        """Return the path without links, each of which is noted; None when nothing is there."""
        left, here, followed = _parts(path), "", 0  # texts: that is a tenth of the time
        while left:
            part = left.pop()
            if part == "..":
                here = here.rpartition("/")[0]
                continue
            place = f"{here}/{part}"
            try:
                to = os.readlink(place)  # noqa: PTH115 - as above
            except FileNotFoundError:
                return None
            except OSError:  # no link
                here = place
                continue
            followed += 1
            if followed > _MAX_LINKS:
                return None
            self._links[place] = to
            here = "" if to.startswith("/") else here
            left += _parts(to)
        return here or "/"


@functools.lru_cache(maxsize=1)
def _system(second: int) -> View:
    """Return what of the system is to be seen, looked for once a second: many start at once.

    Args:
        second: which one; it may change from one to the next.
    """
    del second
    found = View()
    for place in (*_SYSTEM, *_CERTIFICATES, *_CONFIGURATION):
        found._add(place, is_writable=False)  # noqa: SLF001 - of its own kind
    return found


def interpreter_places(executable: str, base_prefix: str) -> tuple[Path, ...]:
    """Return what a Python has to read of itself; never a whole prefix, which may be a home."""
    prefixes = {Path(base_prefix)}
    environment = Path(executable).parent.parent
    if (environment / "pyvenv.cfg").is_file():
        prefixes.add(environment)
    found = [Path(executable)]
    for prefix in sorted(prefixes):
        found += [prefix / name for name in ("lib", "lib64", "pyvenv.cfg")]
    return tuple(found)


def _folders_above(paths: Iterable[str]) -> list[str]:
    """Return every folder above some paths, the outermost first; not the root."""
    return sorted({above for path in paths for above in _above(path)} - {"/"})


def _above(path: str) -> Iterator[str]:
    """Give every folder above an absolute path, the innermost first, the root last."""
    if path == "/":
        return
    while path := path.rpartition("/")[0]:
        yield path
    yield "/"


def _parts(path: str) -> list[str]:
    """Return the parts of a path, the last first."""
    return [part for part in reversed(path.split("/")) if part not in {"", "."}]

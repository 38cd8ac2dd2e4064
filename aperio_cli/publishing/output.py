"""Where a registry is built: a fresh folder aside, which replaces an earlier build as a whole.

Nothing is written into a folder that is there, so nothing in one can lead a write elsewhere; and
nothing is replaced but what `registry build` wrote.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from aperio_cli import text
from aperio_cli.errors.registries import RegistryOutputForeign
from aperio_cli.files import writing
from aperio_cli.files.beneath import Beneath
from aperio_cli.models.registry_index import FILE_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT_FILE = "registry.json"
CATALOGUE = "catalogue.json"
_BUILT = frozenset({FILE_NAME, CATALOGUE, ROOT_FILE, "plugins", "artifacts"})
_SHOWN = 5


@contextlib.contextmanager
def replacing(source: Beneath, out: Path) -> Iterator[Beneath]:
    """Give a fresh folder, which takes the place of `out` when the block ends well.

    Args:
        source: the registry's source; below it no link is followed.
        out: the folder to replace, which may be missing.

    Raises:
        FileNotRegular: it is a link or no folder, or one on the way to it in the source is.
        RegistryOutputForeign: it holds what `registry build` did not write.
        OSError: it cannot be made.
    """
    with _folder_above(source, out) as (above, name):
        _refuse_foreign(source.root, above, name)
        _sweep(above, name)
        aside = _aside_name(name)
        try:
            above.make_folders(aside, mode=0o700)
            with above.below(aside) as built:
                yield built
            above.change_mode(aside, mode=0o755)
            _put_in_place(above, aside, name)
        finally:
            _sweep(above, name)


@contextlib.contextmanager
def _folder_above(source: Beneath, out: Path) -> Iterator[tuple[Beneath, str]]:
    """Open the folder that the output is in; what the operator named may be a link to one."""
    out = Path(os.path.abspath(out))  # noqa: PTH100 - `resolve` would follow links in the source
    if parts := _parts_in(source.root, out):
        source.make_folders(*parts[:-1])
        with source.below(*parts[:-1]) as above:
            yield above, parts[-1]
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    with Beneath(out.parent) as above:
        yield above, out.name


def _parts_in(source: Path, out: Path) -> tuple[str, ...]:
    """Return the way from the source to the output; nothing when it is not below it."""
    for folder in reversed(out.parents):
        with contextlib.suppress(OSError):  # it is missing, or not ours to look into
            if folder.samefile(source):
                return out.relative_to(folder).parts
    return ()


def _refuse_foreign(source: Path, above: Beneath, name: str) -> None:
    """Refuse to replace what is not wholly an earlier build."""
    if above.mode(name) is None:
        return
    found = above.names(name)
    strange = [each for each in found if each not in _BUILT]
    if source.resolve().is_relative_to(above.path(name).resolve()):
        strange.insert(0, str(source))
    for each in found:
        above.mode(name, each)  # a link refuses
    is_built = above.has_file(name, ROOT_FILE) and above.has_file(name, FILE_NAME)
    if strange or (found and not is_built):
        raise _foreign(above.path(name), strange)


def _foreign(out: Path, strange: list[str]) -> RegistryOutputForeign:
    shown = ", ".join(map(text.show_path, strange[:_SHOWN]))
    more = f" and {len(strange) - _SHOWN} more" if len(strange) > _SHOWN else ""
    return RegistryOutputForeign(
        f"`{out}` was left as it is: it holds what `aperio registry build` did not write",
        why=f"found {shown}{more}" if strange else f"it has no {ROOT_FILE} with a {FILE_NAME}",
        next=["name a new or an empty folder with `--out`", "copy what was built from there"],
    )


def _put_in_place(above: Beneath, aside: str, name: str) -> None:
    """Give the new folder its name; a failure in between brings the old one back."""
    old = _aside_name(name)
    is_there = above.mode(name) is not None
    try:
        if is_there:
            above.rename(name, old)
        above.rename(aside, name)
    except BaseException:
        if is_there and above.mode(name) is None:
            above.rename(old, name)
        raise


def _aside_name(name: str) -> str:
    return f"{writing.ASIDE_PREFIX}{name}-{os.urandom(8).hex()}"


def _sweep(above: Beneath, name: str) -> None:
    """Remove what this build, or an earlier one that was killed, left of the output."""
    ours = re.compile(re.escape(f"{writing.ASIDE_PREFIX}{name}-") + "[0-9a-f]{16}")
    for each in above.names():
        if ours.fullmatch(each):
            above.remove_tree(each)

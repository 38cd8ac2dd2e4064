"""pyproject.toml of a plugin written in Python: what of it a build compares with the rest.

The keys are those of the packaging specifications (PyPA, "pyproject.toml specification"). A project
need not have the file, and what it leaves to another tool (`dynamic`) is not compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from aperio_cli.errors.building import ProjectInvalid
from aperio_cli.errors.files import FileTooLarge
from aperio_cli.files.beneath import Beneath
from aperio_cli.models.reading import Bounds, Table, described, parse_toml
from aperio_cli.text import clean

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME = "pyproject.toml"
_MAX_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Pyproject:
    """What a pyproject.toml states.

    Attributes:
        dependencies: what the plugin needs; none when the file does not say.
        version: empty when the file does not say.
        license: an SPDX expression; empty when the file does not say.
        requires_python: None when the file does not say.
    """

    dependencies: tuple[Requirement, ...] = ()
    version: str = ""
    license: str = ""
    requires_python: SpecifierSet | None = None


def read_pyproject(project: Path) -> Pyproject:
    """Return what the pyproject.toml of a project states.

    Raises:
        ProjectInvalid: it is too large, no TOML, or says something that is not of its form.
        FileNotRegular: a link, a folder, a pipe or a device stands in its place.
    """

    def fail(key: str, why: str) -> NoReturn:
        raise ProjectInvalid(
            f"`{project / FILE_NAME}` cannot be used; nothing was built",
            why=described(key, why),
            next=["correct it: a build compares it with requirements.lock and manifest.yaml"],
        )

    try:
        with Beneath(project) as files:
            data = files.read(FILE_NAME, limit_bytes=_MAX_BYTES)
    except FileNotFoundError:
        return Pyproject()
    except FileTooLarge as error:
        fail("", error.why)
    document = parse_toml(data, Bounds(_MAX_BYTES), fail)
    return _parse(document.table("project")) if "project" in document else Pyproject()


def _parse(table: Table) -> Pyproject:
    stated_license = table.values.get("license")
    own = canonicalize_name(table.text("name") if "name" in table else "")
    requirements = (_requirement(table, text) for text in table.texts("dependencies"))
    return Pyproject(
        dependencies=tuple(r for r in requirements if canonicalize_name(r.name) != own),
        version=table.text("version") if "version" in table else "",
        license=clean(stated_license) if isinstance(stated_license, str) else "",
        requires_python=_specifiers(table),
    )


def _requirement(table: Table, text: str) -> Requirement:
    try:
        return Requirement(text)
    except InvalidRequirement as error:
        table.fail("dependencies", f"{clean(text, limit=80)}: {clean(str(error), limit=200)}")


def _specifiers(table: Table) -> SpecifierSet | None:
    if "requires-python" not in table:
        return None
    try:
        return SpecifierSet(table.text("requires-python"))
    except InvalidSpecifier as error:
        table.fail("requires-python", clean(str(error), limit=200))

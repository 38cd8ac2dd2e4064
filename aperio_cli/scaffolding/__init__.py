"""Stage 1, scaffold: a module path becomes a Project that builds and whose tests pass at once."""

from __future__ import annotations

import secrets
import stat
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aperio_cli.errors.building import FolderNotEmpty
from aperio_cli.errors.usage import PluginIdInvalid, UsageError
from aperio_cli.files.reading import kind_of
from aperio_cli.files.removing import remove_tree
from aperio_cli.files.writing import ASIDE_PREFIX, disk_full_guard
from aperio_cli.models.artifact import Project
from aperio_cli.models.manifest import FILE_NAME as MANIFEST
from aperio_cli.models.manifest import KINDS, MAX_BYTES, Manifest
from aperio_cli.models.plugin_id import PluginId
from aperio_cli.paths import bundled
from aperio_cli.scaffolding import origin
from aperio_cli.scaffolding.go_sdk import go_sdk
from aperio_cli.scaffolding.repository import parse_repository
from aperio_cli.scaffolding.wheel import Wheel, refresh, sdk_wheel
from aperio_cli.text import clean, nearest

if TYPE_CHECKING:
    from collections.abc import Callable

LANGUAGES = ("python", "go")
"""Languages of the templates; each template has every kind of plugin."""

_DESCRIPTIONS = {
    "connector": "Audit events from {}",
    "remediation": "Suspends and resumes users of {}",
    "destination": "Hands findings and events to {}",
}
LOCKED_TAGS = ("cp311", "cp312", "cp313", "cp314")
"""Interpreters that the locks have wheels for; the first stands in for any other."""


@dataclass(frozen=True, slots=True)
class ScaffoldRequest:
    """What to scaffold.

    Attributes:
        module: where the project will live, such as `github.com/acme/aperio-plugin-box`, or the
            repository's address.
        kind: connector, remediation or destination.
        language: one of `LANGUAGES`.
        publisher: the plugin's namespace; empty means the module's owner in lower case.
        output: the project's folder, new or empty; None means one named after the repository,
            in the current folder.
        aperio_from: where its workflows get aperio from, as `origin.parse_origin` takes it.
    """

    module: str
    kind: str = "connector"
    language: str = "python"
    publisher: str = ""
    output: Path | None = None
    aperio_from: str = origin.DEFAULT


@dataclass(frozen=True, slots=True)
class Names:
    """The names that a module path gives a new project; the variables of the template.

    Attributes:
        kind: of the plugin.
        repository: last part of the module path, `aperio-plugin-box`.
        module: the module path.
        namespace: of the plugin's id.
        plugin_name: of the plugin's id, and its entrypoint: `box-connector`.
        title: for people: `Box`.
        provider: `BOX`.
        description: what the plugin does, in a few words.
        class_name: `BoxConnector`.
    """

    kind: str
    repository: str
    module: str
    namespace: str
    plugin_name: str
    title: str
    provider: str
    description: str
    class_name: str


def scaffold(request: ScaffoldRequest) -> Project:
    """Make the project's folder, complete or not at all, and give the project.

    Nothing of the template is executed, nothing outside of the folder is read or written, and no
    network is used: the SDK is put in from the source that ships with aperio.

    Raises:
        UsageError: this version has no template for the kind or the language, or aperio is not
            to be had from there.
        ModuleInvalid: the module names no repository that a plugin can be called after.
        PluginIdInvalid: the publisher is not a namespace.
        FolderNotEmpty: the folder has something in it, or is no folder; it was left alone.
        NotFound: this installation of aperio lacks the template or the SDK.
        DiskFull: there is no space; nothing is left.
        OSError: the folder cannot be written.
    """
    _check_offered("kind", request.kind, KINDS)
    _check_offered("language", request.language, LANGUAGES)
    names = derive_names(request.module, request.publisher, request.kind)
    source = origin.parse_origin(request.aperio_from)
    output = (request.output or Path(names.repository)).absolute()
    _check_empty(output)
    with disk_full_guard(f"`{output}` was not made"):
        output.parent.mkdir(parents=True, exist_ok=True)
        aside = output.parent / (ASIDE_PREFIX + secrets.token_hex(8))
        aside.mkdir()
        try:
            rendered = _render(request.language, names, source, aside)
            _take_place(rendered, output)
        finally:
            remove_tree(aside)
    manifest = (output / MANIFEST).read_bytes()[: MAX_BYTES + 1]
    return Project(output, Manifest.parse(manifest))


def _check_offered(what: str, asked: str, offered: tuple[str, ...]) -> None:
    if asked not in offered:
        raise UsageError(
            f"`{clean(asked, limit=80)}` is not a {what} that `plugin init` offers;"
            " nothing was made",
            why=f"this version has templates for {what}: {', '.join(offered)}",
            next=[*nearest(asked, offered), f"leave the option out for {what} {offered[0]}"],
        )


def derive_names(module: str, publisher: str = "", kind: str = "connector") -> Names:
    """Return the names of a new project.

    Args:
        module: the repository, as `parse_repository` takes it.
        publisher: the namespace, when it is not the owner.
        kind: connector, remediation or destination.

    Raises:
        ModuleInvalid: it names no repository that a plugin can be called after.
        PluginIdInvalid: the publisher is not a namespace.
    """
    repository = parse_repository(module)
    stem = repository.stem.removesuffix(f"-{kind}")
    words = stem.split("-")
    plugin_name = f"{stem}-{kind}"
    title = " ".join(word.capitalize() for word in words)
    plugin = _plugin_id(publisher or repository.owner.lower(), plugin_name)
    return Names(
        kind=kind,
        repository=repository.name,
        module=repository.module,
        namespace=plugin.namespace,
        plugin_name=plugin.name,
        title=title,
        provider="_".join(words).upper(),
        description=_DESCRIPTIONS[kind].format(title),
        class_name="".join(word.capitalize() for word in (*words, kind)),
    )


def _plugin_id(namespace: str, name: str) -> PluginId:
    try:
        return PluginId.parse(f"{namespace}/{name}")
    except PluginIdInvalid as error:
        raise PluginIdInvalid(
            f"`{clean(namespace, limit=120)}` is not a namespace; nothing was made",
            why="expected lower-case letters, digits and hyphens",
            next=["give another with `--publisher NAMESPACE`"],
        ) from error


def _check_empty(folder: Path) -> None:
    try:
        mode = folder.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(mode):
        raise _not_empty(folder, f"it is {kind_of(mode)}")
    if entries := sorted(path.name for path in folder.iterdir())[:3]:
        raise _not_empty(folder, f"it holds {clean(', '.join(entries), limit=120)}")


def _not_empty(folder: Path, why: str) -> FolderNotEmpty:
    return FolderNotEmpty(
        f"`{folder}` is not an empty folder; nothing was changed",
        why=why,
        next=["give another folder with `--output DIR`"],
    )


def _render(language: str, names: Names, source: origin.Origin, aside: Path) -> Path:
    """Render the template below `aside`, with the SDK and aperio's lock; return the folder."""
    # The function below the command: it reads no configuration of the user's, keeps no replay
    # file and, told so, runs no hook.
    from cookiecutter.generate import (  # type: ignore[import-untyped]  # it ships no types
        generate_files,
    )

    wheel = sdk_wheel()
    add_sdk, sdk_variables = _python_sdk(wheel) if language == "python" else _go_sdk()
    variables = {**asdict(names), "aperio_commit": source.commit, **sdk_variables}
    template = bundled("plugin_templates") / language
    generate_files(template, {"cookiecutter": variables}, aside, accept_hooks=False)
    rendered = aside / names.repository
    add_sdk(rendered)
    _add_aperio(rendered, source, wheel)
    return rendered


def _add_aperio(project: Path, source: origin.Origin, wheel: Wheel) -> None:
    """Put the lock that the workflows install aperio by into a project, with the SDK's wheel."""
    folder = project / origin.FOLDER
    folder.mkdir()
    (folder / origin.LOCK_NAME).write_text(origin.lock_text(source, wheel))
    (folder / wheel.file_name).write_bytes(wheel.data)


def _python_sdk(wheel: Wheel) -> tuple[Callable[[Path], object], dict[str, str]]:
    """Return what puts the SDK's wheel into a project, and the variables that only Python needs."""
    tag = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    return lambda project: refresh(project, wheel), {
        "python_tag": tag if tag in LOCKED_TAGS else LOCKED_TAGS[0],
        "sdk_version": wheel.version,
        "sdk_sha256": wheel.digest.hex,
    }


def _go_sdk() -> tuple[Callable[[Path], object], dict[str, str]]:
    """Return what puts the SDK's source into a project, and the variables that only Go needs."""
    sdk = go_sdk()
    return sdk.put_into, {
        "sdk_module": sdk.module,
        "sdk_version": sdk.version,
        "go_version": sdk.go_version,
        "go_requirements": "\n".join(f"\t{line} // indirect" for line in sdk.requirements),
        "go_sums": sdk.sums.rstrip(),
    }


def _take_place(rendered: Path, output: Path) -> None:
    """Move the project to its place: one rename, or, into an empty folder, the manifest last.

    An existing folder is not replaced: it may be the one that a shell stands in.
    """
    if not output.exists():
        rendered.rename(output)
        return
    sources = sorted(rendered.iterdir(), key=lambda path: (path.name == MANIFEST, path.name))
    try:
        for source in sources:
            source.rename(output / source.name)
    except BaseException:
        for source in sources:
            if not source.exists():
                remove_tree(output / source.name)
        raise

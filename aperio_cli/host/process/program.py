"""What is executed for a target, checked before anything of it runs."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aperio_cli.errors.files import FileNotRegular, FilesChanged
from aperio_cli.errors.running import PluginNotExecutable
from aperio_cli.files import tree
from aperio_cli.host.process import diagnosis
from aperio_cli.host.process.advice import DEVELOPER, OPERATOR, Advice
from aperio_cli.host.process.sealed import SealedBinary, seal_binary
from aperio_cli.host.sandbox.view import interpreter_places
from aperio_cli.host.wire.handshake import APERIO, Dialect
from aperio_cli.models.artifact import DevelopmentBuild
from aperio_cli.models.ownership import owner_of_folder

if TYPE_CHECKING:
    from aperio_cli.models.artifact import Interpreter
    from aperio_cli.models.grant import OwnRule
    from aperio_cli.models.manifest import Manifest
    from aperio_cli.models.receipt import Receipt
    from aperio_cli.store.installed import Store

# Isolated from PYTHON* variables and the user's own packages; no bytecode written into the store.
_PYTHON_FLAGS: Final = ("-I", "-B")
# And without what the interpreter's packages do at its start: that may take longer than the plugin
# itself, and is taken back.
_INSTALLED_FLAGS: Final = ("-I", "-S", "-B")
# A folder under development is not laid out like an artifact: what the artifact's own start file
# does with `lib/`, this does with the cache of locked dependencies.
_DEVELOPMENT_RUNNER: Final = (
    "import os, runpy, sys; script, library = sys.argv[1:3];"
    " sys.path[:0] = [library, os.path.dirname(script)];"
    " sys.argv = [script]; runpy.run_path(script, run_name='__main__')"
)


@dataclass(frozen=True, slots=True)
class Program:
    """Something that may be executed.

    Attributes:
        subject: what to call it in messages: "`acme/box` 1.2.0".
        plugin_id: the plugin's id as text.
        version: its version.
        kind: connector, remediation or destination.
        provider: upper-case name of the service.
        arguments: the argument vector; the first is an absolute path.
        binary: the file to look at when execution fails.
        manifest: what it declares; of an installed plugin, with what is granted in place of what it
            asks for.
        state_owner: whose stored state it uses.
        is_development: whether it is a folder under development.
        sealed: the copy of a single binary that runs in its place; None: the file runs.
        dialect: the cookie and the protocol versions that it knows.
        own_rules: the hosts that the operator opens to it beyond that.
        places: files and folders that it has to read.
    """

    subject: str
    plugin_id: str
    version: str
    kind: str
    provider: str
    arguments: tuple[str, ...]
    binary: Path
    manifest: Manifest
    state_owner: str
    is_development: bool = False
    sealed: SealedBinary | None = None
    dialect: Dialect = APERIO
    own_rules: tuple[OwnRule, ...] = ()
    places: tuple[Path, ...] = ()

    def close(self) -> None:
        """Let go of the sealed copy; the process that runs it keeps its own hold."""
        if self.sealed:
            self.sealed.close()

    def another(self) -> Program:
        """Return the same, for a start of its own: it has to be closed, too."""
        return replace(self, sealed=self.sealed.another()) if self.sealed else self

    @property
    def is_single_binary(self) -> bool:
        """Whether it is an installed program that needs no interpreter."""
        return not self.is_development and self.manifest.runtime.language == "go"

    @property
    def advice(self) -> Advice:
        """What to do when it fails."""
        return DEVELOPER if self.is_development else OPERATOR

    @property
    def producer(self) -> str:
        """Who stands in envelopes as the producer: `<id>@<version>`."""
        return f"{self.plugin_id}@{self.version}"

    @property
    def open_files(self) -> int:
        """How many file descriptors one process may have."""
        return self.manifest.limits.open_files

    @property
    def needs_state(self) -> bool:
        """Whether it uses the key-value store."""
        return self.manifest.state


def check_program(target: Receipt | DevelopmentBuild, store: Store | None) -> Program:
    """Return the program of a target that was cleared, once its files were checked. Blocks.

    Every file of an installed plugin is hashed and compared with the list made at install. What
    consists of one binary is copied, and runs from the copy (`sealed`): close the program later.

    Args:
        target: an installed version or a folder under development.
        store: where the version is installed; a folder under development needs none.

    Raises:
        FilesChanged: a file differs from the installed one; names it.
        ReceiptInvalid: the list of files is damaged.
        OSError: a file may not be read.
    """
    if isinstance(target, DevelopmentBuild):
        return _development(target)
    program = _installed(target)
    if store is None:
        raise ValueError("an installed plugin is checked against its store")
    if target.interpreter:
        store.check(target)
        return program
    return _check_binary(target, store, program)


def _check_binary(receipt: Receipt, store: Store, program: Program) -> Program:
    """Return the program with its sealed copy; the file itself is read once, while it is copied."""
    name = f"bin/{receipt.entrypoint}"
    listed = tree.parse_tree(store.tree_list(receipt))
    expected = next((record.sha256 for record in listed if record.path == name), "not listed")
    try:
        sealed = seal_binary(program.binary, expected, subject=program.subject)
    except (FilesChanged, FileNotRegular, FileNotFoundError):
        store.check(receipt)  # its error comes first: it names every file that differs
        raise
    with contextlib.ExitStack() as held:
        if sealed:
            held.callback(sealed.close)
        store.check(receipt, {name: expected} if sealed else {})
        _require_executable(program)
        held.pop_all()
    return replace(program, sealed=sealed)


def _require_executable(program: Program) -> None:
    """Require that the file's mode lets it be executed; a copy in memory would not ask.

    Raises:
        PluginNotExecutable: the file on disk may not be executed.
    """
    if not os.access(program.binary, os.X_OK):
        raise PluginNotExecutable(
            f"{program.subject} could not be executed",
            why="\n".join(diagnosis.file_problems(program.binary)),
            next=[program.advice.not_executable],
        )


def _development(target: DevelopmentBuild) -> Program:
    manifest = target.project.manifest
    subject = f"`{manifest.id}` {manifest.version} (development)"
    arguments: tuple[str, ...] = (str(target.script.absolute()),)
    if target.interpreter and target.dependencies:
        runner = (target.interpreter.executable, *_PYTHON_FLAGS, "-c", _DEVELOPMENT_RUNNER)
        arguments = (*runner, *arguments, str(target.dependencies.absolute()))
    return Program(
        subject=subject,
        plugin_id=str(manifest.id),
        version=manifest.version,
        kind=manifest.kind,
        provider=manifest.provider,
        arguments=arguments,
        binary=Path(arguments[0]),
        manifest=manifest,
        state_owner=owner_of_folder(manifest.id, target.project.path),
        is_development=True,
        places=_places_of_folder(target),
    )


def _places_of_folder(target: DevelopmentBuild) -> tuple[Path, ...]:
    """Return what a folder under development has to read: itself, or the program built of it."""
    script = target.script.absolute()
    if not (target.interpreter and target.dependencies):
        return (script,)
    folder = script.parent.parent if script.parent.name == "bin" else script.parent
    own = (folder, target.dependencies.absolute())
    return (*own, *_places_of_interpreter(target.interpreter))


def _places_of_interpreter(interpreter: Interpreter) -> tuple[Path, ...]:
    return interpreter_places(interpreter.executable, interpreter.base_prefix)


def _installed(receipt: Receipt) -> Program:
    start = receipt.files / "bin" / receipt.entrypoint
    places: tuple[Path, ...] = (receipt.files,)
    if receipt.interpreter:
        places += _places_of_interpreter(receipt.interpreter)
        executable = receipt.interpreter.executable
        arguments: tuple[str, ...] = (executable, *_INSTALLED_FLAGS, f"{start}.py")
    else:
        arguments = (str(start),)
    return Program(
        subject=f"`{receipt.id}` {receipt.version}",
        plugin_id=str(receipt.id),
        version=receipt.version,
        kind=receipt.kind,
        provider=receipt.manifest.provider,
        arguments=arguments,
        binary=Path(arguments[0]),
        manifest=receipt.grant.granted,
        own_rules=receipt.grant.own,
        state_owner=receipt.state_owner,
        places=places,
    )

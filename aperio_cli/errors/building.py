"""Scaffold and build: projects, manifests, artifacts."""

from __future__ import annotations

from aperio_cli.errors import INCOMPATIBLE, USAGE, AperioError, Refusal


class FolderNotEmpty(AperioError):
    """`plugin init` writes into a new or empty folder only."""

    code = "folder-not-empty"


class ProjectInvalid(AperioError):
    """The folder is not a plugin project: it has no manifest.yaml, or a named file is missing."""

    code = "project-invalid"


class ManifestInvalid(AperioError):
    """manifest.yaml cannot be read, lacks a key, or has an unknown or badly formed one."""

    code = "manifest-invalid"


class ManifestKindUnknown(AperioError):
    """The manifest's `kind` is none of connector, remediation and destination."""

    code = "manifest-kind-unknown"


class ModuleInvalid(AperioError):
    """`plugin init` takes a repository, as github.com/acme/aperio-plugin-box, or its address."""

    code = "module-invalid"
    exit_status = USAGE


class SourceInvalid(AperioError):
    """A source file of a plugin is not Python of every version that the manifest declares."""

    code = "source-invalid"


class DeclarationsDiffer(AperioError):
    """manifest.yaml, pyproject.toml and the source say different things about one plugin."""

    code = "declarations-differ"


class EgressOperatorOnly(ManifestInvalid):
    """permissions.egress asks for an address, or a host of somebody's own network.

    What is there, only whoever runs the plugin knows: an operator opens it, no manifest does.
    """

    code = "egress-operator-only"


class EgressPlaceholder(AperioError):
    """permissions.egress still names a host that stands for another in templates and examples."""

    code = "egress-placeholder"


class SecretInProject(Refusal):
    """A file of the project looks like a credential, and what is built is made to be published."""

    code = "secret-in-project"


class SecretScanTooLong(Refusal):
    """Looking through a project for secrets took too long; what nobody looked at is not built."""

    code = "secret-scan-too-long"


class IgnoreInvalid(AperioError):
    """`.aperioignore` has a line that is no pattern, or no waiver; or it cannot be read."""

    code = "ignore-invalid"


class LockInvalid(AperioError):
    """requirements.lock is missing, or a line of it is not one pinned version with its hashes."""

    code = "lock-invalid"


class LockInconsistent(AperioError):
    """requirements.lock lacks something that the project or a locked package needs.

    Or it has another version of that than they take.
    """

    code = "lock-inconsistent"


class BuildDependencyUnavailable(AperioError):
    """No wheel of a locked dependency fits the interpreter and the platform built for."""

    code = "build-dependency-unavailable"


class BuildDependencyFailed(AperioError):
    """The locked dependencies could not be installed, for a reason that pip gives."""

    code = "build-dependency-failed"


class DependencyDigestMismatch(Refusal):
    """A downloaded dependency is not the one that requirements.lock names; it was not used."""

    code = "dependency-digest-mismatch"


class RuntimeUnsupported(AperioError):
    """This version of aperio cannot build the manifest's runtime, or not for that platform."""

    code = "runtime-unsupported"


class GoToolchainMissing(AperioError):
    """A Go plugin can be built only where Go is installed, as new as its go.mod asks for."""

    code = "go-toolchain-missing"


class GoModulesUnpinned(AperioError):
    """go.mod and go.sum of a Go plugin do not pin every module that it imports."""

    code = "go-modules-unpinned"


class GoModuleDenied(AperioError):
    """The server of a Go plugin's module asks who wants it, and got no answer that it takes."""

    code = "go-module-denied"


class GoModuleMissing(AperioError):
    """A module that go.mod names, or its version, is not where go looked for it."""

    code = "go-module-missing"


class GoTransportRefused(AperioError):
    """A module of a Go plugin is kept where aperio lets go fetch nothing from.

    It takes modules from a module proxy, or from git over https or ssh.
    """

    code = "go-transport-refused"


class GoBuildFailed(AperioError):
    """A Go plugin does not compile; what go says stands in the message."""

    code = "go-build-failed"


class InterpreterNotDeclared(AperioError):
    """The interpreter is none of those that the manifest's `runtime.tags` declares."""

    code = "interpreter-not-declared"
    exit_status = INCOMPATIBLE


class ArtifactUnfit(AperioError):
    """What was built does not start, or declares something else than its manifest."""

    code = "artifact-unfit"


class BuildNotReproducible(AperioError):
    """Building the same project twice gave different bytes."""

    code = "build-not-reproducible"

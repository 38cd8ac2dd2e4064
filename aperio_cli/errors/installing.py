"""Verify, install and keep: manifests, interpreters, the store."""

from __future__ import annotations

from aperio_cli.errors import INCOMPATIBLE, USAGE, AperioError, Refusal
from aperio_cli.errors.files import RecordNewer


class ReceiptInvalid(Refusal):
    """The record of an installed version cannot be read, so what it runs cannot be checked."""

    code = "receipt-invalid"


class ReceiptNewer(RecordNewer):
    """A newer aperio made the record of an installed version, and this one cannot read it."""

    code = "receipt-newer"


class NotInstalled(AperioError):
    """The plugin, or that version of it, is not installed."""

    code = "not-installed"


class ManifestMismatch(Refusal):
    """The artifact's own manifest says something else than what it was offered as."""

    code = "manifest-mismatch"


class BytecodeInArtifact(Refusal):
    """The artifact carries compiled Python, which nobody can review; install compiles instead."""

    code = "artifact-bytecode"


class PlatformIncompatible(AperioError):
    """The plugin exists, but not for this operating system and architecture."""

    code = "platform-incompatible"
    exit_status = INCOMPATIBLE


class ProtocolIncompatible(AperioError):
    """The plugin speaks another major version of the plugin interface than this aperio."""

    code = "protocol-incompatible"
    exit_status = INCOMPATIBLE


class HostIncompatible(AperioError):
    """The version of the plugin needs another version of aperio than this one."""

    code = "host-incompatible"
    exit_status = INCOMPATIBLE


class InterpreterMissing(AperioError):
    """No Python interpreter on this machine fits what the plugin was built for."""

    code = "interpreter-missing"
    exit_status = INCOMPATIBLE


class BytecodeFailed(AperioError):
    """The plugin's Python files could not be compiled within the memory and time allowed."""

    code = "bytecode-failed"


class VersionChanged(Refusal):
    """A version that is installed already was offered again with other contents."""

    code = "version-changed"


class LockFileInvalid(AperioError):
    """A lock file cannot be read: it was changed by hand or by a merge, and the line is named."""

    code = "lock-file-invalid"


class LockFileMissing(AperioError):
    """What a lock file names was to be installed, and there is no lock file."""

    code = "lock-file-missing"


class LockFileDiffers(Refusal):
    """What is offered, or installed, is not what the lock file has of the same version."""

    code = "lock-file-differs"


class LockFileOutdated(AperioError):
    """With `--locked` the lock file has to stay as it is, and it would have to be changed."""

    code = "lock-file-outdated"


class NoPreviousVersion(AperioError):
    """There is no version to go back to: none was used before, or it is not installed any more."""

    code = "no-previous-version"


class SignerChanged(Refusal):
    """The new version is signed by somebody else than the installed one, or not at all."""

    code = "signer-changed"


class PluginInUse(AperioError):
    """The plugin is running, so its files were left as they are."""

    code = "plugin-in-use"


class PermissionNotAsked(AperioError):
    """A host was to be granted that the plugin's manifest does not ask for."""

    code = "permission-not-asked"
    exit_status = USAGE


class LimitTooLow(AperioError):
    """A limit was to be set so low that nothing written in the plugin's language could start."""

    code = "limit-too-low"
    exit_status = USAGE

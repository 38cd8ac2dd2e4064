"""Wrong usage, input and output, places."""

from __future__ import annotations

from aperio_cli.errors import INCOMPATIBLE, INTERRUPTED, USAGE, AperioError


class UsageError(AperioError):
    """The command line does not say something that can be done."""

    code = "usage"
    exit_status = USAGE


class ConsentMissing(AperioError):
    """A question has to be answered, and there is no terminal to ask it on."""

    code = "consent-missing"


class ConfigurationInvalid(AperioError):
    """aperio's own configuration file cannot be read or says something unknown."""

    code = "configuration-invalid"
    exit_status = USAGE


class StatedByHand(AperioError):
    """A person states it in config.toml or in the site's file, which commands do not change."""

    code = "stated-by-hand"


class PluginIdInvalid(AperioError):
    """A plugin id is `namespace/name`, lower-case letters, digits and hyphens only."""

    code = "plugin-id-invalid"
    exit_status = USAGE


class VersionInvalid(AperioError):
    """A version is semantic versioning 2.0, without build metadata."""

    code = "version-invalid"
    exit_status = USAGE


class NotFound(AperioError):
    """A file or folder that was named is not there, or is not what the command works on."""

    code = "not-found"


class PlaceUnusable(AperioError):
    """A file or folder that aperio needs is closed to this user, or on a disk for reading only."""

    code = "place-unusable"


class HomeUnknown(AperioError):
    """Nothing says where this user is at home: HOME is not set, nor is the user in the system."""

    code = "home-unknown"
    exit_status = USAGE


class OutputUnwritten(AperioError):
    """Stdout is closed or cannot be written, so that what came of a command cannot be told."""

    code = "output-unwritten"


class ExtraMissing(AperioError):
    """The configuration asks for what a library does that is not installed."""

    code = "extra-missing"


class SystemUnsupported(AperioError):
    """Plugins are installed and run on Linux only; this is another system."""

    code = "system-unsupported"
    exit_status = INCOMPATIBLE


class Interrupted(AperioError):
    """Somebody pressed Ctrl-C; what the command had half done was undone."""

    code = "interrupted"
    exit_status = INTERRUPTED


class InternalError(AperioError):
    """A bug in aperio: the traceback was saved, and the message says where."""

    code = "internal-error"

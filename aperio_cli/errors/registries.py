"""Registries: their index, and the folders that maintainers keep."""

from __future__ import annotations

from aperio_cli.errors import UNAVAILABLE, USAGE, AperioError, Refusal


class RegistryUnconfigured(AperioError):
    """A plugin was named by its id, and no registry is configured to look it up in."""

    code = "registry-unconfigured"
    exit_status = USAGE


class RegistryUnsigned(Refusal):
    """A registry that is neither a folder nor on this machine has to be signed; this is not."""

    code = "registry-unsigned"


class RegistrySignatureInvalid(Refusal):
    """The registry's root is not signed by whom the configuration states, so nothing was read."""

    code = "registry-signature-invalid"


class RegistryExpired(Refusal):
    """The registry's root has ended: a newer one, which withdraws something, may be held back."""

    code = "registry-expired"


class RegistryOutdated(Refusal):
    """The registry shows an older edition than it showed before, or another one of that number."""

    code = "registry-outdated"


class IndexTooLarge(AperioError):
    """The registry's index is longer than any index has to be, so it was not read."""

    code = "index-too-large"
    exit_status = UNAVAILABLE


class IndexUnreadable(AperioError):
    """The registry's index is missing, is not JSON, or breaks a rule of its format."""

    code = "index-unreadable"
    exit_status = UNAVAILABLE


class IndexVersionUnknown(AperioError):
    """The registry's index is written in a version of the format that this aperio cannot read."""

    code = "index-version-unknown"
    exit_status = UNAVAILABLE


class PluginNotFound(AperioError):
    """The registry has no plugin of that id, or not that version of it."""

    code = "plugin-not-found"


class VersionRevoked(Refusal):
    """The registry has revoked that version: it must neither be installed nor started."""

    code = "revoked"


class VersionYanked(AperioError):
    """The version was taken back by its publisher, and nothing that was locked before names it."""

    code = "version-yanked"


class VersionTooNew(Refusal):
    """Every version that would do was published only now, and your policy lets them cool down."""

    code = "version-too-new"


class KnownVersionsUnreadable(Refusal):
    """What is remembered of revoked versions is damaged, so nothing is installed or started."""

    code = "known-versions-unreadable"


class NamespaceOwned(Refusal):
    """A registry offers a plugin whose namespace belongs to another one, which does not have it."""

    code = "namespace-owned"


class RegistrySourceInvalid(AperioError):
    """The folder is not the source of a registry, or one of its records is damaged."""

    code = "registry-source-invalid"


class RegistryNotBuilt(AperioError):
    """What is to be signed was not built from the registry's source as it is now, or is damaged."""

    code = "registry-not-built"


class RegistryDamaged(AperioError):
    """A built registry is not whole: something is missing, or not what the rest of it states."""

    code = "registry-damaged"


class VersionWithdrawn(AperioError):
    """A version is withdrawn already, for the same or for more than it is to be withdrawn for."""

    code = "version-withdrawn"


class EditionSigned(AperioError):
    """The registry's source was changed by hand after this very edition of it was signed."""

    code = "edition-signed"


class RegistrySourceExists(AperioError):
    """The folder is the source of a registry already, or holds something else."""

    code = "registry-source-exists"


class RegistryOutputForeign(Refusal):
    """A registry would be built over a folder that holds something else, which stays as it is."""

    code = "registry-output-foreign"


class PublishedVersionChanged(Refusal):
    """A version that the registry has already was added again with other contents.

    Or its artifacts differ in what they declare, or in who signed them.
    """

    code = "published-version-changed"


class PortInUse(AperioError):
    """The registry cannot be served on that port: another program listens there."""

    code = "port-in-use"


class PluginIdConfusing(Refusal):
    """An id looks like another one that the registry has; both in its log could never be parted."""

    code = "plugin-id-confusing"


class RegistryLogContradicted(Refusal):
    """A version has another artifact or signer than the registry's log has, which cannot change."""

    code = "registry-log-contradicted"


class RegistryLogForked(Refusal):
    """A registry's log is not a continuation of the one that was seen before.

    An entry is missing, was changed, or stands elsewhere: the registry tells different people, or
    at different times, different things. What both of its checkpoints say is worth keeping.
    """

    code = "registry-log-forked"


class RegistryLogUnproven(Refusal):
    """A registry offers what its own log is not proved to have."""

    code = "registry-log-unproven"


class RegistryUnwitnessed(Refusal):
    """Fewer witnesses have signed the checkpoint of a registry's log than its rule asks for."""

    code = "registry-unwitnessed"

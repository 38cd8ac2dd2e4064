"""Files, archives and downloads."""

from __future__ import annotations

from aperio_cli.errors import UNAVAILABLE, AperioError, Refusal


class DiskFull(AperioError):
    """The disk, or this user's quota, is full; what was half written has been removed."""

    code = "disk-full"


class FileSizeLimited(DiskFull):
    """A file may not become that long here; what was half written has been removed.

    The limit is this process's (`ulimit -f`, a service's LimitFSIZE=) or the file system's own, as
    of FAT with 4 GiB.
    """

    code = "file-size-limited"


class LockHeld(AperioError):
    """Another aperio process is changing the same thing and did not finish in time."""

    code = "locked"


class FileTooLarge(AperioError):
    """A file is longer than any file of its kind has to be, so it was not read."""

    code = "file-too-large"


class FileNotRegular(Refusal):
    """A link, a folder, a pipe or a device stands where a regular file, or a folder, has to."""

    code = "file-not-regular"


class FolderNotPrivate(Refusal):
    """A folder that has to be this user's own is a link, somebody else's, or open to be changed."""

    code = "folder-not-private"


class PathShared(Refusal):
    """Somebody else may change a file that decides about trust, or a folder on the way to it."""

    code = "path-shared"


class FilesChanged(Refusal):
    """Installed files differ from the list made at install, so nothing of them was executed."""

    code = "files-changed"


class TreeNotPlain(Refusal):
    """A folder holds links, devices or names that a list of files cannot describe."""

    code = "tree-not-plain"


class MemberUnfit(AperioError):
    """A file cannot be put into an artifact: its path, its size or its kind does not fit."""

    code = "archive-member-unfit"


class RecordNewer(Refusal):
    """A newer aperio made a file that aperio keeps; it is neither read nor changed."""

    code = "record-newer"


class ArchiveRefused(Refusal):
    """The base of every reason not to unpack an artifact; nothing of it was left on disk."""


class ArchiveTruncated(ArchiveRefused):
    """The artifact ends before its contents do, as after a download that was cut off."""

    code = "archive-truncated"


class ArchiveMalformed(ArchiveRefused):
    """The artifact is no gzip file with one POSIX ustar archive, in the one form of artifacts."""

    code = "archive-malformed"


class ArchiveMemberType(ArchiveRefused):
    """The artifact holds something other than regular files: a link, a device, an extension."""

    code = "archive-member-type"


class ArchivePath(ArchiveRefused):
    """A path in the artifact leads outside of it, or is written in a way that can mislead."""

    code = "archive-path"


class ArchiveDuplicate(ArchiveRefused):
    """Two members of the artifact claim the same path, exactly or on some file system."""

    code = "archive-duplicate"


class ArchiveTooLarge(ArchiveRefused):
    """The artifact unpacks to more, or to more files, than any plugin has to."""

    code = "archive-too-large"


class ArchiveManifestMissing(ArchiveRefused):
    """The artifact's first member is not manifest.yaml."""

    code = "archive-manifest-missing"


class NetworkUnavailable(AperioError):
    """A server could not be reached, broke off, or answered something that cannot be used."""

    code = "network-unavailable"
    exit_status = UNAVAILABLE
    status: int | None = None  # of the HTTP response, where one was the cause


class ProxyUnavailable(NetworkUnavailable):
    """The proxy that the environment states cannot be reached, or lets nothing through."""

    code = "proxy-unavailable"


class CertificateUntrusted(NetworkUnavailable):
    """A server's certificate is not one that this system trusts, so nothing was sent to it."""

    code = "certificate-untrusted"


class CertificatesUnusable(NetworkUnavailable):
    """SSL_CERT_FILE or SSL_CERT_DIR names something that holds no certificates."""

    code = "certificates-unusable"


class Offline(AperioError):
    """Something has to be downloaded, and `--offline` allows no network at all."""

    code = "offline"
    exit_status = UNAVAILABLE


class ResponseTooLarge(AperioError):
    """A download is longer than what was asked for can be; it was stopped and thrown away."""

    code = "response-too-large"
    exit_status = UNAVAILABLE


class ResponseNotFound(AperioError):
    """The server or folder answered, and does not have what was asked for."""

    code = "not-found-at-source"
    exit_status = UNAVAILABLE


class DigestMismatch(Refusal):
    """The bytes received are not the bytes that were promised; they were thrown away."""

    code = "artifact-digest-mismatch"


class InsecureUrl(Refusal):
    """The address is neither https nor this machine, so anybody on the way could change it."""

    code = "insecure-url"

"""A file system that can be made to fail: what stands in a folder, shown at another place.

    python -m tests.simulators.failing_mount SOURCE PLACE MODE

While the file MODE says `EROFS` or `EIO`, whatever changes something fails with that, by
descriptors that are open already, too: as an ext4 of `errors=remount-ro` does after an error, or a
disk that has gone. Those seldom come back to the same descriptors, this one does. It speaks to the
kernel by linux/fuse.h, version 7.31, and takes a mount: for root alone.
"""

# Paths are texts here: each request makes some.
# ruff: noqa: PTH101, PTH102, PTH104, PTH106, PTH108, PTH115, PTH208

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_WRITE: Final = 128 * 1024
_NOSUID_NODEV: Final = 2 | 4
_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_TRUNC | os.O_APPEND
_ROOT: Final = 1
_SILENT: Final = frozenset({2, 42, 36})  # FORGET, BATCH_FORGET, INTERRUPT


class FileSystem:
    """Answers the kernel from a folder; one request after the other.

    Args:
        source: what is shown.
        mode: the file that says how it fails.
    """

    def __init__(self, source: str, mode: Path) -> None:
        self._mode = mode
        self._paths = {_ROOT: source}
        self._nodes = {source: _ROOT}
        self._next = _ROOT
        self._answers: dict[int, Callable[[int, bytes], bytes]] = {
            1: self._lookup, 3: self._getattr, 4: self._setattr, 5: self._readlink,
            8: self._mknod, 9: self._mkdir, 10: self._unlink, 11: self._rmdir,
            12: self._rename, 14: self._open, 15: self._read, 16: self._write,
            17: self._statfs, 18: self._release, 20: self._fsync, 25: self._nothing,
            26: self._init, 27: self._opendir, 28: self._readdir, 29: self._nothing,
            30: self._nothing, 35: self._create, 45: self._rename2,
        }  # fmt: skip

    def answer(self, request: bytes) -> bytes | None:
        """Return what the kernel is told; None: nothing."""
        _, opcode, unique, node = struct.unpack_from("=IIQQ", request)
        if opcode in _SILENT:
            return None
        error, body = 0, b""
        try:
            body = self._answers.get(opcode, self._unknown)(node, request[40:])
        except OSError as failed:
            error = failed.errno or errno.EIO
        except KeyError:
            error = errno.ESTALE
        return struct.pack("=IiQ", 16 + len(body), -error, unique) + body

    def _require_good(self) -> None:
        """Fail as the mode says."""
        if name := self._mode.read_text().strip():
            raise OSError(getattr(errno, name), "as it was told to")

    # ── names ─────────────────────────────────────────────────────────────────────────────────────

    def _child(self, node: int, name: bytes) -> str:
        return f"{self._paths[node]}/{os.fsdecode(name.split(bytes(1))[0])}"

    def _entry(self, path: str) -> bytes:
        found = os.lstat(path)
        node = self._nodes.get(path)
        if node is None:
            self._next += 1
            node = self._nodes[path] = self._next
            self._paths[node] = path
        return struct.pack("=QQQQII", node, 0, 0, 0, 0, 0) + _attributes(found, node)

    def _moved(self, old: str, new: str) -> None:
        """Have what stood below one path stand below another."""
        self._nodes.pop(new, None)
        for path, node in list(self._nodes.items()):
            if path == old or path.startswith(f"{old}/"):
                del self._nodes[path]
                self._paths[node] = new + path[len(old) :]
                self._nodes[self._paths[node]] = node

    # ── requests, by their names in linux/fuse.h ──────────────────────────────────────────────────

    def _init(self, _node: int, data: bytes) -> bytes:
        _, _, readahead, _ = struct.unpack_from("=IIII", data)
        return struct.pack("=IIIIHHIIHHI28x", 7, 31, readahead, 0, 12, 9, _MOST_WRITE, 1, 0, 0, 0)

    def _unknown(self, _node: int, _data: bytes) -> bytes:
        raise OSError(errno.ENOSYS, "not here")

    def _nothing(self, _node: int, _data: bytes) -> bytes:
        return b""

    def _lookup(self, node: int, data: bytes) -> bytes:
        return self._entry(self._child(node, data))

    def _getattr(self, node: int, data: bytes) -> bytes:
        flags, _, handle = struct.unpack_from("=IIQ", data)
        found = os.fstat(handle) if flags & 1 else os.lstat(self._paths[node])
        return struct.pack("=QII", 0, 0, 0) + _attributes(found, node)

    def _setattr(self, node: int, data: bytes) -> bytes:
        self._require_good()
        valid, _, handle, size, _, atime, mtime, _ = struct.unpack_from("=IIQQQQQQ", data)
        mode, _, uid, gid = struct.unpack_from("=IIII", data, 68)
        path = self._paths[node]
        if valid & 1:
            os.chmod(path, stat.S_IMODE(mode))
        if valid & 6:
            os.chown(path, uid if valid & 2 else -1, gid if valid & 4 else -1)
        if valid & 8:
            os.truncate(handle if valid & 64 else path, size)
        if valid & 0x30 and not valid & 0x180:
            os.utime(path, (atime, mtime))
        return self._getattr(node, bytes(16))

    def _readlink(self, node: int, _data: bytes) -> bytes:
        return os.fsencode(os.readlink(self._paths[node]))

    def _mknod(self, node: int, data: bytes) -> bytes:
        self._require_good()
        mode, device = struct.unpack_from("=II", data)
        path = self._child(node, data[16:])
        os.mknod(path, mode, device)
        return self._entry(path)

    def _mkdir(self, node: int, data: bytes) -> bytes:
        self._require_good()
        path = self._child(node, data[8:])
        os.mkdir(path, struct.unpack_from("=I", data)[0])
        return self._entry(path)

    def _unlink(self, node: int, data: bytes) -> bytes:
        self._require_good()
        path = self._child(node, data)
        os.unlink(path)
        self._nodes.pop(path, None)
        return b""

    def _rmdir(self, node: int, data: bytes) -> bytes:
        self._require_good()
        path = self._child(node, data)
        os.rmdir(path)
        self._nodes.pop(path, None)
        return b""

    def _rename(self, node: int, data: bytes) -> bytes:
        return self._rename2(node, data[:8] + bytes(8) + data[8:])

    def _rename2(self, node: int, data: bytes) -> bytes:
        self._require_good()
        target, flags = struct.unpack_from("=QI", data)
        if flags:
            raise OSError(errno.EINVAL, "not here")
        old, new, _ = data[16:].split(bytes(1), 2)
        before, after = self._child(node, old), self._child(target, new)
        os.rename(before, after)
        self._moved(before, after)
        return b""

    def _open(self, node: int, data: bytes) -> bytes:
        (flags,) = struct.unpack_from("=I", data)
        if flags & _WRITING:
            self._require_good()
        return struct.pack("=QIi", os.open(self._paths[node], flags & ~os.O_APPEND), 0, 0)

    def _create(self, node: int, data: bytes) -> bytes:
        self._require_good()
        flags, mode = struct.unpack_from("=II", data)
        path = self._child(node, data[16:])
        handle = os.open(path, (flags & ~os.O_APPEND) | os.O_CREAT, mode)
        return self._entry(path) + struct.pack("=QIi", handle, 0, 0)

    def _read(self, _node: int, data: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("=QQI", data)
        return os.pread(handle, size, offset)

    def _write(self, _node: int, data: bytes) -> bytes:
        self._require_good()
        handle, offset, size = struct.unpack_from("=QQI", data)
        return struct.pack("=II", os.pwrite(handle, data[40 : 40 + size], offset), 0)

    def _fsync(self, _node: int, data: bytes) -> bytes:
        self._require_good()
        os.fsync(struct.unpack_from("=Q", data)[0])
        return b""

    def _release(self, _node: int, data: bytes) -> bytes:
        os.close(struct.unpack_from("=Q", data)[0])
        return b""

    def _statfs(self, _node: int, _data: bytes) -> bytes:
        many = 1 << 20
        return struct.pack("=QQQQQIIII24x", many, many, many, many, many, 4096, 255, 4096, 0)

    def _opendir(self, _node: int, _data: bytes) -> bytes:
        return struct.pack("=QIi", 0, 0, 0)

    def _readdir(self, node: int, data: bytes) -> bytes:
        _, offset, size = struct.unpack_from("=QQI", data)
        told = b""
        for number, name in enumerate(sorted(os.listdir(self._paths[node])), 1):
            encoded = os.fsencode(name)
            mode = os.lstat(f"{self._paths[node]}/{name}").st_mode
            entry = struct.pack("=QQII", number, number, len(encoded), mode >> 12) + encoded
            entry += bytes(-len(entry) % 8)
            if number > offset:
                if len(told) + len(entry) > size:
                    break
                told += entry
        return told


def _attributes(found: os.stat_result, node: int) -> bytes:
    times = (found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns)
    return struct.pack(
        "=6Q10I",
        node, found.st_size, found.st_blocks, *(each // 10**9 for each in times),
        *(each % 10**9 for each in times),
        found.st_mode, found.st_nlink, found.st_uid, found.st_gid, 0, 4096, 0,
    )  # fmt: skip


def main(source: str, place: str, mode: str) -> None:
    """Serve until it is unmounted.

    Raises:
        OSError: nothing can be mounted here.
    """
    device = os.open("/dev/fuse", os.O_RDWR)
    told = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"failing", place.encode(), b"fuse", _NOSUID_NODEV, told.encode()):
        raise OSError(ctypes.get_errno(), "mount")
    os.umask(0)
    print("mounted", flush=True)  # noqa: T201 - whoever started it waits for that
    files = FileSystem(source, Path(mode))
    while True:
        try:
            request = os.read(device, _MOST_WRITE + 4096)
        except OSError as error:
            if error.errno in {errno.EINTR, errno.ENOENT}:  # a request that was given up
                continue
            return
        if answer := files.answer(request):
            with contextlib.suppress(FileNotFoundError):  # as above
                os.write(device, answer)


if __name__ == "__main__":
    main(*sys.argv[1:])

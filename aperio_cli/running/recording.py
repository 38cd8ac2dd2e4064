"""Recording: each run leaves a receipt, whatever came of it.

That a receipt cannot be kept, on a full disk say, is told, and no reason not to run.
"""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING

from aperio_cli.data.run_receipts import RunReceipts
from aperio_cli.errors import AperioError
from aperio_cli.host.calls.recording import Invoked, Recording
from aperio_cli.host.process.logs import LogRecord
from aperio_cli.running.targets import id_of, manifest_of
from aperio_cli.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aperio_cli.models.artifact import DevelopmentBuild
    from aperio_cli.models.receipt import Receipt
    from aperio_cli.models.run_receipt import RunReceipt
    from aperio_cli.running.collaborators import Collaborators, Listener


def run_of(
    target: Receipt | DevelopmentBuild, organization: str, integration: str, operation: str
) -> Invoked:
    """Return a run of what is to be run."""
    version = manifest_of(target).version
    return Invoked(id_of(target), version, organization, integration, operation)


def _is_for_reading(error: Exception) -> bool:
    """Return whether the home is one for reading only, in which plugins may run all the same."""
    return isinstance(error, OSError) and error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}


@contextlib.contextmanager
def recorded(collaborators: Collaborators, run: Invoked, listener: Listener) -> Iterator[Recording]:
    """Give the recording of a run that lasts as long as the block; how that ends is recorded."""
    receipts = RunReceipts(collaborators.paths.run_receipts)
    is_told = False

    def keep(receipt: RunReceipt) -> None:
        nonlocal is_told
        try:
            receipts.keep(receipt)
        except (AperioError, OSError) as error:
            if not is_told:
                level = "debug" if _is_for_reading(error) else "warn"
                text = f"no receipt of this run was kept: {error}"
                listener.log(LogRecord(level, one_line(text), "host"))
            is_told = True

    recording = Recording(run, keep)
    try:
        yield recording
    except BaseException as error:
        recording.end(error)
        raise
    recording.end()

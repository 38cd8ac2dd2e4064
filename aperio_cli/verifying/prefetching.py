"""Several artifacts downloaded at once, into what is kept, before each is verified by itself."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from aperio_cli.errors import AperioError
from aperio_cli.files.temporary import temporary_file
from aperio_cli.models.address import is_address
from aperio_cli.net.together import do_together
from aperio_cli.verifying.downloading import download

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aperio_cli.verifying.downloading import Source


class Meter:
    """How much has arrived of everything that is downloaded, told as one sentence.

    Args:
        tell: shows the sentence.
        doing: what is being done, such as "verifying `acme/box`".
    """

    def __init__(self, tell: Callable[[str], None], doing: str) -> None:
        self._tell = tell
        self._doing = doing
        self._lock = threading.Lock()
        self._arrived: dict[object, tuple[int, int | None]] = {}

    def of(self, key: object) -> Callable[[int, int | None], None]:
        """Return what is told how many bytes of one download have arrived, of how many."""

        def arrived(count: int, total: int | None) -> None:
            with self._lock:  # so that what is told last is what is so last
                self._arrived[key] = count, total
                self._tell(f"{self._doing}: {self._sum()}")

        return arrived

    def _sum(self) -> str:
        done = sum(count for count, _ in self._arrived.values())
        totals = [total for _, total in self._arrived.values() if total is not None]
        is_known = len(totals) == len(self._arrived)
        return f"{_size(done)}{f' of {_size(sum(totals))}' if is_known else ''}"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def prefetch(sources: Sequence[Source]) -> None:
    """Download artifacts that are not kept yet, some at a time, and keep them.

    What cannot be had is left to whoever asks for it by itself: nothing is raised, and nothing is
    believed of what came.

    Args:
        sources: where they may come from; those without a digest, an address or a place to be
            kept in are left out.
    """
    wanted = [
        each
        for each in sources
        if each.kept and each.offer.digest and is_address(each.offer.location)
    ]
    do_together(_download, wanted)


def _download(source: Source) -> None:
    with contextlib.suppress(AperioError, OSError), temporary_file("aperio-fetch-") as sink:
        download(source, sink)  # what has arrived is kept, also when it is interrupted

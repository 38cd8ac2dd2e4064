"""How instances are, in a few words: for the host's own lines, and for whoever asks it.

Commands that only ask import this, and nothing of the host itself: that takes as long as all the
rest of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aperio_cli.host.lifecycle import Phase

if TYPE_CHECKING:
    from aperio_cli.host.supervising.instances import Status


def summary_of(statuses: tuple[Status, ...]) -> str:
    """Return in a few words how plugins are."""
    if not statuses:
        return "no plugin is to be kept running"
    ready = sum(status.phase is Phase.READY for status in statuses)
    rest = ""
    for phase, word in ((Phase.PAUSED, "paused"), (Phase.FAILED, "failed")):
        count = sum(status.phase is phase for status in statuses)
        rest += f", {count} {word}" if count else ""
    return f"{ready} of {len(statuses)} plugins are ready{rest}"


def not_enforced(status: Status) -> str:
    """Return in a line which limits nobody keeps of a plugin on this machine."""
    names, plugin = " ".join(status.not_enforced), status.key.plugin
    return f"not enforced of {plugin}: {names}; `aperio doctor` says what would help"


def in_words(status: Status) -> str:
    """Return in a line what state an instance has come to, and why."""
    key = status.key
    until = f" until {status.until:%H:%M:%S} UTC" if status.until else ""
    whose = f"{key.plugin} for {key.organization} {key.integration}"
    reason = f": {status.reason}" if status.reason else ""
    return f"{whose} is {status.phase.value}{until}{reason}"

"""What to do about a plugin that fails: its author mends it, others ask its publisher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Advice:
    """The next step by what happened.

    Attributes:
        failed: it broke off, or does not work.
        broke_interface: an answer is not what the interface allows.
        not_executable: its file cannot be executed.
        file_missing: it names a file or a library that is not there.
        bad_event: an event of it cannot be passed on.
        at_limit: `{plugin}` needs more of the machine than it may have; of `{limit}`.
    """

    failed: str
    broke_interface: str
    not_executable: str
    file_missing: str
    bad_event: str
    at_limit: str


OPERATOR: Final = Advice(
    failed="run it again; if it happens again, tell the plugin's publisher",
    broke_interface="tell the plugin's publisher",
    not_executable="install it again for this machine",
    file_missing="install it again if they name a file or a library that is missing",
    bad_event="look at it in the service, and tell the plugin's publisher",
    at_limit="raise it, if it is right to need more:"
    " `aperio plugin grant {plugin} --limit {limit}=VALUE`; and tell the plugin's publisher",
)
DEVELOPER: Final = Advice(
    failed="mend it where its last lines say; `--verbose` shows all that it logs",
    broke_interface="mend the answer; `aperio plugin test` checks all that the interface asks for",
    not_executable="see that the project's file may be executed",
    file_missing="a module that is missing belongs into the folder or into the lock, with its hash",
    bad_event="look at it in the service, and at what the connector makes of it",
    at_limit="use less, or ask for more: `limits.{limit}` in manifest.yaml",
)

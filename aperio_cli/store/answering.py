"""Quick answers from the standard library; None where the ordinary path has to look."""

from __future__ import annotations

import os

from aperio_cli.store import listing, verdicts

TYPE_CHECKING = False  # importing `typing` takes longer than the answer
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def listed(environment: Mapping[str, str], *, is_json: bool) -> str | None:
    """Return what `plugin list` shows; None when the ordinary path has to look or to explain."""
    try:
        home, is_pinned = _home(environment), os.path.lexists("aperio.lock")
        is_odd = is_pinned or home[:1] == "~" or listing.may_state_exceptions(environment, home)
        if is_odd or listing.may_be_shared(home):
            return None
        rows = listing.rows(home)
        if not verdicts.tell(verdicts.question(environment, home), rows):
            return None
    except OSError:
        return None
    return listing.envelope(rows) if is_json else listing.render(rows)


def found(environment: Mapping[str, str], words: Sequence[str]) -> str | None:
    """Return what `plugin search` shows; None when the registries have to be asked.

    Args:
        environment: says where the rows are kept, and what they depend on.
        words: behind the command's.
    """
    from aperio_cli.store import finding

    parsed = finding.parse(words)
    if parsed is None:
        return None
    asked, is_json, offline = parsed
    try:
        home = _home(environment)
        if home.startswith("~") or listing.may_be_shared(home):
            return None
        rows = finding.recall(environment, home, offline=offline)
    except OSError:
        return None
    if rows is None:
        return None
    hits = finding.found(rows, asked)
    return finding.envelope(hits) if is_json else finding.render(hits)


def _home(environment: Mapping[str, str]) -> str:
    """`$APERIO_HOME`, else `~/.aperio`; the same answer as `paths.find_paths`, where it has one."""
    stated = environment.get("APERIO_HOME", "")
    home = os.path.expanduser(stated or "~/.aperio")  # noqa: PTH111 - as below
    return home if home.startswith("~") else os.path.abspath(home)  # noqa: PTH100 - pathlib costs a tenth of the whole command

"""Words of a command line turned into types; a word that does not fit is a usage error."""

from __future__ import annotations

from aperio_cli.errors.usage import UsageError
from aperio_cli.models.platform import Platform
from aperio_cli.text import clean


def parse_platform(text: str) -> Platform:
    """Return the platform that `--platform OS/ARCH` names.

    Raises:
        UsageError: aperio knows no such platform.
    """
    try:
        return Platform.parse(text)
    except ValueError as error:
        raise UsageError(
            f"`--platform {clean(text, limit=40)}` was not understood",
            why=str(error),
            next=["name one such as linux/amd64"],
        ) from error

"""Identity tokens that a CI service has for its jobs, and what a job lacks that gets none."""

from __future__ import annotations

import functools
import itertools
import random
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aperio_cli.errors.files import NetworkUnavailable
from aperio_cli.errors.trust import CredentialMissing, IdentityTokenInvalid, SigningTimeout
from aperio_cli.signing import client_environment, deadline, failures
from aperio_cli.signing.credential import AUDIENCE
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aperio_cli.errors import AperioError

DEADLINE_S = 60.0
MAX_TRIES: Final = 4
FIRST_BACKOFF_S: Final = 0.5
_EVIDENCE_CHARACTERS = 300
_GITLAB_TOKEN: Final = "SIGSTORE_ID_TOKEN"  # noqa: S105 - the name of a variable
# What package `id` says of answers: its errors tell causes apart by their text only.
_STATUS = re.compile(r"\(code=(\d{3}), ")
_PASSING = ("timed out", "malformed or incomplete JSON", "codec can't decode")
_FORBIDDEN: Final = 403
# What RFC 9110 and RFC 8470 call worth another try, as of a service that was not ready.
_BUSY: Final = (408, 425, 429)
_SERVER_ERROR: Final = 500
_GIVEN = "get a token elsewhere and give it: the same command with `--identity-token -`"


@dataclass(frozen=True, slots=True)
class Service:
    """A CI service.

    Attributes:
        name: as it calls itself.
        variable: what it sets in the environment of every job.
        steps: what gives a job its credential, easiest first.
    """

    name: str
    variable: str
    steps: tuple[str, ...]


GITHUB = Service(
    "GitHub Actions",
    "GITHUB_ACTIONS",
    (
        "add to the job that signs:\npermissions:\n  id-token: write",
        (
            "a pull request from a fork gets no identity, whatever the workflow says: "
            "sign when a tag of your own repository is pushed"
        ),
    ),
)
GITLAB = Service(
    "GitLab CI",
    "GITLAB_CI",
    (f"add to the job that signs:\nid_tokens:\n  {_GITLAB_TOKEN}:\n    aud: {AUDIENCE}",),
)
BUILDKITE = Service(
    "Buildkite",
    "BUILDKITE",
    (
        (
            "the step has to have a `buildkite-agent` on its PATH that can do this: "
            f"`buildkite-agent oidc request-token --audience {AUDIENCE}`"
        ),
        "in a container: pass the agent, its token and BUILDKITE_AGENT_JOB_API_SOCKET into it",
    ),
)
CIRCLECI = Service(
    "CircleCI",
    "CIRCLECI",
    (
        (
            "the step has to have a `circleci` on its PATH that can do this: "
            f'`circleci run oidc get --claims \'{{"aud": "{AUDIENCE}"}}\' --root-issuer`'
        ),
    ),
)
GOOGLE = Service(
    "Google Cloud",
    "GOOGLE_SERVICE_ACCOUNT_NAME",
    (
        (
            "let the machine's service account create tokens for the one in "
            "GOOGLE_SERVICE_ACCOUNT_NAME: role `roles/iam.serviceAccountTokenCreator`"
        ),
    ),
)
UNKNOWN = Service("this CI service", "CI", (_GIVEN,))
SERVICES: Final = (GITHUB, GITLAB, BUILDKITE, CIRCLECI, GOOGLE, UNKNOWN)


def current_service(environment: Mapping[str, str]) -> Service | None:
    """Return the CI service in which this process runs; None when it seems to run in none."""
    for service in SERVICES:
        if environment.get(service.variable, "").lower() not in {"", "0", "false"}:
            return service
    return None


def ambient_token(environment: Mapping[str, str]) -> str | None:
    """Return the identity token that the surroundings give; None when they give and owe none.

    A service that is busy, fails or answers with something else is asked again, at most four times.

    Args:
        environment: that of this process, in which sigstore looks as well.

    Raises:
        CredentialMissing: when a CI service is there and gives this job no token.
        IdentityTokenInvalid: when what it gives is no token for Sigstore.
        NetworkUnavailable: when its service cannot be reached, or fails every time.
        SigningTimeout: when it does not answer within a minute.
    """
    service = current_service(environment)
    if service is GITLAB:
        # Asked for first, by name: on a runner in Google's cloud sigstore would find the machine's
        # identity before the job's.
        return environment.get(_GITLAB_TOKEN) or _missing(service, f"{_GITLAB_TOKEN} is not set")
    late = functools.partial(_late, service or GOOGLE)
    with failures.captured_warnings(), client_environment.of_clients():
        found = deadline.within(DEADLINE_S, functools.partial(_detect, service), late=late)
    if found is None and service is not None:
        return _missing(service, f"{service.variable} is set; no identity token was found")
    return found


def _missing(service: Service, why: str) -> str:
    raise missing(service, why)


def missing(service: Service, why: str) -> CredentialMissing:
    """Return the error for a job of a service that gets no identity token."""
    steps = service.steps if service is UNKNOWN else (*service.steps, _GIVEN)
    return CredentialMissing(
        f"nothing was signed: {service.name} gives this job no identity token",
        why=clean(why, limit=_EVIDENCE_CHARACTERS),
        next=steps,
    )


def _missing_for_another_reason(service: Service, why: str) -> CredentialMissing:
    """Return the error for a job that may have a token and gets none: no permission would help."""
    return CredentialMissing(
        f"nothing was signed: {service.name} refused this job an identity token",
        why=why,
        next=["run the job again: what it may ask with is good for one run only", _GIVEN],
    )


def unusable(environment: Mapping[str, str], error: IdentityTokenInvalid) -> IdentityTokenInvalid:
    """Return the error for a token of the surroundings that cannot be used, with whose it is."""
    service = current_service(environment) or GOOGLE
    steps = service.steps if service is GITLAB else ()  # there the job says for whom it is
    return IdentityTokenInvalid(
        _what_is_unusable(service), why=error.why, next=[*steps, *error.next]
    )


def _what_is_unusable(service: Service) -> str:
    source = f" in {_GITLAB_TOKEN}" if service is GITLAB else ""
    return f"nothing was signed: the identity token of {service.name}{source} cannot be used"


def _detect(service: Service | None) -> str | None:
    from sigstore.oidc import detect_credential

    for attempt in itertools.count(1):
        try:
            return detect_credential(AUDIENCE)
        except Exception as error:
            if cause := failures.find_cause(error):
                subject = f"the identity service of {(service or GOOGLE).name}"
                raise failures.of_cause(subject, cause) from error
            why = clean(error, limit=_EVIDENCE_CHARACTERS) or type(error).__name__
            if attempt == MAX_TRIES or not _may_pass(why):
                raise _failed(service or GOOGLE, why) from error
        # Jitter: jobs that failed together must not come back together.
        time.sleep(FIRST_BACKOFF_S * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))  # noqa: S311 - spreads load, guards nothing
    return None


def _status(why: str) -> int:
    """Return the HTTP status that an error speaks of; 0 when it speaks of none."""
    found = _STATUS.search(why)
    return int(found[1]) if found else 0


def _may_pass(why: str) -> bool:
    """Return whether asking again may give a token: nothing is wrong with the job."""
    status = _status(why)
    is_busy = status in _BUSY or status >= _SERVER_ERROR
    return is_busy or (not status and any(text in why for text in _PASSING))


def _failed(service: Service, why: str) -> AperioError:
    """Return the error for whatever stopped the search."""
    if _may_pass(why):
        return NetworkUnavailable(
            f"nothing was signed: the identity service of {service.name} gave no token",
            why=f"asked {MAX_TRIES} times; the last time: {why}",
            next=["run the job again"],
        )
    if "audience claim" in why or "Malformed token" in why:
        return IdentityTokenInvalid(
            _what_is_unusable(service),
            why=why,
            # Only there does the job say for whom its token is; elsewhere it was given one.
            next=service.steps if service is GITLAB else ("run the job again", _GIVEN),
        )
    if service is GITHUB and _status(why) not in {0, _FORBIDDEN}:
        return _missing_for_another_reason(service, why)
    return missing(service, why)


def _late(service: Service) -> SigningTimeout:
    return SigningTimeout(
        f"nothing was signed: the identity service of {service.name} does not answer",
        why=f"waited {DEADLINE_S:g} seconds for a token",
        next=["run the job again"],
    )

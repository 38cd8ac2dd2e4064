"""The clearance: may this version, or this folder, be started now, on this machine?

Pure: the policy, the machine and the day are arguments. A `Cleared` comes from `clear` and from
nowhere else, it is good for one launch, and `host.launch` takes nothing else: whoever starts a
plugin has asked, and whoever starts it again asks again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import KW_ONLY, InitVar, dataclass, field
from typing import TYPE_CHECKING, Final, Never, final

from aperio_cli.errors.installing import PlatformIncompatible
from aperio_cli.errors.running import InterpreterChanged, RequiredLimit
from aperio_cli.errors.trust import PublisherUnverified
from aperio_cli.models.artifact import DevelopmentBuild
from aperio_cli.models.policy import LIMIT_PREFIX, REQUIREMENTS
from aperio_cli.models.protocol import require_compatible
from aperio_cli.models.receipt import Receipt
from aperio_cli.text import clean
from aperio_cli.verifying.decide import check_receipt

if TYPE_CHECKING:
    from datetime import date

    from aperio_cli.models.artifact import Interpreter
    from aperio_cli.models.machine import Machine
    from aperio_cli.models.plugin_id import PluginId
    from aperio_cli.models.policy import Policy, PolicyException
    from aperio_cli.models.registry.plugin_file import VersionStatus
    from aperio_cli.verifying.judgement import Judgement

NOT_STARTED: Final = "was not started"


class _Seal:
    """Known to this module only."""


_SEAL: Final = _Seal()


@final
@dataclass(frozen=True, slots=True, eq=False)
class Cleared:
    """Leave to start one thing once.

    Attributes:
        target: the installed version, or the folder under development.
        judgement: why the policy allows an installed version; None for a folder.
        lifted: the exceptions by which it starts although a required limit is not enforced.
        status: what its registry says against the installed version; None for nothing.

    Raises:
        TypeError: when anything but `clear` constructs one, or one is derived or copied.
    """

    target: Receipt | DevelopmentBuild
    judgement: Judgement | None
    lifted: tuple[PolicyException, ...]
    status: VersionStatus | None = None
    _: KW_ONLY
    # InitVar: not stored, so `dataclasses.replace` cannot carry it over to another target.
    seal: InitVar[_Seal]
    # A deque is documented to be safe between threads: of two that take, one finds it empty.
    _launches: deque[None] = field(init=False, repr=False)

    def __post_init__(self, seal: _Seal) -> None:
        if seal is not _SEAL:
            message = "only verifying.clear clears a start"
            raise TypeError(message)
        object.__setattr__(self, "_launches", deque([None]))

    def __init_subclass__(cls) -> None:
        message = "Cleared has no kinds"
        raise TypeError(message)

    def __reduce_ex__(self, _protocol: object) -> Never:
        message = "a clearance is for one launch and has no copies"
        raise TypeError(message)

    @property
    def notices(self) -> tuple[str, ...]:
        """What has to be told at the start: what an exception lifts, what its registry says."""
        against = (_against(self.target, self.status),) if self.status else ()
        return (*against, *map(_notice, self.lifted))

    def spend(self) -> Receipt | DevelopmentBuild:
        """Return the target, to start it; the clearance is used up.

        Raises:
            ValueError: it was used before.
        """
        try:
            self._launches.pop()
        except IndexError:
            message = "a clearance is for one launch: clear the target again"
            raise ValueError(message) from None
        return self.target


def clear(
    target: Receipt | DevelopmentBuild,
    policy: Policy,
    machine: Machine,
    day: date,
    organization: str = "",
    *,
    outcome: str = NOT_STARTED,
) -> Cleared:
    """Clear one start of an installed version, or of a folder under development.

    Args:
        target: what is to be started.
        policy: the operator's rules now.
        machine: where it is to be started.
        day: the day on which exceptions have to hold.
        organization: for whom it is started; empty for the requirements of the whole machine.
        outcome: what a refusal comes to, for messages.

    Raises:
        Refusal: the policy does not allow it, or not any more; one subclass for each cause, as
            `decide.check_receipt`.
        ReceiptInvalid: the record of signer or proof is damaged.
        PublisherUnverified: it is a folder, and publishers have to be verified.
        RequiredLimit: a required limit is not enforced here, and no exception lifts it.
        ProtocolIncompatible: it speaks another major version of the interface.
        PlatformIncompatible: it is for another platform.
        InterpreterChanged: the Python that it runs on is gone.
    """
    facts = _facts(target)
    judgement = status = None
    if isinstance(target, DevelopmentBuild):
        check_folder(str(target.project.path), policy, organization)
    else:
        judgement = check_receipt(
            target, policy, today=day, organization=organization, outcome=outcome
        )
        status = policy.known.status(target.id, target.version)
    lifted = _lifted_limits(facts, policy, machine, day, outcome)
    require_compatible(
        facts.protocol, subject=facts.subject, left=outcome, spoken=machine.interface
    )
    _check_machine(facts, machine, outcome)
    return Cleared(target, judgement, lifted, status, seal=_SEAL)


def check_folder(named: str, policy: Policy, organization: str = "") -> None:
    """Refuse a folder under development, which nobody signed, where that is not allowed.

    Args:
        named: what the user calls the folder.
        policy: the operator's rules now.
        organization: for whom it is started; empty for the requirements of the whole machine.

    Raises:
        PublisherUnverified: publishers have to be verified, here or for this organization.
    """
    required = policy.required(organization)
    if required == REQUIREMENTS[0]:
        return
    is_general = policy.required() == required
    whose = "this machine" if is_general else f"the organization {clean(organization)}"
    raise PublisherUnverified(
        f"`{clean(named)}` was not run: it is a folder under development, which nobody has signed",
        why=f"required of plugins for {whose}: {required}",
        next=[
            "run it on a machine, or for an organization, that does not require it",
            "build, sign and install it, with a rule of yours that verifies its publisher",
        ],
    )


# ── what is read of a target ──────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Facts:
    """What a target needs, of whichever kind it is."""

    plugin: PluginId
    version: str
    protocol: tuple[int, int]
    interpreter: Interpreter | None
    platform: str
    """Empty for a folder: it was made runnable where it is."""
    is_development: bool

    @property
    def subject(self) -> str:
        """What messages call it: "`acme/box` 1.2.0"."""
        return f"`{self.plugin}` {self.version}{' (development)' * self.is_development}"


def _facts(target: Receipt | DevelopmentBuild) -> _Facts:
    if isinstance(target, DevelopmentBuild):
        manifest = target.project.manifest
        place = manifest.id, manifest.version, manifest.protocol
        return _Facts(*place, target.interpreter, "", is_development=True)
    place = target.id, target.version, target.protocol
    return _Facts(*place, target.interpreter, target.platform, is_development=False)


# ── what a machine has to have ────────────────────────────────────────────────────────────────────


def _lifted_limits(
    facts: _Facts, policy: Policy, machine: Machine, day: date, outcome: str
) -> tuple[PolicyException, ...]:
    """Return the exceptions from required limits that are not enforced.

    Raises:
        RequiredLimit: there is none from one of them; for a folder there never is.
    """
    lifted, refused = [], []
    for name in policy.limits:
        if name in machine.limits:
            continue
        exception = _lifting(facts, policy, name, day)
        lifted += [exception] if exception else []
        refused += [] if exception else [name]
    if refused:
        raise _required_limit(facts, refused, outcome)
    return tuple(lifted)


def _lifting(facts: _Facts, policy: Policy, limit: str, day: date) -> PolicyException | None:
    if facts.is_development:
        return None
    rule = LIMIT_PREFIX + limit
    return policy.exception(facts.plugin, facts.version, rule, today=day.isoformat())


def _required_limit(facts: _Facts, refused: list[str], outcome: str) -> RequiredLimit:
    steps = ["run it where the limit is not required"]
    if not facts.is_development:
        stated = f"{facts.plugin} --rule {LIMIT_PREFIX}{refused[0]} --until DATE --reason TEXT"
        steps.append(f"for a time: `aperio trust exception add {stated}`")
    return RequiredLimit(
        f"{facts.subject} {outcome}: a required limit cannot be enforced",
        why=f"[sandbox] require names {', '.join(refused)}",
        next=steps,
    )


def _against(target: Receipt | DevelopmentBuild, status: VersionStatus) -> str:
    """Return what is said of a version that is started all the same."""
    instead = f"; use {status.replacement}" if status.replacement else ""
    name = target.version if isinstance(target, Receipt) else "it"
    return f"its registry says that {name} is {status.state}: {clean(status.reason)}{instead}"


def _notice(exception: PolicyException) -> str:
    limit = exception.rule.removeprefix(LIMIT_PREFIX)
    granted = f"by an exception until {exception.until}: {clean(exception.reason)}"
    return f"required limit `{limit}` is not enforced, {granted}"


def _check_machine(facts: _Facts, machine: Machine, outcome: str) -> None:
    """Check that the machine is of the target's platform and has its interpreter.

    Raises:
        PlatformIncompatible: it is another platform.
        InterpreterChanged: something of the interpreter is missing.
    """
    if facts.platform not in {"", str(machine.platform)}:
        raise PlatformIncompatible(
            f"{facts.subject} {outcome}: it is for another platform",
            why=f"this machine {machine.platform}\nplugin       {clean(facts.platform, limit=80)}",
            next=["install the plugin again on this machine"],
        )
    interpreter = facts.interpreter
    missing = machine.missing(interpreter) if interpreter else ""
    if interpreter and missing:
        step = "run the folder" if facts.is_development else "install the plugin"
        raise InterpreterChanged(
            f"{facts.subject} {outcome}: the Python it was installed for is not there any more",
            why=f"expected Python {interpreter.version} ({interpreter.tag}): {missing}",
            next=[f"{step} again, which chooses an interpreter anew"],
        )

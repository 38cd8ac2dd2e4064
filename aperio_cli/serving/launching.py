"""Launching: what supervision asks of store, policy and state, through the one way in.

Configuration and policy are read anew whenever a file that they depend on has changed, and once a
minute whatever happens. While they cannot be read nothing is started; what runs goes on.
"""

from __future__ import annotations

import contextlib
import copy
import functools
from dataclasses import replace
from typing import TYPE_CHECKING

from aperio_cli import clock
from aperio_cli.errors import AperioError
from aperio_cli.host.calls.session import SessionRequest, open_session
from aperio_cli.host.process.checks import SharedChecks
from aperio_cli.host.process.floods import AMONG_OTHERS
from aperio_cli.host.sandbox.interface import LIMITS
from aperio_cli.host.sandbox.telling import enforced
from aperio_cli.host.supervising.launcher import Leave, Survey
from aperio_cli.host.supervising.living import trace_of
from aperio_cli.host.supervising.reach import reach_of
from aperio_cli.models.evidence import ExceptionGranted
from aperio_cli.models.plugin_id import PluginRef
from aperio_cli.models.receipt import FILE_NAME
from aperio_cli.reverting import fall_back
from aperio_cli.running import Listener, clear_target
from aperio_cli.running.containing import mode_of, sandbox_of
from aperio_cli.running.operations import launched, open_state
from aperio_cli.serving.falling_back import Versions
from aperio_cli.serving.noticing import notice
from aperio_cli.store.verdicts import state_of
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from aperio_cli.config import Config
    from aperio_cli.data.state import StateDatabase
    from aperio_cli.host.launch import RunningPlugin
    from aperio_cli.host.process.logs import LogRecord
    from aperio_cli.host.supervising.instances import Fallback, Wanted
    from aperio_cli.host.supervising.life import Reason
    from aperio_cli.models.manifest import Manifest
    from aperio_cli.models.plugin_id import PluginId
    from aperio_cli.models.receipt import Receipt
    from aperio_cli.running import Collaborators
    from aperio_cli.serving.noticing import Noticed
    from aperio_cli.verifying import Cleared


class Launching:
    """Clears and launches by what the operator states at that time.

    Args:
        collaborate: makes the operator's collaborators anew, with nothing that was read before.
        wanted_of: gives what is to be up by them; called in a thread.
        say: is told what an operator has to know, once.
        doubt_s: after how long everything is read anew although nothing seems to have changed.

    Attributes:
        retries: try again, with each survey, what could not be written; each may block.
    """

    def __init__(
        self,
        collaborate: Callable[[], Collaborators],
        wanted_of: Callable[[Collaborators], Iterable[Wanted]],
        say: Callable[[str, str], object],
        doubt_s: float,
    ) -> None:
        self._collaborate = collaborate
        self._wanted_of = wanted_of
        self._say = say
        self._doubt_s = doubt_s
        self.retries: list[Callable[[], object]] = []
        self._collaborators: Collaborators | None = None
        self._problem: Exception | None = None
        self._noticed: Noticed = ()
        self._read_s = float("-inf")
        self._is_to_try_again = False
        self._receipts: dict[str, str] = {}  # as they were before what was cleared was read
        self._versions: Versions | None = None
        self._checks = SharedChecks()
        self._state = contextlib.ExitStack()
        self._database: StateDatabase | None = None

    @property
    def collaborators(self) -> Collaborators:
        """The operator's, as they were last read without an error."""
        assert self._collaborators  # noqa: S101 - `read` comes first
        return self._collaborators

    @property
    def versions(self) -> Versions:
        """What is remembered of versions. Blocks when it is first asked for: `read` does."""
        if self._versions is None:
            self._versions = Versions(self.collaborators.paths.host_versions, self._say)
            self.retries.append(self._versions.retry)
        return self._versions

    def read(self) -> tuple[Wanted, ...]:
        """Return what is to be up, by everything as it is now. Blocks.

        Raises:
            AperioError, OSError: it cannot be read.
        """
        found = self._collaborate()
        found.config()
        found.policy()
        wanted = tuple(self._wanted_of(found))
        choose = functools.cache(lambda: sandbox_of(found))  # once for each reading, when needed
        self._collaborators = replace(found, sandbox=choose, checks=self._checks)
        _ = self.versions
        return wanted

    def close(self) -> None:
        """Close the database of stored state."""
        self._state.close()
        self._database = None

    # ── what supervision asks ─────────────────────────────────────────────────────────────────────

    def doubt(self) -> None:
        """Read everything anew with the next survey, and try what was left for another version."""
        self._read_s = float("-inf")
        self._is_to_try_again = True

    def survey(self) -> Survey:
        """Return what is wanted, when anything may have changed. Blocks."""
        for retry in self.retries:
            retry()
        noticed, receipts = notice(self.collaborators), tuple(self._receipts.items())
        is_same = noticed == self._noticed and all(str(state_of(f)) == was for f, was in receipts)
        now_s = clock.monotonic_s()
        if is_same and now_s - self._read_s < self._doubt_s:
            return Survey()
        self._noticed, self._read_s = noticed, now_s
        if self._is_to_try_again:
            self._is_to_try_again = False
            self.versions.try_again()
        self._receipts.clear()  # of what is cleared from now on
        try:
            wanted = self.read()
        except Exception as problem:  # noqa: BLE001 - what runs goes on, whatever was not foreseen
            self._tell(problem)
            return Survey(None, is_changed=True)
        if self._problem:
            self._problem = None
            self._say("info", "the configuration can be read again")
        return Survey(wanted, is_changed=True)

    def _tell(self, problem: Exception) -> None:
        if str(problem) != str(self._problem):
            is_foreseen = isinstance(problem, AperioError | OSError)
            what = str(problem) if is_foreseen else trace_of(problem)
            why = problem.why if isinstance(problem, AperioError) else ""
            self._say("error", "\n".join(filter(None, [what, why])))
            self._say("warn", "what runs goes on, and nothing is started until that is mended")
        self._problem = problem

    def clear(self, wanted: Wanted) -> Leave:
        """Return leave to start an instance. Blocks.

        Raises:
            AperioError: it may not be started, or nobody knows at the moment.
        """
        if problem := self._problem or wanted.problem:
            raise copy.copy(problem)
        collaborators, key = self.collaborators, wanted.key
        receipt, fallback = self._noted(wanted)
        cleared = clear_target(collaborators, receipt, key.organization)
        sandbox, manifest = sandbox_of(collaborators), receipt.grant.granted
        kept = enforced(sandbox, manifest)
        return Leave(
            cleared=cleared,
            manifest=manifest,
            badge=cleared.judgement.badge if cleared.judgement else "",
            signer=signer_of(cleared),
            likeness=_likeness(receipt, collaborators, reach_of(manifest, wanted.settings)),
            not_enforced=tuple(name for name in LIMITS if name not in kept),
            exceptions=tuple(exceptions_of(cleared)),
            fallback=fallback,
        )

    def _noted(self, wanted: Wanted) -> tuple[Receipt, Fallback | None]:
        """Return what `_chosen` does; from now on a change of that record is noticed."""
        while True:
            chosen = self._chosen(wanted)
            file = str(chosen[0].folder / FILE_NAME)
            if file in self._receipts:
                return chosen
            self._receipts[file] = str(state_of(file))  # then it is read again: none is older

    def _chosen(self, wanted: Wanted) -> tuple[Receipt, Fallback | None]:
        """Return the record of the version to start, and what it is started in place of.

        Raises:
            NotInstalled, ReceiptInvalid, ReceiptNewer: as `Store.get`.
        """
        store, plugin = self.collaborators.store, wanted.key.plugin
        receipt = store.get(PluginRef(plugin, wanted.version or None))
        left = None if wanted.version else self.versions.find(plugin, receipt.version)
        if left is None:
            return receipt, None
        if left.healthy != receipt.version:
            receipt = store.find(PluginRef(plugin, left.healthy)) or receipt
        return receipt, left.fallback if receipt.version == left.healthy else None

    # ── the last healthy version ──────────────────────────────────────────────────────────────────

    def settled(self, plugin: PluginId, version: str) -> None:
        """Remember that a version has been healthy for long enough to be gone back to. Blocks."""
        self.versions.settle(plugin, version)

    def fall_back(self, wanted: Wanted, failed: Leave, reason: Reason) -> bool:
        """Leave a version that does not start for the last healthy one. Blocks.

        That one has to be one that may be started today; nothing else is gone back to.

        Returns:
            Whether another version is used from now on.
        """
        plugin, version = wanted.key.plugin, failed.version
        healthy = self.versions.healthy(plugin)
        if healthy in {"", version}:
            return False
        why = f"`{plugin}` {version} does not start: {reason.text.partition(chr(10))[0]}"
        try:
            if self._chosen(wanted)[0].version != version:
                return True  # another one is used by now
            self.clear(replace(wanted, version=healthy))
        except (AperioError, OSError) as error:
            self._say("error", f"{why}\n{healthy}, which ran before, is not used instead: {error}")
            return False
        self.versions.leave(plugin, version, reason)
        self._use(plugin, version, healthy)
        self._say("error", f"{why}\n{healthy}, which was healthy last, runs in its place")
        self._say("warn", f"to try it again: `aperio plugin rollback {plugin}@{version}`")
        return True

    def _use(self, plugin: PluginId, failed: str, healthy: str) -> None:
        """Have the store say it, too; where it cannot, this host holds to it by itself."""
        try:
            fall_back(self.collaborators.store, plugin, failed, healthy)
        except (AperioError, OSError) as error:
            self._say("warn", f"`{plugin}` {healthy} runs under this host only: {error}")

    @contextlib.asynccontextmanager
    async def launch(
        self, leave: Leave, wanted: Wanted, log: Callable[[LogRecord], None]
    ) -> AsyncIterator[RunningPlugin]:
        """Give the running plugin.

        Raises:
            StateUnreadable: it keeps something, and there is nothing to keep it in.
            PluginConfigInvalid: the settings do not fit it.
            AperioError: as `running.operations.launched`.
        """
        state = self.state_for(leave.manifest)
        key, listener = wanted.key, Listener(log, chatter=AMONG_OTHERS)
        collaborators = self.collaborators
        if leave.asked_s is not None:
            collaborators = replace(collaborators, checks=self._checks.since(leave.asked_s))
        async with launched(
            collaborators, leave.cleared, state, listener, wanted.settings, key.organization
        ) as plugin:
            if wanted.is_configured:
                stated = "its [[run]] table: settings."
                await open_session(
                    plugin,
                    SessionRequest(key.organization, key.integration, wanted.settings, stated),
                )
            yield plugin

    def state_for(self, manifest: Manifest) -> StateDatabase | None:
        """Return the open database of stored state; None where a plugin does without.

        Raises:
            StateUnreadable: it cannot be opened, and the plugin keeps something.
        """
        keeps = manifest.state or manifest.kind == "remediation"
        if self._database is None and keeps:
            self._database = self._state.enter_context(open_state(self.collaborators))
        return self._database


def signer_of(cleared: Cleared) -> str:
    """Return who signed what was cleared; empty: nobody."""
    judgement = cleared.judgement
    if judgement is None or isinstance(judgement.evidence, ExceptionGranted):
        return ""
    return clean(judgement.evidence.signer.identity)


def exceptions_of(cleared: Cleared) -> Iterable[str]:
    """Give the exceptions without which it might not be started, in words."""
    judgement = cleared.judgement
    if judgement and isinstance(judgement.evidence, ExceptionGranted):
        granted = judgement.evidence.to_json()
        yield f"unsigned until {granted['until']}"
    for exception in (*(judgement.lifted if judgement else ()), *cleared.lifted):
        yield f"{exception.rule} until {exception.until}"


def _likeness(receipt: Receipt, collaborators: Collaborators, reach: str) -> str:
    """Return what a process that runs would have to be started anew for, as one text."""
    config: Config = collaborators.config()
    record = receipt.record_digest.hex if receipt.record_digest else ""
    how = (
        mode_of(config, collaborators.environment),
        config.plugin_uid,
        config.mtls,
        str(receipt.id) in config.reported,
    )
    return f"{receipt.version} {record} {reach} {how}"

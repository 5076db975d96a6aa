"""This is where plugins are asked and told."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from edge_agent.agent.labels import clean_label
from edge_agent.errors import PluginError
from edge_agent.guest import guest, words
from edge_agent.hookspecs import HOOK_NAMES, OBSERVATIONS, Decision
from edge_agent.mailbox import Mailbox

# What needs NumPy is imported where it is asked about: a command that asks for commands only is there sooner.
if TYPE_CHECKING:
    import click

    from edge_agent.agent.evaluation import Evaluation
    from edge_agent.agent.policy import UpdateSituation
    from edge_agent.ml.heads.protocol import Head
    from edge_agent.ml.selection import ReviewPool, Suggestion
    from edge_agent.ml.update import TaskStateChange, TrainingEvent
    from edge_agent.store.registry import Version
    from edge_agent.store.samples import Rejection, Sample
    from edge_agent.vision.delegate_spec import DelegateChange, DelegateSpec
    from edge_agent.vision.preprocessing import ExtractorCard

log = logging.getLogger(__name__)

QUEUE_SIZE = 256
"""Events that wait for one plugin's observers before more are dropped and counted."""

MOST_LOGGED = 20
"""So many different failures of one plugin are logged, each with its traceback; a log is no place for one a picture."""

TRAINING = ("training_begin", "mini_batch_end", "epoch_end", "training_end")
MINOR = frozenset({"mini_batch_end"})
"""Told when there is plenty of room; they may come by the thousand."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class PluginReport:
    """One plugin, as `edge-agent plugins` and the status show it."""

    name: str
    version: str
    """Of its distribution; empty when there is none."""
    where: str
    """Module, or `module:class`."""
    hooks: tuple[str, ...]
    """The hooks it implements, in the order of an agent's life."""
    built_in: bool
    errors: int = 0
    last_error: str = ""
    dropped: int = 0
    """Events it was never told, because its observers are too slow."""


@dataclass(frozen=True)
class Listener:
    """One implementation of one hook; `names` are the facts it wants."""

    plugin: str
    function: Callable[..., Any]
    names: tuple[str, ...]

    def call(self, facts: Mapping[str, Any]) -> Any:
        """Give it the facts it wants and return what it returns."""
        return self.function(**{name: facts[name] for name in self.names})


def _check_answer(answer: object, expected: type) -> None:
    if not isinstance(answer, expected):
        raise PluginError(f"expected {expected.__name__} or None, got {answer!r}")
    if isinstance(answer, Decision) and not (type(answer.answer) is bool and type(answer.reason) is str):
        raise PluginError(f"expected Decision(answer: bool, reason: str), got {answer!r}")


class PluginHost:
    """The plugins of one agent: what they register, what they decide, and what they are told.

    Decisions and registrations are asked for on the caller's thread and a failure is a `PluginError`.
    Observers are guarded one by one against every `Exception` and against `sys.exit()`; those of guests are
    told on one thread for each plugin, in order, the built-in ones in place. Any thread may call any method.
    """

    def __init__(
        self,
        reports: Sequence[PluginReport],
        listeners: Sequence[tuple[str, Listener]],
        *,
        queue_size: int = QUEUE_SIZE,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._reports = {report.name: report for report in reports}
        self._listeners: dict[str, list[Listener]] = {hook: [] for hook in HOOK_NAMES}
        for hook, listener in sorted(listeners, key=lambda pair: self._reports[pair[1].plugin].built_in):
            self._listeners[hook].append(listener)
        self._logged: dict[str, set[str]] = {report.name: set() for report in reports}
        self._offered: dict[tuple[str, str], str] = {}
        self._mailboxes = {
            report.name: Mailbox(report.name, queue_size)
            for report in reports
            if not report.built_in and not set(OBSERVATIONS).isdisjoint(report.hooks)
        }

    # ------------------------------------------------------------------ register, once at start

    def register_extractors(self) -> dict[str, ExtractorCard]:
        """Every extractor that is offered, by name; raises `PluginError`."""
        from edge_agent.vision.preprocessing import ExtractorCard, check_card

        def name(card: object) -> str:
            if not isinstance(card, ExtractorCard):
                raise PluginError(f"expected an ExtractorCard, got {card!r}")
            check_card(card)
            return card.name

        return self._collect("register_extractors", name)

    def register_delegates(self) -> dict[str, DelegateSpec]:
        """Every delegate that is offered, by name; raises `PluginError`."""
        from edge_agent.vision.delegate_spec import DelegateSpec

        def name(spec: object) -> str:
            if not isinstance(spec, DelegateSpec):
                raise PluginError(f"expected a DelegateSpec, got {spec!r}")
            return spec.name

        return self._collect("register_delegates", name)

    def register_heads(self) -> dict[str, type[Head]]:
        """Every learning method that is offered, by name; raises `PluginError`.

        Each is held to the protocol. The built-in ones are by their tests, and need not be at every start.
        """

        from edge_agent.ml.heads.built_in import BUILT_IN_HEADS

        built_in = set(map(id, BUILT_IN_HEADS.values()))

        def name(head: type[Head]) -> str:
            if id(head) not in built_in:
                from edge_agent.ml.heads.conformance import AT_REGISTRATION, check_head

                check_head(head, AT_REGISTRATION)
            return head.name

        return self._collect("register_heads", name)

    def register_commands(self, taken: Iterable[str] = ()) -> list[click.Command]:
        """Every command that is offered; raises `PluginError`, also for a name that is `taken`."""

        def name(command: object) -> str:
            # click has its door in the command line; a command is known by what is done with it.
            known = getattr(command, "name", None)
            if not isinstance(known, str) or not callable(getattr(command, "main", None)):
                raise PluginError(f"expected a click.Command with a name, got {command!r}")
            return known

        return list(
            self._collect("register_commands", name, dict.fromkeys(taken, "edge-agent itself")).values()
        )

    def offered_by(self, hook: str, name: str) -> str:
        """The plugin that registered something, once it was asked; empty when none did."""
        return self._offered.get((hook, name), "")

    def _collect(
        self, hook: str, name_of: Callable[[Any], str], owners: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        owned = dict(owners or {})
        collected: dict[str, Any] = {}

        def register(plugin: str, thing: Any) -> None:
            name = name_of(thing)
            if name in owned:
                raise PluginError(f"the name {name!r} is taken by {owned[name]}")
            owned[name] = f"the plugin {plugin!r}"
            self._offered[hook, name] = plugin
            collected[name] = thing

        # Built-in plugins come first here, so that a clash of names is told to the guest.
        for listener in reversed(self._listeners[hook]):
            with guest(listener.plugin, hook):
                answer = listener.call({"register": functools.partial(register, listener.plugin)})
                if answer is not None:
                    raise PluginError(f"expected calls of register(...) and None in the end, got {answer!r}")
        return collected

    # ------------------------------------------------------------------ decide, first answer wins

    def label_sample(self, path: str, folder_label: str) -> str:
        """The label of a picture at `path`; raises `PluginError`."""
        return self._ask("label_sample", str, path=path, folder_label=folder_label)

    def ready_to_update(self, situation: UpdateSituation) -> Decision:
        """Whether an update should start now; raises `PluginError`."""
        return self._ask("ready_to_update", Decision, situation=situation)

    def accept_candidate(self, evaluation: Evaluation) -> Decision:
        """Whether the candidate should become the current version; raises `PluginError`."""
        return self._ask("accept_candidate", Decision, evaluation=evaluation)

    def select_for_review(self, pool: ReviewPool) -> list[Suggestion]:
        """Which candidates to label first, the best first, `pool.wanted` at most; raises `PluginError`."""
        return self._ask("select_for_review", list, pool=pool)[: pool.wanted]

    def _ask(self, hook: str, expected: type[_T], **facts: Any) -> _T:
        for listener in self._listeners[hook]:
            try:
                with guest(listener.plugin, hook):
                    answer = listener.call(facts)
                    if answer is None:
                        continue
                    _check_answer(answer, expected)
                    if isinstance(answer, list):
                        from edge_agent.ml.selection import check_suggestions

                        check_suggestions(answer, facts["pool"])
                    elif isinstance(answer, str) and not self._reports[listener.plugin].built_in:
                        clean_label(answer)  # a folder's name is the owner's own, and is told as such
            except PluginError as error:
                self._count(listener.plugin, str(error))
                raise
            return answer  # type: ignore[no-any-return]  # _check_answer has looked
        raise PluginError(f"{hook}: no plugin gave an answer; a built-in plugin should have")

    # ------------------------------------------------------------------ observe, all are told

    def listens(self, hook: str) -> bool:
        """Whether any plugin is told about `hook`; `mini_batch_end` is not even made when nobody listens."""
        return bool(self._listeners[hook])

    def agent_started(self, home: str, version: int | None, extractor: str) -> None:
        """Tell that the agent is ready."""
        self._tell("agent_started", home=home, version=version, extractor=extractor)

    def sample_ingested(self, sample: Sample) -> None:
        """Tell that a picture is stored and has left the drop folder."""
        self._tell("sample_ingested", sample=sample)

    def sample_rejected(self, rejection: Rejection) -> None:
        """Tell that a file was refused."""
        self._tell("sample_rejected", rejection=rejection)

    def task_state_changed(self, change: TaskStateChange) -> None:
        """Tell that an update task went from one state to another."""
        self._tell("task_state_changed", change=change)

    def training(self, event: TrainingEvent) -> None:
        """Tell what `event.event` says: `training_begin`, `mini_batch_end`, `epoch_end` or `training_end`."""
        if event.event not in TRAINING:
            raise ValueError(f"{event.event!r} is not an event of training; these are: {', '.join(TRAINING)}")
        self._tell(event.event, event=event)

    def candidate_evaluated(self, evaluation: Evaluation, decision: Decision) -> None:
        """Tell what came of the comparison with the current version."""
        self._tell("candidate_evaluated", evaluation=evaluation, decision=decision)

    def version_published(self, version: Version) -> None:
        """Tell that `version` now answers predictions."""
        self._tell("version_published", version=version)

    def version_rolled_back(self, version: Version, previous: int) -> None:
        """Tell that `version` answers again in place of `previous`."""
        self._tell("version_rolled_back", version=version, previous=previous)

    def delegate_changed(self, change: DelegateChange) -> None:
        """Tell that pictures are looked at by another delegate."""
        self._tell("delegate_changed", change=change)

    def agent_stopping(self, reason: str) -> None:
        """Tell that the agent is about to close."""
        self._tell("agent_stopping", reason=reason)

    def _tell(self, hook: str, **facts: Any) -> None:
        for listener in self._listeners[hook]:
            mailbox = self._mailboxes.get(listener.plugin)
            if mailbox is None:
                self._guarded(listener, hook, facts)
                continue
            call = functools.partial(self._guarded, listener, hook, facts)
            if not mailbox.post(call, minor=hook in MINOR) and mailbox.dropped == 1:
                log.warning("plugin %r is too slow; events are dropped and counted", listener.plugin)

    def _guarded(self, listener: Listener, hook: str, facts: Mapping[str, Any]) -> None:
        """An observer's failure is its own: counted, logged when it is a new one, hidden from the others."""
        try:
            listener.call(facts)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # one of the few places that may: an observer's call
            if self._count(listener.plugin, f"{hook}: {words(error)}"):
                log.warning("plugin %r failed in %s", listener.plugin, hook, exc_info=True)
                if len(self._logged[listener.plugin]) == MOST_LOGGED:
                    log.warning("plugin %r fails a lot; from now on the status counts it", listener.plugin)

    def _count(self, plugin: str, text: str) -> bool:
        """Count a failure; True when it is to be logged: a new one, and not one of very many."""
        with self._lock:
            report = self._reports[plugin]
            self._reports[plugin] = replace(report, errors=report.errors + 1, last_error=text)
            logged = self._logged[plugin]
            if text in logged or len(logged) >= MOST_LOGGED:
                return False
            logged.add(text)
            return True

    # ------------------------------------------------------------------ account and end

    def reports(self) -> list[PluginReport]:
        """Every plugin with its counts: guests by name, then the built-in ones."""
        with self._lock:
            reports = list(self._reports.values())
        boxes = self._mailboxes
        return [
            replace(report, dropped=boxes[report.name].dropped) if report.name in boxes else report
            for report in reports
        ]

    def flush(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until the observers heard everything; False when they did not."""
        deadline = self._monotonic() + timeout
        waits = [box.flush(max(0.0, deadline - self._monotonic())) for box in self._mailboxes.values()]
        return all(waits)

    def close(self, timeout: float = 2.0) -> bool:
        """Let the observers hear what is queued, for `timeout` seconds all together; the rest is dropped.

        Afterwards guests are told nothing more. False when something was dropped. May be called twice.
        """
        deadline = self._monotonic() + timeout
        for box in self._mailboxes.values():
            box.shut()
        waits = [box.close(max(0.0, deadline - self._monotonic())) for box in self._mailboxes.values()]
        return all(waits)

"""This is where the plugin contract is written down.

Three kinds of hook, told apart by name:

- `register_*` is called once at start; an exception names the plugin and stops the start.
- A question (`label_sample`, `ready_to_update`, `accept_candidate`, `select_for_review`) is answered by the
  first plugin that does not return `None`; the built-in answer comes last. An exception rejects the sample,
  postpones the update or ends the command.
- Everything else tells what happened. Each listener is guarded on its own and told off the agent's thread.

Arguments are frozen facts, and a plugin names only those it wants.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pluggy

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

PROJECT = "edge_agent"
"""The pluggy project and the entry-point group of every plugin."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@dataclass(frozen=True)
class Decision:
    """The answer to a question, with the reason a person is shown."""

    answer: bool
    reason: str
    basis: str = ""
    """On what it rests, in a word or two, such as `held-out`; kept in `evaluation.json`."""


class Hooks:
    """Every hook, in the order of an agent's life."""

    # ------------------------------------------------------------------ register, once at start

    @hookspec
    def register_extractors(self, register: Callable[[ExtractorCard], None]) -> None:
        """Offer feature extractors; `register(card)` checks and names each."""

    @hookspec
    def register_delegates(self, register: Callable[[DelegateSpec], None]) -> None:
        """Offer accelerators; `register(spec)` takes what each needs. None is loaded before it was tried elsewhere."""

    @hookspec
    def register_heads(self, register: Callable[[type[Head]], None]) -> None:
        """Offer learning methods; `register(head_class)` checks each against the head protocol."""

    @hookspec
    def register_commands(self, register: Callable[[click.Command], None]) -> None:
        """Offer commands of `edge-agent`; a name that is taken is refused."""

    # ------------------------------------------------------------------ decide, first answer wins

    @hookspec(firstresult=True)
    def label_sample(self, path: str, folder_label: str) -> str | None:
        """Name the label of a picture that arrived at `path` in the folder `folder_label`."""

    @hookspec(firstresult=True)
    def ready_to_update(self, situation: UpdateSituation) -> Decision | None:
        """Say whether an update should start now."""

    @hookspec(firstresult=True)
    def accept_candidate(self, evaluation: Evaluation) -> Decision | None:
        """Say whether the evaluated candidate should become the current version."""

    @hookspec(firstresult=True)
    def select_for_review(self, pool: ReviewPool) -> list[Suggestion] | None:
        """Say which pictures of `pool` a person should label first, the best first; `edge-agent review` asks."""

    # ------------------------------------------------------------------ observe, all are told

    @hookspec
    def agent_started(self, home: str, version: int | None, extractor: str) -> None:
        """The agent is ready; `version` is the current one, `extractor` its extractor's name."""

    @hookspec
    def sample_ingested(self, sample: Sample) -> None:
        """A picture's features are durably stored and its file has left the drop folder."""

    @hookspec
    def sample_rejected(self, rejection: Rejection) -> None:
        """A file was refused and moved to `rejected/` with its reason beside it."""

    @hookspec
    def task_state_changed(self, change: TaskStateChange) -> None:
        """An update task went from one state to another."""

    @hookspec
    def training_begin(self, event: TrainingEvent) -> None:
        """Training is about to see its first mini-batch; metrics are empty."""

    @hookspec
    def mini_batch_end(self, event: TrainingEvent) -> None:
        """A mini-batch was learned; only emitted when a plugin listens."""

    @hookspec
    def epoch_end(self, event: TrainingEvent) -> None:
        """One pass over the training samples is done."""

    @hookspec
    def training_end(self, event: TrainingEvent) -> None:
        """Training ended, whether it completed, failed or was cancelled; see `event.state`."""

    @hookspec
    def candidate_evaluated(self, evaluation: Evaluation, decision: Decision) -> None:
        """A candidate was compared with the current version and accepted or refused."""

    @hookspec
    def version_published(self, version: Version) -> None:
        """`version` now answers predictions."""

    @hookspec
    def version_rolled_back(self, version: Version, previous: int) -> None:
        """`version` answers again in place of `previous`."""

    @hookspec
    def delegate_changed(self, change: DelegateChange) -> None:
        """Pictures are looked at by another delegate: an accelerator went away, or is there."""

    @hookspec
    def agent_stopping(self, reason: str) -> None:
        """The agent takes no more input and is about to close."""


HOOK_NAMES = tuple(name for name in vars(Hooks) if not name.startswith("_"))
"""Every hook, in the order of an agent's life."""

QUESTIONS = ("label_sample", "ready_to_update", "accept_candidate", "select_for_review")
OBSERVATIONS = tuple(
    name for name in HOOK_NAMES if not name.startswith("register_") and name not in QUESTIONS
)
"""Everything that tells what happened."""

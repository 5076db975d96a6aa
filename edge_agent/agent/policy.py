"""This is where it is decided when a new version is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge_agent.agent.board import UNKNOWN_BOARD, BoardReading
from edge_agent.config import UpdateConfig
from edge_agent.hookspecs import Decision

ARRIVING_SECONDS = 30.0
"""While files wait to be taken in it is not quiet yet; but one file that never settles (a camera that writes
on and on) must not put off the update for ever."""


@dataclass(frozen=True)
class UpdateSituation:
    """What is known when somebody asks whether to update now."""

    new_samples: int
    """Samples added, relabelled or removed since the last update that was published or refused."""
    seconds_since_last_change: float
    """Since a sample was last added, relabelled or removed, by the monotonic clock."""
    unknown_labels: Mapping[str, int]
    """Labels the current version does not know, each with its number of samples."""
    current_version: int | None
    labels: Mapping[str, int]
    """Every label with its number of samples."""
    forced: bool
    """A person asked for it."""
    pending_files: int
    """Files in the drop folder that are not taken in yet."""
    board: BoardReading = UNKNOWN_BOARD
    """How warm, how busy and how full the board is."""
    insisted: bool = False
    """Its owner insists, or something is to be forgotten: no limit of the board counts."""


def decide(situation: UpdateSituation, config: UpdateConfig) -> Decision:
    """Whether to update now, and why; the first rule that applies answers.

    - Without samples there is never an update, and with nothing new only when a person asked for one.
    - `min_new_samples` changes start it at once: whoever copies a thousand pictures sees it learn on the way.
      While more files wait it takes a quarter of all samples at least, so that ten thousand pictures are not
      learned from two hundred times.
    - A label the current version does not know starts it at `new_label_samples`, unless files are still
      arriving: until then its pictures get a wrong answer. This rule is not for the first version, for which
      every label is new; it would make a version of the first folder's first two pictures.
    - Anything new starts it after `quiet_seconds`: the owner has stopped for now and wants to see the
      result. That holds for the first version too, and for a single label. Such a version knows one answer,
      which does no harm, shows that pictures arrive, and is replaced as soon as there is a second label.
    """
    samples = sum(situation.labels.values())
    if samples == 0:
        return Decision(answer=False, reason="there are no samples to learn from")
    if situation.forced:
        return Decision(answer=True, reason="a person asked for it")
    new = situation.new_samples
    if new <= 0:
        return Decision(answer=False, reason="nothing is new since the last update")
    if new >= _enough(situation, samples, config):
        return Decision(answer=True, reason=f"{new} changes since the last update")
    ripe = _ripe_label(situation, config)
    if ripe and situation.seconds_since_last_change >= _label_patience(situation):
        return Decision(
            answer=True, reason=f"the label {ripe} is new, with {situation.unknown_labels[ripe]} samples"
        )
    if situation.seconds_since_last_change >= _quiet_patience(situation, config):
        return Decision(answer=True, reason=f"{new} changes since the last update, and it is quiet")
    return Decision(answer=False, reason=f"{new} changes since the last update, and more may be coming")


def wait_seconds(situation: UpdateSituation, config: UpdateConfig) -> float | None:
    """After how many seconds `decide` says yes if nothing else happens; None if only a change can make it."""
    if decide(situation, config).answer:
        return 0.0
    if situation.new_samples <= 0 or not any(situation.labels.values()):
        return None
    patience = _quiet_patience(situation, config)
    if _ripe_label(situation, config):
        patience = min(patience, _label_patience(situation))
    return max(0.0, patience - situation.seconds_since_last_change)


def _enough(situation: UpdateSituation, samples: int, config: UpdateConfig) -> int:
    return max(config.min_new_samples, samples // 4) if situation.pending_files else config.min_new_samples


def _ripe_label(situation: UpdateSituation, config: UpdateConfig) -> str | None:
    """The new label with the most samples, if that is enough of them."""
    if situation.current_version is None or not situation.unknown_labels:
        return None
    label = max(sorted(situation.unknown_labels), key=lambda name: situation.unknown_labels[name])
    return label if situation.unknown_labels[label] >= config.new_label_samples else None


def _label_patience(situation: UpdateSituation) -> float:
    return ARRIVING_SECONDS if situation.pending_files else 0.0


def _quiet_patience(situation: UpdateSituation, config: UpdateConfig) -> float:
    return max(config.quiet_seconds, _label_patience(situation))

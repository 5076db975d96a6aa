"""This is where it is decided whether a candidate becomes the current version, and why."""

from __future__ import annotations

from edge_agent.agent.evaluation import Comparison, Evaluation, Suspicion
from edge_agent.hookspecs import Decision

SIGNIFICANT_P = 0.05
"""A candidate is worse when chance alone would make it look this bad less often than once in twenty times."""

MIN_JUDGES = 5
"""With fewer held-out samples no outcome is significant: four of four lost has p = 1/16."""

MIN_JUDGES_FOR_DROP = 20
MAX_DROP = 0.05
DROP_P = 0.15
"""With this many held-out samples a larger drop is refused as well, unless it may easily be chance.

Without the last condition two unlucky pictures of twenty decide: in a simulation with 20 to 50 held-out
samples, of which one in ten changes its answer, a candidate that is truly 2 points better was refused in 6 to
10 of 100 cases, with it in 1 to 3.
"""

SUSPICIOUS_ODDS = 5.0
SUSPICIOUS_SAMPLES = 2
"""Labels are refused that are five times likelier with mistakes in one label than without, if two pictures or more
say so: one odd picture among few is no reason.

Measured with `benchmarks/gate.py`; what is known of it stands in `docs/learning.md`.
"""

NAMED = 5
"""So many pictures are named in a sentence."""


def decide(evaluation: Evaluation) -> Decision:
    """Whether the candidate becomes the current version, with the figures a person is shown.

    Refused (`basis` labels): a candidate of whose new or relabelled pictures those of one thing seem to be
    called something else, by what both versions say of them without having learned them. A share of mislabelled
    pictures in one of many labels hardly moves the accuracy, so the comparison below would not notice.

    Accepted without a comparison (`basis` first, owner): a first version, and one in place of a version that
    learned from samples its owner has since removed, because that was the owner's word. (While something is being
    forgotten such a one has learned nothing new, so nothing is accepted here that the rule above has not seen.)

    Then the samples whose label both know decide (`basis` held-out): refused is a candidate that is significantly
    worse, and one whose accuracy on at least `MIN_JUDGES_FOR_DROP` of them drops by more than `MAX_DROP`, hardly
    by chance. Where too few are held out, samples that both learned decide in the same way, each left out
    in turn (`basis` leave-one-out); where that cannot be had, it is accepted unseen (`basis` none). So it is where the
    current version fails when it is asked; the first rule then hears the candidate only.
    """
    suspicion = evaluation.suspicion
    if suspicion and suspicious(suspicion):
        return Decision(answer=False, reason=accusation(suspicion), basis="labels")
    if evaluation.forgotten:
        return Decision(
            answer=True,
            reason="the current version learned from samples that were removed since",
            basis="owner",
        )
    common, learned = evaluation.common, evaluation.learned
    if evaluation.unasked:
        because = f"taken without a comparison: the current version cannot be asked, {evaluation.unasked}"
        return Decision(answer=True, reason=because, basis="none")
    if common is None:
        return Decision(answer=True, reason="it is the first version", basis="first")
    few = f"{common.count} held-out pictures, and {MIN_JUDGES} are needed"
    if common.count >= MIN_JUDGES:
        return _by(common, evaluation, f"on {common.count} held-out samples", basis="held-out")
    if learned is not None and learned.count >= MIN_JUDGES:
        where = f"on {learned.count} pictures left out in turn ({few})"
        return _by(learned, evaluation, where, basis="leave-one-out")
    return Decision(answer=True, reason=f"taken without a comparison: {few}", basis="none")


def suspicious(suspicion: Suspicion) -> bool:
    """Whether labels are more likely wrong than not, in more than one picture."""
    return suspicion.odds >= SUSPICIOUS_ODDS and len(suspicion.samples) >= SUSPICIOUS_SAMPLES


def accusation(suspicion: Suspicion) -> str:
    """Which pictures of what seem to be called something else, and what to do."""
    shown = [f"{one['name'] or one['digest'][:12]} as {one['label']!r}" for one in suspicion.samples[:NAMED]]
    more = len(suspicion.samples) - NAMED
    listed = ", ".join(shown) + (f" and {more} more" if more > 0 else "")
    return (
        f"{len(suspicion.samples)} new or relabelled pictures look like {suspicion.label!r} and are called something"
        f" else: {listed}; look with `edge-agent doctor`, correct with `edge-agent samples relabel`, or publish all the"
        " same with `edge-agent update --force`"
    )


def _by(compared: Comparison, evaluation: Evaluation, where: str, *, basis: str) -> Decision:
    now, before = compared.candidate_accuracy, compared.current_accuracy
    assert now is not None, "there are samples"
    assert before is not None, "there are samples"
    figures = f"{now:.1%} right where the current version has {before:.1%}, {where}"
    insist = "; look at what was added since, or publish all the same with `edge-agent update --force`"
    if compared.p_value < SIGNIFICANT_P:
        reason = f"significantly worse: {figures} (p = {compared.p_value:.3f}){insist}"
        return Decision(answer=False, reason=reason, basis=basis)
    if compared.count >= MIN_JUDGES_FOR_DROP and before - now > MAX_DROP and compared.p_value < DROP_P:
        reason = f"a drop of more than {MAX_DROP:.0%}: {figures}{insist}"
        return Decision(answer=False, reason=reason, basis=basis)
    if evaluation.new_labels:
        figures += f"; it also knows {', '.join(evaluation.new_labels)}"
    return Decision(answer=True, reason=figures, basis=basis)

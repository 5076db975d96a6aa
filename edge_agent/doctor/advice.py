"""This is where findings about the stored pictures are made: labels, copies, loners, confusions, what to do next."""

from __future__ import annotations

import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_agent.doctor.collection import Collection, fact
from edge_agent.doctor.findings import Finding, Severity, counted, named
from edge_agent.ml.diagnosis import FEW_PICTURES, data_advice
from edge_agent.ml.label_errors import LabelDoubt
from edge_agent.ml.loners import loners
from edge_agent.ml.metrics import MLClassifierMetrics, percent
from edge_agent.report.verdict import weak_labels
from edge_agent.store.samples import Sample

MANY_COPIES = 0.1
"""A label with a larger share of copies is warned of; a few are only mentioned."""
FEWEST_MIXED = 2
"""One picture taken for another is an accident."""
MOST_PAIRS = 5
"""So many pairs of labels are told of."""

Indices = NDArray[np.intp]


def balance(
    counts: Mapping[str, int], sizes: Iterable[tuple[str, int, int]], extractor_size: tuple[int, int] | None
) -> list[Finding]:
    """Too few pictures, very uneven numbers, a single label, pictures smaller than what the extractor sees."""
    return [
        Finding(advice.kind.value, Severity.WARNING, f"{advice.text}.", advice.labels)
        for advice in data_advice(counts, sizes, extractor_size=extractor_size, has_test=True)
    ]


def refused_labels(suspects: Sequence[Sample], like: str) -> list[Finding]:
    """Pictures that look like a label and are called something else, so that the last update was refused."""
    if not suspects:
        return []
    facts = tuple(fact(one, suggested=like, command=relabel(one.digest, like)) for one in suspects)
    number = len(facts)
    return [
        Finding(
            "refused-labels",
            Severity.PROBLEM,
            f"The last update was refused because of {counted(number, 'picture')} that {_verb(number, 'looks', 'look')}"
            f" like {like} and {_verb(number, 'is', 'are')} called something else. Look at each. Where the label is"
            " wrong, use the command beside it; if they are all right, `edge-agent update --force` learns them so.",
            tuple(sorted({like, *(one.label for one in suspects)})),
            facts,
            facts[0]["command"],
        )
    ]


def wrong_labels(one: Collection, doubts: Sequence[LabelDoubt]) -> list[Finding]:
    """Pictures that look like those of another label, the clearest first."""
    if not doubts:
        return []
    facts = [
        one.fact(
            doubt.index,
            suggested=doubt.suggested,
            probability=round(doubt.probability, 4),
            command=relabel(one.samples[doubt.index].digest, doubt.suggested),
        )
        for doubt in doubts
    ]
    text = (
        f"{counted(len(doubts), 'picture')} may have the wrong label; the clearest come first. Look at each. Where the"
        " label is wrong, use the command beside it; where it is right, leave it: nothing is changed by itself."
    )
    labels = tuple(sorted({doubt.label for doubt in doubts}))
    return [Finding("label-errors", Severity.WARNING, text, labels, tuple(facts), facts[0]["command"])]


def copies(one: Collection, groups: Indices, cap: int) -> list[Finding]:
    """Pictures of one label that show the same, and pictures that show the same under two labels.

    `groups` [n] are those of `copy_groups`; `cap` is how many of a group are learned from, 0 for all.
    """
    by_first: dict[int, list[int]] = defaultdict(list)
    for row, first in enumerate(groups.tolist()):
        by_first[first].append(row)
    crossing, extra = [], defaultdict(list)
    for rows in by_first.values():
        labels = {one.samples[row].label for row in rows}
        if len(labels) > 1:
            crossing.append(rows)
        seen: dict[str, int] = {}
        for row in rows:
            label = one.samples[row].label
            original = seen.setdefault(label, row)
            if original != row:
                extra[label].append((row, original))
    found = [_two_labels(one, crossing)] if crossing else []
    looked = Counter(sample.label for sample in one.samples)
    many = {label for label, pairs in extra.items() if len(pairs) > MANY_COPIES * looked[label]}
    found += [
        _copies(one, {label: extra[label]}, looked, cap, Severity.WARNING)
        for label in sorted(many, key=lambda name: (-len(extra[name]), name))
    ]
    few = {label: pairs for label, pairs in sorted(extra.items()) if label not in many}
    return [*found, _copies(one, few, looked, cap, Severity.HINT)] if few else found


def _copies(
    one: Collection,
    extra: Mapping[str, Sequence[tuple[int, int]]],
    looked: Mapping[str, int],
    cap: int,
    severity: Severity,
) -> Finding:
    number = sum(map(len, extra.values()))
    where = [f"{label} ({len(pairs)} of {looked[label]})" for label, pairs in extra.items()]
    if cap:
        learned = f"Of pictures that show the same, {cap} at most {'is' if cap == 1 else 'are'} learned from."
    else:
        learned = "They are all learned from, unless [learning] most_near_duplicates in the configuration limits it."
    return Finding(
        "copies",
        severity,
        f"{counted(number, 'picture')} {_verb(number, 'shows', 'show')} the same as another one of"
        f" {_verb(number, 'its', 'their')} label, as in a burst: {named(where)}. Copies teach nothing new, and count"
        f" once in what is said here. {learned} You need not remove them; take the next pictures from other sides.",
        tuple(extra),
        tuple(
            one.fact(row, same_as=one.fact(original)) for pairs in extra.values() for row, original in pairs
        ),
    )


def _two_labels(one: Collection, crossing: Sequence[Sequence[int]]) -> Finding:
    """Where most pictures of a group have one label, the others are probably wrong."""
    facts = []
    for rows in crossing:
        votes = Counter(one.samples[row].label for row in rows).most_common(2)
        for row in rows:
            other = next(each for each in rows if one.samples[each].label != one.samples[row].label)
            fact = one.fact(row, same_as=one.fact(other))
            if votes[0][1] > votes[1][1] and fact["label"] != votes[0][0]:
                fact["command"] = relabel(fact["digest"], votes[0][0])
            facts.append(fact)
    labels = tuple(sorted({fact["label"] for fact in facts}))
    number = len(crossing)
    return Finding(
        "two-labels",
        Severity.PROBLEM,
        f"{counted(number, 'picture')} {_verb(number, 'is', 'are')} there under two labels ({named(labels)}), so that"
        " one of the two is wrong. Look which, and give that picture the right label:"
        " edge-agent samples relabel DIGEST LABEL, where DIGEST is the end of its file name.",
        labels,
        tuple(facts),
        next((fact["command"] for fact in facts if "command" in fact), ""),
    )


def _verb(number: int, one: str, many: str) -> str:
    return one if number == 1 else many


def strangers(one: Collection, doubted: Iterable[int]) -> list[Finding]:
    """Pictures that look like nothing else of their label, without those whose label is doubted already."""
    known = set(doubted)
    found = [lone for lone in loners(one.X, one.y) if lone.index not in known]
    if not found:
        return []
    facts = tuple(one.fact(lone.index, likeness=round(lone.likeness, 3)) for lone in found)
    return [
        Finding(
            "loners",
            Severity.HINT,
            f"{counted(len(found), 'picture')} {_verb(len(found), 'looks', 'look')} like nothing else of"
            f" {_verb(len(found), 'its', 'their')} label. If one does not belong there (a finger on the lens, an empty"
            " scene, something else), forget it; if it does, take more like it.",
            tuple(sorted({fact["label"] for fact in facts})),
            facts,
            forget(facts[0]["digest"]),
        )
    ]


def confusions(one: Collection, P: NDArray[np.float64], doubted: Iterable[int]) -> list[Finding]:
    """Pairs of labels that are mixed up when each picture is left out in turn; `P` [n, C], NaN where it cannot be."""
    y, classes = one.y, one.classes
    judged = np.asarray(~np.isnan(P).any(axis=1), dtype=np.bool_)
    judged[list(doubted)] = False
    best = np.where(judged, np.nan_to_num(P).argmax(axis=1), y)
    pairs: dict[tuple[int, int], list[int]] = defaultdict(list)
    for row in np.flatnonzero(best != y).tolist():
        a, b = sorted((int(y[row]), int(best[row])))
        pairs[a, b].append(row)
    found = []
    counts = np.bincount(y[judged], minlength=len(classes))
    for (a, b), rows in sorted(pairs.items(), key=lambda item: -len(item[1]))[:MOST_PAIRS]:
        if len(rows) < FEWEST_MIXED:
            continue
        facts = tuple(
            one.fact(
                row,
                taken_for=classes[best[row]],
                probability=round(float(P[row, best[row]]), 4),
                command=relabel(one.samples[row].digest, classes[best[row]]),
            )
            for row in sorted(rows, key=lambda row: -P[row, best[row]])
        )
        found.append(
            Finding(
                "confusable-labels",
                Severity.HINT,
                f"{classes[a]} and {classes[b]} are mixed up: {len(rows)} of {counts[a] + counts[b]} pictures."
                " Photograph both in the same places and light, so that only the things themselves differ; show"
                " what tells them apart large and sharp. If you cannot tell them apart either, make one label of them."
                " Where one below has the wrong label, use the command beside it.",
                (classes[a], classes[b]),
                facts,
                facts[0]["command"],
            )
        )
    return found


def next_pictures(counts: Mapping[str, int], judged: MLClassifierMetrics, answer: str) -> list[Finding]:
    """Which labels to photograph first, and where to find the pictures of one's own that teach the most."""
    rows = []
    for label in weak_labels(judged, counts):
        row = judged.per_class.get(label, {})
        recall = row["recall"] if row.get("count") else None
        few = counts[label] < FEW_PICTURES
        if few or recall is not None:
            known = "" if recall is None else f", {percent(recall)} recognised"
            rows.append(f"{label} ({counted(counts[label], 'picture')}{known})")
    if not rows and answer == "yes":
        return []
    which = (
        f"Photograph first: {named(rows)}."
        if rows
        else "No label is much weaker than the others: photograph all."
    )
    return [
        Finding(
            "photograph-next",
            Severity.HINT,
            f"{which} Of pictures that you have and that have no label yet, `edge-agent review FOLDER` says which to"
            " label first.",
            tuple(row.rpartition(" (")[0] for row in rows),
            command="edge-agent review FOLDER",
        )
    ]


def relabel(digest: str, label: str) -> str:
    """The command that gives a picture another label."""
    return f"edge-agent samples relabel {digest[:12]} {shlex.quote(label)}"


def forget(digest: str) -> str:
    """The command that removes a picture."""
    return f"edge-agent forget --sample {digest[:12]}"

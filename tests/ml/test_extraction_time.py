"""Before a long extraction it is said how long it takes, from looks that were timed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_agent.ml.augmentation import ImageAugmentationOptions as Options
from edge_agent.ml.extraction_time import FIRST, Pace, estimate, in_words
from edge_agent.ml.feature_source import ExtractedFeatures, unreadable


def answer(name: str, error: str | None = None) -> ExtractedFeatures:
    """An answer with features, or with an error."""
    features = None if error else np.zeros(3, np.float32)
    return ExtractedFeatures(Path(name), None, features, 0, 0, "", error)


def test_checklist_116_each_augmentation_multiplies_the_time():
    """With five copies of each training picture there are six looks at it; the others stay at one."""
    plain = estimate(100, 20, Options(0), 0.01)
    flipped = estimate(100, 20, Options.FLIP, 0.01)
    both = estimate(100, 20, Options.FLIP | Options.CROP, 0.01)

    assert (plain.looks, flipped.looks, both.looks) == (120, 420, 820)
    assert (plain.seconds, flipped.seconds, both.seconds) == pytest.approx((1.2, 4.2, 8.2))


def test_the_estimate_says_why_it_takes_so_long():
    """Somebody who reads it knows what leaving out the augmentation would save."""
    assert str(estimate(1, 0, Options(0), 1)) == "1 picture: about a second"
    assert str(estimate(1000, 200, Options.FLIP, 0.05)) == (
        "1,200 pictures: about 4 minutes (4,200 looks, because each of the 1,000 training pictures is looked at"
        " 4 times; without augmentation about 60 seconds)"
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "about a second"),
        (2, "about 2 seconds"),
        (89.4, "about 89 seconds"),
        (90, "about 2 minutes"),
        (5000, "about 83 minutes"),
        (9000, "about 2.5 hours"),
    ],
)
def test_a_duration_in_words(seconds, words):
    """The unit suits the length."""
    assert in_words(seconds) == words


def test_the_pace_is_measured_on_the_first_looks():
    """The start of the engine and refused pictures do not count, and the answers go by unchanged."""
    now = [50.0]
    pace = Pace(lambda: now[0])

    def answers() -> Iterator[ExtractedFeatures]:
        for number in range(FIRST + 6):
            now[0] += 100.0 if number == 0 else 0.25
            yield answer(str(number))
            if number == 3:
                yield answer("bad", "damaged")

    known = [(one.path.name, pace.seconds_per_look) for one in pace.watch(answers())]

    assert [name for name, _ in known if name != "bad"] == [str(number) for number in range(FIRST + 6)]
    assert [value for _, value in known].index(0.25) == FIRST + 1
    assert pace.seconds_per_look == pytest.approx(0.25)


def test_checklist_108_unreadable_files_are_said_by_name():
    """Each once, however many looks at it were wanted."""
    answers = [answer("a.jpg"), answer("b.jpg", "damaged"), answer("b.jpg", "damaged"), answer("c", "empty")]

    assert unreadable(answers) == ["b.jpg: damaged", "c: empty"]

"""The table of ratios: what a row says of its figures, and that one command measures all of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def table(monkeypatch):
    """The module, which lies beside the package."""
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks import table

    return table


def test_a_ratio_is_the_median_of_what_each_turn_gave(table):
    """A turn that something else slowed down slowed down its peer, too: 10/20, 1/2 and 9/10 are 0.5, not 9/10."""
    row = table.Row("a", "/s", [10.0, 1.0, 9.0], "b", [20.0, 2.0, 10.0], 0.9, at_least=True)

    assert row.ratio == pytest.approx(0.5)
    assert row.reached is False


@pytest.mark.parametrize(
    ("figure", "limit", "target", "at_least", "reached"),
    [
        (2.0, 1.0, 1.9, True, True),
        (2.0, 1.0, 2.1, True, False),
        (2.0, 1.0, 2.1, False, True),
        (2.0, 1.0, 1.9, False, False),
        (2.0, 1.0, None, False, None),
    ],
)
def test_a_target_is_reached_from_its_own_side(table, figure, limit, target, at_least, reached):
    """At least or at most; where nothing was promised, nothing is claimed."""
    row = table.Row("a", "s", [figure, figure], "b", [limit], target, at_least=at_least)

    assert row.reached is reached


def test_beside_nothing_at_all_there_is_no_ratio(table):
    """A limit of 0 holds up to the tolerance, and is not divided by."""
    still = table.Row("a", "%", [0.04], "promised", [0.0], tolerance=0.05)
    busy = table.Row("a", "%", [0.06], "promised", [0.0], tolerance=0.05)

    assert (still.ratio, still.reached, busy.reached) == (None, True, False)


def test_figures_that_are_no_pairs_are_refused(table):
    """Three figures beside two of a peer were not measured in turns."""
    with pytest.raises(ValueError, match="3 figures beside 2"):
        table.Row("a", "s", [1.0, 2.0, 3.0], "b", [1.0, 2.0])


def test_a_row_without_figures_says_why(table):
    """In the table and in JSON; it neither reaches nor misses anything."""
    row = table.Row("a", "s", missing="no scikit-learn", target=1.0)

    assert "not measured: no scikit-learn" in table.printed([row])
    assert (row.facts()["missing"], row.facts()["figure"], row.reached) == ("no scikit-learn", None, None)


def test_the_columns_stand_below_each_other(table):
    """Median, smallest and largest, the peer, the ratio, the target and the answer, in one line."""
    row = table.Row("name of it", "ms", [3.0, 2.0, 4.0], "peer", [2.0], 1.15, note="a remark")
    head, line = table.printed([row]).splitlines()

    assert line.split() == [
        "name",
        "of",
        "it",
        "3",
        "ms",
        "2..4",
        "2",
        "peer",
        "1.50",
        "<=",
        "1.15",
        "NO",
        "a",
        "remark",
    ]
    assert head.index("note") == line.index("a remark")


def test_an_answer_of_no_current_version_is_found(table):
    """Version 1 was current until 10 and 2 from then on: who asked from 9 to 11 may hear either, later only of 2."""
    from benchmarks.swap import Asked, stale

    begun, ended = {1: 0.0, 2: 10.0}, {1: 10.0}
    fine = [Asked(9.0, 11.0, 1, ""), Asked(9.0, 11.0, 2, ""), Asked(11.0, 12.0, 2, "")]
    bad = [
        Asked(11.0, 12.0, 1, ""),
        Asked(8.0, 9.0, 2, ""),
        Asked(9.0, 9.5, 3, ""),
        Asked(9.0, 9.5, None, ""),
    ]

    assert (stale(fine, begun, ended), stale(bad, begun, ended)) == (0, 4)


def test_an_answer_that_another_version_gave_is_found(table):
    """Equal but for what float32 leaves is its own; another probability, label or version's answer is not."""
    from benchmarks.swap import Asked, borrowed

    said = {
        1: [{"blue": 0.9, "red": 0.1}, {"blue": 0.2, "red": 0.8}],
        2: [{"blue": 0.8, "red": 0.2}, {"blue": 0.2, "red": 0.8}],
    }
    own = [
        Asked(0.0, 1.0, 1, "", 0, {"red": 0.1, "blue": 0.9}),
        Asked(0.0, 1.0, 1, "", 0, {"blue": 0.9 - 5e-7, "red": 0.1 + 5e-7}),
        Asked(0.0, 1.0, 2, "", 1, {"blue": 0.2, "red": 0.8}),
    ]
    others = [
        Asked(0.0, 1.0, 2, "", 0, {"blue": 0.9, "red": 0.1}),
        Asked(0.0, 1.0, 1, "", 0, {"blue": 0.9 - 2e-6, "red": 0.1 + 2e-6}),
        Asked(0.0, 1.0, 1, "", 1, {"blue": 0.9, "red": 0.1}),
        Asked(0.0, 1.0, 1, "", 0, {"blue": 0.9, "red": 0.1, "green": 0.0}),
    ]

    assert (borrowed(own, said), borrowed(others, said)) == ([False] * 3, [True] * 4)


def test_what_cannot_be_compared_is_not_counted(table):
    """Answers about other pictures were not kept, errors say nothing, and a version may be gone."""
    from benchmarks.swap import Asked, borrowed

    said = {1: [{"blue": 0.9, "red": 0.1}]}
    unknown = [
        Asked(0.0, 1.0, 1, "", 7),
        Asked(0.0, 1.0, None, "unreadable"),
        Asked(0.0, 1.0, 2, "", 0, {"blue": 0.9, "red": 0.1}),
    ]

    assert borrowed(unknown, said) == []


def test_versions_that_answer_alike_are_not_told_apart(table):
    """3 says of both pictures what 2 said; 2 differs from 1 in one picture, and that is enough."""
    from benchmarks.swap import told_apart

    first, second = {"blue": 0.9, "red": 0.1}, {"blue": 0.8, "red": 0.2}

    assert told_apart({3: [first, second], 1: [first, first], 2: [first, second]}) == 1


def test_the_time_in_which_a_file_settles_is_not_counted(table):
    """Ten pictures that were stored a quarter of a second after they had settled are forty in a second."""
    from benchmarks.growth import SETTLE_SECONDS, Turn

    turn = Turn(SETTLE_SECONDS + 0.25, SETTLE_SECONDS + 0.75, 0.3, 4_000)

    assert (turn.rate, turn.settled) == (pytest.approx(40.0), pytest.approx(0.75))


def test_the_most_samples_are_compared_with_the_fewest(table):
    """A row of predictions, of intake and of the update; only the last has a target."""
    from benchmarks.growth import SETTLE_SECONDS, Turn, compared

    ten = {
        10: [Turn(SETTLE_SECONDS + 0.1, SETTLE_SECONDS + 0.5, 0.3, 4_000)],
        90: [Turn(SETTLE_SECONDS + 0.2, SETTLE_SECONDS + 0.6, 0.3, 4_000)],
    }
    rows = list(compared(10, 90, {10: [4.0], 90: [5.0]}, ten))

    assert [row.name for row in rows] == [
        f"{one}, 90 against 10" for one in ("one prediction", "intake", "ten more")
    ]
    assert [row.ratio for row in rows] == [pytest.approx(one) for one in (1.25, 0.5, 1.2)]
    assert [row.reached for row in rows] == [None, None, True]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_one_command_measures_everything(tmp_path):
    """Every group has figures at sizes of a few pictures; the file has all, and what it was measured on."""
    file = tmp_path / "figures.json"
    small = "--turns 1 --pictures 4 --large-pictures 2 --large 640 480 --questions 2 --folder 10 --starts 1"
    smaller = "--commands 1 --idle-seconds 0.2 --predictions 40 --publishes 2 --samples 60 --retrained 60"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks",
            "--quick",
            *small.split(),
            *smaller.split(),
            "--json",
            str(file),
        ],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr

    found = json.loads(file.read_text(encoding="utf-8"))
    assert set(found["seconds"]) == {
        "intake",
        "running",
        "swap",
        "threads",
        "folder",
        "learners",
        "hooks",
        "growth",
        "all",
    }
    assert found["engine"]["delegate"]["name"] == "cpu"
    assert found["machine"]["cores"] >= 1
    rows = {row["name"]: row for row in found["rows"]}
    assert {"intake, VGA", "edge-agent --help", "idle memory", "ten pictures more at 60"} <= set(rows)
    assert {"one prediction at 60", "intake at 60"} <= set(rows)
    for name in (
        "errors while versions change",
        "answers of no current version",
        "answers of another version",
    ):
        assert rows[name]["figure"] == 0, rows[name]
    assert "2 publishes, 3 versions answered" in rows["errors while versions change"]["note"]
    note = rows["answers of another version"]["note"]
    assert note.endswith("compared with what 3 versions say by number; 2 of 2 differ from the one before"), (
        note
    )
    for row in found["rows"]:
        assert row["figures"] or row["missing"].startswith("the kernel counts no writes"), row
        assert row["name"] in done.stdout

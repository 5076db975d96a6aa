"""The whole: what happens when a part of it cannot be looked at, and that copies do not vouch for each other."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from edge_agent.config import Config
from edge_agent.doctor.examination import examine
from edge_agent.store.samples import NewSample, SampleStore

STATUS = {
    "trouble": "",
    "plugins": [],
    "unusable": 0,
    "rejected": 0,
    "ignored": [],
    "pending": 0,
    "samples": 3,
}
DRIFT = {"pictures": 0, "fewest": 30, "changed": None, "mean_rank": None, "z": None, "finding": ""}


def agent(fingerprint="x", drift=DRIFT):
    """What answers for an agent."""
    told = {
        "checks": [{"name": "disk", "state": "ok", "message": "much"}],
        "extractor": {
            "name": "e",
            "size": [224, 224],
            "fingerprint": fingerprint,
            "runtime": "",
            "delegate": "cpu",
        },
        "drift": drift,
    }
    return lambda name: told if name == "checkup" else STATUS


@pytest.fixture
def home(tmp_path):
    """A state directory with twenty cats and twenty dogs, and what adds more."""
    rng = np.random.default_rng(0)
    means = {label: rng.normal(size=32) * 2 for label in ("cat", "dog")}

    def add(label, count, like=None, *, near=None, path=""):
        with SampleStore(tmp_path / "agent.db") as store:
            number = store.count()
            rows = [
                means[like or label] + 1.5 * rng.normal(size=32) if near is None else near
                for _ in range(count)
            ]
            new = [
                NewSample(
                    f"{int(rng.integers(2**60)):064x}"[::-1],
                    label,
                    f"{label}{number + i}.jpg",
                    path,
                    9,
                    640,
                    480,
                    row.astype(np.float32),
                )
                for i, row in enumerate(rows)
            ]
            store.add(new, "x")
        return rows

    add("cat", 20)
    add("dog", 20)
    return tmp_path, add


def kinds(seen):
    """What was found."""
    return {finding.kind: finding for finding in seen.findings}


def test_a_wrong_label_is_found_among_its_copies(home):
    """Ten copies of a dog under the label of cats support each other; they count as one and are doubted."""
    folder, add = home
    [row] = add("cat", 1, like="dog")
    add("cat", 9, near=row)

    seen = examine(agent(), folder, Config(), running=True)

    found = kinds(seen)
    assert len(found["copies"].samples) == 9
    assert len(found["label-errors"].samples) == 1
    assert found["label-errors"].samples[0]["suggested"] == "dog"
    assert (seen.pictures, seen.looked_at, seen.copies) == (50, 50, 9)


def refuse(folder, suspects, like="cat", basis="labels"):
    """Write what an agent writes that refused a candidate because of these pictures."""
    said = [{"digest": one.digest, "name": one.source_name, "label": one.label} for one in suspects]
    path = folder / "models" / "refused" / "evaluation.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps(
            {
                "created": "2026-01-01T00:00:00+00:00",
                "decision": {"accepted": False, "reason": "look", "basis": basis},
                "suspicion": {"count": 9, "label": like, "odds": 1e3, "samples": said},
            }
        )
    )


def test_what_an_update_was_refused_for_comes_first(home):
    """In the order of the refusal and none twice, looked at or not; what was mended or forgotten meanwhile is not."""
    folder, add = home
    add("dog", 4, like="cat")
    with SampleStore(folder / "agent.db") as store:
        *wrong, right, mended, gone = [*store.list(label="dog")[-4:], *store.list(label="dog")[:3]]
        refuse(folder, [wrong[2], *wrong, right, mended, gone])
        store.relabel(mended.digest, "cat")
        store.remove_all([gone.digest])

    seen = examine(agent(), folder, Config(), running=True, most=10)
    found = seen.findings[0]

    assert (found.kind, found.severity.value, found.labels) == ("refused-labels", "problem", ("cat", "dog"))
    assert [fact["digest"] for fact in found.samples] == [
        one.digest for one in (wrong[2], wrong[0], wrong[1], wrong[3], right)
    ]
    assert all(fact["suggested"] == "cat" for fact in found.samples)
    assert all(
        fact["command"] == f"edge-agent samples relabel {fact['digest'][:12]} cat" for fact in found.samples
    )
    listed = {fact["digest"] for fact in found.samples}
    for other in examine(agent(), folder, Config(), running=True).findings[1:]:
        assert other.kind == "copies" or not listed & {fact["digest"] for fact in other.samples}


def test_another_refusal_accuses_no_picture(home):
    """One that was worse on held-out pictures names none; a damaged file is passed over."""
    folder, _ = home
    with SampleStore(folder / "agent.db") as store:
        refuse(folder, store.list(label="dog")[:3], basis="held-out")
    assert "refused-labels" not in kinds(examine(agent(), folder, Config(), running=True))
    (folder / "models" / "refused" / "evaluation.json").write_text('{"decision": {"basis": "labels"}')
    assert "refused-labels" not in kinds(examine(agent(), folder, Config(), running=True))


def test_files_are_opened_where_features_leave_a_doubt(home):
    """Two pictures whose features are alike but not enough are copies when their hashes say so."""
    folder, add = home
    rng = np.random.default_rng(9)
    pixels = Image.fromarray(rng.integers(0, 255, size=(9, 9, 3)).astype(np.uint8)).resize((90, 90))
    pixels.save(folder / "a.png")
    pixels.resize((50, 50)).save(folder / "b.png")
    base = np.zeros(32)
    base[:2] = 5, 0
    add("cat", 1, near=base, path="a.png")
    base[:2] = 4.5, 2.2
    assert "copies" not in kinds(examine(agent(), folder, Config(), running=True))
    add("cat", 1, near=base, path="b.png")

    assert len(kinds(examine(agent(), folder, Config(), running=True))["copies"].samples) == 1


def test_without_an_extractor_the_set_up_is_all_there_is(home):
    """The pictures are left alone, and it is said why."""
    seen = examine(agent(fingerprint=None), home[0], Config(), running=True)

    assert "the extractor does not work" in kinds(seen)["setup-database"].message
    assert (seen.pictures, seen.looked_at, seen.enough.answer) == (3, 0, "unknown")


def test_a_damaged_database_is_a_finding(home):
    """Not an error that ends the doctor."""
    path = home[0] / "agent.db"
    path.write_bytes(path.read_bytes()[:200] + b"x" * 9000)

    assert (
        "cannot be read" in kinds(examine(agent(), home[0], Config(), running=True))["setup-database"].message
    )


def test_drift_is_a_finding(home):
    """In the words of the agent."""
    drift = {**DRIFT, "changed": True, "finding": "The camera's pictures have changed"}

    seen = examine(agent(drift=drift), home[0], Config(), running=True)

    assert kinds(seen)["drift"].message == "The camera's pictures have changed"
    assert seen.to_json()["drift"]["changed"]


def test_pictures_of_another_extractor_are_counted_only(home):
    """There is nothing to look at yet."""
    seen = examine(agent(fingerprint="another"), home[0], Config(), running=True)

    assert (seen.pictures, seen.looked_at, seen.curve) == (40, 0, ())

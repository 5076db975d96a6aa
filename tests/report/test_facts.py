"""What a report says is what the session, its result and the test say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_agent.errors import MLCreateError
from edge_agent.ml.augmentation import ImageAugmentationOptions
from edge_agent.ml.classifier_parameters import ModelParameters
from edge_agent.ml.data_source import DataSource
from edge_agent.ml.splitting import MLSplitStrategy, ValidationData
from edge_agent.report import facts as module
from edge_agent.report.facts import JudgedPicture, evaluated, report_facts
from tests.ml.session_kit import LABELS, NumberSource, picture_folder, write_picture

HALF = ModelParameters(validation=ValidationData.split(MLSplitStrategy.fixed(0.5, seed=1)))


def test_the_whole_is_gathered(trained, tmp_path):
    """Labels, counts, metrics, history, curve and conclusion of an ordinary training."""
    session, result = trained(picture_folder(tmp_path / "data", per_label=20), HALF)

    facts = report_facts(session, result, seconds=3.5)

    assert facts.labels == LABELS
    assert facts.pictures == dict.fromkeys(LABELS, 20)
    assert facts.folder == tmp_path / "data"
    assert [one.name for one in facts.measured] == ["Training", "Validation", "Left out in turn"]
    assert [one.metrics.count for one in facts.measured] == [30, 30, 60]
    assert facts.measured[1].metrics is result.validation_metrics
    assert facts.basis.name == "Validation"
    assert list(facts.history) == result.history
    assert [one.per_label for one in facts.curve] == [1, 2, 5, 10, 15]
    assert (facts.date, facts.seconds) == (session.date, 3.5)
    assert "logistic" in facts.classifier
    assert facts.conclusion


def test_mistakes_are_those_of_validation_the_surest_first(trained, tmp_path):
    """Each with the file, the true label, the given one and its probability."""
    data = picture_folder(tmp_path / "data", per_label=16)
    session, result = trained(data, HALF)

    facts = report_facts(session, result)

    assert facts.n_mistakes == sum(row["count"] for row in result.validation_metrics.mistakes())
    assert facts.n_mistakes > 0
    assert all(one.part == "validation" for one in facts.mistakes)
    margins = [one.probability - one.own_probability for one in facts.mistakes]
    assert margins == sorted(margins, reverse=True)
    one = facts.mistakes[0]
    row = NumberSource().row(one.path.read_text(), None)[None]
    P = dict(zip(result.head.classes_, result.head.predict_proba(row)[0], strict=True))
    assert one.path.parent.name == one.label != one.predicted == max(P, key=lambda label: P[label])
    assert one.probability == pytest.approx(P[one.predicted])
    assert one.own_probability == pytest.approx(P[one.label])


def test_mistakes_in_training_are_shown_where_there_are_no_others():
    """Once there is one in a test or in validation, only those count."""
    learned = JudgedPicture(Path("a"), "cat", "dog", 0.9, 0.1, "training")
    held = JudgedPicture(Path("b"), "cat", "dog", 0.6, 0.4, "validation")
    right = JudgedPicture(Path("c"), "cat", "cat", 0.6, 0.6, "test")

    assert module._mistakes([learned, right, held]) == [held]
    assert module._mistakes([learned, right]) == [learned]


def test_labels_given_for_validation_only_are_not_in_the_way(trained, tmp_path):
    """A label that was not learned is a mistake; the others behind it are still found by their files."""
    data = picture_folder(tmp_path / "data", per_label=20)
    strange = write_picture(tmp_path / "held" / "1.jpg", "gnu", 1)
    planted = write_picture(tmp_path / "held" / "2.jpg", "dog", 700)
    given = ValidationData.dictionary({"aardvark": [strange], "cat": [planted]})
    session, result = trained(data, ModelParameters(validation=given))

    facts = report_facts(session, result)

    assert planted in {one.path for one in facts.suspects}
    assert strange not in {one.path for one in facts.suspects}
    assert strange in {one.path for one in facts.mistakes}
    assert "aardvark" not in facts.labels


def test_copies_are_not_judged_as_pictures(trained, tmp_path):
    """With augmentation the curve and the doubts are of the pictures as they are."""
    data = picture_folder(tmp_path / "data", per_label=12)
    plain = report_facts(*trained(data))
    (tmp_path / "session").rename(tmp_path / "plain")
    session, result = trained(data, ModelParameters(augmentation=ImageAugmentationOptions.FLIP))

    augmented = report_facts(session, result)

    assert augmented.curve == plain.curve
    assert augmented.suspects == plain.suspects
    assert augmented.measured[-1].metrics.count == 36
    assert augmented.augmentation == "flip"


def test_planted_wrong_labels_are_suspected_by_their_files(trained, tmp_path):
    """Pictures of dogs among the cats are found, with what they look like."""
    data = picture_folder(tmp_path / "data", per_label=20)
    planted = {
        write_picture(data / "cat" / "planted 1.jpg", "dog", 500),
        write_picture(data / "emu" / "planted 2.jpg", "cat", 501),
    }
    session, result = trained(data)

    facts = report_facts(session, result)

    found = {one.path: one.suggested for one in facts.suspects}
    assert planted <= set(found)
    assert [found[one] for one in sorted(planted)] == ["dog", "cat"]
    assert facts.n_suspects >= 2
    assert "doubtful" in facts.conclusion


def test_unreadable_files_are_named_and_count_for_nothing(trained, tmp_path):
    """Their reason is kept, their label has one picture less."""
    data = picture_folder(tmp_path / "data")
    bad = data / "cat" / "bad.jpg"
    bad.write_text("bad")
    session, result = trained(data)

    facts = report_facts(session, result)

    assert facts.unreadable == {str(bad): "not a picture"}
    assert facts.pictures["cat"] == 12


def test_warnings_and_advice_are_those_of_the_diagnosis(trained, tmp_path):
    """Few, unbalanced and small pictures, and the same picture under two labels."""
    data = picture_folder(tmp_path / "data", per_label=40)
    for path in sorted((data / "emu").iterdir())[4:]:
        path.unlink()
    write_picture(data / "cat" / "twice.jpg", "dog", 3)
    session, result = trained(data)

    text = "\n".join(report_facts(session, result).warnings)

    assert "emu has 4" in text
    assert "unbalanced" in text
    assert "smaller than the 224 x 224 pixels" in text
    assert "same picture has two labels" in text


def test_a_test_comes_first(trained, tmp_path):
    """Its metrics are those the labels are judged by, its mistakes and its unreadable files are shown."""
    session, result = trained(picture_folder(tmp_path / "data", per_label=16))
    apart = picture_folder(tmp_path / "test", per_label=8)
    wrong = write_picture(apart / "cat" / "wrong.jpg", "dog", 900)
    (apart / "emu" / "z.jpg").write_text("bad")
    images = DataSource.labeled_directories(at=apart).labeled_images()
    seen = NumberSource().extract((path, None) for paths in images.values() for path in paths)

    test = evaluated(result.head, images, seen)
    facts = report_facts(session, result, test)

    assert test.metrics.count == 25
    assert facts.basis.metrics is test.metrics
    assert [one.name for one in facts.measured] == ["Training", "Test", "Left out in turn"]
    assert wrong in {one.path for one in facts.mistakes if one.part == "test"}
    assert facts.unreadable == {str(apart / "emu" / "z.jpg"): "not a picture"}


def test_a_test_of_labels_that_were_not_learned_is_a_mistake(trained, tmp_path):
    """The probability of such a label is 0."""
    _, result = trained(picture_folder(tmp_path / "data"))
    gnu = write_picture(tmp_path / "gnu" / "1.jpg", "gnu", 1)

    test = evaluated(result.head, {"gnu": [gnu]}, NumberSource().extract([(gnu, None)]))

    assert test.metrics.accuracy == 0.0
    assert test.judged[0].own_probability == 0.0


def test_a_test_without_a_readable_picture_says_so(trained, tmp_path):
    """There are no figures, and the report does without them."""
    session, result = trained(picture_folder(tmp_path / "data"))
    bad = tmp_path / "bad.jpg"
    bad.write_text("bad")

    test = evaluated(result.head, {"cat": [bad]}, NumberSource().extract([(bad, None)]))
    facts = report_facts(session, result, test)

    assert not test.metrics.is_valid
    assert "Test" not in {one.name for one in facts.measured}


def test_few_pictures_are_enough_for_a_report(trained, tmp_path):
    """Two labels of one picture: no curve, no doubts, and a sentence all the same."""
    session, result = trained(picture_folder(tmp_path / "data", per_label=1, labels=("cat", "dog")))

    facts = report_facts(session, result)

    assert facts.curve == ()
    assert facts.suspects == ()
    assert facts.basis.name == "Training"
    assert facts.conclusion.startswith("There are too few pictures")


def test_what_is_kept_is_bounded(trained, tmp_path, monkeypatch):
    """Only so many mistakes and doubts are kept, and how many there were."""
    monkeypatch.setattr(module, "SHOWN", 2)
    data = picture_folder(tmp_path / "data", per_label=20)
    for at in range(4):
        write_picture(data / "cat" / f"planted {at}.jpg", "dog", 500 + at)
    session, result = trained(data)

    facts = report_facts(session, result)

    assert len(facts.suspects) == 2
    assert facts.n_suspects >= 4


def test_features_are_read_in_blocks(trained, tmp_path, monkeypatch):
    """However many files are read at a time, the facts are the same."""
    session, result = trained(picture_folder(tmp_path / "data", per_label=9))
    whole = report_facts(session, result)
    monkeypatch.setattr(module, "BLOCK_FILES", 4)

    assert report_facts(session, result).curve == whole.curve
    assert np.array_equal(
        module._originals(session, session.facts.files)[3],
        session.cache.rows([session.facts.files[3].key])[0][0],
    )


def test_damaged_features_are_an_error_of_ours(trained, tmp_path):
    """It says how many files are concerned and that the session mends it."""
    session, result = trained(picture_folder(tmp_path / "data"))
    block = next(Path(session.folder / "features").glob("*.npz"))
    block.write_bytes(b"nothing")

    with pytest.raises(MLCreateError, match=r"features of [0-9]+ files are not there .*resume"):
        report_facts(session, result)

"""`train`, and `evaluate`, `predict` and `versions import` of what it made."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edge_agent.cli.pictures import write_pictures
from edge_agent.errors import MLCreateError, MLCreateErrorCode
from edge_agent.ml.checkpoints import CheckpointFolder
from edge_agent.ml.jobs import MLJob
from edge_agent.testing import drop_texts

if TYPE_CHECKING:
    from tests.cli.conftest import Shell, TextSources

WORDS = ("cat", "dog", "fox")


def pictures(folder: Path, count: int = 12, first: int = 0, words: tuple[str, ...] = WORDS) -> Path:
    """Text pictures, a folder for each word."""
    for word in words:
        drop_texts(folder, word, [f"{word} {number}" for number in range(first, first + count)])
    return folder


@pytest.fixture(name="data")
def _data(tmp_path: Path) -> Path:
    return pictures(tmp_path / "data")


@pytest.fixture(name="unseen")
def _unseen(tmp_path: Path) -> Path:
    return pictures(tmp_path / "unseen", 4, first=100)


def test_a_folder_becomes_a_classifier(
    shell: Shell, texts: TextSources, data: Path, unseen: Path, tmp_path: Path
) -> None:
    """One document has figures of all parts, what is wrong with the pictures and where the session is."""
    told = shell.ask("train", data, "--session", tmp_path / "s", "--test", unseen, "--validation", "0.25")

    assert told["labels"] == ["cat", "dog", "fox"]
    assert (told["training"]["count"], told["validation"]["count"], told["test"]["count"]) == (27, 9, 12)
    assert told["test"]["accuracy"] == 1.0
    assert told["test"]["per_class"]["cat"] == {"precision": 1.0, "recall": 1.0, "count": 4}
    assert (told["converged"], told["unreadable"], told["report"]) == (True, [], None)
    assert [one["kind"] for one in told["warnings"]] == ["small-pictures"]
    assert told["session"] == str(tmp_path / "s")
    assert texts.looks == 36 + 12


def test_a_label_of_nothing_is_unknown_in_a_session_too(
    shell: Shell, texts: TextSources, tmp_path: Path
) -> None:
    """`predict --session` reports what is answered with a background label as unknown, and names it."""
    data = pictures(tmp_path / "data", words=("cat", "background"))
    shell.ask("train", data, "--session", tmp_path / "s")
    answers = shell.ask("predict", data, "--session", tmp_path / "s")

    assert {(answer["label"], answer["unknown"]) for answer in answers} == {
        ("cat", False),
        ("background", True),
    }


def test_people_are_told_what_they_have_and_what_to_do_next(
    shell: Shell, texts: TextSources, data: Path, unseen: Path, tmp_path: Path
) -> None:
    """Accuracies, a table, advice, the next commands; files that cannot be read on standard error by name."""
    (data / "cat" / "broken.jpg").write_text("bad")
    (unseen / "dog" / "cut.jpg").write_text("bad")
    done = shell.run("train", data, "--session", tmp_path / "s", "--test", unseen)

    assert done.status == 0
    lines = done.err.splitlines()
    assert lines[0].startswith("looking at 37 pictures: ")
    assert lines[1:] == [
        f"{data / 'cat' / 'broken.jpg'}: this is not a picture",
        f"{unseen / 'dog' / 'cut.jpg'}: this is not a picture",
    ]
    assert "learned 3 labels from 36 pictures in" in done.out
    assert "training    100.0 % of 36 right" in done.out
    assert "test        100.0 % of 12 right" in done.out
    assert "by label, in test:" in done.out
    assert "pictures are smaller than the 224 x 224 pixels" in done.out
    for command in ("evaluate DIR --session", "export FILE.tflite --session", "versions import"):
        assert f"edge-agent {command} {tmp_path / 's'}" in done.out
    assert texts.looks == 37 + 13


def test_a_report_is_written_where_it_was_asked_for(
    shell: Shell, texts: TextSources, data: Path, unseen: Path, tmp_path: Path
) -> None:
    """One file about this session; where it cannot be written is said before anything is looked at."""
    for place in (tmp_path, tmp_path / "nowhere" / "r.html"):
        done = shell.run("train", data, "--session", tmp_path / "s", "--report", place)
        assert (done.status, "a report is one file" in done.err) == (2, True)
    assert texts.looks == 0
    page = tmp_path / "r.html"
    told = shell.ask("train", data, "--session", tmp_path / "s", "--test", unseen, "--report", page)
    assert told["report"] == str(page)
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    done = shell.run("train", "--session", tmp_path / "s", "--resume", "--report", page)
    assert (done.status, f"report      {page}" in done.out) == (0, True)


def test_few_and_unbalanced_pictures_are_named(shell: Shell, texts: TextSources, tmp_path: Path) -> None:
    """The warnings count what could be read."""
    data = pictures(tmp_path / "data", 15, words=("cat",))
    pictures(data, 2, words=("dog",))
    (data / "dog" / "broken.jpg").write_text("bad")
    told = shell.ask("train", data, "--session", tmp_path / "s")

    warnings = {one["kind"]: one for one in told["warnings"]}
    assert "dog has 2" in warnings["few-pictures"]["text"]
    assert warnings["unbalanced"]["labels"] == ["dog"]
    assert texts.looks == 18


def test_a_picture_that_is_there_twice_is_named(
    shell: Shell, texts: TextSources, data: Path, tmp_path: Path
) -> None:
    """Learned twice, or under two labels: a warning for each, with the files."""
    (data / "cat" / "copy.jpg").write_bytes(next(iter(sorted((data / "cat").iterdir()))).read_bytes())
    (data / "dog" / "stray.jpg").write_bytes(next(iter(sorted((data / "fox").iterdir()))).read_bytes())
    told = shell.ask("train", data, "--session", tmp_path / "s")

    warnings = {one["kind"]: one for one in told["warnings"]}
    assert warnings["duplicates"]["labels"] == ["cat"]
    assert "copy.jpg" in warnings["duplicates"]["text"]
    assert warnings["two-labels"]["labels"] == ["dog", "fox"]
    assert texts.looks == 38


def test_labelled_files_validation_of_its_own_and_copies(
    shell: Shell, texts: TextSources, tmp_path: Path
) -> None:
    """`--files`, `--validation DIR`, `--augment` and a perceptron; only training pictures are copied."""
    for part, count in (("data", 5), ("held", 2)):
        (tmp_path / part).mkdir()
        for word in WORDS:
            for number in range(count):
                (tmp_path / part / f"{word}.{number}.jpg").write_text(f"{word} {part} {number}")
    told = shell.ask(
        "train", tmp_path / "data", "--files", "--session", tmp_path / "s", "--validation", tmp_path / "held",
        "--augment", "flip,crop", "--augment-seed", 5, "--head", "mlp:8,4", "--max-iterations", 3, "--seed", 2,
    )  # fmt: skip

    assert texts.looks == 15 * (1 + 3 + 4) + 6
    assert (told["head"], told["iterations"], told["converged"]) == ("network", 3, False)
    assert (told["training"]["count"], told["validation"]["count"]) == (15, 6)
    assert told["classifier"] == "perceptron (hidden_layer_sizes = [8, 4])"


def test_more_iterations_go_on_where_it_stopped(
    shell: Shell, texts: TextSources, data: Path, tmp_path: Path
) -> None:
    """What was not said again is as it was; nothing is looked at twice; people are told how to go on."""
    first = shell.run("train", data, "--session", tmp_path / "s", "--head", "mlp", "--max-iterations", 2)
    assert f"go on with: edge-agent train --session {tmp_path / 's'} --resume --max-iterations 4" in first.out
    looks = texts.looks
    told = shell.ask("train", data, "--session", tmp_path / "s", "--resume", "--max-iterations", 4)

    assert (told["iterations"], told["classifier"]) == (4, "perceptron (hidden_layer_sizes = [64])")
    assert texts.looks == looks


def test_more_iterations_than_usual_hold_also_when_it_is_gone_on_with(
    shell: Shell, texts: TextSources, data: Path, tmp_path: Path
) -> None:
    """A limit that was said in the beginning need not be said again, however high it is."""
    shell.ask("train", data, "--session", tmp_path / "s", "--max-iterations", 3000)
    told = shell.ask("train", "--session", tmp_path / "s", "--resume")

    assert told["max_iterations"] == 3000
    assert texts.looks == 36


def test_when_nothing_can_be_read_the_first_reason_is_told(
    shell: Shell, texts: TextSources, tmp_path: Path
) -> None:
    """One line with a file, why it was refused, and how many more there are."""
    for word in WORDS:
        drop_texts(tmp_path / "data", word, ["bad"])
    done = shell.run("train", tmp_path / "data", "--session", tmp_path / "s")

    assert (done.status, done.out, texts.looks) == (2, "", 3)
    assert str(tmp_path / "data" / "cat") in done.err
    assert "this is not a picture, and 2 more cannot be read" in done.err
    assert "\x1b" not in done.err


HOSTILE = (b"\xff\xfe.jpg", b"a\nb.jpg", b"\x1b]0;title\x07.jpg", b"<script>alert(1)<.jpg")


@pytest.mark.usefixtures("texts")
def test_names_of_files_are_any_bytes(shell: Shell, data: Path, tmp_path: Path) -> None:
    """Names that are no text or would steer a terminal: learned, kept over a resume, told in one line each."""
    for number, name in enumerate(HOSTILE):
        (data / "cat" / os.fsdecode(name)).write_text(f"cat {50 + number}")
        (data / "dog" / os.fsdecode(b"bad " + name)).write_text("bad")
    told = shell.ask("train", data, "--session", tmp_path / "s", "--report", tmp_path / "r.html")
    again = shell.run("train", data, "--session", tmp_path / "s", "--resume")
    asked = shell.run("predict", data / "cat", data / "dog", "--session", tmp_path / "s")
    judged = shell.run("evaluate", data, "--session", tmp_path / "s")

    assert told["training"]["count"] == 40
    assert {os.fsencode(Path(one["path"]).name) for one in told["unreadable"]} == {
        b"bad " + name for name in HOSTILE
    }
    assert again.status == judged.status == 0
    assert len(again.err.splitlines()) == len(judged.err.splitlines()) == 4
    assert len(asked.out.splitlines()) == 16 + 16
    assert "<script>alert" not in (tmp_path / "r.html").read_text(encoding="utf-8")
    for said in (again, asked, judged):
        assert (said.out + said.err).replace("\n", "").isprintable()


def test_an_existing_session_is_gone_on_with_only_when_asked(
    shell: Shell, texts: TextSources, data: Path, tmp_path: Path
) -> None:
    """Without --resume it is an error that names it; with it the folder alone is enough; an empty one begins."""
    (tmp_path / "s").mkdir()
    first = shell.ask("train", data, "--session", tmp_path / "s", "--resume")
    done = shell.run("train", data, "--session", tmp_path / "s")
    assert (done.status, done.out) == (2, "")
    assert "--resume" in done.err
    again = shell.ask("train", "--session", tmp_path / "s", "--resume")

    assert {**again, "seconds": 0} == {**first, "seconds": 0}
    assert texts.looks == 36


@pytest.mark.parametrize("text", ["", "--json"])
def test_changed_pictures_are_refused_unless_accepted(
    shell: Shell, texts: TextSources, data: Path, tmp_path: Path, text: str
) -> None:
    """The error names the way; then only what is new is looked at."""
    shell.ask("train", data, "--session", tmp_path / "s")
    drop_texts(data, "cat", ["cat 50"])
    command = ("train", data, "--session", tmp_path / "s", "--resume", *filter(None, [text]))
    done = shell.run(*command)
    assert (done.status, done.out, len(done.err.splitlines())) == (2, "", 1)
    assert "1 added" in done.err
    assert "--accept-changes" in done.err
    looks = texts.looks
    assert shell.run(*command, "--accept-changes").status == 0
    assert texts.looks == looks + 1


def test_a_file_that_goes_before_resuming_from_the_folder_alone(
    shell: Shell, texts: TextSources, data: Path, tmp_path: Path
) -> None:
    """It is an error that names the file and the option, and accepted it is done without."""
    shell.ask("train", data, "--session", tmp_path / "s")
    (data / "cat" / "cat-3.jpg").unlink()
    done = shell.run("train", "--session", tmp_path / "s", "--resume")
    assert (done.status, "cat-3.jpg" in done.err, "--accept-changes" in done.err) == (2, True, True)
    told = shell.ask("train", "--session", tmp_path / "s", "--resume", "--accept-changes")
    assert told["training"]["count"] == 35
    assert texts.looks == 36


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("no-such",), "no-such"),
        (("data", "--head", "forest"), "there is no such head; there are auto, logistic"),
        (("data", "--head", "mlp:0"), "whole numbers above 0"),
        (("data", "--head", "mlp:a"), "whole numbers above 0"),
        (("data", "--validation", "1"), "above 0 and below 1"),
        (("data", "--validation", "nowhere"), "neither auto, none, a share"),
        (("data", "--augment", "flip,melt"), "there is no augmentation 'melt'"),
        (("data", "--extractor", "x.onnx"), "is a .tflite"),
        (("data", "--extractor", "x.tflite"), "x.tflite: cannot be read"),
        (("data", "--extractor", "text.tflite"), "text.tflite: has no card, text.json, and none can be made"),
        (("data", "--test", "nowhere"), "no such folder"),
        (("data", "--test", "data"), "among those to test with (36 such files)"),
        (("data", "--validation", "data"), "among those to validate by"),
        (("data", "--max-iterations", "0"), "--max-iterations"),
        (("one",), "two labels"),
        ((), "say which pictures"),
        (("--resume",), "s: there is no training session in this folder"),
    ],
)
def test_mistakes_are_one_line(
    arguments: tuple[str, ...],
    words: str,
    shell: Shell,
    texts: TextSources,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Status 2, what is wrong and where; nothing was looked at for it in vain."""
    assert data == tmp_path / "data"
    pictures(tmp_path / "one", words=("cat",))
    (tmp_path / "text.tflite").write_text("no model")
    monkeypatch.chdir(tmp_path)
    done = shell.run("train", *arguments, "--session", "s")

    assert (done.status, done.out) == (2, "")
    assert words in done.err.splitlines()[-1]
    assert texts.looks in (0, 12)
    assert len([line for line in done.err.splitlines() if not line.startswith("looking")]) == 1


def test_checklist_115_an_extractor_without_a_card_is_given_one(
    shell: Shell,
    texts: TextSources,
    data: Path,
    testdata: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Where its graph tells how it is fed, whatever its metadata claim; what is written is said, once."""
    own = tmp_path / "own.tflite"
    shutil.copyfile(testdata / "models" / "tfex_mobilenet_v2_035_96_embedder_with_metadata.tflite", own)
    first = shell.run("train", data, "--session", tmp_path / "s", "--extractor", own)
    again = shell.run("train", data, "--session", tmp_path / "t", "--extractor", own.with_suffix(".json"))

    assert (first.status, again.status) == (0, 0)
    [said] = [one.getMessage() for one in caplog.records if "own.json" in one.getMessage()]
    assert "own.json is written from what it says of itself: 96 x 96 pixels, mean 0.0, std 255.0" in said
    assert json.loads(own.with_suffix(".json").read_text())["n_features"] == 1280
    assert texts.looks == 72


def test_a_folder_with_other_things_is_no_session(
    shell: Shell, texts: TextSources, data: Path, tmp_path: Path
) -> None:
    """A session is not scattered among somebody's files, nor put where a file is."""
    (tmp_path / "home-of-others").mkdir()
    (tmp_path / "home-of-others" / "letter.txt").write_text("dear")
    for place in (tmp_path / "home-of-others", tmp_path / "home-of-others" / "letter.txt"):
        done = shell.run("train", data, "--session", place)
        assert (done.status, len(done.err.splitlines())) == (2, 1)
    assert texts.looks == 0


def test_another_parameter_than_in_the_beginning_is_named(
    shell: Shell, texts: TextSources, data: Path, tmp_path: Path
) -> None:
    """Only more iterations can be asked for; what else is said must be what was said."""
    shell.ask("train", data, "--session", tmp_path / "s", "--seed", 1)
    done = shell.run("train", data, "--session", tmp_path / "s", "--resume", "--seed", 2)
    assert (done.status, done.err.startswith("edge-agent: seed was 1")) == (2, True)
    assert shell.run("train", data, "--session", tmp_path / "s", "--resume", "--seed", 1).status == 0
    assert texts.looks == 36


def test_an_interruption_says_how_to_go_on(
    shell: Shell, texts: TextSources, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the middle of the pictures: status 130, one line, and the rest is done later."""
    heard = threading.Event()
    cancel = MLJob.cancel

    def cancelled(job: MLJob[Any]) -> None:
        cancel(job)
        heard.set()

    def interrupt(number: int) -> None:
        if number == 20:
            signal.raise_signal(signal.SIGINT)
            heard.wait(10)

    monkeypatch.setattr(MLJob, "cancel", cancelled)
    texts.before_look = interrupt
    # Whoever started the tests in the background may have them ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        done = shell.run("train", data, "--session", tmp_path / "s")
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard.is_set()
    assert done.status == 130
    assert done.err.splitlines()[-1] == (
        "edge-agent: interrupted; nothing that was done is lost;"
        f" go on with: edge-agent train --session {tmp_path / 's'} --resume"
    )
    assert 20 <= texts.looks < 36
    texts.before_look = lambda _number: None
    told = shell.ask("train", "--session", tmp_path / "s", "--resume")
    assert told["training"]["count"] == 36
    assert texts.looks <= 37


def test_what_a_session_made_is_judged_like_a_version(
    shell: Shell, texts: TextSources, data: Path, unseen: Path, tmp_path: Path
) -> None:
    """`evaluate --session` has the same keys as for a version, and no number."""
    (unseen / "cat" / "broken.jpg").write_text("bad")
    shell.ask("train", data, "--session", tmp_path / "s")
    told = shell.ask("evaluate", unseen, "--session", tmp_path / "s")

    assert set(told) == {
        "accuracy", "classification_error", "count", "confusion", "per_class", "version", "unreadable",
    }  # fmt: skip
    assert (told["accuracy"], told["count"], told["version"]) == (1.0, 12, None)
    assert [Path(one["path"]).name for one in told["unreadable"]] == ["broken.jpg"]
    assert shell.run("evaluate", unseen, "--session", tmp_path / "s").out.startswith(
        f"{tmp_path / 's'}: 100.0 % of 12 pictures right"
    )
    assert texts.looks == 36 + 2 * 13


def test_checklist_155_new_pictures_are_classified_with_confidences(
    shell: Shell, texts: TextSources, data: Path, unseen: Path, tmp_path: Path
) -> None:
    """The preview: each picture with its probabilities, best first; what cannot be read says why."""
    shell.ask("train", data, "--session", tmp_path / "s")
    (unseen / "fox" / "zzz.jpg").write_text("bad")
    done = shell.run("predict", unseen, tmp_path / "gone.jpg", "--session", tmp_path / "s", "--json")

    answers = json.loads(done.out)
    assert done.status == 1
    assert [one["label"] for one in answers] == ["cat"] * 4 + ["dog"] * 4 + ["fox"] * 4 + [None, None]
    for one in answers[:12]:
        shares = list(one["probabilities"].values())
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) == pytest.approx(1.0)
        assert one["probability"] == shares[0]
        assert one["version"] is None
    assert (answers[12]["error"], answers[13]["probabilities"]) == ("this is not a picture", {})
    lines = shell.run("predict", unseen, "--session", tmp_path / "s", "--top", 2).out.splitlines()
    assert all(line.count("%") == 2 for line in lines[:12])
    assert texts.looks == 36 + 2 * 13


@pytest.mark.parametrize("command", [("predict", "data"), ("evaluate", "data"), ("export", "x.tflite")])
def test_what_has_not_been_trained_cannot_be_asked(
    command: tuple[str, ...],
    shell: Shell,
    texts: TextSources,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No session, one that has learned nothing, one that stopped half way, and both at once: one line each."""
    monkeypatch.chdir(data.parent)
    done = shell.run(*command, "--session", "none")
    assert (done.status, "no training session in this folder" in done.err) == (2, True)
    texts.before_look = _give_up_at(7)
    shell.run("train", "data", "--session", "s")
    done = shell.run(*command, "--session", "s")
    assert (done.status, "nothing has been learned yet" in done.err) == (2, True)
    texts.before_look = lambda _number: None
    shell.ask("train", "data", "--session", "half", "--head", "mlp", "--max-iterations", 2)
    facts = tmp_path / "half" / "session.json"
    facts.write_text(facts.read_text().replace('"max_iterations":2', '"max_iterations":3'))
    done = shell.run(*command, "--session", "half")
    assert (done.status, "edge-agent train --session half --resume" in done.err) == (2, True)
    done = shell.run(*command, "--session", "half", "--version", 1)
    assert (done.status, "say one of them" in done.err) == (2, True)


def _give_up_at(number: int) -> Any:
    def look(count: int) -> None:
        if count == number:
            raise MLCreateError(MLCreateErrorCode.GENERIC, "the lamp went out")

    return look


def test_another_extractor_than_in_training_is_refused(
    shell: Shell, texts: TextSources, data: Path, unseen: Path, tmp_path: Path
) -> None:
    """Its features mean nothing to what was learned."""
    shell.ask("train", data, "--session", tmp_path / "s")
    texts.fingerprint = "fake:2"
    done = shell.run("evaluate", unseen, "--session", tmp_path / "s")
    assert (done.status, "'fake:2'" in done.err) == (2, True)
    done = shell.run("export", tmp_path / "x.tflite", "--session", tmp_path / "s")
    assert (done.status, "which is not here any more" in done.err) == (1, True)


def test_checklist_128_135_a_terminal_shows_a_bar_and_a_pipe_does_not(tmp_path: Path) -> None:
    """Files, then iterations with accuracies, on a terminal; standard output is the same without one."""
    data = tmp_path / "data"
    write_pictures(data, 12, seed=1, labels=["leaf", "mug"])
    command = [sys.executable, "-m", "edge_agent.cli", "train", str(data), "--validation", "0.25"]
    command += ["--head", "logistic", "--session"]
    screen, terminal = pty.openpty()
    with subprocess.Popen(
        [*command, str(tmp_path / "seen")], stdout=subprocess.PIPE, stderr=terminal,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    ) as child:  # fmt: skip
        os.close(terminal)
        shown = b""
        try:
            while part := os.read(screen, 65536):
                shown += part
        except OSError:  # the end of a terminal that nobody holds any more
            pass
        finally:
            os.close(screen)
        assert child.stdout is not None
        out = child.stdout.read().decode()
        assert child.wait() == 0, shown
    text = shown.decode()
    assert "looking at pictures" in text
    assert "24/24" in text or "/24" in text
    assert "learning" in text
    assert "looking at 24 pictures: about" in text
    piped = subprocess.run([*command, str(tmp_path / "piped")], capture_output=True, text=True, check=True)
    assert "━" not in piped.stderr + piped.stdout
    assert piped.stderr.startswith("looking at 24 pictures: about")
    assert _without_time(out).replace("seen", "piped") == _without_time(piped.stdout)


def _without_time(text: str) -> str:
    return "\n".join(text.splitlines()[1:])


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_killed_command_goes_on_to_the_same_classifier(tmp_path: Path) -> None:
    """`kill -9` while it looks at pictures and while it learns, then --resume: the head's bits are the same."""
    data = tmp_path / "data"
    write_pictures(data, 8, seed=3, labels=["leaf", "mug"])
    command = [sys.executable, "-m", "edge_agent.cli", "train", str(data), "--head", "mlp:16"]
    command += ["--max-iterations", "40", "--augment", "flip", "--json", "--session"]

    def killed_at(folder: Path, wanted: str) -> None:
        """Run until a checkpoint of this kind is on disk, then kill."""
        with subprocess.Popen(
            [*command, str(folder), "--resume"], stdout=subprocess.DEVNULL, start_new_session=True
        ) as child:
            while not any(folder.glob(f"checkpoints/{wanted}-*")):
                assert child.poll() is None, "it was too quick to be killed"
            os.killpg(child.pid, signal.SIGKILL)
            assert child.wait() == -signal.SIGKILL

    whole = subprocess.run([*command, str(tmp_path / "whole")], capture_output=True, check=True)
    killed_at(tmp_path / "s", "extraction")
    killed_at(tmp_path / "s", "training")
    rest = subprocess.run([*command, str(tmp_path / "s"), "--resume"], capture_output=True, check=True)

    one, other = json.loads(whole.stdout), json.loads(rest.stdout)
    ignored = {"seconds": 0, "session": ""}
    assert {**one, **ignored} == {**other, **ignored}
    heads = [CheckpointFolder(tmp_path / name).all()[-1].url for name in ("whole", "s")]
    arrays = [next(folder.rglob("head.npz")).read_bytes() for folder in heads]
    assert arrays[0] == arrays[1]

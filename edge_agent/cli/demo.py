"""This is where a newcomer sees the main job done: `demo`."""

from __future__ import annotations

import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click

from edge_agent.agent.delivery import deliver
from edge_agent.agent.evaluation import Evaluation
from edge_agent.cli.output import judged, percent, print_table, progress, warn_in_lines
from edge_agent.cli.predict import classify, labelled_pictures
from edge_agent.cli.settings import Settings, expanded
from edge_agent.errors import EdgeAgentError, UserError
from edge_agent.hookspecs import Decision, hookimpl
from edge_agent.ml.update import TaskStateChange, TrainingEvent
from edge_agent.store.registry import Version
from edge_agent.store.samples import Sample

LEARNED_PER_LABEL = 12
UNSEEN_PER_LABEL = 4
TOLD_STATES = ("completed", "failed", "cancelled")


@click.command()
@click.option("--keep", metavar="DIR", help="Keep the state directory and the pictures here to go on with.")
def demo(keep: str | None) -> None:
    """Learn five things from drawn pictures and recognise pictures it has not seen."""
    warn_in_lines()
    if keep:
        folder = expanded(keep).absolute()
        _demo(folder)
        print(f"\nEverything is in {folder}. What to try next:")
        _suggest(folder)
        return
    folder = Path(tempfile.mkdtemp(prefix="edge-agent-demo-"))
    try:
        _demo(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("\nRun it again and keep everything to go on with pictures of your own:")
    print(f"  {_program()} demo --keep my-agent")


def _suggest(folder: Path) -> None:
    command = f"{_program()} --home {shlex.quote(str(folder / 'home'))}"
    picture = shlex.quote(str(next(iter(sorted((folder / "unseen").glob("*/*"))))))
    print(f"  {command} predict {picture}")
    print(f"  {command} status")
    print(f"  {command} run            # the daemon; leave it running, and in a second terminal:")
    print(f"  {command} add LABEL YOUR-PICTURES...")


def _program() -> str:
    """What to type to get this program: its name, or its path when the name alone does not find it."""
    if shutil.which("edge-agent"):
        return "edge-agent"
    path = Path(sys.executable).with_name("edge-agent")
    near = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return shlex.quote(str(near))


def _demo(folder: Path) -> None:
    from edge_agent.cli.pictures import write_pictures

    started = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "home").exists():
        raise UserError(f"{folder} holds a demo already; choose another folder")
    drawn = write_pictures(folder / "pictures", per_label=LEARNED_PER_LABEL, seed=1)
    write_pictures(folder / "unseen", per_label=UNSEEN_PER_LABEL, seed=2)
    *known, new = drawn
    settings = Settings(str(folder / "home"))
    settings.home.mkdir(mode=0o700)

    print(f"1. Show it {LEARNED_PER_LABEL} pictures of each of four things: {', '.join(known)}")
    _learn(settings, {label: drawn[label] for label in known})

    print(f"2. Ask it about {_a(new)}, which it has never seen")
    _ask(
        settings,
        folder,
        [(path, new) for path, label in labelled_pictures(folder / "unseen") if label == new][:2],
    )

    print(f"3. Show it {LEARNED_PER_LABEL} pictures of that")
    narrator = _learn(settings, {new: drawn[new]})

    truth = labelled_pictures(folder / "unseen")
    print(f"4. Ask it about {len(truth)} pictures it has never seen")
    right = _ask(settings, folder, truth)
    seconds = time.monotonic() - started
    print(f"\n{right} of {len(truth)} unseen pictures right, {seconds:.1f} s from nothing to here.")
    if narrator.published is None:
        raise EdgeAgentError("no version was published; see the lines above")


def _learn(settings: Settings, pictures: dict[str, list[Path]]) -> Narrator:
    """Drop pictures and let the agent take them in, learn, judge and publish."""
    for label, paths in pictures.items():
        deliver(settings.drop_folder, label, paths)
    begin = time.monotonic()
    narrator = Narrator()
    agent = settings.agent(extra=[("cli-narrator", narrator)])
    agent.open()
    try:
        with progress("   taking in", sum(map(len, pictures.values()))) as advance:
            narrator.advance = advance
            agent.start()
            agent.run_until_idle()
    finally:
        agent.close()
    _say(f"{time.monotonic() - begin:.1f} s, most of it waiting until the files were still")
    return narrator


def _ask(settings: Settings, folder: Path, truth: list[tuple[Path, str]]) -> int:
    """Classify pictures and print the answers; returns how many were right."""
    answers = classify(settings, [path for path, _ in truth], top=1, version=None)
    rows = []
    for (path, label), answer in zip(truth, answers, strict=True):
        said = f"unknown, nearest {answer['label']}" if answer["unknown"] else answer["label"]
        wrong = "" if answer["label"] == label else f"it is {_a(label)}"
        rows.append(("  " + str(path.relative_to(folder)), said, percent(answer["probability"]), wrong))
    print_table(("  picture", "answer", "probability", ""), rows)
    return sum(answer["label"] == label for (_, label), answer in zip(truth, answers, strict=True))


def _a(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


class Narrator:
    """Says on standard output what the agent tells its plugins."""

    def __init__(self) -> None:
        self.advance: Callable[[int], None] = lambda _count: None
        self.published: Version | None = None

    @hookimpl
    def sample_ingested(self, sample: Sample) -> None:  # noqa: ARG002  # only counted
        """Move the bar."""
        self.advance(1)

    @hookimpl
    def task_state_changed(self, change: TaskStateChange) -> None:
        """Say the end of a task; the states in between change with every event."""
        if change.state in TOLD_STATES:
            _say(f"update task {change.state}")

    @hookimpl
    def training_begin(self, event: TrainingEvent) -> None:  # noqa: ARG002  # the metrics are empty
        """Say it."""
        _say("training_begin")

    @hookimpl
    def epoch_end(self, event: TrainingEvent) -> None:
        """Say it, with the loss when the head has one."""
        loss = event.metrics.get("loss_value")
        _say("epoch_end" + (f": loss {loss:.4f}" if isinstance(loss, float) else ""))

    @hookimpl
    def training_end(self, event: TrainingEvent) -> None:
        """Say it."""
        _say(f"training_end: {event.state}")

    @hookimpl
    def candidate_evaluated(self, evaluation: Evaluation, decision: Decision) -> None:
        """Say how the candidate did, what the gate decided, and why."""
        _say(f"candidate: {judged(evaluation.candidate.accuracy, evaluation.n_held_out)}")
        _say(f"{'accepted' if decision.answer else 'refused'}: {decision.reason}")

    @hookimpl
    def version_published(self, version: Version) -> None:
        """Say it."""
        self.published = version
        _say(f"version {version.number} published: knows {', '.join(version.labels)}")


def _say(text: str) -> None:
    # print, not click.echo: a bar that is shown moves aside for it.
    print(f"   {text}")

"""This is where a newcomer sees the main job done: `demo`."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click

from edge_agent.agent.delivery import deliver
from edge_agent.agent.evaluation import Evaluation
from edge_agent.cli.output import percent, print_table, progress, warn_in_lines
from edge_agent.cli.predict import classify, labelled_pictures
from edge_agent.cli.settings import Settings, expanded
from edge_agent.errors import EdgeAgentError, UserError
from edge_agent.hookspecs import Decision, hookimpl
from edge_agent.ml.update import TaskStateChange, TrainingEvent
from edge_agent.store.registry import Version
from edge_agent.store.samples import Sample

LEARNED_PER_LABEL = 12
UNSEEN_PER_LABEL = 4


@click.command()
@click.option("--keep", metavar="DIR", help="Keep the state directory and the pictures here to go on with.")
def demo(keep: str | None) -> None:
    """Learn five things from drawn pictures, publish a version and recognise pictures it has not seen."""
    warn_in_lines()
    if keep:
        folder = expanded(keep).absolute()
        _demo(folder)
        click.echo(f"\nEverything is in {folder}. What to try next:")
        _suggest(folder)
        return
    folder = Path(tempfile.mkdtemp(prefix="edge-agent-demo-"))
    try:
        _demo(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    click.echo("\nWhat to try next: keep what it learned and go on with pictures of your own:")
    click.echo("  edge-agent demo --keep my-agent")
    _suggest(Path("my-agent"))


def _suggest(folder: Path) -> None:
    home = folder / "home"
    click.echo(f"  edge-agent --home {home} run                     # the daemon; leave it running")
    click.echo(f"  edge-agent --home {home} add spoon spoon*.jpg    # show it something new")
    click.echo(f"  edge-agent --home {home} predict picture.jpg")
    click.echo(f"  edge-agent --home {home} status")


def _demo(folder: Path) -> None:
    from edge_agent.cli.pictures import write_pictures

    started = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "home").exists():
        raise UserError(f"{folder} holds a demo already; choose another folder")
    click.echo("1. Drawing pictures")
    learned = write_pictures(folder / "pictures", per_label=LEARNED_PER_LABEL, seed=1)
    write_pictures(folder / "unseen", per_label=UNSEEN_PER_LABEL, seed=2)
    settings = Settings(str(folder / "home"))
    settings.home.mkdir(mode=0o700)
    click.echo(
        f"2. Dropping {LEARNED_PER_LABEL} pictures of each of {len(learned)} things into {settings.drop_folder}"
    )
    for label, paths in learned.items():
        deliver(settings.drop_folder, label, paths)
    total = sum(map(len, learned.values()))
    click.echo("3. Taking them in, learning, judging, publishing")
    narrator = Narrator()
    agent = settings.agent(extra=[("cli-narrator", narrator)])
    agent.open()
    try:
        with progress("   features", total) as advance:
            narrator.advance = advance
            agent.start()
            agent.run_until_idle()
    finally:
        agent.close()
    truth = labelled_pictures(folder / "unseen")
    click.echo(f"4. Recognising {len(truth)} pictures it has never seen")
    answers = classify(settings, [path for path, _ in truth], top=1, version=None)
    print_table(
        ("  picture", "answer", "probability", ""),
        [
            (
                "  " + str(path.relative_to(folder)),
                answer["label"],
                percent(answer["probability"]),
                "" if answer["label"] == label else f"it is a {label}",
            )
            for (path, label), answer in zip(truth, answers, strict=True)
        ],
    )
    right = sum(answer["label"] == label for (_, label), answer in zip(truth, answers, strict=True))
    seconds = time.monotonic() - started
    click.echo(f"\n{right} of {len(truth)} unseen pictures right, {seconds:.1f} s from nothing to here.")
    if not narrator.published:
        raise EdgeAgentError("no version was published; see the lines above")


class Narrator:
    """Says on standard output what the agent tells its plugins."""

    def __init__(self) -> None:
        self.advance: Callable[[int], None] = lambda _count: None
        self.published = False

    @hookimpl
    def sample_ingested(self, sample: Sample) -> None:  # noqa: ARG002  # only counted
        """Move the bar."""
        self.advance(1)

    @hookimpl
    def task_state_changed(self, change: TaskStateChange) -> None:
        """Say it."""
        _say(f"update task: {change.previous} -> {change.state}")

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
        """Say what the gate decided, and why."""
        _say(
            f"candidate: {percent(evaluation.candidate.accuracy)} of {evaluation.n_held_out} held-out samples right"
        )
        _say(f"{'accepted' if decision.answer else 'refused'}: {decision.reason}")

    @hookimpl
    def version_published(self, version: Version) -> None:
        """Say it."""
        self.published = True
        _say(f"version {version.number} published: {', '.join(version.labels)}")


def _say(text: str) -> None:
    click.echo(f"   {text}")

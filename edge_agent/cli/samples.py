"""This is where the data is looked after: `add`, `samples`, `forget`."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unicodedata import normalize

import click

from edge_agent.agent.home import Home
from edge_agent.agent.labels import clean_label
from edge_agent.cli.output import counted, json_option, moment, print_json, print_table
from edge_agent.cli.settings import Settings
from edge_agent.errors import NotFoundError, UserError

MOST_ROWS = 2**31


@click.command()
@click.argument("label")
@click.argument("files", nargs=-1, required=True)
@json_option
@click.pass_obj
def add(settings: Settings, label: str, files: tuple[str, ...], *, as_json: bool) -> None:
    """Put copies of pictures into the drop folder.

    Each of FILES appears under LABEL whole or not at all.
    """
    label = clean_label(label)
    if settings.home in settings.drop_folder.absolute().parents:
        Home(settings.home).make()
    from edge_agent.agent.delivery import deliver

    placed = deliver(settings.drop_folder, label, [Path(name) for name in files])
    if as_json:
        print_json({"label": label, "paths": [str(path) for path in placed]})
    else:
        click.echo(f"{counted(len(placed), 'file')} for {label!r} in {settings.drop_folder / label}")


@click.group()
def samples() -> None:
    """List or correct what the agent has learned from."""


@samples.command("list")
@click.option("--label", help="Only this label.")
@click.option("--limit", type=click.IntRange(1, MOST_ROWS), help="At most this many.")
@click.option("--offset", type=click.IntRange(0, MOST_ROWS), default=0, help="Leave out the first ones.")
@json_option
@click.pass_obj
def list_samples(
    settings: Settings, label: str | None, limit: int | None, offset: int, *, as_json: bool
) -> None:
    """Print the samples in the order they came."""
    rows = settings.ask("samples", {"label": label, "limit": limit, "offset": offset})
    if as_json:
        print_json(rows)
        return
    print_table(
        ("digest", "label", "added", "source"),
        [(row["digest"][:12], row["label"], moment(row["added"]), row["source"]) for row in rows],
    )


@samples.command()
@click.argument("digest")
@click.argument("label")
@json_option
@click.pass_obj
def relabel(settings: Settings, digest: str, label: str, *, as_json: bool) -> None:
    """Give a sample another label.

    The sample is the one whose digest begins with DIGEST; the next version learns it under LABEL.
    """
    answer = settings.ask("relabel", {"digest": digest, "label": label})
    if as_json:
        print_json(answer)
    else:
        click.echo(f"{answer['digest'][:12]}: {answer['previous']} is now {answer['label']}")


@click.command()
@click.option("--sample", "digest", metavar="DIGEST", help="The sample whose digest begins so.")
@click.option("--label", help="All samples of this label.")
@click.option("--verify", is_flag=True, help="Then search the state directory for what should be gone.")
@json_option
@click.pass_obj
def forget(settings: Settings, digest: str | None, label: str | None, *, verify: bool, as_json: bool) -> None:
    """Remove a sample, or all samples of a label, and what was learned from them.

    Picture, features and row go.  A version is made without them, and those that learned from them are removed.
    With --verify every file of the state directory is read afterwards; the exit status is 1 when something is left.
    What was forgotten before can be searched for again by its whole digest or its label.
    """
    if (digest is None) == (label is None):
        raise UserError("say what to forget: either --sample DIGEST or --label LABEL")
    from edge_agent.agent.traces import DIGEST_LETTERS, Trace, search

    # Not only labels: pictures may have been refused under a name that can be none.
    label = normalize("NFC", label) if label is not None else None
    given = {"digest": digest, "label": label}
    again = verify and (label is not None or len(digest or "") == DIGEST_LETTERS)
    with settings.session() as ask:
        try:
            traces = [Trace.of(**one) for one in ask("traces", given)] if verify else []
            answer = ask("forget", given)
        except NotFoundError:
            if not again:
                raise
            traces = [Trace(digest.lower())] if digest else []
            answer = {"forgotten": 0, "labels": [label] if label else [], "versions_left": []}
    if verify:
        found = search(settings.home, settings.drop_folder, traces, label)
        answer |= found.to_json()
    if as_json:
        print_json(answer)
    else:
        _tell(answer)
    if verify and not answer["gone"]:
        raise click.exceptions.Exit(1)


def _tell(answer: dict[str, Any]) -> None:
    click.echo(f"forgot {counted(answer['forgotten'], 'sample')} of {', '.join(answer['labels'])}")
    if answer.get("versions_removed"):
        numbers = ", ".join(map(str, answer["versions_removed"]))
        now = f"version {answer['version']} answers" if answer["version"] else "no version answers now"
        click.echo(f"versions that learned from it are removed: {numbers}; {now}")
    if answer["versions_left"]:
        numbers = ", ".join(map(str, answer["versions_left"]))
        click.echo(
            f"versions that learned from it and are still there: {numbers}, because {answer['because']}"
        )
    if "gone" not in answer:
        return
    searched = answer["searched"]
    sought = ", ".join(f"{counted(number, what)}" for what, number in searched["for"].items() if number)
    click.echo(
        f"searched {counted(searched['files'], 'file')} ({searched['bytes'] / 1e6:.1f} MB) for {sought or 'nothing'}"
    )
    for place in answer["found"]:
        click.echo(f"left: {place['path']}: {place['what']}")
    if answer["gone"]:
        click.echo("gone")

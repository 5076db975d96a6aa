"""This is where the command line begins: the group of commands and the exit status."""

from __future__ import annotations

import errno
import importlib
import itertools
import os
import sys
from typing import TYPE_CHECKING

import click

from edge_agent import __version__
from edge_agent.cli.output import complain, streams
from edge_agent.cli.settings import Settings
from edge_agent.errors import ConfigError, EdgeAgentError, MLCreateError, MLCreateErrorCode, UserError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS = {
    "init": ("setup", "Make a state directory, configuration and drop folder."),
    "config": ("setup", "Check the configuration or print an example."),
    "run": ("run", "Watch the drop folder, learn, and answer until told to stop."),
    "demo": ("demo", "Learn five things from drawn pictures and recognise pictures it has not seen."),
    "add": ("samples", "Put copies of pictures into the drop folder."),
    "samples": ("samples", "List or correct what the agent has learned from."),
    "forget": ("samples", "Remove a sample, or all samples of a label, and what was learned from them."),
    "update": ("versions", "Take in what waits and run an update now."),
    "versions": ("versions", "List the published versions, newest first; or import one."),
    "rollback": ("versions", "Serve an older version again."),
    "train": ("train", "Train a classifier from the labelled pictures DATA/<label>/*."),
    "predict": ("predict", "Classify pictures: files, or all files below folders."),
    "evaluate": (
        "predict",
        "Measure a version, or what a session trained, on the labelled pictures DIR/<label>/*.",
    ),
    "export": (
        "export",
        "Write a version as one TFLite file that any program can run: picture in, probabilities out.",
    ),
    "backup": (
        "backup",
        "Write samples, pictures, versions and the configuration into FILE, also while an agent runs.",
    ),
    "restore": ("backup", "Bring back what `edge-agent backup` wrote into FILE; no agent may run."),
    "status": ("status", "Show what is going on and what went wrong."),
    "review": ("review", "Say which pictures without a label to label first."),
    "doctor": ("doctor", "Say what is wrong with the set-up or the pictures, and what to do."),
    "extractors": (
        "extractors",
        "List, add, inspect, compare and choose what turns a picture into features.",
    ),
    "delegates": (
        "delegates",
        "Show what may look at pictures: the CPU, and the accelerators that plugins offer.",
    ),
    "plugins": ("plugins", "List the plugins and the hooks each implements, or begin a new one."),
}
"""The module and the line of help of each command; modules are imported only when they are used, so that `--help` is
quick."""


USERS_ERRORS = frozenset(
    {errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.ELOOP, errno.EINVAL}
)
"""What the system says of a path that a person should have written differently."""

USERS_CREATE_ERRORS = frozenset(
    {
        MLCreateErrorCode.INCOMPATIBLE_PARAMETERS,
        MLCreateErrorCode.MODIFIED_TRAINING_DATA,
        MLCreateErrorCode.IO,
        MLCreateErrorCode.TYPE,
    }
)
"""What a person mends who trains a classifier: other parameters, other pictures, another folder."""

GLOBAL_OPTIONS = ("--home", "--config")


class LazyGroup(click.Group):
    """The built-in commands by name, and those that plugins register."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every name, built-in ones first in the order a newcomer meets them."""
        return [str(command.name) for command in self._listed(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a built-in command, or ask the plugins."""
        if cmd_name not in COMMANDS:
            others = _plugin_commands(ctx)
            if cmd_name not in others:
                from difflib import get_close_matches

                near = get_close_matches(cmd_name, [*COMMANDS, *others], n=1)
                hint = f", did you mean {near[0]!r}?" if near else ""
                raise UserError(f"there is no command {cmd_name!r}{hint} (see edge-agent --help)")
            return others[cmd_name]
        module, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(f"{__name__}.{module}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in the help, from what is known of the built-in commands without importing them."""
        commands = [command for command in self._listed(ctx) if not command.hidden]
        limit = formatter.width - 6 - max(len(str(command.name)) for command in commands)
        with formatter.section("Commands"):
            formatter.write_dl([(str(one.name), one.get_short_help_str(limit)) for one in commands])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names of commands that begin so, with their help; and what every command completes."""
        from click.shell_completion import CompletionItem

        return [
            CompletionItem(command.name, help=command.get_short_help_str())
            for command in self._listed(ctx)
            if not command.hidden and str(command.name).startswith(incomplete)
        ] + click.Command.shell_complete(self, ctx, incomplete)

    def _listed(self, ctx: click.Context) -> list[click.Command]:
        """Name and help of every command: of built-in ones no more, those of plugins as they are."""
        built_in = [click.Command(name, help=line) for name, (_, line) in COMMANDS.items()]
        try:
            return built_in + sorted(_plugin_commands(ctx).values(), key=lambda command: str(command.name))
        except EdgeAgentError as error:  # who asks for help must get it
            complain(f"commands of plugins are not shown: {error}")
            return built_in


def _plugin_commands(ctx: click.Context) -> dict[str, click.Command]:
    settings = ctx.ensure_object(Settings)
    return settings.plugin_commands(taken=COMMANDS)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edge-agent")
@click.option("--home", envvar="EDGE_AGENT_HOME", metavar="DIR", help="State directory (or EDGE_AGENT_HOME).")
@click.option(
    "--config", "config_file", metavar="FILE", help="Configuration; without it HOME/edge-agent.toml if there."
)
@click.pass_context
def edge_agent(ctx: click.Context, home: str | None, config_file: str | None) -> None:
    """A small board learns what its owner shows it, by itself, on the device."""
    ctx.obj = Settings(home, config_file)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; 2 is a user's mistake, 1 a failure, 130 an interruption."""
    sys.exit(run_command(sys.argv[1:] if arguments is None else arguments))


def globals_first(arguments: list[str]) -> list[str]:
    """Move `--home` and `--config` with their values to the front, so that they may stand after the command too."""
    first: list[str] = []
    rest: list[str] = []
    left = iter(arguments)
    for argument in left:
        if argument == "--":
            rest += [argument, *left]
        elif argument in GLOBAL_OPTIONS:
            first += [argument, *itertools.islice(left, 1)]
        elif argument.startswith(tuple(f"{option}=" for option in GLOBAL_OPTIONS)):
            first.append(argument)
        else:
            rest.append(argument)
    return first + rest


def run_command(arguments: list[str]) -> int:
    """Run one command and return its exit status; an error is one line on standard error."""
    try:
        with streams(as_json="--json" in arguments):
            return _run_command(arguments)
    except BrokenPipeError:
        # The reader of a pipe went away, as `head` does; nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run_command(arguments: list[str]) -> int:
    try:
        result = edge_agent.main(args=globals_first(arguments), prog_name="edge-agent", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as help_wanted:
        print(help_wanted.format_message())
        return 2
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.Abort:
        return complain("interrupted", status=130)
    except KeyboardInterrupt:
        return complain("interrupted", status=130)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f" (see {context.command_path} --help)" if context is not None else ""
        return complain(f"{error.format_message().rstrip('.')}{hint}", status=2)
    except ConfigError as error:
        for problem in error.problems:
            complain(problem)
        return 2
    except UserError as error:
        return complain(str(error), status=2)
    except MLCreateError as error:
        return complain(str(error), status=2 if error.code in USERS_CREATE_ERRORS else 1)
    except EdgeAgentError as error:
        return complain(str(error), status=1)
    except BrokenPipeError:
        raise
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return complain(f"{where}{error.strerror or error}", status=2 if error.errno in USERS_ERRORS else 1)
    except Exception as error:  # `main`: a defect ends in one line, not in a page of code
        if os.environ.get("EDGE_AGENT_DEBUG"):
            raise
        return complain(
            f"unexpected {type(error).__name__}: {error} (set EDGE_AGENT_DEBUG=1 for details)", status=1
        )
    return result if isinstance(result, int) else 0

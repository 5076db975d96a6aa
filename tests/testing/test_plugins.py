"""`check_plugin`: one message that names the plugin, the hook and what was expected."""

from __future__ import annotations

import inspect
import types
from dataclasses import dataclass

import click
import msgspec
import pytest

from edge_agent import Decision, hookimpl
from edge_agent.errors import ConfigError, PluginError
from edge_agent.ml.heads.knn import KNearestNeighborsHead
from edge_agent.testing import Recorder, check_plugin
from edge_agent.testing.plugins import plugin_name


class Settings(msgspec.Struct):
    """The table of `Careful`."""

    least: int = 5
    label: str = "cat"


class Careful:
    """A plugin that keeps the contract."""

    Settings = Settings

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @hookimpl
    def ready_to_update(self, situation):
        if situation.new_samples < self.settings.least:
            return Decision(answer=False, reason="too few")
        return None

    @hookimpl
    def agent_stopping(self, reason):
        assert reason


def test_a_plugin_that_keeps_the_contract_is_reported():
    """What the agent would say of it: its name, where it is and its hooks."""
    report = check_plugin(Careful, {"least": 9}, name="careful")

    assert (report.name, report.where, report.built_in) == ("careful", __name__, False)
    assert report.hooks == ("ready_to_update", "agent_stopping")
    assert check_plugin(Recorder()).hooks[0] == "agent_started"


class Aside:
    """A plugin whose functions have names of their own, and of which one answers what is never read."""

    @hookimpl(specname="version_published")
    def light_up(self, version):
        assert version

    @hookimpl(specname="version_rolled_back")
    def go_dark(self):
        return "dark"


def test_a_hook_may_have_a_function_of_another_name():
    """It is called as the agent would call it."""
    with pytest.raises(
        PluginError, match=r"plugin 'aside': version_rolled_back: expected None, .* got 'dark'"
    ):
        check_plugin(Aside, name="aside")


def test_all_problems_of_settings_have_their_path():
    """They are those that the owner would be told."""
    with pytest.raises(ConfigError) as caught:
        check_plugin(Careful, {"leest": 1, "label": 3}, name="careful")

    assert list(caught.value.problems) == [
        "plugins.careful.leest: unknown key, did you mean 'least'?",
        "plugins.careful.label: expected `str`, got `int`",
    ]


def test_an_object_takes_no_settings():
    """It was made already."""
    with pytest.raises(ConfigError, match="made already"):
        check_plugin(Careful(Settings()), {"least": 1})


def answering(hook: str, arguments: str, answer: object) -> object:
    """A plugin with one hook that gives one answer."""

    def method(self, **facts):
        return answer(**facts) if callable(answer) else answer

    names = ["self", *arguments.split()]
    method.__signature__ = inspect.Signature(
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    )
    method.__name__ = hook
    return type("Wrong", (), {hook: hookimpl(method)})()


@pytest.mark.parametrize(
    ("hook", "arguments", "answer", "complaint"),
    [
        ("ready_to_updat", "", None, "there is no hook ready_to_updat, did you mean 'ready_to_update'?"),
        ("ready_to_update", "situatoin", None, "no argument 'situatoin', did you mean 'situation'?"),
        ("ready_to_update", "situation", True, "ready_to_update: expected Decision or None, got True"),
        ("accept_candidate", "", "yes", "accept_candidate: expected Decision or None, got 'yes'"),
        ("label_sample", "path", 7, "label_sample: expected str or None, got 7"),
        ("select_for_review", "pool", ["p8.jpg"], "select_for_review: TypeError: expected Suggestion"),
        ("version_published", "version", 3, "version_published: expected None, for what it answers"),
        ("epoch_end", "event", lambda event: event.loss, "epoch_end: AttributeError: .* 'loss'"),
        ("register_heads", "register", [], r"register_heads: expected calls of register\(\.\.\.\) and None"),
        ("register_heads", "register", lambda register: register(int), "register_heads: head .*int"),
        ("register_extractors", "register", lambda register: register("x"), "expected an ExtractorCard, got"),
        ("register_commands", "register", lambda register: register(print), "expected a click.Command"),
    ],
)
def test_one_message_names_plugin_hook_and_expectation(hook, arguments, answer, complaint):
    """A misspelled hook, a wrong argument, and every wrong kind of answer or registration."""
    with pytest.raises(PluginError, match=f"plugin 'wrong': .*{complaint}"):
        check_plugin(answering(hook, arguments, answer), name="wrong")


def test_a_command_that_is_taken_is_refused():
    """The names of the agent's own commands are not free."""
    with pytest.raises(PluginError, match="plugin 'wrong': register_commands: the name 'run' is taken"):
        check_plugin(
            answering("register_commands", "register", lambda register: register(click.Command("run"))),
            name="wrong",
        )


def test_a_head_is_held_to_all_checks():
    """Also to those that are not made when the agent starts."""

    class Stubborn(KNearestNeighborsHead):
        """Learns nothing after the first time."""

        name = "stubborn"

        def train(self, data, parameters):
            if self.classes_:
                return
            yield from super().train(data, parameters)

    with pytest.raises(PluginError, match="plugin 'wrong': register_heads: head Stubborn"):
        check_plugin(
            answering("register_heads", "register", lambda register: register(Stubborn)), name="wrong"
        )


def test_nothing_is_called_when_that_is_not_wanted():
    """A hook that needs its device can be checked without it."""
    broken = answering("ready_to_update", "", lambda: 1 / 0)

    assert check_plugin(broken, call=False).hooks == ("ready_to_update",)
    with pytest.raises(PluginError, match="ZeroDivisionError"):
        check_plugin(broken)


def test_a_plugin_has_the_name_of_its_package():
    """`edge_agent_x` is x, whichever module of it, with dashes for underscores."""
    module = types.ModuleType("edge_agent_night_light.places")

    @dataclass
    class Inside:
        """A class of that package."""

    Inside.__module__ = module.__name__
    assert {plugin_name(each) for each in (module, Inside, Inside())} == {"night-light"}

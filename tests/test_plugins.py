"""Loading plugins, asking them, telling them."""

from __future__ import annotations

import logging
import os
import sys
import threading

import pytest

from edge_agent.config import PluginsConfig
from edge_agent.errors import ConfigError, PluginError
from edge_agent.hookspecs import HOOK_NAMES, OBSERVATIONS, QUESTIONS, Hooks, hookimpl
from edge_agent.ml.update import TrainingEvent
from edge_agent.plugins import PluginReport, load_plugins, settings_problems, without_problems

PATIENCE = 10.0

LISTENER = """
seen = []

@hookimpl
def agent_stopping(reason):
    seen.append(reason)
"""

BROKEN_LISTENER = """
seen = []

@hookimpl
def agent_stopping(reason):
    seen.append(reason)
    raise ValueError("broken on purpose")
"""


class BuiltIn:
    """A built-in plugin that names pictures, and remembers on which thread it was told what."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int]] = []

    @hookimpl
    def label_sample(self, folder_label: str) -> str:
        """The folder says it."""
        return folder_label

    @hookimpl
    def agent_stopping(self, reason: str) -> None:
        """Remembers."""
        self.seen.append((reason, threading.get_ident()))


# ---------------------------------------------------------------------- what the contract says of itself


def test_kinds_of_hooks_are_told_apart():
    """The questions are the hooks whose first answer wins, and every hook is of exactly one kind."""
    marked = {name for name in HOOK_NAMES if getattr(Hooks, name).edge_agent_spec["firstresult"]}

    assert marked == set(QUESTIONS)
    registers = {name for name in HOOK_NAMES if name.startswith("register_")}
    assert len(HOOK_NAMES) == len(registers) + len(QUESTIONS) + len(OBSERVATIONS)


# ---------------------------------------------------------------------- loading


def test_module_is_a_plugin(guests):
    """A module with marked functions is loaded, and the report says what it is and which hooks it has."""
    entry = guests.add("x", LISTENER + "\n@hookimpl\ndef label_sample(path):\n    return None\n")

    host = guests.load()

    assert host.reports() == [
        PluginReport(
            name="x",
            version="",
            where=entry.value,
            hooks=("label_sample", "agent_stopping"),
            built_in=False,
        )
    ]


def test_installed_plugins_are_found(tmp_path, monkeypatch):
    """What an installed distribution offers in the group `edge_agent` is loaded, and its version is known."""
    info = tmp_path / "edge_agent_found-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: edge-agent-found\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("[edge_agent]\nfound = found_by_test\n")
    (tmp_path / "found_by_test.py").write_text("from edge_agent import hookimpl\n" + LISTENER)
    monkeypatch.syspath_prepend(str(tmp_path))

    host = load_plugins(PluginsConfig(), built_in=[])

    reports = {report.name: report for report in host.reports()}
    assert (reports["found"].version, reports["found"].where) == ("1.2", "found_by_test")
    host.close(PATIENCE)
    del sys.modules["found_by_test"]


def test_class_receives_its_settings(guests):
    """A class is made with its `Settings`, converted and with defaults filled in."""
    guests.add(
        "x",
        """
import msgspec

class Plugin:
    class Settings(msgspec.Struct, kw_only=True):
        url: str
        ports: tuple[int, ...] = (1883,)

    def __init__(self, settings):
        self.settings = settings

    @hookimpl
    def label_sample(self):
        return f"{self.settings.url} {sum(self.settings.ports)}"
""",
        "Plugin",
    )

    host = guests.load({"x": {"url": "there"}})

    assert host.label_sample("p.jpg", "cat") == "there 1883"


def test_class_without_settings_is_made_without_arguments(guests):
    """A class that declares no `Settings` is called with nothing."""
    guests.add(
        "x", "class Plugin:\n    @hookimpl\n    def label_sample(self):\n        return 'dog'\n", "Plugin"
    )

    assert guests.load().label_sample("p.jpg", "cat") == "dog"


def test_settings_may_be_a_dataclass(guests):
    """A class is made with it as with a struct, and its problems have the same paths."""
    guests.add(
        "x",
        """
from dataclasses import dataclass

@dataclass(frozen=True)
class Settings:
    name: str = "dog"

class Plugin:
    Settings = Settings

    def __init__(self, settings):
        self.settings = settings

    @hookimpl
    def label_sample(self):
        return self.settings.name
""",
        "Plugin",
    )

    assert guests.load().label_sample("p.jpg", "cat") == "dog"
    assert guests.load({"x": {"name": "fox"}}).label_sample("p.jpg", "cat") == "fox"
    with pytest.raises(ConfigError, match=r"plugins\.x\.name: expected `str`, got `int`"):
        guests.load({"x": {"name": 3}})


def test_problems_of_settings_are_told_without_raising(guests):
    """For a configuration that is wrong elsewhere, too; a broken plugin has a line of its own."""
    guests.add("x", LISTENER)
    assert settings_problems(PluginsConfig(), guests.entry_points) == []
    wrong = PluginsConfig(settings={"x": {"a": 1}})
    assert settings_problems(wrong, guests.entry_points) == ["plugins.x: this plugin takes no settings"]

    guests.add("bad", "import no_such_library_anywhere")
    (line,) = settings_problems(wrong, guests.entry_points)
    assert line.startswith("plugin 'bad': importing it: ModuleNotFoundError")


def test_plugins_without_problems_can_be_loaded_without_the_others(guests):
    """A plugin with a wrong table, and names that nobody has, are left out; the others stay as they were."""
    for name in ("good", "bad", "off"):
        guests.add(name, LISTENER)
    wrong = PluginsConfig(disabled=("off", "nobody"), settings={"bad": {"a": 1}, "none": {}})
    problems = settings_problems(wrong, guests.entry_points)
    assert len(problems) == 3

    sound, left_out = without_problems(wrong, problems, guests.entry_points)

    assert (sound, left_out) == (PluginsConfig(disabled=("bad", "off")), ["bad"])
    assert settings_problems(sound, guests.entry_points) == []


def test_registration_that_returns_something_is_refused(guests):
    """A list of things that nobody would ever look at is not lost in silence."""
    guests.add("x", "@hookimpl\ndef register_heads(register):\n    return [int]\n")

    with pytest.raises(
        PluginError, match=r"plugin 'x': register_heads: expected calls of register\(\.\.\.\)"
    ):
        guests.load().register_heads()


def test_all_problems_of_the_settings_at_once(guests):
    """Every problem of every plugin's table is in one `ConfigError`, each with the path of its key."""
    guests.add("plain", LISTENER)
    guests.add(
        "x",
        """
import msgspec

class Place(msgspec.Struct):
    port: int

class Plugin:
    class Settings(msgspec.Struct, kw_only=True):
        place: Place
        interval: float = 1.0
        name: str

    def __init__(self, settings):
        raise AssertionError("made with bad settings")

    @hookimpl
    def agent_stopping(self):
        pass
""",
        "Plugin",
    )

    with pytest.raises(ConfigError) as caught:
        guests.load(
            {"x": {"place": {"port": "one"}, "intervall": 2.0}, "plain": {"a": 1}, "z": {}}, disabled=["plan"]
        )

    assert list(caught.value.problems) == [
        "plugins.disabled: plan: no plugin of this name is installed, did you mean 'plain'?",
        "plugins.z: no plugin of this name is installed; known are plain, x",
        "plugins.x.place.port: expected `int`, got `str`",
        "plugins.x.intervall: unknown key, did you mean 'interval'?",
        "plugins.x.name: missing; this key has no default",
        "plugins.plain: this plugin takes no settings",
    ]


def test_settings_may_have_rules_of_their_own(guests):
    """What a `Settings` refuses after conversion, and what the class refuses, is a problem of its table."""
    source = """
import msgspec
from edge_agent.errors import ConfigError

class Settings(msgspec.Struct):
    low: int = 0

    def __post_init__(self):
        if self.low > 9:
            raise ValueError("low is too high")

class Plugin:
    Settings = Settings

    def __init__(self, settings):
        if settings.low == 1:
            raise ConfigError(["low: must not be 1 here"])

    @hookimpl
    def agent_stopping(self):
        pass
"""
    guests.add("a", source, "Plugin")
    guests.add("b", source, "Plugin")

    with pytest.raises(ConfigError) as caught:
        guests.load({"a": {"low": 10}, "b": {"low": 1}})

    assert list(caught.value.problems) == ["plugins.b.low: must not be 1 here", "plugins.a: low is too high"]


def test_disabled_plugin_is_not_even_imported(guests):
    """A disabled plugin may be broken and may keep its settings."""
    guests.add("x", "raise ImportError('no library')")

    host = guests.load({"x": {"a": 1}}, disabled=["x"])

    assert host.reports() == []


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        (
            "import no_such_library_anywhere",
            "ModuleNotFoundError: No module named 'no_such_library_anywhere'",
        ),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import os\nos._exit(3)", r"it would end the whole process, by os\._exit\(3\)"),
        ("class Panic(BaseException): pass\nraise Panic('in Rust')", "Panic: in Rust"),
        ("def f(:", "SyntaxError"),
    ],
)
def test_plugin_that_cannot_be_imported_stops_the_start(guests, source, cause):
    """The error names the plugin and the cause, whatever that is."""
    guests.add("good", LISTENER)
    guests.add("bad", source)

    with pytest.raises(PluginError, match=f"plugin 'bad': importing it: {cause}") as caught:
        guests.load()
    assert str(caught.value).endswith("; `disabled = ['bad']` in [plugins] leaves it out")
    assert os._exit.__module__ == "posix"


def test_plugin_that_hangs_while_it_is_imported_is_named(guests, caplog, monkeypatch):
    """Nobody can interrupt it; whoever reads the log knows which one it is, and how to start without it."""
    monkeypatch.setattr("edge_agent.plugins.PATIENCE_SECONDS", 0.01)
    guests.add(
        "slow",
        LISTENER
        + """
import logging, threading

class Heard(logging.Handler):
    event = threading.Event()

    def emit(self, record):
        self.event.set()

logger, handler = logging.getLogger("edge_agent.plugins"), Heard()
logger.addHandler(handler)
heard = handler.event.wait(60)
logger.removeHandler(handler)
""",
    )

    guests.load()

    assert guests.module("slow").heard
    assert (
        "plugin 'slow' is still being imported after 0 s; `disabled = ['slow']` in [plugins]" in caplog.text
    )


@pytest.mark.parametrize(
    ("source", "attribute", "complaint"),
    [
        ("@hookimpl\ndef agent_stoping(): pass", "", "no hook agent_stoping, did you mean 'agent_stopping'?"),
        (
            "@hookimpl\ndef agent_stopping(resaon): pass",
            "",
            "agent_stopping has no argument 'resaon', did you mean 'reason'?",
        ),
        ("@hookimpl\ndef agent_stopping(**facts): pass", "", r"agent_stopping takes \*\*facts; .* reason"),
        ("@hookimpl(wrapper=True)\ndef label_sample():\n    return (yield)", "", "label_sample is a wrapper"),
        ("@hookimpl\nasync def agent_stopping(): pass", "", "agent_stopping is a coroutine"),
        ("@hookimpl\ndef agent_stopping(): yield", "", "agent_stopping is a coroutine or a generator"),
        ("def agent_stopping(): pass", "", "agent_stopping is named like a hook; mark it"),
        ("x = 1", "", "it implements no hook"),
        ("x = 1", "x", "is 1; expected a module or a class"),
        (
            "class P:\n    Settings = dict",
            "P",
            "Settings is <class 'dict'>; expected a kind of msgspec.Struct or a dataclass",
        ),
        (
            "@hookimpl\ndef label_sample(picture): pass",
            "",
            "label_sample has no argument 'picture'; known are folder_label, path",
        ),
        (
            "class P:\n    @hookimpl\n    def agent_stopping(reason): pass",
            "P",
            "agent_stopping is a method whose first argument is 'reason'; expected self before it",
        ),
        ("class P:\n    def __init__(self): raise OSError('no port')", "P", "making it: OSError: no port"),
        ("class P:\n    def __init__(self, x): pass", "P", "making it: TypeError: "),
    ],
)
def test_plugin_that_keeps_no_contract_stops_the_start(guests, source, attribute, complaint):
    """The error names the plugin, the hook and what was expected."""
    guests.add("x", source, attribute)

    with pytest.raises(PluginError, match=f"plugin 'x': .*{complaint}"):
        guests.load()


def test_hook_of_a_later_agent_may_be_optional(guests):
    """A plugin may offer a hook that this agent does not have, if it says that it is optional."""
    guests.add("x", LISTENER + "\n@hookimpl(optionalhook=True)\ndef sunrise(colour): pass\n")

    assert guests.load().reports()[0].hooks == ("agent_stopping",)


def test_name_offered_twice_is_refused(guests):
    """Two distributions cannot both be the plugin x; the same offer seen twice is one plugin."""
    first = guests.add("x", LISTENER)
    guests.entry_points.append(first)
    assert len(guests.load().reports()) == 1
    second = guests.add("x", LISTENER)

    with pytest.raises(PluginError, match=f"'x': offered twice, by {first.value} and by {second.value}"):
        guests.load()


def test_name_of_a_built_in_plugin_is_refused(guests):
    """No guest takes the place of a built-in plugin by its name."""
    guests.add("default-gate", LISTENER)

    with pytest.raises(PluginError, match="this name belongs to a built-in plugin"):
        guests.load(built_in=[("default-gate", BuiltIn())])


def test_reports_list_guests_before_built_in_plugins(guests):
    """Guests by name, then what is built in."""
    guests.add("b", LISTENER)
    guests.add("a", LISTENER)

    reports = guests.load(built_in=[("a-built-in", BuiltIn())]).reports()

    assert [(report.name, report.built_in) for report in reports] == [
        ("a", False),
        ("b", False),
        ("a-built-in", True),
    ]
    assert reports[2].where == BuiltIn.__module__


# ---------------------------------------------------------------------- asking


def answering(answer: str, options: str = "") -> str:
    """The source of a guest that gives this answer."""
    return f"@hookimpl{options}\ndef label_sample():\n    return {answer}\n"


def test_first_answer_wins_in_alphabetical_order(guests):
    """Guests are asked by name, one that has no answer passes the question on, the built-in one is last."""
    built_in = [("built-in", BuiltIn())]
    guests.add("c", answering("'from c'"))
    guests.add("a", answering("None"))
    assert guests.load(built_in=built_in).label_sample("p.jpg", "cat") == "from c"

    guests.add("b", answering("'from b'"))

    assert guests.load(built_in=built_in).label_sample("p.jpg", "cat") == "from b"


def test_built_in_answer_comes_last(guests):
    """Also behind guests that ask to be last, and it is given when nobody else has one."""
    built_in = [("a-built-in", BuiltIn())]
    guests.add("b", answering("None"))
    assert guests.load(built_in=built_in).label_sample("p.jpg", "cat") == "cat"

    guests.add("x", answering("'last'", "(trylast=True)"))
    assert guests.load(built_in=built_in).label_sample("p.jpg", "cat") == "last"

    guests.add("z", answering("'first'", "(tryfirst=True)"))
    guests.add("y", answering("'second'"))
    assert guests.load(built_in=built_in).label_sample("p.jpg", "cat") == "first"


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ("7", "expected str or None, got 7"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("exit(4)", "SystemExit: 4"),
    ],
)
def test_wrong_answer_names_the_plugin(guests, answer, complaint):
    """A wrong kind of answer and an exception are a counted `PluginError`; nobody else is asked."""
    guests.add("x", answering(answer))
    host = guests.load(built_in=[("built-in", BuiltIn())])

    with pytest.raises(PluginError, match=f"plugin 'x': label_sample: {complaint}"):
        host.label_sample("p.jpg", "cat")

    assert host.reports()[0].errors == 1
    assert complaint in host.reports()[0].last_error


@pytest.mark.parametrize(
    "answer", ["True", "Decision(answer=1, reason='yes')", "Decision(answer=True, reason=1)"]
)
def test_decision_must_be_a_whole_one(guests, answer):
    """A bare bool, or a decision whose parts are of the wrong kind, is refused."""
    guests.add("x", f"@hookimpl\ndef ready_to_update():\n    return {answer}\n")

    with pytest.raises(PluginError, match="plugin 'x': ready_to_update: expected Decision"):
        guests.load().ready_to_update(None)


def test_question_without_an_answer_is_an_error(guests):
    """A host without built-in plugins says so when nobody answers."""
    with pytest.raises(PluginError, match="label_sample: no plugin gave an answer"):
        guests.load().label_sample("p.jpg", "cat")


# ---------------------------------------------------------------------- telling


def test_bad_observer_does_not_silence_the_others(guests, caplog):
    """The bad one is called first, is named in the log, and the good one and the built-in one still hear."""
    guests.add("a-bad", BROKEN_LISTENER)
    guests.add("good", LISTENER)
    built_in = BuiltIn()
    host = guests.load(built_in=[("built-in", built_in)])

    host.agent_stopping("one")
    host.agent_stopping("two")

    assert host.flush(PATIENCE)
    assert guests.module("a_bad").seen == guests.module("good").seen == ["one", "two"]
    assert [reason for reason, _ in built_in.seen] == ["one", "two"]
    bad, good, own = host.reports()
    assert (bad.errors, bad.last_error) == (2, "agent_stopping: ValueError: broken on purpose")
    assert (good.errors, own.errors) == (0, 0)
    named = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [record.getMessage() for record in named] == ["plugin 'a-bad' failed in agent_stopping"]


def test_failures_do_not_flood_the_log(guests, caplog):
    """What alternates is logged once each; what is another each time until there were many. All are counted."""
    guests.add("x", "@hookimpl\ndef agent_stopping(reason):\n    raise ValueError(reason)\n")
    host = guests.load()

    for number in range(10):
        host.agent_stopping(f"turn {number % 2}")
    assert host.flush(PATIENCE)
    assert len(caplog.records) == 2

    for number in range(100):
        host.agent_stopping(f"new {number}")
        assert host.flush(PATIENCE)
    assert len(caplog.records) == 21
    assert caplog.records[-1].getMessage() == "plugin 'x' fails a lot; from now on the status counts it"
    assert (host.reports()[0].errors, host.reports()[0].last_error) == (
        110,
        "agent_stopping: ValueError: new 99",
    )


@pytest.mark.parametrize("raised", ["SystemExit(1)", "type('Panic', (BaseException,), {})('in Rust')"])
def test_observer_that_exits_does_not_stop_anything(guests, raised):
    """`sys.exit()` in an observer is one counted failure, and so is the panic of a library."""
    guests.add("x", f"@hookimpl\ndef agent_stopping():\n    raise {raised}\n")
    host = guests.load()

    host.agent_stopping("one")
    host.agent_stopping("two")

    assert host.flush(PATIENCE)
    assert host.reports()[0].errors == 2


def test_built_in_observer_is_told_in_place_and_guarded(guests):
    """A built-in observer hears on the caller's thread, and its failure is counted as well."""

    class Broken:
        @hookimpl
        def agent_stopping(self):
            raise ValueError("broken on purpose")

    built_in = BuiltIn()
    host = guests.load(built_in=[("broken", Broken()), ("built-in", built_in)])

    host.agent_stopping("now")

    assert built_in.seen == [("now", threading.get_ident())]
    assert {report.name: report.errors for report in host.reports()} == {"broken": 1, "built-in": 0}


SLOW = """
import threading

inside, gate = threading.Event(), threading.Event()
seen = []

@hookimpl
def agent_stopping(reason):
    inside.set()
    gate.wait(10.0)
    seen.append(reason)
"""


COUNTING = """
import threading

heard = threading.Semaphore(0)
seen = []

@hookimpl
def agent_stopping(reason):
    seen.append(reason)
    heard.release()
"""


def test_slow_observer_loses_events_and_holds_up_nobody(guests, caplog):
    """With a queue of two the rest is dropped, counted and said once; the order holds; others hear all."""
    guests.add("a_slow", SLOW)
    guests.add("good", COUNTING)
    host = guests.load(queue_size=2)
    host.agent_stopping("0")
    assert guests.module("a_slow").inside.wait(PATIENCE)
    assert guests.module("good").heard.acquire(timeout=PATIENCE)

    for number in range(1, 6):
        host.agent_stopping(str(number))
        assert guests.module("good").heard.acquire(timeout=PATIENCE)

    guests.module("a_slow").gate.set()
    assert host.flush(PATIENCE)
    assert guests.module("a_slow").seen == ["0", "1", "2"]
    assert guests.module("good").seen == ["0", "1", "2", "3", "4", "5"]
    assert [(report.dropped, report.errors) for report in host.reports()] == [(3, 0), (0, 0)]
    said = [record.getMessage() for record in caplog.records]
    assert said == ["plugin 'a_slow' is too slow; events are dropped and counted"]


def test_mini_batches_do_not_crowd_out_the_rest(guests):
    """A slow observer of a long training still hears that the agent stops."""
    guests.add("slow", SLOW + "\n@hookimpl\ndef mini_batch_end(event):\n    seen.append(event.event)\n")
    host = guests.load(queue_size=4)
    host.agent_stopping("0")
    assert guests.module("slow").inside.wait(PATIENCE)

    for _ in range(100):
        host.training(TrainingEvent("t", "mini_batch_end", "running", {}, {}))
    host.agent_stopping("1")

    guests.module("slow").gate.set()
    assert host.flush(PATIENCE)
    assert guests.module("slow").seen == ["0", "mini_batch_end", "mini_batch_end", "1"]
    assert host.reports()[0].dropped == 98


def test_hanging_observer_does_not_hold_up_the_end(guests):
    """`close` gives up at its limit; the others were told everything."""
    guests.add("a_slow", SLOW)
    guests.add("good", LISTENER)
    host = guests.load()
    host.agent_stopping("0")
    assert guests.module("a_slow").inside.wait(PATIENCE)
    host.agent_stopping("1")

    assert not host.close(timeout=0.05)

    guests.module("a_slow").gate.set()
    assert host.flush(PATIENCE)
    assert guests.module("a_slow").seen == ["0"]
    assert host.reports()[0].dropped == 1


def test_close_tells_what_is_queued(guests):
    """`close` lets observers hear what was announced before, and nothing after."""
    guests.add("x", LISTENER)
    host = guests.load()
    for number in range(20):
        host.agent_stopping(str(number))

    assert host.close(PATIENCE)

    host.agent_stopping("late")
    assert guests.module("x").seen == [str(number) for number in range(20)]
    assert host.close(PATIENCE)


def test_listens_says_whether_anybody_wants_to_know(guests):
    """A hook that nobody implements needs no work."""
    guests.add("x", LISTENER)
    host = guests.load()

    assert host.listens("agent_stopping")
    assert not host.listens("mini_batch_end")


def test_attribute_that_is_none_hides_a_hook(guests):
    """An instance may decide not to listen by setting the hook's name to None."""
    guests.add(
        "x",
        """
class Plugin:
    def __init__(self):
        self.mini_batch_end = None

    @hookimpl
    def mini_batch_end(self): pass

    @hookimpl
    def agent_stopping(self): pass
""",
        "Plugin",
    )

    assert guests.load().reports()[0].hooks == ("agent_stopping",)

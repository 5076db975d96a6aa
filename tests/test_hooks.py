"""Every hook once: what a guest is given or may answer, and who of our own uses it."""

from __future__ import annotations

import hashlib
import logging
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from edge_agent.agent.evaluation import compare
from edge_agent.agent.extractors import BUILT_IN
from edge_agent.agent.policy import UpdateSituation
from edge_agent.config import Config, PluginsConfig, UpdateConfig
from edge_agent.default_plugins import built_in_plugins
from edge_agent.errors import PluginError
from edge_agent.hookspecs import HOOK_NAMES, OBSERVATIONS, Decision
from edge_agent.ml.heads import conformance
from edge_agent.ml.heads.built_in import BUILT_IN_HEADS
from edge_agent.ml.selection import ReviewPool
from edge_agent.ml.update import TaskStateChange, TrainingEvent
from edge_agent.plugins import PluginHost, load_plugins
from edge_agent.store.registry import Version
from edge_agent.store.samples import Rejection, Sample
from edge_agent.vision.delegate_spec import DelegateChange

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 10.0

SAMPLE = Sample(
    digest="ab" * 32,
    label="cat",
    sequence=7,
    added_at=1.5e9,
    source_name="p1.jpg",
    stored_path="archive/cat/p1.jpg",
    size_bytes=1000,
    width=640,
    height=480,
)
REJECTION = Rejection(
    path="drop/cat/p2.jpg", label="cat", reason="not a picture", stored_path="rejected/p2.jpg"
)
VERSION = Version(
    number=3,
    parent=2,
    created=1.5e9,
    labels=("cat", "dog"),
    n_samples=40,
    accuracy=0.9,
    head="lda",
    extractor_fingerprint="f",
    path=Path("models/versions/000003"),
    current=True,
    n_features=4,
    extractor_name="x",
    parameters={},
    metrics={},
    agent_version="0",
)
SITUATION = UpdateSituation(
    new_samples=1,
    seconds_since_last_change=5.0,
    unknown_labels={},
    current_version=3,
    labels={"cat": 20, "dog": 20},
    forced=False,
    pending_files=0,
)


def duel(lost: int) -> object:
    """An evaluation on 30 cats of which the candidate loses some."""
    right, wrong = [0.9, 0.1], [0.1, 0.9]
    return compare(
        candidate_proba=np.array([wrong] * lost + [right] * (30 - lost)),
        candidate_classes=["cat", "dog"],
        current_proba=np.array([right] * 30),
        current_classes=["cat", "dog"],
        y_true=["cat"] * 30,
    )


RECORDER = "\n".join(
    ["seen = []"]
    + [
        f"@hookimpl\ndef {hook}({arguments}):\n    seen.append(({hook!r}, {arguments}))\n"
        for hook, arguments in {
            "agent_started": "home, version, extractor",
            "sample_ingested": "sample",
            "sample_rejected": "rejection",
            "task_state_changed": "change",
            "training_begin": "event",
            "mini_batch_end": "event",
            "epoch_end": "event",
            "training_end": "event",
            "candidate_evaluated": "evaluation, decision",
            "version_published": "version",
            "version_rolled_back": "version, previous",
            "delegate_changed": "change",
            "agent_stopping": "reason",
        }.items()
    ]
)
"""A guest that remembers everything it is told."""


@pytest.fixture
def load(guests):
    """Load guests together with the built-in plugins of the default configuration."""

    def load() -> PluginHost:
        return guests.load(built_in=built_in_plugins(Config()))

    return load


@pytest.fixture
def told(guests, load):
    """Tell something through a host, and return what a guest with all observers heard."""

    def told(tell) -> list[tuple[object, ...]]:
        guests.add("recorder", RECORDER)
        host = load()
        tell(host)
        assert host.flush(PATIENCE)
        assert not any(report.errors for report in host.reports())
        return guests.module("recorder").seen

    return told


@pytest.fixture(autouse=True)
def _all_levels(caplog):
    """The built-in log is read from the quietest level up."""
    caplog.set_level(logging.DEBUG, logger="edge_agent")


# ---------------------------------------------------------------------- all of them


def hooks_with_a_test() -> set[str]:
    """The hooks that have a test of their name here."""
    return {name.removeprefix("test_hook_") for name in globals() if name.startswith("test_hook_")}


@pytest.mark.parametrize("hook", HOOK_NAMES)
def test_every_hook_has_a_test(hook):
    """A hook without a test named after it fails here."""
    assert hook in hooks_with_a_test()


def test_no_test_for_a_hook_that_is_gone():
    """And a test without its hook as well."""
    assert hooks_with_a_test() == set(HOOK_NAMES)


@pytest.fixture(scope="module")
def tenants():
    """For each hook the shipped plugins that implement it: built in, or a package in plugins/."""
    folder = str(ROOT / "plugins" / "edge-agent-events")
    sys.path.insert(0, folder)
    try:
        host = load_plugins(
            PluginsConfig(settings={"events": {"file": "/dev/null", "events": list(OBSERVATIONS)}}),
            built_in=built_in_plugins(Config()),
            entry_points=[EntryPoint("events", "edge_agent_events:Events", "edge_agent")],
        )
    finally:
        sys.path.remove(folder)
    return {hook: [r.name for r in host.reports() if hook in r.hooks] for hook in HOOK_NAMES}


@pytest.mark.parametrize("hook", HOOK_NAMES)
def test_every_hook_has_a_tenant(tenants, hook):
    """No hook is there for nobody: one of our own plugins uses it."""
    assert tenants[hook]


def test_built_in_plugins_answer_everything(load):
    """Without a guest there is an extractor, there are heads, and every question has an answer."""
    host = load()

    assert {report.name for report in host.reports()} == {
        "default-extractors",
        "default-delegates",
        "default-heads",
        "default-labels",
        "default-limits",
        "default-policy",
        "default-gate",
        "default-review",
        "default-log",
    }
    assert not host.listens("mini_batch_end")


def test_built_in_plugins_cannot_be_switched_off_by_accident(guests):
    """They have no table and no place in `disabled`, so a mistake there cannot take them away."""
    from edge_agent.errors import ConfigError

    with pytest.raises(ConfigError, match="default-gate: no plugin of this name is installed"):
        guests.load(built_in=built_in_plugins(Config()), disabled=["default-gate"])


# ---------------------------------------------------------------------- register, once at start


def test_hook_register_extractors(guests, load):
    """The embedded extractor is there with its file as the card says, and a guest adds its own."""
    guests.add(
        "x",
        """
from pathlib import Path
from edge_agent.default_plugins.extractors import CARD_PATH
from edge_agent.vision.preprocessing import load_card
import msgspec

@hookimpl
def register_extractors(register):
    register(msgspec.structs.replace(load_card(CARD_PATH), name="mine"))
""",
    )

    cards = load().register_extractors()

    assert set(cards) == {"efficientnet-lite0-int8", "mine"}
    card = cards["efficientnet-lite0-int8"]
    assert hashlib.sha256(card.path.read_bytes()).hexdigest() == card.sha256
    assert BUILT_IN in cards


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ("path='/opt/model.tflite'", "expected `Path`, got `str`"),
        ("n_features='1280'", "expected `int`, got `str`"),
        ("sha256='unknown'", "at `$.sha256`"),
        ("backend='my backend'", "at `$.backend`"),
        ("input={'width': 96, 'height': 96, 'mean': 0.0, 'std': 0.0}", "std not 0"),
    ],
)
def test_an_extractor_that_cannot_be_meant_stops_the_start(guests, load, changes, says):
    """A card made in Python is held to what is asked of a file; the message names plugin, hook and card."""
    code = f"""
from edge_agent.default_plugins.extractors import CARD_PATH
from edge_agent.vision.preprocessing import load_card
import msgspec

@hookimpl
def register_extractors(register):
    register(msgspec.structs.replace(load_card(CARD_PATH), name="mine", {changes}))
"""
    guests.add("x", code)

    with pytest.raises(PluginError, match=r"plugin 'x': register_extractors: the card of 'mine': ") as caught:
        load().register_extractors()
    assert says in str(caught.value)


def test_hook_register_delegates(guests, load):
    """The CPU is there, a guest adds an accelerator, and it is known which plugin offers which."""
    guests.add(
        "x",
        """
from edge_agent import DelegateSpec, DeviceNode

@hookimpl
def register_delegates(register):
    register(DelegateSpec("mine", ("libmine.so.1",), {"speed": "max"}, (DeviceNode("/dev/mine_*"),)))
""",
    )
    host = load()

    specs = host.register_delegates()

    assert set(specs) == {"cpu", "mine"}
    assert specs["mine"].options == {"speed": "max"}
    assert host.offered_by("register_delegates", "mine") == "x"
    assert host.offered_by("register_delegates", "cpu") == "default-delegates"
    assert host.offered_by("register_delegates", "other") == ""


@pytest.mark.parametrize(
    ("offered", "says"),
    [
        ("'libmine.so'", "expected a DelegateSpec, got 'libmine.so'"),
        ("DelegateSpec('mine')", "delegate 'mine': only 'cpu' has no libraries"),
        ("DelegateSpec('my own', ('x',))", "a delegate's name has letters"),
        ("DelegateSpec('mine', ('x',), {'speed': 3})", "options are texts, not 'speed' = 3"),
        ("DelegateSpec('mine', ('x',), devices=(DeviceNode('apex'),))", "begins with /dev/, not 'apex'"),
        ("DelegateSpec('mine', ('x',), devices=(DeviceNode(usb=('18D1:9302',)),))", "is not a USB id"),
        ("DelegateSpec('mine', 'libmine.so')", "libraries is a tuple of str, not 'libmine.so'"),
        ("DelegateSpec('mine', ('x',), custom_ops='mine-op')", "custom_ops is a tuple of str, not 'mine-op'"),
        ("DelegateSpec('mine', ('x',), ['fast'])", "delegate 'mine': options is a mapping, not ['fast']"),
        ("DelegateSpec('mine', ('x',), devices=('/dev/mine',))", "devices is a tuple of DeviceNode, not"),
        (
            "DelegateSpec('mine', ('x',), devices=DeviceNode('/dev/a'))",
            "devices is a tuple of DeviceNode, not",
        ),
        (
            "DelegateSpec('mine', ('x',), devices=(DeviceNode(usb='18d1:9302'),))",
            "usb is a tuple of texts, not",
        ),
        ("DelegateSpec('auto', ('x',))", "cannot be called 'auto'"),
        ("DelegateSpec('cpu')", "the name 'cpu' is taken by the plugin 'default-delegates'"),
    ],
)
def test_a_delegate_that_cannot_be_meant_stops_the_start(guests, load, offered, says):
    """The message names the plugin, the hook and what was expected."""
    code = f"""
from edge_agent import DelegateSpec, DeviceNode

@hookimpl
def register_delegates(register):
    register({offered})
"""
    guests.add("x", code)

    with pytest.raises(PluginError, match=r"plugin 'x': register_delegates: .*") as caught:
        load().register_delegates()
    assert says in str(caught.value)


def test_hook_register_heads(guests, load):
    """The built-in heads are there, the configured one among them, and a guest adds its own."""
    guests.add(
        "x",
        """
from edge_agent.ml.model import BUILT_IN_HEADS

class Mine(BUILT_IN_HEADS["lda"]):
    name = "mine"

@hookimpl
def register_heads(register):
    register(Mine)
""",
    )

    heads = load().register_heads()

    assert set(heads) == {*BUILT_IN_HEADS, "mine"}
    assert heads["mine"].name == "mine"
    assert Config().learning.head in heads


def test_built_in_heads_are_not_tried_at_each_start(guests, load, monkeypatch):
    """They are held to the protocol by their tests; what guests bring is each time."""
    asked = []
    monkeypatch.setattr(conformance, "check_head", lambda head, checks: asked.append((head.name, checks)))
    guests.add(
        "x",
        """
from edge_agent.ml.model import BUILT_IN_HEADS

class Own(BUILT_IN_HEADS["lda"]):
    name = "own"

@hookimpl
def register_heads(register):
    register(Own)
""",
    )

    load().register_heads()

    assert asked == [("own", conformance.AT_REGISTRATION)]


def test_hook_register_commands(guests, load):
    """A guest's command is offered by its name, unless the name is taken."""
    guests.add(
        "x",
        """
import click

@hookimpl
def register_commands(register):
    register(click.Command("wave"))
""",
    )
    host = load()

    assert [command.name for command in host.register_commands(taken=["run"])] == ["wave"]
    with pytest.raises(PluginError, match="'x': register_commands: the name 'wave' is taken by edge-agent"):
        host.register_commands(taken=["wave"])


@pytest.mark.parametrize(
    ("hook", "thing", "complaint"),
    [
        ("register_extractors", "'efficientnet'", "expected an ExtractorCard, got 'efficientnet'"),
        ("register_heads", "object", "head object: `name` must be a text"),
        ("register_heads", "3", "head 3: "),
        ("register_commands", "print", "expected a click.Command with a name, got <built-in function print>"),
    ],
)
def test_only_the_right_things_can_be_registered(guests, hook, thing, complaint):
    """The error names the plugin and says what was expected."""
    guests.add("x", f"@hookimpl\ndef {hook}(register):\n    register({thing})\n")

    with pytest.raises(PluginError, match=f"plugin 'x': {hook}: {complaint}"):
        getattr(guests.load(), hook)()


def test_clash_of_names_is_told_to_the_guest(guests, load):
    """A guest cannot replace a built-in head, nor one guest another's."""
    guests.add(
        "x",
        "from edge_agent.ml.model import BUILT_IN_HEADS\n"
        "@hookimpl\ndef register_heads(register):\n    register(BUILT_IN_HEADS['lda'])\n",
    )

    with pytest.raises(
        PluginError, match=r"'x': register_heads: the name 'lda' is taken by .*'default-heads'"
    ):
        load().register_heads()


# ---------------------------------------------------------------------- decide, first answer wins


def test_hook_label_sample(guests, load):
    """The folder's name is the label, unless a guest knows better."""
    guests.add(
        "x",
        "@hookimpl\ndef label_sample(path, folder_label):\n"
        "    return 'kitten' if path.endswith('small.jpg') and folder_label == 'cat' else None\n",
    )
    host = load()

    assert host.label_sample("drop/cat/p1.jpg", "cat") == "cat"
    assert host.label_sample("drop/cat/small.jpg", "cat") == "kitten"
    assert host.label_sample("drop/dog/small.jpg", "dog") == "dog"


def test_hook_ready_to_update(guests):
    """The rules of `[update]` decide, unless a guest does."""
    built_in = built_in_plugins(Config(update=UpdateConfig(quiet_seconds=4.0)))
    assert guests.load(built_in=built_in).ready_to_update(SITUATION).answer
    patient = built_in_plugins(Config(update=UpdateConfig(quiet_seconds=6.0)))
    assert not guests.load(built_in=patient).ready_to_update(SITUATION).answer

    guests.add(
        "x",
        "@hookimpl\ndef ready_to_update(situation):\n"
        "    return Decision(answer=False, reason=f'{situation.new_samples} is not enough for me')\n",
    )

    decision = guests.load(built_in=built_in).ready_to_update(SITUATION)
    assert decision == Decision(answer=False, reason="1 is not enough for me")


def test_hook_accept_candidate(guests, load):
    """A worse candidate is refused and an equal one accepted, unless a guest decides otherwise."""
    host = load()
    assert host.accept_candidate(duel(lost=0)).answer
    assert not host.accept_candidate(duel(lost=9)).answer

    guests.add(
        "x",
        "@hookimpl\ndef accept_candidate(evaluation):\n"
        "    return Decision(answer=True, reason=f'p is {evaluation.p_value:.4f}, and so what')\n",
    )

    assert load().accept_candidate(duel(lost=9)) == Decision(answer=True, reason="p is 0.0020, and so what")


def review_pool(**changes) -> ReviewPool:
    """Three candidates, two labels with plenty of pictures."""
    facts = {
        "candidates": ("a.jpg", "b.jpg", "c.jpg"),
        "features": np.array([[1, 0], [1, 0.1], [0, 1]], dtype=np.float32),
        "labels": ("cat", "dog"),
        "probabilities": np.array([[0.9, 0.1], [0.45, 0.55], [0.3, 0.7]]),
        "labelled": np.zeros((0, 2), dtype=np.float32),
        "counts": {"cat": 9, "dog": 9},
        "wanted": 2,
    }
    return ReviewPool(**{**facts, **changes})


def test_hook_select_for_review(guests, load):
    """What is in doubt comes first, before that what stands for many; unless a guest knows better."""
    host = load()
    assert [one.candidate for one in host.select_for_review(review_pool())] == ["b.jpg", "c.jpg"]
    few = host.select_for_review(review_pool(counts={"cat": 1, "dog": 9}))
    assert [one.candidate for one in few] in (["a.jpg", "c.jpg"], ["b.jpg", "c.jpg"])
    assert few[0].reason == "stands for 1 other picture that nothing labelled is as near to"

    guests.add(
        "x",
        "from edge_agent.ml.selection import Suggestion\n"
        "@hookimpl\ndef select_for_review(pool):\n"
        "    return [Suggestion(name, 'backwards') for name in reversed(pool.candidates)]\n",
    )
    assert [one.candidate for one in load().select_for_review(review_pool())] == ["c.jpg", "b.jpg"]


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ("'a.jpg'", "expected list or None, got 'a.jpg'"),
        ("['a.jpg']", "expected Suggestion"),
        ("[Suggestion('z.jpg', 'why')]", "'z.jpg' is no candidate of the pool"),
        ("[Suggestion('a.jpg', 'why')] * 2", "'a.jpg' is no candidate of the pool, or was suggested before"),
        ("[Suggestion('a.jpg', 3)]", "expected Suggestion"),
    ],
)
def test_suggestions_of_a_guest_are_checked(guests, answer, complaint):
    """What cannot be used names the plugin."""
    guests.add(
        "x",
        "from edge_agent.ml.selection import Suggestion\n"
        f"@hookimpl\ndef select_for_review(pool):\n    return {answer}\n",
    )

    with pytest.raises(PluginError, match=f"'x': select_for_review: .*{complaint}"):
        guests.load().select_for_review(review_pool())


# ---------------------------------------------------------------------- observe, all are told


def test_hook_agent_started(told, caplog):
    """The home, the version that answers, the extractor."""
    seen = told(lambda host: host.agent_started(home="home", version=3, extractor="x"))

    assert seen == [("agent_started", "home", 3, "x")]
    assert "started in home with x; version 3 answers" in caplog.messages


def test_first_start_says_that_nothing_was_learned(load, caplog):
    """There is no version yet."""
    load().agent_started(home="home", version=None, extractor="x")

    assert "started in home with x; nothing learned yet" in caplog.messages


def test_hook_sample_ingested(told, caplog):
    """The stored sample; the log speaks of it only to those who debug."""
    assert told(lambda host: host.sample_ingested(sample=SAMPLE)) == [("sample_ingested", SAMPLE)]

    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.DEBUG, "took in p1.jpg as 'cat' (abababababab)")


def test_hook_sample_rejected(told, caplog):
    """The rejection; a person should look at it."""
    assert told(lambda host: host.sample_rejected(rejection=REJECTION)) == [("sample_rejected", REJECTION)]

    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (
        logging.WARNING,
        "refused drop/cat/p2.jpg: not a picture",
    )


def test_hook_task_state_changed(told, caplog):
    """Both states of the task."""
    change = TaskStateChange("t1", "running", "suspended")

    assert told(lambda host: host.task_state_changed(change=change)) == [("task_state_changed", change)]
    assert caplog.messages == ["task t1: running, was suspended"]


def training(name: str, state: str = "running") -> TrainingEvent:
    """What happened in a task."""
    return TrainingEvent("t1", name, state, {"loss_value": 0.5}, {})


def test_hook_training_begin(told, caplog):
    """The event as it was told."""
    event = training("training_begin")

    assert told(lambda host: host.training(event)) == [("training_begin", event)]
    assert caplog.messages == ["training begins"]


def test_hook_mini_batch_end(told, caplog):
    """Whoever listens is told; the log does not."""
    event = training("mini_batch_end")

    assert told(lambda host: host.training(event)) == [("mini_batch_end", event)]
    assert caplog.messages == []


def test_hook_epoch_end(told, caplog):
    """With the metrics of the epoch."""
    event = training("epoch_end")

    assert told(lambda host: host.training(event)) == [("epoch_end", event)]
    assert caplog.messages == ["an epoch ends: {'loss_value': 0.5}"]


@pytest.mark.parametrize(
    ("state", "level"),
    [("completed", logging.INFO), ("cancelled", logging.INFO), ("failed", logging.WARNING)],
)
def test_hook_training_end(told, caplog, state, level):
    """However it ended; a failure is a warning."""
    event = training("training_end", state)

    assert told(lambda host: host.training(event)) == [("training_end", event)]
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (level, f"training {state}")
    ]


def test_training_has_four_events(load):
    """Another name is a mistake of ours, not silence."""
    with pytest.raises(ValueError, match="'coffee_break' is not an event of training"):
        load().training(training("coffee_break"))


@pytest.mark.parametrize(
    ("lost", "answer", "level", "verdict"),
    [(0, True, logging.INFO, "accepted"), (9, False, logging.WARNING, "refused")],
)
def test_hook_candidate_evaluated(told, caplog, lost, answer, level, verdict):
    """The evaluation and what was decided; a refusal is a warning with its figures."""
    evaluation, decision = duel(lost), Decision(answer=answer, reason="the figures")

    seen = told(lambda host: host.candidate_evaluated(evaluation=evaluation, decision=decision))

    assert seen == [("candidate_evaluated", evaluation, decision)]
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (level, f"the candidate was {verdict}: the figures")


def test_hook_version_published(told, caplog):
    """The version that answers from now on."""
    assert told(lambda host: host.version_published(version=VERSION)) == [("version_published", VERSION)]
    assert caplog.messages == ["version 3 answers, with the labels cat, dog"]


def test_hook_version_rolled_back(told, caplog):
    """The version that answers again, and the one it replaces."""
    seen = told(lambda host: host.version_rolled_back(version=VERSION, previous=4))

    assert seen == [("version_rolled_back", VERSION, 4)]
    assert caplog.messages == ["version 3 answers again in place of 4"]


@pytest.mark.parametrize(
    ("previous", "current", "level", "says"),
    [
        ("cpu", "edgetpu", logging.INFO, "edgetpu looks at pictures now: why"),
        (
            "edgetpu",
            "cpu",
            logging.WARNING,
            "the CPU looks at pictures now, no longer edgetpu: why; it is tried again by itself",
        ),
    ],
)
def test_hook_delegate_changed(told, caplog, previous, current, level, says):
    """Who looked at pictures, who does now and why; a fallback is a warning."""
    change = DelegateChange(previous, current, "why", "auto")

    assert told(lambda host: host.delegate_changed(change=change)) == [("delegate_changed", change)]
    assert (caplog.records[-1].levelno, caplog.messages) == (level, [says])


def test_hook_agent_stopping(told, caplog):
    """The last event, with the reason."""
    assert told(lambda host: host.agent_stopping(reason="SIGTERM")) == [("agent_stopping", "SIGTERM")]
    assert caplog.messages == ["stopping: SIGTERM"]


def test_life_of_an_agent_in_order(told):
    """A guest hears everything in the order in which it was told."""

    def live(host: PluginHost) -> None:
        host.agent_started(home="home", version=None, extractor="x")
        host.sample_ingested(sample=SAMPLE)
        host.task_state_changed(change=TaskStateChange("t1", "running", "suspended"))
        for name in ("training_begin", "mini_batch_end", "epoch_end", "training_end"):
            host.training(training(name))
        host.candidate_evaluated(evaluation=duel(0), decision=Decision(answer=True, reason="better"))
        host.version_published(version=VERSION)
        host.agent_stopping(reason="asked")

    assert [name for name, *_ in told(live)] == [
        "agent_started",
        "sample_ingested",
        "task_state_changed",
        "training_begin",
        "mini_batch_end",
        "epoch_end",
        "training_end",
        "candidate_evaluated",
        "version_published",
        "agent_stopping",
    ]

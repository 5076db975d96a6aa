"""Everything that is told can be heard."""

from __future__ import annotations

import inspect

import pytest

from edge_agent.config import PluginsConfig
from edge_agent.hookspecs import HOOK_NAMES, OBSERVATIONS, Hooks
from edge_agent.plugins import load_plugins
from edge_agent.testing import Recorder, example_facts


@pytest.mark.parametrize("hook", OBSERVATIONS)
def test_every_observation_is_heard_with_its_facts(hook):
    """Told by a host as the agent tells it, it arrives with all its facts by their names."""
    recorder = Recorder()
    host = load_plugins(PluginsConfig(), built_in=[("recorder", recorder)], entry_points=[])
    facts = example_facts(hook)

    (host.training if "event" in facts else getattr(host, hook))(**facts)

    assert recorder.names() == [hook]
    assert recorder.events[0].facts == facts
    name, value = next(iter(facts.items()))
    assert recorder.facts(hook, name) == [value]
    assert host.reports()[0].errors == 0


@pytest.mark.parametrize("hook", [hook for hook in HOOK_NAMES if not hook.startswith("register_")])
def test_examples_have_every_argument_of_a_hook(hook):
    """No fact is missing, and each is of the kind that the contract names."""
    arguments = dict(list(inspect.signature(getattr(Hooks, hook)).parameters.items())[1:])
    facts = example_facts(hook)
    assert list(facts) == list(arguments)
    for name, value in facts.items():
        assert type(value).__name__ in arguments[name].annotation.split(" | ")


@pytest.mark.parametrize(
    ("hook", "complaint"),
    [
        ("sample_ingest", "there is no hook sample_ingest, did you mean 'sample_ingested'?"),
        ("register_heads", "no facts"),
    ],
)
def test_hooks_without_facts_are_refused(hook, complaint):
    """With the one that was meant."""
    with pytest.raises(ValueError, match=complaint.replace("?", r"\?")):
        example_facts(hook)

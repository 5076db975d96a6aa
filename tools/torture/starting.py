"""This is where an agent is started again in a copy of this process, with eyes of its own instead of an engine."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from homes import PLUGIN

sys.path.insert(0, str(PLUGIN))

from torture_eyes import SIDE, Eyes, card

from edge_agent.agent.agent import Agent
from edge_agent.config import PicturesConfig, load_config
from edge_agent.default_plugins import built_in_plugins
from edge_agent.errors import ImageError
from edge_agent.plugins import load_plugins
from edge_agent.vision.engine import Engine, EngineFacts, Extraction, Job
from edge_agent.vision.images import decode


class OwnEyes(Engine):
    """An engine without a process."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._eyes = Eyes(card(), threads=1)
        self.facts = EngineFacts(
            name=card().name,
            fingerprint=self._eyes.fingerprint,
            n_features=card().n_features,
            runtime=f"{self._eyes.runtime.name} {self._eyes.runtime.version}",
            delegate=self._eyes.delegate,
            pid=0,
        )

    def start(self) -> EngineFacts:
        """Be ready at once."""
        assert self.facts is not None
        return self.facts

    def extract(
        self,
        jobs: Iterable[Job],
        *,
        keep: bool = False,  # noqa: ARG002
        digest: bool = True,
    ) -> Iterator[Extraction]:
        """Look at each picture."""
        for key, fd, *_ in jobs:
            with os.fdopen(fd, "rb") as file:
                data = file.read()
            digest = hashlib.sha256(data).hexdigest()
            try:
                seen = decode(data, limits=PicturesConfig(), target=(SIDE, SIDE))
            except ImageError as error:
                yield Extraction(key, digest, None, 0, 0, str(error), permanent=True, seconds=0.0)
            else:
                features = self._eyes.extract(seen.pixels)
                yield Extraction(
                    key, digest, features, seen.width, seen.height, None, permanent=True, seconds=0.0
                )


def run_once(home: Path, said: Path) -> int:
    """`edge-agent run --once` in a copy of this process; 0 when all went well, and `said` has its words."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    status = 1
    with said.open("w") as words:
        os.dup2(words.fileno(), 1)
        os.dup2(words.fileno(), 2)
        try:
            status = _run_once(home)
        except BaseException:  # noqa: BLE001  # whatever it is, it is written down and this process ends here
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)


def _run_once(home: Path) -> int:
    logging.basicConfig(stream=sys.stderr, force=True, level=logging.WARNING)
    config = load_config(home / "edge-agent.toml")
    plugins = load_plugins(config.plugins, built_in=built_in_plugins(config))
    agent = Agent(home, config, plugins, watch=False, make_engine=OwnEyes)
    agent.open()
    try:
        earlier = agent.facts()["last_update"]
        agent.start()
        agent.run_until_idle()
        facts = agent.facts()
    finally:
        agent.close()
    print(facts["trouble"], facts["last_update"])
    last = facts["last_update"]
    return int(bool(facts["trouble"] or (last and last != earlier and last["state"] == "failed")))

"""This is where it is decided, from start to end of an engine, on what it computes: a delegate, or the CPU for now.

    looking ──a delegate is fit──► serving ──it dies, hangs, refuses──► away ──wait, look, try──► serving
       └──────none is──► away                                             └──── each time twice as long

Nothing here waits, apart from `wanted` where the CPU may not answer.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from edge_agent.errors import EngineError
from edge_agent.vision.delegate_spec import AGREES, CPU, DelegateChange, DelegateSpec, DelegateUse
from edge_agent.vision.delegate_verdict import DEATHS, Code, Verdict

if TYPE_CHECKING:
    from edge_agent.vision.delegate_bench import DelegateBench, DelegateRound

log = logging.getLogger(__name__)

FIRST_SECONDS = 5.0
"""So long an accelerator that went away is left alone the first time; then twice as long each time."""
LONGEST_SECONDS = 600.0
LOOK_SECONDS = 0.5
"""How often a trial under way is asked whether it is done."""
WELL_SECONDS = 60.0
"""One that served for so long is tried again soon when it fails."""
FORGIVEN_SECONDS = 3600.0
"""One that served for so long begins anew with the deaths that are counted."""

_EXPECTED_AWAY: frozenset[Code] = frozenset({"library-missing", "not-faster", "model-not-accepted"})
"""Nothing to be told of where any accelerator would do: most boards have none."""
_ONLY_BY_FILES: frozenset[Code] = frozenset(
    {
        "library-missing",
        "not-a-library",
        "wrong-architecture",
        "symbol-missing",
        "model-not-accepted",
        "wrong-numbers",
        "takes-nothing",
        "not-faster",
        "switched-off",
    }
)
"""Looking again soon is of no use; a new file is found when it is looked at again at last."""


class Accelerator:
    """The choice of delegate for one engine, on the thread of whoever uses the engine."""

    def __init__(self, bench: DelegateBench, specs: Iterable[DelegateSpec]) -> None:
        self._bench = bench
        self._config = bench.config
        self._now = bench.monotonic
        self.requested = bench.config.delegate
        self._specs = {
            spec.name: spec for spec in specs if spec.name != CPU and self.requested in ("auto", spec.name)
        }
        self.found: dict[str, Verdict] = {}
        """What is known of each delegate that may be used."""
        self.use: DelegateUse | None = None
        """What the engine is to compute on; None: the CPU."""
        self._serving = CPU
        self._serving_since = self._now()
        self._doubted: frozenset[str] = frozenset()
        self._why = ""
        self._delay = FIRST_SECONDS
        self._next_try: float | None = None
        self._round: DelegateRound | None = None
        self._looked = False
        self._had_one = False
        self._agreed: bool | None = None
        self.changes: deque[DelegateChange] = deque(maxlen=100)
        """What is to be told; whoever tells it takes it out."""

    # ------------------------------------------------------------------ what the engine asks

    def wanted(self) -> DelegateUse | None:
        """What a process that is started now is to use.

        Raises `EngineError` where the CPU may not answer and no accelerator can.
        """
        self.look()
        if self.use is None and not self.cpu_may:
            self._insist()
        return self.use

    def look(self) -> None:
        """The first look: what is remembered is used at once, the rest is tried while the CPU answers."""
        if self._looked:
            return
        self._looked = True
        for name, spec in self._specs.items():
            self.found[name] = self._bench.look(spec)
        self._choose()
        if self.use is None and any(verdict.code == "untried" for verdict in self.found.values()):
            self._next_try = self._now()

    @property
    def cpu_may(self) -> bool:
        """Whether the CPU may answer: its features are of the same kind, and the owner does not forbid it."""
        if not self._specs:
            return True
        return not (self._config.strict or not self._bench.cpu_can or self._may_differ)

    @property
    def _may_differ(self) -> bool:
        """Whether what is used may have features of its own kind, which are never mixed with the CPU's."""
        if self._config.min_cosine >= AGREES or self.requested == "auto":
            return False
        # What it was first seen to be is what the engine's features are named after, also while it is away.
        return not self._agreed

    @property
    def start_seconds(self) -> float:
        """Patience with a process that starts with the delegate: it is known how long that takes."""
        known = self.found.get(self.use.name) if self.use else None
        if known is None:
            return self._config.start_timeout_seconds
        return self._bench.start_seconds + 4 * (known.load_seconds or 0.0)

    @property
    def fallback_reason(self) -> str | None:
        """Why the CPU answers where something else was asked for, or was there before; None when all is well."""
        return self._why or None if self._serving == CPU else None

    @property
    def is_missed(self) -> bool:
        """Whether the CPU stands in for an accelerator that was asked for, or that served before."""
        trying = all(self.found[name].code == "untried" for name in self._specs if name in self.found)
        return bool(self.fallback_reason) and not trying and (self.requested != "auto" or self._had_one)

    def served(self, name: str) -> None:
        """The engine computes on this from now on."""
        if name != self._serving:
            reason = self._why if name == CPU else self._chosen(name)
            self.changes.append(DelegateChange(self._serving, name, reason, self.requested))
        self._serving = name
        self._had_one |= name != CPU
        if name != CPU:
            self._serving_since = self._now()
            self._why = ""
            self._doubted -= {name}

    def failed(self, code: Code, detail: str) -> None:
        """What the engine was told to use did not do: it is left alone for a while."""
        use, self.use = self.use, None
        if use is None:
            return
        spec, known = self._specs[use.name], self.found[use.name]
        well = self._now() - self._serving_since if self._serving == use.name else 0.0
        if well >= WELL_SECONDS:
            self._delay = FIRST_SECONDS
        if well >= FORGIVEN_SECONDS and code != "turned-wrong":
            self._bench.forgive(spec, known)
        verdict = Verdict(code=code, detail=detail)
        if code in DEATHS:
            verdict = self._bench.settled(spec, known, verdict)
        self.found[use.name] = verdict
        self._doubted |= {use.name}
        self._why = f"{use.name}: {verdict.reason}"
        self._bench.release()
        self._wait()

    def acquitted(self) -> None:
        """It was a picture that ended the process, and ends it on the CPU as well: try again at once."""
        for name in self._doubted:
            self._bench.forgive(self._specs[name], self._bench.look(self._specs[name]))
        self._bench.release()
        self._doubted = frozenset()
        self._delay = FIRST_SECONDS
        self._next_try = self._now()

    # ------------------------------------------------------------------ what time brings

    def tick(self) -> DelegateUse | None:
        """Go on with what is tried or due to be tried; returns what the engine should change to, if anything."""
        if not self._looked or not self._specs:
            return None
        if self._round is None and self.use is None and self._due():
            self._round = self._new_round()
        if self._round is not None:
            self._round.advance()
            self._take_round()
        return self.use if self.use is not None and self.use.name != self._serving else None

    def next_look(self) -> float | None:
        """The monotonic time at which `tick` has something to do; None: never by itself."""
        if not self._looked:
            return None
        if self._round is not None:
            return self._now() + LOOK_SECONDS
        return self._next_try if self.use is None else None

    def close(self) -> None:
        """End what is under way and give the devices back."""
        if self._round is not None:
            self._round.end()
            self._round = None
        self._bench.release()

    # ------------------------------------------------------------------ inside

    def _insist(self) -> None:
        """Try now, and wait for it: without an accelerator there is no answer."""
        if self._due() or self._round is not None:
            self._round = self._round or self._new_round()
            self._round.advance(wait=True)
            self._take_round()
        if self.use is None and not self.cpu_may:
            why = "strict = true" if self._config.strict else "the CPU's features would be of another kind"
            why = why if self._bench.cpu_can else "the model was compiled for an accelerator"
            raise EngineError(
                f"no accelerator answers, and the CPU may not ({why}): {self._reasons() or 'none'}"
            )

    def _new_round(self) -> DelegateRound:
        from edge_agent.vision.delegate_bench import DelegateRound  # boards without an accelerator need none

        return DelegateRound(self._bench, self._specs.values(), afresh=self._doubted)

    def _take_round(self) -> None:
        assert self._round is not None
        if self._round.done:
            self.found.update(self._round.found)
            self._round = None
            self._choose()
            if self.use is None:
                self._wait()

    def _choose(self) -> None:
        """The fastest that is fit; a delegate that was asked for by name need not be fast."""
        known = self.found.get(self.requested)
        if self._agreed is None and known is not None and known.cosine is not None:
            self._agreed = known.cosine >= AGREES
        fit = {
            name: verdict
            for name, verdict in self.found.items()
            if verdict.code == "ok" or (verdict.code == "not-faster" and name == self.requested)
        }
        best = min(fit, key=lambda name: fit[name].ms_per_image or 0.0, default=None)
        self.use = None if best is None else self._bench.use(self._specs[best], fit[best])
        self._bench.release(keep=best or "")
        if best is None:
            told = self._reasons()
            if told and told != self._why:
                # At the first start with an accelerator nothing is wrong yet; it is tried while the CPU answers.
                calm = all(verdict.code == "untried" for verdict in self.found.values())
                log.log(logging.INFO if calm else logging.WARNING, "the CPU looks at pictures: %s", told)
            self._why = told
        else:
            others = "; ".join(
                f"{name}: {verdict.reason or 'slower'}"
                for name, verdict in self.found.items()
                if name != best
            )
            log.info("%s is chosen: %s%s", best, self._chosen(best), others and f" (not {others})")

    def _chosen(self, name: str) -> str:
        """Why a delegate is used, with its figures."""
        verdict = self.found[name]
        parts = [f"{verdict.ms_per_image:.1f} ms a picture" if verdict.ms_per_image is not None else ""]
        if verdict.cpu_ms_per_image is not None:
            parts.append(f"the CPU {verdict.cpu_ms_per_image:.1f} ms")
        if verdict.cosine is not None:
            parts.append(f"cosine {verdict.cosine:.4f}")
        if verdict.nodes is not None:
            parts.append(f"{verdict.nodes} of {verdict.of_nodes} operators")
        return ", ".join(filter(None, parts))

    def _reasons(self) -> str:
        """Why none is used, as far as anybody would have expected one."""
        expected = {
            name: verdict
            for name, verdict in self.found.items()
            if self.requested != "auto" or self._config.strict or verdict.code not in _EXPECTED_AWAY
        }
        return "; ".join(f"{name}: {verdict.reason}" for name, verdict in expected.items())

    def _due(self) -> bool:
        return self._next_try is None or self._now() >= self._next_try

    def _wait(self) -> None:
        """Set when it is tried again."""
        soon = any(verdict.code not in _ONLY_BY_FILES for verdict in self.found.values())
        self._next_try = self._now() + (self._delay if soon else LONGEST_SECONDS)
        if soon:
            self._delay = min(2 * self._delay, LONGEST_SECONDS)

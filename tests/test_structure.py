"""The laws of the house, read from the syntax tree of every module: storeys, doors, sizes, what nobody does.

A law is a function from a house (module name -> source) to a list of complaints.  Each is tried on small
houses that break it, and on ours.
"""

from __future__ import annotations

import ast
import fnmatch
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import edge_agent

pytestmark = pytest.mark.once

PACKAGE = Path(edge_agent.__file__).parent

House = dict[str, str]

STOREYS = """
    cli.__main__ | testing | testing.fixtures
    testing.bench
    testing.extractors | testing.plugins
    testing.engine | testing.examples | testing.recorder
    testing.clock
    cli
    cli.demo | cli.train
    cli.extractors
    cli.export | cli.extractor_trials | cli.review | cli.training_summary
    cli.backup | cli.delegates | cli.doctor | cli.plugins | cli.predict | cli.run | cli.samples | cli.setup | cli.status
    cli.versions
    cli.trained | cli.training_options
    cli.settings
    cli.training_bar
    cli.output | cli.pictures | cli.training_time
    doctor.examination | doctor.reviewing
    doctor.advice | doctor.enough | doctor.surroundings
    doctor.collection | doctor.findings
    report.page
    report.sections
    report.tables | report.plots | report.pictures
    report.facts
    report.verdict
    report.markup | report.look
    agent.daemon
    agent.control | agent.asking
    agent.client | agent.opening
    agent.calling | agent.idle_connections
    agent.connection_pool
    agent.sockets | agent.rights | agent.local_files
    agent.agent
    agent.updating | agent.inbox
    agent.requests | agent.summary
    agent.inspecting | agent.stages
    agent.restoring
    agent.backup
    agent.intake | agent.learning | agent.answers | agent.rebuild | agent.refresh | agent.retention
    agent.accelerating | agent.forgetting | agent.head_settings | agent.importing | agent.incoming | agent.judging
    agent.prediction | agent.probation | agent.stand_in
    agent.bursts | agent.recollection
    agent.opinions | agent.publishing
    default_plugins
    default_plugins.*
    plugins
    plugin_host
    mailbox
    agent.dropfolder | agent.traces | agent.refusals | agent.outcomes | agent.verdict
    agent.checkup | agent.removal | agent.specimens
    agent.sight
    agent.leftovers | agent.split
    agent.learned
    agent.archive | agent.arrival | agent.delivery | agent.watch | agent.evaluation | agent.policy | agent.serving
    agent.limits
    agent.extractors | agent.shipped_plugins
    ml.authoring
    ml.authoring.neighbors | ml.authoring.network
    ml.authoring.training
    ml.authoring.blueprint | ml.authoring.hyperparameters | ml.authoring.labels
    ml.personal
    ml.succession
    ml.image_classifier
    ml.generations | vision.feature_source | ml.session_run
    vision.export
    ml.update | vision.engine | vision.worker | vision.delegate_trial | store.registry | ml.session_outcome
    vision.accelerator | vision.vouching
    vision.delegate_bench
    ml.admission | ml.examples | ml.forgetting | ml.pipeline | vision.child | vision.trainable_head | vision.delegates
    ml.training_session
    ml.session_data | ml.duplicates
    ml.session_folder
    ml.feature_cache | ml.classifier_parameters | ml.jobs
    ml.model | ml.quarantine | vision.card_draft | vision.extractor_stage | vision.image_values | store.samples
    ml.described | ml.links
    vision.adoption | vision.performance | vision.witness
    vision.backend | vision.canary | vision.delegate_check | vision.extraction | vision.extractor_crew | vision.looks
    ml.raw | ml.storing | ml.answering | ml.extraction | vision.extractor | vision.trainable
    ml.kinds | ml.fits | vision.augmentation | vision.signatures | vision.trial
    ml.contradictions | vision.inspection
    ml.fits.auto | ml.label_errors | ml.evidence | ml.learning_curve | vision.scaling | vision.thumbnail_maker
    vision.audition | vision.pooling | vision.sandbox
    vision.comparison | vision.cutting | vision.delegate_question | vision.fused_head | vision.fused_input
    vision.model_metadata
    ml.heads.built_in | ml.fits.lda | ml.fits.logistic | ml.fits.perceptron
    ml.heads.gradient_descent | ml.heads.logistic | ml.heads.mixed
    ml.heads.conformance
    ml.heads.features | ml.heads.knn | ml.heads.lda | ml.heads.network | ml.heads.softmax | ml.heads.trial
    ml.ports | ml.predicting | vision.runtime | vision.graph | vision.preprocessing | vision.images
    vision.anatomy
    vision.graft
    vision.flatbuffer | vision.flatbuffer_writer | vision.tflite_schema
    ml.discriminant | store.snapshots | store.sums
    ml.soundness
    ml.recipes | ml.neighbourhoods | ml.separation | ml.unknowns
    ml.left_out | ml.likenesses
    ml.linear_answers
    ml.scatter
    ml.cholesky | store.sums_file
    ml.networks | ml.fits.protocol | ml.regression
    ml.headway | ml.validation
    ml.layers | ml.losses | ml.descent | ml.lbfgs
    ml.heads.protocol | ml.estimates
    store.training_set
    ml.arrays | ml.drift | ml.front | ml.loners | ml.selection
    store.erasure
    ml.batches | ml.configuration | ml.package | ml.progress | ml.stages | store.rows | store.database | store.manifest
    agent.settling | ml.labels | ml.pending | ml.providers
    ml.sample_files | ml.diagnosis
    ml.checkpoints
    ml.classifier_metadata | ml.streams | ml.training_progress
    agent.excerpt | agent.status | agent.listing | ml.description | ml.features
    ml.constraints
    ml.exemplars | ml.neighbors
    ml.summed
    ml.values | ml.metrics | ml.optimizers | ml.parameters | ml.statistics | ml.task | store.quantised
    ml.intervals | ml.pixels | ml.sequences | ml.triangle
    ml.feature_types | ml.members | ml.splitting | ml.writable
    store.tarball | vision.delegate_records
    agent.board | agent.heap | agent.rejected
    agent.home | agent.labels | agent.pauses | ml.extraction_time | ml.pace | ml.transforms | store.atomic
    store.device_lock | vision.elf | vision.device_nodes
    vision.lanes | vision.picture_metadata | vision.permissions
    vision.landlock | vision.seccomp
    store.chosen
    ml.copies | store.lock | store.digests | store.whole_file | vision.thumbnails | vision.wire | ml.feature_source
    vision.abreast | vision.memory_budget
    ml.data_source
    ml.apportionment | ml.picture_labels | ml.records | vision.throwaway
    vision.confinement | vision.delegate_spec | vision.delegate_verdict | vision.kernel | vision.syscalls
    vision.picture_end | vision.silence | vision.spare_memory | vision.turns
    example_config
    config | guest | hook_search | hookspecs | plugin_package | ml.augmentation | ml.feature_extractors
    sections
    errors
"""
"""Top to bottom.  A room imports from storeys below its own, never from its own and never from above."""

ROOMS = [
    (pattern.strip(), level)
    for level, line in enumerate(reversed(STOREYS.strip().splitlines()))
    for pattern in line.split("|")
]

DOORS = {
    "PIL": {"vision.images", "cli.pictures"},
    "ai_edge_litert": {"vision.runtime"},
    "click": {"cli", "cli.*"},
    "fcntl": {"store.lock", "store.device_lock"},
    "matplotlib": {"report.plots"},
    # What is imported by a text escapes the storeys: the public names, lazy commands, the runtime of two names.
    "importlib.import_module": {"ml.kinds", "", "cli", "vision.backend", "vision.runtime"},
    "pluggy": {"hookspecs", "plugins"},
    "pytest": {"testing.fixtures"},
    "rich": {"cli", "cli.*"},
    "signal": {"agent.daemon", "vision.delegate_trial", "vision.worker"},
    "socket": {
        "agent.daemon",
        "agent.control",
        "agent.calling",
        "agent.connection_pool",
        "agent.idle_connections",
        "agent.rights",
        "agent.sockets",
        "vision.child",
        "vision.engine",
    }
    | {"vision.lanes", "vision.wire", "vision.worker"},
    "sqlite3": {"store.database", "store.samples"},
    "subprocess": {
        "vision.child",
        "vision.delegates",
        "vision.engine",
        "vision.thumbnails",
        "vision.throwaway",
    },
    "tflite_runtime": {"vision.runtime"},
    "watchdog": {"agent.watch"},
    # Renaming and forcing to disk decide what survives a power cut; one module does it right for everybody.
    "os.fdatasync": {"store.atomic"},
    "os.fsync": {"store.atomic"},
    "os.rename": {"store.atomic"},
    "os.renames": {"store.atomic"},
    "os.replace": {"store.atomic"},
    "shutil.move": {"store.atomic"},
    "'NOTIFY_SOCKET'": {"agent.daemon"},
}
"""A library, a function or a text, and the only modules that may reach for it."""

ENGINE_SIDE = (
    "PIL",
    "ai_edge_litert",
    "edge_agent.vision.augmentation",
    "edge_agent.vision.backend",
    "edge_agent.vision.canary",
    "edge_agent.vision.delegate_trial",
    "edge_agent.vision.extractor",
    "edge_agent.vision.extractor_stage",
    "edge_agent.vision.image_values",
    "edge_agent.vision.images",
    "edge_agent.vision.performance",
    "edge_agent.vision.runtime",
    "edge_agent.vision.sandbox",
    "edge_agent.vision.signatures",
    "edge_agent.vision.thumbnail_maker",
    "edge_agent.vision.trainable",
    "edge_agent.vision.trainable_head",
    "edge_agent.vision.trial",
    "edge_agent.vision.witness",
    "edge_agent.vision.worker",
    "tflite_runtime",
)
"""What the agent's own process never loads: native code that can die lives in the engine."""

# fmt: off
NEVER = {
    "time.sleep",
    "builtins.eval", "builtins.exec", "os.popen", "os.system", "yaml.load", "yaml.unsafe_load",
    "cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve",
    "aiohttp", "asyncio", "ftplib", "http", "httpx", "requests", "smtplib", "socketserver", "ssl",
    "imaplib", "multiprocessing.connection", "poplib", "urllib.request", "urllib3", "xmlrpc",
    "socket.AF_INET", "socket.AF_INET6", "socket.create_connection", "socket.create_server", "socket.getaddrinfo",
    "socket.gethostbyname",
    "scipy", "sklearn", "tensorflow", "torch",
    "unittest",
}
AS_CODE = {
    "builtins.eval", "builtins.exec", "os.popen", "os.system", "yaml.load", "yaml.unsafe_load",
    "cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve",
}
# fmt: on
"""Waiting blindly, running data as code, unpickling, networks, what is too heavy for a device, test tools."""

BOUNDARIES = {
    "agent.agent",
    "agent.opinions",
    "cli",
    "guest",
    "mailbox",
    "ml.admission",
    "ml.predicting",
    "ml.jobs",
    "ml.providers",
    "ml.quarantine",
    "ml.task",
    "plugin_host",
    "plugins",
    "vision.backend",
}
"""Where a defect in anybody's code ends: plugins, the agent's step, `main`, a task's or a request's
thread, a batch provider."""

NOT_A_NOUN = {"base", "common", "const", "constants", "helper", "helpers", "manager", "misc", "util", "utils"}

LONGEST = 350


def read_house(folder: Path) -> House:
    """Every module below a folder; `edge_agent/cli/__init__.py` is "cli", the package itself is ""."""
    house = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        house[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text(encoding="utf-8")
    return house


def storey(room: str) -> int | None:
    """How high a room lies, or None when it is in no storey; an exact name goes before a pattern."""
    levels = {level for pattern, level in ROOMS if pattern == room}
    levels = levels or {level for pattern, level in ROOMS if fnmatch.fnmatchcase(room, pattern)}
    assert len(levels) <= 1, f"{room} is in several storeys"
    return min(levels, default=None)


class Reader(ast.NodeVisitor):
    """What a module imports (outside TYPE_CHECKING) and which dotted names it uses, however renamed."""

    def __init__(self, room: str, source: str, house: House) -> None:
        self.imports: list[tuple[int, str]] = []
        self.uses: list[tuple[int, str]] = []
        self._house = house
        self._package = f"edge_agent.{room}" if any(name.startswith(f"{room}.") for name in house) else ""
        self._package = self._package or f"edge_agent.{room}".rpartition(".")[0]
        self._names: dict[str, str] = {}
        self.visit(ast.parse(source))

    def visit_If(self, node: ast.If) -> None:
        """Leave out what only type checkers read."""
        if ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            for statement in node.orelse:
                self.visit(statement)
        else:
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        """`import a.b` and `import a.b as c`."""
        for alias in node.names:
            self.imports.append((node.lineno, alias.name))
            self._names[alias.asname or alias.name.partition(".")[0]] = (
                alias.name if alias.asname else alias.name.partition(".")[0]
            )

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """`from a import b`: b may be a room of ours or a name in one."""
        origin = node.module or ""
        if node.level:
            parts = self._package.split(".")
            origin = ".".join([*parts[: len(parts) - node.level + 1], *([origin] if origin else [])])
        for alias in node.names:
            name = f"{origin}.{alias.name}"
            ours = origin == "edge_agent" or origin.startswith("edge_agent.")
            is_room = name.removeprefix("edge_agent.") in self._house
            self.imports.append((node.lineno, origin if ours and not is_room else name))
            self._names[alias.asname or alias.name] = name

    def visit_Name(self, node: ast.Name) -> None:
        """A plain name, under the one it was imported by; one that was not may be Python's own."""
        self.uses.append((node.lineno, self._names.get(node.id, f"builtins.{node.id}")))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """A dotted name such as `os.path.join`."""
        parts = [node.attr]
        inner = node.value
        while isinstance(inner, ast.Attribute):
            parts.append(inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name) and inner.id in self._names:
            parts.append(self._names[inner.id])
            self.uses.append((node.lineno, ".".join(reversed(parts))))
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        """A text stands for itself, in quotes."""
        if isinstance(node.value, str):
            self.uses.append((node.lineno, repr(node.value)))


def reading(house: House) -> Iterator[tuple[str, Reader]]:
    """Each module with what was read in it."""
    for room, source in house.items():
        yield room, Reader(room, source, house)


def within(name: str, whole: str) -> bool:
    """Is a dotted name the given one or something below it?"""
    return name == whole or name.startswith(f"{whole}.")


def is_bare_package(room: str, house: House) -> bool:
    """A package whose own `__init__` imports nothing of ours; it can lie anywhere."""
    source = house.get(room, "")
    return storey(room) is None and not any(
        within(name, "edge_agent") for _, name in Reader(room, source, house).imports
    )


def imports_go_down(house: House) -> list[str]:
    """Imports go to a lower storey; a package's `__init__` may gather its rooms, and all know the version."""
    complaints = []
    for room, read in reading(house):
        level = storey(room)
        for line, name in read.imports:
            target = name.removeprefix("edge_agent").removeprefix(".")
            if not within(name, "edge_agent") or within(target, room) or not room:
                continue
            below = storey(target)
            if not target or is_bare_package(target, house):
                continue
            if below is None or level is None or below >= level:
                complaints.append(f"{room}:{line} imports {target}, which is not below it")
    return sorted(set(complaints))


def rooms_do_not_go_round_the_front(house: House) -> list[str]:
    """Public names are for others: a room takes them from where they live, else it would import upwards."""
    public = {f"edge_agent.{name}" for name in edge_agent.__all__} - {"edge_agent.__version__"}
    return sorted(
        f"{room}:{line} takes {name} from the front"
        for room, read in reading(house)
        for line, name in set(read.uses)
        if room and name in public
    )


def every_room_is_in_a_storey(house: House) -> list[str]:
    """A new module is given its place in STOREYS; a package without code of its own needs none."""
    packages = {room.rpartition(".")[0] for room in house} | {"extractors"}
    return [
        f"{room} has no place in STOREYS"
        for room in house
        if room and storey(room) is None and not (room in packages and is_bare_package(room, house))
    ]


def one_door_each(house: House) -> list[str]:
    """A library is imported, and a delicate function is used, only where DOORS says."""
    complaints = []
    for room, read in reading(house):
        for line, name in read.imports + read.uses:
            for door, keepers in DOORS.items():
                if within(name, door) and not any(fnmatch.fnmatchcase(room, keeper) for keeper in keepers):
                    complaints.append(f"{room}:{line} reaches for {door}")
    return sorted(set(complaints))


def paths_are_renamed_in_one_place(house: House) -> list[str]:
    """`path.rename(x)` and `path.replace(x)` belong to store.atomic; `text.replace(a, b)` does not."""
    return [
        f"{room}:{node.lineno} renames a path"
        for room, source in house.items()
        if room != "store.atomic"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and not node.keywords
        if node.func.attr in {"rename", "replace"} and len(node.args) == 1
    ]


def the_agent_loads_no_native_code(house: House) -> list[str]:
    """Rooms of the agent's process import nothing of the engine's."""
    return [
        f"{room}:{line} imports {name}, which belongs to the engine process"
        for room, read in reading(house)
        if not room.startswith("vision.") and room != "cli.pictures"
        for line, name in read.imports
        if any(within(name, other) for other in ENGINE_SIDE)
    ]


def some_things_are_never_done(house: House) -> list[str]:
    """Names of NEVER, `shell=True` and `allow_pickle=True`."""
    complaints = [
        f"{room}:{line} uses {name}"
        for room, read in reading(house)
        for line, name in read.imports + read.uses
        if any(within(name, never) for never in NEVER)
    ]
    for room, source in house.items():
        for node in ast.walk(ast.parse(source)):
            if not (isinstance(node, ast.keyword) and node.arg in {"shell", "allow_pickle"}):
                continue
            if not (isinstance(node.value, ast.Constant) and node.value.value is False):
                complaints.append(f"{room}:{node.value.lineno} passes {ast.unparse(node)}")
    return sorted(set(complaints))


def defects_are_caught_at_boundaries(house: House) -> list[str]:
    """Only a boundary catches everything; a handler that tidies up and raises again catches nothing."""
    complaints = []
    for room, source in house.items():
        if room in BOUNDARIES:
            continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ExceptHandler):
                kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
                last = node.body[-1]
                broad = not (isinstance(last, ast.Raise) and last.exc is None)
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
                kinds, broad = node.args, True
            else:
                continue
            names = {"" if kind is None else ast.unparse(kind) for kind in kinds}
            if broad and names & {"", "Exception", "BaseException"}:
                complaints.append(f"{room}:{node.lineno} catches everything")
    return complaints


def one_noun_a_module(house: House) -> list[str]:
    """The docstring says what happens here, the name is a thing, the length is at most LONGEST lines."""
    complaints = []
    for room, source in house.items():
        lines = len(source.splitlines())
        if lines > LONGEST:
            complaints.append(f"{room} has {lines} lines, more than {LONGEST}")
        if not (ast.get_docstring(ast.parse(source)) or "").startswith("This is where "):
            complaints.append(f'{room} does not begin with "This is where"')
        if set(room.split(".")) & NOT_A_NOUN:
            complaints.append(f"{room} is not named after one thing")
    return complaints


LAWS: list[Callable[[House], list[str]]] = [
    imports_go_down,
    rooms_do_not_go_round_the_front,
    every_room_is_in_a_storey,
    one_door_each,
    paths_are_renamed_in_one_place,
    the_agent_loads_no_native_code,
    some_things_are_never_done,
    defects_are_caught_at_boundaries,
    one_noun_a_module,
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_law_holds(law):
    """Every module of edge_agent keeps the law."""
    complaints = law(read_house(PACKAGE))

    assert not complaints, "\n".join(complaints)


def test_nothing_runs_data_as_code_anywhere():
    """E9: no pickle, eval, exec, shell or unsafe YAML in the core, nor in plugins, tools, scripts or benchmarks."""
    root = PACKAGE.parent
    folders = [
        PACKAGE,
        *(root / name for name in ("plugins", "tools", "benchmarks", "examples", "scripts", "deploy")),
    ]
    assert len(read_house(PACKAGE)) > 300

    # Others may use a network, scikit-learn or a test's tools; nobody may run what was only to be read.
    for folder in folders:
        found = [
            one for one in some_things_are_never_done(read_house(folder)) if not _is_for_others(one, folder)
        ]
        assert not found, "\n".join(found)


def _is_for_others(complaint: str, folder: Path) -> bool:
    name = complaint.rpartition(" uses ")[2]
    return folder != PACKAGE and not (" passes " in complaint or any(within(name, one) for one in AS_CODE))


BROKEN = [
    (imports_go_down, {"errors": "from edge_agent.config import Config", "config": ""}),
    (imports_go_down, {"ml.heads.lda": "from edge_agent.ml.heads import softmax", "ml.heads.softmax": ""}),
    (
        imports_go_down,
        {"store.samples": "def f():\n    import edge_agent.store.registry", "store.registry": ""},
    ),
    (imports_go_down, {"ml.features": "from . import model", "ml.model": ""}),
    (imports_go_down, {"ml.features": "from .model import MLModel", "ml.model": ""}),
    (
        imports_go_down,
        {"ml.features": "from edge_agent.ml.novelty import x", "ml.novelty": "import edge_agent"},
    ),
    (imports_go_down, {"ml.features": "from edge_agent.cli import main", "cli": "", "cli.run": ""}),
    (rooms_do_not_go_round_the_front, {"errors": "from edge_agent import MLModel as M\nprint(M)"}),
    (rooms_do_not_go_round_the_front, {"errors": "import edge_agent\nprint(edge_agent.MLModel.load)"}),
    (every_room_is_in_a_storey, {"ml.novelty": ""}),
    (every_room_is_in_a_storey, {"ml": "from edge_agent.ml.model import y", "ml.model": ""}),
    (one_door_each, {"ml.model": "import pluggy"}),
    (one_door_each, {"ml.model": "from importlib import import_module"}),
    (one_door_each, {"ml.model": "from PIL.Image import open as look"}),
    (one_door_each, {"agent.control": "import os as o\no.replace('a', 'b')"}),
    (one_door_each, {"agent.control": "from os import fsync as f; f(1)"}),
    (one_door_each, {"agent.control": "import os\nos.environ['NOTIFY_SOCKET']"}),
    (paths_are_renamed_in_one_place, {"agent.home": "path.rename(other)"}),
    (paths_are_renamed_in_one_place, {"agent.home": "(a / 'b').replace(other)"}),
    (
        the_agent_loads_no_native_code,
        {"agent.intake": "from edge_agent.vision import images", "vision.images": ""},
    ),
    (
        the_agent_loads_no_native_code,
        {"store.samples": "from edge_agent.vision.runtime import load_interpreter"},
    ),
    (the_agent_loads_no_native_code, {"cli.predict": "def f():\n    from PIL import Image"}),
    (some_things_are_never_done, {"agent.agent": "from time import sleep as rest; rest(1)"}),
    (some_things_are_never_done, {"agent.agent": "import time\ntime.sleep(1)"}),
    (some_things_are_never_done, {"ml.model": "import pickle"}),
    (some_things_are_never_done, {"ml.model": "eval('1')"}),
    (some_things_are_never_done, {"ml.model": "import urllib.request"}),
    (some_things_are_never_done, {"agent.control": "import socket\nsocket.socket(socket.AF_INET)"}),
    (some_things_are_never_done, {"agent.calling": "import socket as s\ns.create_connection(a)"}),
    (some_things_are_never_done, {"ml.model": "import numpy as np\nnp.load(f, allow_pickle=True)"}),
    (some_things_are_never_done, {"vision.child": "import subprocess\nsubprocess.run('ls', shell=yes)"}),
    (defects_are_caught_at_boundaries, {"ml.model": "try: f()\nexcept: pass"}),
    (defects_are_caught_at_boundaries, {"ml.model": "try: f()\nexcept (OSError, Exception): pass"}),
    (
        defects_are_caught_at_boundaries,
        {"ml.model": "try: f()\nexcept BaseException as e:\n    raise X from e"},
    ),
    (defects_are_caught_at_boundaries, {"ml.model": "with contextlib.suppress(Exception): f()"}),
    (one_noun_a_module, {"ml.model": '"""This is where models are."""' + "\n" * LONGEST + "x"}),
    (one_noun_a_module, {"ml.model": '"""A model."""'}),
    (one_noun_a_module, {"ml.utils": '"""This is where things lie."""'}),
]


@pytest.mark.parametrize(("law", "house"), BROKEN)
def test_law_sees_when_it_is_broken(law, house):
    """Each of these small houses breaks exactly this law, and the law says so once."""
    assert len(law(house)) == 1


KEPT = [
    (imports_go_down, {"ml.model": "from edge_agent.ml import features\nimport numpy", "ml.features": ""}),
    (
        imports_go_down,
        {"errors": "from edge_agent import __version__\nfrom edge_agent.ml import x", "ml": "", "": ""},
    ),
    (imports_go_down, {"errors": "if TYPE_CHECKING:\n    from edge_agent.cli import main", "cli": ""}),
    (
        imports_go_down,
        {"": "from edge_agent.cli import main", "cli": "from edge_agent.cli.run import x", "cli.run": ""},
    ),
    (rooms_do_not_go_round_the_front, {"errors": "from edge_agent import __version__\nprint(__version__)"}),
    (rooms_do_not_go_round_the_front, {"": "if TYPE_CHECKING:\n    from edge_agent.ml.model import MLModel"}),
    (
        paths_are_renamed_in_one_place,
        {"agent.home": "text.replace('a', 'b'); replace(x, y=1); x.replace(y=1)"},
    ),
    (one_door_each, {"agent.home": "import os\nos.path.join('a')\nif TYPE_CHECKING:\n    import click"}),
    (some_things_are_never_done, {"ml.model": "import urllib.parse\nnp.load(f, allow_pickle=False)"}),
    (
        defects_are_caught_at_boundaries,
        {"ml.model": "try: f()\nexcept BaseException:\n    tidy()\n    raise"},
    ),
]


@pytest.mark.parametrize(("law", "house"), KEPT)
def test_law_lets_pass_what_is_right(law, house):
    """These look like breaches and are none."""
    assert law(house) == []


@pytest.mark.parametrize("room", sorted(DOORS["socket"]))
def test_checklist_68_sockets_stay_on_the_device(room):
    """The laws forbid networks and other doors to sockets; each socket says that it is of the system's own family."""
    made = [
        node
        for node in ast.walk(ast.parse(read_house(PACKAGE)[room]))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"socket.socket", "socket.socketpair"}
    ]

    for call in made:
        families = [ast.unparse(one) for one in call.args[:1]] or [one.arg for one in call.keywords]
        assert families in (["socket.AF_UNIX"], ["fileno"])


def test_names_in_the_tables_exist():
    """No storey, door or boundary names a module that is gone."""
    rooms = read_house(PACKAGE)
    named = (
        {pattern for pattern, _ in ROOMS}
        | BOUNDARIES
        | {room for keepers in DOORS.values() for room in keepers}
    )

    assert sorted(pattern for pattern in named if not fnmatch.filter(rooms, pattern)) == []


def test_public_names_are_there_once():
    """`edge_agent.__all__` lists each public name once (the linter keeps their order) and each can be had."""
    assert len(edge_agent.__all__) == len(set(edge_agent.__all__))
    for name in edge_agent.__all__:
        assert getattr(edge_agent, name) is not None
    with pytest.raises(AttributeError, match="MLNothing"):
        edge_agent.MLNothing  # noqa: B018


def test_public_names_agree_in_all_three_lists():
    """What type checkers import, what is loaded on demand and `__all__` are the same names from the same rooms."""
    house = read_house(PACKAGE)
    [for_checkers] = [
        node
        for node in ast.parse(house[""]).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    checked = {
        alias.name: node.module.removeprefix("edge_agent.")
        for node in for_checkers.body
        for alias in node.names
    }

    assert checked == edge_agent._HOME
    assert {*checked, "__version__"} == set(edge_agent.__all__)
    assert not set(checked) & {room.partition(".")[0] for room in house}  # a room would hide the name


def fresh_process(program: str, *arguments: str) -> None:
    """Run a few lines of Python in a new process where warnings are errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=300,  # a busy board, and every module
        cwd=PACKAGE.parent,
    )
    assert done.returncode == 0, done.stderr


def test_every_module_can_be_imported_first(tmp_path):
    """Each module imports without a warning when no other module of ours was imported before it."""
    program = """
import importlib, sys
# Each module is imported some fifty times: compiled once, it takes a fraction of the time.
sys.dont_write_bytecode, sys.pycache_prefix = False, sys.argv[1]
for name in sys.argv[2:]:
    for loaded in [m for m in sys.modules if m.partition(".")[0] == "edge_agent"]:
        del sys.modules[loaded]
    importlib.import_module(name)
"""
    rooms = [room for room in read_house(PACKAGE) if not room.endswith("__main__")]  # those run the program
    fresh_process(program, str(tmp_path), *(f"edge_agent.{room}".rstrip(".") for room in rooms))


def test_public_names_are_loaded_when_they_are_asked_for():
    """`import edge_agent` loads no other module of ours and no library; a name brings in its own room only."""
    program = """
import sys
before = set(sys.modules)
import edge_agent
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
assert not loaded - {"edge_agent", "__future__", "importlib", "typing", *sys.stdlib_module_names}, loaded
assert [name for name in sys.modules if name.startswith("edge_agent")] == ["edge_agent"]
assert set(edge_agent.__all__) <= set(dir(edge_agent))
from edge_agent import MLModelError, MLUpdateTask
assert "numpy" in sys.modules and "PIL" not in sys.modules
assert MLModelError is edge_agent.errors.MLModelError
from edge_agent import *
assert image_value_at and "PIL" in sys.modules
"""
    fresh_process(program)


def test_agent_process_loads_nothing_of_the_engine():
    """Importing all rooms of the agent's process brings in no picture library, no runtime, no engine room."""
    rooms = [
        f"edge_agent.{room}"
        for room in read_house(PACKAGE)
        if room.startswith(("agent", "store", "plugin", "default_plugins", "ml", "mailbox", "cli"))
        if room not in {"cli.pictures", "cli.__main__"}
    ]
    program = f"""
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
loaded = sorted(set({ENGINE_SIDE!r}) & set(sys.modules))
assert not loaded, loaded
"""
    fresh_process(program, *rooms)


@pytest.mark.parametrize(
    ("program", "unused"),
    [
        (
            "import edge_agent.agent.agent, edge_agent.default_plugins",
            {
                "edge_agent.ml.heads.conformance",
                "edge_agent.ml.training_session",
                "edge_agent.vision.delegate_bench",
                "edge_agent.vision.flatbuffer_writer",
                "tarfile",
            },
        ),
        (
            "import edge_agent.vision.worker, edge_agent.vision.runtime as it; it._open_runtime('auto')",
            {"importlib.metadata", "email", "zipfile", "tomllib", "sqlite3", "click", "pluggy", "difflib"}
            | ({"numpy.random", "numpy.ma"} if int(np.__version__.split(".")[0]) > 1 else set()),
        ),
        (
            "import edge_agent.agent.asking, edge_agent.agent.client",
            {"numpy", "msgspec", "edge_agent.config"},
        ),
    ],
    ids=["agent", "engine", "client"],
)
def test_a_process_starts_without_what_it_may_never_need(program, unused):
    """Nobody waits for it, and a board has no less memory for it: what a rare case needs is imported in that case."""
    fresh_process(
        f"import sys\n{program}\nloaded = sorted({unused!r} & set(sys.modules))\nassert not loaded, loaded"
    )

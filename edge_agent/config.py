"""This is where a TOML file becomes frozen sections, and where all its problems are reported at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from edge_agent.errors import ConfigError
from edge_agent.sections import convert_section, problem_at, suggest

PluginsCheck = Callable[["PluginsConfig"], Iterable[str]]
"""What finds the problems of `[plugins.x]`, which only the plugins know."""


LONGEST_SECONDS = 7 * 86400.0
"""A week; longer times are mistakes, and some would overflow a timer."""


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of the configuration; each stage of the agent receives its own and nothing else."""


class DropFolderConfig(Section, frozen=True, kw_only=True):
    """Where labelled pictures arrive."""

    path: Annotated[str, Meta(description="Folder that is watched; empty: HOME/drop.")] = ""
    settle_seconds: Annotated[
        float,
        Meta(
            ge=0,
            le=LONGEST_SECONDS,
            description="A file is read once size and time of change held still this long.",
        ),
    ] = 2.0
    rescan_seconds: Annotated[
        float,
        Meta(
            gt=0,
            le=LONGEST_SECONDS,
            description="The folder is listed at least this often, whatever events say.",
        ),
    ] = 300.0
    watch: Annotated[
        Literal["auto", "events", "polling"],
        Meta(description="'auto' polls on network file systems and listens to events elsewhere."),
    ] = "auto"
    poll_seconds: Annotated[
        float, Meta(gt=0, le=LONGEST_SECONDS, description="How often a polled folder is listed.")
    ] = 5.0
    after_intake: Annotated[
        Literal["archive", "delete"],
        Meta(description="What happens to a picture once its features are safely stored."),
    ] = "archive"


class PicturesConfig(Section, frozen=True, kw_only=True):
    """Which picture files are accepted."""

    formats: Annotated[
        tuple[Literal["JPEG", "PNG", "WEBP", "BMP", "GIF"], ...],
        Meta(min_length=1, description="Decided by content, never by the file's name."),
    ] = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
    max_megapixels: Annotated[float, Meta(gt=0, le=200, description="Larger pictures are refused.")] = 25.0
    max_file_bytes: Annotated[int, Meta(gt=0, description="Larger files are refused.")] = 32 * 1024 * 1024


class ExtractorConfig(Section, frozen=True, kw_only=True):
    """The frozen part that sees, and the process it runs in."""

    name: Annotated[
        str, Meta(description="A registered or added extractor; empty: as `edge-agent extractors use` says.")
    ] = ""
    runtime: Annotated[
        Literal["auto", "litert", "tflite-runtime"],
        Meta(description="'auto' takes LiteRT where it is installed."),
    ] = "auto"
    threads: Annotated[
        int,
        Meta(
            ge=0,
            le=16,
            description="Pictures looked at side by side; 0: one more than cores that others leave free, up to 4.",
        ),
    ] = 0
    timeout_seconds: Annotated[
        float,
        Meta(
            gt=0,
            le=LONGEST_SECONDS,
            description="A picture that takes longer is given up and the engine restarted.",
        ),
    ] = 6.0
    start_timeout_seconds: Annotated[
        float, Meta(gt=0, le=LONGEST_SECONDS, description="Patience with a starting engine.")
    ] = 60.0
    delegate: Annotated[
        str,
        Meta(
            min_length=1,
            description="'auto' takes the fastest that agrees with the CPU; else 'cpu', or a name of an accelerator.",
        ),
    ] = "auto"
    strict: Annotated[
        bool, Meta(description="Rather answer nothing than on the CPU when the accelerator is away.")
    ] = False
    max_memory_mb: Annotated[
        float,
        Meta(
            ge=0,
            description="What looks at pictures is started afresh when it has grown above this; 0: never.",
        ),
    ] = 200.0
    min_cosine: Annotated[
        float,
        Meta(ge=0.5, le=1, description="What an accelerator's features must have to the CPU's to be used."),
    ] = 0.99
    sandbox: Annotated[
        Literal["auto", "required", "off"],
        Meta(
            description="'auto' shuts in the process that decodes as far as the kernel can; 'required' needs it whole."
        ),
    ] = "auto"

    @property
    def interpreter_threads(self) -> int:
        """Threads of one that computes by itself, as a plugin's or an accelerator's, on cores that others may want."""
        return self.threads or 1


class LearningConfig(Section, frozen=True, kw_only=True):
    """The part that learns."""

    head: Annotated[str, Meta(min_length=1, description="A registered learning method.")] = "auto"
    held_out_fraction: Annotated[
        float, Meta(ge=0, le=0.5, description="Share of pictures kept for evaluation, chosen by content.")
    ] = 0.1
    random_state: Annotated[int, Meta(ge=0, description="Seed of everything random in training.")] = 0
    most_near_duplicates: Annotated[
        int,
        Meta(
            ge=0,
            description="Of pictures of a label that show the same, as in a burst, so many are learned from; 0: all.",
        ),
    ] = 0
    parameters: Annotated[
        dict[str, Any], Meta(description="Parameters of the head, by name, for instance shrinkage = 0.3.")
    ] = {}
    background_labels: Annotated[
        tuple[str, ...],
        Meta(description="Labels of pictures of nothing; what is answered so is reported as unknown."),
    ] = ("background", "none")


class UpdateConfig(Section, frozen=True, kw_only=True):
    """When a new version is made."""

    min_new_samples: Annotated[
        int, Meta(ge=1, description="This many new samples start an update at once.")
    ] = 50
    quiet_seconds: Annotated[
        float,
        Meta(
            ge=0, le=LONGEST_SECONDS, description="Fewer start one when nothing more arrived for this long."
        ),
    ] = 1.0
    new_label_samples: Annotated[
        int, Meta(ge=1, description="A label the current version does not know starts one at this many.")
    ] = 2
    keep_versions: Annotated[int, Meta(ge=2, description="Older versions are pruned.")] = 10
    probation_predictions: Annotated[
        int,
        Meta(
            ge=0,
            description="A new version that fails or turns slow within so many predicted pictures is taken back.",
        ),
    ] = 200
    probation_seconds: Annotated[
        float, Meta(ge=0, le=LONGEST_SECONDS, description="After this long it is trusted in any case.")
    ] = 86400.0


class LimitsConfig(Section, frozen=True, kw_only=True):
    """When the board is not fit for learning: an update waits, and one under way rests. Pictures are answered."""

    max_celsius: Annotated[
        float,
        Meta(ge=0, le=150, description="The processor's heat that learning waits at; 0: whatever it is."),
    ] = 80.0
    wait_while_throttled: Annotated[
        bool, Meta(description="Wait while the firmware reports low voltage or slows the board down.")
    ] = True
    min_free_memory_mb: Annotated[
        float, Meta(ge=0, description="Learning waits while programs could have less; 0: whatever there is.")
    ] = 48.0
    min_free_disk_mb: Annotated[
        float, Meta(ge=0, description="Learning waits while the disk of HOME has less; 0: whatever it has.")
    ] = 4.0
    max_load: Annotated[
        float, Meta(ge=0, description="Load of the last minute, by core, that learning waits at; 0: any.")
    ] = 0.0
    on_battery: Annotated[
        Literal["wait", "work"], Meta(description="What learning does while the board runs on a battery.")
    ] = "wait"
    quiet_hours: Annotated[
        str,
        Meta(
            pattern=r"^(([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d)?$",
            description="No learning then by itself, such as '22:00-06:30' in local time; empty: at any hour.",
        ),
    ] = ""
    root: Annotated[
        str, Meta(min_length=1, description="Folder in which 'sys' and 'proc' of the board are.")
    ] = "/"


def minutes_of(hours: str) -> tuple[int, int] | None:
    """Begin and end, in minutes of the day, of hours such as `22:00-06:30`; None for none."""
    if not hours:
        return None
    begin, end = (int(one[:2]) * 60 + int(one[3:]) for one in hours.split("-"))
    return begin, end


class RetentionConfig(Section, frozen=True, kw_only=True):
    """How long samples are kept; the oldest of a label go first, with their pictures. Versions stay as they are."""

    max_samples_per_label: Annotated[
        int, Meta(ge=0, description="Of each label at most so many samples are kept; 0: all.")
    ] = 0
    max_megabytes_per_label: Annotated[
        float, Meta(ge=0, description="The kept pictures of a label have at most so many megabytes; 0: any.")
    ] = 0.0
    max_age_days: Annotated[
        float, Meta(ge=0, description="Older samples go, but never the newest 20 of a label; 0: at no age.")
    ] = 0.0


class PluginsConfig(Section, frozen=True, kw_only=True):
    """Which plugins run, and what each is told."""

    disabled: tuple[str, ...] = ()
    settings: dict[str, dict[str, Any]] = {}


class Config(Section, frozen=True, kw_only=True):
    """All sections."""

    drop_folder: DropFolderConfig = DropFolderConfig()
    pictures: PicturesConfig = PicturesConfig()
    extractor: ExtractorConfig = ExtractorConfig()
    learning: LearningConfig = LearningConfig()
    update: UpdateConfig = UpdateConfig()
    limits: LimitsConfig = LimitsConfig()
    retention: RetentionConfig = RetentionConfig()
    plugins: PluginsConfig = PluginsConfig()


def load_config(path: Path | None, check_plugins: PluginsCheck | None = None) -> Config:
    """Read a TOML file; `None` gives the defaults.

    `check_plugins` is asked when there are problems already, so that those of `[plugins.x]` are told with them;
    where there are none, whoever loads the plugins finds theirs. Raises `ConfigError` that carries every
    problem, each with the path of the key it is about.
    """
    if path is None:
        return Config()
    import tomllib  # the engine has the sections too, and reads no file

    try:
        with path.open("rb") as file:
            data = tomllib.load(file)
    except FileNotFoundError:
        raise ConfigError(
            [f"{path}: no such file; `edge-agent config example` prints one to start from"]
        ) from None
    except OSError as error:
        hint = "; say it as its owner, or with sudo" if isinstance(error, PermissionError) else ""
        raise ConfigError([f"{path}: cannot be read: {error.strerror}{hint}"]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: not valid TOML: {error}"]) from None
    except RecursionError:
        raise ConfigError(
            [f"{path}: values are nested too deep; no setting needs more than three levels"]
        ) from None
    return parse_config(data, source=str(path), check_plugins=check_plugins)


def parse_config(
    data: Mapping[str, Any], *, source: str = "configuration", check_plugins: PluginsCheck | None = None
) -> Config:
    """Turn parsed TOML into a `Config`; every problem is collected before `ConfigError` is raised."""
    problems: list[str] = []
    sections: dict[str, Any] = {}
    known = {field.name: field.type for field in msgspec.structs.fields(Config)}
    for name, value in data.items():
        if name not in known:
            problems.append(f"{source}: [{name}]: unknown section{suggest(name, known)}")
        elif not isinstance(value, Mapping):
            problems.append(f"{source}: {name}: expected a table, written [{name}]")
        elif name == "plugins":
            sections[name] = _plugins_section(value, source, problems)
        else:
            sections[name] = convert_section(known[name], value, f"{source}: {name}", problems)
    if problems:
        if check_plugins is not None and "plugins" in sections:
            problems += check_plugins(sections["plugins"])
        raise ConfigError(problems)
    return Config(**sections)


def _plugins_section(data: Mapping[str, Any], source: str, problems: list[str]) -> PluginsConfig:
    """`[plugins]` holds `disabled`; every `[plugins.x]` below it belongs to plugin x and is checked by it."""
    disabled: tuple[str, ...] = ()
    settings: dict[str, dict[str, Any]] = {}
    for key, value in data.items():
        if key == "disabled":
            try:
                disabled = msgspec.convert(value, tuple[str, ...])
            except msgspec.ValidationError as error:
                problems.append(problem_at(f"{source}: plugins.disabled", error))
        elif isinstance(value, dict):
            settings[key] = value
        else:
            problems.append(f"{source}: plugins.{key}: expected a table, written [plugins.{key}]")
    return PluginsConfig(disabled=disabled, settings=settings)

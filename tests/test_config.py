"""A configuration is checked as a whole, and its example is true."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge_agent.config import (
    Config,
    DropFolderConfig,
    PluginsConfig,
    load_config,
    parse_config,
)
from edge_agent.errors import ConfigError
from edge_agent.example_config import example_config


def problems(data: dict[str, Any]) -> tuple[str, ...]:
    """What is wrong with parsed TOML."""
    with pytest.raises(ConfigError) as caught:
        parse_config(data, source="x.toml")
    return caught.value.problems


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    """No file and an empty file give the same."""
    (tmp_path / "empty.toml").write_text("")
    assert load_config(None) == Config()
    assert load_config(tmp_path / "empty.toml") == Config()


def test_what_is_given_wins_over_the_defaults(tmp_path: Path) -> None:
    """Keys that are left out keep their default; a whole number is fine for seconds."""
    (tmp_path / "x.toml").write_text('[drop_folder]\nsettle_seconds = 3\n[pictures]\nformats = ["PNG"]\n')
    config = load_config(tmp_path / "x.toml")
    assert config.drop_folder == DropFolderConfig(settle_seconds=3.0)
    assert config.pictures.formats == ("PNG",)


def test_every_problem_is_reported_with_its_key() -> None:
    """Unknown sections and keys, wrong types, values out of range: all at once, in the order of the file."""
    found = problems(
        {
            "drop_folder": {"settle_second": 1, "poll_seconds": 0, "watch": "always"},
            "pictures": {"formats": ["JPEG", "TIFF"], "max_megapixels": "25"},
            "update": 5,
            "learnin": {},
            "plugins": {"disabled": "events", "events": 3},
        }
    )
    starts = [
        "x.toml: drop_folder.settle_second: unknown key, did you mean 'settle_seconds'?",
        "x.toml: drop_folder.poll_seconds: ",
        "x.toml: drop_folder.watch: ",
        "x.toml: pictures.formats[1]: ",
        "x.toml: pictures.max_megapixels: ",
        "x.toml: update: expected a table, written [update]",
        "x.toml: [learnin]: unknown section, did you mean 'learning'?",
        "x.toml: plugins.disabled: ",
        "x.toml: plugins.events: expected a table, written [plugins.events]",
    ]
    assert len(found) == len(starts)
    assert [line for line, start in zip(found, starts, strict=True) if not line.startswith(start)] == []


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("drop_folder", "settle_seconds", -1),
        ("drop_folder", "settle_seconds", float("inf")),
        ("drop_folder", "settle_seconds", float("nan")),
        ("drop_folder", "rescan_seconds", 1e12),
        ("drop_folder", "after_intake", "keep"),
        ("pictures", "formats", []),
        ("pictures", "max_megapixels", 201),
        ("pictures", "max_file_bytes", 0),
        ("extractor", "threads", -1),
        ("extractor", "threads", True),
        ("learning", "held_out_fraction", 0.6),
        ("learning", "parameters", [1]),
        ("update", "keep_versions", 1),
        ("update", "min_new_samples", 1.5),
    ],
)
def test_values_out_of_range_are_refused(section: str, key: str, value: object) -> None:
    """Each is one problem that names section and key."""
    found = problems({section: {key: value}})
    assert len(found) == 1
    assert found[0].startswith(f"x.toml: {section}.{key}: ")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[update\n", "not valid TOML"),
        (b"\xff\xfe", "not valid TOML"),
        (b"a = " + b"[" * 100_000 + b"]" * 100_000, "values are nested too deep"),
        (None, "no such file"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, words: str) -> None:
    """Missing, broken and binary files are one problem with the path."""
    path = tmp_path / "x.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=words) as caught:
        load_config(path)
    assert str(path) in caught.value.problems[0]


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    """A path that cannot be opened as a file is one problem too."""
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)


def test_settings_of_plugins_are_kept_as_they_are() -> None:
    """Tables below [plugins] belong to the plugins, whatever their keys are."""
    config = parse_config({"plugins": {"disabled": ["b"], "a": {"x": [1, {"y": 2}]}, "c": {}}})
    assert config.plugins.disabled == ("b",)
    assert config.plugins.settings == {"a": {"x": [1, {"y": 2}]}, "c": {}}


def test_plugins_are_asked_when_something_else_is_wrong() -> None:
    """The problems of `[plugins.x]` come with all others; without others whoever loads the plugins finds them."""
    asked: list[dict[str, Any]] = []

    def check(plugins: PluginsConfig) -> list[str]:
        asked.append(plugins.settings)
        return ["plugins.x.port: expected `int`, got `str`"]

    assert parse_config({"plugins": {"x": {"port": "a"}}}, check_plugins=check).plugins.settings["x"]
    assert asked == []
    with pytest.raises(ConfigError) as caught:
        parse_config({"plugins": {"x": {"port": "a"}}, "updat": {}}, check_plugins=check)
    assert asked == [{"x": {"port": "a"}}]
    assert [problem.partition(",")[0] for problem in caught.value.problems] == [
        "configuration: [updat]: unknown section",
        "plugins.x.port: expected `int`",
    ]


def test_the_example_names_every_key_with_its_default() -> None:
    """Uncommented it is the default configuration, and every key is described in the line before."""
    import tomllib

    text, plugins = example_config().split("[plugins]")
    assert parse_config(tomllib.loads(text)) == Config()
    assert '# disabled = ["events"]' in plugins.splitlines()
    plain = tomllib.loads(re.sub("(?m)^# ([a-z_]+ = )", r"\1", text))
    assert parse_config(plain) == Config()
    for section in msgspec.structs.fields(Config):
        if section.name != "plugins":
            assert set(plain[section.name]) == {field.name for field in msgspec.structs.fields(section.type)}
    lines = text.splitlines()
    described = [lines[i - 1] for i, line in enumerate(lines) if re.match("# [a-z_]+ = ", line)]
    assert all(re.match(r"# .{10,}\.$", line) for line in described)

"""This is where one table of the configuration becomes a struct, and where every problem of it is found."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_type_hints

import msgspec

_S = TypeVar("_S")


def convert_section(kind: type[_S], data: Mapping[str, Any], where: str, problems: list[str]) -> _S | None:
    """Turn one table into its struct or dataclass `kind`, or return `None` when it has a problem.

    What is wrong is added to `problems`, each with `where` and its key. Settings of plugins too.
    """
    before = len(problems)
    fields = {field.name: field for field in section_fields(kind)}
    for key, value in data.items():
        if key not in fields:
            problems.append(f"{where}.{key}: unknown key{suggest(key, fields)}")
            continue
        try:
            msgspec.convert(value, fields[key].type)
        except msgspec.ValidationError as error:
            problems.append(problem_at(f"{where}.{key}", error))
    for name, field in fields.items():
        if field.required and name not in data:
            problems.append(f"{where}.{name}: missing; this key has no default")
    if len(problems) > before:
        return None
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:  # a rule that spans several keys
        problems.append(problem_at(where, error))
        return None


def is_section(kind: object) -> bool:
    """Whether a table can be turned into it: a kind of `msgspec.Struct` or a dataclass."""
    return isinstance(kind, type) and (issubclass(kind, msgspec.Struct) or dataclasses.is_dataclass(kind))


def section_fields(kind: type[Any]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """The keys of a table, with types and defaults."""
    if issubclass(kind, msgspec.Struct):
        return msgspec.structs.fields(kind)
    types = get_type_hints(kind, include_extras=True)
    return tuple(
        msgspec.structs.FieldInfo(
            field.name,
            field.name,
            types[field.name],
            msgspec.NODEFAULT if field.default is dataclasses.MISSING else field.default,
            msgspec.NODEFAULT if field.default_factory is dataclasses.MISSING else field.default_factory,
        )
        for field in dataclasses.fields(kind)
        if field.init
    )


def suggest(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown `word`: what was probably meant, or all that is known."""
    names = sorted(known)
    from difflib import get_close_matches  # only for who has written something wrong

    near = get_close_matches(word, names, n=1)
    return f", did you mean {near[0]!r}?" if near else f"; known are {', '.join(names) or 'none'}"


def problem_at(where: str, error: msgspec.ValidationError) -> str:
    """msgspec names the place inside a value at the end of its message; a person looks for it in front."""
    text, _, inside = str(error).partition(" - at `$")
    return f"{where}{inside.rstrip('`')}: {text[:1].lower()}{text[1:]}"

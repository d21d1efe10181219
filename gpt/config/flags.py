"""What a flag is: a dataclass field that carries its own help, range, other names and resume rule.

    lr: float = flag(3e-4, "highest learning rate", above=0, aliases=("learning_rate",))

So a flag is written once, and everything else reads it there: the command line and `--help` (gpt/cli/arguments.py),
the TOML files (gpt/config/toml.py), the range checks and `from_dict` here. Every check ends in a UsageError whose
one line says what is allowed. Annotations are read as they stand, so a module of flags does without
`from __future__ import annotations`.
"""

import dataclasses
import math
import os
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from numbers import Integral, Real
from typing import Any

from gpt.errors import UsageError

INT_LIMIT = 2**31 - 1  # of every whole number without a limit of its own: no array here has so long an axis


@dataclass(frozen=True)
class Rule:
    """What a flag's field knows beside its name, type and default."""

    help: str
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    aliases: tuple[str, ...] = ()  # other names that are accepted for it
    metavar: str = ""  # how --help calls its value
    default_text: str = ""  # how --help describes a default that is None or empty
    bare: str = ""  # the value meant when the flag stands alone
    test: Callable[[str], bool] | None = None  # for text: is this allowed?
    allowed: str = ""  # what `test` allows, in words
    escapes: bool = False  # typed, \n, \t and \\ in the text stand for a line break, a tab, a backslash
    path: bool = False  # the text names a file or folder
    positional: bool = False  # a plain argument is this flag's value
    saved: bool = True  # belongs to what is needed to run it again, so it goes into config.toml
    resume: bool = False  # may change when a run is continued
    later: bool = False  # came when there were runs without it: where it is missing in one, the default is meant


def flag(default: Any, help: str, **rule: Any) -> Any:
    """A dataclass field that is a flag; a default of `...` makes it required. `rule`: the fields of Rule."""
    return dataclasses.field(default=MISSING if default is ... else default, metadata={"rule": Rule(help, **rule)})


ESCAPES = {r"\n": "\n", r"\t": "\t", r"\\": "\\"}


def unescape(text: str) -> str:
    """A text as it was typed on a command line, with its escapes read. A backslash before another letter stays."""
    return re.sub(r"\\[nt\\]", lambda escape: ESCAPES[escape[0]], text)


def rule_of(field: dataclasses.Field) -> Rule:
    return field.metadata["rule"]


def kind_of(field: dataclasses.Field) -> type:
    """The type of a flag's value: bool, int, float, str, tuple (of texts) or typing.Literal (of choices)."""
    kind = field.type
    if isinstance(kind, types.UnionType):  # X | None
        kind = next(part for part in kind.__args__ if part is not type(None))
    origin = typing.get_origin(kind)
    return kind if origin is None or origin is typing.Literal else origin


def is_optional(field: dataclasses.Field) -> bool:
    return isinstance(field.type, types.UnionType)


def choices_of(field: dataclasses.Field) -> tuple[str, ...]:
    return typing.get_args(field.type) if typing.get_origin(kind_of(field)) is typing.Literal else ()


def known_names(config_class: type) -> dict[str, dataclasses.Field]:
    """Every name a flag of this class answers to, aliases included, with underscores -> its field."""
    return {name: f for f in fields(config_class) for name in (f.name, *rule_of(f).aliases)}


def canonical(name: str) -> str:
    """Both spellings are one: n-layer is n_layer."""
    return name.replace("-", "_")


def suggestion(name: str, names: list[str], prefix: str = "") -> str:
    """'; did you mean --n_layer?' for the known name nearest to a mistyped one, or nothing."""
    import difflib

    name = canonical(name).lower()
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.7)
    near = near or [known for known in names if name in known.split("_")]  # clip, for grad_clip
    return f"; did you mean {prefix}{near[0]}?" if near else ""


def allowed_values(field: dataclasses.Field) -> str:
    """What a flag takes, in words: 'a whole number of at least 1'."""
    rule, kind = rule_of(field), kind_of(field)
    if choices_of(field):
        return " or ".join(choices_of(field))
    if rule.allowed:
        return rule.allowed
    noun = {
        bool: "true or false",
        int: "a whole number",
        float: "a finite number",
        str: "a text",
        tuple: "texts",
    }[kind]
    limits = limits_in_words(rule)
    return noun + (f", {limits}" if limits else "")


def limits_in_words(rule: Rule) -> str:
    pairs = (
        ("at least", rule.at_least),
        ("above", rule.above),
        ("at most", rule.at_most),
        ("below", rule.below),
    )
    return " and ".join(f"{words} {limit}" for words, limit in pairs if limit is not None)


def check_value(field: dataclasses.Field, value: Any, name: str) -> Any:
    """The value of a flag, of its type and within its limits; for a float 1 becomes 1.0, a list becomes a tuple.

    `name` is what the message calls it: `--lr`, or `my.toml: lr`. Raises UsageError.
    """
    if value is None and is_optional(field):
        return None
    value = _typed(field, value, name)
    rule = rule_of(field)
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{name} must be {allowed_values(field)}, not {shown(value)}")
    if isinstance(value, int | float) and not isinstance(value, bool):
        too_low = (rule.at_least is not None and value < rule.at_least) or (
            rule.above is not None and value <= rule.above
        )
        too_high = (rule.at_most is not None and value > rule.at_most) or (
            rule.below is not None and value >= rule.below
        )
        if too_low or too_high:
            raise UsageError(f"{name} must be {limits_in_words(rule)}, not {shown(value)}")
        if isinstance(value, int) and rule.at_most is None and value > INT_LIMIT:
            raise UsageError(f"{name} must be at most {INT_LIMIT}, not {shown(value)}")
    for text in (value,) if isinstance(value, str) else value if isinstance(value, tuple) else ():
        _check_text(rule, text, name)
    return value


def _typed(field: dataclasses.Field, value: Any, name: str) -> Any:
    kind, choices = kind_of(field), choices_of(field)
    if choices:
        fits = isinstance(value, str) and value in choices
    elif kind is tuple:
        value = tuple(map(_as_text, value)) if isinstance(value, list | tuple) else (_as_text(value),)
        fits = all(isinstance(item, str) for item in value)
    elif kind is str:
        value = _as_text(value)
        fits = isinstance(value, str)
    elif kind is bool:
        fits = isinstance(value, bool)
    else:  # NumPy's numbers count as numbers, True does not
        fits = isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
        value = _number(kind, value) if fits else value
    if not fits:
        raise UsageError(f"{name} must be {allowed_values(field)}, not {shown(value)}")
    return value


def _as_text(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _number(kind: type, value: Any) -> int | float:
    try:
        return kind(value)
    except OverflowError:  # a whole number with more than 300 digits, for a float
        return math.inf


def _check_text(rule: Rule, text: str, name: str) -> None:
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise UsageError(f"{name} must be valid UTF-8 text, not {text!a}")
    if rule.path and (not text or "\0" in text):
        raise UsageError(f"{name} must name a file or folder, not {text!r}")
    if rule.test and not rule.test(text):
        raise UsageError(f"{name} must be {rule.allowed}, not {shown(text)}")


def shown(value: Any) -> str:
    """A value as a message quotes it: on one line, and not for ever."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def check_names(config_class: type, given: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """The given values under their flags' own names, each checked.

    Raises UsageError, also for a name that is unknown or given twice.
    """
    names, values = known_names(config_class), {}
    for name, value in given.items():
        field = names.get(canonical(str(name)))
        if field is None:
            raise UsageError(f"{where}unknown name {shown(name)}{suggestion(str(name), list(names))}")
        if field.name in values:
            raise UsageError(f"{where}{field.name} is given twice (also as {name})")
        values[field.name] = check_value(field, value, f"{where}{name}")
    return values


class Checked:
    """Base of every configuration: a frozen dataclass of flags, checked when it is made."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = check_value(field, getattr(self, field.name), f"--{field.name}")
            object.__setattr__(self, field.name, value)  # frozen, but [..] becomes (..) and 1 becomes 1.0
        self.check_together()

    def check_together(self) -> None:
        """Checks of several flags at once; raises UsageError."""

    @classmethod
    def from_dict(cls, given: Mapping[str, Any], where: str = "") -> typing.Self:
        """The configuration whose every value is given, as `dataclasses.asdict` and JSON give it.

        Only a flag that came later (see Rule) may be missing, and then has its default.
        Raises UsageError for an unknown, missing or wrongly typed value; `where` ("state.json: ") opens the
        message.
        """
        if not isinstance(given, Mapping):
            raise UsageError(f"{where}a configuration must be a table of names and values, not {shown(given)}")
        values = check_names(cls, given, where)
        missing = [f.name for f in fields(cls) if f.name not in values and not rule_of(f).later]
        if missing:
            raise UsageError(f"{where}{missing[0]} is missing")
        return cls(**values)


def required(config_class: type, values: Mapping[str, Any]) -> list[dataclasses.Field]:
    """The flags without a default that are not among the values."""
    return [f for f in fields(config_class) if f.default is MISSING and f.name not in values]

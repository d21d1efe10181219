"""A command's arguments, read into the values of its flags.

tyro reads them into their types and writes `--help`. In front of it stands `spell_out`, which brings every
argument into one form, `--n_layer=4`, whatever alias, hyphen or spacing it came in; so a mistyped flag gets a
suggestion and a wrong value one line, where tyro would draw a box. tyro is imported only here, when it is used.
"""

import contextlib
import dataclasses
import io
from collections.abc import Sequence
from typing import Annotated, Any

from gpt.cli import nanogpt
from gpt.config.flags import (
    Checked,
    allowed_values,
    canonical,
    check_value,
    kind_of,
    known_names,
    required,
    rule_of,
    shown,
    suggestion,
    unescape,
)
from gpt.errors import UsageError

TITLES = {"which": "checkpoint", "checkpoint": "run", "rundir": "run", "choice": "sampling"}  # of groups in --help
Given = list[tuple[dataclasses.Field, str]]  # flags and their values, as they were typed


def parse_given(
    config_class: type[Checked], arguments: Sequence[str], program: str, examples: str = ""
) -> dict[str, Any]:
    """The flags that the arguments set, by name, each checked; nothing about those they leave out."""
    if "--version" in arguments:
        from nanograd import __version__  # late: it imports NumPy

        print(f"{program} of nanograd {__version__}")
        raise SystemExit(0)
    given = spell_out(config_class, arguments)
    if given is None:
        _print_help(config_class, program, examples)  # ends in SystemExit
        given = []
    try:
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            values = _typed(given, program)
    except SystemExit as stop:
        for field, text in given:  # which value was it that does not read as its type?
            check_value(field, _from_text(field, text), f"--{field.name}")
        raise UsageError(" ".join(said.getvalue().split()) or "these flags make no sense") from stop
    values = {field.name: check_value(field, read(field, values[field.name]), f"--{field.name}") for field, _ in given}
    for field in required(config_class, values):
        plain = f" (or a plain argument {rule_of(field).metavar})" if rule_of(field).positional else ""
        raise UsageError(f"--{field.name}{plain} is missing: {rule_of(field).help}")
    return values


def spell_out(config_class: type[Checked], arguments: Sequence[str]) -> Given | None:
    """Arguments as (flag, value) pairs, whatever the spelling; None if they ask for help. Raises UsageError.

    A flag that takes a value takes the next argument, unless that is a flag itself; `--prompt=--odd` takes any.
    A repeatable flag takes all up to the next flag. A switch is `--bias`, `--no_bias` or `--bias=false`.
    """
    names = known_names(config_class)
    given: Given = []
    waiting = list(reversed(arguments))
    while waiting:
        argument = waiting.pop()
        if argument in ("-h", "--help"):
            return None
        if not _is_flag(argument):
            given.append((_positional(config_class, given, argument), argument))
            continue
        name, equals, value = argument[2:].partition("=")
        name = canonical(name)
        field, negated = names.get(name), False
        if field is None and name.startswith("no_"):
            field, negated = names.get(name[3:]), True
        if field is None and argument.startswith("--"):
            if not equals and waiting and not _is_flag(waiting[-1]) and nanogpt.is_known(name):
                value = waiting.pop()
            instead = nanogpt.translate(name, value, names)
            if instead is not None:
                waiting += reversed(instead)
                continue
        if name == "start" and value.startswith("FILE:"):  # nanoGPT's way to name a file
            field, value = names["prompt_file"], value.removeprefix("FILE:")
        if field is None or not argument.startswith("--") or (negated and kind_of(field) is not bool):
            raise UsageError(_unknown(argument, names))
        if kind_of(field) is bool:
            if not equals and waiting and waiting[-1].lower() in ("true", "false"):
                equals, value = "=", waiting.pop()
            given.append((field, _switch(field, value if equals else "true", negated)))
        elif equals:
            given.append((field, value))
        elif waiting and not _is_flag(waiting[-1]) and not (rule_of(field).bare and not _is_number(waiting[-1])):
            given.append((field, waiting.pop()))
            while kind_of(field) is tuple and waiting and not _is_flag(waiting[-1]):
                given.append((field, waiting.pop()))
        elif rule_of(field).bare:
            given.append((field, rule_of(field).bare))
        else:
            raise UsageError(f"--{name} needs a value: {_expected(field)}")
    return given


def read(field: dataclasses.Field, value: Any) -> Any:
    """The value of a flag, with the escapes in its text read where it has any."""
    if not rule_of(field).escapes:
        return value
    return unescape(value) if isinstance(value, str) else tuple(map(unescape, value))


def _is_flag(argument: str) -> bool:
    """--flag or -f, but not -1, -inf or a lone dash."""
    return argument.startswith("-") and argument.lstrip("-")[:1].isalpha() and not _is_number(argument)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _switch(field: dataclasses.Field, value: str, negated: bool) -> str:
    if value.lower() not in ("true", "false"):
        raise UsageError(f"--{field.name} must be true or false, not {shown(value)}")
    return "true" if (value.lower() == "true") != negated else "false"


def _positional(config_class: type[Checked], given: Given, argument: str) -> dataclasses.Field:
    taken = [field.name for field, _ in given]
    for field in dataclasses.fields(config_class):
        if rule_of(field).positional and (kind_of(field) is tuple or field.name not in taken):
            return field
    if argument.endswith(".py"):
        raise UsageError(f"{shown(argument)}: here --config FILE names a TOML file of name = value lines")
    raise UsageError(f"{shown(argument)} stands alone: what is it? Flags look like --name value; --help lists them")


def _unknown(argument: str, names: dict[str, dataclasses.Field]) -> str:
    typed = argument.partition("=")[0]
    switches = [f"no_{name}" for name, field in names.items() if kind_of(field) is bool]
    near = suggestion(typed.lstrip("-"), ["help", *names, *switches], prefix="--")
    return f"there is no flag {shown(typed)[1:-1]}{near or '; --help lists them all'}"


def _expected(field: dataclasses.Field) -> str:
    if kind_of(field) in (str, tuple) and not rule_of(field).allowed:
        return rule_of(field).help
    return allowed_values(field)


def _from_text(field: dataclasses.Field, text: str) -> Any:
    """The typed value of a text, or the text itself where it is none."""
    if kind_of(field) not in (int, float):
        return text == "true" if kind_of(field) is bool else text
    try:
        return kind_of(field)(text)
    except ValueError:
        return text


def _tyro_argument(field: dataclasses.Field, text: str) -> str:
    if kind_of(field) is bool:
        return f"--{field.name}" if text == "true" else f"--no_{field.name}"
    return f"--{field.name}={text}"


def _typed(given: Given, program: str) -> dict[str, Any]:
    """The values of the given flags by name, as tyro reads them. Exits on a value that is not of its flag's type."""
    if not given:
        return {}
    import tyro

    # Of these flags alone: tyro takes a millisecond for each that it knows.
    fields = {field.name: field for field, _ in given}.values()
    arguments = [_tyro_argument(field, text) for field, text in given]
    flags = dataclasses.make_dataclass("Flags", map(_tyro_field, fields))
    return vars(tyro.cli(flags, args=arguments, prog=program, use_underscores=True))


def _print_help(config_class: type[Checked], program: str, examples: str) -> None:
    """Print the examples, then every flag, group by group, and exit."""
    import tyro

    if examples:
        print(examples)
    titled, seen = {}, set()
    for base in filter(dataclasses.is_dataclass, reversed(config_class.__mro__)):  # each brings its own flags
        own = [field for field in dataclasses.fields(base) if field.name not in seen]
        seen.update(field.name for field in own)
        name = base.__name__.removesuffix("Flags").removesuffix("Config").lower()
        titled.setdefault(TITLES.get(name, name), []).extend(map(_tyro_field, own))
    groups = []
    for name, own in titled.items():
        if own:
            group = dataclasses.make_dataclass(name, own)
            group.__doc__ = ""
            groups.append((name, tyro.conf.OmitArgPrefixes[group], dataclasses.field(default_factory=group)))
    flags = dataclasses.make_dataclass("Flags", groups)
    description = (config_class.__doc__ or "").split(". ")[0].rstrip(".") + "."
    tyro.cli(flags, args=["--help"], prog=program, description=description, use_underscores=True)


def _tyro_field(field: dataclasses.Field) -> tuple[str, Any, dataclasses.Field]:
    """A flag as tyro wants to see it. The default is for --help alone; the configuration has the real one."""
    import tyro

    rule, kind = rule_of(field), kind_of(field)
    also = ["without the flag's name"] * rule.positional + ["--" + name for name in rule.aliases]
    text = rule.help + (f" (also {', '.join(also)})" if also else "")
    default = rule.default_text or ("required" if field.default is dataclasses.MISSING else field.default)
    shape = tyro.conf.arg(help=text, metavar=rule.metavar or None, help_behavior_hint=f"(default: {default})")
    if kind is tuple:
        return (
            field.name,
            Annotated[tuple[str, ...], shape, tyro.conf.UseAppendAction],
            dataclasses.field(default=()),
        )
    stand_in = field.default if field.default not in (None, dataclasses.MISSING) else kind()
    return field.name, Annotated[kind, shape], dataclasses.field(default=stand_in)

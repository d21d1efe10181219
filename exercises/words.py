"""What the exercises say, in English and Chinese: messages.toml, filled in."""

import dataclasses
import functools
import locale
import os
import re
import tomllib
from pathlib import Path

from gpt.config.flags import Checked, choices_of, kind_of, rule_of
from gpt.errors import RunError, UsageError

LANGUAGES = ("en", "zh")


@functools.cache
def messages() -> dict[str, dict[str, str]]:
    return tomllib.loads((Path(__file__).parent / "messages.toml").read_text(encoding="utf-8"))


def say(key: str, lang: str, **values) -> str:
    return messages()[key][lang].format(**values)


def of_a_flag(message: str, lang: str) -> str:
    """What the reader of flags (gpt/cli/arguments.py, gpt/config/flags.py) says, in that language.

    It speaks English: flag_messages.toml has the Chinese for its sentences and, piece by piece, for what is in them.
    """
    if lang == "en":
        return message
    known = flag_words()
    for sentence, other in known["sentences"]:
        if found := re.fullmatch(sentence, message):
            parts = []
            for part in found.groups():
                for english, chinese in known["pieces"]:
                    part = re.sub(english, chinese, part)
                parts.append(part)
            return other.format(*parts)
    return message


def labelled(error: UsageError | RunError, lang: str) -> UsageError | RunError:
    """The same error; before its message stands the word for "error" of the message's language."""
    error.label = say("error_label", lang)
    return error


def help_in_chinese(flags: type[Checked]) -> str:
    """What --help says, in Chinese: the words of flag_messages.toml with the flags' names, choices and defaults."""
    words = flag_words()["help"]
    lines = [words["head"], words["options"], f"  {'-h, --help':22}{words['help']}"]
    for field in dataclasses.fields(flags):
        if rule_of(field).positional:
            continue
        shape = {bool: f", --no_{field.name}", int: " N"}.get(kind_of(field), f" {{{','.join(choices_of(field))}}}")
        default = words["defaults"].get(field.name, field.default)
        text = words["flags"][field.name] + ("" if kind_of(field) is bool else words["default"].format(default))
        lines.append(f"  {'--' + field.name + shape:22}{text}")
    return "\n".join(lines) + "\n"


@functools.cache
def flag_words() -> dict:
    return tomllib.loads((Path(__file__).parent / "flag_messages.toml").read_text(encoding="utf-8"))


def system_language() -> str:
    """ "zh" where the system speaks Chinese, else "en"."""
    for variable in ("LC_ALL", "LC_MESSAGES", "LANGUAGE", "LANG"):
        if value := os.environ.get(variable):
            return "zh" if value.lower().startswith("zh") else "en"
    name = locale.getlocale()[0] or ""
    return "zh" if name.lower().startswith(("zh", "chinese")) else "en"

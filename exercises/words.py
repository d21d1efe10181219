"""What the exercises say, in English and Chinese: messages.toml, filled in."""

import functools
import locale
import os
import re
import tomllib
from pathlib import Path

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


@functools.cache
def flag_words() -> dict[str, list[list[str]]]:
    return tomllib.loads((Path(__file__).parent / "flag_messages.toml").read_text(encoding="utf-8"))


def system_language() -> str:
    """ "zh" where the system speaks Chinese, else "en"."""
    for variable in ("LC_ALL", "LC_MESSAGES", "LANGUAGE", "LANG"):
        if value := os.environ.get(variable):
            return "zh" if value.lower().startswith("zh") else "en"
    name = locale.getlocale()[0] or ""
    return "zh" if name.lower().startswith(("zh", "chinese")) else "en"

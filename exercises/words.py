"""What the exercises say, in English and Chinese: messages.toml, filled in."""

import functools
import locale
import os
import tomllib
from pathlib import Path

LANGUAGES = ("en", "zh")


@functools.cache
def messages() -> dict[str, dict[str, str]]:
    return tomllib.loads((Path(__file__).parent / "messages.toml").read_text(encoding="utf-8"))


def say(key: str, lang: str, **values) -> str:
    return messages()[key][lang].format(**values)


def system_language() -> str:
    """ "zh" where the system speaks Chinese, else "en"."""
    for variable in ("LC_ALL", "LC_MESSAGES", "LANGUAGE", "LANG"):
        if value := os.environ.get(variable):
            return "zh" if value.lower().startswith("zh") else "en"
    name = locale.getlocale()[0] or ""
    return "zh" if name.lower().startswith(("zh", "chinese")) else "en"

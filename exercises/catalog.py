"""The exercises, in the order in which they are meant to be done.

Each is two files in tasks/: NAME.py, the solution, in which the lines between `# <<<` and `# >>>` are what the learner
writes; and NAME.toml, with its texts in English and Chinese and its classic mistakes, each a piece of the solution and
what stands there instead.

A file of fast layers, "nanograd/layers/layernorm.py", stands beside them as an exercise whose solution is the file as
it is: tasks/real.toml has mistakes for it, for `bug` to plant in a copy. Nobody starts it, so it has no hints.
"""

import functools
import textwrap
import tomllib
import types
from dataclasses import dataclass
from pathlib import Path

TASKS = Path(__file__).parent / "tasks"
ORDER = {
    "basics": ("linear_dx", "linear", "differences", "relu", "gelu", "softmax", "cross_entropy"),
    "transformer": (
        *("layernorm", "rmsnorm", "embedding", "tied_table", "dropout", "attention", "self_attention"),
        *("mlp", "residual", "block", "rope", "swiglu", "grouped_heads"),
    ),
    "training": ("adamw", "clipping", "schedule"),
    "sampling": ("kv_cache", "top_p"),
    "text": ("bpe_step",),
}
NAMES = tuple(name for names in ORDER.values() for name in names)
BEGIN, END = "# <<<", "# >>>"
HINTS = 3
PACKAGES = Path(__file__).parent.parent  # where nanograd lies too
YOURS = {"en": "your lines here", "zh": "在这里写你的代码"}


@dataclass(frozen=True)
class Mistake:
    number: int
    level: int  # 1 to 3: how hard it is to see
    old: str
    new: str
    en: tuple[str, str]  # its name, and the question that leads to it
    zh: tuple[str, str]

    def name(self, lang: str) -> str:
        return getattr(self, lang)[0]

    def question(self, lang: str) -> str:
        return getattr(self, lang)[1]


@dataclass(frozen=True)
class Exercise:
    name: str
    source: str  # of the solution
    texts: dict[str, dict]  # {"en" or "zh": {"title": …, "formulas": …, "hints": [three]}}
    mistakes: tuple[Mistake, ...]

    @property
    def is_real(self) -> bool:
        """A file of fast layers."""
        return self.name in real_mistakes()

    def text(self, lang: str, what: str):
        return self.texts[lang][what]

    def _parts(self) -> tuple[str, str, str]:
        """(the lines before what is to be written, those lines, the lines after it), without the marks."""
        if self.is_real:
            return self.source, "", ""
        before, rest = self.source.split(f"{BEGIN}\n")
        body, after = rest.split(f"{END}\n")
        return before.rstrip(" "), body.rstrip(" "), after.rstrip(" ")

    def solution(self) -> str:
        return "".join(self._parts())

    def answer(self) -> str:
        """The lines that a learner writes."""
        return textwrap.dedent(self._parts()[1])

    def template(self, lang: str) -> str:
        """What a learner starts with: the texts, the code, and in place of the answer a line that says so."""
        before, body, after = self._parts()
        indent = body[: len(body) - len(body.lstrip(" "))]
        todo = f'{indent}# {YOURS[lang]}\n{indent}raise NotImplementedError("{self.name}")\n'
        return self.opening(lang, "check") + before + todo + after

    def opening(self, lang: str, what: str, name: str = "") -> str:
        """The docstring of a learner's file."""
        lines = {
            ("en", "check"): f"Then: python -m exercises check {self.name}",
            ("zh", "check"): f"写好后运行：python -m exercises check {self.name}",
            ("en", "bug"): "One line below is wrong. Find it and mend it. Then: python -m exercises check bug",
            ("zh", "bug"): "下面有一行是错的。找到并改正它，然后运行：python -m exercises check bug",
        }
        if self.is_real:
            return f"# {self.text(lang, 'title')}\n# {lines[lang, what]}\n\n"
        title, formulas = self.text(lang, "title"), self.text(lang, "formulas").strip("\n")
        return f'"""{title}\n\n{formulas}\n\n{lines[lang, what]}\n"""\n\n'

    def planted(self, mistake: Mistake) -> str:
        """The solution's source with this mistake in it."""
        source = self.solution()
        if source.count(mistake.old) != 1:
            raise ValueError(f"{self.name}: {mistake.old!r} is not in the solution exactly once")
        return source.replace(mistake.old, mistake.new)


@functools.cache
def real_mistakes() -> dict[str, dict]:
    """{file: {"of": exercise, "mistake": [...]}} of the files of fast layers."""
    return tomllib.loads((TASKS / "real.toml").read_text(encoding="utf-8"))


def real_file(name: str) -> str | None:
    """The file of the fast layer that an exercise is about, if there is one."""
    return next((file for file, held in real_mistakes().items() if held["of"] == name), None)


def _real(file: str) -> Exercise:
    held = real_mistakes()[file]
    known = {mistake.name("en"): mistake for mistake in exercise(held["of"]).mistakes}
    mistakes = []
    for number, entry in enumerate(held["mistake"]):
        words = known[entry["as"]] if "as" in entry else Mistake(0, 0, "", "", tuple(entry["en"]), tuple(entry["zh"]))
        mistakes.append(Mistake(number, entry["level"], entry["old"], entry["new"], words.en, words.zh))
    texts = {"en": {"title": f"a copy of {file}"}, "zh": {"title": f"{file} 的副本"}}
    return Exercise(file, (PACKAGES / file).read_text(encoding="utf-8"), texts, tuple(mistakes))


@functools.cache
def exercise(name: str) -> Exercise:
    if name in real_mistakes():
        return _real(name)
    (folder,) = (folder for folder, names in ORDER.items() if name in names)
    path = TASKS / folder / name
    texts = tomllib.loads(path.with_suffix(".toml").read_text(encoding="utf-8"))
    mistakes = tuple(
        Mistake(number, entry["level"], entry["old"], entry["new"], tuple(entry["en"]), tuple(entry["zh"]))
        for number, entry in enumerate(texts.pop("mistake"))
    )
    return Exercise(name, path.with_suffix(".py").read_text(encoding="utf-8"), texts, mistakes)


def module_of(source: str, name: str) -> types.ModuleType:
    """A module made from source text of this package."""
    module = types.ModuleType(name)
    exec(compile(source, f"<{name}>", "exec"), module.__dict__)
    return module


@functools.cache
def solved(name: str) -> types.ModuleType:
    """The solution as a module."""
    return module_of(exercise(name).solution(), f"solution of {name}")

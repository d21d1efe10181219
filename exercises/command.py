"""What `python -m exercises` does: its words and flags, and what it prints."""

import random
import time
import unicodedata
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

from exercises.cases import CASES, LayerCase
from exercises.catalog import HINTS, NAMES, exercise, real_file, real_mistakes
from exercises.child import run_child
from exercises.progress import Progress, duration
from exercises.words import LANGUAGES, help_in_chinese, labelled, of_a_flag, say, system_language
from gpt.cli.command_line import parse
from gpt.cli.output import write
from gpt.config.flags import Checked, flag, suggestion
from gpt.errors import UsageError
from gpt.files import write_text

COMMANDS = ("list", "start", "check", "hint", "give-up", "bug", "progress", "train")
NEED_NAME = ("start", "check", "hint")
EXAMPLES = """\
python -m exercises                       the list of exercises
python -m exercises start linear_dx       puts my_layers/linear_dx.py there: write the lines it asks for
python -m exercises check linear_dx       which gradient is right, which is wrong and where
python -m exercises hint linear_dx        three hints, one at a time
python -m exercises give-up linear_dx     the answer
python -m exercises bug --level 1         a layer with one classic mistake in it; then: check bug, or give-up
python -m exercises bug --level 2         the same in a copy of one of the fast layers' files
python -m exercises progress              what is done, how long it took, what comes next
python -m exercises train                 your layers in the real model, which trains with them
"""


@dataclass(frozen=True, kw_only=True)
class ExerciseFlags(Checked):
    """Write backward passes of your own, and have them judged."""

    words: tuple[str, ...] = flag(
        (), f"{', '.join(COMMANDS)}, and an exercise's name", positional=True, metavar="WORDS", default_text="list"
    )
    lang: Literal["auto", "en", "zh"] = flag("auto", "the language; auto is the system's")
    again: bool = flag(False, "start: begin anew; your old file is kept beside it")
    level: int = flag(
        1, "bug: 1 in an exercise, 2 and 3 in a copy of a fast layer; 3 tells least", at_least=1, at_most=3
    )
    seed: int | None = flag(None, "bug: which mistake", at_least=0, default_text="a new one each time")
    steps: int = flag(60, "train: how many steps", at_least=1, at_most=2000)


def main(arguments: list[str]) -> int:
    lang = language_of(arguments)
    if lang == "zh" and {"-h", "--help"} & set(arguments):
        write(help_in_chinese(ExerciseFlags))
        return 0
    try:
        flags = parse(ExerciseFlags, arguments, "python -m exercises", EXAMPLES)
    except UsageError as error:
        raise labelled(UsageError(of_a_flag(str(error), lang)), lang) from None
    command, *rest = flags.words or ("list",)
    command = command.replace("_", "-")
    if command not in COMMANDS:
        near = nearest(command, [*COMMANDS, *NAMES], lang)
        raise refusal("no_command", lang, command=command, near=near or say("there_are", lang, all=", ".join(COMMANDS)))
    if len(rest) > (command in (*NEED_NAME, "give-up", "bug")):
        raise refusal("too_many_words", lang, command=command, word=rest[-1])
    if command in NEED_NAME and not rest:
        raise refusal("needs_name", lang, command=command, names=", ".join(NAMES))
    name = rest[0].removesuffix(".py").replace("-", "_") if rest else ""
    may_be_bug = command in ("check", "give-up") and name == "bug"
    if name and name not in NAMES and not may_be_bug:
        raise refusal("no_exercise", lang, name=name, near=nearest(name, list(NAMES), lang) or say("lists_them", lang))
    progress = Progress(lang=lang)
    action = ACTIONS["check bug" if command == "check" and name == "bug" else command]
    return action(progress, name, flags, lang) or 0


def language_of(arguments: list[str]) -> str:
    """What --lang says, also where something else among the arguments is wrong; without it the system's language."""
    asked = [second for first, second in pairwise(arguments) if first == "--lang"]
    asked += [argument.partition("=")[2] for argument in arguments if argument.startswith("--lang=")]
    return asked[-1] if asked and asked[-1] in LANGUAGES else system_language()


def refusal(key: str, lang: str, **values) -> UsageError:
    return labelled(UsageError(say(key, lang, **values)), lang)


def nearest(word: str, known: list[str], lang: str) -> str:
    """ "; did you mean start?" in that language, or nothing."""
    found = suggestion(word, known)
    return found and say("did_you_mean", lang, name=found.split()[-1].rstrip("?"))


def show_list(progress: Progress, name: str, flags: ExerciseFlags, lang: str) -> None:
    done = sum(map(progress.is_solved, NAMES))
    lines = [say("list_head", lang, done=done, total=len(NAMES))]
    for each in NAMES:
        state = say(progress.state(each), lang)
        lines.append(f"  {each:15} {exercise(each).text(lang, 'title')}{f'  [{state}]' if state else ''}")
    write("\n".join([*lines, ""]))


def start(progress: Progress, name: str, flags: ExerciseFlags, lang: str) -> None:
    path = progress.folder / f"{name}.py"
    kept = None
    if path.exists() or path.is_symlink():
        if not flags.again:
            raise refusal("is_there", lang, path=path)
        kept = next(p for i in range(1, 10_000) if not (p := path.with_name(f"{name}.py.{i}")).exists())
        path.rename(kept)
    progress.folder.mkdir(exist_ok=True)
    write_text(path, exercise(name).template(lang))
    entry = progress.entry(name)
    if not entry["checks"] and not entry["solved"]:
        entry["started"] = int(time.time())
    progress.save()
    write(say("start", lang, path=path, name=name, title=exercise(name).text(lang, "title")) + "\n")
    if kept:
        write(say("start_kept", lang, path=kept) + "\n")


def check(progress: Progress, name: str, flags: ExerciseFlags, lang: str) -> int:
    path = existing(progress.folder / f"{name}.py", f"start {name}", lang)
    verdict = run_child("exercises.judge", name, str(path.resolve()))
    entry = progress.entry(name)
    entry["checks"] += 1
    if verdict["ok"] and not entry["solved"]:
        entry["solved"] = int(time.time())
    progress.save()
    lines = verdict_lines(name, verdict, lang)
    if verdict["ok"]:
        took = say("took", lang, time=duration(progress.seconds(name))).strip()
        lines += [f"  {took}", next_line(progress, lang)]
    write("\n".join([*lines, ""]))
    return 0 if verdict["ok"] else 1


def existing(path: Path, how: str, lang: str) -> Path:
    if not path.is_file():
        raise refusal("no_file" if path.exists() else "not_there", lang, path=path, how=how)
    return path


def verdict_lines(name: str, verdict: dict, lang: str) -> list[str]:
    """A few lines: which result is right, which is wrong and where, and a question."""
    wrong = {each["name"].removesuffix(", twice") for each in verdict.get("wrong", [])}
    right = ", ".join(w for w in verdict.get("right", []) if not w.endswith(", twice") and w not in wrong)
    if verdict["ok"]:
        kind = "check_right" if isinstance(CASES[name], LayerCase) else "check_right_function"
        lines = [say(kind, lang, name=name, right=right)]
        if verdict.get("remark"):
            lines.append(say(f"remark_{verdict['remark']}", lang))
    elif verdict["problem"]:
        lines = [problem_line(name, verdict, lang)]
        lines += question_lines(name, verdict, lang) if verdict.get("mistakes") else []
    else:
        lines = [say("check_wrong", lang, name=name)]
        lines += wrong_lines(verdict, lang)
        lines += [say("right_ones", lang, names=right)] if right else []
        lines += question_lines(name, verdict, lang)
    if verdict.get("lines"):
        lines.append(say("printed", lang, lines=verdict["lines"], first=verdict["first"]))
    return lines


def problem_line(name: str, verdict: dict, lang: str) -> str:
    again = "bug" if name == "bug" else f"start {name} --again"
    return f"{name}: " + say(verdict["problem"], lang, again=again, **verdict["values"])


def wrong_lines(verdict: dict, lang: str, most: int = 6) -> list[str]:
    names = [wrong["name"] for wrong in verdict["wrong"]]
    lines = []
    for wrong in verdict["wrong"]:
        once = wrong["name"].removesuffix(", twice")
        if once == wrong["name"]:
            index = ", ".join(map(str, wrong["index"]))
            values = {"yours": wrong["yours"], "expected": wrong["expected"]}
            lines.append(say("wrong_one", lang, what=once, index=index, **values))
        elif once not in names:
            lines.append(say("not_added", lang, what=once))
    return lines[:most] + (["  …"] if len(lines) > most else [])


def question_lines(name: str, verdict: dict, lang: str) -> list[str]:
    lines = []
    for number in verdict["mistakes"]:
        lines.append(say("mistake", lang, question=exercise(name).mistakes[number].question(lang)))
    for what, factor in verdict["factors"].items():
        if not what.endswith(", twice"):
            lines.append(say("factor" if factor else "zero", lang, what=what, factor=factor))
    return lines


def next_line(progress: Progress, lang: str) -> str:
    for name in NAMES:
        if not progress.is_solved(name):
            return say("next", lang, name=name, title=exercise(name).text(lang, "title"))
    return say("all_done", lang)


def hint(progress: Progress, name: str, flags: ExerciseFlags, lang: str) -> None:
    entry = progress.entry(name)
    number = min(entry["hints"] + 1, HINTS)
    text = exercise(name).text(lang, "hints")[number - 1]
    write(say("hint", lang, number=number, total=HINTS, name=name, text=text) + "\n")
    if entry["hints"] >= HINTS:
        write(say("no_more_hints", lang, name=name) + "\n")
    entry["hints"] = number
    progress.save()


def give_up(progress: Progress, name: str, flags: ExerciseFlags, lang: str) -> None:
    if name in ("", "bug"):
        explain_bug(progress, lang)
        return
    progress.entry(name)["gave_up"] = True
    progress.save()
    answer = "".join(f"    {line}\n" for line in exercise(name).answer().splitlines())
    write(f"{say('answer', lang, name=name)}\n\n{answer}")


# A planted mistake


def bug(progress: Progress, name: str, flags: ExerciseFlags, lang: str) -> None:
    seed = random.randrange(10_000) if flags.seed is None else flags.seed
    chosen = [(n, m) for n in planted_in(name, flags.level) for m in exercise(n).mistakes if m.level == flags.level]
    if not chosen:
        raise refusal("no_such_level", lang, name=name, level=flags.level)
    of, mistake = random.Random(f"{seed} {flags.level}").choice(chosen)
    path = progress.folder / "bug.py"
    progress.folder.mkdir(exist_ok=True)
    kept = None
    if path.exists():
        kept = next(p for i in range(1, 10_000) if not (p := path.with_name(f"bug.py.{i}")).exists())
        path.rename(kept)
    write_text(path, exercise(of).opening(lang, "bug") + exercise(of).planted(mistake))
    progress.bug = {"exercise": of, "mistake": mistake.number, "level": flags.level, "seed": seed}
    progress.save()
    key = "bug_start_3" if flags.level == 3 else "bug_start"
    write(say(key, lang, path=path, title=exercise(of).text(lang, "title"), level=flags.level, seed=seed) + "\n")
    if flags.level == 1:
        from exercises.recognise import wrong_names, wrong_results

        found = wrong_results(of).get(mistake.number)
        names = [what.removesuffix(", twice") for what in wrong_names(of, found)] if found else []
        if names:
            write(say("bug_where", lang, names=", ".join(dict.fromkeys(names))) + "\n")
    if kept:
        write(say("start_kept", lang, path=kept) + "\n")


def planted_in(name: str, level: int) -> list[str]:
    """The exercises whose code may get the mistake: at level 1 the short version of a layer, above it the file of the
    fast one, where there is one."""
    if level == 1:
        return [name] if name else list(NAMES)
    return [real_file(name) or name] if name else list(real_mistakes())


def check_bug(progress: Progress, name: str, flags: ExerciseFlags, lang: str) -> int:
    held = open_bug(progress, lang)
    path = existing(progress.folder / "bug.py", "bug", lang)
    verdict = run_child("exercises.judge", held["exercise"], str(path.resolve()))
    if verdict["ok"]:
        mistake = exercise(held["exercise"]).mistakes[held["mistake"]]
        progress.bug, progress.found = None, progress.found + 1
        progress.save()
        write(say("bug_right", lang, mistake=mistake.name(lang)) + "\n")
        return 0
    lines = [say("bug_wrong", lang)]
    if verdict["problem"]:
        lines = [problem_line("bug", verdict, lang)]
    elif held["level"] < 3:
        lines += wrong_lines(verdict, lang)
    write("\n".join([*lines, ""]))
    return 1


def open_bug(progress: Progress, lang: str) -> dict:
    if progress.bug is None:
        raise refusal("no_bug", lang)
    return progress.bug


def explain_bug(progress: Progress, lang: str) -> None:
    held = open_bug(progress, lang)
    mistake = exercise(held["exercise"]).mistakes[held["mistake"]]

    def shown(text):
        return "\n".join(f"    {line}" for line in text.strip("\n").splitlines()) or "    " + say("nothing", lang)

    wrong, right = shown(mistake.new), shown(mistake.old)
    values = {"mistake": mistake.name(lang), "name": held["exercise"], "question": mistake.question(lang)}
    write(say("bug_answer", lang, wrong=wrong, right=right, **values).lstrip("\n") + "\n")
    progress.bug = None
    progress.save()


def show_progress(progress: Progress, name: str, flags: ExerciseFlags, lang: str) -> None:
    lines = [say("progress_head", lang)]
    for each in NAMES:
        entry = progress.exercises.get(each)
        if entry is not None:
            took = duration(progress.seconds(each)) if progress.is_solved(each) else ""
            state = padded(say(progress.state(each), lang), 8)
            lines.append(f"{each:17} {state} {took:>7} {entry['checks']:8} {entry['hints']:6}")
    lines += [say("bugs_found", lang, count=progress.found)] if progress.found else []
    write("\n".join([*lines, next_line(progress, lang), ""]))


def padded(text: str, width: int) -> str:
    """`text` with spaces behind it; a Chinese character takes two places of a terminal."""
    taken = sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
    return text + " " * (width - taken)


def train(progress: Progress, name: str, flags: ExerciseFlags, lang: str) -> int:
    from exercises.own_model import PARTS

    yours = [part for part in PARTS if progress.is_solved(part) and (progress.folder / f"{part}.py").is_file()]
    others = ", ".join(part for part in PARTS if part not in yours) or "-"
    write(say("train_whose", lang, yours=", ".join(yours) or say("train_none", lang), solutions=others) + "\n")
    folder, steps = str(progress.folder.resolve()), str(flags.steps)
    result = run_child("exercises.own_model", folder, ",".join(yours), steps, limit=60 + 2 * flags.steps)
    if result["problem"]:
        write(problem_line(result.get("part", "train"), result, lang) + "\n")
        return 1
    for step, loss, plain in result["losses"]:
        write(say("train_step", lang, step=step, loss=loss, plain=plain) + "\n")
    end = {key: result[key] for key in ("parameters", "ln_v", "difference")}
    write(
        say("train_end" if yours else "train_end_none", lang, **end)
        + "\n"
        + say("train_sample", lang, text=result["text"])
        + "\n"
    )
    return 0


ACTIONS = {
    "list": show_list,
    "start": start,
    "check": check,
    "check bug": check_bug,
    "hint": hint,
    "give-up": give_up,
    "bug": bug,
    "progress": show_progress,
    "train": train,
}

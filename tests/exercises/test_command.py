"""`python -m exercises` as a learner uses it."""

import dataclasses
import json
import re
import subprocess
import sys

import pytest

from exercises import command
from exercises.catalog import NAMES, exercise
from exercises.command import EXAMPLES, ExerciseFlags, main
from exercises.own_model import PARTS
from exercises.progress import Progress, duration
from gpt.cli import command_line
from gpt.config.flags import rule_of
from gpt.errors import RunError, UsageError
from tests.support import ROOT


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """run("check relu") -> (exit code, what is printed), in an empty folder, in English."""
    monkeypatch.chdir(tmp_path)

    def call(words, lang="en"):
        code = main([*words.split(), "--lang", lang])
        return code, capsys.readouterr().out

    return call


def judge_here(monkeypatch):
    """No process of its own for each check: quicker, and these files are harmless."""
    from pathlib import Path

    from exercises.judge import judge

    monkeypatch.setattr(command, "run_child", lambda module, name, path: judge(name, Path(path)))


def test_from_the_start_to_the_first_right_backward(run, tmp_path):
    code, printed = run("list")
    assert code == 0 and "0 of 26 exercises done" in printed and "linear_dx" in printed
    code, printed = run("start linear_dx")
    path = tmp_path / "my_layers" / "linear_dx.py"
    assert code == 0 and path.is_file()
    code, printed = run("check linear_dx")
    assert code == 1 and "NotImplementedError" in printed
    source = path.read_text(encoding="utf-8")
    path.write_text(source.replace('raise NotImplementedError("linear_dx")', "return -dy @ self.weight.value.T"))
    code, printed = run("check linear_dx")
    assert code == 1 and "wrong: dx" in printed and "right: weight.grad, bias.grad" in printed
    assert "If all weights are positive and x grows, does y grow or shrink?" in printed
    for number in (1, 2, 3):
        code, printed = run("hint linear_dx")
        assert code == 0 and f"Hint {number} of 3" in printed
    assert "last hint" in run("hint linear_dx")[1]
    path.write_text(source.replace('raise NotImplementedError("linear_dx")', "return dy @ self.weight.value.T"))
    code, printed = run("check linear_dx")
    assert code == 0 and "linear_dx: right" in printed and "Next: python -m exercises start linear " in printed
    code, printed = run("progress")
    line = next(line for line in printed.splitlines() if line.startswith("linear_dx"))
    assert line.split()[1] == "done" and line.split()[-2:] == ["3", "3"]


def test_start_keeps_what_is_there(run, tmp_path):
    run("start relu")
    path = tmp_path / "my_layers" / "relu.py"
    path.write_text("my work")
    with pytest.raises(UsageError, match="there already"):
        run("start relu")
    assert path.read_text() == "my work"
    code, printed = run("start relu --again")
    assert code == 0 and "relu.py.1" in printed
    assert (tmp_path / "my_layers" / "relu.py.1").read_text() == "my work"
    assert path.read_text(encoding="utf-8") == exercise("relu").template("en")


def test_chinese(run, tmp_path, monkeypatch):
    judge_here(monkeypatch)
    assert "26 个练习" in run("list", "zh")[1]
    run("start softmax", "zh")
    path = tmp_path / "my_layers" / "softmax.py"
    assert "在这里写你的代码" in path.read_text(encoding="utf-8")
    path.write_text(exercise("softmax").planted(exercise("softmax").mistakes[0]), encoding="utf-8")
    code, printed = run("check softmax", "zh")
    assert code == 1 and "抬高一个分数" in printed
    assert "提示 1/3" in run("hint softmax", "zh")[1]


@pytest.mark.parametrize("level", [1, 2, 3])
def test_bug(run, tmp_path, monkeypatch, level):
    judge_here(monkeypatch)
    code, printed = run(f"bug --level {level} --seed 5")
    path = tmp_path / "my_layers" / "bug.py"
    planted = path.read_text(encoding="utf-8")
    held = Progress().bug
    task, mistake = exercise(held["exercise"]), exercise(held["exercise"]).mistakes[held["mistake"]]
    assert mistake.level == level and planted.endswith(task.planted(mistake))
    assert task.is_real == (level > 1)
    assert mistake.name("en") not in printed and mistake.question("en") not in printed + planted
    assert ("makes these wrong" in printed) == (level == 1)
    assert "python -m exercises check bug" in printed
    code, printed = run("check bug")
    assert code == 1 and "still there" in printed and ("wrong: " in printed or "added" in printed) == (level < 3)
    path.write_text(task.solution(), encoding="utf-8")
    code, printed = run("check bug")
    assert code == 0 and f'The mistake was "{mistake.name("en")}"' in printed
    assert "mistakes found with python -m exercises bug: 1" in run("progress")[1]
    with pytest.raises(UsageError, match="no mistake is planted"):
        run("check bug")


def test_give_up_explains(run, tmp_path):
    run("bug layernorm --seed 1 --level 2")
    held = Progress().bug
    assert held["exercise"] == "nanograd/layers/layernorm.py"
    mistake = exercise(held["exercise"]).mistakes[held["mistake"]]
    code, printed = run("give-up")
    assert code == 0 and mistake.name("en") in printed and mistake.question("en") in printed
    old, new = mistake.old.strip().splitlines()[0], (mistake.new.strip().splitlines() or ["nothing"])[0]
    assert old.strip() in printed and new.strip() in printed
    with pytest.raises(UsageError):
        run("give-up")
    code, printed = run("give-up relu")
    assert code == 0 and "return dy * (x > 0)" in printed
    assert Progress().state("relu") == "given_up"


def test_same_seed_same_mistake(run):
    run("bug --seed 3 --level 1")
    first = Progress().bug
    run("bug --seed 3 --level 1")
    assert Progress().bug == first
    found = set()
    for seed in range(12):
        run(f"bug --seed {seed} --level 2")
        found.add((Progress().bug["exercise"], Progress().bug["mistake"]))
    assert len(found) > 6


def test_level_of_what_has_no_fast_file_is_that_of_the_exercise(run):
    assert run("bug block --level 2 --seed 1")[0] == 0
    assert Progress().bug["exercise"] == "block"


@pytest.mark.parametrize(
    "words, says",
    [
        ("strat relu", "did you mean start"),
        ("start", "needs the name of an exercise"),
        ("start rleu", "did you mean relu"),
        ("start relu mlp", "does not know what to do with 'mlp'"),
        ("check relu", "relu.py is not there; python -m exercises start relu makes it"),
        ("check bug", "no mistake is planted"),
        ("bug --level 4", "at most 3"),
        ("bug mlp --level 1 --seed -1", "at least 0"),
        ("start ../x", "there is no exercise"),
        ("list relu", "does not know what to do with"),
        ("--lang fr", "lang"),
    ],
)
def test_mistaken_commands_get_one_line(tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as error:
        main(words.split())
    assert says in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "my_layers").exists() or words.startswith("bug")


@pytest.mark.parametrize(
    "words, says",
    [
        ("strat relu", "没有 'strat' 这个命令；你是想写 start 吗？"),
        ("fly", "没有 'fly' 这个命令；可用的命令有 list, start"),
        ("start", "start 后面要写练习的名称：linear_dx"),
        ("start rleu", "没有 'rleu' 这个练习；你是想写 relu 吗？"),
        ("start ../x", "没有 '../x' 这个练习；python -m exercises 列出全部练习"),
        ("start relu mlp", "start 不知道拿 'mlp' 怎么办"),
        ("check relu", "relu.py 不存在；python -m exercises start relu 会生成它"),
        ("check bug", "现在没有埋下错误"),
        ("give-up", "现在没有埋下错误"),
        ("bug rope --level 3", "rope 没有难度 3 的错误"),
        ("bug --level 4", "--level 应为：不小于 1、不大于 3；现在是 4"),
        ("bug --level x", "--level 应为：整数，不小于 1、不大于 3；现在是 'x'"),
        ("bug --seed -1", "--seed 应为：不小于 0；现在是 -1"),
        ("bug --seed", "--seed 需要一个值：整数，不小于 0"),
        ("bug --seed 99999999999", "--seed 应为：不大于 2147483647；现在是 99999999999"),
        ("start relu --again=x", "--again 应为：true 或 false；现在是 'x'"),
        ("--lvel 3", "没有 --lvel 这个选项；你是想写 --level 吗？"),
        ("--foo", "没有 --foo 这个选项；--help 列出全部选项"),
    ],
)
def test_mistaken_commands_get_their_line_in_chinese(tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as error:
        main([*words.split(), "--lang=zh"])
    assert says in str(error.value) and "\n" not in str(error.value)


def test_a_language_that_is_none_is_refused_in_the_systems(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    with pytest.raises(UsageError, match="--lang 应为：auto 或 en 或 zh；现在是 'fr'"):
        main(["--lang", "fr"])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        '{"exercises": {"relu": {}}, "bug": null, "found": 0}',
        '{"exercises": 3, "bug": 1, "found": 0}',
        '{"exercises": {}, "bug": {"exercise": "relu", "mistake": 99, "level": 1, "seed": 0}, "found": 0}',
        '{"exercises": {}, "bug": {"exercise": "x", "mistake": 0, "level": 1, "seed": 0}, "found": 0}',
    ],
)
def test_damaged_progress_is_one_line_and_kept(run, tmp_path, text):
    (tmp_path / "my_layers").mkdir()
    path = tmp_path / "my_layers" / "progress.json"
    path.write_text(text)
    with pytest.raises(RunError, match="damaged; move it away"):
        run("progress")
    with pytest.raises(RunError, match="已损坏"):
        run("progress", "zh")
    assert path.read_text() == text


def test_help_speaks_chinese(capsys):
    assert main(["--lang", "zh", "start", "--help"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("用法：")
    for field in dataclasses.fields(ExerciseFlags):
        assert rule_of(field).positional or f"--{field.name}" in said, field.name
    for example in re.findall(r"^python.*?(?=  )", EXAMPLES, re.M):
        assert f"  {example}  " in said, example
    assert "（默认：60）" in said and "{auto,en,zh}" in said and "每次换一个" in said


@pytest.mark.parametrize("lang, label", [("en", "error: "), ("zh", "错误：")])
@pytest.mark.parametrize("words", [["start", "nothing"], ["--level", "7"], ["--foo"]])
def test_an_error_begins_in_the_language_of_its_message(lang, label, words):
    with pytest.raises(UsageError) as error:
        main(["--lang", lang, *words])
    code, line = command_line.explain(error.value)
    assert code == 2 and line.startswith(label)


@pytest.mark.slow
def test_as_a_command_with_exit_codes(tmp_path):
    def call(*words):
        environment = {"PYTHONPATH": str(ROOT), "PATH": "", "LANG": "zh_CN.UTF-8"}
        command = [sys.executable, "-W", "error", "-m", "exercises", *words]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, encoding="utf-8")

    done = call()
    assert done.returncode == 0 and "个练习" in done.stdout and not done.stderr
    done = call("start", "nothing")
    assert done.returncode == 2 and done.stderr.startswith("错误：") and len(done.stderr.splitlines()) == 1
    (tmp_path / "my_layers").write_text("a file where the folder goes")
    done = call("start", "relu")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1


def test_durations():
    assert [duration(s) for s in (0, 61, 3600 + 62)] == ["0:00", "1:01", "1:01:02"]


# The learner's layers in the real model


def fill(folder, names, source_of):
    folder.mkdir()
    entries = {name: {"started": 1, "solved": 2} for name in names}
    (folder / "progress.json").write_text(json.dumps({"exercises": entries, "bug": None, "found": 0}))
    for name in names:
        (folder / f"{name}.py").write_text(source_of(name), encoding="utf-8")


@pytest.mark.slow
def test_own_layers_train_the_real_model(run, tmp_path):
    fill(tmp_path / "my_layers", NAMES, lambda name: exercise(name).solution())
    code, printed = run("train --steps 40")
    assert code == 0 and f"yours: {', '.join(PARTS)}; from the solutions: -" in printed
    losses = [line for line in printed.splitlines() if line.startswith("step")]
    first, last = (float(line.split()[3].rstrip(",")) for line in (losses[0], losses[-1]))
    assert last < first - 0.5
    assert float(printed.split("difference of a loss was ")[1].split(".\n")[0]) < 1e-6
    assert "done" in run("list")[1] and "All exercises are done" in run("progress")[1]


@pytest.mark.slow
def test_training_uses_solutions_for_what_is_not_solved_and_names_the_file_that_fails(run, tmp_path):
    assert "The solutions' layers trained" in run("train --steps 1")[1]
    fill(tmp_path / "my_layers", ["relu"], lambda name: exercise(name).solution())
    code, printed = run("train --steps 1")
    assert code == 0 and "yours: relu; from the solutions: linear, layernorm" in printed
    path = tmp_path / "my_layers" / "relu.py"
    path.write_text(exercise("relu").solution().replace("dy * (x > 0)", "nothing"))
    code, printed = run("train --steps 1")
    assert code == 1 and "NameError" in printed and "line 13" in printed and "Traceback" not in printed
    path.write_text("def f(:")
    code, printed = run("train --steps 1")
    assert code == 1 and printed.splitlines()[-1].startswith("relu: line 1 is not Python")

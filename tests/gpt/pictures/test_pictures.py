import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gpt import pictures
from gpt.errors import UsageError
from gpt.pictures import fonts
from tests.support.tiny_runs import TALE, make_up, train

OF_A_RUN = {
    "loss.png",
    "gradients.png",
    "learning-rate.png",
    "attention-block-0.png",
    "attention-block-1.png",
    "next-token.png",
    "segmentation.png",
}


def size(path: Path) -> tuple[int, int]:
    """(width, height) of a PNG, from its first chunk."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR" and data[-8:-4] == b"IEND"
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return train(tmp_path_factory.mktemp("pictures"))


@pytest.mark.slow
def test_the_command_writes_every_picture_of_a_run(run_dir, tmp_path, capsys):
    assert pictures.main([str(run_dir), "--to", str(tmp_path / "new"), "--backend", "numpy"]) == 0
    assert {path.name for path in (tmp_path / "new").iterdir()} == OF_A_RUN
    for path in (tmp_path / "new").iterdir():
        assert all(300 < side < 2000 for side in size(path)), path
    assert {Path(line).name for line in capsys.readouterr().out.split()} == OF_A_RUN


@pytest.mark.slow
def test_as_svg_and_with_more_dots(run_dir, tmp_path):
    for to, *flags in ("plain",), ("fine", "--dpi", "200"), ("svg", "--format", "svg"), ("again", "--format", "svg"):
        assert pictures.main([str(run_dir), "--to", str(tmp_path / to), "--backend", "numpy", *flags]) == 0
    for name in OF_A_RUN:
        fine = size(tmp_path / "fine" / name)
        plain = size(tmp_path / "plain" / name)
        assert all(abs(more - 2 * side) <= 1 for more, side in zip(fine, plain, strict=True))
        drawing = (tmp_path / "svg" / name).with_suffix(".svg").read_bytes()
        assert drawing.startswith(b"<?xml") and b"</svg>" in drawing[-20:]
        assert drawing == (tmp_path / "again" / name).with_suffix(".svg").read_bytes(), "the same every time"
    for flags in ("--format", "gif"), ("--dpi", "5"):
        with pytest.raises(UsageError):
            pictures.main([str(run_dir), *flags])


def test_training_draws_the_loss_curve(run_dir):
    assert all(side > 300 for side in size(run_dir / "loss.png"))


@pytest.mark.slow
def test_chinese_that_no_font_has_and_a_prompt_longer_than_the_context(tmp_path, monkeypatch):
    monkeypatch.setattr(fonts, "_candidates", lambda: iter(()))
    run_dir = train(tmp_path / "熊", "小熊和狐狸在河边钓鱼。$x_1$ 月亮出来了，他们回家。\n" * 20, tokenizer="bpe")
    assert pictures.main([str(run_dir), "--prompt", "小熊和狐狸🦊\t在河边钓鱼。" * 4, "--backend", "numpy"]) == 0
    assert {path.name for path in run_dir.glob("*.png")} == OF_A_RUN


@pytest.mark.slow
def test_several_runs_are_drawn_and_compared(run_dir, tmp_path, capsys):
    other = train(tmp_path, TALE * 8, tokenizer="bpe")
    to = tmp_path / "to"
    assert pictures.main([str(run_dir), str(other), "--to", str(to), "--backend", "numpy"]) == 0
    drawn = {str(path.relative_to(to)) for path in to.rglob("*.png")}
    assert "loss-compared.png" in drawn and len(drawn) == 1 + 2 * len(OF_A_RUN)


def test_what_cannot_be_drawn_is_one_line(run_dir, tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        pictures.main([str(tmp_path / "nothing")])
    with pytest.raises(UsageError, match="given twice"):
        pictures.main([str(run_dir), str(run_dir)])


@pytest.mark.slow
def test_a_run_without_a_checkpoint_gets_the_pictures_of_its_numbers(tmp_path):
    norms = {"wte": 0.5, "lm_head": 0.0}
    run_dir = make_up(tmp_path / "run", [{"step": 1, "loss": 4.0, "lr": 1e-3, "grad_norm": 0.5, "grad_norms": norms}])
    with pytest.raises(Exception, match="no checkpoints"):
        pictures.main([str(run_dir)])
    assert {path.name for path in run_dir.glob("*.png")} == {"loss.png", "gradients.png", "learning-rate.png"}


@pytest.mark.slow
def test_matplotlib_is_left_as_it_was(run_dir, tmp_path):
    program = f"""
import sys
import gpt.pictures
assert "matplotlib" not in sys.modules, "only who draws pays for matplotlib"
import matplotlib
matplotlib.rcParams["font.size"] = 3.5
before = matplotlib.rcParams.copy()
gpt.pictures.draw_loss([{str(run_dir)!r}], __import__("pathlib").Path({str(tmp_path / "x.png")!r}))
after = matplotlib.rcParams.copy()
assert all(after._get(name) == before._get(name) for name in before)
assert "matplotlib.pyplot" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_every_picture_says_what_to_look_for():
    tools = {"__init__", "__main__", "figure", "fonts", "plotting", "token_label"}
    sources = [path for path in Path(pictures.__file__).parent.glob("*.py") if path.stem not in tools]
    assert len(sources) == 7
    for source in sources:
        text = source.read_text(encoding="utf-8")
        assert re.search(r'"What to look for: ', text) and "with picture(" in text, source


def test_the_default_prompt_begins_with_a_line():
    class Letters:
        token_bytes = staticmethod(lambda token: bytes([token]))

    assert pictures.first_line(np.frombuffer(b"end of it.\n\nA tale.\nMore", np.uint8), Letters) == list(
        b"A tale.\nMore"
    )
    assert pictures.first_line(np.frombuffer(b"no line", np.uint8), Letters) == list(b"no line")
    assert pictures.first_line(np.frombuffer(b"last\n", np.uint8), Letters) == list(b"last\n")

"""docs/book/build.py: what it writes for each directive, and the line it says for each mistake."""

import subprocess
import sys

import matplotlib
import pytest

from tests.support import ROOT

sys.path.insert(0, str(ROOT / "docs"))
from book import build, drawing, measured
from book.examples import linear

PAGE = ROOT / "docs" / "book" / "en" / "page.md"


def made(tmp_path, text: str) -> str:
    path = tmp_path / "page.md"
    path.write_text(text, encoding="utf-8")
    return build.build_page(path)[1]


@pytest.fixture
def en(tmp_path):
    (tmp_path / "en").mkdir()
    return tmp_path / "en"


def test_code_is_the_source_below_a_link():
    text = build.code(PAGE, "nanograd/reference/linear.py linear")
    link = "[nanograd/reference/linear.py](../../../nanograd/reference/linear.py)"
    assert text.startswith(f"`linear` in {link}:\n\n```python\n")
    assert "def linear(x, W, b=0.0):" in text and "def linear_backward" not in text


def test_code_of_methods_constants_and_pieces():
    assert "@fused" in build.code(PAGE, "nanograd/layers/layernorm.py normalize")  # with its decorator
    text = build.code(PAGE, "nanograd/layers/linear.py Linear.backward")
    assert "def backward(self, dy, add_bias: bool = True):  #" in text and "\n    n_in" in text  # dedented
    assert "CUBIC = 0.044715" in build.code(PAGE, "nanograd/layers/activations.py CUBIC")
    text = build.code(PAGE, 'nanograd/reference/linear.py linear_backward from "dx =" to "dW ="')
    assert text.count("\n") == 5 and "\ndx = dy @ W.T" in text


def test_code_of_a_cuda_file():
    text = build.code(PAGE, "nanograd/kernels/elementwise.cu finish_branch")
    assert "```cuda\n// y = x + mask (y + bias), in place" in text and text.endswith("\n}\n```")
    assert "multiply" not in text
    with pytest.raises(build.BookError, match="has no nothing"):
        build.code(PAGE, "nanograd/kernels/elementwise.cu nothing")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("\n<!-- cod: a -->\n<!-- end -->", ":2: unknown directive 'cod': one of code, output, value, figure"),
        ("<!-- output: linear.step -->\n", ":1: output: linear.step has no <!-- end -->"),
        ("<!-- value: linear.loss -->\n<!-- value: linear.loss -->\n<!-- end -->", ":1: value: linear.loss has no"),
        ("\n\n<!-- end -->", ":3: an end without a beginning"),
        ("a <!-- output: linear.step --><!-- end -->", "needs a line of its own"),
        ("<!-- value: linear.loss --><!-- end --> it is", "a line may not begin with a comment"),
        ("<!-- output: linear.nothing -->\n<!-- end -->", ":1: docs/book/examples/linear.py has no function nothing"),
        ("<!-- output: nowhere.f -->\n<!-- end -->", "there is no example file docs/book/examples/nowhere.py"),
        ("<!-- output: linear -->\n<!-- end -->", "expected MODULE.FUNCTION"),
        ("<!-- output: linear.loss -->\n<!-- end -->", "linear.loss() prints nothing"),
        ("<!-- value: linear.step -->\n<!-- end -->", "linear.step() returns nothing"),
        ("<!-- figure: linear.loss -->\n<!-- end -->", "linear.loss() returns no figure"),
        ("<!-- code: no/file.py f -->\n<!-- end -->", ":1: there is no file no/file.py"),
        ("<!-- code: train.py nothing -->\n<!-- end -->", "train.py has no nothing"),
        ('<!-- code: train.py from "gone" to "x" -->\n<!-- end -->', 'train.py has no line with "gone"'),
        ('<!-- code: train.py from "import" to "gone" -->\n<!-- end -->', 'no line with "gone" from "import" on'),
    ],
)
def test_a_mistake_is_one_line(tmp_path, text, error):
    with pytest.raises(build.BookError, match=r"page\.md:\d+: ") as caught:
        made(tmp_path, text)
    assert error in str(caught.value) and "\n" not in str(caught.value)


def test_an_example_that_fails_says_where(tmp_path, monkeypatch):
    monkeypatch.setattr(linear, "loss", lambda: 1 / 0)
    monkeypatch.setattr(build.inspect, "isfunction", lambda function: True)
    build.run.cache_clear()
    with pytest.raises(build.BookError, match=r"linear\.py: loss\(\) failed: .*ZeroDivisionError: division by zero"):
        made(tmp_path, "is <!-- value: linear.loss --><!-- end -->")
    build.run.cache_clear()


def test_a_page_is_written_in_place_and_then_current(en):
    page = en / "page.md"
    page.write_text("it is <!-- value: linear.loss -->9<!-- end -->.\n", encoding="utf-8")
    assert build.build([page], check=True) == [f"{build.shown(page)}:1: value: linear.loss is stale"]
    assert "-->9<!--" in page.read_text(encoding="utf-8")
    build.build([page])
    assert page.read_text(encoding="utf-8") == "it is <!-- value: linear.loss -->2.5<!-- end -->.\n"
    assert build.build([page], check=True) == []


def test_a_formula_in_a_line_has_its_space(tmp_path):
    assert "--> $t = (3, 5)$<!--" in made(tmp_path, "was <!-- value: linear.target --><!-- end -->")


def drawn():
    with matplotlib.rc_context(drawing.STYLE):
        return linear.slope()


def test_a_figure_is_judged_by_what_it_shows(tmp_path):
    figure, again = drawn(), drawn()
    assert drawing.fingerprint(figure) == drawing.fingerprint(again)
    with matplotlib.rc_context(drawing.STYLE):
        assert drawing.svg_of(figure) == drawing.svg_of(again)
        path = tmp_path / "figure.svg"
        path.write_text(drawing.svg_of(drawn()), encoding="utf-8")
    assert drawing.mark_of(path) == drawing.fingerprint(drawn())
    axes = again.axes[0]
    for change in (
        lambda: axes.set_xlabel("other"),
        lambda: axes.lines[0].set_ydata(axes.lines[0].get_ydata() * 1.01),
        lambda: axes.texts[0].set_text("other"),
        lambda: axes.plot([1, 2]),
        lambda: again.set_size_inches(4, 4),
    ):
        before = drawing.fingerprint(again)
        change()
        assert drawing.fingerprint(again) != before


def test_a_figure_survives_the_last_bit(tmp_path):
    figure, again = drawn(), drawn()
    line = again.axes[0].lines[0]
    line.set_ydata(line.get_ydata() * (1 + 1e-15))
    assert drawing.fingerprint(figure) == drawing.fingerprint(again)


def test_a_measurement_is_kept_with_its_command(tmp_path, monkeypatch):
    monkeypatch.setattr(measured, "RESULTS", tmp_path / "results")
    with pytest.raises(LookupError, match=r"python docs/book/build\.py --measure linear\.far"):
        measured.measured("linear.far")
    path = measured.write_measured("linear.far", {"loss": linear.X})
    assert "python docs/book/build.py --measure linear.far" in path.read_text(encoding="utf-8")
    assert measured.measured("linear.far") == {"loss": [1.0, 2.0]}


@pytest.mark.slow
def test_the_command_checks():
    command = [sys.executable, "-W", "error", ROOT / "docs" / "book" / "build.py"]
    for arguments, code, says in (["--check"], 0, ""), (["none.md"], 2, "there is no page none.md"):
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=120)
        assert (done.returncode, says in done.stderr) == (code, True), done.stderr
        assert "Traceback" not in done.stderr

"""Taylor's remainder falls with h² for a right gradient and with h for a wrong one, down to the rounding of f."""

import numpy as np
import pytest

from nanograd.gradcheck.__main__ import command
from nanograd.gradcheck.slopes import taylor_remainders
from nanograd.gradcheck.table import layer_cases

CASES = {name: (layer, inputs) for name, layer, inputs in layer_cases(np.random.default_rng(0))}
LINEAR = "ReLU", "RoPE, half", "RoPE, interleaved", "Dropout", "Embedding, repeated ids", "PositionEmbedding"


@pytest.mark.parametrize("name", CASES)
def test_slopes(name):
    layer, inputs = CASES[name]
    found = taylor_remainders(layer, *inputs)
    assert found.slope(found.wrong) == pytest.approx(1, abs=0.1)
    if name in LINEAR:  # all there is is rounding
        assert found.right.max() < 100 * found.floor
    else:
        assert found.slope(found.right) > 1.9  # and more where the second derivative along u is small


def test_the_floor_is_that_of_the_dtype():
    layer, inputs = CASES["LayerNorm"]
    floors = {dtype: taylor_remainders(layer, *inputs, dtype=dtype) for dtype in ("float64", "float32")}
    for found in floors.values():
        late = found.right[found.steps < 1e-8]
        assert late.max() < 30 * found.floor
    assert 1e8 < floors["float32"].floor / floors["float64"].floor < 1e10


def test_the_picture(tmp_path, capsys):
    for name, layer in (("a.png", []), ("b.svg", ["--layer", "GELU"])):
        assert command(["--picture", str(tmp_path / name), *layer]) == 0
        assert (tmp_path / name).stat().st_size > 5000
        assert capsys.readouterr().out.strip() == str(tmp_path / name)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--picture", "a.png", "--layer", "Nothing"], "there is no layer 'Nothing': Linear"),
        (["--picture", "a.pdf"], "must end in .png or .svg"),
    ],
)
def test_mistakes(arguments, says, capsys):
    with pytest.raises(SystemExit, match="2"):
        command(arguments)
    assert says in capsys.readouterr().err


def test_a_folder_that_is_not_there(tmp_path, capsys):
    assert command(["--picture", str(tmp_path / "no" / "a.png")]) == 1
    assert "cannot be written" in capsys.readouterr().err

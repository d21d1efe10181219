"""`import tokenizers` in the root of a checkout, with a package of Hugging Face's name installed or not."""

import os
import subprocess
import sys

import pytest

from tests.support import ROOT

CODE = {
    "an installed package imports it": ("import theirs, tokenizers, gpt.tokenizers", False),
    "an installed package imports it late": ("import gpt, theirs, tokenizers, gpt.tokenizers", False),
    "the program imports it": ("import tokenizers, gpt.tokenizers", True),
    "the program imports a module of it": (
        "import tokenizers, gpt.tokenizers; from tokenizers.char import CharTokenizer",
        True,
    ),
}


def said(folder, code):
    tell = "; print(tokenizers is gpt.tokenizers, hasattr(tokenizers, 'AddedToken'))"
    tell += "; print(gpt.tokenizers.CharTokenizer.train('ab').encode('ba'), len({*map(id, gpt.tokenizers.KINDS)}))"
    environment = os.environ | {"PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", code + tell], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("case", CODE)
def test_the_first_importer_decides(tmp_path, case):
    folder = tmp_path / "site-packages"
    (folder / "tokenizers" / "models").mkdir(parents=True)
    (folder / "theirs.py").write_text("from tokenizers import AddedToken\nfrom tokenizers.models import BPE\n")
    (folder / "tokenizers" / "__init__.py").write_text("from .models import BPE\nAddedToken = object\n")
    (folder / "tokenizers" / "models" / "__init__.py").write_text("BPE = object\n")
    code, ours = CODE[case]
    assert said(folder, code) == [f"{ours} {not ours}", "[1, 0] 4"]


def test_without_theirs_it_is_ours(tmp_path):
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "theirs.py").write_text("from tokenizers import CharTokenizer\n")
    assert said(folder, CODE["an installed package imports it"][0])[0] == "True False"

"""Tokenizers that several test files use."""

import pytest

from tests.support import ROOT
from tests.support.texts import EIGHT_LINES
from tokenizers import BPETokenizer


@pytest.fixture(scope="module")
def small():
    return BPETokenizer.train(EIGHT_LINES)


@pytest.fixture(scope="module")
def tales():
    return BPETokenizer.train((ROOT / "data" / "tales.txt").read_text(encoding="utf-8")[:100_000])

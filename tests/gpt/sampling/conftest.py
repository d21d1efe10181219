"""What the tests of sampling share."""

import pytest

from gpt.sampling import generate
from tests.support.fake_model import FakeDecoder


@pytest.fixture
def fake(monkeypatch):
    """Models of tests.support.fake_model, whose decoder stands in for the real one."""
    monkeypatch.setattr(generate, "Decoder", FakeDecoder)

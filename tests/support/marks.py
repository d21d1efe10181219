"""Marks for single values of a parametrized test."""

import pytest


def slow(*values):
    """These values of a test's parameters, left out by `-m "not slow"`."""
    return pytest.param(*values, marks=pytest.mark.slow)


def long(*values):
    """These values of a test's parameters, left out unless asked for with `-m long`."""
    return pytest.param(*values, marks=[pytest.mark.slow, pytest.mark.long])

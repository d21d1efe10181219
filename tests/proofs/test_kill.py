"""kill -9 at random moments, and nothing is lost. The long form: -m long."""

import os

import pytest

from tests.proofs.kill_test import KillTest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="SIGKILL")]


@pytest.mark.parametrize("flags", [(), ("--optimizer=muon", "--muon_scale_rows", "--position=rope", "--qk_norm=rms")])
def test_a_run_killed_a_few_times(tmp_path, flags):
    test = KillTest(tmp_path, flags=flags)
    test.run(4)
    assert test.kills == 4 and test.finished >= 1 and test.compared >= 5


@pytest.mark.long
def test_a_run_killed_two_hundred_times(tmp_path):
    test = KillTest(tmp_path)
    test.run(200)
    assert test.kills == 200 and test.saving > 0
    print(test.report())

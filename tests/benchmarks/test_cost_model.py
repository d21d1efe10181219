"""The cost model of an all-reduce: known values, limits, and the way back from times to a network."""

import pytest

from benchmarks.cost_model import NETWORKS, Network, all_reduce_seconds, fit, predict, ring_seconds, tree_seconds

NETWORK = Network("a test's", 1e-5, 1e9)


def test_known_times():
    assert ring_seconds(1e6, 2, NETWORK) == pytest.approx(2e-5 + 1e-3)
    assert ring_seconds(1e6, 5, NETWORK) == pytest.approx(8e-5 + 1.6e-3)
    assert tree_seconds(1e6, 8, NETWORK) == pytest.approx(6e-5 + 2e-3)


def test_one_rank_has_nothing_to_say():
    assert ring_seconds(1e9, 1, NETWORK) == tree_seconds(1e9, 1, NETWORK) == 0
    alone = predict(0.1, 1e9, 1, NETWORK)
    assert (alone.step, alone.efficiency, alone.overlapped_efficiency) == (0.1, 1, 1)


def test_long_messages_go_round_a_ring_and_short_ones_over_a_tree():
    assert all_reduce_seconds(1e9, 64, NETWORK) == ring_seconds(1e9, 64, NETWORK)
    assert all_reduce_seconds(8, 64, NETWORK) == tree_seconds(8, 64, NETWORK)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_efficiency_falls_with_ranks_and_rises_with_work(network):
    found = [predict(0.04, 5e8, ranks, network) for ranks in (2, 8, 64, 1024)]
    efficiencies = [p.efficiency for p in found]
    assert efficiencies == sorted(efficiencies, reverse=True)
    assert all(p.efficiency <= p.overlapped_efficiency <= 1 for p in found)
    assert predict(0.4, 5e8, 64, network).efficiency > found[2].efficiency


def test_the_fit_finds_the_network_it_was_measured_on():
    sizes = [4, 1e3, 1e5, 1e7]
    found = fit(sizes, [ring_seconds(n, 4, NETWORK) for n in sizes], 4)
    assert found.alpha == pytest.approx(NETWORK.alpha) and found.bandwidth == pytest.approx(NETWORK.bandwidth)

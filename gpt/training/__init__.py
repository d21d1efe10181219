"""A run: the loop, one step, ranks, signals, anomalies, the summary at its end."""

"""Logits to the next id: generate, filters, KV cache, stop strings, sample.py's command."""

"""Optimisers over flat arenas, schedules, clipping."""

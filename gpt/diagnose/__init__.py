"""Says in plain words how a run went: `python -m gpt.diagnose RUN_DIR` (diagnosis.py)."""

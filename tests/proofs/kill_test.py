"""kill -9 a training at random moments, again and again, and see that nothing is lost.

    python -m tests.proofs.kill_test --runs 200
    python -m tests.proofs.kill_test --runs 200 --optimizer=muon --muon_scale_rows     other flags of train.py

Trains a tiny model, with dropout and gradient accumulation, once without a stop. Then it trains the same one in
processes that are killed at random moments, while they start, step, evaluate, log and save; each goes on with
`--resume` where the one before it was killed. After each kill

    * every checkpoint that is there is whole, and no older than the log says it must be;
    * its parameters and moments are, bit for bit, those of the run that was never stopped at that step;
    * so are all lines of metrics.jsonl, but for the time that a step took: no gap, no repeat.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from gpt.runs.checkpoint import list_steps, load_checkpoint, load_latest_good
from gpt.runs.metrics import read_metrics
from tests.support import ROOT

SAVE_EVERY, STEPS = 3, 150
FLAGS = (
    "--tokenizer=char --n_layer=2 --n_head=2 --n_embd=16 --block_size=16 --dropout=0.2 --activation=gelu "
    "--batch_size=4 --grad_accum=3 --lr=1e-2 --warmup_steps=10 --eval_interval=8 --eval_iters=1 --log_interval=1 "
    f"--sample_tokens=0 --threads=2 --backend=numpy --max_steps={STEPS} --checkpoint_interval={SAVE_EVERY}"
).split()


class KillTest:
    """Runs in `folder`, with `flags` beside the usual. `kills`: so far; `saving`: how many hit a save half way."""

    def __init__(self, folder: Path, seed: int = 0, flags: tuple[str, ...] = ()):
        self.folder, self.moments, self.flags = folder, random.Random(seed), flags
        self.kills = self.saving = self.finished = self.compared = 0
        folder.mkdir(parents=True, exist_ok=True)
        text = (ROOT / "data" / "tales.txt").read_text(encoding="utf-8")[:20_000]
        (folder / "text.txt").write_text(text, encoding="utf-8")
        self.straight = folder / "straight"
        process = self.start(self.straight, "--keep=100000")
        output = process.communicate()[0]
        assert process.returncode == 0, output
        self.lines = [timeless(line) for line in read_metrics(self.straight)]
        assert [line["step"] for line in self.lines] == list(range(STEPS + 1))  # 0: before training

    def start(self, out_dir: Path, *flags: str) -> subprocess.Popen:
        environment = {**os.environ, "NANOGRAD_CACHE": str(self.folder / "cache"), "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, ROOT / "train.py", "--data", "text.txt", "--out_dir", out_dir, "--resume"]
        return subprocess.Popen(
            [*command, *FLAGS, *self.flags, *flags],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )

    def run(self, kills: int) -> None:
        """Kill until there were that many; the last run is left to come to its end."""
        while self.kills < kills:
            out_dir, before = self.folder / f"killed-{self.finished}", 0
            while not self.one_process(out_dir, to_be_killed=self.kills < kills):
                before = self.check(out_dir, before)
            self.check_end(out_dir)
            self.finished += 1

    def one_process(self, out_dir: Path, to_be_killed: bool) -> bool:
        """Start or go on, and kill it at some moment. True if the run came to its end first."""
        process = self.start(out_dir)
        output = ""
        if to_be_killed:
            kind = self.moments.random()
            if kind < 0.9:  # once it trains; else while it starts
                for line in process.stdout:
                    output += line
                    if "the run is in" in line:
                        break
            try:
                process.wait(self.moments.uniform(0, 0.5))
                moment = None
            except subprocess.TimeoutExpired:
                moment = time.monotonic() + (1 if kind < 0.4 else 0)
            while moment and time.monotonic() < moment and not unfinished(out_dir):
                time.sleep(1e-4)  # of some, kill the next save
            process.send_signal(signal.SIGKILL)
        output += process.communicate()[0]
        if process.returncode == -signal.SIGKILL:
            self.kills += 1
            return False
        assert process.returncode == 0, f"exit code {process.returncode}: {output}"
        return True

    def check(self, out_dir: Path, before: int) -> int:
        """What there is after a kill; returns the step of the latest checkpoint, which was `before`."""
        logged = [timeless(line) for line in read_metrics(out_dir)]
        assert logged == self.lines[: len(logged)], "the log differs from that of the run never stopped"
        latest = load_latest_good(out_dir, refuse)
        step = 0 if latest is None else latest.step
        # The line of a step is written after the save of the step before. Line 0 stands before training.
        must_be = max(len(logged) - 2, 0) // SAVE_EVERY * SAVE_EVERY
        assert step >= max(before, must_be), f"step {step} is the latest, where {max(before, must_be)} was saved"
        for each in list_steps(out_dir):
            self.compare(out_dir, each)
        self.saving += unfinished(out_dir)
        return step

    def check_end(self, out_dir: Path) -> None:
        logged = [timeless(line) for line in read_metrics(out_dir)]
        assert logged == self.lines, "the log differs from that of the run never stopped"
        assert list_steps(out_dir)[-1] == STEPS
        self.compare(out_dir, STEPS)

    def compare(self, out_dir: Path, step: int) -> None:
        found, expected = load_checkpoint(out_dir, step), load_checkpoint(self.straight, step)
        assert found.state == expected.state and found.val_loss == expected.val_loss
        for ours, theirs in (
            (found.model_state, expected.model_state),
            (found.optimizer_state, expected.optimizer_state),
        ):
            assert ours.keys() == theirs.keys()
            for name in ours:
                assert np.array_equal(ours[name], theirs[name]), f"{name} differs at step {step}"
        self.compared += 1

    def report(self) -> str:
        return (
            f"{self.kills} kills, {self.saving} of them in the middle of a save; {self.finished} runs came to their "
            f"end, {self.compared} checkpoints were compared: nothing lost, every bit as in the run never stopped"
        )


def unfinished(out_dir: Path) -> bool:
    """Is a checkpoint there that is only half written?"""
    return any((out_dir / "checkpoints").glob(".tmp-*"))


def timeless(line: dict) -> dict:
    """A line of metrics.jsonl without what the clock decides."""
    return {name: value for name, value in line.items() if name != "tokens_per_s"}


def refuse(line: str) -> None:
    raise AssertionError(f"a checkpoint is damaged: {line}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200, help="kills (default: 200)")
    parser.add_argument("--seed", type=int, default=0, help="decides the moments (default: 0)")
    arguments, flags = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        since = time.monotonic()
        test = KillTest(Path(folder), arguments.seed, tuple(flags))
        while test.kills < arguments.runs:
            test.run(min(test.kills + 10, arguments.runs))
            print(f"{test.kills} of {arguments.runs} kills survived", file=sys.stderr, flush=True)
        print(f"{test.report()} ({time.monotonic() - since:.0f} s)")


if __name__ == "__main__":
    main()

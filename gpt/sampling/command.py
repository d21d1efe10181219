"""What sample.py does: load a run, let it go on with a prompt, print what it says.

stdout gets text alone: the prompt, then its continuation, letter by letter as it is made. Everything else (which
run, which seed, how fast) goes to stderr. Several samples are generated as one batch and printed one after
another, the first one live, with an empty line between them; `--json` prints one object a sample instead.
"""

import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from gpt.cli.output import Stream, say
from gpt.config.options import ChoiceFlags, SampleConfig
from gpt.errors import UsageError
from gpt.hub.load import open_model
from gpt.runs import folder as run_folder
from gpt.sampling.generate import Generation, fresh_seed
from gpt.sampling.interactive import converse
from gpt.sampling.streaming import Completion, complete, start_of
from gpt.utf8 import decode, read_text, shown

SMALL = 2 * 10**6  # parameters, up to which a model is sampled in one thread


def main(config: SampleConfig) -> int:
    """Carry out one call of sample.py; its exit code. Raises what `gpt.cli.command_line.run` turns into one line."""
    run_dir = Path(config.out_dir) if config.out_dir is not None else run_folder.newest()
    prompt = read_prompt(config)
    model, tokenizer, label = open_model(run_dir, config.which, config.backend)[:3]  # not the checkpoint's weights too
    seed = fresh_seed() if config.seed is None else config.seed
    say(f"{label}; {model.device.describe()}; seed {seed}")
    controls = choices(config, seed) | {"exact_window": config.exact_window}
    with blas_threads(config.threads, model):
        if config.interactive:
            return converse(model, tokenizer, prompt, config.max_new_tokens, config.stop, controls)
        return sample(model, tokenizer, prompt, config, controls)


def sample(model, tokenizer, prompt: str, config: SampleConfig, controls: dict) -> int:
    """Generate and print `num_samples` continuations of the prompt."""
    start = start_of(tokenizer, prompt)
    generation = Generation(
        model,
        start.ids,
        config.max_new_tokens,
        first=start.first,
        num_samples=config.num_samples,
        logprobs=config.logprobs or None,
        **controls,
    )
    completions = [Completion(tokenizer, config.stop, start.given) for _ in range(config.num_samples)]
    printer = None if config.json else Printer(prompt, completions)
    began = time.perf_counter()
    complete(generation, completions, printer and printer.show)
    seconds = time.perf_counter() - began
    if config.json:
        for i, completion in enumerate(completions):
            print(as_json(record(tokenizer, prompt, generation.seed, i, completion)), flush=True)
    n_tokens = sum(len(completion.tokens) for completion in completions)
    interrupted = any(completion.finish_reason == "interrupted" for completion in completions)
    say(f"{'interrupted after ' * interrupted}{n_tokens} tokens, {n_tokens / seconds:.0f} tokens/s")
    return 130 if interrupted else 0


class Printer:
    """Prints samples in order, the first that is not finished as it grows; the others wait for their turn."""

    def __init__(self, prompt: str, completions: Sequence[Completion]):
        self.prompt, self.completions = prompt, completions
        self.turn, self.out = 0, Stream()
        self._begin()

    def show(self, i: int, text: str) -> None:
        """Sample i has grown by `text`, or finished."""
        if i == self.turn:
            self.out.write(text)
            while self.turn < len(self.completions) and self.completions[self.turn].finish_reason:
                self._end()
                self.turn += 1
                if self.turn < len(self.completions):
                    self.out.write("\n")
                    self._begin()
                    self.out.write(self.completions[self.turn].text)

    def _begin(self) -> None:
        if len(self.completions) > 1:
            say(f"--- sample {self.turn + 1} of {len(self.completions)} ---")
        self.out.write(self.prompt)

    def _end(self) -> None:
        if not (self.prompt + self.completions[self.turn].text).endswith("\n"):
            self.out.write("\n")


def record(tokenizer, prompt: str, seed: int, index: int, completion: Completion) -> dict:
    """One sample as `--json` prints it.

    `text` is the continuation, without the prompt and cut before a stop string; `tokens` are all the ids that
    were made. With log-probabilities, `logprobs` has for each of these its text, id, log-probability (natural,
    in the model's own distribution) and the most likely tokens in its place. The bytes of a token that is no
    whole character are written as \\xe4 in its text.
    """

    def described(token: int, logprob: float) -> dict:
        text = tokenizer.token_bytes(token).decode("utf-8", errors="backslashreplace")
        return {"token": text, "id": token, "logprob": logprob}

    fields = {
        "prompt": prompt,
        "text": completion.text,
        "tokens": [token.id for token in completion.tokens],
        "seed": seed,
        "sample": index,
        "finish_reason": completion.finish_reason,
    }
    if any(token.logprob is not None for token in completion.tokens):
        fields["logprobs"] = [
            described(token.id, token.logprob) | {"top_logprobs": [described(*rival) for rival in token.best]}
            for token in completion.tokens
        ]
    return fields


def as_json(fields: dict) -> str:
    """On one line; with letters as they are where stdout is UTF-8, else as JSON's own escapes."""
    utf8 = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"
    return json.dumps(fields, ensure_ascii=not utf8)


def read_prompt(config: SampleConfig) -> str:
    """`--prompt`, or the text of `--prompt_file` (read as training texts are; `-` is standard input).

    Raises UsageError, RunError.
    """
    if config.prompt_file is None:
        return config.prompt
    if config.prompt_file == "-":
        if sys.stdin is None:
            raise UsageError("--prompt_file - reads standard input, which is closed")
        return "".join(decode("standard input", getattr(sys.stdin, "buffer", sys.stdin)))
    path = Path(config.prompt_file)
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "is no file" if path.exists() else "does not exist"
        raise UsageError(f"--prompt_file {shown(path)} {problem}")
    return "".join(read_text(path))


def choices(config: ChoiceFlags, seed: int) -> dict:
    """The controls of a configuration, as `generate` takes them, with the seed settled."""
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(ChoiceFlags)} | {"seed": seed}


def blas_threads(threads: int | None, sampled=None):
    """A context in which matrix products use `threads` threads; None leaves the choice to the BLAS library.

    That is for large products. Those of a small model that is `sampled` are over before a second thread has begun, and
    where other programs are at work on the same cores each waits for it: so it gets one thread.
    """
    if threads is None and sampled is not None and sampled.n_parameters() <= SMALL:
        threads = 1
    if threads is None:
        return contextlib.nullcontext()
    from threadpoolctl import threadpool_limits

    return threadpool_limits(threads)

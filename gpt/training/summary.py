"""The end of a run: where it is and how to go on; at its last step also a picture, a sample, a diagnosis, a page."""

import shlex
from collections.abc import Callable
from functools import partial

from gpt.cli.output import program, say, show
from gpt.data.units import perplexity
from gpt.training.progress import watched_samples
from gpt.training.signals import StopRequest


def summarize(run, stop: StopRequest, tell: Callable[..., object] = show) -> int:
    """Say where the run is; draw, sample and judge it if it came to its end unasked. Returns the exit code.

    `run.diagnosis` and `run.sample` keep what was found; `tell` shows the lines for a person, as `show` does.
    """
    run.metrics.close()
    run.samples.close()
    where = shlex.quote(str(run.folder))
    if stop.signal is not None:
        if run.trainer.step < run.config.max_steps:
            tell(f"\nstopped after step {run.trainer.step}, which is saved; to go on:")
            tell(f"    {program('train')} --resume --out_dir {where}")
        else:
            tell(f"\nstopped after the last step, which is saved; the run is in {run.folder}")
        return stop.exit_code
    from gpt.diagnose.diagnosis import diagnose
    from gpt.page.command import write_page
    from gpt.page.contents import KINDS
    from gpt.page.weights import may_write_unasked
    from gpt.pictures import draw_loss
    from gpt.runs.checkpoint import load_checkpoint
    from gpt.runs.history import History

    try:
        draw_loss([run.folder], run.folder / "loss.png")
    except Exception as error:  # whatever it is, it must not cost what comes after it
        reason = " ".join(str(error).split()) or type(error).__name__
        say(f"warning: loss.png could not be drawn: {reason}; python -m gpt.pictures {where} tries again")
    final = run.evaluations.get(run.trainer.step)
    if final:
        val_loss = final["val_loss"]
        tell(
            f"\ntrain loss {final['train_loss']:.4f}, val loss {val_loss:.4f}: "
            f"perplexity {perplexity(val_loss):.1f}, {final['val_bits_per_byte']:.3f} bits a byte"
        )
    samples = make_samples(run)
    if samples:
        run.sample = run.data.tokenizer.decode(samples[0]).strip()
        tell(f"a sample:\n\n{run.sample}\n")
    model, vocab_size = run.trainer.model, run.data.tokenizer.vocab_size
    history = History(run.folder)
    found = run.diagnosis = diagnose(history, model.n_parameters(), vocab_size, run.data.train, run.data.val, samples)
    tell(f"{found.report()}\n", indent="  ")
    if run.data.tokenizer.kind not in KINDS:
        pass  # there is no page for it
    elif may_write_unasked(model.n_parameters()):
        page = write_page(history, load_checkpoint(run.folder, "best", optimizer=False), run.data, found)
        tell(f"{page} has this model running in it: open it in a browser")
    else:
        tell(f"a page with this model running in it: python -m gpt.page {where}")
    tell(f"the run is in {run.folder}: loss.png, metrics.jsonl, checkpoints. To sample it:")
    tell(f"    {program('sample')} --out_dir {where}")
    return 0


def make_samples(run) -> list[list[int]]:
    """The ids of a few samples, made as one batch: the first to show, all of them to judge."""
    from gpt.diagnose.diagnosis import sample_ids

    if not run.config.sample_tokens:
        return []
    model, tokenizer, n_tokens = run.trainer.model, run.data.tokenizer, run.config.sample_tokens
    watch = partial(watched_samples, n_tokens=n_tokens)
    return sample_ids(model, tokenizer, n_tokens, watch=watch, seed=run.config.seed)

"""A few short texts at every evaluation, so that one can look back at how a run learned to write.

They stay within the context, where a token costs one position, and start from the same seed every time. A model
whose page would be too large to be written unasked keeps none: it would need a copy of its weights to sample from.
"""

from gpt.config.options import TrainConfig
from gpt.diagnose.diagnosis import sample_ids
from gpt.page.weights import may_write_unasked

COUNT = 3
MOST_TOKENS = 100
PROMPT_TOKENS = 2  # an empty line


def short_samples(model, tokenizer, config: TrainConfig) -> list[str]:
    """What the model writes now; nothing where the run shows no samples at all (`sample_tokens` is 0)."""
    n_tokens = min(config.sample_tokens, MOST_TOKENS, max(1, config.block_size - PROMPT_TOKENS))
    if not n_tokens or not may_write_unasked(model.n_parameters()):
        return []
    samples = sample_ids(model, tokenizer, n_tokens, num_samples=COUNT, seed=config.seed)
    return [tokenizer.decode(ids).rstrip("\ufffd") for ids in samples]

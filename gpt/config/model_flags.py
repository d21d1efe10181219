"""The flags that decide a model's shape, and which combinations of them make no sense.

The defaults are the mini-GPT of the article. GPT-2 is `activation gelu`, `qkv_bias`, `tie_weights`. A Llama is `norm
rmsnorm`, `position rope`, `activation swiglu`, no biases, and fewer heads of keys and values (`n_kv_head`); Qwen2 adds
`qkv_bias`, Qwen3 `qk_norm rms_weight` and a `head_dim` of its own.
"""

from dataclasses import dataclass
from typing import Literal

from gpt.config.flags import Checked, flag
from gpt.errors import UsageError, flags_as_parameters

LARGEST_AXIS = 2**20  # of a batch, a context, a layer: more is a slip of the finger
GATED = 8 / 3  # a gated MLP has three matrices, not two: so wide, it has as many parameters as one of 4 C without


@dataclass(frozen=True, kw_only=True)
class ModelFlags(Checked):
    n_layer: int = flag(2, "blocks, one after the other", at_least=1, at_most=1000)
    n_head: int = flag(4, "attention heads in a block", at_least=1, at_most=LARGEST_AXIS)
    n_embd: int = flag(128, "channels, a multiple of n_head", at_least=1, at_most=LARGEST_AXIS)
    block_size: int = flag(64, "context: the tokens a model sees at once", at_least=1, at_most=LARGEST_AXIS)
    dropout: float = flag(0.0, "share of activations dropped in training", at_least=0, below=1)
    activation: Literal["relu", "gelu", "relu2", "swiglu"] = flag(
        "relu", "of the MLP; gelu is GPT-2's tanh form, relu2 the square of relu, swiglu Llama's gate"
    )
    bias: bool = flag(True, "biases in projections, MLP and LayerNorm")
    qkv_bias: bool = flag(False, "biases in queries, keys and values")
    tie_weights: bool = flag(False, "one matrix for token embedding and head")
    norm: Literal["layernorm", "rmsnorm"] = flag("layernorm", "what normalises before each part of a block", later=True)
    norm_eps: float = flag(1e-5, "added to the variance, or mean square, in every norm", above=0, later=True)
    position: Literal["learned", "rope"] = flag(
        "learned", "a learned vector for each position, or queries and keys rotated by it", later=True
    )
    rope_theta: float = flag(10000.0, "base of RoPE's wavelengths, which go up to 2 pi theta", above=1, later=True)
    rope_scaling: Literal["none", "linear", "llama3"] = flag(
        "none", "RoPE for a longer context: all wavelengths longer, or the long ones alone", later=True
    )
    rope_factor: float = flag(1.0, "how many times longer rope_scaling makes them", at_least=1, later=True)
    rope_low_freq_factor: float = flag(
        1.0, "llama3: wavelengths above rope_original_context / this are scaled", above=0, later=True
    )
    rope_high_freq_factor: float = flag(
        4.0, "llama3: wavelengths below rope_original_context / this are not", above=0, later=True
    )
    rope_original_context: int = flag(8192, "llama3: context before rope_scaling", at_least=1, later=True)
    n_kv_head: int | None = flag(
        None,
        "heads of keys and values, each shared by n_head / n_kv_head heads of queries",
        at_least=1,
        at_most=LARGEST_AXIS,
        default_text="n_head",
        later=True,
    )
    head_dim: int | None = flag(
        None, "channels of a head", at_least=1, at_most=LARGEST_AXIS, default_text="n_embd / n_head", later=True
    )
    qk_norm: Literal["none", "rms", "rms_weight"] = flag(
        "none", "RMS-normalise each head's queries and keys, without or with learned weights", later=True
    )
    n_inner: int | None = flag(
        None,
        "channels inside the MLP",
        at_least=1,
        at_most=LARGEST_AXIS,
        default_text="4 n_embd, with swiglu 8/3 n_embd up to a multiple of 8",
        later=True,
    )
    zero_init: bool = flag(False, "start the projections at the end of attention and MLP at zero", later=True)

    @property
    def kv_heads(self) -> int:
        """`n_kv_head`, or what stands in for it."""
        return self.n_kv_head or self.n_head

    @property
    def head_channels(self) -> int:
        """`head_dim`, or what stands in for it."""
        return self.head_dim or self.n_embd // self.n_head

    @property
    def inner_channels(self) -> int:
        """`n_inner`, or what stands in for it."""
        if self.n_inner:
            return self.n_inner
        return -(-round(GATED * self.n_embd) // 8) * 8 if self.activation == "swiglu" else 4 * self.n_embd

    @property
    def rope_settings(self) -> dict:
        """The arguments of nanograd's RoPE beside the channels of a head."""
        return {
            "theta": self.rope_theta,
            "scaling": self.rope_scaling,
            "factor": self.rope_factor,
            "low_freq_factor": self.rope_low_freq_factor,
            "high_freq_factor": self.rope_high_freq_factor,
            "original_context": self.rope_original_context,
        }

    def check_together(self) -> None:
        super().check_together()
        if self.head_dim is None and self.n_embd % self.n_head:
            raise UsageError(f"--n_embd must be a multiple of --n_head ({self.n_head}), not {self.n_embd}")
        if self.n_head % self.kv_heads:
            raise UsageError(f"--n_kv_head must divide --n_head ({self.n_head}), and {self.n_kv_head} does not")
        self._check_rope()

    def _check_rope(self) -> None:
        if self.position != "rope":
            self._only_with("--position rope", "rope_theta", "rope_scaling")
        elif self.head_channels % 2:
            name, value = ("head_dim", self.head_dim) if self.head_dim else ("n_embd / --n_head", self.head_channels)
            raise UsageError(f"--position rope rotates pairs of channels: --{name} must be even, not {value}")
        if self.rope_scaling == "none":
            self._only_with("--rope_scaling linear or llama3", "rope_factor")
        elif self.rope_factor == 1:
            raise UsageError(f"--rope_scaling {self.rope_scaling} needs a --rope_factor above 1")
        if self.rope_scaling != "llama3":
            names = "rope_low_freq_factor", "rope_high_freq_factor", "rope_original_context"
            self._only_with("--rope_scaling llama3", *names)
        elif self.rope_low_freq_factor >= self.rope_high_freq_factor:
            limit, value = self.rope_high_freq_factor, self.rope_low_freq_factor
            raise UsageError(f"--rope_low_freq_factor must be below --rope_high_freq_factor ({limit}), not {value}")

    def _only_with(self, other: str, *names: str) -> None:
        """Raise UsageError for the first of these flags that is not at its default."""
        for name in names:
            if getattr(self, name) != getattr(ModelFlags, name):
                raise UsageError(f"--{name} goes with {other}: without it, it would change nothing")


@dataclass(frozen=True)
class GPTConfig(ModelFlags):
    """The shape of a GPT. Raises UsageError for one that cannot be."""

    vocab_size: int = flag(..., "tokens in the vocabulary", at_least=1)

    def __post_init__(self) -> None:
        with flags_as_parameters():
            super().__post_init__()

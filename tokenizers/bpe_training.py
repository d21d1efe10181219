"""Learning a BPE vocabulary from a corpus.

Byte-pair encoding starts from single characters and merges, again and again, the pair of neighbours that is most
frequent in the corpus, until the vocabulary is full (Sennrich et al. 2016, arXiv:1508.07909). sentencepiece does
that; this file decides what it is shown.

**A sample.** Statistics of a few million characters are those of the whole. The corpus is read once, in blocks of
16,384 characters; when 256 are held, every second is let go, and from then on half as many are kept. So the sample
has 2 to 4 million characters spread evenly over a corpus of any size (all of a corpus under 4 million), and does not
depend on how the corpus was chunked, nor on chance. Twice as much made English novels no shorter (0.04%).

**The alphabet.** The most frequent characters, which together make up 99% of the sample, get a token of their own, but
in at most three quarters of the places; other characters are spelled in bytes. With 4096 tokens, Chinese prose of 3961
distinct characters is 7% shorter so than with 3500 of them, and a rare ASCII character is one token either way. If the
merges run out before the places do, more characters take the places that are left.

**Lines.** The text is cut at control characters, so at every line end, and at characters outside the alphabet: no
piece spans them. A line end is always the token of its byte, and no place is spent on words that a wrapped line
happened to end with. Pieces do not span words either: spaces only begin them. Chinese pieces may span any characters
of a line. sentencepiece drops lines over 4192 bytes, so lines are cut at 1000 characters.

**The size**, when none is asked for, is 512 for corpora of up to a million characters, and then grows with the square
root of the length (novels of 28 million: 2624). It is more where the alphabet is large: so that merges have a quarter
of the places. It is less where there is little to merge: a merge for every 50 characters of text. Corpora of up to
32,768 characters have 512 at most, whatever their script.
"""

import io
import math
import re
from collections import Counter
from collections.abc import Iterable

from .base import TokenizerError, pieces_of_text
from .bpe_model import LARGEST, N_FIXED, SPACE_SIGN, read_pieces

BLOCK = 16_384  # characters
MOST_BLOCKS = 256
LINE = 1000  # characters
SMALL = 32_768  # characters of a small corpus
SMALLEST = N_FIXED + 1  # the fixed pieces and the space
UNKNOWN_SIGN = "\u2585"  # ▅: sentencepiece marks unknown characters with it, and drops lines that hold it
SPECIAL_PIECE = re.compile("<(?=unk>|0x[0-9A-F]{2}>)")  # in a text it is text, but sentencepiece would leave it out
ALWAYS_CUT = [*map(chr, range(32)), SPACE_SIGN, UNKNOWN_SIGN]


def train_model(text: str | Iterable[str], vocab_size: int | None) -> bytes:
    """A sentencepiece model of exactly vocab_size pieces; with None, of a size that suits the corpus.

    The same corpus gives the same bytes. Raises TokenizerError if the size does not suit, with one that does.
    """
    if vocab_size is not None and type(vocab_size) is not int:
        raise TokenizerError(f"vocab_size must be a whole number, not {vocab_size!r:.40}")
    if vocab_size is not None and vocab_size < SMALLEST:
        raise TokenizerError(
            f"vocab_size {vocab_size} is too small: bpe needs a token for every byte, and the smallest that works is"
            f" {SMALLEST}; without vocab_size one is chosen that suits the corpus"
        )
    sample, n_characters = take_sample(text)
    if not n_characters:
        raise TokenizerError("there is no text to train a tokenizer on: the corpus is empty")
    counts = Counter(sample)
    for character in [*ALWAYS_CUT, " "]:
        del counts[character]
    if vocab_size is None:
        return learn(sample, counts, suitable_size(counts, n_characters))
    model = learn(sample, counts, min(vocab_size, LARGEST))
    largest = len(read_pieces(model))
    if largest < vocab_size:
        raise TokenizerError(
            f"vocab_size {vocab_size} is too large for this corpus: the largest that works is {largest}"
        )
    return model


def take_sample(text: str | Iterable[str]) -> tuple[str, int]:
    """Evenly spread blocks of a corpus, joined, and the number of characters of all of it."""
    blocks, keep_every, n_blocks, n_characters, rest = [], 1, 0, 0, ""

    def take(block):
        nonlocal blocks, keep_every, n_blocks
        if n_blocks % keep_every == 0:
            blocks.append(block)
        n_blocks += 1
        if len(blocks) > MOST_BLOCKS:
            blocks, keep_every = blocks[::2], 2 * keep_every

    for chunk in pieces_of_text(text):
        n_characters += len(chunk)
        rest += chunk
        whole = len(rest) - len(rest) % BLOCK
        for start in range(0, whole, BLOCK):
            take(rest[start : start + BLOCK])
        rest = rest[whole:]
    if rest:
        take(rest)
    return ("" if keep_every == 1 else "\n").join(blocks), n_characters


def suitable_size(counts: Counter, n_characters: int) -> int:
    """The vocabulary for a corpus of so many characters, with such counts (the module's docstring has the reasons)."""
    n_alphabet = len(alphabet(counts))
    size = max(512 * math.sqrt(n_characters / 2**20), SMALLEST + n_alphabet * 4 / 3)
    size = 512 if size <= 512 or n_characters <= SMALL else int(size) // 64 * 64
    return min(size, SMALLEST + n_alphabet + n_characters // 50, LARGEST)


def alphabet(counts: Counter) -> list[str]:
    """The most frequent characters, which make up 99% of the text."""
    left = 0.99 * counts.total()
    chosen = []
    for character in ranked(counts):
        if left <= 0:
            break
        chosen.append(character)
        left -= counts[character]
    return chosen


def ranked(counts: Counter) -> list[str]:
    return sorted(counts, key=lambda character: (-counts[character], character))


def learn(sample: str, counts: Counter, vocab_size: int) -> bytes:
    """A model of vocab_size pieces, or of fewer if it has every character and every merge that the sample offers."""
    places = vocab_size - SMALLEST
    n_alphabet = min(len(alphabet(counts)), math.ceil(places * 3 / 4))
    while True:
        model = merge(sample, ranked(counts)[:n_alphabet], vocab_size)
        unused = vocab_size - len(read_pieces(model))
        if unused == 0 or n_alphabet == len(counts):
            return model
        n_alphabet = min(n_alphabet + unused, len(counts))


def merge(sample: str, known: list[str], vocab_size: int) -> bytes:
    """sentencepiece's model of the sample, with these characters and the space for an alphabet."""
    from sentencepiece import SentencePieceTrainer

    cut = dict.fromkeys(map(ord, {*sample, *ALWAYS_CUT} - {*known, " "}), "\n")
    lines = [line for line in SPECIAL_PIECE.sub("<\n", sample.translate(cut)).split("\n") if line]
    sentences = (line[start : start + LINE] for line in lines or [" "] for start in range(0, len(line), LINE))
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=sentences,
        model_writer=model,
        model_type="bpe",
        vocab_size=vocab_size,
        hard_vocab_limit=False,  # no merges left: a smaller vocabulary, and no error
        byte_fallback=True,
        character_coverage=1.0,  # of the alphabet that was chosen
        required_chars=SPACE_SIGN,  # a space needs its piece, or its sign would be spelled in bytes
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,  # indentation
        unk_id=0,  # cannot be left out
        bos_id=-1,
        eos_id=-1,
        pad_id=-1,
        num_threads=1,  # the number is written into the model
        minloglevel=2,  # what is not an error is not said
    )
    return model.getvalue()

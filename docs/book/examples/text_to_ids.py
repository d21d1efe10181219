"""Chapter 1: characters, byte-pair encoding merged by hand, and batches in which y is x moved by one."""

import functools
from collections import Counter
from itertools import pairwise

import numpy as np
from book.drawing import BLUE, GREY, INK, ORANGE, new_figure
from matplotlib.patches import Rectangle

from exercises.catalog import TASKS
from gpt.data.batches import get_batch
from tokenizers import BPETokenizer, CharTokenizer, TokenizerError

SMALL = "can a can can a can"
TALES = TASKS.parents[1] / "data" / "tales.txt"
SENTENCE = "Lulu looked behind the door."
SIZE = 200


@functools.cache
def tales(characters: int) -> str:
    return TALES.read_text(encoding="utf-8")[:characters]


def characters():
    """The smallest tokenizer: number the characters that occur."""
    alphabet = sorted(set(SMALL))
    ids = [alphabet.index(character) for character in SMALL]
    print("vocabulary:", {character: i for i, character in enumerate(alphabet)})
    print("ids:", *ids)


def small():
    return f"`{SMALL}`"


def small_length():
    return str(len(SMALL))


def merged(pieces, pair):
    """`pieces` with every such pair of neighbours made one, from left to right."""
    result = []
    for piece in pieces:
        if result and (result[-1], piece) == pair:
            result[-1] += piece
        else:
            result.append(piece)
    return result


def merges():
    """Three times: count the pairs of neighbours, join the most frequent one."""
    pieces = list(SMALL)
    for _ in range(3):
        counts = Counter(pairwise(pieces))
        pair = min(counts, key=lambda pair: (-counts[pair], pair))
        pieces = merged(pieces, pair)
        print(f"{counts[pair]} times {pair[0]!r} + {pair[1]!r}; now {len(pieces)} pieces: {'|'.join(pieces)}")


@functools.cache
def learned(text: str, size: int):
    """(merges in order, how many pieces the text is after each), until the vocabulary has `size` pieces."""
    words = Counter(text.replace(" ", "\n ").splitlines())  # a space begins a word; nothing spans two words
    splits = {word: list(word) for word in words}
    vocabulary, order, lengths = len(set("".join(words))), [], []
    while vocabulary + len(order) < size:
        counts = Counter()
        for word, pieces in splits.items():
            for pair in pairwise(pieces):
                counts[pair] += words[word]
        pair = min(counts, key=lambda pair: (-counts[pair], pair))
        splits = {word: merged(pieces, pair) for word, pieces in splits.items()}
        order.append(pair)
        lengths.append(sum(len(splits[word]) * n for word, n in words.items()))
    return order, lengths


def split(text: str) -> list[str]:
    """`text` in pieces: what was learned from the tales, merge after merge."""
    order, _ = learned(tales(20_000), SIZE)
    pieces = []
    for word in text.replace(" ", "\n ").splitlines():
        letters = list(word)
        for pair in order:
            letters = merged(letters, pair)
        pieces += letters
    return pieces


def hello():
    """One greeting, cut in two ways. A bar stands between tokens."""
    text = "Hello world"
    pieces = split(text)
    print(f"{len(text)} characters: {'|'.join(text)}")
    print(f"{len(pieces)} pieces:     {'|'.join(pieces)}")


def first_merges():
    order, _ = learned(tales(20_000), SIZE)
    return ", ".join(f"`{a + b}`".replace(" ", "␣") for a, b in order[:12])


def longest():
    order, _ = learned(tales(20_000), SIZE)
    found = sorted((a + b for a, b in order), key=lambda piece: (-len(piece), piece))[:5]
    return ", ".join(f"`{piece}`".replace(" ", "␣") for piece in found)


def n_alphabet():
    return str(len(set(tales(20_000)) - {"\n"}))


def n_merges():
    return str(len(learned(tales(20_000), SIZE)[0]))


def shortening():
    _, lengths = learned(tales(20_000), SIZE)
    return f"{lengths[-1] / len(tales(20_000).replace(chr(10), '')):.2f}"


def real_tokenizers():
    """The repository's two tokenizers, made from the same text."""
    char = CharTokenizer.train(tales(100_000))
    bpe = BPETokenizer.train(tales(100_000), 512)
    for text in "Hello world", "你好":
        ids = bpe.encode(text)
        print(f"bpe:  {text!r} is {len(ids)} tokens: {[bpe.table[i] for i in ids]}")
        assert bpe.decode(ids) == text
        try:
            print(f"char: {text!r} is {len(char.encode(text))} tokens")
        except TokenizerError as error:
            print(f"char: {str(error).partition(' at position')[0]} is unknown")


def windows():
    """A text of ten ids, and a batch of two windows of four."""
    tokens = np.array([7, 3, 3, 9, 0, 5, 2, 8, 1, 4])
    x, y = get_batch(tokens, starts=[0, 5], block_size=4)
    print(f"x\n{x}\ny\n{y}")


def questions():
    """What one window of four tokens asks."""
    tokens = np.array([7, 3, 3, 9, 0])
    for t in range(4):
        print(f"after {' '.join(map(str, tokens[: t + 1])):8} comes {tokens[t + 1]}")


def cut():
    """A sentence twice: above, a box for each character; below, a box for each of its fewer, longer pieces."""
    pieces = split(SENTENCE)
    figure, axes = new_figure(height=1.9)
    for row, (parts, colour) in enumerate(((list(SENTENCE), BLUE), (pieces, ORANGE))):
        x, y = 0, -1.6 * row
        for part in parts:
            axes.add_patch(Rectangle((x + 0.06, y), len(part) - 0.12, 0.9, facecolor=colour, alpha=0.18))
            axes.text(x + len(part) / 2, y + 0.42, part.replace(" ", "␣"), ha="center", va="center", color=INK)
            x += len(part)
        kind = "characters" if row == 0 else "pieces"
        axes.text(0, y + 1.0, f"{len(parts)} {kind}", va="bottom", color=colour)
    axes.set(xlim=(0, len(SENTENCE)), ylim=(-1.75, 1.7))
    axes.axis("off")
    return figure


def lengths():
    """A falling curve: the larger the vocabulary, the fewer pieces the text has; each further merge saves less."""
    text = tales(20_000)
    _, found = learned(text, 600)
    first = 600 - len(found)
    figure, axes = new_figure()
    sizes = np.arange(first, 600) + 1
    share = np.array(found) / len(text.replace("\n", ""))
    axes.plot(sizes, share, color=BLUE)
    at = SIZE - first - 1
    axes.plot([SIZE], [share[at]], "o", color=ORANGE)
    axes.annotate(f"vocabulary {SIZE}: {share[at]:.2f}", (SIZE + 14, share[at] + 0.02), color=ORANGE)
    axes.annotate(f"characters alone: {first}", (first + 14, 0.97), color=GREY)
    axes.set(xlabel="size of the vocabulary", ylabel="tokens a character", ylim=(0, 1.05))
    return figure

"""Chapter 8: a table of four rows, the same table as a head, and positions as rows or as rotations."""

import math

import numpy as np
from book.drawing import BLUE, GREY, INK, new_figure
from book.formulas import block, matrix, number, vector
from matplotlib.patches import Circle

from nanograd.reference.attention import attention
from nanograd.reference.embedding import embedding, embedding_backward
from nanograd.reference.rope import angles, rotate, rotate_backward

TABLE = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, -1.0], [2.0, 2.0]])
IDS = np.array([2, 0, 2])
DY = np.array([[1.0, 2.0], [0.0, -1.0], [3.0, -1.0]])
ANGLE = math.pi / 3  # of one position, in the pencil example
QUERY, KEY = np.array([2.0, 0.0]), np.array([1.0, 1.0])


def given():
    return block(rf"\text{{ids}} = {vector(IDS)} \qquad \text{{table}} = {matrix(TABLE)}")


def forward():
    return block(rf"y = {matrix(embedding(IDS, TABLE))}")


def backward():
    dy, dtable = matrix(DY), matrix(embedding_backward(DY, IDS, TABLE))
    return block(rf"dy = {dy} \qquad d\text{{table}} = {dtable}")


def row_two():
    total = embedding_backward(DY, IDS, TABLE)[2]
    return block(rf"{vector(DY[0])} + {vector(DY[2])} = {vector(total)}")


def one_hot():
    rows = np.eye(4)[IDS]
    return block(rf"y = {matrix(rows)} {matrix(TABLE)}")


def overwritten():
    """What NumPy makes of a repeated index."""
    wrong, right = np.zeros((4, 2)), np.zeros((4, 2))
    wrong[IDS] += DY
    np.add.at(right, IDS, DY)
    print("dtable[ids] += dy         ", wrong.tolist())
    print("np.add.at(dtable, ids, dy)", right.tolist())


def tied():
    """One table, read by id and then used as the head: two gradients, and what differences say."""
    dlogits, i = np.array([0.1, -0.6, 0.3, 0.2]), 2
    y = TABLE[i]
    of_head = np.outer(dlogits, y)  # (V, C)
    of_embedding = np.zeros((4, 2))
    of_embedding[i] = dlogits @ TABLE
    slopes, h = np.zeros((4, 2)), 1e-5
    for where in np.ndindex(4, 2):
        losses = []
        for sign in (1, -1):
            table = TABLE.copy()
            table[where] += sign * h
            losses.append(dlogits @ (table @ table[i]))
        slopes[where] = (losses[0] - losses[1]) / (2 * h)
    for name, array in (
        ("as the head      ", of_head),
        ("as the embedding ", of_embedding),
        ("both             ", of_head + of_embedding),
        ("by differences   ", slopes),
    ):
        print(name, (np.round(array, 4) + 0.0).tolist())


def bag():
    """The last position's output, with the first two tokens in either order: without positions, and with them."""
    rng = np.random.default_rng(0)
    x, positions = rng.standard_normal((4, 3)), rng.standard_normal((4, 3))
    swapped = x[[1, 0, 2, 3]]
    for name, added in (("without positions", 0), ("with positions   ", positions)):
        a, b = ((attention(y, y, y)[-1]) for y in (x + added, swapped + added))
        print(f"{name}  {np.round(a, 4)}  {np.round(b, 4)}")


def turn():
    c, s = math.cos(ANGLE), math.sin(ANGLE)
    a, b = rotate(QUERY[None], np.array([[ANGLE]]))[0]
    q0, q1 = QUERY
    return block(
        rf"a' &= {number(q0)} \cdot {number(c, 3)} - {number(q1)} \cdot {number(s, 3)} = {number(a, 3)}",
        rf"b' &= {number(q1)} \cdot {number(c, 3)} + {number(q0)} \cdot {number(s, 3)} = {number(b, 3)}",
    )


def turned_key():
    return f"$k = {vector(KEY)}$"


def dots():
    """q . k with the query at s and the key at t, each turned by its position."""
    for s, t in ((1, 0), (3, 2), (7, 6), (3, 0)):
        q = rotate(QUERY[None], np.array([[s * ANGLE]]))[0]
        k = rotate(KEY[None], np.array([[t * ANGLE]]))[0]
        print(f"query at {s}, key at {t}: distance {s - t}, q . k = {q @ k:7.4f}")


def turn_back():
    dy = np.array([[1.0, 2.0]])
    da, db = rotate_backward(dy, QUERY[None], np.array([[ANGLE]]))[0]
    c, s = number(math.cos(ANGLE), 3), number(math.sin(ANGLE), 3)
    return block(
        rf"da &= {number(dy[0, 0])} \cdot {c} + {number(dy[0, 1])} \cdot {s} = {number(da, 3)}",
        rf"db &= {number(dy[0, 1])} \cdot {c} - {number(dy[0, 0])} \cdot {s} = {number(db, 3)}",
    )


def frequencies():
    """Eight channels are four pairs; the angle of one position, and after how many positions a turn is complete."""
    f = angles(2, 8)[1]
    for i, value in enumerate(f):
        print(f"pair {i + 1}: {value:.3f} radians a position, a whole turn in {2 * math.pi / value:6.0f} positions")


def hands():
    """Two clock faces: the same vector at eight positions, in a fast pair of channels and in a slow one."""
    figure, both = new_figure(1, 2, height=3.3)
    for axes, f, title in zip(both, (1.0, 0.1), ("first pair: 1 radian", "second pair: 0.1 radian"), strict=True):
        axes.add_patch(Circle((0, 0), 1, facecolor="none", edgecolor=GREY, linewidth=1))
        for t in range(8):
            a, b = math.cos(t * f), math.sin(t * f)
            axes.plot([0, a], [0, b], color=BLUE, alpha=1 - 0.1 * t, linewidth=1.5)
            axes.text(1.17 * a, 1.17 * b, str(t), ha="center", va="center", fontsize=10, color=INK)
        axes.set(title=title, xlim=(-1.35, 1.35), ylim=(-1.35, 1.35), aspect="equal")
        axes.axis("off")
    return figure


def by_distance():
    """Two squares of scores, query positions down and key positions across: with RoPE every diagonal has one colour."""
    T, D = 12, 6
    rng = np.random.default_rng(5)
    q, k = rng.standard_normal((2, D))
    positions = 0.7 * rng.standard_normal((T, D))
    learned = (q + positions) @ (k + positions).T
    phi = angles(T, D)
    turned = rotate(np.tile(q, (T, 1)), phi) @ rotate(np.tile(k, (T, 1)), phi).T
    figure, both = new_figure(1, 2, height=3.8, sharey=True)
    for axes, s, title in zip(both, (learned, turned), ("a vector for each position", "RoPE"), strict=True):
        axes.imshow(s, cmap="Blues")
        axes.set(title=title, xlabel="position of the key")
        axes.grid(False)
        axes.set_xticks([0, 5, 10])
        axes.set_yticks([0, 5, 10])
    both[0].set_ylabel("position of the query")
    return figure


def rows_used():
    """A batch of 32 windows of 64 characters of the tales: how often is each of the rows read?"""
    from book.examples.text_to_ids import tales

    from tokenizers import CharTokenizer

    text = tales(100_000)
    tokenizer = CharTokenizer.train(text)
    counts = np.bincount(tokenizer.encode(text[: 32 * 64]), minlength=tokenizer.vocab_size)
    order = np.argsort(-counts, kind="stable")
    names = tokenizer.decode([int(i) for i in order])
    print(f"most often:  {', '.join(f'{names[i]!r} {counts[order[i]]}' for i in range(4))}")
    print(f"least often: {', '.join(f'{names[i]!r} {counts[order[i]]}' for i in (-3, -2, -1))}")
    print(f"rows that are not read, of {len(counts)}: {np.count_nonzero(counts == 0)}")

"""1 of 3. A language model without any learning: count which letter follows which.

    python first_steps/count_pairs.py

It reads a text, counts pairs of letters, turns counts into probabilities, and writes new text from them. Two ideas that
stay until the end of this repository are here already: the probability of what comes next given what came before, and
the loss, which says how surprised the model is. Next: linear_layer.py.
"""

from itertools import pairwise

try:
    import numpy as np
except ModuleNotFoundError:
    raise SystemExit("error: NumPy is not installed; python -m pip install numpy gets it") from None

TEXT = "the cat sat on the mat. the dog sat on the log. the cat and the dog sat on the mat. "


def main():
    letters = sorted(set(TEXT))
    V = len(letters)
    ids = [letters.index(letter) for letter in TEXT]  # text as whole numbers, 0 to V - 1
    print(f"{len(TEXT)} letters, {V} different ones: {letters}")
    print(f"{TEXT[:7]!r} as ids: {ids[:7]}")

    # counts[a, b]: how often letter b came right after letter a.
    counts = np.zeros((V, V))
    for a, b in pairwise(ids):
        counts[a, b] += 1

    # Each row divided by its sum: the probability of b after a. All rows sum to 1.
    probabilities = counts / counts.sum(axis=1, keepdims=True)
    t, h = letters.index("t"), letters.index("h")
    after_t = {letters[b]: float(probabilities[t, b].round(3)) for b in np.flatnonzero(counts[t])}
    print(f"after 't' comes {after_t}")

    # The loss: -log of the probability that the model gave to what really came, averaged. log is the natural logarithm.
    # It is 0 for a model that is always certain and right, and log V for one that gives every letter the same.
    loss = np.mean([-np.log(probabilities[a, b]) for a, b in pairwise(ids)])
    print(f"loss {loss:.4f}; knowing nothing would be log {V} = {np.log(V):.4f}")
    print(f"for the pair 'th' alone: -log {probabilities[t, h]:.3f} = {-np.log(probabilities[t, h]):.4f}")

    # Writing: draw the next letter from the row of the last one, again and again.
    rng = np.random.default_rng(0)
    text = [t]
    for _ in range(70):
        text.append(rng.choice(V, p=probabilities[text[-1]]))
    print("written by the model:", "".join(letters[i] for i in text))
    print("Every pair of letters is real, most words are not: it knows one letter of the past. A GPT knows many.")


if __name__ == "__main__":
    main()

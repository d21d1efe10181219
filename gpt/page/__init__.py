"""A page of one's own run: the trained model, alive in a browser, in one file that needs no server and no network.

    python -m gpt.page out/tales                 writes out/tales/page.html; open it by a double click
    python -m gpt.page out/tales --full          weights in float32 instead of float16

In the page a small engine in plain JavaScript (web/engine.js) reads the prompt, writes on with every control of
sample.py, and shows what it does: the choice of each token, attention, the stream between the blocks, the loss of
each token and the gradients of a backward pass of its own. Below that: the run's curves, samples from noise to
stories, its diagnosis and its tokenizer; in English and Chinese.

train.py writes the page itself at the end of a run, where that takes under two seconds.
"""

# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A mini-GPT, from the text to the last gradient
#
# This notebook trains a GPT of half a million parameters in plain NumPy, or in CuPy where there is a GPU. No autograd:
# every gradient is written by hand, and you will check one yourself. It follows the sections of the article
# [从零实现 LLM（上）：原理讲透 + 最小可运行 GPT](https://blog.csdn.net/qq_41865545/article/details/151143409), which builds the same
# model in PyTorch. 中文版：`mini_gpt.zh.ipynb`.
#
# *Run → Run All* takes one to three minutes on two cores. Every cell can be changed and run again.

# %% [markdown]
# ## 1. Install
#
# In a clone of the repository this installs the clone. Where the notebook stands alone, as on Google Colab, put the
# address of the repository into `REPOSITORY`, or clone it beside the notebook. Colab with a GPU has CuPy already, and it
# is used; without a GPU NumPy computes.

# %%
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = ""  # "git+https://…", where there is no clone
if importlib.util.find_spec("gpt") is None:
    clones = [
        folder.resolve() for folder in (Path(".."), Path("."), Path("nanograd")) if (folder / "gpt/model.py").exists()
    ]
    if not clones and not REPOSITORY:
        raise RuntimeError(
            "no clone of nanograd is here: put the repository's address into REPOSITORY, as git+https://…"
        )
    source = ["-e", f"{clones[0]}[notebook]"] if clones else [f"nanograd[notebook] @ {REPOSITORY}"]
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *source], check=True)
    sys.path[:0] = map(str, clones)
    importlib.invalidate_caches()
    if "numpy" in sys.modules and sys.modules["numpy"].__version__ != importlib.metadata.version("numpy"):
        raise RuntimeError(
            "NumPy was updated: restart the kernel (Colab: Runtime → Restart session) and run this again"
        )

# %%
from nanograd import Device

QUICK = "MINI_GPT_QUICK" in os.environ  # True: a few steps of each training, to see that every cell runs
device = Device("auto")
print(device.describe())

# %% [markdown]
# ## 2. The corpus
#
# Everything a language model knows comes from its text. Ours is a collection of small tales that come with the
# repository. Any UTF-8 file of your own will do: put its path in place of `tales`.

# %%
from gpt.data.corpus import open_corpus

DATA = "tales"
text = "".join(open_corpus([DATA]).chunks())
print(f"{len(text):,} characters, {len(set(text))} different ones\n")
print(text[:200])

# %% [markdown]
# ## 3. Two tokenizers side by side
#
# A model computes with numbers, so the text is cut into **tokens**, and each token has an id. By characters the vocabulary
# is small and a text is long. **BPE** joins the pairs that occur most often into longer pieces, again and again.

# %%
from gpt.tokenizers import BPETokenizer, CharTokenizer

char = CharTokenizer.train(text)
bpe = BPETokenizer.train(text, 512)
line = "Once there was a little fox."
for name, tokenizer in (("char", char), ("bpe", bpe)):
    ids = tokenizer.encode(line)
    print(f"{name}: vocabulary of {tokenizer.vocab_size}, {len(ids)} tokens: {ids}")
    assert tokenizer.decode(ids) == line

# %%
from IPython.display import Image, display

from gpt.pictures.segmentation import draw_segmentation

out = Path("out")
out.mkdir(exist_ok=True)
draw_segmentation(text[:160], bpe, char.vocab_size, out / "segmentation.png")
display(Image(out / "segmentation.png"))

# %% [markdown]
# A small text has only so many pairs to join. A vocabulary that is too large for it is an error, and the message says which
# size works:

# %%
from gpt.tokenizers import TokenizerError

try:
    BPETokenizer.train("to be or not to be", 5000)
except TokenizerError as error:
    print(error)

# %% [markdown]
# ## 4. Batches
#
# The model learns to **predict the next token**. So the target `y` is `x` moved by one: at every position the right answer
# is the token that follows. A window of T tokens holds T exercises at once. The last tenth of the text is kept for
# validation.

# %%
import numpy as np

from gpt.data.batches import TRAIN_STEP, batch_starts, get_batch

ids = np.array(bpe.encode(text))
train_ids, val_ids = np.split(ids, [len(ids) * 9 // 10])
B, T = 4, 12
starts = batch_starts(len(train_ids), B, T, seed=0, purpose=TRAIN_STEP, step=0)
x, y = get_batch(train_ids, starts, T)
print(f"{len(train_ids):,} tokens to train on, {len(val_ids):,} to validate on; x {x.shape}, y {y.shape}\n")
for position in range(5):
    print(f"{bpe.decode(x[0, : position + 1].tolist())!r:40} -> {bpe.decode([int(y[0, position])])!r}")

# %% [markdown]
# ## 5. The model
#
# Ids become vectors (token and position embedding), pass through blocks of causal self-attention and an MLP, each with a
# LayerNorm before it and a residual connection around it, and a last linear layer turns them into a score for every token
# of the vocabulary. C is the number of channels, `(512, 128)` is V × C.

# %%
from gpt import GPT, GPTConfig

model = GPT(GPTConfig(vocab_size=bpe.vocab_size, block_size=64, n_layer=2, n_head=4, n_embd=128), device)
model

# %% [markdown]
# ## 6. The first loss
#
# A model that knows nothing gives each of V tokens about the probability 1/V. Its cross-entropy is then -ln(1/V) = ln V.
# If the first loss is far from that, something is wrong with the weights at the start.

# %%
logits, loss = model(x, y)
print(f"logits {logits.shape}, loss {float(loss):.4f}; ln {bpe.vocab_size} = {np.log(bpe.vocab_size):.4f}")

# %% [markdown]
# ## 7. One gradient, by hand and by the tool
#
# `model.backward()` writes ∂loss/∂w into the `grad` of every parameter. What does that mean? Move one number w a little up,
# and a little down, and see how the loss moves:
#
# $$\frac{\partial L}{\partial w} \approx \frac{L(w+\varepsilon) - L(w-\varepsilon)}{2\varepsilon}$$

# %%
exact = Device("numpy", dtype="float64", seed=1)  # differences of nearly equal numbers need all the digits there are
small = GPT(GPTConfig(vocab_size=bpe.vocab_size, block_size=16, n_layer=1, n_head=2, n_embd=16), exact)
small(x, y)
small.backward()
weight = dict(small.named_parameters())["lm_head.weight"]  # (V, C)
place = int(y[0, 0]), 5  # of the token that is right at the first position
by_backward = float(weight.grad[place])

epsilon, losses = 1e-4, []
for sign in (1, -1):
    weight.value[place] += sign * epsilon
    losses.append(float(small(x, y)[1]))
    weight.value[place] -= sign * epsilon
by_hand = (losses[0] - losses[1]) / (2 * epsilon)
print(f"backward {by_backward:.10e}\nby hand  {by_hand:.10e}")

# %% [markdown]
# The tool does this for every number of every array, against random upstream gradients. It works for layers of your own:

# %%
from nanograd.gradcheck import check_layer, check_model
from nanograd.layers import LayerNorm

print(check_layer(LayerNorm(6, device=exact), np.random.default_rng(0).standard_normal((2, 3, 6))), "\n")
print(check_model(small, x[:2], y[:2]))

# %% [markdown]
# ## 8. Training
#
# Feed a batch, measure the loss, compute the gradients, adjust the weights: `train` is the loop of `train.py`. AdamW, 100 steps
# of warmup and then a cosine, gradients clipped to a norm of 1. The callback draws the curve as it grows. Interrupting the
# kernel ends the run after its step, saves it, and the cells below work with what there is.

# %%
from gpt import train
from gpt.notebook import LiveCurve

short = {"max_steps": 6, "eval_interval": 2, "eval_iters": 1, "sample_tokens": 20, "n_embd": 32} if QUICK else {}
settings = {"max_steps": 400, "eval_interval": 50, "sample_tokens": 120} | short
run = train(data=DATA, out_dir="out/mini-gpt", overwrite=True, callback=LiveCurve(), **settings)

# %% [markdown]
# The two curves fall together: the model learns what the text has in common, and not the text itself. The run, with all
# evaluations, a diagnosis and a sample:

# %%
run

# %% [markdown]
# ## 9. Overfitting and underfitting, on purpose
#
# **Overfitting**: eight lines are so little text that the model learns them by heart. Training loss falls far, and
# validation loss, on lines it has not seen, rises.

# %%
TINY = """The lamp in the harbour burns until the boats are home.
A heron waits in the reeds and does not move at all.
海边的灯一直亮到船回家。
七只蓝色的风筝飞过老石桥。
Seven blue kites are flying over the old stone bridge.
The baker carries warm bread up the narrow street.
Rain has filled the well, and the frogs sing at night.
Grandmother keeps the winter apples under the stairs.
"""
(out / "tiny.txt").write_text(TINY, encoding="utf-8")
tiny = {"tokenizer": "char", "block_size": 16, "eval_iters": 5, "sample_tokens": 0, "overwrite": True, "n_embd": 64}
tiny |= {"max_steps": 6, "eval_interval": 2} if QUICK else {"max_steps": 300, "eval_interval": 30}
over = train(data=out / "tiny.txt", out_dir="out/overfitting", callback=LiveCurve(), **tiny)
over.diagnosis

# %% [markdown]
# What did it learn? Give it the beginning of a line that it has read, at temperature 0:

# %%
from gpt import generate

prompt = over.tokenizer.encode("A heron")
print(over.tokenizer.decode(prompt + list(generate(over.model, prompt, 45, temperature=0))))

# %% [markdown]
# **Underfitting**: a model with 4 channels and hardly any steps stays high on both texts.

# %%
under_settings = {"n_layer": 1, "n_head": 1, "n_embd": 4, "eval_iters": 5, "sample_tokens": 0, "overwrite": True}
under_settings |= {"max_steps": 6, "eval_interval": 2} if QUICK else {"max_steps": 100, "eval_interval": 10}
under = train(data=DATA, out_dir="out/underfitting", callback=LiveCurve(), **under_settings)
under.diagnosis


# %% [markdown]
# ## 10. Sampling
#
# The model gives a probability to every token; one of them is drawn, and so on. **Temperature** below 1 makes the likely
# ones likelier, **top-k** keeps the k likeliest, **top-p** the likeliest that make up p together. At temperature 0 the
# likeliest token is taken every time, which easily ends in a loop: one reason why a model parrots.


# %%
def write(prompt="Once there was", temperature=0.8, top_k=0, top_p=0.95, seed=0, tokens=60):
    ids = run.tokenizer.encode(prompt)
    controls = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
    return run.tokenizer.decode(ids + list(generate(run.model, ids, tokens, **controls)))


for temperature in (0, 0.8, 1.5):
    print(f"--- temperature {temperature}\n{write(temperature=temperature, top_p=1.0)}\n")

# %%
from gpt.pictures.next_token import draw_next_token

ids = run.tokenizer.encode("Once there was a little")
draw_next_token(run.model, run.tokenizer, ids, out / "next-token.png", temperature=0.5, top_k=5, top_p=0.8)
display(Image(out / "next-token.png"))

# %% [markdown]
# Now try it yourself (the sliders work only in a running notebook):

# %%
try:
    from ipywidgets import interact
except ImportError:
    print("ipywidgets is not installed: change the numbers in write(...) and run the cell again")
    print(write(temperature=0.8, top_k=40))
else:
    ranges = {"temperature": (0.0, 2.0, 0.1), "top_k": (0, 100), "top_p": (0.05, 1.0, 0.05), "seed": (0, 20)}
    interact(lambda **controls: print(write(**controls)), prompt="Once there was", **ranges)

# %% [markdown]
# ## 11. Where attention looks
#
# A row is a token, and says how much it looks at itself and at each token before it; the causal mask hides the rest.

# %%
from gpt.pictures.attention import draw_attention

line = "Once there was a little hedgehog called Nell."
for path in draw_attention(run.model, run.tokenizer, run.tokenizer.encode(line), out)[:1]:
    display(Image(path))

# %% [markdown]
# ## 12. Taking it along
#
# The run's folder has everything: checkpoints, the tokenizer, the measurements, and `page.html`, one file in which the
# model itself runs in a browser, without a server. `gpt.hub` writes the folder that Hugging Face's libraries load.

# %%
import shutil

from gpt import load
from gpt.hub.export import export
from gpt.hub.load import open_model

best, tokenizer = load(run.folder)  # the weights of the step with the lowest validation loss
shutil.rmtree(out / "hf-mini-gpt", ignore_errors=True)
print(export(open_model(run.folder), out / "hf-mini-gpt", "hf"))
print(f"the page: {run.folder / 'page.html'}, to be opened in a browser")

# %% [markdown]
# ## What next
#
# More steps (`max_steps=1000`), a text of your own (`data="book.txt"`), the blocks of a Llama (`config="modern"`). The book in
# `docs/book/en` derives every gradient with a pencil first; with `python -m exercises` you write them, and it checks them.

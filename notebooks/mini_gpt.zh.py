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
# # 迷你 GPT：从一段文本到最后一个梯度
#
# 这个 notebook 用纯 NumPy（有 GPU 时用 CuPy）训练一个五十万参数的 GPT。没有自动求导：每个梯度都是手写的，其中一个由你亲手检查。章节顺序跟着文章[《从零实现 LLM（上）：原理讲透 + 最小可运行 GPT》](https://blog.csdn.net/qq_41865545/article/details/151143409)，那篇文章用 PyTorch 搭出同样的模型。English: `mini_gpt.ipynb`.
#
# 点「全部运行」，在两个核上要一到三分钟。每个单元格都可以改了再运行。

# %% [markdown]
# ## 1. 安装
#
# 如果 notebook 在仓库的克隆里，就安装这个克隆。如果它单独存在，比如在 Google Colab 上，请把仓库地址写进 `REPOSITORY`，或者把仓库克隆到它旁边。Colab 的 GPU 环境已经装好 CuPy，会直接用上；没有 GPU 时由 NumPy 计算。

# %%
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = ""  # 没有克隆时写 "git+https://…"
if importlib.util.find_spec("gpt") is None:
    clones = [
        folder.resolve() for folder in (Path(".."), Path("."), Path("nanograd")) if (folder / "gpt/model.py").exists()
    ]
    if not clones and not REPOSITORY:
        raise RuntimeError("这里没有 nanograd 的克隆：请把仓库地址写进 REPOSITORY，形如 git+https://…")
    source = ["-e", f"{clones[0]}[notebook]"] if clones else [f"nanograd[notebook] @ {REPOSITORY}"]
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *source], check=True)
    sys.path[:0] = map(str, clones)
    importlib.invalidate_caches()
    if "numpy" in sys.modules and sys.modules["numpy"].__version__ != importlib.metadata.version("numpy"):
        raise RuntimeError("NumPy 已更新：请重启内核（Colab：Runtime → Restart session），再运行这个单元格")

# %%
from nanograd import Device

QUICK = "MINI_GPT_QUICK" in os.environ  # True：每次训练只走几步，看看所有单元格能不能跑通
device = Device("auto")
print(device.describe())

# %% [markdown]
# ## 2. 语料
#
# 语言模型知道的一切都来自它的文本。这里用仓库自带的小故事。换成你自己的 UTF-8 文件也行：把 `tales-zh` 改成文件路径。

# %%
from gpt.data.corpus import open_corpus

DATA = "tales-zh"
text = "".join(open_corpus([DATA]).chunks())
print(f"共 {len(text):,} 个字符，其中不同的有 {len(set(text))} 个\n")
print(text[:200])

# %% [markdown]
# ## 3. 两种分词器对照
#
# 模型只会用数字计算，所以要先**分词**：把文本切成一个个**词元**（Token），每个词元有一个编号。**字符级**分词的词表小，切出来的序列长。**BPE（子词级）** 反复把最常相邻的一对合并成更长的片段。

# %%
from gpt.tokenizers import BPETokenizer, CharTokenizer

char = CharTokenizer.train(text)
bpe = BPETokenizer.train(text, 1024)
line = "从前有一只小猫，名叫咪咪。"
for name, tokenizer in (("字符级", char), ("BPE", bpe)):
    ids = tokenizer.encode(line)
    print(f"{name}：词表 {tokenizer.vocab_size}，{len(ids)} 个词元：{ids}")
    assert tokenizer.decode(ids) == line

# %%
from IPython.display import HTML, Image, display

from gpt.pictures.segmentation import draw_segmentation

out = Path("out")
out.mkdir(exist_ok=True)
draw_segmentation(text[:90], bpe, char.vocab_size, out / "segmentation.png")
display(Image(out / "segmentation.png"))

# %% [markdown]
# 小文本里能合并的对是有限的。词表要得太大会报错，报错信息里写着最多能要多大：

# %%
from gpt.tokenizers import TokenizerError

try:
    BPETokenizer.train("知之为知之，不知为不知，是知也", 5000)
except TokenizerError as error:
    print(error)

# %% [markdown]
# ## 4. 批次
#
# 模型学的是**预测下一个词**。所以目标 `y` 就是 `x` 往后挪一位：每个位置的正确答案都是紧跟着的那个词元。一个长度为 T 的窗口就是 T 道题。文本的最后十分之一留作验证集。

# %%
import numpy as np

from gpt.data.batches import TRAIN_STEP, batch_starts, get_batch

ids = np.array(char.encode(text))
train_ids, val_ids = np.split(ids, [len(ids) * 9 // 10])
B, T = 4, 12
starts = batch_starts(len(train_ids), B, T, seed=0, purpose=TRAIN_STEP, step=0)
x, y = get_batch(train_ids, starts, T)
print(f"训练集 {len(train_ids):,} 个词元，验证集 {len(val_ids):,} 个；x {x.shape}，y {y.shape}\n")
for position in range(5):
    print(f"{char.decode(x[0, : position + 1].tolist())!r} -> {char.decode([int(y[0, position])])!r}")

# %% [markdown]
# ## 5. 模型
#
# 编号先变成向量（词向量加位置向量），再经过若干个 block。每个 block 里有带因果遮罩的自注意力和前馈网络（MLP），前面各有一个层归一化，外面各有一个残差连接。最后一个线性层给词表里的每个词元打分。下表里 V 是词表大小，C 是通道数，`wte.weight` 的形状就是 (V, C)。

# %%
from gpt import GPT, GPTConfig

model = GPT(GPTConfig(vocab_size=char.vocab_size, block_size=64, n_layer=2, n_head=4, n_embd=128), device)
model

# %% [markdown]
# ## 6. 第一次的损失
#
# 什么都没学过的模型，给 V 个词元的概率都差不多是 1/V，交叉熵就是 -ln(1/V) = ln V。如果第一次的损失离这个数很远，说明初始权重有问题。

# %%
logits, loss = model(x, y)
print(f"logits {logits.shape}，损失 {float(loss):.4f}；ln {char.vocab_size} = {np.log(char.vocab_size):.4f}")

# %% [markdown]
# ## 7. 检查一个梯度：先动手，再用工具
#
# `model.backward()` 把 ∂loss/∂w 写进每个参数的 `grad`。它是什么意思？把一个数 w 稍微调大、再稍微调小，看看损失变了多少：
#
# $$\frac{\partial L}{\partial w} \approx \frac{L(w+\varepsilon) - L(w-\varepsilon)}{2\varepsilon}$$

# %%
exact = Device("numpy", dtype="float64", seed=1)  # 两个几乎相等的数相减，需要尽可能多的有效位
small = GPT(GPTConfig(vocab_size=char.vocab_size, block_size=16, n_layer=1, n_head=2, n_embd=16), exact)
small(x, y)
small.backward()
weight = dict(small.named_parameters())["lm_head.weight"]  # (V, C)
place = int(y[0, 0]), 5  # 第一个位置上正确答案的那一行
by_backward = float(weight.grad[place])

epsilon, losses = 1e-4, []
for sign in (1, -1):
    weight.value[place] += sign * epsilon
    losses.append(float(small(x, y)[1]))
    weight.value[place] -= sign * epsilon
by_hand = (losses[0] - losses[1]) / (2 * epsilon)
print(f"反向传播 {by_backward:.10e}\n动手计算 {by_hand:.10e}")

# %% [markdown]
# 工具对每个数组做同样的检查，上游梯度是随机的。你自己写的层也可以这样检查：

# %%
from nanograd.gradcheck import check_layer, check_model
from nanograd.layers import LayerNorm

print(check_layer(LayerNorm(6, device=exact), np.random.default_rng(0).standard_normal((2, 3, 6))), "\n")
print(check_model(small, x[:2], y[:2]))

# %% [markdown]
# ## 8. 训练
#
# 喂一个批次，算损失，求梯度，调整权重：`train` 就是 `train.py` 的那个循环。AdamW，学习率先预热（Warmup）再余弦衰减（Cosine Decay），梯度裁剪到范数 1。回调函数边训练边画曲线。中断内核会在当前这一步结束后停下并保存，下面的单元格照样能用。

# %%
from gpt import train
from gpt.notebook import LiveCurve

short = {"max_steps": 6, "eval_interval": 2, "eval_iters": 1, "sample_tokens": 20, "n_embd": 32} if QUICK else {}
settings = {"tokenizer": "char", "max_steps": 400, "eval_interval": 50, "sample_tokens": 120} | short
run = train(data=DATA, out_dir="out/mini-gpt", overwrite=True, callback=LiveCurve("zh"), **settings)

# %% [markdown]
# 两条曲线一起下降，这是正常的：模型学到的是文本的规律，而不是文本本身。下面是这次训练的全部评估、诊断和一段样本：

# %%
HTML(run.html("zh"))

# %% [markdown]
# ## 9. 故意过拟合、故意欠拟合
#
# **过拟合**：只有八行文本，模型很快就会背书。训练损失降得很低，而在没见过的那几行上，验证损失反而上升。

# %%
TINY = """海边的灯一直亮到船回家。
苍鹭站在芦苇里，一动也不动。
奶奶把冬天吃的苹果放在楼梯底下。
Seven blue kites are flying over the old stone bridge.
七只蓝色的风筝飞过老石桥。
面包师端着热面包走上窄窄的街。
The lamp in the harbour burns until the boats are home.
井里装满了雨水，青蛙在夜里唱歌。
"""
(out / "tiny.txt").write_text(TINY, encoding="utf-8")
tiny = {"tokenizer": "char", "block_size": 16, "eval_iters": 5, "sample_tokens": 0, "overwrite": True, "n_embd": 64}
tiny |= {"max_steps": 6, "eval_interval": 2} if QUICK else {"max_steps": 300, "eval_interval": 30}
over = train(data=out / "tiny.txt", out_dir="out/overfitting", callback=LiveCurve("zh"), **tiny)
HTML(over.diagnosis.html("zh"))

# %% [markdown]
# 它学到了什么？给它一个读过的开头，温度设为 0：

# %%
from gpt import generate

prompt = over.tokenizer.encode("七只")
print(over.tokenizer.decode(prompt + list(generate(over.model, prompt, 30, temperature=0))))

# %% [markdown]
# **欠拟合**：通道只有 4 个，步数又少，两边的损失都下不来。

# %%
under_settings = {"n_layer": 1, "n_head": 1, "n_embd": 4, "eval_iters": 5, "sample_tokens": 0, "overwrite": True}
under_settings |= {"max_steps": 6, "eval_interval": 2} if QUICK else {"max_steps": 100, "eval_interval": 10}
under = train(data=DATA, out_dir="out/underfitting", callback=LiveCurve("zh"), **under_settings)
HTML(under.diagnosis.html("zh"))

# %% [markdown]
# ## 10. 采样
#
# 模型给每个词元一个概率，从中抽一个，再接着预测，这就是**自回归**。**温度**低于 1 时，可能的更可能；**top-k** 只留最可能的 k 个；**top-p（核采样）** 只留概率加起来刚到 p 的那些。温度为 0 时每次都取最可能的，很容易绕进循环，这是模型**复读**的一个原因。


# %%
def write(prompt="从前有一只", temperature=0.8, top_k=0, top_p=0.95, seed=0, tokens=60):
    ids = run.tokenizer.encode(prompt)
    controls = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
    return run.tokenizer.decode(ids + list(generate(run.model, ids, tokens, **controls)))


for temperature in (0, 0.8, 1.5):
    print(f"--- 温度 {temperature}\n{write(temperature=temperature, top_p=1.0)}\n")

# %%
from gpt.pictures.next_token import draw_next_token

ids = run.tokenizer.encode("从前有一只小")
draw_next_token(run.model, run.tokenizer, ids, out / "next-token.png", temperature=0.5, top_k=5, top_p=0.8)
display(Image(out / "next-token.png"))

# %% [markdown]
# 现在自己动手（滑块只在正在运行的 notebook 里有效）：

# %%
try:
    from ipywidgets import interact
except ImportError:
    print("没有安装 ipywidgets：改一改 write(...) 里的数字，再运行这个单元格")
    print(write(temperature=0.8, top_k=40))
else:
    ranges = {"temperature": (0.0, 2.0, 0.1), "top_k": (0, 100), "top_p": (0.05, 1.0, 0.05), "seed": (0, 20)}
    interact(lambda **controls: print(write(**controls)), prompt="从前有一只", **ranges)

# %% [markdown]
# ## 11. 注意力在看哪里
#
# 一行是一个词元，颜色表示它看自己和前面每个词元各看多少；右上角被因果遮罩挡住。

# %%
from gpt.pictures.attention import draw_attention

line = "从前有一只小猫，名叫咪咪，住在红房子里。"
for path in draw_attention(run.model, run.tokenizer, run.tokenizer.encode(line), out)[:1]:
    display(Image(path))

# %% [markdown]
# ## 12. 带走它
#
# 训练的文件夹里什么都有：检查点、分词器、测量数据，还有 `page.html`：一个文件，模型就在浏览器里运行，不需要服务器。`gpt.hub` 可以导出 Hugging Face 能读的文件夹。

# %%
import shutil

from gpt import load
from gpt.hub.export import export
from gpt.hub.load import open_model

best, tokenizer = load(run.folder)  # 验证损失最低的那一步的权重
shutil.rmtree(out / "hf-mini-gpt", ignore_errors=True)
print(export(open_model(run.folder), out / "hf-mini-gpt", "hf"))
print(f"页面：{run.folder / 'page.html'}，用浏览器打开")

# %% [markdown]
# ## 接下来
#
# 多训练几步（`max_steps=1000`），换自己的文本（`data="book.txt"`），或者换成 Llama 的 block（`config="modern"`）。`docs/book/zh` 这本书先用铅笔推导每个梯度；`python -m exercises` 让你自己来写，并当场判对错。

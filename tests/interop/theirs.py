"""What transformers makes, and what it makes of ours: run by its own Python, away from this repository's folders.

python -P theirs.py make FOLDER        random models as folders, and for each what they compute
python -P theirs.py read FOLDER        what an exported folder computes, into FOLDER/theirs.npz
python -P theirs.py tokenizer FOLDER   GPT-2's tokenizer, trained on texts.txt, and its ids of them, into theirs.npz
python -P theirs.py ids FOLDER         the ids that an exported tokenizer gives texts.txt, into theirs.npz
"""

import sys
from pathlib import Path

import numpy as np
import torch
import transformers as hf

V, T = 96, 32
LLAMA = {"vocab_size": V, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 6}
LLAMA |= {"num_key_value_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.3}
NO_ENDS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
LONG = {"rope_type": "llama3", "rope_theta": 5000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
MODELS = {
    "gpt2": (
        hf.GPT2Config,
        {"vocab_size": V, "n_positions": 64, "n_embd": 48, "n_layer": 2, "n_head": 4, "initializer_range": 0.3},
    ),
    "gpt2_untied_relu": (
        hf.GPT2Config,
        {"vocab_size": V, "n_positions": 64, "n_embd": 48, "n_layer": 2, "n_head": 4, "initializer_range": 0.3}
        | {"tie_word_embeddings": False, "activation_function": "relu", "n_inner": 56},
    ),
    "llama": (hf.LlamaConfig, LLAMA | {"tie_word_embeddings": False}),
    "llama_tied": (hf.LlamaConfig, LLAMA | {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}),
    "llama3": (
        hf.LlamaConfig,
        LLAMA | {"rope_parameters": LONG | {"original_max_position_embeddings": 32}, "head_dim": 12},
    ),
    "mistral": (hf.MistralConfig, LLAMA | {"sliding_window": None}),
    "qwen2": (hf.Qwen2Config, LLAMA | {"tie_word_embeddings": True}),
    "qwen3": (hf.Qwen3Config, LLAMA | {"head_dim": 16}),
}


def results(model, ids: np.ndarray, n_new: int) -> dict[str, np.ndarray]:
    """Logits, the gradient of the mean loss by the token embedding, and greedy ids."""
    tokens = torch.from_numpy(ids)
    model.eval()
    logits = model(tokens).logits
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    loss.backward()
    found = {"ids": ids, "logits": logits.detach().numpy(), "loss": loss.detach().numpy()}
    found["gradient"] = model.get_input_embeddings().weight.grad.numpy()
    model.generation_config.eos_token_id = None
    settings = {"max_new_tokens": n_new, "do_sample": False, "pad_token_id": 0}
    found["greedy"] = model.generate(tokens[:1, :8], attention_mask=torch.ones_like(tokens[:1, :8]), **settings).numpy()
    return found


def make(folder: Path) -> None:
    for number, (name, (config, fields)) in enumerate(MODELS.items()):
        torch.manual_seed(number)
        model = hf.AutoModelForCausalLM.from_config(config(**fields, **NO_ENDS))
        for parameter in model.parameters():  # also those that start at zero or one
            parameter.data += 0.1 * torch.randn_like(parameter)
        sharding = {"max_shard_size": "40KB"} if name == "llama3" else {}
        model.save_pretrained(folder / name, **sharding)
        ids = np.random.default_rng(number).integers(0, V, (2, T))
        np.savez(folder / name / "expected.npz", **results(model, ids, 40))


def read(folder: Path) -> None:
    model = hf.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    found = results(model, np.load(folder / "ids.npy"), 200)
    if (folder / "texts.txt").exists():
        found |= ids_of(folder, hf.AutoTokenizer.from_pretrained(folder))
    np.savez(folder / "theirs.npz", **found)


def texts_of(folder: Path) -> list[str]:
    return (folder / "texts.txt").read_bytes().decode("utf-8").split("\0")


def ids_of(folder: Path, tokenizer) -> dict[str, np.ndarray]:
    texts = texts_of(folder)
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    found = {"lengths": np.array([len(row) for row in ids])}
    found["text_ids"] = np.concatenate([np.array(row, dtype=np.int64) for row in ids])
    back = [tokenizer.decode(row, clean_up_tokenization_spaces=False) for row in ids]
    found["lossless"] = np.array([one == other for one, other in zip(back, texts, strict=True)])
    return found


def tokenizer(folder: Path) -> None:
    from tokenizers import ByteLevelBPETokenizer

    small = ByteLevelBPETokenizer()
    small.train_from_iterator(texts_of(folder), vocab_size=600, special_tokens=["<|endoftext|>"], show_progress=False)
    small.save_model(str(folder))  # vocab.json and merges.txt
    whole = hf.GPT2TokenizerFast(vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"))
    whole.save_pretrained(folder / "json")
    np.savez(folder / "theirs.npz", **ids_of(folder, whole))


def ids(folder: Path) -> None:
    np.savez(folder / "theirs.npz", **ids_of(folder, hf.AutoTokenizer.from_pretrained(folder)))


if __name__ == "__main__":
    {"make": make, "read": read, "tokenizer": tokenizer, "ids": ids}[sys.argv[1]](Path(sys.argv[2]))

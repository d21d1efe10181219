"""GGUF: what was written is read back; a damaged or hostile file is refused in one line, before memory is taken."""

import struct

import numpy as np
import pytest
from gpt.tokenizers import BPETokenizer, ByteLevelTokenizer, TokenizerFileError
from gpt.tokenizers.byte_level import LETTERS

from gpt import GPT, GPTConfig, load
from gpt.errors import RunError, UsageError
from gpt.hub.export import export
from gpt.hub.load import Loaded
from nanograd import Device

gguf = pytest.importorskip("gguf")

LLAMA = {"norm": "rmsnorm", "position": "rope", "activation": "swiglu", "bias": False, "n_kv_head": 2}
SHAPES = {
    "llama": LLAMA | {"rope_theta": 5e4},
    "tied, stretched": LLAMA | {"tie_weights": True, "rope_scaling": "linear", "rope_factor": 2.0, "head_dim": 8},
    "biases": LLAMA | {"bias": True, "qkv_bias": True, "norm_eps": 1e-6},
    "gpt2": {"activation": "gelu", "qkv_bias": True, "tie_weights": True},
    "gpt2, no biases": {"activation": "gelu"},
}
LETTER_IDS = {letter: i + 1 for i, letter in enumerate(LETTERS.values())}


def words() -> ByteLevelTokenizer:
    vocab = LETTER_IDS | {"th": 257, "the": 258}
    return ByteLevelTokenizer(vocab, [("t", "h"), ("th", "e")], "smollm", special={"<|end|>": 0}, ends=(0,))


def loaded(tokenizer=None, **fields) -> Loaded:
    tokenizer = tokenizer or words()
    sizes = {"n_layer": 2, "n_head": 4, "n_embd": 16, "block_size": 16}
    model = GPT(GPTConfig(tokenizer.vocab_size, **sizes | fields), Device("numpy", seed=3))
    rng = np.random.default_rng(0)
    for parameter in model.parameters():
        parameter.value[...] += 0.3 * rng.standard_normal(parameter.value.shape)
    return Loaded(model.eval(), tokenizer, "a test")


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("gguf") / "good.gguf"
    export(loaded(**LLAMA), path, "gguf")
    return path.read_bytes()


@pytest.mark.parametrize("name", SHAPES)
def test_what_was_exported_is_read_back_bit_for_bit(tmp_path, name):
    ours = loaded(**SHAPES[name])
    export(ours, tmp_path / "out.gguf", "gguf")
    model, tokenizer = load(tmp_path / "out.gguf")
    mine, read = ours.model.state_dict(), model.state_dict()
    zeros = read.keys() - mine.keys()  # biases that llama.cpp's gpt2 has
    assert all(not read[n].any() for n in zeros)
    assert all(mine[n].tobytes() == read[n].tobytes() for n in mine)
    text = "the other  12 <|end|> 好\n"
    ids = tokenizer.encode(text)
    assert ids == ours.tokenizer.encode(text) and tokenizer.decode(ids) == text and 0 not in ids
    assert tokenizer.ends == {0}


def test_the_bpe_of_a_run_is_read_back(tmp_path):
    tokenizer = BPETokenizer.train("the cat sat on the mat. the dog ate the hat.\n" * 30, 300)
    export(loaded(tokenizer, **LLAMA), tmp_path / "out.gguf", "gguf")
    _, read = load(tmp_path / "out.gguf")
    for text in ("the cat", " the  dog\n", "好 ~", "Cat\t9"):
        assert read.encode(text) == tokenizer.encode(text) and read.decode(read.encode(text)) == text


QUANTISED = "Q4_0", "Q4_1", "Q5_0", "Q8_0", "F16"


@pytest.mark.parametrize("kind", QUANTISED)
def test_rows_are_dequantised_as_the_package_does(tmp_path, kind):
    kind = gguf.GGMLQuantizationType[kind]
    rows = np.random.default_rng(0).standard_normal((70, 64), np.float32)
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "llama")
    packed = gguf.quantize(rows, kind)
    writer.add_tensor("x", packed, raw_dtype=None if kind.name == "F16" else kind)
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        write()
    writer.close()
    from gpt.hub.gguf import reading

    with reading.GGUFFile(tmp_path / "x.gguf") as file:
        pieces = list(file.pieces("x"))
        reading_step, reading.PIECE = reading.PIECE, 64 * 16
        try:
            small = list(file.pieces("x"))
        finally:
            reading.PIECE = reading_step
    assert len(pieces) == 1 and [start for start, _ in small] == [0, 16, 32, 48, 64]
    expected = packed.astype(np.float32) if kind.name == "F16" else gguf.dequantize(packed, kind)
    assert np.array_equal(pieces[0][1], expected)
    assert np.array_equal(np.concatenate([part for _, part in small]), expected)


def put(data: bytes, at: int, kind: str, value) -> bytes:
    packed = struct.pack("<" + kind, value)
    return data[:at] + packed + data[at + len(packed) :]


def after(data: bytes, name: str) -> int:
    """Where what follows a name begins: a key's type, or a tensor's number of axes."""
    packed = struct.pack("<Q", len(name)) + name.encode()
    assert data.count(packed) == 1
    return data.index(packed) + len(packed)


def renamed(data: bytes, name: str, other: str) -> bytes:
    assert len(name) == len(other)
    return data.replace(struct.pack("<Q", len(name)) + name.encode(), struct.pack("<Q", len(name)) + other.encode())


HUGE = 2**62
BLOCK = "blk.1.ffn_up.weight"
DAMAGE = {
    "empty": (lambda d: b"", "0 bytes are too few"),
    "another file": (lambda d: b"PK\3\4" + d[4:], "no GGUF file"),
    "version": (lambda d: put(d, 4, "I", 1), "GGUF version 1"),
    "big-endian": (lambda d: put(d, 4, "I", 3 << 24), "GGUF version"),
    "many tensors": (lambda d: put(d, 8, "Q", HUGE), "breaks off|damaged"),
    "many keys": (lambda d: put(d, 16, "Q", HUGE), "breaks off|damaged"),
    "a long name": (lambda d: put(d, 24, "Q", HUGE), "breaks off"),
    "a type of key": (lambda d: put(d, after(d, "llama.block_count"), "I", 99), "breaks off"),
    "a long list": (lambda d: put(d, after(d, "tokenizer.ggml.tokens") + 8, "Q", HUGE), "breaks off"),
    "a list of lists": (lambda d: put(d, after(d, "tokenizer.ggml.tokens") + 4, "I", 9), "breaks off"),
    "the same key": (lambda d: renamed(d, "llama.block_count", "llama.context_len"), "not supported|block_count|layer"),
    "negative size": (lambda d: put(d, after(d, "llama.block_count") + 4, "I", 2**32 - 1), "num_hidden_layers|n_layer"),
    "huge size": (lambda d: put(d, after(d, "llama.embedding_length") + 4, "I", 2**31), "hidden_size|n_embd"),
    "other size": (lambda d: put(d, after(d, "llama.embedding_length") + 4, "I", 24), "shape"),
    "many axes": (lambda d: put(d, after(d, BLOCK), "I", 2**31), "axes"),
    "an axis of none": (lambda d: put(d, after(d, BLOCK) + 4, "Q", 0), "no proper shape"),
    "a huge axis": (lambda d: put(d, after(d, BLOCK) + 4, "Q", HUGE), "no proper shape"),
    "a long axis": (lambda d: put(d, after(d, BLOCK) + 12, "Q", 2**39), "ends within tensor"),
    "a type of tensor": (lambda d: put(d, after(d, BLOCK) + 20, "I", 999), "type 999"),
    "half a block": (lambda d: put(d, after(d, BLOCK) + 20, "I", 2), "no whole number of blocks"),
    "an offset": (lambda d: put(d, after(d, BLOCK) + 24, "Q", HUGE), "ends within tensor"),
    "no such tensor": (lambda d: renamed(d, BLOCK, "blk.1.ffn_xx.weight"), "has no tensor 'blk.1.ffn_up.weight'"),
    "the same tensor": (lambda d: renamed(d, BLOCK, "blk.0.ffn_up.weight"), "is there twice"),
    "NaN": (lambda d: put(d, len(d) - 4, "f", float("nan")), "NaN or infinite"),
    "infinite": (lambda d: put(d, len(d) - 4, "f", float("inf")), "NaN or infinite"),
    "cut off": (lambda d: d[:-1], "ends within tensor"),
    "architecture": (lambda d: d.replace(b"\5\0\0\0\0\0\0\0llama", b"\5\0\0\0\0\0\0\0gemma"), "gemma"),
    "tokenizer": (lambda d: renamed(d, "tokenizer.ggml.pre", "tokenizer.ggml.prx"), "default is not supported"),
    "merges": (lambda d: d.replace(b"\4\0\0\0\0\0\0\0th e", b"\4\0\0\0\0\0\0\0th q"), "do not fit its vocabulary"),
    "no text": (lambda d: d.replace(b"\3\0\0\0\0\0\0\0the", b"\3\0\0\0\0\0\0\0t\xffe"), "breaks off"),
    "no merges": (lambda d: renamed(d, "tokenizer.ggml.merges", "tokenizer.ggml.mergez"), "not complete"),
    "no tokenizer": (lambda d: d.replace(b"tokenizer.ggml.", b"tokenizer.xxxx."), "no tokenizer"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_is_refused_in_one_line(tmp_path, good, name):
    change, problem = DAMAGE[name]
    assert change(good) != good
    (tmp_path / "bad.gguf").write_bytes(change(good))
    with pytest.raises((RunError, TokenizerFileError), match=problem) as caught:
        load(tmp_path / "bad.gguf")
    assert "\n" not in str(caught.value) and "bad.gguf" in str(caught.value)


def test_wherever_it_is_cut_off_it_is_refused(tmp_path, good):
    for length in np.random.default_rng(0).integers(0, len(good), 60):
        (tmp_path / "cut.gguf").write_bytes(good[:length])
        with pytest.raises((RunError, TokenizerFileError)):
            load(tmp_path / "cut.gguf")


def test_a_changed_byte_of_the_list_never_raises_anything_else(tmp_path, good):
    rng, end = np.random.default_rng(1), good.index(b"token_embd.weight") + 600
    for _ in range(150):
        data = bytearray(good)
        data[rng.integers(0, end)] = rng.integers(0, 256)
        (tmp_path / "bad.gguf").write_bytes(data)
        try:
            load(tmp_path / "bad.gguf")
        except (RunError, TokenizerFileError) as error:
            assert "\n" not in str(error)


REFUSED = {
    "--activation relu": ({}, "--activation relu"),
    "qwen2": (LLAMA | {"qkv_bias": True}, "Qwen2ForCausalLM is not exported as GGUF"),
    "llama3": (LLAMA | {"rope_scaling": "llama3", "rope_factor": 8.0}, "--rope_scaling llama3"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_llama_cpp_has_no_name_for_is_refused(tmp_path, name):
    fields, problem = REFUSED[name]
    with pytest.raises(UsageError, match=problem):
        export(loaded(**fields), tmp_path / "out.gguf", "gguf")
    assert not list(tmp_path.iterdir())

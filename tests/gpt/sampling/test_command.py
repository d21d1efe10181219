"""What sample.py does: what goes to stdout and what to stderr, samples in order, JSON, Ctrl-C, a closed pipe."""

import json
import math
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from gpt.config.options import SampleConfig
from gpt.errors import UsageError
from gpt.sampling import generate as sampling
from gpt.sampling.command import blas_threads, main
from gpt.sampling.kv_cache import Decoder
from tests.support import ROOT
from tests.support.marks import slow
from tests.support.small_run import write_run
from tokenizers import TokenizerError, load_tokenizer


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("sampling") / "a run 好")


@pytest.fixture
def sample(run, capsys):
    """sample(flags) -> (stdout, stderr); the exit code must be 0."""

    def call(**flags):
        flags = {"out_dir": str(run), "backend": "numpy", "max_new_tokens": 20, "seed": 1} | flags
        assert main(SampleConfig(**flags)) == 0
        return capsys.readouterr()

    return call


def start(run, *flags):
    """sample.py as a user starts it."""
    command = [sys.executable, "sample.py", "--out_dir", str(run), "--backend", "numpy", *flags]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    )


@pytest.mark.parametrize(("size", "asked", "used"), [(10**6, None, 1), (10**7, None, 2), (10**6, 2, 2), (10**7, 1, 1)])
def test_a_small_model_is_sampled_in_one_thread_unless_more_are_asked_for(size, asked, used):
    def most():
        return max(library["num_threads"] for library in threadpool_info())

    with threadpool_limits(2):
        several = most()
        with blas_threads(asked, SimpleNamespace(n_parameters=lambda: size)):
            assert most() == (1 if used == 1 else several)


# ---- text ----


def test_stdout_is_the_prompt_and_its_continuation_and_stderr_the_rest(sample, run):
    out, err = sample(prompt="abc 好")
    assert out.startswith("abc 好") and out.endswith("\n")
    assert len(out.rstrip("\n")) <= len("abc 好") + 20 <= len(out)
    assert f"{run}, step 10; NumPy" in err and "seed 1" in err and "20 tokens" in err


def test_the_same_seed_gives_the_same_text_and_another_one_another(sample):
    assert sample(prompt="a").out == sample(prompt="a").out
    assert sample(prompt="a").out != sample(prompt="a", seed=2).out


def test_without_a_seed_the_one_that_is_drawn_is_printed_and_gives_the_text_again(sample):
    out, err = sample(prompt="a", seed=None)
    seed = int(err.split("seed ")[1].split()[0])
    assert sample(prompt="a", seed=seed).out == out
    assert sample(prompt="a", seed=None).err != err


def test_an_empty_prompt_starts_from_an_empty_line_which_is_not_printed(sample):
    out = sample(prompt="", temperature=0).out
    assert sample(prompt="\n\n", temperature=0).out == "\n\n" + out


def test_a_prompt_longer_than_the_context_slides(sample):
    prompt = "abc defgh. " * 20
    out = sample(prompt=prompt, temperature=0).out
    assert out.startswith(prompt)
    assert sample(prompt=prompt[-16:], temperature=0).out[16:] == out[len(prompt) :]


def test_a_prompt_from_a_file(sample, tmp_path):
    file = tmp_path / "prompt.txt"
    file.write_bytes(b"\xef\xbb\xbfabc\r\n\xe5\xa5\xbd")
    assert sample(prompt_file=str(file)).out == sample(prompt="abc\n好").out


def test_a_prompt_file_that_is_not_there_or_a_folder_is_a_usage_error(sample, tmp_path):
    for path, problem in ((tmp_path / "nowhere", "does not exist"), (tmp_path, "is a folder")):
        with pytest.raises(UsageError, match=problem):
            sample(prompt_file=str(path))


def test_an_unknown_character_in_the_prompt_is_named(sample):
    with pytest.raises(TokenizerError, match=r"U\+03A9"):
        sample(prompt="Ω")


def test_stop_strings_are_not_printed(sample):
    whole = sample(prompt="a", max_new_tokens=300).out
    stop = whole[10:13]
    assert sample(prompt="a", max_new_tokens=300, stop=(stop, "zzz")).out.rstrip("\n") == (
        "a" + whole[1:].split(stop)[0].rstrip("\n")
    )


# ---- several samples ----


def test_samples_are_printed_one_after_another_each_as_if_made_alone(sample):
    options = {"prompt": "a", "json": True}
    texts = [json.loads(line)["text"] for line in sample(num_samples=3, **options).out.splitlines()]
    out, err = sample(prompt="a", num_samples=3)
    expected = ["a" + text + "\n" * (not text.endswith("\n")) for text in texts]
    assert out == "\n".join(expected)
    assert [f"--- sample {n} of 3 ---" in err for n in (1, 2, 3, 4)] == [True, True, True, False]
    assert json.loads(sample(num_samples=1, **options).out)["text"] == texts[0]
    assert len(set(texts)) == 3


@pytest.mark.parametrize("seed", range(5))
def test_samples_that_end_at_different_times_are_still_printed_whole_and_in_order(sample, run, seed):
    options = {"prompt": "a", "num_samples": 4, "stop": (".", "好"), "max_new_tokens": 30, "seed": seed}
    records = [json.loads(line) for line in sample(json=True, **options).out.splitlines()]
    texts = ["a" + record["text"] for record in records]
    assert sample(**options).out == "\n".join(text + "\n" * (not text.endswith("\n")) for text in texts)
    assert len({len(record["tokens"]) for record in records}) > 1
    tokenizer = load_tokenizer(run)
    for record in records:
        said = tokenizer.decode(record["tokens"])
        assert record["finish_reason"] == ("stop" if said[-1] in ".好" else "length")
        assert record["text"] == said.rstrip(".好") and not {".", "好"} & set(record["text"])


# ---- JSON ----


def test_a_json_object_a_sample_on_a_line_of_its_own(sample):
    lines = sample(prompt="a 好", json=True, num_samples=2).out.splitlines()
    first, second = map(json.loads, lines)
    assert first.keys() == {"prompt", "text", "tokens", "seed", "sample", "finish_reason"}
    assert first["prompt"] == "a 好" and first["seed"] == 1 and first["finish_reason"] == "length"
    assert len(first["tokens"]) == len(first["text"]) == 20
    assert (first["sample"], second["sample"]) == (0, 1)


def test_logprobs_give_each_token_and_its_best_alternatives(sample):
    fields = json.loads(sample(prompt="a", json=True, logprobs=3).out)
    assert [entry["id"] for entry in fields["logprobs"]] == fields["tokens"]
    assert "".join(entry["token"] for entry in fields["logprobs"]) == fields["text"]
    for entry in fields["logprobs"]:
        rivals = [rival["logprob"] for rival in entry["top_logprobs"]]
        assert len(rivals) == 3 and rivals == sorted(rivals, reverse=True)
        assert entry["logprob"] <= rivals[0] <= 0
    every = json.loads(sample(prompt="a", json=True, logprobs=100).out)["logprobs"]
    assert sum(math.exp(rival["logprob"]) for rival in every[0]["top_logprobs"]) == pytest.approx(1)


# ---- as a user runs it ----


def test_it_streams_and_ctrl_c_ends_it_with_what_was_made(run):
    process = start(run, "--prompt", "abc", "--max_new_tokens", "10000000", "--seed", "4")
    early = process.stdout.read(40)  # it is there while the rest is being made
    process.send_signal(signal.SIGINT)
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert early.startswith("abc") and (early + out).endswith("\n")
    assert "interrupted after" in err and "Traceback" not in err


def test_ctrl_c_with_json_prints_whole_objects(run, monkeypatch, capsys):
    class Interrupted(Decoder):
        def decode(self, ids):
            if self.tokens == 10:
                raise KeyboardInterrupt
            return super().decode(ids)

    monkeypatch.setattr(sampling, "Decoder", Interrupted)
    config = SampleConfig(out_dir=str(run), backend="numpy", prompt="a", json=True, num_samples=2)
    assert main(config) == 130
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["finish_reason"] for record in records] == ["interrupted"] * 2
    assert [len(record["tokens"]) for record in records] == [10] * 2


def test_a_reader_that_goes_away_ends_it_quietly(run):
    process = start(run, "--max_new_tokens", "10000000")
    process.stdout.read(5)
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait(timeout=60) == 141
    assert "Traceback" not in err and "error" not in err
    process.stderr.close()


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        slow(["--temperature", "-1"], 2, "--temperature must be at least 0"),
        slow(["--top_p", "1.5"], 2, "--top_p must be"),
        slow(["--top_k", "-1"], 2, "--top_k must be"),
        slow(["--prompt", "Ω"], 2, "U+03A9"),
        (["--checkpoint", "999"], 1, "no checkpoint of step 999"),
    ],
)
def test_bad_requests_are_one_line_and_an_exit_code(run, flags, code, message):
    process = start(run, *flags)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code and out == ""
    assert message in err.splitlines()[-1] and "Traceback" not in err

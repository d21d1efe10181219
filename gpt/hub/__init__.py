"""Other people's formats: models of GPT-2's and Llama's kind in, runs of ours out.

load      one door for all of them: a run, a Hugging Face folder, a GGUF file, a known model
folder    a Hugging Face folder: its config.json, its shards
gguf      GGUF files, in and out
shapes    config.json <-> GPTConfig; what cannot be done is refused by name
layout    their tensors <-> our parameters: names, transposes, interleaved heads
weights   the tensors into a model, a piece at a time
vocab     their tokenizer files <-> our tokenizers
saved     a folder of model.save
start     where a run starts: train.py --init_from MODEL
export    a run as a folder or a GGUF file: python -m gpt.hub export RUN OUT
"""

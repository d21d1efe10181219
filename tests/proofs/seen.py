"""Which check sees which planted mistake: `python -m tests.proofs.seen`.

    python -m tests.proofs.seen                        tables by kind and by file, and the mistakes that few checks see
    python -m tests.proofs.seen --only layernorm --each

For every mistake of mutants.toml but those in the checks themselves, in a process of its own as in mutants.py: the
comparison with the forward pass, the Hessian's symmetry and the facts, on all layers or on whole GPTs. A check sees
the mistake if it says that something is wrong, or if a pass raises. Forward passes are changed by some mistakes too; a
check of gradients then sees nothing, and should not: they are the tests' to find.
"""

import argparse
import json
import multiprocessing
import os
import sys
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor

from tests.proofs.mutants import ChangedSource, changed, read_mutants, warm_up
from tests.support import ROOT

KINDS = {  # of a file, by how its name begins
    "nanograd/layers/": "layers and the model",
    "nanograd/device/reductions.py": "layers and the model",
    "gpt/model.py": "layers and the model",
    "nanograd/reference/": "the plain model",
    "nanograd/optim/arena.py": "threads, processes and their memory",
    "nanograd/parallel/": "threads, processes and their memory",
    "gpt/training/": "threads, processes and their memory",
    "nanograd/optim/": "optimisers",
    "gpt/sampling/": "sampling with a cache",
    "nanograd/device/": "BLAS, memory and random numbers",
    "nanograd/kernels/": "kernels of a GPU",
    "nanograd/gradcheck/": "the checks themselves",
}
NOT_ASKED = "the checks themselves"
CHECKS = "forward", "symmetry", "facts"
LIMIT = 120  # seconds for one mistake
MODELS = "GPT: the article's", "GPT: GPT-2's (tied, GELU)", "GPT: Llama's", "GPT: Qwen3's (QK-norm, head_dim)"
MODELS += "GPT: dropout", "GPT: ReLU squared, QK-norm", "GPT: repeated ids, tied"


def by_forward(np) -> bool:
    from gpt.gradcheck import GPTS, gpt_case
    from nanograd.gradcheck import check_layer, check_model
    from nanograd.gradcheck.table import layer_cases

    for _, layer, inputs in layer_cases(np.random.default_rng(0)):
        if not check_layer(layer, *inputs, rules=False, full=True).ok:
            return True
    cases = (gpt_case(GPTS[name], np.random.default_rng(0))[:3] for name in MODELS)
    return any(not check_model(*case, full=False).ok for case in cases)


def by_symmetry(np) -> bool:
    from gpt.gradcheck import GPTS, gpt_case
    from nanograd.gradcheck import check_symmetry
    from nanograd.gradcheck.table import layer_cases

    if any(not check_symmetry(layer, *inputs).ok for _, layer, inputs in layer_cases(np.random.default_rng(0))):
        return True
    cases = (gpt_case(GPTS[name], np.random.default_rng(0))[:3] for name in MODELS)
    if any(not check_symmetry(*case, spread=0.3).ok for case in cases):
        return True
    from tests.reference.test_gradients import CASES, Plain, plain_gpt

    for function, backward, inputs, settings in (*CASES.values(), plain_gpt(2, 2)):
        if not check_symmetry(Plain(function, backward, *settings), *inputs).ok:
            return True
    return False


def by_facts(np) -> bool:
    """Models of every kind, one with several blocks of queries, and one whose cache is that of a GPU; a large table."""
    import gpt.sampling.kv_cache as kv_cache
    from gpt.facts import facts_of_model
    from nanograd import Device
    from nanograd.gradcheck.facts import facts_of, recorded
    from nanograd.layers import Embedding
    from tests.gradcheck.test_facts import LLAMA, SETTINGS, model_of

    tokens, device = np.random.default_rng(0).integers(0, 23, 500), Device("numpy", "float64")
    for settings in (*SETTINGS, {"dropout": 0.3}, LLAMA | {"block_size": 70, "n_embd": 16}, LLAMA | {"n_layer": 1}):
        if any(not fact.ok for fact in facts_of_model(model_of(settings, device), tokens, 0)):
            return True
    kv_cache.ReadGPT = kv_cache.CachedGPT
    if any(not fact.ok for s in SETTINGS for fact in facts_of_model(model_of(s, device), tokens, 0)):
        return True
    table, ids = Embedding(70_000, 2, device=device), np.array([[3, 69_999, 65_539, 3]])
    with recorded(table) as found:
        table(ids)
        table.backward(np.random.default_rng(0).standard_normal((1, 4, 2)))
    rows = table.weight.grad.any(axis=1).nonzero()[0].tolist()
    return rows != sorted(set(ids.ravel().tolist())) or any(not fact.ok for fact in facts_of(found, "float64"))


def look(module: str, source: str, answer) -> None:
    """In a process of its own: {check: seen} with `module` imported from `source`."""
    sys.path.insert(0, str(ROOT))
    sys.meta_path.insert(0, ChangedSource(module, source))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    import numpy as np

    np.seterr(all="ignore")
    found = {}
    for name, check in zip(CHECKS, (by_forward, by_symmetry, by_facts), strict=True):
        try:
            found[name] = check(np)
        except Exception:
            found[name] = True
        answer.send(found)


def seen(mutant) -> dict[str, bool] | None:
    """{check: whether it sees the mistake}; None where the mistake no longer applies."""
    source = changed(mutant)
    if source is None:
        return None
    context = multiprocessing.get_context("fork")
    answer, sender = context.Pipe(duplex=False)
    module = mutant.file.removesuffix(".py").replace("/", ".")
    process = context.Process(target=look, args=(module, source, sender))
    process.start()
    sender.close()
    found = {}
    try:
        while len(found) < len(CHECKS) and answer.poll(LIMIT):
            found = answer.recv()
    except EOFError:
        pass
    process.kill()
    process.join()
    return dict.fromkeys(CHECKS, True) | found  # what did not end, or died, was seen


def kind_of(file: str) -> str:
    return next((kind for start, kind in KINDS.items() if file.startswith(start)), "the rest")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.proofs.seen", description=__doc__.partition(":")[0] + ".")
    parser.add_argument("--only", default="", help="mistakes with this in their name or file")
    parser.add_argument("--each", action="store_true", help="a JSON object for each mistake")
    options = parser.parse_args()
    warm_up()
    mutants = [m for m in read_mutants() if options.only in f"{m.mistake} {m.file}"]
    total, asked = len(mutants), [m for m in mutants if kind_of(m.file) != NOT_ASKED]
    counts, unseen = defaultdict(Counter), []
    with ThreadPoolExecutor(2) as pool:
        for mutant, found in zip(asked, pool.map(seen, asked), strict=True):
            if found is None:
                continue
            if options.each:
                print(json.dumps({"file": mutant.file, "mistake": mutant.mistake} | found), flush=True)
            either = found["symmetry"] or found["facts"]
            for row in (mutant.file.removeprefix("nanograd/"), kind_of(mutant.file), "together"):
                counts[row].update(["mistakes"], **{name: int(yes) for name, yes in found.items()}, either=int(either))
            if found["forward"] and not either:
                unseen.append(f"{mutant.file}: {mutant.mistake}")
    columns = "mistakes", *CHECKS, "either"
    kinds = [kind for kind in dict.fromkeys((*KINDS.values(), "the rest")) if kind in counts]
    for title, rows in ("kind", [*kinds, "together"]), ("file", sorted(row for row in counts if "/" in row)):
        print(f"\n| {title} | mistakes | the forward pass | symmetry | facts | symmetry or facts |")
        print("|---|---|---|---|---|---|")
        for row in rows:
            print(f"| {row} | {' | '.join(str(counts[row][name]) for name in columns)} |")
    print(f"\n{total - len(asked)} of {total} are in {NOT_ASKED}, and not asked")
    print("\nseen by the comparison with the forward pass alone:")
    for line in unseen:
        print(f"- {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

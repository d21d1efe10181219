"""Which check sees which planted mistake: `python -m tests.proofs.seen`.

    python -m tests.proofs.seen                        a table by file, and the mistakes that few checks see
    python -m tests.proofs.seen --only layernorm --each

For every mistake of mutants.toml in a layer, in what layers are made of or in the model, in a process of its own as in
mutants.py: the comparison with the forward pass, the Hessian's symmetry and the facts, each on all layers or on whole
GPTs. A check sees the mistake if it says that something is wrong, or if a pass raises. Forward passes are changed by
some mistakes too; a check of gradients then sees nothing, and should not: they are the tests' to find.
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

PLACES = "nanograd/layers/", "nanograd/device/elementwise.py", "nanograd/device/reductions.py", "gpt/model.py"
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
    return any(not check_symmetry(*case, spread=0.3).ok for case in cases)


def by_facts(np) -> bool:
    from gpt.facts import facts_of_model
    from nanograd import Device
    from tests.gradcheck.test_facts import SETTINGS, model_of

    tokens = np.random.default_rng(0).integers(0, 23, 500)
    models = [model_of(settings, Device("numpy", "float64")) for settings in SETTINGS]
    return any(not fact.ok for model in models for fact in facts_of_model(model, tokens, 0))


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


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.proofs.seen", description=__doc__.partition(":")[0] + ".")
    parser.add_argument("--only", default="", help="mistakes with this in their name or file")
    parser.add_argument("--each", action="store_true", help="a JSON object for each mistake")
    options = parser.parse_args()
    warm_up()
    mutants = [m for m in read_mutants() if m.file.startswith(PLACES) and options.only in f"{m.mistake} {m.file}"]
    counts, unseen = defaultdict(Counter), []
    with ThreadPoolExecutor(2) as pool:
        for mutant, found in zip(mutants, pool.map(seen, mutants), strict=True):
            if found is None:
                continue
            if options.each:
                print(json.dumps({"file": mutant.file, "mistake": mutant.mistake} | found), flush=True)
            either = found["symmetry"] or found["facts"]
            for file in (mutant.file.removeprefix("nanograd/"), "together"):
                counts[file].update(["mistakes"], **{name: int(yes) for name, yes in found.items()}, either=int(either))
            if found["forward"] and not either:
                unseen.append(f"{mutant.file}: {mutant.mistake}")
    columns = "mistakes", *CHECKS, "either"
    print("| file | mistakes | the forward pass | symmetry | facts | symmetry or facts |\n|---|---|---|---|---|---|")
    for file in [*sorted(set(counts) - {"together"}), "together"]:
        print(f"| {file} | {' | '.join(str(counts[file][name]) for name in columns)} |")
    print("\nseen by the comparison with the forward pass alone:")
    for line in unseen:
        print(f"- {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

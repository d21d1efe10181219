"""Every reference solution passes; every planted mistake is refused, and nearly all are recognised by name."""

import re

import numpy as np
import pytest

from exercises import cases, catalog, words
from exercises.catalog import NAMES, exercise
from exercises.command import verdict_lines
from exercises.judge import judge
from tests.proofs.mutants import read_mutants

MISTAKES = [(name, mistake) for name in NAMES for mistake in exercise(name).mistakes]


def verdict_on(source, name, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(source, encoding="utf-8")
    with np.errstate(all="ignore"):
        return judge(name, path)


def test_there_are_enough():
    assert len(NAMES) >= 14
    assert set(cases.CASES) == {*NAMES, *catalog.real_mistakes()}
    assert all(len(exercise(name).mistakes) >= 3 for name in NAMES)
    assert {mistake.level for _, mistake in MISTAKES} == {1, 2, 3}


@pytest.mark.parametrize("name", NAMES)
def test_solution_passes(name, tmp_path):
    verdict = verdict_on(exercise(name).solution(), name, tmp_path)
    assert verdict["ok"], verdict
    for lang in words.LANGUAGES:
        assert len(verdict_lines(name, verdict, lang)) == 1


REAL = [(file, mistake) for file in catalog.real_mistakes() for mistake in exercise(file).mistakes]


@pytest.mark.parametrize("file", catalog.real_mistakes())
def test_a_fast_layer_as_it_is_passes(file, tmp_path):
    verdict = verdict_on(exercise(file).opening("zh", "bug") + exercise(file).solution(), file, tmp_path)
    assert verdict["ok"] and not verdict["remark"], verdict


def test_mistakes_in_fast_layers_are_refused_and_known(tmp_path):
    """Each is one that the tests plant, and makes gradients wrong, not a trace; all are told from each other."""
    planted = {(m.file, m.old, m.new) for m in read_mutants()}
    for file, mistake in REAL:
        entry = catalog.real_mistakes()[file]["mistake"][mistake.number]
        assert (file, entry["old"], entry["new"]) in planted, (file, mistake.name("en"))
        verdict = verdict_on(exercise(file).opening("en", "bug") + exercise(file).planted(mistake), file, tmp_path)
        assert not verdict["ok"] and not verdict["problem"], (file, mistake.name("en"), verdict)
        assert verdict["mistakes"] == [mistake.number], (file, mistake.name("en"))
        for lang in words.LANGUAGES:
            assert mistake.question(lang).endswith(("?", "？"))
    assert {mistake.level for _, mistake in REAL} == {2, 3} and len(REAL) >= 30


@pytest.mark.parametrize("lang", words.LANGUAGES)
@pytest.mark.parametrize("name", NAMES)
def test_template_asks_for_the_lines(name, lang, tmp_path):
    template = exercise(name).template(lang)
    assert exercise(name).answer().strip() not in template and "<<<" not in template
    verdict = verdict_on(template, name, tmp_path)
    assert verdict["problem"] == "todo"
    assert "NotImplementedError" in template.splitlines()[verdict["values"]["line"] - 1]


def test_every_planted_mistake_is_refused_and_nearly_all_are_recognised(tmp_path):
    missed = []
    for name, mistake in MISTAKES:
        verdict = verdict_on(exercise(name).planted(mistake), name, tmp_path)
        assert not verdict["ok"], f"{name}: {mistake.name('en')} is accepted"
        if verdict["mistakes"] != [mistake.number]:
            missed.append((name, mistake.name("en"), verdict["problem"]))
    assert len(missed) <= 0.2 * len(MISTAKES), missed


# The same mistakes as people write them, not as they are planted: it is the numbers that are recognised

WRITTEN_OTHERWISE = {
    "dx without mean(g)": (
        "layernorm",
        """
        C = dy.shape[-1]
        self.weight.grad += np.einsum("btc,btc->c", dy, xhat)
        self.bias.grad += dy.sum(axis=(0, 1))
        dxhat = dy * self.weight.value
        return rstd / C * (C * dxhat - xhat * np.sum(dxhat * xhat, axis=-1, keepdims=True))
""",
    ),
    "dx without both means": (
        "layernorm",
        """
        self.weight.grad += np.einsum("btc,btc->c", dy, xhat)
        self.bias.grad += np.einsum("btc->c", dy)
        return np.multiply(np.multiply(dy, self.weight.value), rstd)
""",
    ),
    "dK is Q^T dS, reshaped": (
        "attention",
        """
        dv = np.einsum("bij,bid->bjd", P, do)
        dP = np.einsum("bid,bjd->bij", do, v)
        dS = P * dP - P * np.einsum("bij,bij->bi", P, dP)[..., None]
        dS = dS * scale
        return dS @ k, np.matmul(q.transpose(0, 2, 1), dS).reshape(k.shape), dv
""",
    ),
    "softmax's sum dropped": (
        "attention",
        """
        dS = P * np.einsum("bid,bjd->bij", do, v) * scale
        return dS @ k, np.swapaxes(dS, 1, 2) @ q, np.swapaxes(P, 1, 2) @ do
""",
    ),
    "repeated ids do not add up": (
        "embedding",
        """
        table = np.zeros_like(self.weight.value)
        table[ids] += dy
        self.weight.grad += table
""",
    ),
    "the tied half lost: the head's": (
        "tied_table",
        """
        d = (dlogits @ self.weight.value) * (1 - h**2)
        for i, row in zip(ids.ravel(), rows(d)):
            self.weight.grad[i] += row
""",
    ),
    "the 1 not divided by N": (
        "cross_entropy",
        """
        onehot = np.eye(p.shape[1])[y]
        return dloss * (p / len(y) - onehot).reshape(shape)
""",
    ),
    "the residual path through LayerNorm's backward": (
        "residual",
        """
        d = self.branch.backward(dy)
        d = d + dy
        d = self.ln.backward(d)
        return d
""",
    ),
    "db averaged over positions": (
        "linear",
        """
        for n in range(x.shape[0]):
            for t in range(x.shape[1]):
                self.weight.grad += np.outer(x[n, t], dy[n, t])
                self.bias.grad += dy[n, t] / (x.shape[0] * x.shape[1])
        return np.einsum("btj,ij->bti", dy, self.weight.value)
""",
    ),
    "eps inside the root": (
        "adamw",
        """
    m, v = m + (1 - beta1) * (g - m), beta2 * v + (1 - beta2) * np.square(g)
    step = (m / (1 - beta1**t)) / np.sqrt(v / (1 - beta2**t) + eps)
    return p * (1 - lr * weight_decay) - lr * step, m, v
""",
    ),
}


@pytest.mark.parametrize("mistake", WRITTEN_OTHERWISE)
def test_mistakes_in_other_words_are_recognised(mistake, tmp_path):
    name, lines = WRITTEN_OTHERWISE[mistake]
    todo = re.escape(f'raise NotImplementedError("{name}")')
    source = re.sub(rf" +{todo}\n", lambda _: lines.lstrip("\n"), exercise(name).template("en"))
    verdict = verdict_on(source, name, tmp_path)
    found = [exercise(name).mistakes[number].name("en") for number in verdict["mistakes"]]
    assert not verdict["ok"] and found == [mistake], verdict


def test_two_mistakes_at_once_are_both_named(tmp_path):
    source = exercise("layernorm").solution()
    source = source.replace("g - shift - xhat", "g - xhat").replace("rows(dy * xhat).sum", "rows(dy).sum")
    verdict = verdict_on(source, "layernorm", tmp_path)
    names = {exercise("layernorm").mistakes[number].name("en") for number in verdict["mistakes"]}
    assert names == {"dx without mean(g)", "dweight of dy alone"}
    assert [wrong["name"] for wrong in verdict["wrong"]] == ["dx", "weight.grad", "weight.grad, twice"]
    assert verdict["right"] == ["bias.grad", "bias.grad, twice"]


def test_a_factor_and_zeros_are_named(tmp_path):
    verdict = verdict_on(exercise("relu").solution().replace("dy * (x > 0)", "3 * dy * (x > 0)"), "relu", tmp_path)
    assert not verdict["mistakes"] and verdict["factors"] == {"dx": pytest.approx(3)}
    assert "3" in verdict_lines("relu", verdict, "en")[-1]
    verdict = verdict_on(exercise("relu").solution().replace("dy * (x > 0)", "dy * 0"), "relu", tmp_path)
    assert verdict["factors"] == {"dx": 0}
    assert "zeros" in verdict_lines("relu", verdict, "en")[-1]


def test_an_assigned_gradient_gets_its_own_line(tmp_path):
    source = exercise("linear").solution().replace("self.bias.grad += rows", "self.bias.grad[...] = rows")
    verdict = verdict_on(source, "linear", tmp_path)
    assert [wrong["name"] for wrong in verdict["wrong"]] == ["bias.grad, twice"]
    assert any("added (+=)" in line for line in verdict_lines("linear", verdict, "en"))


def test_the_question_comes_without_the_line(tmp_path):
    """The answer to a classic mistake is a question: no code of the solution is in it."""
    for name, mistake in MISTAKES:
        for lang in words.LANGUAGES:
            assert mistake.question(lang).rstrip().endswith(("?", "？")), (name, mistake.question(lang))
            for line in exercise(name).answer().splitlines():
                assert len(line.strip()) < 8 or line.strip() not in mistake.question(lang)


# The texts


@pytest.mark.parametrize("name", NAMES)
def test_both_languages_are_there(name):
    texts = exercise(name).texts
    for lang in words.LANGUAGES:
        assert set(texts[lang]) == {"title", "formulas", "hints"}
        assert len(texts[lang]["hints"]) == catalog.HINTS
    assert re.search("[一-鿿]", texts["zh"]["formulas"]) and not re.search("[一-鿿]", str(texts["en"]))
    names = [mistake.name("en") for mistake in exercise(name).mistakes]
    assert len(set(names)) == len(names)


def test_messages_have_the_same_blanks_in_both_languages():
    for key, message in words.messages().items():
        assert set(message) == {"en", "zh"}, key
        blanks = [set(re.findall(r"\{(\w+)", message[lang])) for lang in words.LANGUAGES]
        assert blanks[0] == blanks[1], key


@pytest.mark.parametrize(
    "variables, language",
    [
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LC_ALL": "en_GB.UTF-8", "LANG": "zh_CN.UTF-8"}, "en"),
        ({"LANGUAGE": "zh:en"}, "zh"),
        ({"LANG": "C"}, "en"),
    ],
)
def test_the_systems_language_comes_first(monkeypatch, variables, language):
    for name in ("LC_ALL", "LC_MESSAGES", "LANGUAGE", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert words.system_language() == language


# Right answers that are written otherwise than the solution

RIGHT_OTHERWISE = [
    ("relu", "        return np.where(x > 0, dy, 0)\n", ""),
    ("relu", "        dx = dy.copy()\n        dx[x <= 0] = 0\n        return dx\n", ""),
    ("linear_dx", '        return np.einsum("bto,io->bti", dy, self.weight.value)\n', ""),
    (
        "linear",
        """
        for n in range(len(x)):
            self.weight.grad += x[n].T @ dy[n]
            self.bias.grad = self.bias.grad + dy[n].sum(0)
        return dy @ self.weight.value.T
""",
        "",
    ),
    (
        "cross_entropy",
        "        return (dloss * (p - np.eye(p.shape[1])[y]) / len(y)).reshape(shape)\n",
        "keeps_float32",
    ),
    (
        "softmax",
        """
        ds = np.zeros_like(dp)
        for i in np.ndindex(p.shape[:-1]):
            ds[i] = (np.diag(p[i]) - np.outer(p[i], p[i])) @ dp[i]
        return ds
""",
        "",
    ),
    (
        "layernorm",
        """
        C = dy.shape[-1]
        self.weight.grad += np.einsum("btc,btc->c", dy, xhat)
        self.bias.grad += np.einsum("btc->c", dy)
        g = dy * self.weight.value
        J = (np.eye(C) - 1 / C - xhat[..., :, None] * xhat[..., None, :] / C) * rstd[..., None]
        return np.einsum("...i,...ij->...j", g, J)
""",
        "keeps_float32",
    ),
    (
        "embedding",
        """
        for i in np.ndindex(ids.shape):
            self.weight.grad[ids[i]] += dy[i]
""",
        "",
    ),
    (
        "attention",
        """
        dv = np.einsum("...ij,...id->...jd", P, do)
        dP = np.einsum("...id,...jd->...ij", do, v)
        dS = P * (dP - (do * (P @ v)).sum(-1)[..., None]) * scale
        return np.einsum("...ij,...jd->...id", dS, k), np.einsum("...ij,...id->...jd", dS, q), dv
""",
        "",
    ),
    (
        "top_p",
        """
    q = np.exp(z - z.max())
    q = q / q.sum()
    total, out = 0.0, np.full(len(z), -np.inf)
    for i in sorted(range(len(z)), key=lambda i: -z[i]):
        if total >= p:
            break
        out[i] = z[i]
        total += q[i]
    return out
""",
        "",
    ),
]


@pytest.mark.parametrize("name, lines, remark", RIGHT_OTHERWISE)
def test_right_answers_in_other_words_pass(name, lines, remark, tmp_path):
    todo = re.escape(f'raise NotImplementedError("{name}")')
    source = re.sub(rf" +{todo}\n", lambda _: lines.lstrip("\n"), exercise(name).template("en"))
    verdict = verdict_on(source, name, tmp_path)
    assert verdict["ok"], verdict
    assert verdict.get("remark", "") == remark
    for lang in words.LANGUAGES:
        assert len(verdict_lines(name, verdict, lang)) == 1 + bool(remark)


def test_every_rule_of_the_gradient_check_has_words():
    from exercises.judge import GOOD_MANNERS
    from nanograd.gradcheck.rules import RULES

    assert set(GOOD_MANNERS) <= {rule.__name__ for rule in RULES}
    assert all(f"remark_{rule}" in words.messages() for rule in GOOD_MANNERS)


def test_minus_infinity_on_both_sides_is_no_difference(tmp_path):
    mistake = next(m for m in exercise("top_p").mistakes if m.en[0] == "the token that reaches p dropped")
    verdict = verdict_on(exercise("top_p").planted(mistake), "top_p", tmp_path)
    assert verdict["wrong"] and all(wrong["yours"] != wrong["expected"] for wrong in verdict["wrong"])

"""The page in a browser: opened from the disk, typed into, pointed at; nothing on the console, no request."""

import json
import shutil
from itertools import pairwise

import numpy as np
import pytest

from gpt.page import command
from gpt.runs.load import load_model
from gpt.sampling.generate import generate
from tests.support.browser import Browser, demand_browser
from tests.support.javascript import relative_error
from tests.support.tiny_runs import TALE, train

pytestmark = [pytest.mark.browser, pytest.mark.slow]
HOSTILE = "</textarea></script><img src=x onerror=alert(1)><b>\"'&amp;\u202e\u2066\u2028"
ALERTS = "window.alerts = 0; window.alert = () => { window.alerts++; };"


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    demand_browser()
    return train(tmp_path_factory.mktemp("run"), tokenizer="bpe", vocab_size=300, sample_tokens=30)


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    demand_browser()
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def browser(opened, run_dir):
    opened.resize(1600, 1000)
    opened.open(run_dir / "page.html")
    yield opened
    assert opened.problems() == []


def test_the_engine_is_reachable_and_agrees_with_python(browser, run_dir):
    model, tokenizer, _ = load_model(run_dir, "best", "numpy")
    for text in ("Once a fox", "好 \u202e <b>"):
        assert browser.run("return nanograd.encode(arguments[0])", text) == tokenizer.encode(text)
    ids = tokenizer.encode("Once a fox met")
    assert browser.run("return nanograd.decode(arguments[0])", ids) == "Once a fox met"
    found = browser.run("return nanograd.logits(arguments[0]).map(row => [...row])", ids[:16])
    assert relative_error(found, model(np.array([ids[:16]]))[0][0]) < 5e-3  # float16
    wanted = list(generate(model, ids, 40, temperature=0))
    assert browser.run("return nanograd.generate(arguments[0], {temperature: 0, max_new_tokens: 40})", ids) == wanted
    loss = browser.run("return nanograd.gradients(arguments[0], arguments[1]).loss", ids[:5], ids[1:6])
    assert loss == pytest.approx(float(model(np.array([ids[:5]]), np.array([ids[1:6]]))[1]), rel=5e-3)


def tokens(browser):
    return browser.run("return document.querySelectorAll('#output .token').length")


def test_typing_writing_stepping_back_and_choosing_another_token(browser):
    browser.find("#prompt").clear()
    browser.find("#prompt").send_keys("Once a red fox")
    prompt = tokens(browser)
    assert prompt == len(browser.run("return nanograd.encode('Once a red fox')"))
    browser.set("#count", 30)
    browser.click("#go")
    browser.wait(f"return document.querySelectorAll('#output .token').length === {prompt + 30}")
    text = browser.text("#output")
    assert text.startswith("Once a red fox") and "30 tokens" in browser.text("#speed")
    browser.click("#back")
    assert tokens(browser) == prompt + 29
    browser.point(f"#output .token:nth-child({prompt + 5})")
    assert browser.text("#choice-title").startswith("Token 5:")
    assert "The seed drew u = 0." in browser.text("#why")
    other = browser.run("return [...document.querySelectorAll('#bars tr[data-id]:not(.taken)')][1].dataset.id")
    browser.click(f"#bars tr[data-id='{other}'] button")
    assert tokens(browser) == prompt + 5
    assert browser.run("return document.querySelectorAll('#output .forced').length") == 1
    browser.click("#one")
    browser.wait(f"return document.querySelectorAll('#output .token').length === {prompt + 6}")
    browser.click("#again")
    assert tokens(browser) == prompt
    browser.point("#output .token:nth-child(2)")
    assert browser.text("#choice-title").startswith("Of the prompt:") and "would have given it" in browser.text("#why")
    browser.run("document.querySelector('#bars tr.taken button').click()")  # the prompt up to there
    assert tokens(browser) == 2 and browser.find("#prompt").get_attribute("value") == browser.text("#output")


def test_the_controls_show_their_stages_at_once(browser):
    def heads():
        return browser.run("return [...document.querySelectorAll('#bars thead th')].map(th => th.textContent)")

    assert heads() == ["Token", "Model", "Temperature 0.8", "Top-p 0.95"]
    browser.set("#top_k", 3)
    browser.set("#repetition_penalty", 1.5)
    assert heads() == ["Token", "Model", "Repetition penalty 1.5", "Temperature 0.8", "Top-k 3", "Top-p 0.95"]
    assert browser.run("return document.querySelectorAll('#bars .cut').length") >= 7
    browser.set("#temperature", 0)
    assert heads() == ["Token", "Model", "Repetition penalty 1.5"]
    assert "takes the likeliest token" in browser.text("#why")
    before = browser.text("#interval")
    browser.set("#temperature", 1.2)
    browser.set("#seed", "12345")
    assert browser.text("#interval") != before
    assert "Temperature 1.2" in heads()


def test_a_prompt_full_of_markup_is_text(browser):
    browser.run(ALERTS)
    for place in ("#prompt", "#sentence", "#cut"):
        browser.set(place, HOSTILE)
    browser.click("#compute")
    browser.set("#count", 3)
    browser.click("#go")
    browser.wait("return document.getElementById('speed').textContent.startsWith('3 ')")
    shown = "return [...document.querySelectorAll('#output .token:not(.part)')].map(e => e.textContent).join('')"
    assert HOSTILE in browser.run(shown)
    assert browser.run("return [window.alerts, document.images.length, document.scripts.length]") == [0, 0, 3]


def test_attention_and_the_stream_follow_the_pointer(browser):
    assert browser.run("return document.querySelectorAll('#heads .head').length") == 4
    browser.point("#attention-text .token:nth-child(3)")
    first = browser.text("#attention-readout"), browser.text("#lens")
    assert "looks at" in first[0]
    assert browser.run("return document.querySelectorAll('#lens tbody tr').length") == 3
    browser.point("#attention-text .token:nth-child(2)")
    assert (browser.text("#attention-readout"), browser.text("#lens")) != first
    browser.click("#heads .head:nth-child(2)")
    assert browser.text("#head-name") == "block 1, head 2"
    assert browser.find("#heads .head:nth-child(2)").get_attribute("aria-pressed") == "true"
    shades = (
        "return [...document.querySelectorAll('#attention-text .token')].filter(e => e.style.backgroundColor).length"
    )
    browser.run("document.querySelector('#attention-text .token:last-child').click()")
    assert browser.run(shades) > 1


def test_backprop_of_a_sentence(browser):
    browser.set("#sentence", "Once a red fox met an old bear.")
    browser.click("#compute")
    ids = browser.run("return nanograd.encode('Once a red fox met an old bear.')")
    assert f"over {min(16, len(ids) - 1)} tokens" in browser.text("#total-loss")
    norms = browser.run("return [...document.querySelectorAll('#gradients code')].map(e => e.textContent)")
    assert "wte.weight" in norms and "h.1.mlp.c_proj.weight" in norms
    browser.point("#losses .token:nth-child(4)")
    assert browser.run("return document.querySelectorAll('#influence .influence-row').length") == 3
    browser.set("#sentence", "O")
    browser.click("#compute")
    assert "at least two tokens" in browser.text("#sentence-problem")


def test_curves_zoom_and_are_read_off(browser):
    svg = "document.querySelector('#charts svg')"
    label = f"return {svg}.getAttribute('aria-label')"
    assert browser.run(label) == "Loss (nats a token), steps 0 to 8"
    press = "arguments[0].dispatchEvent(new KeyboardEvent('keydown', {key: arguments[1], bubbles: true}))"
    chart = browser.find("#charts svg")
    browser.run(press, chart, "ArrowRight")
    assert browser.text("#charts .at") == "step 1"
    browser.run(press, chart, "+")
    assert browser.run(label) != "Loss (nats a token), steps 0 to 8"
    browser.run(press, chart, "0")
    assert browser.run(label) == "Loss (nats a token), steps 0 to 8"
    box = chart.rect
    drag = (
        "const left = arguments[0].getBoundingClientRect().left;"
        "const at = x => ({clientX: left + x, pointerType: 'mouse', button: 0, bubbles: true});"
        "for (const [kind, x] of [['down', arguments[1]], ['move', arguments[2]], ['up', arguments[2]]])"
        " arguments[0].dispatchEvent(new PointerEvent('pointer' + kind, at(x)));"
    )
    browser.run(drag, chart, box["width"] * 0.3, box["width"] * 0.7)
    assert browser.run(label) not in ("Loss (nats a token), steps 0 to 8", "")
    browser.run("document.querySelector('#charts .small').click()")
    assert browser.run(label) == "Loss (nats a token), steps 0 to 8"
    browser.run("document.querySelector('#charts details').open = true")
    browser.wait("return document.querySelectorAll('#charts table tr').length > 4")


def test_samples_from_noise_to_stories(browser, run_dir):
    lines = [json.loads(line) for line in (run_dir / "samples.jsonl").read_text().splitlines()]
    for i in (0, len(lines) - 1):
        browser.set("#sample", i)
        assert browser.text(".sample-text") == lines[i]["texts"][0]
        assert browser.text("output[for=sample]") == str(lines[i]["step"])


def test_the_tokenizer_cuts_what_is_typed(browser):
    browser.set("#cut", "a fox 好")
    titles = browser.run("return [...document.querySelectorAll('#cuts h3')].map(e => e.textContent)")
    n = len(browser.run("return nanograd.encode('a fox 好')"))
    assert titles[0].startswith("Characters: 7 tokens") and titles[1].startswith(f"BPE: {n} tokens")
    assert "<E5>" in browser.text("#cuts")


def test_language_and_theme(browser):
    def ground():
        return browser.run("return getComputedStyle(document.body).backgroundColor")

    assert browser.run("return document.documentElement.lang") == "en"
    browser.click("#lang-zh")
    assert browser.run("return document.documentElement.lang") == "zh-Hans"
    assert browser.text("#write-title") == "让模型写下去" and "学习率" in browser.text("#charts")
    assert browser.find("#lang-zh").get_attribute("aria-pressed") == "true"
    empty = "return [...document.querySelectorAll('[data-t]')].filter(e => !e.textContent.trim()).length"
    assert browser.run(empty) == 0
    light = ground()
    browser.click("#theme")
    assert ground() != light and browser.text("#theme") == "浅色"
    browser.click("#theme")
    assert ground() == light
    browser.theme(True)
    browser.run("delete document.documentElement.dataset.theme")
    assert ground() != light
    browser.theme(False)


def test_chinese_comes_first_where_the_browser_speaks_it(run_dir, tmp_path):
    browser = Browser(tmp_path / "profile", language="zh-CN", dark=True, width=360, height=740)
    try:
        browser.open(run_dir / "page.html")
        assert browser.run("return document.documentElement.lang") == "zh-Hans"
        assert browser.text("#theme") == "浅色"
        assert browser.problems() == []
    finally:
        browser.close()


def test_with_the_keyboard_alone(browser):
    from selenium.webdriver.common.keys import Keys

    browser.set("#count", 5)
    browser.run("document.getElementById('prompt').focus()")
    browser.find("#prompt").send_keys(Keys.CONTROL, Keys.ENTER)
    browser.wait("return document.getElementById('speed').textContent.startsWith('5 ')")
    browser.run("document.querySelector('#output .token[tabindex=\"0\"]').focus()")
    for key, moved in ((Keys.HOME, True), (Keys.END, True), (Keys.ARROW_LEFT, True)):
        before = browser.run("return document.activeElement.dataset.i")
        browser.driver.switch_to.active_element.send_keys(key)
        assert (browser.run("return document.activeElement.dataset.i") != before) == moved
    assert browser.run("return document.querySelectorAll('#output .token[tabindex=\"0\"]').length") == 1


def test_everything_has_a_name(browser):
    nameless = browser.run("""
        const labelled = e => [...(e.labels ?? [])].some(label => label.textContent.trim());
        const named = e => e.textContent.trim() || e.getAttribute("aria-label") || labelled(e);
        const all = document.querySelectorAll("button, input, textarea, [role], section, svg[tabindex], a");
        return [...all].filter(e => !named(e) && !e.closest("[aria-hidden], [role=alert], [role=status]"))
            .map(e => e.outerHTML.slice(0, 90));
    """)
    assert nameless == []
    levels = browser.run("return [...document.querySelectorAll('h1, h2, h3, h4')].map(e => Number(e.tagName[1]))")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("width", [320, 390, 768, 1600])
def test_nothing_is_wider_than_the_window(browser, width, language):
    browser.click(f"#lang-{language}")
    browser.resize(width, 800)
    browser.run("window.scrollTo(0, document.body.scrollHeight)")
    assert browser.run("return document.documentElement.scrollWidth") <= width


def test_the_layout_does_not_jump(browser):
    browser.run("""
        window.shift = 0;
        const add = list => { for (const e of list.getEntries()) if (!e.hadRecentInput) window.shift += e.value; };
        new PerformanceObserver(add).observe({type: "layout-shift", buffered: true});
    """)
    browser.set("#count", 20)
    browser.run("document.getElementById('go').click()")
    browser.wait("return document.getElementById('speed').textContent.startsWith('20 ')")
    over = "arguments[0].dispatchEvent(new PointerEvent('pointerover', {bubbles: true}))"
    for i in (2, 6, 9):
        browser.run(over, browser.find(f"#output .token:nth-child({i})"))
    assert browser.run("return window.shift") < 0.1  # "good", for a whole visit


def test_the_policy_holds(opened, run_dir):
    opened.open(run_dir / "page.html")
    blocked = opened.driver.execute_async_script("""
        const done = arguments[0], results = [];
        const script = document.createElement("script");
        script.textContent = "window.ran = true";
        document.body.append(script);
        results.push(window.ran === undefined);
        document.body.setAttribute("onclick", "window.ran = true");
        document.body.click();
        results.push(window.ran === undefined);
        fetch("https://example.invalid/").then(() => done([...results, false]), () => done([...results, true]));
    """)
    assert blocked == [True, True, True]
    assert opened.problems()  # each attempt is reported


def test_a_char_run_names_the_character_it_does_not_know(opened, tmp_path):
    odd = "<img src=x onerror=alert(1)>&\u202e\u2028'\""
    corpus = tmp_path / "<img src=x onerror=alert(1)>\u2028\u202e&'\".txt"
    corpus.write_text((TALE + odd) * 8, encoding="utf-8")
    folder = train(tmp_path, data=(str(corpus),), sample_tokens=20)
    hostile = tmp_path / "<b>&lt;\u202e'"
    shutil.move(folder, hostile)
    command.main([str(hostile)])
    opened.open(hostile / "page.html")
    assert corpus.name in opened.text("#settings") and "<img src=x" in opened.text("#command")
    assert opened.driver.title == hostile.name and opened.text("#name") == hostile.name
    opened.set("#prompt", "Once 好")
    assert "好 (U+597D)" in opened.text("#prompt-problem")
    opened.set("#prompt", "Once " + odd)
    assert opened.text("#prompt-problem") == ""
    assert [
        t.startswith("BPE")
        for t in opened.run("return [...document.querySelectorAll('#cuts h3')].map(e => e.textContent)")
    ] == [False, True]
    assert opened.run("return [document.images.length, document.querySelectorAll('main b img, #name b').length]") == [
        0,
        0,
    ]
    assert opened.problems() == []


def test_the_product_in_webassembly_is_that_of_plain_javascript(browser):
    assert browser.run("return typeof Simd") == "function"
    worst, used = browser.run("""
        let worst = 0, used = 0;
        for (const [n, n_in, n_out, first, last] of [
            [1, 5, 16, 0, 16], [1, 7, 24, 8, 24], [1, 16, 48, 16, 48], [2, 3, 8, 0, 8], [4, 9, 24, 8, 16],
            [9, 33, 40, 0, 40], [7, 2, 12, 0, 12], [1, 3, 4, 0, 4],
        ]) {
            const simd = new Simd(n_in * n_out, 16 * 64), w = new Float32Array(simd.buffer, 0, n_in * n_out);
            const random = array => array.forEach((_, i) => { array[i] = Math.sin(1 + i * i * 0.7); });
            const x = new Float32Array(n * n_in);
            random(x), random(w);
            const y = simd.product(x, w, n_in, n_out, first, last);
            const plain = Engine.plain_product(x, w, n_in, n_out, first, last);
            if (!y) continue;
            used++;
            for (let r = 0; r < n; r++) for (let j = first; j < last; j++) {
                worst = Math.max(worst, Math.abs(y[r * n_out + j] - plain[r * n_out + j]));
            }
        }
        return [worst, used];
    """)
    assert worst < 1e-5 and used == 6

"""page.html as a file: nothing of a run can leave its place in it, and it allows itself next to nothing."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from gpt.page.document import SCRIPTS, WEB, build, embedded_json

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&amp;&\u202e\u2066\u2028\u2029\0]]>--><!--{{weights}}\ud800"


class Parts(HTMLParser):
    """The elements of a page, as (tag, attributes), and the text of its scripts, style and title."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.texts, self.open = [], {}, None
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.open = (dict(attributes).get("id") or tag) if tag in ("script", "style", "title") else None

    def handle_endtag(self, tag):
        self.open = None

    def handle_data(self, data):
        if self.open:
            self.texts[self.open] = self.texts.get(self.open, "") + data


@pytest.fixture(scope="module")
def page():
    return build({"name": HOSTILE, "text": [HOSTILE], HOSTILE: 1}, "AAAA")


def test_a_hostile_run_reads_back_as_what_it_was(page):
    parts = Parts(page)
    assert json.loads(parts.texts["contents"])["text"] == [HOSTILE]
    assert parts.texts["weights"] == "AAAA"
    assert [tag for tag, _ in parts.elements].count("script") == 3
    assert not [tag for tag, _ in parts.elements if tag in ("img", "iframe", "object", "embed", "base", "form")]
    page.encode("utf-8")  # a lone surrogate of a file's name has become something that can be written
    assert "\u2028" not in parts.texts["contents"]


def test_json_in_a_page_has_no_sign_that_means_something_there():
    text = embedded_json({HOSTILE: [HOSTILE, 1.5, None]})
    assert text.isascii() and not set("<>&") & set(text)
    assert json.loads(text) == {HOSTILE: [HOSTILE, 1.5, None]}
    with pytest.raises(ValueError):
        embedded_json(float("nan"))


def test_the_policy_allows_this_script_and_this_style_and_no_request(page):
    parts = Parts(page)
    (policy,) = [a["content"] for tag, a in parts.elements if a.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    digest = {
        name: base64.b64encode(hashlib.sha256(parts.texts[name].encode()).digest()).decode()
        for name in ("script", "style")
    }
    assert rules.pop("script-src").split()[0] == f"'sha256-{digest['script']}'"
    assert rules.pop("style-src") == f"'sha256-{digest['style']}'"
    assert rules == {"default-src": "'none'", "img-src": "data:", "base-uri": "'none'", "form-action": "'none'"}
    assert "unsafe-inline" not in policy and "http:" not in policy and "https:" not in policy


def test_nothing_in_the_page_is_run_or_loaded_from_elsewhere(page):
    for tag, attributes in Parts(page).elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], tag
        assert attributes.get("src") is None
        assert (attributes.get("href") or "#").startswith(("#", "data:,"))
    everything = "".join((WEB / name).read_text(encoding="utf-8") for name in (*SCRIPTS, "style.css", "page.html"))
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|Function\(|fetch\(|XMLHttp", everything
    )
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|@import|url\((?!#)", everything)


def words() -> dict[str, dict[str, str]]:
    """The tables of words.js."""
    import quickjs

    context = quickjs.Context()
    return json.loads(context.eval((WEB / "words.js").read_text(encoding="utf-8") + "; JSON.stringify(WORDS)"))


def test_both_languages_say_the_same_things():
    tables = words()
    keys = re.findall(r"^    (\w+):", (WEB / "words.js").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert keys == [*tables["en"], *tables["zh"]]  # none twice, which JavaScript would take
    assert list(tables) == ["en", "zh"] and list(tables["en"]) == list(tables["zh"])
    for key, text in tables["en"].items():
        chinese = tables["zh"][key]
        assert sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", chinese)), key
        assert re.search(r"[\u4e00-\u9fff]", chinese) or key in (
            "top_k",
            "min_p",
            "token",
            "head_name",
            "lens_block",
        ), key


def test_every_word_that_the_page_asks_for_is_there():
    known = words()["en"]
    template = (WEB / "page.html").read_text(encoding="utf-8")
    asked = set(re.findall(r'data-(?:t|label)="(\w+)"', template))
    for name in SCRIPTS:
        source = (WEB / name).read_text(encoding="utf-8")
        asked |= set(re.findall(r'words\("(\w+)"', source)) | set(re.findall(r'"data-t": "(\w+)"', source))
    assert asked - known.keys() == set() and len(asked) > 60


def test_every_place_that_a_script_looks_for_is_in_the_template():
    template = (WEB / "page.html").read_text(encoding="utf-8")
    there = set(re.findall(r'id="([\w-]+)"', template))
    for name in SCRIPTS:
        for place in re.findall(r'\$\("([\w-]+)"\)', (WEB / name).read_text(encoding="utf-8")):
            assert place in there, (name, place)


def colours(text: str) -> dict[str, tuple[float, float, float]]:
    """The custom properties of one block of the style that are colours."""
    found = re.findall(r"--([\w-]+): #([0-9a-f]{6});", text)
    return {name: tuple(int(value[i : i + 2], 16) / 255 for i in (0, 2, 4)) for name, value in found}


def contrast(a, b) -> float:
    """WCAG 2.1's ratio of two colours."""

    def luminance(colour):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_text_can_be_read_on_its_ground_in_both_themes():
    style = (WEB / "style.css").read_text(encoding="utf-8")
    light, dark, system_dark = map(colours, re.findall(r"\{([^{}]*--ground: [^{}]*)\}", style))
    assert dark == system_dark and light.keys() == dark.keys()
    for theme in (light, dark):
        for ground in ("ground", "panel"):
            for ink in ("ink", "soft", "accent", "bad", "good"):
                assert contrast(theme[ink], theme[ground]) >= 4.5, (ink, ground)
            for line in (name for name in theme if name.startswith("line-") or name in ("previous", "first", "same")):
                assert contrast(theme[line], theme[ground]) >= 3, line  # WCAG 1.4.11: what is no text
        for ground in ("wash-a", "wash-b", "wash-c"):
            assert contrast(theme["ink"], theme[ground]) >= 4.5, ground
        assert contrast(theme["on-accent"], theme["accent"]) >= 4.5

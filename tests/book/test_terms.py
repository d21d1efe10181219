"""The glossary and the contents go with the chapters, and no chapter uses a term before the one that explains it."""

import functools
import re

import pytest

from tests.book.test_pages import BOOK, FENCED, headings, prose_of, text_of
from tests.support import ROOT

LANGUAGES = "en", "zh"


def chapters(lang: str):
    return sorted((BOOK / lang).glob("[0-9]*.md"))


def title(path) -> str:
    return headings(path)[0].removeprefix("# ")


@functools.cache
def entries(lang: str) -> list[tuple[str, str]]:
    """(chapter's title, term) of the glossary, in its order."""
    found, chapter = [], ""
    for line in text_of(BOOK / lang / "glossary.md").splitlines():
        if line.startswith("## "):
            chapter = re.sub(r"## \[(.+)\]\(.+\)", r"\1", line)
        elif line.startswith("- "):
            term = re.match(r"- \*\*(.+?)\*\*.*?· .+", line)
            assert term, f"not a term: {line}"
            found.append((chapter, term[1]))
    return found


def pattern(term: str, lang: str) -> re.Pattern:
    if lang == "zh" and not term.isascii():
        return re.compile(term if len(term) > 1 else rf"(?<![\u4e00-\u9fff]){term}(?![\u4e00-\u9fff])")
    words = re.escape(term).replace(r"\ ", r"[\s-]")
    return re.compile(rf"(?<![\w-]){words}(s|es)?(?![\w-])", re.I)


def paragraphs(path) -> list[str]:
    """Of the prose, without the last line, which leads on; and without formulas and comments."""
    text = prose_of(path).rpartition("\n---\n")[0] or prose_of(path)
    return re.split(r"\n\s*\n|\n(?=- |\d+\. )", re.sub(r"<!--.*?-->|\$[^$]+\$", "", text))


@pytest.mark.parametrize("lang", LANGUAGES)
def test_contents_name_every_chapter(lang):
    listed = re.findall(r"^\d+\. \[(.+?)\]\((.+?)\)", text_of(BOOK / lang / "README.md"), re.M)
    numbered = [(f"{n}. {name}", file) for n, (name, file) in enumerate(listed, 1)]
    assert numbered == [(title(path), path.name) for path in chapters(lang)]


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_book_names_its_article(lang):
    text = text_of(BOOK / lang / "README.md")
    name = "从零实现 LLM（上）：原理讲透 + 最小可运行 GPT"
    assert f"[{name}](https://blog.csdn.net/qq_41865545/article/details/151143409)" in text


def test_both_glossaries_have_the_same_pairs():
    pairs = {}
    for lang in LANGUAGES:
        text = text_of(BOOK / lang / "glossary.md")
        lines = re.findall(r"^- \*\*(.+?)\*\*(?:（(.+?)）)? ?· (.+?)(?:: |：)", text, re.M)
        assert len(lines) == len(entries(lang))
        pairs[lang] = lines
    for (english, _, chinese), (zh, _, en) in zip(pairs["en"], pairs["zh"], strict=True):
        assert english == en and zh in chinese, (english, zh)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_glossary_terms_are_explained_in_their_chapter(lang):
    of = {title(path): path for path in chapters(lang)}
    for chapter, term in entries(lang):
        assert chapter in of, f"no chapter is called {chapter}"
        assert pattern(term, lang).search(prose_of(of[chapter])), f"{term} is not in {chapter}"


@pytest.mark.parametrize("lang", LANGUAGES)
def test_terms_are_in_bold_where_they_are_explained(lang):
    """So a term cannot be in the glossary because its chapter takes it for known."""
    of = {title(path): path for path in chapters(lang)}
    for chapter, term in entries(lang):
        bold = re.findall(r"\*\*([^*]+)\*\*", prose_of(of[chapter]))
        assert any(pattern(term, lang).search(words) for words in bold), f"{chapter} does not explain {term}"


NAMES = "GPT-\\d|Llama|Qwen|Mistral|tanh|sigmoid|softmax|ReLU|GELU|SiLU|SwiGLU|RMSNorm|LayerNorm|AdamW|Muon"
NAMES = re.compile(rf"\b({NAMES})\b")


@pytest.mark.parametrize("lang", LANGUAGES)
def test_names_and_functions_are_explained_at_the_latest_where_they_come_first(lang):
    """In bold, or in a paragraph with a link to another chapter. Formulas count too."""
    known, problems = set(), []
    for path in chapters(lang):
        for paragraph in re.split(r"\n\s*\n", FENCED.sub(whole_formulas, text_of(path))):
            words = set(NAMES.findall(re.sub(r"<!--.*?-->|^#.*|!\[.*?\]\(.*?\)|`[^`]+`", "", paragraph, flags=re.M)))
            known |= {name for bold in re.findall(r"\*\*([^*]+)\*\*", paragraph) for name in NAMES.findall(bold)}
            if (early := words - known) and not re.search(r"\]\(\d\d-", paragraph):
                problems.append(f"{path.parent.name}/{path.name}: {', '.join(sorted(early))}: {paragraph[:80]!r}")
    assert not problems, "\n".join(problems)


def whole_formulas(block: re.Match) -> str:
    return block[4].replace("\\", " ") if block[3] == "math" else ""


@pytest.mark.parametrize("lang", LANGUAGES)
def test_no_term_comes_before_its_chapter(lang):
    """An earlier chapter may name one only in a paragraph with a link to a later chapter."""
    order = [title(path) for path in chapters(lang)]
    early = []
    for chapter, term in entries(lang):
        for path in chapters(lang)[: order.index(chapter)]:
            for paragraph in paragraphs(path):
                number = path.name[:2]
                ahead = any(link[:2] > number for link in re.findall(r"\]\((\d\d)-", paragraph))
                if pattern(term, lang).search(paragraph) and not ahead:
                    early.append(f"{path.parent.name}/{path.name}: {term}: {' '.join(paragraph.split())[:90]}")
    assert not early, "\n".join(early)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_messages_are_those_of_the_programs(lang):
    said = ""
    for folder in ("gpt", "nanograd", "tokenizers"):
        said += "".join(path.read_text(encoding="utf-8") for path in (ROOT / folder).rglob("*.py"))
    listed = re.findall(r"^- (`.+?`(?:(?:, |、)`.+?`)*)(?:: |：)", text_of(BOOK / lang / "messages.md"), re.M)
    messages = [message for line in listed for message in re.findall(r"`(.+?)`", line)]
    assert len(messages) > 20
    for message in messages:
        assert message in said, f"no program says: {message}"

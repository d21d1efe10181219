"""HTML of a few words: a table, a paragraph. Every text is escaped here, for it may come from a user's file."""

import html
from collections.abc import Iterable, Sequence

escape = html.escape


def table(head: Sequence[str], rows: Iterable[Sequence], caption: str = "") -> str:
    """A table with numbers to the right: ints with thousands separated, floats with four digits that count."""
    lines = ["<table>"]
    if caption:
        lines.append(f'<caption style="text-align: left">{escape(caption)}</caption>')
    lines.append("<thead><tr>" + "".join(cell(name, "th") for name in head) + "</tr></thead>")
    lines.append("<tbody>")
    lines += ["<tr>" + "".join(map(cell, row)) + "</tr>" for row in rows]
    return "\n".join([*lines, "</tbody></table>"])


def cell(value, tag: str = "td") -> str:
    """One cell. None, and a float that is not finite, is a dash."""
    if isinstance(value, str):
        return f'<{tag} style="text-align: left">{escape(value)}</{tag}>'
    return f'<{tag} style="text-align: right">{number(value)}</{tag}>'


def number(value: float | None) -> str:
    """
    >>> number(535296), number(0.23954), number(1.0), number(None), number(float("nan"))
    ('535,296', '0.2395', '1.0000', '–', '–')
    """
    if value is None or value != value or abs(value) == float("inf"):
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def paragraph(text: str, strong: str = "") -> str:
    """A paragraph, of which `strong` is the beginning in bold."""
    bold = f"<b>{escape(strong)}</b> " if strong else ""
    return f"<p>{bold}{escape(text)}</p>"


def verbatim(text: str) -> str:
    """A text as it stands, with its line breaks; long lines are broken."""
    return f'<pre style="white-space: pre-wrap">{escape(text)}</pre>'

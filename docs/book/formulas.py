"""Numbers, vectors and matrices as the formulas of a page, and its tables, for values.

GitHub reads Markdown before formulas, and takes a backslash before a sign away. What needs one, such as the end of a
matrix's row, stands in a block of its own, ```math, where GitHub does not.
"""

import numpy as np

from book.drawing import rounded


def number(value, digits: int = 4) -> str:
    """`value` with at most `digits` decimals, without trailing zeros."""
    return np.format_float_positional(rounded(value, digits), trim="-")


def factor(value, digits: int = 4) -> str:
    """The same, in brackets where it is negative: as it stands in a product."""
    text = number(value, digits)
    return f"({text})" if text.startswith("-") else text


def vector(values, digits: int = 4) -> str:
    return "(" + ", ".join(number(value, digits) for value in np.ravel(values)) + ")"


def matrix(rows, digits: int = 4) -> str:
    """A matrix; for `block` alone."""
    lines = [" & ".join(number(value, digits) for value in row) for row in np.atleast_2d(rows)]
    return r"\begin{pmatrix} " + r" \\ ".join(lines) + r" \end{pmatrix}"


def products(a, b, digits: int = 4) -> str:
    """a_1 · b_1 + a_2 · b_2 + ..., in numbers."""
    return " + ".join(rf"{factor(p, digits)} \cdot {factor(q, digits)}" for p, q in zip(a, b, strict=True))


def markdown_table(head, align: str, rows) -> str:
    """A table of Markdown. `align` has a letter for each column: l, or r for numbers."""
    line = "".join("|---:" if side == "r" else "|---" for side in align) + "|"
    head, *cells = (f"| {' | '.join(map(str, row))} |" for row in (head, *rows))
    return "\n".join([head, line, *cells])


def block(*lines: str) -> str:
    """Formulas below one another, aligned at the `&` of each."""
    if len(lines) == 1:
        return f"```math\n{lines[0].replace(' &= ', ' = ')}\n```"
    return "```math\n\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}\n```"

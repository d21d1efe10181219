"""One HTML file: the template, style and scripts in web/, and the contents of a run, made safe to stand in it.

Texts of a run come from anywhere: a file's name may be `</script>`. They travel as JSON in a script element that no
browser runs, in ASCII and without `<`, `>` and `&`, and reach the page as text nodes only. What a browser does run is
the one script and the one style whose SHA-256 the Content-Security-Policy names; it forbids every request.
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping
from pathlib import Path

WEB = Path(__file__).parent / "web"
SCRIPTS = (
    "simd.js",
    "engine.js",
    "words.js",
    "elements.js",
    "charts.js",
    "writing.js",
    "inside.js",
    "backprop.js",
    "training.js",
    "pieces.js",
    "page.js",
)  # in the order in which they stand on each other
ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}  # inside JSON's texts; elsewhere these do not occur


def build(contents: Mapping, weights: str) -> str:
    """The page. `contents` is what JSON can say, with its "name" for a title; `weights` is base64."""
    script = "\n".join((WEB / name).read_text(encoding="utf-8") for name in SCRIPTS)
    style = (WEB / "style.css").read_text(encoding="utf-8")
    parts = {
        "policy": policy(script, style),
        "title": html.escape(printable(contents["name"])),
        "style": style,
        "contents": embedded_json(contents),
        "weights": weights,
        "script": script,
    }
    template = (WEB / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def policy(script: str, style: str) -> str:
    """What the page may do: run this script and the WebAssembly it makes, use this style and the empty icon.

    Nothing may be loaded, and no other script runs.
    """
    return (
        f"default-src 'none'; script-src {_source(script)} 'wasm-unsafe-eval'; style-src {_source(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _source(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
    return f"'sha256-{digest}'"


def embedded_json(value) -> str:
    """JSON that ends no element it stands in. Raises ValueError for a number that is not finite."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return re.sub("[<>&]", lambda match: ESCAPES[match[0]], text)


def printable(text: str) -> str:
    """A text that UTF-8 can write: lone surrogates, as odd file names have them, become U+FFFD."""
    return text.encode("utf-8", "replace").decode("utf-8") if not text.isascii() else text

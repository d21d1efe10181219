"""The page's engine without a browser: web/engine.js in QuickJS, talked to in JSON."""

import dataclasses
import json

import numpy as np

from gpt.config.options import ChoiceFlags
from gpt.page.contents import ROPE_SLIDES, describe_tokenizer
from gpt.page.document import WEB
from gpt.page.weights import pack


def engine_contents(model, tokenizer, dtype="float32") -> tuple[dict, str]:
    """What the engine needs of the page's contents, and the weights in base64."""
    tensors, weights = pack(model.state_dict(), dtype)
    contents = {
        "model": dataclasses.asdict(model.config),
        "tokenizer": describe_tokenizer(tokenizer),
        "controls": {f.name: f.default for f in dataclasses.fields(ChoiceFlags)},
        "tensors": tensors,
        "dtype": dtype,
        "slides": ROPE_SLIDES,
    }
    return contents, weights


class JavaScript:
    """`js("engine.encode(text)", text="...")`: an expression's value, with named values at hand.

    Typed arrays come back as lists. Raises quickjs.JSException.
    """

    def __init__(self, model, tokenizer, dtype="float32", source: str | None = None):
        import quickjs

        self.context = quickjs.Context()
        self.context.set_max_stack_size(1 << 26)
        self.context.eval(source or (WEB / "engine.js").read_text(encoding="utf-8"))
        contents, weights = engine_contents(model, tokenizer, dtype)
        self.context.set("weights", weights)
        self("(globalThis.engine = new Engine(contents, weights), 0)", contents=contents)

    def __call__(self, expression: str, **values):
        for name, value in values.items():
            self.context.eval(f"globalThis[{json.dumps(name)}] = {json.dumps(value)}; 0")
        plain = "(key, value) => ArrayBuffer.isView(value) ? Array.from(value) : value"
        return json.loads(self.context.eval(f"JSON.stringify({expression}, {plain})"))


def relative_error(found, wanted) -> float:
    """The largest difference over the largest value."""
    found, wanted = np.asarray(found, dtype=np.float64).reshape(wanted.shape), np.asarray(wanted, dtype=np.float64)
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())

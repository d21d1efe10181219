/* A text cut into tokens: characters against BPE pieces. */
"use strict";

const LONGEST_TEXT = 5000; // characters

class Pieces {
  constructor(engine, contents) {
    this.engine = engine;
    this.own = contents.tokenizer.kind;
    this.bpe = this.own === "bpe" ? engine.tokenizer : contents.bpe ? new Engine.BPETokenizer(contents.bpe) : null;
    $("cut").value = contents.text.trim() || "Hello world! 你好，世界！";
    $("cut").addEventListener("input", () => this.show());
    on_language(() => this.show());
    this.show();
  }

  show() {
    const text = $("cut").value.slice(0, LONGEST_TEXT),
      characters = Array.from(text);
    const char = characters.map(character => {
      const id = this.own === "char" ? this.engine.tokenizer.ids.get(character) : null;
      return { text: sign(character), id: id === undefined ? words("cut_unknown") : id, unknown: id === undefined };
    });
    const parts = [this.strip("cut_char", char, this.own === "char")];
    if (this.bpe) {
      const ids = this.bpe.encode(
        text.replace(/[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/g, "\uFFFD"),
      );
      const pieces = ids.map(id => ({ text: token_label(this.bpe, id), id }));
      parts.push(this.strip("cut_bpe", pieces, this.own === "bpe", characters.length / Math.max(1, ids.length)));
    }
    $("cuts").replaceChildren(...parts);
  }

  strip(title, pieces, own, ratio = 1) {
    const heading = `${words(title, { n: whole(pieces.length), ratio: number(ratio) })} ${own ? words("cut_own") : ""}`;
    return element(
      "div",
      {},
      element("h3", {}, heading),
      element(
        "p",
        { class: "strip", dir: "ltr" },
        ...pieces.map(({ text, id, unknown }) =>
          element(
            "span",
            { class: unknown ? "piece unknown" : "piece" },
            element("bdi", {}, text),
            id === null ? null : element("small", {}, String(id)),
          ),
        ),
      ),
    );
  }
}

/* A forward and a backward pass over a sentence: losses, the gradient of every parameter, what a loss depends on. */
"use strict";

const MOST_IDS = 64; // of a sentence: a backward pass costs twice a forward one

class Backprop {
  constructor(engine, contents) {
    Object.assign(this, { engine, result: null });
    this.text = new TokenText($("losses"), i => this.look(i));
    $("sentence").value = contents.text.trim();
    $("compute").addEventListener("click", () => this.compute());
    on_language(() => this.show());
  }

  /** The losses of a sentence and the gradients of their mean. The first token is given, and has no loss. */
  compute() {
    const ids = try_or_say(() => this.engine.encode($("sentence").value), $("sentence-problem"));
    if (!ids) return;
    if (ids.length < 2) {
      $("sentence-problem").textContent = words("too_short");
      return;
    }
    const began = performance.now();
    this.ids = ids.slice(0, Math.min(MOST_IDS, this.engine.model.config.block_size) + 1);
    const { loss, losses, parameters } = this.engine.gradients(this.ids.slice(0, -1), this.ids.slice(1));
    const norms = Object.entries(parameters).map(([name, grad]) => [
      name,
      Math.sqrt(grad.reduce((sum, g) => sum + g * g, 0)),
    ]);
    this.result = { loss, losses, norms, ms: Math.round(performance.now() - began) };
    const early = losses.length > 8 ? 5 : 0; // the first tokens have little to depend on
    this.text.current = Engine.ranked(losses.slice(early))[0] + early + 1; // the greatest surprise
    this.show();
  }

  show() {
    if (!this.result) return;
    const { loss, losses, norms, ms } = this.result;
    $("total-loss").textContent = words("total_loss", {
      loss: number(loss),
      n: losses.length,
      perplexity: number(Math.exp(loss)),
      ms,
    });
    this.text.show(this.engine.tokenizer, this.ids, i => (i ? "" : "given"));
    const largest = Math.max(...losses);
    losses.forEach((value, t) => this.text.shade(t + 1, "wash-b", value / largest));
    this.show_norms(norms);
    this.look(this.text.current);
  }

  show_norms(norms) {
    const largest = Math.max(...norms.map(([, norm]) => norm)),
      groups = new Map();
    for (const [name, norm] of norms) {
      const layer = name.match(/^h\.\d+/)?.[0] ?? name.split(".")[0];
      groups.set(layer, [...(groups.get(layer) ?? []), [name, norm]]);
    }
    $("gradients").replaceChildren(
      ...Array.from(groups, ([, rows]) =>
        element(
          "div",
          { class: "group" },
          ...rows.map(([name, norm]) => {
            const bar = element("i");
            bar.style.width = `${(100 * norm) / largest}%`;
            return element(
              "div",
              { class: "norm-row" },
              element("code", {}, ...name.split(/(?<=\.)/).flatMap(part => [part, element("wbr")])),
              element("span", { class: "track" }, bar),
              element("span", { class: "figure" }, number(norm)),
            );
          }),
        ),
      ),
    );
  }

  /** Token i: its loss, and for each token before it that loss' gradient by its embedding, times the embedding. */
  look(i) {
    if (i < 1 || !this.result) return;
    const { engine, ids } = this,
      { losses } = this.result,
      C = engine.model.config.n_embd;
    const label = j => token_label(engine.tokenizer, ids[j]);
    $("loss-readout").textContent = words("loss_readout", {
      token: `“${label(i)}”`,
      loss: number(losses[i - 1]),
      percent: percent(Math.exp(-losses[i - 1])),
    });
    const { inputs } = engine.gradients(
      ids.slice(0, i),
      ids.slice(1, i + 1).map((id, t) => (t === i - 1 ? id : -100)),
    );
    const influence = ids.slice(0, i).map((id, t) => {
      let sum = 0;
      for (let c = 0; c < C; c++) sum += inputs[t * C + c] * engine.model.wte.value[id * C + c];
      return sum;
    });
    const largest = Math.max(...influence.map(Math.abs)) || 1;
    $("influence").replaceChildren(
      ...influence.map((value, t) => {
        const bar = element("i", { class: value < 0 ? "lowers" : "raises" });
        bar.style.width = `${(50 * Math.abs(value)) / largest}%`;
        return element(
          "div",
          { class: "influence-row" },
          element("bdi", {}, label(t)),
          element("span", { class: "track" }, bar),
          element("span", { class: "figure" }, number(value)),
        );
      }),
    );
  }
}

/* Attention of every block and head, and what the head would predict from the residual stream after each block. */
"use strict";

const LOOKED_AT = 64; // tokens of the text, at most
const BEST = 5;

class Inside {
  constructor(engine) {
    Object.assign(this, { engine, head: null, ids: [] });
    this.text = new TokenText($("attention-text"), i => this.look(i));
    $("all-heads").addEventListener("click", () => this.choose(null));
    on_language(() => this.show());
  }

  /** Take in a text: one forward pass over its last tokens. */
  take(ids) {
    const { model } = this.engine;
    this.ids = ids.slice(-Math.min(LOOKED_AT, model.config.block_size));
    if (!this.ids.length) return;
    model.forward(this.ids);
    this.P = model.h.map(block => block.attn.P); // [layer][t] (H, t + 1)
    this.residuals = model.residuals; // [0 to n_layer] (T, C)
    this.text.current = this.ids.length - 1;
    this.show();
  }

  /** How much position t looks at j: in the chosen head, or in the mean of all. */
  weight(t, j) {
    const H = this.engine.model.config.n_head,
      of = (layer, h) => this.P[layer][t][h * (t + 1) + j];
    if (this.head) return of(...this.head);
    let sum = 0;
    this.P.forEach((_, layer) => {
      for (let h = 0; h < H; h++) sum += of(layer, h);
    });
    return sum / (H * this.P.length);
  }

  choose(head) {
    this.head = head;
    this.show();
  }

  show() {
    if (!this.ids.length) return;
    const { n_head } = this.engine.model.config;
    this.text.show(this.engine.tokenizer, this.ids);
    $("same-key").textContent = words(`same_${this.engine.tokenizer instanceof Engine.CharTokenizer ? "char" : "bpe"}`);
    $("head-name").textContent = this.head ? this.name(...this.head) : words("heads_mean");
    $("all-heads").setAttribute("aria-pressed", String(!this.head));
    const cards = this.P.flatMap((_, layer) => Array.from({ length: n_head }, (_, h) => this.card(layer, h)));
    const focused = document.activeElement?.dataset?.head;
    $("heads").replaceChildren(...cards);
    $("heads").style.setProperty("--heads", Math.min(n_head, 12));
    if (focused) $("heads").querySelector(`[data-head="${focused}"]`)?.focus();
    this.look(Math.max(0, this.text.current));
  }

  name(layer, h) {
    return words("head_name", { block: layer + 1, head: h + 1 });
  }

  card(layer, h) {
    const shares = this.shares(layer, h),
      chosen = this.head && this.head[0] === layer && this.head[1] === h;
    const bars = ["previous", "first", "same"].map(kind => {
      const bar = element("i", { class: `k-${kind}` });
      bar.style.width = `${100 * shares[kind]}%`;
      return element("span", { class: "share" }, bar);
    });
    const values = {
      name: this.name(layer, h),
      previous: percent(shares.previous),
      first: percent(shares.first),
      same: percent(shares.same),
    };
    return element(
      "button",
      {
        type: "button",
        class: "head",
        "data-head": `${layer}.${h}`,
        "aria-pressed": String(Boolean(chosen)),
        "aria-label": words("head_summary", values),
        title: words("head_summary", values),
        on: { click: () => this.choose(chosen ? null : [layer, h]) },
      },
      this.picture(layer, h),
      element("span", { class: "caption" }, `${layer + 1}·${h + 1}`),
      ...bars,
    );
  }

  /** The mean share of attention, over all positions from the third on, that goes to three kinds of places. */
  shares(layer, h) {
    const { ids } = this,
      shares = { previous: 0, first: 0, same: 0 },
      counts = { previous: 0, first: 0, same: 0 };
    for (let t = 2; t < ids.length; t++) {
      const row = this.P[layer][t].subarray(h * (t + 1), (h + 1) * (t + 1));
      let same = 0,
        earlier = false;
      for (let j = 0; j < t; j++)
        if (ids[j] === ids[t]) {
          same += row[j];
          earlier = true;
        }
      shares.previous += row[t - 1];
      counts.previous++;
      shares.first += row[0];
      counts.first++;
      if (earlier) {
        shares.same += same;
        counts.same++;
      }
    }
    for (const kind of Object.keys(shares)) shares[kind] /= Math.max(1, counts[kind]);
    return shares;
  }

  picture(layer, h) {
    const T = this.ids.length,
      canvas = element("canvas", { width: T, height: T, "aria-hidden": "true" });
    const context = canvas.getContext("2d"),
      image = context.createImageData(T, T);
    const [red, green, blue] = ink("--heat");
    for (let t = 0; t < T; t++) {
      for (let j = 0; j <= t; j++) {
        image.data.set([red, green, blue, 255 * Math.sqrt(this.P[layer][t][h * (t + 1) + j])], 4 * (t * T + j));
      }
    }
    context.putImageData(image, 0, 0);
    canvas.addEventListener("pointermove", event => {
      const box = canvas.getBoundingClientRect(),
        t = Math.floor(((event.clientY - box.top) / box.height) * T);
      const j = Math.floor(((event.clientX - box.left) / box.width) * T);
      if (t < 0 || t >= T || j < 0 || j > t) return;
      const p = this.P[layer][t][h * (t + 1) + j];
      $("attention-readout").textContent =
        `${this.name(layer, h)}: ${words("looks", { token: this.label(t), list: `${this.label(j)} ${percent(p)}` })}`;
    });
    return canvas;
  }

  label(t) {
    return `“${token_label(this.engine.tokenizer, this.ids[t])}”`;
  }

  /** Show where position t looks, and what the head says of its residual stream. */
  look(t) {
    const weights = this.ids.map((_, j) => (j <= t ? this.weight(t, j) : 0)),
      largest = Math.max(...weights);
    weights.forEach((p, j) => this.text.shade(j, "wash-a", Math.sqrt(p / largest) * (p > 0.01 ? 1 : 0)));
    const best = Engine.ranked(weights)
      .filter(j => j <= t)
      .slice(0, 4);
    $("attention-readout").textContent = words("looks", {
      token: this.label(t),
      list: best.map(j => `${this.label(j)} ${percent(weights[j])}`).join(", "),
    });
    this.show_lens(t);
  }

  show_lens(t) {
    const { model, tokenizer } = this.engine,
      C = model.config.n_embd;
    const rows = this.residuals.map((x, layer) => {
      const stream = x.slice(t * C, (t + 1) * C),
        p = Engine.softmax(Float64Array.from(model.read(stream)));
      const norm = Math.sqrt(stream.reduce((sum, value) => sum + value * value, 0));
      const cells = Engine.ranked(p)
        .slice(0, BEST)
        .map(id => {
          const bar = element("span", { class: "bar-before" });
          bar.style.width = `${100 * p[id]}%`;
          const text = element(
            "span",
            { class: "percent" },
            element("bdi", {}, token_label(tokenizer, id)),
            ` ${percent(p[id])}`,
          );
          return element("td", {}, element("div", { class: "cell" }, bar, text));
        });
      return element(
        "tr",
        {},
        element("th", { scope: "row" }, layer ? words("lens_block", { n: layer }) : words("lens_embedding")),
        ...cells,
        element("td", { class: "norm" }, number(norm)),
      );
    });
    const head = element(
      "tr",
      {},
      element("th"),
      element("th", { colspan: BEST, scope: "colgroup" }, words("lens_best")),
      element("th", { scope: "col" }, words("lens_norm")),
    );
    $("lens").replaceChildren(element("thead", {}, head), element("tbody", {}, ...rows));
  }
}

/** The red, green and blue of a colour of the style. */
function ink(name) {
  const text = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  return [1, 3, 5].map(i => parseInt(text.slice(i, i + 2), 16));
}

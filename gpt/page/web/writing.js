/* The model writes: a prompt, the text, the controls, and for each token the choice that was made. */
"use strict";

const SLIDERS = {
  // control: [least, most, step]
  temperature: [0, 2, 0.05],
  top_k: [0, 100, 1],
  top_p: [0.05, 1, 0.01],
  min_p: [0, 1, 0.01],
  repetition_penalty: [0.5, 2, 0.01],
  frequency_penalty: [-2, 2, 0.05],
  presence_penalty: [-2, 2, 0.05],
};
const ROWS = 10; // tokens in the table of bars
const AT_ONCE = 16; // ms of work, then the browser has its turn
const BARS_EVERY = 150; // ms, while the model writes: they cannot be read faster

class Writing {
  constructor(engine, contents, changed) {
    Object.assign(this, { engine, changed, running: false, shown: null, speed: null });
    this.controls = { ...contents.controls, seed: 1 };
    this.text = new TokenText($("output"), i => this.look(i));
    $("prompt").value = beginning(contents.text);
    this.make_sliders();
    $("go").addEventListener("click", () => (this.running ? this.stop() : this.run(Number($("count").value) || 1)));
    $("one").addEventListener("click", () => this.run(1));
    $("back").addEventListener("click", () => this.cut(this.writer.tokens.length - 1));
    $("again").addEventListener("click", () => this.start());
    $("prompt").addEventListener("input", () => this.start());
    $("prompt").addEventListener("keydown", event => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("go").click();
    });
    on_language(() => this.show());
    this.start();
  }

  make_sliders() {
    for (const [name, [min, max, step]] of Object.entries(SLIDERS)) {
      const input = element("input", {
        type: "range",
        id: name,
        min,
        max,
        step,
        value: this.controls[name],
        "aria-describedby": `${name}-help`,
      });
      const output = element("output", { for: name });
      const say = () => {
        output.textContent = number(Number(input.value));
      };
      input.addEventListener("input", () => {
        say();
        this.set(name, Number(input.value));
      });
      say();
      $("controls").append(this.labelled(name, input, output));
    }
    const seed = element("input", {
      type: "text",
      inputmode: "numeric",
      id: "seed",
      value: "1",
      "aria-describedby": "seed-help",
    });
    seed.addEventListener("input", () => {
      if (/^\d{1,18}$/.test(seed.value)) this.set("seed", seed.value);
    });
    $("controls").append(this.labelled("seed", seed, null));
  }

  labelled(name, input, output) {
    return element(
      "div",
      { class: "control" },
      element("label", { for: name, "data-t": name }),
      output,
      input,
      element("span", { class: "hint", id: `${name}-help`, "data-t": `${name}_help` }),
    );
  }

  set(name, value) {
    this.controls[name] = value;
    if (!this.writer) return;
    if (name === "seed") this.writer.reseed(value);
    else this.writer.controls[name] = value;
    this.show_choice();
  }

  /** Begin again with the prompt as it is. */
  start() {
    this.stop();
    const start = try_or_say(() => this.engine.start($("prompt").value), $("prompt-problem"));
    this.writer = start && new Engine.Writer(this.engine, start.ids, this.controls, start.first);
    this.speed = null;
    this.look_at_next();
    this.show();
    this.changed();
  }

  stop() {
    this.running = false;
  }

  /** Write `count` tokens on, in short turns so that the page stays responsive. */
  async run(count) {
    if (!this.writer || this.running) return;
    const writer = this.writer,
      began = performance.now();
    this.running = true;
    $("go").textContent = words("stop");
    let done = 0,
      bars = began;
    while (this.running && done < count && this.writer === writer) {
      const until = performance.now() + AT_ONCE;
      let choice;
      do {
        choice = writer.next();
        done++;
      } while (done < count && performance.now() < until);
      this.shown = { i: writer.tokens.length - 1, choice };
      this.speed = { n: done, speed: whole(Math.round((done / (performance.now() - began)) * 1000)) };
      this.show(performance.now() > bars + BARS_EVERY);
      if (performance.now() > bars + BARS_EVERY) bars = performance.now();
      await turn();
    }
    this.running = false;
    if (this.writer === writer) {
      this.text.current = this.text.ids.length - 1;
      this.show();
      this.changed();
    }
  }

  cut(length) {
    if (!this.writer || length < 0) return;
    this.stop();
    this.writer.cut(length);
    this.look_at_next();
    this.show();
    this.changed();
  }

  /** Put another token at the place that is shown, forget what came after it, and write on. */
  put(id) {
    this.stop();
    if (this.shown.i < 0) {
      $("prompt").value = this.engine.decode([...this.ids.slice(0, this.writer.prompt.length + this.shown.i), id]);
      this.start();
      return;
    }
    this.writer.cut(this.shown.i);
    this.writer.push(id);
    this.look(this.writer.prompt.length + this.shown.i);
    this.text.current = this.text.ids.length;
    this.show();
    this.changed();
  }

  // What is shown

  get ids() {
    return this.writer ? this.writer.ids : [];
  }

  /** Show how the token at position `at` of the text was chosen, or for one of the prompt, how it might have been. */
  look(at) {
    if (this.running) return;
    const i = at - this.writer.prompt.length,
      choice = this.writer.explain(i);
    if (choice) this.shown = { i, choice };
    this.show_choice(false);
  }

  look_at_next() {
    this.text.current = -1;
    this.shown = this.writer && {
      i: this.writer.tokens.length,
      choice: this.writer.explain(this.writer.tokens.length),
    };
  }

  show(with_bars = true) {
    const { writer } = this,
      prompt = writer ? writer.prompt.length : 0;
    $("go").textContent = words(this.running ? "stop" : "go");
    this.text.show(this.engine.tokenizer, this.ids, i =>
      i < prompt ? "given" : writer.tokens[i - prompt].forced ? "forced" : "",
    );
    if (this.running) $("output").scrollTop = $("output").scrollHeight;
    $("speed").textContent = this.speed ? words("speed", this.speed) : "\u00A0";
    if (with_bars) this.show_choice(false);
  }

  show_choice(again = true) {
    const { shown, writer } = this;
    if (!shown || !writer) return;
    if (again) shown.choice = writer.explain(shown.i);
    const { choice } = shown,
      label = id => token_label(this.engine.tokenizer, id);
    const written = writer.tokens[shown.i],
      given = shown.i < 0,
      token = given ? writer.ids[writer.prompt.length + shown.i] : written ? written.id : choice.token;
    $("choice-title").setAttribute("aria-live", this.running ? "off" : "polite");
    const title = given ? "choice_given" : written ? "choice_title" : "choice_next";
    $("choice-title").textContent = words(title, { n: shown.i + 1, token: label(token) });
    const chances = choice.stages.map(({ logits }) => Engine.softmax(logits)),
      final = chances[chances.length - 1];
    const rows = this.rows(chances, token).map(id => this.row(id, token, choice.stages, chances));
    $("bars").replaceChildren(this.head(choice.stages), element("tbody", {}, ...rows));
    this.show_interval(choice, final);
    const values = {
      token: label(token),
      other: label(choice.token),
      u: (choice.u ?? 0).toFixed(4),
      percent: percent(chances[0][token]),
      low: choice.low.toFixed(4),
      high: choice.high.toFixed(4),
    };
    const greedy = writer.controls.temperature === 0;
    const why = given ? "why_given" : written?.forced ? "why_forced" : greedy ? "why_greedy" : written ? "why_draw" : "why_next";
    $("why").textContent = words(why, values);
  }

  /** The ids to show: the likeliest of the model and of what is left, and the one that was taken. */
  rows(chances, token) {
    const last = chances[chances.length - 1],
      model = Engine.ranked(chances[0]).slice(0, ROWS);
    const left = Engine.ranked(last)
      .slice(0, ROWS)
      .filter(id => last[id] > 0);
    const ids = [...new Set([token, ...model.slice(0, ROWS / 2), ...left, ...model])].slice(0, ROWS);
    return ids.sort((a, b) => last[b] - last[a] || chances[0][b] - chances[0][a] || a - b);
  }

  head(stages) {
    return element(
      "thead",
      {},
      element(
        "tr",
        {},
        element("th", { scope: "col" }, words("token")),
        ...stages.map(({ name, value }) =>
          element(
            "th",
            { scope: "col" },
            words(name),
            element("small", {}, value === undefined ? "" : ` ${number(value)}`),
          ),
        ),
      ),
    );
  }

  row(id, token, stages, chances) {
    const label = token_label(this.engine.tokenizer, id);
    const button = element(
      "button",
      {
        type: "button",
        class: "put",
        "aria-label": words("put", { token: label, percent: percent(chances[0][id]) }),
        on: { click: () => this.put(id) },
      },
      element("bdi", {}, label),
    );
    const row = element(
      "tr",
      { class: id === token ? "taken" : "", "data-id": id },
      element("th", { scope: "row" }, button),
      ...stages.map(({ logits }, s) => {
        const bar = element("span", { class: `bar-${s === stages.length - 1 && s > 0 ? "after" : "before"}` });
        bar.style.width = `${100 * chances[s][id]}%`;
        const cut = logits[id] === -Infinity;
        const text = element("span", { class: "percent" }, cut ? words("cut_off") : percent(chances[s][id]));
        return element("td", {}, element("div", { class: cut ? "cell cut" : "cell" }, bar, text));
      }),
    );
    row.addEventListener("click", event => {
      if (!event.target.closest("button")) this.put(id);
    });
    return row;
  }

  /** The numbers from 0 to 1, shared out among the tokens, and where u fell. */
  show_interval(choice, final) {
    const parts = [],
      greedy = this.writer.controls.temperature === 0;
    let rest = 0;
    const add = (width, kind, text = "") => {
      const part = element("span", { class: kind }, text);
      part.style.width = `${100 * width}%`;
      parts.push(part);
    };
    final.forEach((p, id) => {
      if (p < 0.004 && id !== choice.token) {
        rest += p;
        return;
      }
      if (rest) add(rest, "rest");
      rest = 0;
      add(p, id === choice.token ? "taken" : "part", p > 0.06 ? token_label(this.engine.tokenizer, id) : "");
    });
    if (rest) add(rest, "rest");
    const mark = element("i");
    mark.style.left = `${100 * choice.u}%`;
    $("interval").replaceChildren(...parts, greedy || choice.u === null ? "" : mark);
  }
}

/** The browser's turn: what it has to do, it does before this comes back. (setTimeout would make it 4 ms at least.) */
function turn() {
  return new Promise(resolve => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(0);
  });
}

/** A few words of a line to begin with. */
function beginning(text) {
  const line = text.trimStart().split("\n")[0],
    cut = line.slice(0, 24);
  const space = cut.lastIndexOf(" ");
  return line.length <= 24 ? line : space > 8 ? cut.slice(0, space) : Array.from(line).slice(0, 8).join("");
}

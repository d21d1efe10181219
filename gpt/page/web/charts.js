/* Curves over steps as SVG: zoom by dragging, read off by pointing or with the arrow keys, as a table on demand. */
"use strict";

const CHART = { height: 250, left: 58, right: 26, top: 10, bottom: 30 };
const COLOURS = 8; // --line-0 to --line-7 in the style; every second is dashed, to be told apart without its hue

class Chart {
  /** `series`: [{ key or name, x, y, faint, colour }]; a null y is a gap. `log`: a logarithmic scale. */
  constructor(title, series, log = false) {
    Object.assign(this, { title, series: series.filter(({ x }) => x.length), log });
    this.log = log && this.series.every(({ y }) => y.every(value => value === null || value > 0));
    this.first = Math.min(...this.series.map(({ x }) => x[0]));
    this.last = Math.max(...this.series.map(({ x }) => x[x.length - 1]));
    if (this.first === this.last) [this.first, this.last] = [this.first - 1, this.last + 1];
    this.window = [this.first, this.last];
    this.at = null; // the step that is read off
    this.build();
    on_language(() => this.draw());
    new ResizeObserver(() => this.draw()).observe(this.frame);
  }

  build() {
    this.heading = element("h3");
    this.svg = drawing("svg", { tabindex: 0, role: "img" });
    this.legend = element("div", { class: "legend" });
    this.reset = element("button", {
      type: "button",
      class: "small",
      on: { click: () => this.zoom(this.first, this.last) },
    });
    this.table = element("table");
    this.summary = element("summary");
    this.details = element(
      "details",
      { on: { toggle: () => this.fill_table() } },
      this.summary,
      element("div", { class: "scroll" }, this.table),
    );
    this.frame = element("div", { class: "frame" }, this.svg);
    this.figure = element(
      "figure",
      { class: "chart" },
      element("div", { class: "bar" }, this.heading, this.reset),
      this.frame,
      this.legend,
      this.details,
    );
    this.svg.addEventListener("pointerdown", event => this.press(event));
    this.svg.addEventListener("pointermove", event => this.move(event));
    this.svg.addEventListener("pointerup", event => this.release(event));
    this.svg.addEventListener("pointerleave", () => {
      if (this.pressed === undefined) this.read(null);
    });
    this.svg.addEventListener("dblclick", () => this.zoom(this.first, this.last));
    this.svg.addEventListener("keydown", event => this.key(event));
  }

  name(series) {
    return series.key ? words(series.key) : series.name;
  }

  // Scales

  get width() {
    return Math.max(260, this.frame.clientWidth);
  }
  to_x(step) {
    const [from, to] = this.window;
    return CHART.left + ((step - from) / (to - from)) * (this.width - CHART.left - CHART.right);
  }
  to_step(x) {
    const [from, to] = this.window;
    return from + ((x - CHART.left) / (this.width - CHART.left - CHART.right)) * (to - from);
  }
  to_y(value) {
    const scale = v => (this.log ? Math.log10(v) : v),
      [low, high] = this.range.map(scale);
    return (
      CHART.height - CHART.bottom - ((scale(value) - low) / (high - low)) * (CHART.height - CHART.top - CHART.bottom)
    );
  }

  visible({ x, y }) {
    return y.filter((value, i) => value !== null && x[i] >= this.window[0] && x[i] <= this.window[1]);
  }

  set_range() {
    const values = this.series.flatMap(series => this.visible(series));
    let low = Math.min(...values),
      high = Math.max(...values);
    if (!values.length) [low, high] = this.log ? [1, 10] : [0, 1];
    if (this.log) {
      this.range = [low / 1.1, high * 1.1];
    } else {
      if (low > 0 && low < 0.6 * high) low = 0;
      const room = (high - low || Math.abs(high) || 1) * 0.05;
      this.range = [low === 0 ? 0 : low - room, high + room];
    }
  }

  // Drawing

  draw() {
    if (!this.series.length || !this.frame.isConnected) return;
    const { width, svg } = this,
      [from, to] = this.window;
    this.set_range();
    this.heading.textContent = words(this.title);
    this.reset.textContent = words("reset");
    this.reset.classList.toggle("hidden", from === this.first && to === this.last);
    this.summary.textContent = words("as_table");
    svg.setAttribute("viewBox", `0 0 ${width} ${CHART.height}`);
    svg.setAttribute(
      "aria-label",
      words("chart_help", { title: words(this.title), from: Math.round(from), to: Math.round(to) }),
    );
    const bottom = CHART.height - CHART.bottom,
      parts = [];
    const clip = `clip-${this.title}`;
    parts.push(
      drawing(
        "clipPath",
        { id: clip },
        drawing("rect", {
          x: CHART.left,
          y: 0,
          width: width - CHART.left - CHART.right,
          height: bottom + 1,
        }),
      ),
    );
    for (const value of this.log ? powers(...this.range) : round_values(...this.range, 5)) {
      const y = this.to_y(value);
      parts.push(drawing("line", { class: "grid", x1: CHART.left, x2: width - CHART.right, y1: y, y2: y }));
      parts.push(drawing("text", { class: "tick end", x: CHART.left - 6, y: y + 4 }, number(value)));
    }
    for (const step of round_values(from, to, Math.min(8, width / 90))) {
      parts.push(drawing("text", { class: "tick middle", x: this.to_x(step), y: bottom + 18 }, whole(step)));
    }
    const lines = drawing("g", { "clip-path": `url(#${clip})` });
    this.series.forEach((series, i) =>
      lines.append(drawing("path", { class: line_class(series, i), d: this.path(series) })),
    );
    this.cursor = drawing("line", { class: "cursor", y1: CHART.top, y2: bottom, x1: -9, x2: -9 });
    this.drag = drawing("rect", { class: "drag", y: CHART.top, height: bottom - CHART.top, x: -9, width: 0 });
    svg.replaceChildren(...parts, lines, this.drag, this.cursor);
    this.read(this.at);
    if (this.details.open) this.fill_table();
  }

  path({ x, y }) {
    let d = "",
      pen = "M";
    x.forEach((step, i) => {
      if (y[i] === null) {
        pen = "M";
        return;
      }
      d += `${pen}${this.to_x(step).toFixed(1)} ${this.to_y(y[i]).toFixed(1)}`;
      pen = "L";
    });
    return d;
  }

  /** The legend, with the values at a step if one is read off. */
  read(step) {
    this.at = step;
    const steps = this.series[0].x;
    const nearest = step === null ? null : steps.reduce((a, b) => (Math.abs(b - step) < Math.abs(a - step) ? b : a));
    this.cursor.setAttribute("x1", nearest === null ? -9 : this.to_x(nearest));
    this.cursor.setAttribute("x2", nearest === null ? -9 : this.to_x(nearest));
    this.legend.replaceChildren(
      element("span", { class: "at" }, nearest === null ? "" : `${words("step")} ${whole(nearest)}`),
      ...this.series.map((series, i) => {
        const value = nearest === null ? "" : ` ${number(value_at(series, nearest), 4)}`;
        const sample = drawing(
          "svg",
          { class: "sample", viewBox: "0 0 22 8", "aria-hidden": "true" },
          drawing("path", { class: line_class(series, i), d: "M0 4H22" }),
        );
        return element("span", {}, sample, this.name(series), element("b", {}, value));
      }),
    );
  }

  fill_table() {
    if (!this.details.open) return;
    const steps = thin(
      this.series.reduce((a, { x }) => (x.length > a.length ? x : a), []),
      40,
    );
    const row = (cell, values) => element("tr", {}, ...values.map(value => element(cell, {}, value)));
    this.table.replaceChildren(
      row("th", [words("step"), ...this.series.map(series => this.name(series))]),
      ...steps.map(step => row("td", [whole(step), ...this.series.map(series => number(value_at(series, step), 4))])),
    );
  }

  // Pointer and keyboard

  zoom(from, to) {
    const least = Math.max(2, (this.last - this.first) / 500);
    if (to - from < least) [from, to] = [(from + to - least) / 2, (from + to + least) / 2];
    this.window = [Math.max(this.first, from), Math.min(this.last, to)];
    this.draw();
  }

  position(event) {
    const box = this.svg.getBoundingClientRect();
    return ((event.clientX - box.left) / box.width) * this.width;
  }

  press(event) {
    if (event.pointerType === "mouse" && event.button === 0) this.pressed = this.position(event);
  }

  move(event) {
    const x = this.position(event);
    this.read(this.to_step(x));
    if (this.pressed === undefined) return;
    this.drag.setAttribute("x", Math.min(x, this.pressed));
    this.drag.setAttribute("width", Math.abs(x - this.pressed));
  }

  release(event) {
    const from = this.pressed,
      x = this.position(event);
    this.pressed = undefined;
    if (from === undefined) return;
    if (Math.abs(x - from) > 8) this.zoom(this.to_step(Math.min(x, from)), this.to_step(Math.max(x, from)));
    else this.drag.setAttribute("width", 0);
  }

  key(event) {
    const [from, to] = this.window,
      middle = this.at ?? (from + to) / 2,
      steps = this.series[0].x;
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      const right = event.key === "ArrowRight",
        now = this.at ?? (right ? from - 1 : to + 1);
      const next = right ? steps.find(step => step > now) : [...steps].reverse().find(step => step < now);
      if (next !== undefined) this.read(next);
    } else if (event.key === "+" || event.key === "=") {
      this.zoom(middle - (to - from) / 4, middle + (to - from) / 4);
    } else if (event.key === "-" || event.key === "−") {
      this.zoom(middle - (to - from), middle + (to - from));
    } else if (event.key === "0" || event.key === "Escape") {
      this.zoom(this.first, this.last);
    } else {
      return;
    }
    event.preventDefault();
  }
}

function value_at({ x, y }, step) {
  let nearest = 0;
  x.forEach((other, i) => {
    if (Math.abs(other - step) <= Math.abs(x[nearest] - step)) nearest = i;
  });
  return y[nearest];
}

/** Round numbers between two ends, about `count` of them. */
function round_values(from, to, count) {
  const rough = (to - from) / count,
    unit = 10 ** Math.floor(Math.log10(rough));
  const step = unit * [1, 2, 5, 10].find(factor => factor * unit >= rough),
    values = [];
  for (let value = Math.ceil(from / step); value * step <= to + step * 1e-9; value++)
    values.push(Number((value * step).toPrecision(12)));
  return values;
}

function powers(from, to) {
  const values = [];
  for (let e = Math.floor(Math.log10(from)); 10 ** e <= to; e++) {
    for (const factor of to / from < 100 ? [1, 2, 5] : [1])
      if (factor * 10 ** e >= from && factor * 10 ** e <= to) values.push(factor * 10 ** e);
  }
  return values.length > 1 ? values : round_values(from, to, 4);
}

function thin(items, most) {
  if (items.length <= most) return items;
  return Array.from({ length: most }, (_, i) => items[Math.round((i * (items.length - 1)) / (most - 1))]);
}

/** The class of the i-th line: its colour, or a faint grey for one that lies below the others. */
function line_class({ faint, colour }, i) {
  return `line ${faint ? "faint" : `line-${(colour ?? i) % COLOURS}`}`;
}

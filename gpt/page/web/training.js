/* The run: its curves, its samples from noise to stories, its diagnosis, its settings. */
"use strict";

function show_training(contents) {
  const { logged, layers, evaluated } = contents.curves;
  const losses = [...logged.loss, ...evaluated.val_loss, ...evaluated.train_loss].filter(loss => loss !== null);
  const falls_far = Math.max(...losses) > 3 * Math.min(...losses); // on an even axis its end would be a flat line
  const charts = [
    new Chart(
      "chart_loss",
      [
        { key: "batch_loss", x: logged.step, y: logged.loss, faint: true },
        { key: "val_loss", x: evaluated.step, y: evaluated.val_loss, colour: 1 },
        { key: "train_loss", x: evaluated.step, y: evaluated.train_loss, colour: 0 },
      ],
      falls_far,
    ),
    new Chart("chart_lr", [{ key: "lr", x: logged.step, y: logged.lr }]),
    new Chart("chart_norm", [{ key: "grad_norm", x: logged.step, y: logged.grad_norm }], true),
    new Chart(
      "chart_layers",
      Object.entries(layers).map(([name, y]) => ({ name, x: logged.step, y })),
      true,
    ),
  ];
  $("charts").append(...charts.filter(({ series }) => series.length).map(({ figure }) => figure));
  show_samples(contents.samples);
  on_language(() => show_diagnosis(contents));
  on_language(() => show_settings(contents.settings));
  $("command").textContent = contents.command;
}

function show_samples(samples) {
  on_language(() => {
    $("samples-hint").textContent = words(samples.length ? "samples_hint" : "samples_none");
  });
  if (!samples.length) return;
  const slider = element("input", {
    type: "range",
    id: "sample",
    min: 0,
    max: samples.length - 1,
    step: 1,
    value: samples.length - 1,
  });
  const output = element("output", { for: "sample" }),
    texts = element("div", { class: "sample-texts", "aria-live": "polite" });
  const most = Math.max(...samples.map(({ texts }) => texts.length));
  const show = () => {
    const { step, texts: now } = samples[Number(slider.value)];
    output.textContent = whole(step);
    texts.replaceChildren(
      ...Array.from({ length: most }, (_, i) => element("p", { class: "sample-text", dir: "auto" }, now[i] ?? "")),
    );
  };
  slider.addEventListener("input", show);
  $("samples").append(
    element(
      "div",
      { class: "control one" },
      element("label", { for: "sample", "data-t": "samples_step" }),
      output,
      slider,
    ),
    texts,
  );
  show();
}

function show_diagnosis({ findings, numbers, note }) {
  const place = $("diagnosis"),
    chinese = language === "zh";
  if (!findings) {
    place.replaceChildren(element("p", {}, words("diagnosis_none")));
    return;
  }
  const cards = findings.map(finding => {
    const { name, signs, change } = chinese ? finding.chinese : finding;
    return element(
      "div",
      { class: "finding" },
      element("h4", {}, name),
      element("p", {}, signs),
      element("p", {}, element("b", {}, words("diagnosis_change")), " ", change),
    );
  });
  if (!cards.length) cards.push(element("p", { class: "healthy" }, words("diagnosis_healthy")));
  const { text, names } = {
    text: chinese ? note.chinese : note.english,
    names: chinese ? numbers.chinese : numbers.english,
  };
  place.replaceChildren(
    ...cards,
    element("p", {}, text),
    element(
      "table",
      { class: "settings" },
      ...numbers.values.map((value, i) =>
        element("tr", {}, element("th", { scope: "row" }, names[i]), element("td", {}, number(value))),
      ),
    ),
  );
}

function show_settings(settings) {
  const row = (cell, values, kind = "") =>
    element("tr", { class: kind }, ...values.map(value => element(cell, {}, value)));
  $("settings").replaceChildren(
    row("th", [words("setting"), words("value"), words("meaning")]),
    ...settings.map(({ name, value, help, changed }) => row("td", [name, value, help], changed ? "changed" : "")),
  );
}

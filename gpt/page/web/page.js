/* The start of the page: language, theme, the engine, then one section after the other, the first one first. */
"use strict";

(() => {
  const chinese = (navigator.languages ?? [navigator.language])
    .find(code => /^(zh|en)/i.test(code))
    ?.toLowerCase()
    .startsWith("zh");
  for (const code of Object.keys(WORDS)) $(`lang-${code}`).addEventListener("click", () => set_language(code));

  const dark = () =>
    (document.documentElement.dataset.theme ??
      (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const name_theme = () => {
    $("theme").textContent = words(dark() ? "theme_light" : "theme_dark");
  };
  on_language(name_theme);

  const contents = JSON.parse($("contents").textContent);
  on_language(() => {
    const { n_layer, n_head, n_embd, block_size, vocab_size } = contents.model,
      loss = contents.val_loss;
    const facts = {
      parameters: whole(contents.n_parameters),
      layers: n_layer,
      heads: n_head,
      channels: n_embd,
      context: block_size,
      vocabulary: whole(vocab_size),
      kind: contents.tokenizer.kind,
      step: whole(contents.step),
      dtype: contents.dtype,
    };
    $("facts").textContent =
      `${words("facts", facts)} ${loss === null ? "" : words("facts_loss", { loss: number(loss, 4) })}`;
  });
  set_language(chinese ? "zh" : "en");

  const start = () => {
    const engine = new Engine(contents, $("weights").textContent);
    window.nanograd = {
      encode: text => engine.encode(text),
      decode: ids => engine.decode(ids),
      logits: ids => engine.logits(ids),
      gradients: (ids, targets) => engine.gradients(ids, targets),
      generate: (ids, options) => engine.generate(ids, options),
    };
    const inside = new Inside(engine);
    const later = () => {
      if (!writing.running) inside.take(writing.ids);
    };
    const writing = new Writing(engine, contents, () => setTimeout(later));
    const theme = () => {
      name_theme();
      inside.show();
    };
    $("theme").addEventListener("click", () => {
      document.documentElement.dataset.theme = dark() ? "light" : "dark";
      theme();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", theme);
    show_training(contents);
    new Pieces(engine, contents);
    const backprop = new Backprop(engine, contents);
    set_language(language);
    setTimeout(() => backprop.compute());
  };
  requestAnimationFrame(() =>
    setTimeout(() => {
      try {
        start();
      } catch (error) {
        $("broken").textContent = words("broken", { problem: error.message });
        $("broken").hidden = false;
        throw error;
      }
    }),
  );
})();

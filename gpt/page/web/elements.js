/* Making elements, showing tokens and numbers, and the language: what the sections of the page share. */
"use strict";

const $ = id => document.getElementById(id);

/** An element with attributes and children; texts are always text, whatever stands in them. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, handler] of Object.entries(value)) made.addEventListener(event, handler);
    else if (name === "class") made.className = value;
    else if (value !== null && value !== undefined && value !== false)
      made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter(child => child !== null));
  return made;
}

function drawing(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// ------------------------------------------------------------------------------------------------------- language

let language = "en";
const translated = []; // functions that write their part of the page again

function words(key, values = {}) {
  const text = WORDS[language][key] ?? WORDS.en[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

function on_language(write) {
  translated.push(write);
}

function set_language(code) {
  language = code;
  document.documentElement.lang = code === "zh" ? "zh-Hans" : "en";
  for (const place of document.querySelectorAll("[data-t]")) place.textContent = words(place.dataset.t);
  for (const place of document.querySelectorAll("[data-label]"))
    place.setAttribute("aria-label", words(place.dataset.label));
  for (const code of Object.keys(WORDS)) $(`lang-${code}`).setAttribute("aria-pressed", String(code === language));
  for (const write of translated) write();
}

// -------------------------------------------------------------------------------------------------------- numbers

function number(value, digits = 3) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value !== 0 && (Math.abs(value) < 1e-4 || Math.abs(value) >= 1e6))
    return value.toExponential(digits - 1).replace("-", "−");
  return String(Number(value.toPrecision(digits))).replace("-", "−");
}

const percent = p =>
  p >= 0.9995
    ? "100%"
    : p >= 0.0995
      ? `${(100 * p).toFixed(0)}%`
      : p >= 0.00095
        ? `${(100 * p).toFixed(1)}%`
        : p > 0
          ? "<0.1%"
          : "0%";
const whole = value => value.toLocaleString("en-US");

// --------------------------------------------------------------------------------------------------------- tokens

const SIGNS = { " ": "␣", "\n": "⏎", "\t": "⇥" };

/** How a token is shown by itself: on one line, nothing invisible; bytes that are no character as <E4>. */
function token_label(tokenizer, id) {
  const bytes = tokenizer.token_bytes(id),
    text = Engine.from_utf8(bytes);
  if (!bytes.length) return "<unk>";
  if (text.includes("\uFFFD"))
    return Array.from(bytes, byte => (byte < 0x80 ? sign(String.fromCharCode(byte)) : `<${hex(byte, 2)}>`)).join("");
  return Array.from(text, sign).join("");
}

const hex = (code, digits) => code.toString(16).toUpperCase().padStart(digits, "0");

function sign(character) {
  if (character in SIGNS) return SIGNS[character];
  if (/[\p{C}\p{Z}]/u.test(character)) return `<U+${hex(character.codePointAt(0), 4)}>`;
  return /\p{Mn}/u.test(character) ? `◌${character}` : character;
}

/** What each token adds to a running text. A character in several tokens stands at its last; the others show a dot. */
function texts_of(tokenizer, ids) {
  let pending = [];
  return ids.map((id, i) => {
    pending.push(...tokenizer.token_bytes(id));
    let end = pending.length;
    if (i + 1 < ids.length) {
      let lead = end - 1;
      while (lead > end - 4 && lead > 0 && (pending[lead] & 0xc0) === 0x80) lead--;
      const length = pending[lead] >= 0xf0 ? 4 : pending[lead] >= 0xe0 ? 3 : pending[lead] >= 0xc0 ? 2 : 1;
      if (lead >= 0 && length > end - lead) end = lead;
    }
    const text = Engine.from_utf8(pending.slice(0, end));
    pending = pending.slice(end);
    return text || "·";
  });
}

/**
 * Tokens as a running text of buttons, one of which is current: one stop of the Tab key, arrows go on from there.
 * `choose(i)` is called when one is pointed at, reached or clicked.
 */
class TokenText {
  constructor(place, choose) {
    Object.assign(this, { place, choose, ids: [], current: -1 });
    place.addEventListener("keydown", event => this.key(event));
    for (const name of ["pointerover", "focusin", "click"]) {
      place.addEventListener(name, event => {
        const i = this.index(event.target);
        if (i !== null && (i !== this.current || name === "click")) this.go(i, false);
      });
    }
  }

  index(target) {
    return target.dataset?.i === undefined ? null : Number(target.dataset.i);
  }

  /** Show these ids; `kind(i)` is a class for token i. Elements that stay the same are kept. */
  show(tokenizer, ids, kind = () => "") {
    const texts = texts_of(tokenizer, ids),
      { children } = this.place;
    while (children.length > ids.length) this.place.lastChild.remove();
    texts.forEach((text, i) => {
      const shown = text.replaceAll("\n", "⏎\n");
      if (!children[i]) this.place.append(element("span", { role: "button", "data-i": i, tabindex: -1 }));
      if (children[i].textContent !== shown) children[i].textContent = shown;
      children[i].className = `token ${kind(i)} ${text === "·" ? "part" : ""}`;
    });
    this.ids = ids;
    if (this.current >= ids.length) this.current = ids.length - 1;
    this.mark();
  }

  mark() {
    const { children } = this.place;
    for (let i = 0; i < children.length; i++) {
      const current = i === this.current || (this.current < 0 && i === 0);
      if (children[i].tabIndex !== (current ? 0 : -1)) children[i].tabIndex = current ? 0 : -1;
      children[i].classList.toggle("current", i === this.current);
    }
  }

  /** A background for token i: a colour of the style by name, and how much of it, 0 to 1. */
  shade(i, colour, amount) {
    const share = `${Math.round(85 * Math.min(1, Math.max(0, amount)))}%`;
    this.place.children[i].style.backgroundColor =
      amount > 0 ? `color-mix(in srgb, var(--${colour}) ${share}, transparent)` : "";
  }

  go(i, focus = true) {
    this.current = i;
    this.mark();
    if (focus) this.place.children[i].focus();
    this.choose(i);
  }

  key(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 10, ArrowUp: -10, Home: -1e9, End: 1e9 }[event.key];
    if (step === undefined || !this.ids.length) return;
    event.preventDefault();
    const i = Math.min(this.ids.length - 1, Math.max(0, Math.max(this.current, 0) + step));
    this.go(i);
  }
}

/** What encode() makes of a text; what is wrong with that is said at `place`, and null comes back. */
function try_or_say(encode, place) {
  place.textContent = "";
  try {
    return encode();
  } catch (error) {
    place.textContent =
      error.character === undefined
        ? words("problem_text", { problem: error.message })
        : words("problem_character", {
            character: `${sign(error.character)} (U+${hex(error.character.codePointAt(0), 4)})`,
          });
    return null;
  }
}

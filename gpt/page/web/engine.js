/*
 * The GPT of a run in plain JavaScript: forward with a KV cache, backward by hand, both tokenizers, sampling.
 *
 * It computes what gpt/model.py and nanograd/layers/ compute, under the same names: a reader of the Python finds
 * Linear, LayerNorm, CausalSelfAttention and the rest here again, with `backward` under `forward`. The derivations
 * stand in the Python files. Parameters have GPT-2's names and layout, (in, out), used as x W.
 *
 *   B batch (always 1 here)    T positions    C channels    H heads    K heads of keys and values    D channels of one
 *   head, C / H    V vocabulary    n rows of this call: T of a whole text, 1 of a token that is added to it
 *
 * An array (n, C) is one Float32Array, row after row. Sums are added up in float64, JavaScript's only number.
 * Gradients: parameters +=, activations =. A layer keeps what its backward needs from the last forward.
 *
 *   const engine = new Engine(contents)      // what gpt/page/contents.py writes, weights included
 *   engine.encode(text)  decode(ids)  logits(ids)  gradients(ids, targets)  generate(ids, options)
 */
"use strict";

const Engine = (() => {

// ---------------------------------------------------------------------------------------------- bytes and numbers

/** The bytes of a base64 text. */
function from_base64(text) {
  const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", value = new Uint8Array(128);
  for (let i = 0; i < 64; i++) value[digits.charCodeAt(i)] = i;
  const bytes = new Uint8Array(text.length / 4 * 3);  // with a zero for each sign of padding
  for (let i = 0, at = 0; i < text.length; i += 4) {
    const four = value[text.charCodeAt(i)] << 18 | value[text.charCodeAt(i + 1)] << 12
      | value[text.charCodeAt(i + 2)] << 6 | value[text.charCodeAt(i + 3)];
    bytes[at++] = four >> 16;
    bytes[at++] = four >> 8;
    bytes[at++] = four;
  }
  return bytes;
}

/** Half precision: sign, 5 bits of exponent, 10 of fraction. Of each there are 65536, looked up in a table. */
function from_float16(halves, table) {  // Uint16Array -> Float32Array
  const values = new Float32Array(halves.length);
  for (let i = 0; i < values.length; i++) values[i] = table[halves[i]];
  return values;
}

const every_float16 = () => Float32Array.from({ length: 65536 }, (_, half) => {
  const sign = half >> 15 ? -1 : 1, exponent = half >> 10 & 31, fraction = half & 1023;
  return sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24);
});

function to_utf8(text) {
  const bytes = [];
  for (const character of text) {
    const code = character.codePointAt(0);
    if (code < 0x80) bytes.push(code);
    else if (code < 0x800) bytes.push(0xC0 | code >> 6, 0x80 | code & 63);
    else if (code < 0x10000) bytes.push(0xE0 | code >> 12, 0x80 | code >> 6 & 63, 0x80 | code & 63);
    else bytes.push(0xF0 | code >> 18, 0x80 | code >> 12 & 63, 0x80 | code >> 6 & 63, 0x80 | code & 63);
  }
  return bytes;
}

/** The text of some bytes; every longest beginning of a character that does not go on becomes U+FFFD, as in Python. */
function from_utf8(bytes) {
  const parts = [];
  for (let i = 0; i < bytes.length;) {
    const first = bytes[i++];
    let more = first < 0x80 ? 0 : first < 0xC2 ? -1 : first < 0xE0 ? 1 : first < 0xF0 ? 2 : first < 0xF5 ? 3 : -1;
    let code = more === 0 ? first : first & (0x3F >> more);
    let low = first === 0xE0 ? 0xA0 : first === 0xF0 ? 0x90 : 0x80;  // no character has two spellings,
    let high = first === 0xED ? 0x9F : first === 0xF4 ? 0x8F : 0xBF;  // and surrogates are none
    for (; more > 0 && bytes[i] >= low && bytes[i] <= high; more--, low = 0x80, high = 0xBF) {
      code = code << 6 | bytes[i++] & 0x3F;
    }
    parts.push(more === 0 ? String.fromCodePoint(code) : "\uFFFD");
  }
  return parts.join("");
}

// ------------------------------------------------------------------------------------------------------ tokenizers

/** A table of byte strings (tokenizers/base.py): decoding adds them up, whatever the kind. */
class Tokenizer {
  constructor(table) {
    this.table = table;
    this.vocab_size = table.length;
  }

  token_bytes(id) {
    if (!(Number.isInteger(id) && id >= 0 && id < this.vocab_size)) throw new RangeError(`no token has the id ${id}`);
    return this.table[id];
  }

  decode(ids) {
    const bytes = [];
    for (const id of ids) for (const byte of this.token_bytes(id)) bytes.push(byte);
    return from_utf8(bytes);
  }
}

/** The characters of a text (its code points). A lone surrogate is half of one, and refused. */
function characters_of(text) {
  const characters = Array.from(String(text));
  const lone = characters.findIndex(c => c.length === 1 && c >= "\uD800" && c <= "\uDFFF");
  if (lone >= 0) throw new RangeError(`the text holds a lone surrogate at position ${lone}`);
  return characters;
}

/** One id a character (tokenizers/char.py). */
class CharTokenizer extends Tokenizer {
  constructor({ characters }) {
    const alphabet = Array.from(characters);
    super(alphabet.map(to_utf8));
    this.ids = new Map(alphabet.map((character, id) => [character, id]));
  }

  encode(text) {
    return characters_of(text).map(character => {
      if (!this.ids.has(character)) {
        const error = new RangeError(`this char tokenizer does not know the character ${JSON.stringify(character)}`);
        error.character = character;
        throw error;
      }
      return this.ids.get(character);
    });
  }
}

const SPACE_SIGN = "\u2581", SLICE = 2000;

/** sentencepiece's BPE with byte fallback (tokenizers/bpe.py): id 0 is unknown, 1 to 256 the bytes, then pieces. */
class BPETokenizer extends Tokenizer {
  constructor({ pieces, scores }) {
    const table = [[]];
    for (let byte = 0; byte < 256; byte++) table.push([byte]);
    super(table.concat(pieces.map(piece => to_utf8(piece.replaceAll(SPACE_SIGN, " ")))));
    this.ids = new Map(pieces.map((piece, i) => [piece, 257 + i]));
    this.scores = new Map(pieces.map((piece, i) => [piece, scores[i]]));
  }

  encode(text) {
    const ids = [], characters = characters_of(text);
    for (let start = 0; start <= characters.length;) {
      let end = characters.indexOf(SPACE_SIGN, start);  // a real one, which sentencepiece would take for a space
      if (end < 0) end = characters.length;
      for (const slice of slices(characters.slice(start, end))) ids.push(...this.encode_slice(slice));
      if (end < characters.length) for (const byte of to_utf8(SPACE_SIGN)) ids.push(1 + byte);
      start = end + 1;
    }
    return ids;
  }

  /** Join the pair of neighbours whose piece has the highest score, the leftmost of equals, until none has one. */
  encode_slice(characters) {
    const symbols = characters.map(character => character === " " ? SPACE_SIGN : character);
    const score = i => i + 1 < symbols.length ? this.scores.get(symbols[i] + symbols[i + 1]) ?? -Infinity : -Infinity;
    const scores = symbols.map((_, i) => score(i));  // of each symbol with the one behind it
    for (;;) {
      let best = -1, highest = -Infinity;
      for (let i = 0; i < scores.length; i++) if (scores[i] > highest) [best, highest] = [i, scores[i]];
      if (best < 0) break;
      symbols.splice(best, 2, symbols[best] + symbols[best + 1]);
      scores.splice(best, 1);
      scores[best] = score(best);
      if (best > 0) scores[best - 1] = score(best - 1);
    }
    return symbols.flatMap(symbol => this.ids.get(symbol) ?? to_utf8(symbol).map(byte => 1 + byte));
  }
}

/** A text in slices of at most SLICE characters, cut behind a line end or before a space if there is one. */
function* slices(characters) {
  let start = 0;
  while (characters.length - start > SLICE) {
    let end = start + SLICE;
    const last = sign => {
      const at = characters.lastIndexOf(sign, end - 1);
      return at < start ? -1 : at;
    };
    const at = last("\n") + 1 || last(" ");
    if (at > start) end = at;
    yield characters.slice(start, end);
    start = end;
  }
  if (start < characters.length) yield characters.slice(start);
}

// --------------------------------------------------------------------------------------------------------- products
// What takes the time. Four rows or four weights at once: each number that is loaded is used more than once.

let simd = null;  // a faster product, best of weights that lie in its memory, where web/simd.js could be used

/** y = x W; of it only the columns from `first` to before `last`. */
function product(x, w, n_in, n_out, first = 0, last = n_out) {  // (n, in), (in, out) -> (n, out)
  return simd?.product(x, w, n_in, n_out, first, last) ?? plain_product(x, w, n_in, n_out, first, last);
}

function plain_product(x, w, n_in, n_out, first, last) {
  const n = x.length / n_in, y = new Float32Array(n * n_out);
  let r = 0;
  for (; r + 3 < n; r += 4) {
    const a = r * n_in, b = a + n_in, c = b + n_in, d = c + n_in;
    for (let j = first; j < last; j += 2) {  // where `last` is odd, the column behind it is computed and dropped
      let a0 = 0, a1 = 0, b0 = 0, b1 = 0, c0 = 0, c1 = 0, d0 = 0, d1 = 0;
      for (let i = 0, at = j; i < n_in; i++, at += n_out) {
        const w0 = w[at], w1 = w[at + 1], xa = x[a + i], xb = x[b + i], xc = x[c + i], xd = x[d + i];
        a0 += xa * w0; b0 += xb * w0; c0 += xc * w0; d0 += xd * w0;
        a1 += xa * w1; b1 += xb * w1; c1 += xc * w1; d1 += xd * w1;
      }
      const to = r * n_out + j;
      y[to] = a0; y[to + n_out] = b0; y[to + 2 * n_out] = c0; y[to + 3 * n_out] = d0;
      if (j + 1 === last) continue;
      y[to + 1] = a1; y[to + n_out + 1] = b1; y[to + 2 * n_out + 1] = c1; y[to + 3 * n_out + 1] = d1;
    }
  }
  for (; r < n; r++) {
    const sums = new Float64Array(n_out);
    for (let i = 0; i < n_in; i++) {
      const xi = x[r * n_in + i];
      if (xi !== 0) for (let j = first, at = i * n_out + first; j < last; j++, at++) sums[j] += xi * w[at];
    }
    y.set(sums, r * n_out);
  }
  return y;
}

/** y = x W^T. */
function product_transposed(x, w, n_in, n_out) {  // (n, in), (out, in) -> (n, out)
  const n = x.length / n_in, y = new Float32Array(n * n_out);
  for (let j = 0; j < n_out; j++) {
    const at = j * n_in;
    let r = 0;
    for (; r + 3 < n; r += 4) {
      const a = r * n_in, b = a + n_in, c = b + n_in, d = c + n_in;
      let ya = 0, yb = 0, yc = 0, yd = 0;
      for (let i = 0; i < n_in; i++) {
        const wi = w[at + i];
        ya += x[a + i] * wi; yb += x[b + i] * wi; yc += x[c + i] * wi; yd += x[d + i] * wi;
      }
      y[r * n_out + j] = ya; y[(r + 1) * n_out + j] = yb; y[(r + 2) * n_out + j] = yc; y[(r + 3) * n_out + j] = yd;
    }
    for (; r < n; r++) y[r * n_out + j] = dot(x, r * n_in, w, at, n_in);
  }
  return y;
}

/** total += a^T b. */
function add_product(total, a, b, rows, columns) {  // (rows, columns), (n, rows), (n, columns)
  const n = a.length / rows;
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      let sum = 0;
      for (let r = 0; r < n; r++) sum += a[r * rows + i] * b[r * columns + j];
      total[i * columns + j] += sum;
    }
  }
}

function dot(a, at, b, bt, length) {
  let sum = 0, second = 0, third = 0, fourth = 0, i = 0;  // four sums, none of which waits for another
  for (; i + 3 < length; i += 4) {
    sum += a[at + i] * b[bt + i];
    second += a[at + i + 1] * b[bt + i + 1];
    third += a[at + i + 2] * b[bt + i + 2];
    fourth += a[at + i + 3] * b[bt + i + 3];
  }
  for (; i < length; i++) sum += a[at + i] * b[bt + i];
  return sum + second + third + fourth;
}

/** make(i) for every i of an array like x. */
function elementwise(x, make) {
  const y = new Float32Array(x.length);
  for (let i = 0; i < y.length; i++) y[i] = make(i);
  return y;
}

const plus = (a, b) => elementwise(a, i => a[i] + b[i]);
const last_row = (x, width) => x.subarray(x.length - width);

// ----------------------------------------------------------------------------------------------------------- layers

/** x W + b. */
class Linear {
  constructor({ weight, bias }) {  // (in, out), (out,) or nothing
    Object.assign(this, { weight, bias, n_in: weight.shape[0], n_out: weight.shape[1] });
  }

  forward(x, first, last) {  // (n, in) -> (n, out)
    const { n_out, bias } = this, y = product(x, this.weight.value, this.n_in, n_out, first, last);
    if (bias) for (let r = 0; r < y.length; r += n_out) for (let j = 0; j < n_out; j++) y[r + j] += bias.value[j];
    this.x = x;
    return y;
  }

  backward(dy) {  // (n, out) -> (n, in)
    const { n_in, n_out, weight, bias } = this;
    add_product(weight.grad, this.x, dy, n_in, n_out);
    if (bias) for (let r = 0; r < dy.length; r += n_out) for (let j = 0; j < n_out; j++) bias.grad[j] += dy[r + j];
    return product_transposed(dy, weight.value, n_out, n_in);
  }
}

/** Zero mean and unit variance at each position, then a scale and a shift. */
class LayerNorm {
  constructor({ weight, bias }, eps) {  // (C,), (C,) or nothing
    Object.assign(this, { weight, bias, eps, C: weight.shape[0] });
  }

  forward(x) {  // (n, C) -> (n, C)
    const { C, eps, weight, bias } = this, y = new Float32Array(x.length);
    this.xhat = new Float32Array(x.length);
    this.rstd = new Float64Array(x.length / C);
    for (let r = 0; r < this.rstd.length; r++) {
      let mean = 0, variance = 0;
      for (let i = 0; i < C; i++) mean += x[r * C + i] / C;
      for (let i = 0; i < C; i++) variance += (x[r * C + i] - mean) ** 2 / C;
      const rstd = this.rstd[r] = 1 / Math.sqrt(variance + eps);
      for (let i = 0; i < C; i++) {
        const xhat = this.xhat[r * C + i] = (x[r * C + i] - mean) * rstd;
        y[r * C + i] = xhat * weight.value[i] + (bias ? bias.value[i] : 0);
      }
    }
    return y;
  }

  backward(dy) {  // (n, C) -> (n, C)
    const { C, weight, bias, xhat, rstd } = this, dx = new Float32Array(dy.length);
    for (let r = 0; r < rstd.length; r++) {
      let shift = 0, stretch = 0;  // mean(g) and mean(g * xhat), where g = dy * weight
      for (let i = 0, at = r * C; i < C; i++, at++) {
        weight.grad[i] += dy[at] * xhat[at];
        if (bias) bias.grad[i] += dy[at];
        shift += dy[at] * weight.value[i] / C;
        stretch += dy[at] * weight.value[i] * xhat[at] / C;
      }
      for (let i = 0, at = r * C; i < C; i++, at++) {
        dx[at] = rstd[r] * (dy[at] * weight.value[i] - shift - xhat[at] * stretch);
      }
    }
    return dx;
  }
}

/** Unit mean square at each position (or in each head, C = D), then a scale, unless there is no weight. */
class RMSNorm {
  constructor({ weight }, eps, C = weight.shape[0]) {  // (C,) or nothing
    Object.assign(this, { weight, eps, C });
  }

  forward(x) {  // (n, C) -> (n, C)
    const { C, eps, weight } = this, y = new Float32Array(x.length);
    this.xhat = new Float32Array(x.length);
    this.rrms = new Float64Array(x.length / C);
    for (let r = 0; r < this.rrms.length; r++) {
      const rrms = this.rrms[r] = 1 / Math.sqrt(dot(x, r * C, x, r * C, C) / C + eps);
      for (let i = 0, at = r * C; i < C; i++, at++) {
        this.xhat[at] = x[at] * rrms;
        y[at] = this.xhat[at] * (weight ? weight.value[i] : 1);
      }
    }
    return y;
  }

  backward(dy) {  // (n, C) -> (n, C)
    const { C, weight, xhat, rrms } = this, dx = new Float32Array(dy.length);
    for (let r = 0; r < rrms.length; r++) {
      let stretch = 0;  // mean(g * xhat), where g = dy * weight
      for (let i = 0, at = r * C; i < C; i++, at++) {
        if (weight) weight.grad[i] += dy[at] * xhat[at];
        stretch += dy[at] * (weight ? weight.value[i] : 1) * xhat[at] / C;
      }
      for (let i = 0, at = r * C; i < C; i++, at++) {
        dx[at] = rrms[r] * (dy[at] * (weight ? weight.value[i] : 1) - xhat[at] * stretch);
      }
    }
    return dx;
  }
}

/** The activations and their slopes, element by element. */
const SQRT_2_OVER_PI = Math.sqrt(2 / Math.PI), CUBIC = 0.044715;
const sigmoid = x => 1 / (1 + Math.exp(-x));
const ACTIVATIONS = {
  relu: [x => Math.max(x, 0), x => x > 0 ? 1 : 0],
  relu2: [x => Math.max(x, 0) ** 2, x => 2 * Math.max(x, 0)],
  silu: [x => x * sigmoid(x), x => sigmoid(x) * (1 + x * (1 - sigmoid(x)))],
  gelu: [
    x => x / 2 * (1 + Math.tanh(SQRT_2_OVER_PI * (x + CUBIC * x ** 3))),
    x => {
      const t = Math.tanh(SQRT_2_OVER_PI * (x + CUBIC * x ** 3));
      return (1 + t) / 2 * (1 + (1 - t) * x * SQRT_2_OVER_PI * (1 + 3 * CUBIC * x * x));
    },
  ],
};

/** Widen, activation, narrow. SwiGLU has a second matrix: silu(x W_gate) * (x W_fc). */
class MLP {
  constructor(parameters, activation) {
    this.c_fc = new Linear(parameters.under("c_fc"));
    this.c_gate = activation === "swiglu" ? new Linear(parameters.under("c_gate")) : null;
    this.c_proj = new Linear(parameters.under("c_proj"));
    [this.activation, this.slope] = ACTIVATIONS[activation === "swiglu" ? "silu" : activation];
  }

  forward(x) {  // (n, C) -> (n, C)
    const { activation } = this;
    this.hidden = this.c_fc.forward(x);  // (n, n_inner)
    this.gate = this.c_gate ? this.c_gate.forward(x) : null;
    const { hidden, gate } = this, active = new Float32Array(hidden.length);
    for (let i = 0; i < active.length; i++) {
      active[i] = gate ? hidden[i] * activation(gate[i]) : activation(hidden[i]);
    }
    return this.c_proj.forward(active);
  }

  backward(dy) {  // (n, C) -> (n, C)
    const { activation, slope, hidden, gate } = this, d = this.c_proj.backward(dy);  // (n, n_inner)
    if (!gate) return this.c_fc.backward(elementwise(d, i => d[i] * slope(hidden[i])));
    const dgate = elementwise(d, i => d[i] * hidden[i] * slope(gate[i]));
    return plus(this.c_gate.backward(dgate), this.c_fc.backward(elementwise(d, i => d[i] * activation(gate[i]))));
  }
}

/** RoPE's angles per position, one for each pair of a head's channels, with its scalings for longer contexts. */
function rope_frequencies(D, config) {  // -> (D/2,)
  const { rope_theta, rope_scaling, rope_factor, rope_low_freq_factor: low, rope_high_freq_factor: high } = config;
  return Float64Array.from({ length: D / 2 }, (_, i) => {
    const f = rope_theta ** (-2 * i / D);
    if (rope_scaling === "linear") return f / rope_factor;
    if (rope_scaling !== "llama3") return f;
    const r = (config.rope_original_context * f / (2 * Math.PI) - low) / (high - low);
    const kept = Math.min(1, Math.max(0, r));
    return ((1 - kept) / rope_factor + kept) * f;
  });
}

/** Turns channels i and i + D/2 of each head by position * frequencies[i], in place; with `back`, by minus that. */
function rotate(x, position, frequencies, back = false) {  // heads of one position, each (D,)
  const half = frequencies.length;
  for (let i = 0; i < half; i++) {
    const angle = position * frequencies[i], cos = Math.cos(angle), sin = back ? -Math.sin(angle) : Math.sin(angle);
    for (let a = i; a < x.length; a += 2 * half) {
      const xa = x[a], xb = x[a + half];
      x[a] = xa * cos - xb * sin;
      x[a + half] = xb * cos + xa * sin;
    }
  }
}

/** The keys and values of the last `size` positions: in a full cache a new one takes the place of the oldest. */
class Cache {
  constructor(size, width) {  // width: K D
    Object.assign(this, { size, width, k: new Float32Array(size * width), v: new Float32Array(size * width) });
    this.length = 0;  // positions so far
  }

  append(k, v) {  // (K D,)
    const at = this.length++ % this.size * this.width;
    this.k.set(k, at);
    this.v.set(v, at);
  }
}

/** Each position gathers values from itself and those before it; H / K heads of queries share keys and values. */
class CausalSelfAttention {
  constructor(parameters, config) {
    const { n_embd, n_head, n_kv_head, head_dim, position, qk_norm, norm_eps } = config;
    const H = n_head, K = n_kv_head ?? H, D = head_dim ?? n_embd / H;
    Object.assign(this, { C: n_embd, H, K, D, HD: H * D, KD: K * D });
    this.frequencies = position === "rope" ? rope_frequencies(D, config) : null;
    this.c_attn = new Linear(parameters.under("c_attn"));  // (C, (H + 2 K) D): q, then k, then v
    this.c_proj = new Linear(parameters.under("c_proj"));  // (H D, C)
    const normed = qk_norm === "rms" || qk_norm === "rms_weight";
    this.q_norm = normed ? new RMSNorm(parameters.under("q_norm"), norm_eps, D) : null;
    this.k_norm = normed ? new RMSNorm(parameters.under("k_norm"), norm_eps, D) : null;
  }

  /** The rows' columns from `first` on, `width` of them, as an array of its own. */
  columns(x, first, width) {  // (n, all) -> (n, width)
    const all = this.c_attn.n_out, part = new Float32Array(x.length / all * width);
    for (let r = 0; r * all < x.length; r++) part.set(x.subarray(r * all + first, r * all + first + width), r * width);
    return part;
  }

  /** The rows that follow those in `cache`, which takes up theirs. With `only_last`, the last row of the result. */
  forward(x, cache, only_last = false) {  // (n, C) -> (n, C) or (1, C)
    const { C, HD, KD, frequencies } = this, n = x.length / C, start = cache.length;
    const queries = only_last ? n - 1 : 0;  // the first row that asks
    const qkv = only_last ? this.c_attn.forward(x, HD, HD + 2 * KD) : this.c_attn.forward(x);
    let q = this.columns(only_last ? this.c_attn.forward(last_row(x, C), 0, HD) : qkv, 0, HD);
    let k = this.columns(qkv, HD, KD);
    const v = this.columns(qkv, HD + KD, KD);
    if (this.q_norm) [q, k] = [this.q_norm.forward(q), this.k_norm.forward(k)];
    if (frequencies) {
      for (let t = 0; t < n; t++) rotate(k.subarray(t * KD, (t + 1) * KD), start + t, frequencies);
      for (let t = queries, at = 0; t < n; t++, at += HD) rotate(q.subarray(at, at + HD), start + t, frequencies);
    }
    const o = new Float32Array(q.length);  // (n, H D)
    this.P = [];  // of each row, (H, keys)
    const whole = start === 0 && queries === 0 && n > 1 && n <= cache.size;
    if (whole) this.P = this.gather_all(q, k, v, o);
    for (let t = 0; t < n; t++) {
      cache.append(k.subarray(t * KD, (t + 1) * KD), v.subarray(t * KD, (t + 1) * KD));
      if (t >= queries && !whole) this.P.push(this.gather(q, cache, o, (t - queries) * HD));
    }
    Object.assign(this, { q, cache, o });
    return this.c_proj.forward(o);
  }

  /** One position's weights (H, keys), from the oldest kept key on; the values they gather go to o. */
  gather(q, cache, o, at) {
    const { H, K, D, KD } = this, keys = Math.min(cache.length, cache.size), oldest = cache.length - keys;
    const P = new Float32Array(H * keys), sums = new Float64Array(D);
    const s = 1 / Math.sqrt(D), { k, v } = cache, end = cache.size * KD;
    for (let h = 0; h < H; h++) {
      const shared = Math.floor(h * K / H) * D, from = at + h * D, first = oldest % cache.size * KD + shared;
      let largest = -Infinity, z = 0;
      for (let j = 0, row = first; j < keys; j++, row += KD) {
        if (row >= end) row -= end;
        const score = P[h * keys + j] = s * dot(q, from, k, row, D);
        if (score > largest) largest = score;
      }
      for (let j = 0; j < keys; j++) z += P[h * keys + j] = Math.exp(P[h * keys + j] - largest);
      sums.fill(0);
      for (let j = 0, row = first; j < keys; j++, row += KD) {
        if (row >= end) row -= end;
        const p = P[h * keys + j] /= z;
        for (let d = 0; d < D; d++) sums[d] += p * v[row + d];
      }
      o.set(sums, from);
    }
    return P;
  }

  /** The same for all positions of a text at once, head by head, as two products: S = q k^T and o = P v. */
  gather_all(q, k, v, o) {  // (n, H D), (n, K D) twice -> of each row, (H, keys)
    const { H, K, D, HD, KD } = this, s = 1 / Math.sqrt(D), n = q.length / HD, m = Math.ceil(n / 8) * 8;  // keys
    const P = Array.from({ length: n }, (_, t) => new Float32Array(H * (t + 1)));
    const qh = new Float32Array(n * D), kh = new Float32Array(D * m), vh = new Float32Array(m * D);  // kh is transposed
    for (let h = 0; h < H; h++) {
      const shared = Math.floor(h * K / H) * D;
      for (let t = 0; t < n; t++) {
        for (let d = 0; d < D; d++) {
          qh[t * D + d] = s * q[t * HD + h * D + d];
          kh[d * m + t] = k[t * KD + shared + d];
          vh[t * D + d] = v[t * KD + shared + d];
        }
      }
      const S = product(qh, kh, D, m);  // (n, m)
      for (let t = 0; t < n; t++) {
        const row = S.subarray(t * m, (t + 1) * m);
        let largest = -Infinity, z = 0;
        for (let j = 0; j <= t; j++) if (row[j] > largest) largest = row[j];
        for (let j = 0; j <= t; j++) z += row[j] = Math.exp(row[j] - largest);
        for (let j = 0; j <= t; j++) row[j] /= z;
        row.fill(0, t + 1);
        P[t].set(row.subarray(0, t + 1), h * (t + 1));
      }
      const oh = product(S, vh, m, D);  // (n, D)
      for (let t = 0; t < n; t++) o.set(oh.subarray(t * D, (t + 1) * D), t * HD + h * D);
    }
    return P;
  }

  backward(dy) {  // (T, C) -> (T, C), after a forward over a whole text
    const { H, K, D, HD, KD, q, o, P, frequencies } = this, { k, v } = this.cache, T = P.length, s = 1 / Math.sqrt(D);
    const d_o = this.c_proj.backward(dy);  // (T, H D)
    let dq = new Float32Array(T * HD), dk = new Float32Array(T * KD);
    const dv = new Float32Array(T * KD);
    for (let i = 0; i < T; i++) {
      for (let h = 0; h < H; h++) {
        const at = i * HD + h * D, shared = Math.floor(h * K / H) * D, delta = dot(d_o, at, o, at, D);
        for (let j = 0; j <= i; j++) {
          const p = P[i][h * (i + 1) + j], row = j * KD + shared;
          const ds = s * p * (dot(d_o, at, v, row, D) - delta);
          for (let d = 0; d < D; d++) {
            dv[row + d] += p * d_o[at + d];
            dq[at + d] += ds * k[row + d];
            dk[row + d] += ds * q[at + d];
          }
        }
      }
    }
    if (frequencies) {
      for (let t = 0; t < T; t++) {
        rotate(dq.subarray(t * HD, (t + 1) * HD), t, frequencies, true);
        rotate(dk.subarray(t * KD, (t + 1) * KD), t, frequencies, true);
      }
    }
    if (this.q_norm) [dq, dk] = [this.q_norm.backward(dq), this.k_norm.backward(dk)];
    const dqkv = new Float32Array(T * (HD + 2 * KD));
    for (let t = 0; t < T; t++) {
      const row = t * (HD + 2 * KD);
      dqkv.set(dq.subarray(t * HD, (t + 1) * HD), row);
      dqkv.set(dk.subarray(t * KD, (t + 1) * KD), row + HD);
      dqkv.set(dv.subarray(t * KD, (t + 1) * KD), row + HD + KD);
    }
    return this.c_attn.backward(dqkv);
  }
}

/** x + attn(ln_1(x)), then x + mlp(ln_2(x)). */
class Block {
  constructor(parameters, config) {
    const Norm = config.norm === "rmsnorm" ? RMSNorm : LayerNorm;
    Object.assign(this, { C: config.n_embd });
    this.ln_1 = new Norm(parameters.under("ln_1"), config.norm_eps);
    this.attn = new CausalSelfAttention(parameters.under("attn"), config);
    this.ln_2 = new Norm(parameters.under("ln_2"), config.norm_eps);
    this.mlp = new MLP(parameters.under("mlp"), config.activation);
  }

  forward(x, cache, only_last = false) {  // (n, C) -> (n, C) or (1, C)
    const branch = this.attn.forward(this.ln_1.forward(x), cache, only_last);
    const middle = plus(branch, only_last ? last_row(x, this.C) : x);
    return plus(middle, this.mlp.forward(this.ln_2.forward(middle)));
  }

  backward(dy) {  // (T, C) -> (T, C)
    const dmiddle = plus(dy, this.ln_2.backward(this.mlp.backward(dy)));
    return plus(dmiddle, this.ln_1.backward(this.attn.backward(dmiddle)));
  }
}

/** The model: embeddings, blocks, a last norm, a head that may be the embedding itself (gpt/model.py). */
class GPT {
  constructor(config, parameters) {
    this.config = config = { ...config, norm_eps: config.norm_eps ?? 1e-5 };
    this.parameters = parameters;
    this.wte = parameters.get("wte.weight");  // (V, C)
    this.wpe = config.position === "rope" ? null : parameters.get("wpe.weight");  // (T, C)
    this.head = parameters.get("lm_head.weight") ?? this.wte;  // (V, C)
    this.h = Array.from({ length: config.n_layer }, (_, i) => new Block(parameters.under(`h.${i}`), config));
    this.ln_f = new (config.norm === "rmsnorm" ? RMSNorm : LayerNorm)(parameters.under("ln_f"), config.norm_eps);
  }

  caches() {
    return this.h.map(({ attn }) => new Cache(this.config.block_size, attn.KD));
  }

  embed(ids, start) {  // (n,) -> (n, C)
    const C = this.config.n_embd, x = new Float32Array(ids.length * C);
    ids.forEach((id, t) => {
      for (let i = 0; i < C; i++) {
        x[t * C + i] = this.wte.value[id * C + i] + (this.wpe ? this.wpe.value[(start + t) * C + i] : 0);
      }
    });
    return x;
  }

  /** What the head says of rows of the residual stream: early, after any block, as well as at the end. */
  read(x) {  // (n, C) -> (n, V)
    this.normed = this.ln_f.forward(x);
    return product_transposed(this.normed, this.head.value, this.config.n_embd, this.config.vocab_size);
  }

  /** The logits of every position of at most block_size ids; the stream before and after each block is kept. */
  forward(ids) {  // (T,) -> (T, V)
    this.ids = ids;
    this.residuals = [this.embed(ids, 0)];
    const caches = this.caches();
    this.h.forEach((block, i) => this.residuals.push(block.forward(this.residuals[i], caches[i])));
    return this.read(this.residuals[this.residuals.length - 1]);
  }

  /** From the gradient of the last forward's logits to that of every parameter; returns that of the embeddings. */
  backward(dlogits) {  // (T, V) -> (T, C)
    const { n_embd: C, vocab_size: V } = this.config, { ids, wte, wpe, head } = this;
    add_product(head.grad, dlogits, this.normed, V, C);
    let dx = this.ln_f.backward(product(dlogits, head.value, V, C));
    for (const block of [...this.h].reverse()) dx = block.backward(dx);
    ids.forEach((id, t) => {
      for (let i = 0; i < C; i++) {
        wte.grad[id * C + i] += dx[t * C + i];
        if (wpe) wpe.grad[t * C + i] += dx[t * C + i];
      }
    });
    return dx;
  }
}

/** Mean cross-entropy in nats; a target of -100 does not count. Returns each position's loss and the gradient. */
function cross_entropy(logits, targets, V) {  // (T, V), (T,)
  const losses = new Float64Array(targets.length), dlogits = new Float32Array(logits.length);
  const count = targets.filter(target => target !== -100).length;
  targets.forEach((target, t) => {
    if (target === -100) return;
    const row = Float64Array.from(logits.subarray(t * V, (t + 1) * V)), p = softmax(row);
    losses[t] = -log_softmax(row)[target];
    for (let i = 0; i < V; i++) dlogits[t * V + i] = (p[i] - (i === target ? 1 : 0)) / count;
  });
  return { loss: losses.reduce((sum, loss) => sum + loss, 0) / count, losses, dlogits };
}

/** Parameters by name. `under("h.0.mlp")` is the part of them below that name, by the rest of their names. */
class Parameters extends Map {
  under(name) {
    const part = new Parameters();
    const below = `${name}.`;
    for (const [key, parameter] of this) if (key.startsWith(below)) part.set(key.slice(below.length), parameter);
    part.weight = part.get("weight");
    part.bias = part.get("bias");
    return part;
  }
}

/**
 * Reads a text token by token. A full context slides: with learned positions all of the window is computed again; with
 * RoPE and `slides` the cache drops its oldest keys instead, and positions count on.
 */
class Decoder {
  constructor(model, slides = false) {
    this.model = model;
    this.slides = slides && !model.wpe;
    this.window = [];
    this.caches = model.caches();
    this.fed = 0;  // ids so far
  }

  /** Append ids; the logits at the last position. */
  feed(ids) {  // n ids -> (V,)
    const { model } = this, { block_size } = model.config;
    this.fed += ids.length;
    this.window.push(...ids);
    if (this.window.length > block_size) {
      this.window = this.window.slice(-block_size);
      if (!this.slides) {
        this.caches = model.caches();
        ids = this.window;
      }
    }
    let x = model.embed(ids, this.caches[0].length);
    model.h.forEach((block, i) => { x = block.forward(x, this.caches[i], block === model.h[model.h.length - 1]); });
    return model.read(x);
  }
}

// --------------------------------------------------------------------------------------------------------- sampling
// The controls of gpt/sampling/filters.py, in their order. A row of logits is a Float64Array (V,); each makes another.

const ROUNDING = 1e-12;  // a sum of probabilities that is short of p by less has reached it
const keep = (logits, kept) => logits.map((z, i) => kept(z, i) ? z : -Infinity);
const largest_of = logits => logits.reduce((a, b) => Math.max(a, b), -Infinity);
/** Ids by falling logit, equal ones by rising id. */
const ranked = (logits, ids = Array.from(logits.keys())) => ids.sort((a, b) => logits[b] - logits[a] || a - b);

function repetition_penalty(logits, theta, seen) {
  return logits.map((z, i) => !seen.has(i) ? z : z > 0 ? z / theta : z * theta);
}

function frequency_penalty(logits, alpha, seen, counts) {
  return logits.map((z, i) => z - alpha * (counts.get(i) ?? 0));
}

function presence_penalty(logits, alpha, seen, counts) {
  return logits.map((z, i) => z - (counts.has(i) ? alpha : 0));
}

function temperature(logits, t) {
  const largest = largest_of(logits);
  return logits.map(z => (z - largest) / Math.max(t, 1e-200));
}

function top_k(logits, k) {
  if (k >= logits.length) return logits;
  const kept = new Set(ranked(logits).slice(0, k));
  return keep(logits, (z, i) => kept.has(i));
}

function top_p(logits, p) {
  const q = softmax(logits), kept = new Set(), least = 0.999 * (1 - p) / q.length;  // those below sum to under 1 - p
  let sum = 0;
  for (const i of ranked(logits, Array.from(q.keys()).filter(i => q[i] > least))) {
    kept.add(i);
    sum += q[i];
    if (sum >= p - ROUNDING) break;
  }
  return keep(logits, (z, i) => kept.has(i));
}

function min_p(logits, p) {
  const least = largest_of(logits) + Math.log(p) - ROUNDING;
  return keep(logits, z => z >= least);
}

/** Each control with the value at which it does nothing, in the order in which they are applied. */
const CONTROLS = [
  [repetition_penalty, 1], [frequency_penalty, 0], [presence_penalty, 0], [temperature, 1], [top_k, 0], [top_p, 1],
  [min_p, 0],
];

/**
 * The choice of one token: from logits (V,), what was seen (a Set of ids), how often each was sampled (a Map), and a
 * uniform number u. Where `first` is a Set, it says which tokens may be chosen at all. Returns the token and the
 * stages: the logits of the model, then after each control that is on.
 */
function choose(logits, controls, seen, counts, u, first = null) {
  const stages = [{ name: "model", logits: Float64Array.from(logits) }];
  if (first) stages.push({ name: "first", logits: keep(stages[0].logits, (z, i) => first.has(i)) });
  for (const [control, off] of CONTROLS) {
    const value = controls[control.name];
    if (value === off || (controls.temperature === 0 && off === 1 && control === temperature)) continue;
    if (controls.temperature === 0 && CONTROLS.findIndex(([c]) => c === control) > 2) continue;  // the likeliest stays
    stages.push({ name: control.name, value, logits: control(stages[stages.length - 1].logits, value, seen, counts) });
  }
  const final = stages[stages.length - 1].logits;
  if (controls.temperature === 0) return { token: final.indexOf(largest_of(final)), stages, low: 0, high: 1 };
  return { ...draw(final, u), stages };
}

/** The token that u in [0, 1) picks: token i owns the stretch from `low` to `high`, in order of id. */
function draw(logits, u) {
  const largest = largest_of(logits), weights = logits.map(z => Math.exp(z - largest));
  const sum = weights.reduce((a, b) => a + b, 0);
  let token = 0, low = 0, reached = 0;
  for (let i = 0; i < weights.length; i++) {
    if (!weights[i]) continue;
    [token, low, reached] = [i, reached, reached + weights[i]];
    if (u * sum < reached) break;
  }
  return { token, low: low / sum, high: reached / sum };
}

function softmax(logits) {  // (V,) -> (V,)
  const largest = largest_of(logits), e = logits.map(z => Math.exp(z - largest)), sum = e.reduce((a, b) => a + b, 0);
  return e.map(value => value / sum);
}

function log_softmax(logits) {  // (V,) -> (V,)
  const largest = largest_of(logits), sum = logits.reduce((total, z) => total + Math.exp(z - largest), 0);
  return logits.map(z => z - largest - Math.log(sum));
}

/**
 * numpy.random.default_rng([seed, SAMPLING, sample]).random, so that a seed chooses here as it does in sample.py:
 * SeedSequence makes 256 bits of the words, PCG64 (O'Neill 2014: a 128-bit LCG, output XSL-RR) draws from there.
 */
class Uniform {
  constructor(seed, sample = 0) {
    const low = BigInt.asUintN(32, BigInt(seed)), high = BigInt(seed) >> 32n;
    const words = [low, ...(high ? [high] : []), 0x53414D50, sample].map(Number);
    const [a, b, c, d] = seed_sequence(words);
    this.increment = BigInt.asUintN(128, (c << 64n | d) << 1n | 1n);
    this.state = 0n;
    this.step();
    this.state += a << 64n | b;
    this.step();
  }

  step() {
    this.state = BigInt.asUintN(128, this.state * 0x2360ED051FC65DA44385DF649FCCF645n + this.increment);
  }

  next() {
    this.step();
    const mixed = BigInt.asUintN(64, this.state >> 64n ^ this.state), turn = this.state >> 122n;
    const bits = BigInt.asUintN(64, mixed >> turn | mixed << (64n - turn));
    return Number(bits >> 11n) / 2 ** 53;
  }
}

/** NumPy's SeedSequence: words of 32 bits -> four numbers of 64 bits. */
function seed_sequence(words) {
  const hasher = (constant, multiplier) => value => {
    value = (value ^ constant) >>> 0;
    constant = Math.imul(constant, multiplier) >>> 0;
    value = Math.imul(value, constant) >>> 0;
    return (value ^ value >>> 16) >>> 0;
  };
  const mix = (x, y) => {
    const value = Math.imul(x, 0xCA01F9DD) - Math.imul(y, 0x4973F715) >>> 0;
    return (value ^ value >>> 16) >>> 0;
  };
  const hash = hasher(0x43B0D7E5, 0x931E8875), pool = [0, 1, 2, 3].map(i => hash(words[i] ?? 0));
  for (let i = 0; i < 4; i++) for (let j = 0; j < 4; j++) if (i !== j) pool[j] = mix(pool[j], hash(pool[i]));
  for (const word of words.slice(4)) for (let j = 0; j < 4; j++) pool[j] = mix(pool[j], hash(word));
  const out = hasher(0x8B51F9DD, 0x58F38DED), halves = Array.from({ length: 8 }, (_, i) => BigInt(out(pool[i % 4])));
  return [0, 2, 4, 6].map(i => halves[i] | halves[i + 1] << 32n);
}

// ----------------------------------------------------------------------------------------------------------- engine

/** What web/simd.js offers, with room for so many numbers; null where it or WebAssembly is not there. */
function fast(size, tensors, { block_size }) {
  const widest = Math.max(...tensors.filter(({ name }) => name.startsWith("h.")).flatMap(({ shape }) => shape));
  try {
    return typeof Simd === "undefined" ? null : new Simd(size, (block_size + 3) * widest);
  } catch {
    return null;
  }
}

/** A run's model and tokenizer: `contents` is what gpt/page/contents.py makes, `base64` the weights. */
class Engine {
  constructor({ model, tokenizer, tensors, dtype, controls, slides }, base64) {
    const bytes = from_base64(base64), parameters = new Parameters();
    const sum = numbers => numbers.reduce((a, b) => a + b, 0);
    const sizes = tensors.map(({ shape }) => shape.reduce((a, b) => a * b, 1));
    simd = fast(sum(sizes), tensors, model);
    const memory = simd?.buffer ?? new ArrayBuffer(4 * sum(sizes)), table = every_float16();
    tensors.forEach(({ name, shape, offset }, i) => {
      const value = new Float32Array(memory, 4 * sum(sizes.slice(0, i)), sizes[i]);
      value.set(dtype === "float16" ? from_float16(new Uint16Array(bytes.buffer, offset, sizes[i]), table)
        : new Float32Array(bytes.buffer, offset, sizes[i]));
      parameters.set(name, { name, shape, value, grad: null });
    });
    this.tokenizer = new (tokenizer.kind === "char" ? CharTokenizer : BPETokenizer)(tokenizer);
    this.model = new GPT(model, parameters);
    this.defaults = controls;  // of sampling, by name
    this.slides = slides;  // how a Decoder goes on past the context, with RoPE
  }

  encode(text) { return this.tokenizer.encode(text); }

  decode(ids) { return this.tokenizer.decode(ids); }

  /** Logits of each position of a text; of one longer than the context, of its last block_size ids. */
  logits(ids) {  // (n,) -> min(n, block_size) rows (V,)
    const window = this.check(ids).slice(-this.model.config.block_size), V = this.model.config.vocab_size;
    const logits = this.model.forward(window);
    return window.map((_, t) => logits.slice(t * V, (t + 1) * V));
  }

  /**
   * The mean loss of `targets` (the id that follows each of `ids`; -100 does not count), each position's loss, the
   * gradient of the mean by every parameter, by name, and by the embedded tokens (T, C).
   */
  gradients(ids, targets) {
    const { block_size, vocab_size } = this.model.config;
    this.check(ids);
    this.check(targets.map(target => target === -100 ? 0 : target));
    if (ids.length > block_size) throw new RangeError(`at most ${block_size} ids fit into the context`);
    if (targets.length !== ids.length || targets.every(target => target === -100)) {
      throw new RangeError("there must be one target for each id, and one that counts");
    }
    for (const parameter of this.model.parameters.values()) parameter.grad = new Float32Array(parameter.value.length);
    const { loss, losses, dlogits } = cross_entropy(this.model.forward(ids), targets, vocab_size);
    const inputs = this.model.backward(dlogits), parameters = {};
    for (const [name, parameter] of this.model.parameters) parameters[name] = parameter.grad;
    return { loss, losses, parameters, inputs };
  }

  /**
   * How to go on with a prompt, as in gpt/sampling/streaming.py: its ids, and which the first token may be, or null for
   * any. A lone space at the end is taken back, for tokens begin with their space. An empty prompt starts after an
   * empty line, or from token 0 where there are no line breaks.
   */
  start(text) {
    if (!text) {
      try {
        return { ids: this.encode("\n\n"), first: null };
      } catch {
        return { ids: [0], first: null };
      }
    }
    const ids = this.encode(text), { table } = this.tokenizer, space = table[ids[ids.length - 1]];
    const blank = bytes => bytes.every(byte => byte === 32 || (byte >= 9 && byte <= 13));
    if (ids.length < 2 || !blank(space)) return { ids, first: null };
    const first = Array.from(table.keys()).filter(id => space.every((byte, i) => table[id][i] === byte));
    if (!first.some(id => !blank(table[id]))) return { ids, first: null };
    return { ids: ids.slice(0, -1), first: new Set(first) };
  }

  /**
   * The ids that continue `ids`. `options`: max_new_tokens (100), eos_id, which ends the text (an id or several), and
   * sample.py's controls and seed, with its defaults.
   */
  generate(ids, options = {}) {
    const { max_new_tokens = 100, eos_id = [], ...controls } = options, ends = [eos_id].flat();
    for (const [name, value] of Object.entries(controls)) {
      if (!(name in this.defaults)) throw new RangeError(`generate has no option ${name}`);
      if (name !== "seed" && !Number.isFinite(value)) throw new RangeError(`${name} must be a number, not ${value}`);
    }
    const writer = new Writer(this, ids, controls);
    for (let i = 0; i < max_new_tokens; i++) if (ends.includes(writer.next().token)) break;
    return writer.tokens.map(({ id }) => id);
  }

  check(ids) {
    const { vocab_size } = this.model.config;
    if (!ids.length) throw new RangeError("there must be at least one id");
    for (const id of ids) {
      if (!(Number.isInteger(id) && id >= 0 && id < vocab_size)) throw new RangeError(`no token has the id ${id}`);
    }
    return ids;
  }
}

/** One sample that can be written on, cut back and told what to say next. */
class Writer {
  constructor(engine, prompt, options = {}, first = null) {  // `first`: what the first token may be, as `start` says
    Object.assign(this, { engine, first });
    this.prompt = engine.check(prompt);
    this.controls = { ...engine.defaults, ...options };
    this.reseed(this.controls.seed ?? Math.floor(Math.random() * 2 ** 32));
    this.tokens = [];  // of { id, forced }: sampled, or `forced` by the reader
    this.decoder = null;
  }

  reseed(seed) {
    this.uniform = new Uniform(seed);
    this.draws = [];  // the uniform numbers so far: token i always gets the i-th
  }

  get ids() { return [...this.prompt, ...this.tokens.map(({ id }) => id)]; }

  /** How token i, of `tokens` or the one behind them, is chosen: as `choose` says, with its number u. */
  choice(i, logits) {
    while (this.draws.length <= i) this.draws.push(this.uniform.next());
    const before = this.tokens.slice(0, i).map(({ id }) => id), counts = new Map();
    for (const id of before) counts.set(id, (counts.get(id) ?? 0) + 1);
    const u = this.draws[i], seen = new Set([...this.prompt, ...before]);
    return { ...choose(logits, this.controls, seen, counts, u, i === 0 ? this.first : null), u };
  }

  /** Sample the next token, and say how. */
  next() {
    const choice = this.choice(this.tokens.length, this.peek());
    this.push(choice.token, false);
    return choice;
  }

  /** The logits (V,) of what comes next. */
  peek() {
    this.decoder ??= new Decoder(this.engine.model, this.engine.slides);
    const fresh = this.ids.slice(this.decoder.fed);
    if (fresh.length) this.logits = this.decoder.feed(fresh);
    return this.logits;
  }

  push(id, forced = true) { this.tokens.push({ id, forced }); }

  /** Forget all but the first n tokens. */
  cut(n) {
    this.tokens.length = n;
    this.decoder = null;
  }

  /**
   * How token i was chosen, computed again from what stood before it. Below 0 it is the prompt's, which was not drawn:
   * then what the model would have had to choose from, without the penalties. Of the first token of all, null.
   */
  explain(i) {
    const before = this.ids.slice(0, this.prompt.length + i);
    if (!before.length) return null;
    const logits = new Decoder(this.engine.model, this.engine.slides).feed(before);
    if (i >= 0) return this.choice(i, logits);
    const unpunished = { ...this.controls, repetition_penalty: 1, frequency_penalty: 0, presence_penalty: 0 };
    return { ...choose(logits, unpunished, new Set(), new Map(), 0), u: null };
  }
}

return Object.assign(Engine, {
  plain_product, Writer, Decoder, CharTokenizer, BPETokenizer, choose, softmax, log_softmax, ranked, from_utf8,
});
})();

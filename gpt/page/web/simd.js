/*
 * y = x W again, four columns at once: two loops of WebAssembly, put together here, for weights in a memory of theirs.
 *
 * JavaScript computes one number at a time and in float64. Where a browser has WebAssembly with its 128-bit vectors,
 * as all have since 2023, the product that takes most of the engine's time is some times faster so. What it computes is
 * `product` of engine.js, in float32; where this file is absent or refused, engine.js does without.
 *
 * A tile is `rows` rows of x times 4 `vectors` columns of W:
 *
 *   tile(x, w, y, n_in, x_row, w_row)    addresses and lengths of rows in bytes
 *     for i in 0 .. n_in:  for r:  for v:  sum[r][v] += x[r][i] * w[i][v]
 *     y[r][v] = sum[r][v]
 */
"use strict";

const Simd = (() => {

const GET = 0x20, SET = 0x21, CONST = 0x41, LESS = 0x49, ADD = 0x6A, SHIFT = 0x74, LOOP = 0x03, IF = 0x0D, END = 0x0B;
const I32 = 0x7F, V128 = 0x7B, NOTHING = 0x40, TILES = [[4, 2], [1, 4]];

/** An unsigned number as WebAssembly writes it: seven bits a byte, low ones first. */
const leb = value => value < 128 ? [value] : [value & 127 | 128, ...leb(value >> 7)];
const counted = parts => [...leb(parts.length), ...parts.flat()];
const section = (id, parts) => { const body = counted(parts); return [id, ...leb(body.length), ...body]; };
const text = name => [name.length, ...Array.from(name, letter => letter.charCodeAt(0))];

const load = offset => [0xFD, 0x00, 0, ...leb(offset)], store = offset => [0xFD, 0x0B, 0, ...leb(offset)];
const splat = [0xFD, 0x09, 0, 0], vector_add = [0xFD, 0xE4, 0x01], vector_multiply = [0xFD, 0xE6, 0x01];

function tile(rows, vectors) {
  const [x, w, y, n_in, x_row, w_row, end] = [0, 1, 2, 3, 4, 5, 6], row = r => r ? 6 + r : x;  // addresses
  const first = 6 + rows, sum = (r, v) => first + r * vectors + v, weight = v => first + rows * vectors + v;
  const number = weight(vectors), each = (n, make) => Array.from({ length: n }, (_, i) => make(i)).flat();
  const locals = counted([[...leb(rows), I32], [...leb(rows * vectors + vectors + 1), V128]]);
  const body = [
    GET, n_in, CONST, 2, SHIFT, GET, x, ADD, SET, end,
    ...each(rows - 1, r => [GET, row(r), GET, x_row, ADD, SET, row(r + 1)]),
    LOOP, NOTHING,
    ...each(vectors, v => [GET, w, ...load(16 * v), SET, weight(v)]),
    ...each(rows, r => [
      GET, row(r), ...splat, SET, number,
      ...each(vectors, v => [
        GET, number, GET, weight(v), ...vector_multiply, GET, sum(r, v), ...vector_add, SET, sum(r, v),
      ]),
      GET, row(r), CONST, 4, ADD, SET, row(r),
    ]),
    GET, w, GET, w_row, ADD, SET, w,
    GET, x, GET, end, LESS, IF, 0, END,
    ...each(rows, r => [
      ...each(vectors, v => [GET, y, GET, sum(r, v), ...store(16 * v)]),
      GET, y, GET, w_row, ADD, SET, y,
    ]),
    END,
  ];
  const code = [...locals, ...body];
  return [...leb(code.length), ...code];
}

function module_bytes() {
  return Uint8Array.from([
    0, 0x61, 0x73, 0x6D, 1, 0, 0, 0,  // \0asm, version 1
    ...section(1, [[0x60, ...counted(Array(6).fill([I32])), 0]]),  // one type: six numbers, to nothing
    ...section(2, [[...text("here"), ...text("memory"), 2, 0, 0]]),
    ...section(3, TILES.map(() => [0])),
    ...section(7, TILES.map((_, i) => [...text(`tile${i}`), 0, i])),
    ...section(10, TILES.map(([rows, vectors]) => tile(rows, vectors))),
  ]);
}

/** Room for `size` numbers of weights, and for an x, a y and another W of at most `scratch` numbers each. */
return class Simd {
  constructor(size, scratch) {
    const memory = new WebAssembly.Memory({ initial: Math.ceil((size + 3 * scratch) / 16384) });
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(module_bytes()), { here: { memory } });
    this.buffer = memory.buffer;
    this.tiles = [exports.tile0, exports.tile1];
    [this.x, this.y, this.w, this.scratch] = [4 * size, 4 * (size + scratch), 4 * (size + 2 * scratch), scratch];
  }

  /** The columns of x W from `first` to before `last`; null for shapes that are no whole number of tiles. */
  product(x, w, n_in, n_out, first, last) {  // (n, in), (in, out) -> (n, out)
    const n = x.length / n_in, kind = n === 1 && (last - first) % 16 === 0 ? 1 : 0, [rows, vectors] = TILES[kind];
    const padded = Math.ceil(n / rows) * rows, step = 4 * vectors, run = this.tiles[kind];
    const inside = w.buffer === this.buffer, from = inside ? w.byteOffset : this.w;
    if ((last - first) % step || padded * Math.max(n_in, n_out) > this.scratch) return null;
    if (!inside && w.length > this.scratch) return null;
    if (!inside) new Float32Array(this.buffer, this.w).set(w);
    new Float32Array(this.buffer, this.x).set(x);  // what lies behind it makes rows that are not read
    for (let j = first; j < last; j += step) {
      for (let r = 0; r < padded; r += rows) {
        run(this.x + 4 * r * n_in, from + 4 * j, this.y + 4 * (r * n_out + j), n_in, 4 * n_in, 4 * n_out);
      }
    }
    return new Float32Array(this.buffer, this.y, n * n_out).slice();
  }
};
})();

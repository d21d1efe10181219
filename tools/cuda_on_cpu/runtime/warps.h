// What the lanes of a warp do together.

// Do `operation` if all lanes of `mask` that have not ended wait for it.
static bool complete(Thread* warp, u32 mask, Operation operation) {
  u32 members = 0;
  const u32 lanes = thread_count - (u32)(warp - threads);
  for (u32 lane = 0; lane < 32 && lane < lanes; ++lane) {
    const Thread& t = warp[lane];
    if (!(mask >> lane & 1) || t.state == DONE) continue;
    if (t.state != AT_WARP || t.operation != operation || t.mask != mask) return false;
    members |= 1u << lane;
  }
  if (!members) return false;
  operation(warp, members);
  for (u32 lane = 0; lane < 32; ++lane)
    if (members >> lane & 1) warp[lane].state = READY;
  return true;
}
// Called by each lane, with what it brings in me->in. Afterwards me->out has the result.
__attribute__((noinline)) static void together(Operation operation, u32 mask) {
  if (!(mask >> me->lane & 1))
    fault("lane %u executes a .sync instruction whose mask 0x%x leaves it out", me->lane, mask);
  me->mask = mask, me->operation = operation, me->state = AT_WARP;
  if (!complete(me - me->lane, mask, operation)) yield_();
}
#define EACH_LANE                       \
  for (u32 lane = 0; lane < 32; ++lane) \
    if (members >> lane & 1)

enum Shuffle { UP, DOWN, BFLY, IDX };
template <Shuffle mode>
static void shuffle(Thread* warp, u32 members) {  // in: value, b, c
  EACH_LANE {
    Thread& t = warp[lane];
    const int b = t.in[1] & 31, c = t.in[2] & 31, segment = t.in[2] >> 8 & 31, i = lane;
    const int most = (i & segment) | (c & ~segment), least = i & segment;
    int from = mode == UP ? i - b : mode == DOWN ? i + b : mode == BFLY ? i ^ b : (least | (b & ~segment));
    const bool within = mode == UP ? from >= most : from <= most;
    if (!within) from = i;
    t.out[0] = members >> from & 1 ? warp[from].in[0] : 0xffffffffu;  // undefined where that lane takes no part
    t.out[1] = within;
  }
}
IN u32 holding(Thread* warp, u32 members) {
  u32 lanes = 0;
  EACH_LANE lanes |= (u32)(warp[lane].in[0] != 0) << lane;
  return lanes;
}
static void vote_all(Thread* w, u32 members) {
  u32 v = holding(w, members) == members;
  EACH_LANE w[lane].out[0] = v;
}
static void vote_any(Thread* w, u32 members) {
  u32 v = holding(w, members) != 0;
  EACH_LANE w[lane].out[0] = v;
}
static void vote_uni(Thread* w, u32 members) {
  u32 h = holding(w, members), v = !h || h == members;
  EACH_LANE w[lane].out[0] = v;
}
static void vote_ballot(Thread* w, u32 members) {
  u32 v = holding(w, members);
  EACH_LANE w[lane].out[0] = v;
}
static void only_wait(Thread* w, u32 members) {  // bar.warp.sync
  u32 living = 0;
  for (u32 lane = 0; lane < 32 && w + lane < threads + thread_count; ++lane)
    living |= (u32)(w[lane].state != DONE) << lane;
  if (members == living) ++warp_time[(w - threads) / 32];
}
static void elect(Thread* w, u32 members) {
  EACH_LANE w[lane].out[0] = __builtin_ctz(members), w[lane].out[1] = (int)lane == __builtin_ctz(members);
}
static void match_any(Thread* w, u32 members) {
  EACH_LANE {
    u32 same = 0;
    for (u32 k = 0; k < 32; ++k)
      if (members >> k & 1 && w[k].in[0] == w[lane].in[0] && w[k].in[1] == w[lane].in[1]) same |= 1u << k;
    w[lane].out[0] = same;
  }
}
static void match_all(Thread* w, u32 members) {
  match_any(w, members);
  EACH_LANE w[lane].out[1] = w[lane].out[0] == members, w[lane].out[0] = w[lane].out[1] ? members : 0;
}
enum Redux { ADD, MINU, MAXU, MINS, MAXS, AND, OR, XOR };
template <Redux kind>
static void redux(Thread* w, u32 members) {
  bool first = true;
  u32 r = 0;
  EACH_LANE {
    const u32 x = w[lane].in[0];
    r = first          ? x
        : kind == ADD  ? r + x
        : kind == MINU ? (x < r ? x : r)
        : kind == MAXU ? (x > r ? x : r)
        : kind == MINS ? ((s32)x < (s32)r ? x : r)
        : kind == MAXS ? ((s32)x > (s32)r ? x : r)
        : kind == AND  ? r & x
        : kind == OR   ? r | x
                       : r ^ x;
    first = false;
  }
  EACH_LANE w[lane].out[0] = r;
}

// mma.m16n8kK: C (16 x 8) += A (16 x K) B (K x 8), the tiles laid out over the lanes as the PTX manual has it. in: the
// registers of A, of B and of C one after the other.
enum Kind { F16, BF16, TF32 };
template <Kind kind>
IN f32 element(u32 word, int half) {
  if (kind == TF32) return F(word & ~0x1fffu);  // which does not read the last 13 bits
  const u16 x = half ? high(word) : low(word);
  return kind == F16 ? h2f(x) : b2f(x);
}
template <Kind kind, int K, bool half_sums>
static void mma(Thread* w, u32 members) {
  if (members != ~0u) fault("mma without all 32 lanes of the warp");
  constexpr int wide = kind == TF32 ? 1 : 2, step = 4 * wide;  // elements in a register; columns that 4 lanes hold
  tensor_flops(2 * 16 * 8 * K);
  constexpr int a_words = 2 * K / step, b_words = K / step;
  f32 a[16][K], b[8][K];
  for (int k = 0; k < K; ++k) {
    for (int row = 0; row < 16; ++row)
      a[row][k] = element<kind>(w[row % 8 * 4 + k % step / wide].in[row / 8 + 2 * (k / step)], k % wide);
    for (int col = 0; col < 8; ++col)
      b[col][k] = element<kind>(w[col * 4 + k % step / wide].in[a_words + k / step], k % wide);
  }
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 4; ++i) {
      const u32* c = w[lane].in + a_words + b_words;
      f32 sum = half_sums ? h2f(i % 2 ? high(c[i / 2]) : low(c[i / 2])) : F(c[i]);
      const f32 *left = a[lane / 4 + i / 2 * 8], *right = b[lane % 4 * 2 + i % 2];
      for (int k = 0; k < K; ++k) sum += left[k] * right[k];
      u32* out = w[lane].out;
      if (!half_sums) out[i] = bits(sum);
      else out[i / 2] = i % 2 ? pack(low(out[i / 2]), f2h(sum)) : f2h(sum);
    }
}
static void mma_f64(Thread* w, u32 members) {  // m8n8k4
  if (members != ~0u) fault("mma without all 32 lanes of the warp");
  tensor_flops(2 * 8 * 8 * 4);
  auto number = [&](int lane, int at) { return D((u64)w[lane].in[at + 1] << 32 | w[lane].in[at]); };
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 2; ++i) {
      f64 sum = number(lane, 4 + 2 * i);
      for (int k = 0; k < 4; ++k) sum = fused(number(lane / 4 * 4 + k, 0), number((lane % 4 * 2 + i) * 4 + k, 2), sum);
      w[lane].out[2 * i] = (u32)bits(sum), w[lane].out[2 * i + 1] = bits(sum) >> 32;
    }
}
// ldmatrix and stmatrix: `tiles` matrices of 8 x 8 16-bit numbers; lane l brings the
// address of row l % 8 of tile l / 8.
template <int tiles, bool transposed, bool write>
static void matrix(Thread* w, u32 members) {
  if (members != ~0u) fault("ldmatrix or stmatrix without all 32 lanes of the warp");
  for (int tile = 0; tile < tiles; ++tile) {
    count_rows(w, tile);
    for (int row = 0; row < 8; ++row) {
      const Thread& who = w[tile * 8 + row];
      if (who.in[0] & 15) misaligned(who.in[0], 16);
      u16* from = (u16*)in_shared(who.in[0], 16);
      note(&who, (u64)from, 16, write ? WRITE : READ);
      for (int col = 0; col < 8; ++col) {
        const int r = transposed ? col : row, c = transposed ? row : col;
        u16* held = (u16*)((write ? w[r * 4 + c / 2].in + 1 : w[r * 4 + c / 2].out) + tile) + c % 2;
        if (write) from[col] = *held;
        else *held = from[col];
      }
    }
  }
}

// Integers, where C++ lacks what PTX has.

IN u32 shift_left(u32 a, u32 n) { return n > 31 ? 0 : a << n; }
IN u64 shift_left(u64 a, u32 n) { return n > 63 ? 0 : a << n; }
IN u16 shift_left(u16 a, u32 n) { return n > 15 ? 0 : a << n; }
template <class T>
IN T shift_right(T a, u32 n) {
  constexpr u32 most = sizeof(T) * 8 - 1;
  return n > most ? (T(-1) < 0 ? a >> most : 0) : a >> n;
}
// What a GPU gives where the host would stop with a signal: a quotient of all ones, a remainder of a.
template <class T>
IN T divide(T a, T b) {
  return b == 0 ? T(-1) : T(-1) < 0 && b == T(-1) ? T(0) - a : a / b;
}
template <>
inline s32 divide(s32 a, s32 b) {
  return b == 0 ? -1 : b == -1 ? (s32)(0u - (u32)a) : a / b;
}
template <>
inline s64 divide(s64 a, s64 b) {
  return b == 0 ? -1 : b == -1 ? (s64)(0ull - (u64)a) : a / b;
}
template <class T>
IN T remainder(T a, T b) {
  return b == 0 ? a : T(-1) < 0 && b == T(-1) ? T(0) : T(a % b);
}
IN u32 lop3(u32 a, u32 b, u32 c, u32 table) {
  u32 r = 0;
  for (u32 i = 0; i < 8; ++i)
    if (table >> i & 1) r |= (i & 4 ? a : ~a) & (i & 2 ? b : ~b) & (i & 1 ? c : ~c);
  return r;
}
IN u32 funnel_left(u32 a, u32 b, u32 n) { return (u32)((((u64)b << 32 | a) << n) >> 32); }  // n <= 32
IN u32 funnel_right(u32 a, u32 b, u32 n) { return (u32)(((u64)b << 32 | a) >> n); }
template <class T>
static T extract(T a, u32 at, u32 n) {  // bfe; T's sign decides how it is extended
  at &= 255, n &= 255;
  constexpr u32 width = sizeof(T) * 8;
  if (!n) return 0;
  T sign = T(-1) < 0 && (a >> (at + n - 1 < width ? at + n - 1 : width - 1) & 1) ? T(-1) : T(0);
  T r = 0;
  for (u32 i = 0; i < width; ++i) {
    u64 bit = i < n && at + i < width ? (u64)a >> (at + i) & 1 : (u64)sign & 1;
    r |= (T)(bit << i);
  }
  return r;
}
template <class T>
static T insert(T a, T b, u32 at, u32 n) {  // bfi
  at &= 255, n &= 255;
  constexpr u32 width = sizeof(T) * 8;
  for (u32 i = 0; i < n && at + i < width; ++i) b = (b & ~(T(1) << (at + i))) | ((a >> i & 1) << (at + i));
  return b;
}
template <class T>
static T reverse(T a) {
  T r = 0;
  for (u32 i = 0; i < sizeof(T) * 8; ++i) r |= (a >> i & 1) << (sizeof(T) * 8 - 1 - i);
  return r;
}
template <class T>
static u32 find_leading(T a, bool shift_amount) {  // bfind
  constexpr int width = sizeof(T) * 8;
  u64 word = (u64)(T(-1) < 0 && a < 0 ? ~a : a);
  if (width < 64) word &= (1ull << width) - 1;
  if (!word) return ~0u;
  u32 at = 63 - __builtin_clzll(word);
  return shift_amount ? width - 1 - at : at;
}
IN u32 count_zeros(u32 a) { return a ? __builtin_clz(a) : 32; }
IN u32 count_zeros(u64 a) { return a ? __builtin_clzll(a) : 64; }
enum PermuteMode { GENERIC, F4E, B4E, RC8, ECL, ECR, RC16 };
static inline u32 permute(u32 a, u32 b, u32 c, PermuteMode mode) {
  u64 both = (u64)b << 32 | a;
  u32 r = 0;
  for (u32 i = 0; i < 4; ++i) {
    u32 k = c & 3, pick = 0;
    switch (mode) {
      case GENERIC: pick = c >> (4 * i) & 15; break;
      case F4E: pick = k + i; break;
      case B4E: pick = (k - i) & 7; break;
      case RC8: pick = k; break;
      case ECL: pick = i > k ? i : k; break;
      case ECR: pick = i < k ? i : k; break;
      case RC16: pick = (k & 1) * 2 + (i & 1); break;
    }
    u32 byte = (u32)(both >> (8 * (pick & 7))) & 255;
    if (pick & 8) byte = byte & 128 ? 255 : 0;
    r |= byte << (8 * i);
  }
  return r;
}
template <class T, class F>
IN T clamp(F x) {
  constexpr bool is_signed = T(-1) < 0;
  constexpr s128 most = is_signed ? ((s128)1 << (sizeof(T) * 8 - 1)) - 1 : ((s128)1 << (sizeof(T) * 8)) - 1;
  constexpr s128 least = is_signed ? -most - 1 : 0;
  s128 wide = x;
  return wide > most ? (T)most : wide < least ? (T)least : (T)wide;
}

// Floating point: directed roundings, 16-bit formats, TF32, minima and maxima of NaN and of signed zeros.

enum Rounding : u32 { RM = 0x2000, RP = 0x4000, RZ = 0x6000 };  // as in the host's MXCSR
IN u32 enter(u32 mode) {
  u32 old, changed;
  asm volatile("stmxcsr %0" : "=m"(old));
  changed = (old & ~0x6000u) | mode;
  asm volatile("ldmxcsr %0" : : "m"(changed));
  return old;
}
IN void leave(u32 old) { asm volatile("ldmxcsr %0" : : "m"(old)); }
#define HOLD(x) asm volatile("" : "+x"(x))
#define ROUNDED(name, parameters, hold, expression) \
  template <class T>                                \
  static inline T name parameters {                 \
    const u32 old = enter(mode);                    \
    hold;                                           \
    T result = expression;                          \
    HOLD(result);                                   \
    leave(old);                                     \
    return result;                                  \
  }
IN f32 fused(f32 a, f32 b, f32 c) { return __builtin_fmaf(a, b, c); }
IN f64 fused(f64 a, f64 b, f64 c) { return __builtin_fma(a, b, c); }
IN f32 root(f32 x) { return __builtin_sqrtf(x); }
IN f64 root(f64 x) { return __builtin_sqrt(x); }
ROUNDED(add_rounded, (T a, T b, u32 mode), HOLD(a); HOLD(b), a + b)
ROUNDED(sub_rounded, (T a, T b, u32 mode), HOLD(a); HOLD(b), a - b)
ROUNDED(mul_rounded, (T a, T b, u32 mode), HOLD(a); HOLD(b), a* b)
ROUNDED(div_rounded, (T a, T b, u32 mode), HOLD(a); HOLD(b), a / b)
ROUNDED(fma_rounded, (T a, T b, T c, u32 mode), HOLD(a); HOLD(b); HOLD(c), fused(a, b, c))
ROUNDED(sqrt_rounded, (T a, u32 mode), HOLD(a), root(a))
ROUNDED(narrow_rounded, (f64 a, u32 mode), HOLD(a), (T)a)
ROUNDED(from_int_rounded, (s64 a, u32 mode), asm volatile("" : "+r"(a)), (T)a)
template <class T>
static inline T from_int_rounded(u64 a, u32 mode) {  // above 2^63: of half of it, its last bit kept in sight
  return a >> 63 ? 2 * from_int_rounded<T>((s64)(a >> 1 | (a & 1)), mode) : from_int_rounded<T>((s64)a, mode);
}
template <class T>
static inline T from_int_rounded(u32 a, u32 mode) {
  return from_int_rounded<T>((s64)a, mode);
}
template <class T>
static inline T from_int_rounded(s32 a, u32 mode) {
  return from_int_rounded<T>((s64)a, mode);
}

IN f32 flush(f32 x) { return __builtin_fabsf(x) < 1.17549435e-38f ? __builtin_copysignf(0, x) : x; }
template <class T>
IN T saturate(T x) {
  return x > 0 ? (x < 1 ? x : T(1)) : T(0);
}
template <class T>
IN T not_a_number() {
  return sizeof(T) == 4 ? (T)__builtin_nanf("0x3fffff") : (T)__builtin_nan("");
}
template <class T>
IN T smaller(T a, T b) {
  if (a != a || b != b) return a == a ? a : b == b ? b : not_a_number<T>();
  return a == b ? (__builtin_signbit(a) ? a : b) : a < b ? a : b;
}
template <class T>
IN T larger(T a, T b) {
  if (a != a || b != b) return a == a ? a : b == b ? b : not_a_number<T>();
  return a == b ? (__builtin_signbit(a) ? b : a) : a > b ? a : b;
}
template <class T>
IN T smaller_nan(T a, T b) {
  return a != a || b != b ? not_a_number<T>() : smaller(a, b);
}
template <class T>
IN T larger_nan(T a, T b) {
  return a != a || b != b ? not_a_number<T>() : larger(a, b);
}

// To an integer from a float that is integral already.
template <class T, class X>
IN T to_int(X x) {
  constexpr bool is_signed = T(-1) < 0;
  constexpr int width = sizeof(T) * 8;
  constexpr T least = is_signed ? (T)((u64)1 << (width - 1)) : 0, most = is_signed ? (T) ~(u64)least : (T)-1;
  if (x != x) return sizeof(X) == 8 || width == 64 ? (T)((u64)1 << (width - 1)) : T(0);
  if (x >= (is_signed ? (X)((u64)1 << (width - 1)) : 2 * (X)((u64)1 << (width - 1)))) return most;
  if (x < (X)least) return least;
  return (T)x;
}

// div.approx.f32 gives 0 for the largest divisors.
IN f32 divide_roughly(f32 a, f32 b) {
  const f32 size = __builtin_fabsf(b);
  return size > 0x1p126f && size < __builtin_inff() ? a * 0.0f : a / b;
}

// Half precision and bfloat16, in 16 bits.
IN f32 h2f(u16 x) { return (f32)cast<_Float16>(x); }
IN u16 f2h(f32 x) { return x != x ? 0x7fff : cast<u16>((_Float16)x); }
static inline u16 d2h(f64 x) { return x != x ? 0x7fff : cast<u16>((_Float16)x); }
static inline u16 f2h_rz(f32 x) {
  u16 h = f2h(x);
  if (x == x && (h & 0x7fff) && __builtin_fabsf(h2f(h)) > __builtin_fabsf(x)) --h;
  return h;
}
IN f32 b2f(u16 x) { return F((u32)x << 16); }
IN u16 f2b(f32 x) { return x != x ? 0x7fff : (bits(x) + 0x7fff + (bits(x) >> 16 & 1)) >> 16; }
IN u16 f2b_rz(f32 x) { return x != x ? 0x7fff : bits(x) >> 16; }
static inline u16 d2b(f64 x) {  // through a float that is rounded to odd, so as to be rounded once
  f32 y = (f32)x;
  if (x != x || (f64)y == x) return f2b(y);
  u32 word = bits(y);
  if (__builtin_fabs((f64)y) > __builtin_fabs(x)) --word;
  return f2b(F(word | 1));
}
IN u16 f2h_rz(f64 x) { return f2h_rz(narrow_rounded<f32>(x, RZ)); }
IN u16 f2b_rz(f64 x) { return f2b_rz(narrow_rounded<f32>(x, RZ)); }
// a b + c, where a b is exact, rounded to odd, so that rounding it to 16 bits rounds it once.
static inline f64 fused_to_odd(f64 a, f64 b, f64 c) {
  const f64 product = a * b, sum = product + c, part = sum - product;
  const f64 error = (product - (sum - part)) + (c - part);
  if (error == 0 || error != error || bits(sum) & 1) return sum;
  return D(bits(sum) + ((error > 0) == (sum > 0) ? 1 : -1));
}
static inline u16 fma_h(u16 a, u16 b, u16 c) { return d2h(fused_to_odd(h2f(a), h2f(b), h2f(c))); }
static inline u16 fma_b(u16 a, u16 b, u16 c) { return d2b(fused_to_odd(b2f(a), b2f(b), b2f(c))); }
IN u32 tf32_rna(f32 x) {
  return x != x ? 0x7fffffff : (bits(x) & 0x7f800000) == 0x7f800000 ? bits(x) : (bits(x) + 0x1000) & ~0x1fffu;
}
IN u32 tf32_rn(f32 x) { return x != x ? 0x7fffffff : (bits(x) + 0xfff + (bits(x) >> 13 & 1)) & ~0x1fffu; }
IN u32 tf32_rz(f32 x) { return x != x ? 0x7fffffff : bits(x) & ~0x1fffu; }

// The approximations of double precision look at the first 32 bits of a number and give the first 32.
IN f64 first_half(f64 x) { return D(bits(x) & 0xffffffff00000000ull); }
IN f64 flush(f64 x) { return __builtin_fabs(x) < 2.2250738585072014e-308 ? __builtin_copysign(0, x) : x; }
static inline f64 rcp_approx(f64 x) { return first_half(flush(1 / flush(first_half(x)))); }
static inline f64 rsqrt_approx(f64 x) { return first_half(1 / root(flush(first_half(x)))); }
IN f32 test_subnormal(f32 x) { return x != 0 && flush(x) == 0; }
IN f64 test_subnormal(f64 x) { return x != 0 && flush(x) == 0; }

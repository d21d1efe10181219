// Bits, and the addresses that a kernel reads and writes.

template <class T, class F>
IN T cast(F from) {
  static_assert(sizeof(T) == sizeof(F));
  T to;
  __builtin_memcpy(&to, &from, sizeof to);
  return to;
}
IN u32 bits(f32 x) { return cast<u32>(x); }
IN u64 bits(f64 x) { return cast<u64>(x); }
IN f32 F(u32 x) { return cast<f32>(x); }
IN f64 D(u64 x) { return cast<f64>(x); }
IN u32 pack(u16 low, u16 high) { return low | (u32)high << 16; }
IN u16 low(u32 x) { return x; }
IN u16 high(u32 x) { return x >> 16; }

__attribute__((noinline, cold)) static void misaligned(u64 address, int bytes) {
  fault("misaligned address 0x%llx of %d bytes", address, bytes);
}
enum Access { READ, WRITE, ATOMIC };
#ifdef RACES
static void note(const Thread* t, u64 address, int bytes, Access access);
#else
IN void note(const Thread*, u64, int, Access) {}
#endif
#ifdef COUNTS
static void count(const Thread* t, u64 address, int bytes, Access access, u32 line);
#else
IN void count(const Thread*, u64, int, Access, u32) {}
#endif
// The address of what `me` reads or writes; a GPU refuses one that is no multiple of its size.
template <Access access>
IN u64 accessed(u64 address, int bytes, u32 line) {
  if (__builtin_expect(address & (bytes - 1), 0)) misaligned(address, bytes);
  note(me, address, bytes, access);
  count(me, address, bytes, access, line);
  return address;
}
__attribute__((noinline, cold)) static void outside(u32 offset, int bytes) {
  fault("shared address %u (%d bytes) is outside of the block's %u bytes", offset, bytes, shared_bytes);
}
IN u64 in_shared(u64 address, int bytes) {
  u32 offset = address;
  if (__builtin_expect((u64)offset + bytes > shared_bytes, 0)) outside(offset, bytes);
  return (u64)shared + offset;
}
template <class T>
IN T& at(u64 address) {
  return *(T*)address;
}
IN bool is_shared(u64 generic) { return generic - (u64)shared < MOST_SHARED; }
IN bool is_local(u64 generic) { return generic - (u64)ptx_stacks < (u64)MOST_THREADS * STACK; }
IN bool is_param(u64 generic) { return generic - (u64)parameters < sizeof parameters; }

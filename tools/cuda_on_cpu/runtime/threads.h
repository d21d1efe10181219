// Threads of a block as fibers, and how they fail.

enum State : u8 { READY, AT_WARP, AT_BARRIER, DONE };
constexpr u32 MOST_THREADS = 1024, STACK = 256 * 1024, MOST_SHARED = 227 * 1024, MARGIN = 4096;

struct Thread;
typedef void (*Operation)(Thread* warp, u32 members);  // what the lanes `members` of a warp do together

struct Thread {
  void* stack;          // where it stands, while another one runs
  u32 x, y, z;          // tid
  u32 number, lane;     // its place in the block and in the warp
  u32 mask;             // at a warp's operation: the lanes that it waits for
  Operation operation;  // and what they will do
  u32 in[12], out[4];   // what this lane brings to it, and what it takes away
  u32 barrier, line;    // which one it waits at, and where in the PTX
  u32 met;              // when a barrier last let it go on
  State state;
};
struct Barrier {
  u32 arrived, holding;  // threads, and those of them that brought a true predicate
};

static Thread threads[MOST_THREADS], *me;
static Barrier barriers[16];
static u32 thread_count, alive, ntid[3], ctaid[3], nctaid[3], dynamic_bytes, static_bytes, shared_bytes;
alignas(128) static u8 shared[MOST_SHARED + MARGIN];
alignas(64) static u8 parameters[32768];
static void (*kernel)(const u8*);
static void* scheduler;  // its stack
static char message[600];
static bool failed;

// One pool of stacks and one lock for all modules of a process: the dynamic linker unites inline variables.
inline char* ptx_stacks;
inline int ptx_lock;

// Keep this stack's place in *from and go on where `to` stood.
extern "C" __attribute__((visibility("hidden"))) void ptx_switch(void** from, void* to);
asm(R"(
.text
.hidden ptx_switch
.globl ptx_switch
.type ptx_switch, @function
ptx_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size ptx_switch, .-ptx_switch
)");

__attribute__((noinline)) static void yield_() { ptx_switch(&me->stack, scheduler); }

[[noreturn]] __attribute__((noinline, cold)) static void fault(const char* format, ...) {
  va_list list;
  va_start(list, format);
  int n = snprintf(message, sizeof message, "block (%u, %u, %u), thread (%u, %u, %u): ", ctaid[0], ctaid[1], ctaid[2],
                   me->x, me->y, me->z);
  vsnprintf(message + n, sizeof message - n, format, list);
  va_end(list);
  failed = true;
  yield_();
  __builtin_unreachable();
}

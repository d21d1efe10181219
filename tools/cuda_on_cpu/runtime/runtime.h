// What code translated from PTX needs around it: the arithmetic of PTX instructions, and the blocks, warps and threads
// that run it. It includes only small C headers, so that the many small modules of CuPy compile quickly.
//
// Addresses: generic, global, const, local and param addresses are the host's. A shared address is an offset into the
// block's buffer `shared`.

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

typedef unsigned char u8;
typedef signed char s8;
typedef unsigned short u16;
typedef short s16;
typedef unsigned u32;
typedef int s32;
typedef unsigned long long u64;
typedef long long s64;
typedef unsigned __int128 u128;
typedef __int128 s128;
typedef float f32;
typedef double f64;
extern "C" char* getenv(const char*);
extern "C" void* malloc(size_t);
extern "C" void free(void*);
extern "C" int sched_yield();

#define IN static inline __attribute__((always_inline))

#include "threads.h"
#include "memory.h"
#include "races.h"
#include "counts.h"
#include "integers.h"
#include "floats.h"
#include "warps.h"
#include "blocks.h"
#include "launch.h"

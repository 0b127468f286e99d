/* The part of GCC's <immintrin.h> that the kernels use. The whole declares every instruction of x86, which takes
   longer than compiling a kernel. */

#if defined(__GNUC__) && !defined(__clang__)

#define _IMMINTRIN_H_INCLUDED /* the headers below refuse to be included without it */
#include <emmintrin.h>
#include <smmintrin.h>
#include <avxintrin.h>
#include <avx2intrin.h>
#include <fmaintrin.h>
#if defined(ISA_AVX512)
#include <avx512fintrin.h>
#endif

#else
#include_next <immintrin.h>
#endif

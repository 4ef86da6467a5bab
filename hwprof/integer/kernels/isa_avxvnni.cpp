// AVX-VNNI: 256-bit dot products on client processors without AVX-512. Compiled with -mavx2 -mavxvnni; with
// HWPROF_STAND_IN and -mavx512vl -mavx512vnni, whose dot product of 256 bits is the same in another encoding.
#include <cpuid.h>
#include <immintrin.h>

namespace hwprof {
namespace {

struct Dot {
  static constexpr int kRows = 3;
  static constexpr bool kIsSigned = false;
  template <typename Isa>
  using Whole = Isa;
  using Bytes = __m256i;
  static Bytes from(__m256i bytes) { return bytes; }
  static __m256i dot(__m256i sum, Bytes a, __m256i w) {
#if defined(HWPROF_STAND_IN)
    return _mm256_dpbusd_epi32(sum, a, w);
#else
    return _mm256_dpbusd_avx_epi32(sum, a, w);
#endif
  }
};

}  // namespace
}  // namespace hwprof

#include "avx256.inl"

namespace hwprof {
namespace {
bool runs_here() {
#if defined(HWPROF_STAND_IN)
  return __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
#else
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  // Whether the system saves the registers is what the check for AVX2 looks at.
  return __builtin_cpu_supports("avx2") && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax >> 4 & 1);
#endif
}
}  // namespace
const InstructionSet kAvxVnni{"avx-vnni", runs_here, Isa::kIsSigned, false, run, multiply_registers};
}  // namespace hwprof

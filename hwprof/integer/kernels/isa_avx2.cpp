// AVX2. Compiled with -mavx2.
#define HWPROF_SUMS_PARTS
#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace hwprof {
namespace {

// In 16 bits, the even and the odd bytes apart: twice the multiplications, but for any byte and any int8.
struct WideDot {
  static constexpr bool kIsSigned = false;
  struct Halves {
    __m256i even, odd;
  };
  static Halves broadcast(const uint8_t* p) {
    int32_t four;
    memcpy(&four, p, sizeof four);
    const __m256i bytes = _mm256_set1_epi32(four);
    return {_mm256_and_si256(bytes, _mm256_set1_epi16(0xff)), _mm256_srli_epi16(bytes, 8)};
  }
  static Halves weights(const int8_t* p) {
    const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return {_mm256_srai_epi16(_mm256_slli_epi16(bytes, 8), 8), _mm256_srai_epi16(bytes, 8)};
  }
  static __m256i dot(__m256i sum, Halves a, Halves w) {
    const __m256i even = _mm256_madd_epi16(a.even, w.even), odd = _mm256_madd_epi16(a.odd, w.odd);
    return _mm256_add_epi32(sum, _mm256_add_epi32(even, odd));
  }
};

// vpmaddubsw adds two products in 16 bits, which |a| * +-w cannot exceed as long as a is an int8 and w in +-127.
struct Dot {
  static constexpr int kRows = 2;
  static constexpr bool kIsSigned = true;
  template <typename>
  using Whole = WideDot;
  struct Bytes {
    __m256i value, magnitude;
  };
  static Bytes from(__m256i unsigned_bytes) {
    const __m256i value = _mm256_xor_si256(unsigned_bytes, _mm256_set1_epi8(char(0x80)));
    return {value, _mm256_abs_epi8(value)};
  }
  static __m256i dot(__m256i sum, Bytes a, __m256i w) {
    const __m256i pairs = _mm256_maddubs_epi16(a.magnitude, _mm256_sign_epi8(w, a.value));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
};

}  // namespace
}  // namespace hwprof

#include "avx256.inl"

namespace hwprof {
const InstructionSet kAvx2{"avx2", [] { return bool(__builtin_cpu_supports("avx2")); }, Isa::kIsSigned, true, run, multiply_registers};
}

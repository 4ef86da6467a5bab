// 256-bit vectors: everything but the dot product, which AVX2 and AVX-VNNI do in different ways.
//
// Include with `Dot` defined: a struct with kRows, kIsSigned, Bytes, from(__m256i of uint8), dot(sum, bytes, w) and
// Whole<Isa>, the type that multiplies by weights of -128, too.
#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "one_word.inl"
#include "plan.h"

namespace hwprof {
namespace {

struct Isa {
  static constexpr int kLanes = 8;
  static constexpr int kRows = Dot::kRows;
  static constexpr bool kIsSigned = Dot::kIsSigned;

  using Ints = __m256i;
  using Bytes = Dot::Bytes;

  using Words = OneWord;
  using Whole = Dot::Whole<Isa>;

  static Ints every(int32_t value) { return _mm256_set1_epi32(value); }
  static Ints nothing() { return _mm256_setzero_si256(); }
  static Ints load(const int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static Ints weights(const int8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static Ints add(Ints a, Ints b) { return _mm256_add_epi32(a, b); }
  static Bytes broadcast(const uint8_t* p) {
    int32_t four;
    memcpy(&four, p, sizeof four);
    return Dot::from(_mm256_set1_epi32(four));
  }
  static Ints dot(Ints sum, Bytes bytes, Ints w) { return Dot::dot(sum, bytes, w); }
  static void keep(Ints& sum) { asm volatile("" : "+x"(sum)); }

  static __m256i bytes_at(const uint8_t* p, int valid) {
    if (valid == 32) return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    uint8_t padded[32] = {};
    memcpy(padded, p, size_t(valid));
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(padded));
  }
  INLINE static void interleave(const uint8_t* r0, const uint8_t* r1, const uint8_t* r2, const uint8_t* r3, int valid,
                         Bytes* bytes) {
    const __m256i a = bytes_at(r0, valid), b = bytes_at(r1, valid), c = bytes_at(r2, valid), d = bytes_at(r3, valid);
    const __m256i low01 = _mm256_unpacklo_epi8(a, b), high01 = _mm256_unpackhi_epi8(a, b);
    const __m256i low23 = _mm256_unpacklo_epi8(c, d), high23 = _mm256_unpackhi_epi8(c, d);
    bytes[0] = Dot::from(_mm256_unpacklo_epi16(low01, low23));
    bytes[1] = Dot::from(_mm256_unpackhi_epi16(low01, low23));
    bytes[2] = Dot::from(_mm256_unpacklo_epi16(high01, high23));
    bytes[3] = Dot::from(_mm256_unpackhi_epi16(high01, high23));
  }

  INLINE static void pairs(const uint8_t* x, const uint8_t* x2, int valid, Ints* pairs) {
    const Ints a = bytes_at(x, valid), b = x2 ? bytes_at(x2, valid) : nothing();
    const Ints low = _mm256_unpacklo_epi8(a, b), high = _mm256_unpackhi_epi8(a, b);
    pairs[0] = _mm256_unpacklo_epi8(low, nothing());
    pairs[1] = _mm256_unpackhi_epi8(low, nothing());
    pairs[2] = _mm256_unpacklo_epi8(high, nothing());
    pairs[3] = _mm256_unpackhi_epi8(high, nothing());
  }
  static Ints of_pairs(Ints a, Ints b) { return _mm256_madd_epi16(a, b); }
  static Ints shifted(Ints a, int places) { return _mm256_sra_epi32(a, _mm_cvtsi32_si128(places)); }

  // As for AVX-512, but without a 64-bit arithmetic shift: 2^63 is added before a logical one, and the rest of it
  // is subtracted afterwards.
  struct Scale {
    Ints even, odd, even_shift, odd_shift, even_rounding, odd_rounding, excess;
    INLINE Scale(const int32_t* m, const int32_t* s, int zero) {
      const Ints shift = load(s), one = _mm256_set1_epi64x(1), sign = _mm256_set1_epi64x(INT64_MIN);
      const Ints twice = _mm256_set1_epi64x(2 * int64_t(zero) + 1);
      even = load(m);
      odd = _mm256_srli_epi64(even, 32);
      even_shift = _mm256_and_si256(shift, _mm256_set1_epi64x(0xffffffff));
      odd_shift = _mm256_srli_epi64(shift, 32);
      even_rounding = _mm256_add_epi64(_mm256_sllv_epi64(twice, _mm256_sub_epi64(even_shift, one)), sign);
      odd_rounding = _mm256_add_epi64(_mm256_sllv_epi64(twice, _mm256_sub_epi64(odd_shift, one)), sign);
      odd_shift = _mm256_sub_epi64(odd_shift, _mm256_set1_epi64x(32));
      excess = _mm256_blend_epi32(_mm256_srlv_epi64(sign, even_shift), _mm256_srlv_epi64(sign, odd_shift), 0xaa);
    }
    INLINE Ints apply(Ints sum) const {
      const Ints low = _mm256_add_epi64(_mm256_mul_epi32(sum, even), even_rounding);
      const Ints high = _mm256_add_epi64(_mm256_mul_epi32(_mm256_srli_epi64(sum, 32), odd), odd_rounding);
      const Ints both =
          _mm256_blend_epi32(_mm256_srlv_epi64(low, even_shift), _mm256_srlv_epi64(high, odd_shift), 0xaa);
      return _mm256_sub_epi32(both, excess);
    }
  };

  INLINE static void store_clipped(uint8_t* y, __m256i bytes, int low, int high, int valid) {
    const __m256i clipped =
        _mm256_min_epu8(_mm256_max_epu8(bytes, _mm256_set1_epi8(char(low))), _mm256_set1_epi8(char(high)));
    if (valid == 32) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(y), clipped);
    } else {
      uint8_t all[32];
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(all), clipped);
      memcpy(y, all, size_t(valid));
    }
  }
  static __m256i packed(const Ints* sums) {
    return _mm256_packus_epi16(_mm256_packs_epi32(sums[0], sums[1]), _mm256_packs_epi32(sums[2], sums[3]));
  }
  INLINE static void store_row(uint8_t* y, const Ints* sums, int low, int high, int columns) {
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    store_clipped(y, _mm256_permutevar8x32_epi32(packed(sums), order), low, high, columns);
  }
  INLINE static void store_channels(uint8_t* y, const Ints* sums, int low, int high, int valid) {
    store_clipped(y, packed(sums), low, high, valid);
  }
  static Ints lift(Ints sum) { return _mm256_slli_epi32(sum, kLift); }
  INLINE static void store_gates(int16_t* y, const Ints* sums) {
    for (int half = 0; half < 2; ++half) {
      const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(sums[2 * half], sums[2 * half + 1]), 0xd8);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(y + 16 * half), words);
    }
  }
  static void look_up(const uint8_t* x, uint8_t* y, int64_t n, const uint8_t* table) {
    for (int64_t i = 0; i < n; ++i) y[i] = table[x[i]];
  }

  template <bool IsLower>
  static Ints upper_half(Ints packed) {
    return _mm256_and_si256(IsLower ? _mm256_slli_epi16(packed, 4) : packed, _mm256_set1_epi8(char(0xf0)));
  }
  static Ints sixteenth(Ints sum) { return _mm256_srai_epi32(sum, 4); }
  static Ints sixteen(const int8_t* p) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static Ints at(Ints values, Ints places) { return _mm256_shuffle_epi8(values, places); }
  template <int Shift, int Mask>
  static Ints bits(Ints packed) {
    return _mm256_and_si256(_mm256_srli_epi16(packed, Shift), _mm256_set1_epi8(Mask));
  }
  // Each byte of bits goes to eight bytes, of which each keeps one bit.
  static Ints either(const int8_t* bits, int8_t zero, int8_t one) {
    int32_t four;
    memcpy(&four, bits, sizeof four);
    const __m256i spread = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i own = _mm256_set1_epi64x(int64_t(0x8040201008040201));
    const __m256i bytes = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(four), spread), own);
    return _mm256_blendv_epi8(_mm256_set1_epi8(zero), _mm256_set1_epi8(one), _mm256_cmpeq_epi8(bytes, own));
  }
  static Ints word(const uint8_t* p) {
    int32_t four;
    memcpy(&four, p, sizeof four);
    return _mm256_set1_epi32(four);
  }
  static Ints count_differing(Ints sum, Ints a, Ints b) {
    const Ints counts = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
    const Ints differing = _mm256_xor_si256(a, b);
    const Ints both = _mm256_add_epi8(at(counts, bits<0, 15>(differing)), at(counts, bits<4, 15>(differing)));
    const Ints pairs = _mm256_maddubs_epi16(both, _mm256_set1_epi8(1));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  static Ints less_twice(Ints a, Ints b) { return _mm256_sub_epi32(a, _mm256_add_epi32(b, b)); }
  static uint32_t reaches(const uint8_t* p, int least) {
    const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    const __m256i is_reached = _mm256_cmpeq_epi8(_mm256_max_epu8(bytes, _mm256_set1_epi8(char(least))), bytes);
    return uint32_t(_mm256_movemask_epi8(is_reached));
  }
};

}  // namespace
}  // namespace hwprof

#include "steps.inl"

// 512-bit vectors with VNNI's dot product.
#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "plan.h"

namespace hwprof {
namespace {

struct Isa {
  static constexpr int kLanes = 16;
  static constexpr int kRows = 12;  // 24 sums, 2 columns of weights, one row
  static constexpr bool kIsSigned = false;

  using Ints = __m512i;
  using Bytes = __m512i;

  using Whole = Isa;

  static Ints every(int32_t value) { return _mm512_set1_epi32(value); }
  static Ints nothing() { return _mm512_setzero_si512(); }
  static Ints load(const int32_t* p) { return _mm512_loadu_si512(p); }
  static Ints weights(const int8_t* p) { return _mm512_loadu_si512(p); }
  static Ints add(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
  static Bytes broadcast(const uint8_t* p) {
    int32_t four;
    memcpy(&four, p, sizeof four);
    return _mm512_set1_epi32(four);
  }
  // Not the intrinsic: GCC 12 gives its sums a second register each and spills half of them.
  INLINE static Ints dot(Ints sum, Bytes bytes, Ints w) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(bytes), "v"(w));
    return sum;
  }
  static void keep(Ints& sum) { asm volatile("" : "+v"(sum)); }

  static __mmask64 first(int n) { return n >= 64 ? ~__mmask64(0) : (__mmask64(1) << n) - 1; }

  INLINE static void interleave(const uint8_t* r0, const uint8_t* r1, const uint8_t* r2, const uint8_t* r3, int valid,
                         Bytes* bytes) {
    __m512i row[kQuad];
    if (valid == 64) {
      row[0] = _mm512_loadu_si512(r0), row[1] = _mm512_loadu_si512(r1);
      row[2] = _mm512_loadu_si512(r2), row[3] = _mm512_loadu_si512(r3);
    } else {
      const __mmask64 mask = first(valid);
      row[0] = _mm512_maskz_loadu_epi8(mask, r0), row[1] = _mm512_maskz_loadu_epi8(mask, r1);
      row[2] = _mm512_maskz_loadu_epi8(mask, r2), row[3] = _mm512_maskz_loadu_epi8(mask, r3);
    }
    const __m512i low01 = _mm512_unpacklo_epi8(row[0], row[1]), high01 = _mm512_unpackhi_epi8(row[0], row[1]);
    const __m512i low23 = _mm512_unpacklo_epi8(row[2], row[3]), high23 = _mm512_unpackhi_epi8(row[2], row[3]);
    bytes[0] = _mm512_unpacklo_epi16(low01, low23);
    bytes[1] = _mm512_unpackhi_epi16(low01, low23);
    bytes[2] = _mm512_unpacklo_epi16(high01, high23);
    bytes[3] = _mm512_unpackhi_epi16(high01, high23);
  }

  INLINE static void pairs(const uint8_t* x, const uint8_t* x2, int valid, Ints* pairs) {
    const __mmask64 mask = first(valid);
    const Ints a = _mm512_maskz_loadu_epi8(mask, x), b = x2 ? _mm512_maskz_loadu_epi8(mask, x2) : nothing();
    const Ints low = _mm512_unpacklo_epi8(a, b), high = _mm512_unpackhi_epi8(a, b);
    pairs[0] = _mm512_unpacklo_epi8(low, nothing());
    pairs[1] = _mm512_unpackhi_epi8(low, nothing());
    pairs[2] = _mm512_unpacklo_epi8(high, nothing());
    pairs[3] = _mm512_unpackhi_epi8(high, nothing());
  }
  static Ints of_pairs(Ints a, Ints b) { return _mm512_madd_epi16(a, b); }
  static Ints shifted(Ints a, int places) { return _mm512_sra_epi32(a, _mm_cvtsi32_si128(places)); }

  // Products of 64 bits, the even and the odd lanes apart. What their upper halves are still shifted by is less than 32.
  struct Scale {
    Ints even, odd, even_rounding, odd_rounding, shift;
    INLINE Scale(const int32_t* m, const int32_t* s, int zero) {
      const Ints places = load(s), one = _mm512_set1_epi64(1);
      const Ints twice = _mm512_set1_epi64(2 * int64_t(zero) + 1);  // halves of the zero point, and one to round
      even = load(m);
      odd = _mm512_srli_epi64(even, 32);
      const Ints even_shift = _mm512_and_si512(places, _mm512_set1_epi64(0xffffffff));
      even_rounding = _mm512_sllv_epi64(twice, _mm512_sub_epi64(even_shift, one));
      odd_rounding = _mm512_sllv_epi64(twice, _mm512_sub_epi64(_mm512_srli_epi64(places, 32), one));
      shift = _mm512_sub_epi32(places, _mm512_set1_epi32(32));
    }
    INLINE Ints apply(Ints sum) const {
      const Ints low = _mm512_add_epi64(_mm512_mul_epi32(sum, even), even_rounding);
      const Ints high = _mm512_add_epi64(_mm512_mul_epi32(_mm512_srli_epi64(sum, 32), odd), odd_rounding);
      return _mm512_srav_epi32(_mm512_mask_shuffle_epi32(high, 0x5555, low, _MM_PERM_DDBB), shift);
    }
  };

  INLINE static void store_row(uint8_t* y, const Ints* sums, int low, int high, int columns) {
    const Ints words = _mm512_packs_epi32(sums[0], sums[1]);
    const Ints bytes = _mm512_packus_epi16(words, words);  // each 128-bit lane: 4 of the first, 4 of the second, twice
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 0, 0, 0, 0, 0, 0, 0, 0);
    const __m256i row = _mm512_castsi512_si256(_mm512_permutexvar_epi32(order, bytes));
    const __m256i clipped =
        _mm256_min_epu8(_mm256_max_epu8(row, _mm256_set1_epi8(char(low))), _mm256_set1_epi8(char(high)));
    if (columns == kPanel)
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(y), clipped);
    else
      _mm256_mask_storeu_epi8(y, __mmask32(first(columns)), clipped);
  }

  INLINE static void store_channels(uint8_t* y, const Ints* sums, int low, int high, int valid) {
    const Ints bytes = _mm512_packus_epi16(_mm512_packs_epi32(sums[0], sums[1]), _mm512_packs_epi32(sums[2], sums[3]));
    const Ints clipped =
        _mm512_min_epu8(_mm512_max_epu8(bytes, _mm512_set1_epi8(char(low))), _mm512_set1_epi8(char(high)));
    if (valid == 64)
      _mm512_storeu_si512(y, clipped);
    else
      _mm512_mask_storeu_epi8(y, first(valid), clipped);
  }

  static Ints lift(Ints sum) { return _mm512_slli_epi32(sum, kLift); }
  INLINE static void store_gates(int16_t* y, const Ints* sums) {
    const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    _mm512_storeu_si512(y, _mm512_permutexvar_epi64(order, _mm512_packs_epi32(sums[0], sums[1])));
  }

  // As `OneWord`, 32 at once.
  struct Words {
    static constexpr int kLanes = 32;
    using Vector = __m512i;
    struct Knots {  // and slopes: two registers each
      Vector at[4];
      explicit Knots(const int16_t* table) {
        for (int i = 0; i < 4; ++i) at[i] = _mm512_loadu_si512(table + 32 * i);
      }
    };

    static Vector load(const int16_t* p) { return _mm512_loadu_si512(p); }
    static void store(int16_t* p, Vector v) { _mm512_storeu_si512(p, v); }
    static Vector add(Vector a, Vector b) { return _mm512_adds_epi16(a, b); }
    static Vector times(Vector a, Vector b) { return _mm512_mulhrs_epi16(a, b); }
    template <int Places>
    static Vector rounded(Vector v) {
      return _mm512_srai_epi16(_mm512_adds_epi16(v, _mm512_set1_epi16(1 << (Places - 1))), Places);
    }
    // share * b + (2^15 - share) * a, in 32 bits; 2^15 does not fit into 16.
    INLINE static Vector between(Vector share, Vector a, Vector b) {
      const Vector minus = _mm512_sub_epi16(_mm512_setzero_si512(), a), half = _mm512_set1_epi32(1 << 14);
      const auto mixed = [&](Vector shares, Vector states, Vector wholes) INLINE {
        const Vector sum = _mm512_add_epi32(_mm512_madd_epi16(shares, states), _mm512_srai_epi32(wholes, 1));
        return _mm512_srai_epi32(_mm512_add_epi32(sum, half), 15);
      };
      const Vector zero = _mm512_setzero_si512();
      return _mm512_packs_epi32(
          mixed(_mm512_unpacklo_epi16(share, share), _mm512_unpacklo_epi16(b, minus), _mm512_unpacklo_epi16(zero, a)),
          mixed(_mm512_unpackhi_epi16(share, share), _mm512_unpackhi_epi16(b, minus), _mm512_unpackhi_epi16(zero, a)));
    }
    template <int Places>
    INLINE static Vector tanh(Vector x, const Knots& table) {
      const Vector far = _mm512_set1_epi16(short((kSegments << Places) - 1));
      const Vector at = _mm512_min_epu16(_mm512_abs_epi16(x), far), segment = _mm512_srli_epi16(at, Places);
      const Vector share =
          _mm512_slli_epi16(_mm512_and_si512(at, _mm512_set1_epi16((1 << Places) - 1)), 15 - Places);
      const Vector knot = _mm512_permutex2var_epi16(table.at[0], segment, table.at[1]);
      const Vector slope = _mm512_permutex2var_epi16(table.at[2], segment, table.at[3]);
      const Vector value = _mm512_add_epi16(knot, _mm512_mulhrs_epi16(slope, share));
      return _mm512_mask_sub_epi16(value, _mm512_movepi16_mask(x), nothing(), value);
    }
    INLINE static Vector sigmoid(Vector x, const Knots& table) {
      return _mm512_add_epi16(_mm512_srai_epi16(tanh<9>(x, table), 1), _mm512_set1_epi16(1 << 14));
    }
    INLINE static void store_bytes(uint8_t* y, Vector v, const Step& s) {
      const Vector factor = _mm512_set1_epi32(s.factor), offset = _mm512_set1_epi32(s.offset);
      const Vector most = _mm512_set1_epi32(s.high), least = _mm512_set1_epi32(s.low);
      const __m128i places = _mm_cvtsi32_si128(s.places);
      for (int half = 0; half < 2; ++half) {
        const __m256i words = half ? _mm512_extracti64x4_epi64(v, 1) : _mm512_castsi512_si256(v);
        const Vector product = _mm512_mullo_epi32(_mm512_cvtepi16_epi32(words), factor);
        const Vector scaled = _mm512_sra_epi32(_mm512_add_epi32(product, offset), places);
        const Vector clipped = _mm512_min_epi32(_mm512_max_epi32(scaled, least), most);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(y + 16 * half), _mm512_cvtepi32_epi8(clipped));
      }
    }
  };
  static void look_up(const uint8_t* x, uint8_t* y, int64_t n, const uint8_t* table) {
    // Words: the upper seven bits of a byte choose one of four registers' pairs of bytes, the lowest one of the pair.
    const Ints words[4] = {_mm512_loadu_si512(table), _mm512_loadu_si512(table + 64), _mm512_loadu_si512(table + 128),
                           _mm512_loadu_si512(table + 192)};
    const Ints low = _mm512_set1_epi16(0xff), one = _mm512_set1_epi16(1);
    const auto found = [&](Ints bytes) INLINE {  // a byte in each word, and so the result
      const Ints at = _mm512_srli_epi16(bytes, 1);
      const Ints near = _mm512_permutex2var_epi16(words[0], at, words[1]);
      const Ints far = _mm512_permutex2var_epi16(words[2], at, words[3]);
      const Ints pair = _mm512_mask_blend_epi16(_mm512_test_epi16_mask(bytes, _mm512_set1_epi16(128)), near, far);
      const Ints odd = _mm512_srli_epi16(pair, 8);
      return _mm512_mask_blend_epi16(_mm512_test_epi16_mask(bytes, one), _mm512_and_si512(pair, low), odd);
    };
    int64_t i = 0;
    for (; i + 64 <= n; i += 64) {
      const Ints bytes = _mm512_loadu_si512(x + i);
      const Ints even = found(_mm512_and_si512(bytes, low)), odd = found(_mm512_srli_epi16(bytes, 8));
      _mm512_storeu_si512(y + i, _mm512_or_si512(even, _mm512_slli_epi16(odd, 8)));
    }
    for (; i < n; ++i) y[i] = table[x[i]];
  }

  template <bool IsLower>
  static Ints upper_half(Ints packed) {
    return _mm512_and_si512(IsLower ? _mm512_slli_epi16(packed, 4) : packed, _mm512_set1_epi8(char(0xf0)));
  }
  static Ints sixteenth(Ints sum) { return _mm512_srai_epi32(sum, 4); }
  static Ints sixteen(const int8_t* p) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static Ints at(Ints values, Ints places) { return _mm512_shuffle_epi8(values, places); }
  template <int Shift, int Mask>
  static Ints bits(Ints packed) {
    return _mm512_and_si512(_mm512_srli_epi16(packed, Shift), _mm512_set1_epi8(Mask));
  }
  static Ints either(const int8_t* bits, int8_t zero, int8_t one) {
    uint64_t mask;
    memcpy(&mask, bits, sizeof mask);
    return _mm512_mask_blend_epi8(mask, _mm512_set1_epi8(zero), _mm512_set1_epi8(one));
  }
  static Ints word(const uint8_t* p) { return broadcast(p); }
  // Bits of each half of a byte by a table; the dot product adds up the four bytes.
  static Ints count_differing(Ints sum, Ints a, Ints b) {
    const Ints counts = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
    const Ints differing = _mm512_xor_si512(a, b);
    const Ints lower = at(counts, bits<0, 15>(differing)), upper = at(counts, bits<4, 15>(differing));
    return dot(sum, _mm512_add_epi8(lower, upper), _mm512_set1_epi8(1));
  }
  static Ints less_twice(Ints a, Ints b) { return _mm512_sub_epi32(a, _mm512_add_epi32(b, b)); }
  static uint32_t reaches(const uint8_t* p, int least) {
    const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm256_cmpge_epu8_mask(bytes, _mm256_set1_epi8(char(least)));
  }
};

}  // namespace
}  // namespace hwprof

#include "steps.inl"

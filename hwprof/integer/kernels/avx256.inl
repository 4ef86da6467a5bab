// 256-bit vectors: everything but the dot product, which AVX2 and AVX-VNNI do in different ways.
//
// Include with `Dot` defined: a struct with kRows, kIsSigned, Bytes, from(__m256i of uint8), dot(sum, bytes, w) and
// Whole<Isa>, the type that multiplies by weights of -128, too.
#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "plan.h"

namespace hwprof {
namespace {

struct Isa {
  static constexpr int kLanes = 8;
  static constexpr int kRows = Dot::kRows;
  static constexpr bool kIsSigned = Dot::kIsSigned;

  using Ints = __m256i;
  using Bytes = Dot::Bytes;

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
    const __m128i low = sixteen_at(p, valid), high = valid > 16 ? sixteen_at(p + 16, valid - 16) : _mm_setzero_si128();
    return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
  }
  // The first of them, and 0 after: without a call, which a copy of a length known only here would be.
  static __m128i sixteen_at(const uint8_t* p, int valid) {
    if (valid >= 16) return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    uint64_t low = 0, high = 0;
    if (valid >= 8) {
      memcpy(&low, p, 8);
      memcpy(&high, p + valid - 8, 8);  // the last of them, of which some are in `low`
      high = valid == 8 ? 0 : high >> (8 * (16 - valid));
    } else {
      for (int i = 0; i < valid; ++i) low |= uint64_t(p[i]) << (8 * i);
    }
    return _mm_set_epi64x(int64_t(high), int64_t(low));
  }
  static void store_sixteen(uint8_t* y, __m128i bytes, int valid) {
    if (valid >= 16) return _mm_storeu_si128(reinterpret_cast<__m128i*>(y), bytes);
    auto left = uint64_t(_mm_cvtsi128_si64(bytes));
    if (valid >= 8) {
      memcpy(y, &left, 8);
      y += 8, valid -= 8;
      left = uint64_t(_mm_extract_epi64(bytes, 1));
    }
    for (; valid > 0; --valid, left >>= 8) *y++ = uint8_t(left);
  }
  INLINE static void interleave(const uint8_t* r0, const uint8_t* r1, const uint8_t* r2, const uint8_t* r3, int valid,
                                Bytes* bytes) {
    Ints plain[4];
    interleave_plain(r0, r1, r2, r3, valid, plain);
    for (int i = 0; i < 4; ++i) bytes[i] = Dot::from(plain[i]);
  }
  INLINE static void interleave_plain(const uint8_t* r0, const uint8_t* r1, const uint8_t* r2, const uint8_t* r3,
                                      int valid, Ints* bytes) {
    const __m256i a = bytes_at(r0, valid), b = bytes_at(r1, valid), c = bytes_at(r2, valid), d = bytes_at(r3, valid);
    const __m256i low01 = _mm256_unpacklo_epi8(a, b), high01 = _mm256_unpackhi_epi8(a, b);
    const __m256i low23 = _mm256_unpacklo_epi8(c, d), high23 = _mm256_unpackhi_epi8(c, d);
    bytes[0] = _mm256_unpacklo_epi16(low01, low23);
    bytes[1] = _mm256_unpackhi_epi16(low01, low23);
    bytes[2] = _mm256_unpacklo_epi16(high01, high23);
    bytes[3] = _mm256_unpackhi_epi16(high01, high23);
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

  // Products of 64 bits, the even and the odd lanes apart. What their upper halves are still shifted by is less than 32.
  struct Scale {
    Ints even, odd, even_rounding, odd_rounding, shift;
    INLINE Scale(const int32_t* m, const int32_t* s, int zero) {
      const Ints places = load(s), one = _mm256_set1_epi64x(1);
      const Ints twice = _mm256_set1_epi64x(2 * int64_t(zero) + 1);  // halves of the zero point, and one to round
      even = load(m);
      odd = _mm256_srli_epi64(even, 32);
      const Ints even_shift = _mm256_and_si256(places, _mm256_set1_epi64x(0xffffffff));
      even_rounding = _mm256_sllv_epi64(twice, _mm256_sub_epi64(even_shift, one));
      odd_rounding = _mm256_sllv_epi64(twice, _mm256_sub_epi64(_mm256_srli_epi64(places, 32), one));
      shift = _mm256_sub_epi32(places, every(32));
    }
    INLINE Ints apply(Ints sum) const {
      const Ints low = _mm256_add_epi64(_mm256_mul_epi32(sum, even), even_rounding);
      const Ints high = _mm256_add_epi64(_mm256_mul_epi32(_mm256_srli_epi64(sum, 32), odd), odd_rounding);
      return _mm256_srav_epi32(_mm256_blend_epi32(_mm256_srli_epi64(low, 32), high, 0xaa), shift);
    }
  };

  INLINE static void store_clipped(uint8_t* y, __m256i bytes, int low, int high, int valid) {
    const __m256i clipped =
        _mm256_min_epu8(_mm256_max_epu8(bytes, _mm256_set1_epi8(char(low))), _mm256_set1_epi8(char(high)));
    if (valid == 32) return _mm256_storeu_si256(reinterpret_cast<__m256i*>(y), clipped);
    store_sixteen(y, _mm256_castsi256_si128(clipped), valid);
    if (valid > 16) store_sixteen(y + 16, _mm256_extracti128_si256(clipped, 1), valid - 16);
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
  // As `OneWord`, 32 at once: the even and the odd halves of a register's 128-bit lanes stay where packing leaves them.
  struct Words {
    static constexpr int kLanes = 32;
    struct Vector {
      Ints at[2];
    };
    // The bytes of knots and slopes apart, sixteen in each half of a register: a shuffle finds them.
    struct Knots {
      Ints low[2][4], high[2][4];  // of knots, then of slopes
      explicit Knots(const int16_t* table) {
        for (int i = 0; i < 8; ++i) {
          const Ints words = _mm256_loadu_si256(reinterpret_cast<const Ints*>(table + 16 * i));
          const auto bytes = [](Ints halves) INLINE {
            const __m128i packed = _mm_packus_epi16(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1));
            return _mm256_broadcastsi128_si256(packed);
          };
          low[i / 4][i % 4] = bytes(_mm256_and_si256(words, _mm256_set1_epi16(255)));
          high[i / 4][i % 4] = bytes(_mm256_srli_epi16(words, 8));
        }
      }
      // segment: bytes below 64. The two highest bits of each choose a quarter.
      INLINE Vector found(const int which, Ints segment) const {
        const Ints half = _mm256_slli_epi16(segment, 2), quarter = _mm256_slli_epi16(segment, 3);
        const auto of = [=](const Ints* table) INLINE {
          const Ints first = _mm256_blendv_epi8(_mm256_shuffle_epi8(table[0], segment),
                                                _mm256_shuffle_epi8(table[1], segment), quarter);
          const Ints second = _mm256_blendv_epi8(_mm256_shuffle_epi8(table[2], segment),
                                                 _mm256_shuffle_epi8(table[3], segment), quarter);
          return _mm256_blendv_epi8(first, second, half);
        };
        const Ints lower = of(low[which]), upper = of(high[which]);
        return {_mm256_unpacklo_epi8(lower, upper), _mm256_unpackhi_epi8(lower, upper)};
      }
    };

    template <typename Function, typename... Vectors>
    INLINE static Vector both(Function function, const Vectors&... v) {
      return {function(v.at[0]...), function(v.at[1]...)};
    }
    // [0] has the words 0 to 7 and 16 to 23: what `packs` makes of both then has all of them in sequence.
    static Vector load(const int16_t* p) {
      const auto* from = reinterpret_cast<const Ints*>(p);
      const Ints a = _mm256_loadu_si256(from), b = _mm256_loadu_si256(from + 1);
      return {_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31)};
    }
    static void store(int16_t* p, const Vector& v) {
      auto* to = reinterpret_cast<Ints*>(p);
      _mm256_storeu_si256(to, _mm256_permute2x128_si256(v.at[0], v.at[1], 0x20));
      _mm256_storeu_si256(to + 1, _mm256_permute2x128_si256(v.at[0], v.at[1], 0x31));
    }
    INLINE static Vector add(const Vector& a, const Vector& b) {
      return both([](Ints x, Ints y) INLINE { return _mm256_adds_epi16(x, y); }, a, b);
    }
    INLINE static Vector times(const Vector& a, const Vector& b) {
      return both([](Ints x, Ints y) INLINE { return _mm256_mulhrs_epi16(x, y); }, a, b);
    }
    template <int Places>
    INLINE static Vector rounded(const Vector& v) {
      const auto one = [](Ints x) INLINE {
        return _mm256_srai_epi16(_mm256_adds_epi16(x, _mm256_set1_epi16(1 << (Places - 1))), Places);
      };
      return both(one, v);
    }
    // share * b + (2^15 - share) * a, in 32 bits; 2^15 does not fit into 16.
    INLINE static Vector between(const Vector& share, const Vector& a, const Vector& b) {
      const auto one = [](Ints shares, Ints from, Ints to) INLINE {
        const Ints zero = _mm256_setzero_si256(), minus = _mm256_sub_epi16(zero, from), half = every(1 << 14);
        const auto mixed = [=](Ints s, Ints states, Ints wholes) INLINE {
          const Ints sum = _mm256_add_epi32(_mm256_madd_epi16(s, states), _mm256_srai_epi32(wholes, 1));
          return _mm256_srai_epi32(_mm256_add_epi32(sum, half), 15);
        };
        return _mm256_packs_epi32(
            mixed(_mm256_unpacklo_epi16(shares, shares), _mm256_unpacklo_epi16(to, minus),
                  _mm256_unpacklo_epi16(zero, from)),
            mixed(_mm256_unpackhi_epi16(shares, shares), _mm256_unpackhi_epi16(to, minus),
                  _mm256_unpackhi_epi16(zero, from)));
      };
      return both(one, share, a, b);
    }
    template <int Places>
    INLINE static Vector tanh(const Vector& x, const Knots& table) {
      const Ints far = _mm256_set1_epi16(short((kSegments << Places) - 1));
      const auto capped = [=](Ints v) INLINE { return _mm256_min_epu16(_mm256_abs_epi16(v), far); };
      const Vector at = both(capped, x);
      const Ints segment = _mm256_packus_epi16(_mm256_srli_epi16(at.at[0], Places), _mm256_srli_epi16(at.at[1], Places));
      const auto one = [](Ints v, Ints place, Ints knot, Ints slope) INLINE {
        const Ints inside = _mm256_and_si256(place, _mm256_set1_epi16((1 << Places) - 1));
        const Ints rise = _mm256_mulhrs_epi16(slope, _mm256_slli_epi16(inside, 15 - Places));
        // A sign of 0 would be that of no number.
        return _mm256_sign_epi16(_mm256_add_epi16(knot, rise), _mm256_or_si256(v, _mm256_set1_epi16(1)));
      };
      return both(one, x, at, table.found(0, segment), table.found(1, segment));
    }
    INLINE static Vector sigmoid(const Vector& x, const Knots& table) {
      const auto one = [](Ints v) INLINE {
        return _mm256_add_epi16(_mm256_srai_epi16(v, 1), _mm256_set1_epi16(1 << 14));
      };
      return both(one, tanh<9>(x, table));
    }
    INLINE static void store_bytes(uint8_t* y, const Vector& v, const Step& s) {
      const Ints factor = every(s.factor), offset = every(s.offset), zero = _mm256_setzero_si256();
      const __m128i places = _mm_cvtsi32_si128(s.places);
      const auto scaled = [=](Ints words) INLINE {
        return _mm256_sra_epi32(_mm256_add_epi32(_mm256_madd_epi16(words, factor), offset), places);
      };
      const auto one = [=](Ints words) INLINE {
        return _mm256_packs_epi32(scaled(_mm256_unpacklo_epi16(words, zero)), scaled(_mm256_unpackhi_epi16(words, zero)));
      };
      const Vector words = both(one, v);
      store_clipped(y, _mm256_packus_epi16(words.at[0], words.at[1]), s.low, s.high, 32);
    }
  };
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

// Plain C++: what runs everywhere, and what the vector instruction sets are read against.
#include <cstdint>
#include <cstring>

#include "one_word.inl"
#include "plan.h"

namespace hwprof {
namespace {

struct Isa {
  static constexpr int kLanes = 16;
  static constexpr int kRows = 1;  // sums are in memory: more of them would only be more code
  static constexpr bool kIsSigned = false;

  struct Ints {
    int32_t lane[kLanes];
  };
  struct Bytes {
    uint8_t lane[kLanes][kQuad];
  };

  using Words = OneWord;
  using Whole = Isa;

  static Ints nothing() { return Ints{}; }
  static Ints every(int32_t value) {
    Ints all;
    for (int i = 0; i < kLanes; ++i) all.lane[i] = value;
    return all;
  }
  static Ints load(const int32_t* p) {
    Ints loaded;
    memcpy(loaded.lane, p, sizeof loaded.lane);
    return loaded;
  }
  static Ints weights(const int8_t* p) { return load(reinterpret_cast<const int32_t*>(p)); }
  static Ints add(const Ints& a, const Ints& b) {
    Ints sum;
    for (int i = 0; i < kLanes; ++i) sum.lane[i] = a.lane[i] + b.lane[i];
    return sum;
  }
  static Bytes broadcast(const uint8_t* p) {
    Bytes bytes;
    for (int i = 0; i < kLanes; ++i) memcpy(bytes.lane[i], p, kQuad);
    return bytes;
  }
  static Ints dot(const Ints& sum, const Bytes& bytes, const Ints& w) {
    Ints result = sum;
    int8_t weight[kLanes][kQuad];
    memcpy(weight, w.lane, sizeof weight);
    for (int i = 0; i < kLanes; ++i)
      for (int k = 0; k < kQuad; ++k) result.lane[i] += bytes.lane[i][k] * weight[i][k];
    return result;
  }
  static void keep(Ints& sum) { asm volatile("" : "+m"(sum)); }

  INLINE static void interleave(const uint8_t* r0, const uint8_t* r1, const uint8_t* r2, const uint8_t* r3, int valid,
                         Bytes* bytes) {
    const uint8_t* rows[kQuad] = {r0, r1, r2, r3};
    for (int q = 0; q < kQuad; ++q)
      for (int i = 0; i < kLanes; ++i) {
        const int channel = i / 4 * 16 + q * 4 + i % 4;
        for (int k = 0; k < kQuad; ++k) bytes[q].lane[i][k] = channel < valid ? rows[k][channel] : uint8_t(0);
      }
  }

  INLINE static void pairs(const uint8_t* x, const uint8_t* x2, int valid, Ints* pairs) {
    for (int q = 0; q < kQuad; ++q)
      for (int i = 0; i < kLanes; ++i) {
        const int channel = i / 4 * 16 + q * 4 + i % 4;
        pairs[q].lane[i] = channel < valid ? x[channel] | (x2 ? x2[channel] << 16 : 0) : 0;
      }
  }
  static Ints of_pairs(const Ints& a, const Ints& b) {
    Ints sums;
    for (int i = 0; i < kLanes; ++i)
      sums.lane[i] = int16_t(a.lane[i]) * int16_t(b.lane[i]) + (a.lane[i] >> 16) * (b.lane[i] >> 16);
    return sums;
  }
  static Ints shifted(const Ints& a, int places) {
    Ints result;
    for (int i = 0; i < kLanes; ++i) result.lane[i] = a.lane[i] >> places;
    return result;
  }

  struct Scale {
    const int32_t *multiplier, *shift;
    int64_t zero;
    INLINE Scale(const int32_t* m, const int32_t* s, int z) : multiplier(m), shift(s), zero(z) {}
    INLINE Ints apply(const Ints& sum) const {
      Ints result;
      for (int i = 0; i < kLanes; ++i) {
        const int64_t product = int64_t(sum.lane[i]) * multiplier[i];
        result.lane[i] = int32_t(zero + ((product + (int64_t(1) << (shift[i] - 1))) >> shift[i]));
      }
      return result;
    }
  };

  static uint8_t clip(int32_t value, int low, int high) {
    return uint8_t(value < low ? low : value > high ? high : value);
  }
  INLINE static void store_row(uint8_t* y, const Ints* sums, int low, int high, int columns) {
    for (int i = 0; i < columns; ++i) y[i] = clip(sums[i / kLanes].lane[i % kLanes], low, high);
  }
  INLINE static void store_channels(uint8_t* y, const Ints* sums, int low, int high, int valid) {
    for (int c = 0; c < valid; ++c) y[c] = clip(sums[c % 16 / 4].lane[c / 16 * 4 + c % 4], low, high);
  }
  static Ints lift(const Ints& sum) {
    Ints raised;
    for (int i = 0; i < kLanes; ++i) raised.lane[i] = sum.lane[i] * (1 << kLift);
    return raised;
  }
  INLINE static void store_gates(int16_t* y, const Ints* sums) {
    for (int i = 0; i < kPanel; ++i) {
      const int32_t sum = sums[i / kLanes].lane[i % kLanes];
      y[i] = int16_t(sum < -32768 ? -32768 : sum > 32767 ? 32767 : sum);
    }
  }
  static void look_up(const uint8_t* x, uint8_t* y, int64_t n, const uint8_t* table) {
    for (int64_t i = 0; i < n; ++i) y[i] = table[x[i]];
  }

  template <typename Function>
  INLINE static Ints each_byte(const Ints& of, Function function) {
    uint8_t bytes[kLanes * kQuad];
    memcpy(bytes, of.lane, sizeof bytes);
    for (int i = 0; i < kLanes * kQuad; ++i) bytes[i] = function(i, bytes[i]);
    return load(reinterpret_cast<const int32_t*>(bytes));
  }
  template <bool IsLower>
  static Ints upper_half(const Ints& packed) {
    return each_byte(packed, [](int, uint8_t b) { return uint8_t((IsLower ? b << 4 : b) & 0xf0); });
  }
  static Ints sixteenth(const Ints& sum) {
    Ints less;
    for (int i = 0; i < kLanes; ++i) less.lane[i] = sum.lane[i] >> 4;
    return less;
  }
  static Ints sixteen(const int8_t* p) {
    return each_byte(nothing(), [p](int i, uint8_t) { return uint8_t(p[i % 16]); });
  }
  static Ints at(const Ints& values, const Ints& places) {
    uint8_t value[16];
    memcpy(value, values.lane, sizeof value);
    return each_byte(places, [&value](int, uint8_t place) { return value[place]; });
  }
  template <int Shift, int Mask>
  static Ints bits(const Ints& packed) {
    return each_byte(packed, [](int, uint8_t b) { return uint8_t(b >> Shift & Mask); });
  }
  static Ints either(const int8_t* bits, int8_t zero, int8_t one) {
    return each_byte(nothing(), [=](int i, uint8_t) { return uint8_t(bits[i / 8] >> i % 8 & 1 ? one : zero); });
  }
  static Ints word(const uint8_t* p) {
    Ints loaded;
    for (int i = 0; i < kLanes; ++i) memcpy(&loaded.lane[i], p, kQuad);
    return loaded;
  }
  static Ints count_differing(const Ints& sum, const Ints& a, const Ints& b) {
    Ints result;
    for (int i = 0; i < kLanes; ++i) result.lane[i] = sum.lane[i] + __builtin_popcount(uint32_t(a.lane[i] ^ b.lane[i]));
    return result;
  }
  static Ints less_twice(const Ints& a, const Ints& b) {
    Ints result;
    for (int i = 0; i < kLanes; ++i) result.lane[i] = a.lane[i] - 2 * b.lane[i];
    return result;
  }
  static uint32_t reaches(const uint8_t* p, int least) {
    uint32_t bits = 0;
    for (int i = 0; i < 32; ++i) bits |= uint32_t(p[i] >= least) << i;
    return bits;
  }
};

}  // namespace
}  // namespace hwprof

#include "steps.inl"

namespace hwprof {
const InstructionSet kScalar{"scalar", [] { return true; }, Isa::kIsSigned, false, run, multiply_registers};
}

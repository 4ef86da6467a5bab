// The cells of recurrent layers, one number at a time: `Words` for instruction sets that do not define their own.
#pragma once

#include "plan.h"

namespace hwprof {
namespace {

inline int32_t saturated(int32_t v) { return v < -32768 ? -32768 : v > 32767 ? 32767 : v; }

struct OneWord {
  static constexpr int kLanes = 1;
  using Vector = int32_t;
  struct Knots {
    const int16_t* knots;
    explicit Knots(const int16_t* table) : knots(table) {}
  };

  static Vector load(const int16_t* p) { return *p; }
  static void store(int16_t* p, Vector v) { *p = int16_t(v); }
  static Vector add(Vector a, Vector b) { return saturated(a + b); }
  static Vector times(Vector a, Vector b) { return (a * b + (1 << 14)) >> 15; }
  template <int Places>
  static Vector rounded(Vector v) {
    return (v + (1 << (Places - 1))) >> Places;
  }
  static Vector between(Vector share, Vector a, Vector b) { return saturated(a + times(share, b - a)); }
  template <int Places>
  static Vector tanh(Vector x, const Knots& table) {
    const int32_t far = (kSegments << Places) - 1, magnitude = x < 0 ? -x : x;
    const int32_t at = magnitude < far ? magnitude : far, segment = at >> Places;
    const int32_t share = (at & ((1 << Places) - 1)) << (15 - Places);
    const int32_t value = table.knots[segment] + times(table.knots[kSegments + segment], share);
    return x < 0 ? -value : value;
  }
  static Vector sigmoid(Vector x, const Knots& table) { return (tanh<9>(x, table) >> 1) + (1 << 14); }
  static void store_bytes(uint8_t* y, Vector v, const Step& s) {
    const int32_t value = (v * s.factor + s.offset) >> s.places;
    *y = uint8_t(value < s.low ? s.low : value > s.high ? s.high : value);
  }
};

}  // namespace
}  // namespace hwprof

// NEON with the dot product of ARMv8.2 (sdot). Compiled with -march=armv8.2-a+dotprod.
#include <arm_neon.h>
#include <sys/auxv.h>

#include <cstdint>
#include <cstring>

#include "one_word.inl"
#include "plan.h"

namespace hwprof {
namespace {

struct Isa {
  static constexpr int kLanes = 4;
  static constexpr int kRows = 3;  // 24 sums, a row, a column of weights at a time
  static constexpr bool kIsSigned = true;

  using Ints = int32x4_t;
  using Bytes = int8x16_t;

  using Words = OneWord;
  using Whole = Isa;

  static Ints every(int32_t value) { return vdupq_n_s32(value); }
  static Ints nothing() { return vdupq_n_s32(0); }
  static Ints load(const int32_t* p) { return vld1q_s32(p); }
  static Ints weights(const int8_t* p) { return vreinterpretq_s32_s8(vld1q_s8(p)); }
  static Ints add(Ints a, Ints b) { return vaddq_s32(a, b); }
  static Bytes from(uint8x16_t bytes) { return vreinterpretq_s8_u8(veorq_u8(bytes, vdupq_n_u8(0x80))); }
  static Bytes broadcast(const uint8_t* p) {
    uint32_t four;
    memcpy(&four, p, sizeof four);
    return from(vreinterpretq_u8_u32(vdupq_n_u32(four)));
  }
  static Ints dot(Ints sum, Bytes bytes, Ints w) { return vdotq_s32(sum, bytes, vreinterpretq_s8_s32(w)); }
  static void keep(Ints& sum) { asm volatile("" : "+w"(sum)); }

  static uint8x16_t bytes_at(const uint8_t* p, int valid) {
    if (valid == 16) return vld1q_u8(p);
    uint8_t padded[16] = {};
    memcpy(padded, p, size_t(valid));
    return vld1q_u8(padded);
  }
  INLINE static void interleave(const uint8_t* r0, const uint8_t* r1, const uint8_t* r2, const uint8_t* r3, int valid,
                         Bytes* bytes) {
    const uint8x16x2_t first = vzipq_u8(bytes_at(r0, valid), bytes_at(r1, valid));
    const uint8x16x2_t second = vzipq_u8(bytes_at(r2, valid), bytes_at(r3, valid));
    for (int half = 0; half < 2; ++half) {
      const uint16x8x2_t quads =
          vzipq_u16(vreinterpretq_u16_u8(first.val[half]), vreinterpretq_u16_u8(second.val[half]));
      bytes[2 * half] = from(vreinterpretq_u8_u16(quads.val[0]));
      bytes[2 * half + 1] = from(vreinterpretq_u8_u16(quads.val[1]));
    }
  }

  INLINE static void pairs(const uint8_t* x, const uint8_t* x2, int valid, Ints* pairs) {
    const uint8x16_t nothing = vdupq_n_u8(0);
    const uint8x16x2_t both = vzipq_u8(bytes_at(x, valid), x2 ? bytes_at(x2, valid) : nothing);
    for (int half = 0; half < 2; ++half) {
      const uint8x16x2_t wide = vzipq_u8(both.val[half], nothing);
      pairs[2 * half] = vreinterpretq_s32_u8(wide.val[0]);
      pairs[2 * half + 1] = vreinterpretq_s32_u8(wide.val[1]);
    }
  }
  static Ints of_pairs(Ints a, Ints b) {
    const int16x8_t x = vreinterpretq_s16_s32(a), y = vreinterpretq_s16_s32(b);
    return vpaddq_s32(vmull_s16(vget_low_s16(x), vget_low_s16(y)), vmull_high_s16(x, y));
  }
  static Ints shifted(Ints a, int places) { return vshlq_s32(a, vdupq_n_s32(-places)); }

  struct Scale {
    int32x4_t multiplier;
    int64x2_t shift[2], rounding[2];  // shifts are negative: to the right
    INLINE Scale(const int32_t* m, const int32_t* s, int zero) : multiplier(vld1q_s32(m)) {
      const int64x2_t twice = vdupq_n_s64(2 * int64_t(zero) + 1);
      for (int half = 0; half < 2; ++half) {
        const int64x2_t places = vmovl_s32(vld1_s32(s + 2 * half));
        rounding[half] = vshlq_s64(twice, vsubq_s64(places, vdupq_n_s64(1)));
        shift[half] = vnegq_s64(places);
      }
    }
    INLINE Ints apply(Ints sum) const {
      const int64x2_t low = vaddq_s64(vmull_s32(vget_low_s32(sum), vget_low_s32(multiplier)), rounding[0]);
      const int64x2_t high = vaddq_s64(vmull_s32(vget_high_s32(sum), vget_high_s32(multiplier)), rounding[1]);
      return vcombine_s32(vmovn_s64(vshlq_s64(low, shift[0])), vmovn_s64(vshlq_s64(high, shift[1])));
    }
  };

  INLINE static void store_sixteen(uint8_t* y, const Ints* sums, int low, int high, int valid) {
    const int16x8_t first = vcombine_s16(vqmovn_s32(sums[0]), vqmovn_s32(sums[1]));
    const int16x8_t second = vcombine_s16(vqmovn_s32(sums[2]), vqmovn_s32(sums[3]));
    const uint8x16_t bytes = vcombine_u8(vqmovun_s16(first), vqmovun_s16(second));
    const uint8x16_t clipped = vminq_u8(vmaxq_u8(bytes, vdupq_n_u8(uint8_t(low))), vdupq_n_u8(uint8_t(high)));
    if (valid >= 16) {
      vst1q_u8(y, clipped);
    } else if (valid > 0) {
      uint8_t all[16];
      vst1q_u8(all, clipped);
      memcpy(y, all, size_t(valid));
    }
  }
  INLINE static void store_row(uint8_t* y, const Ints* sums, int low, int high, int columns) {
    store_sixteen(y, sums, low, high, columns);
    store_sixteen(y + 16, sums + 4, low, high, columns - 16);
  }
  INLINE static void store_channels(uint8_t* y, const Ints* sums, int low, int high, int valid) {
    store_sixteen(y, sums, low, high, valid);
  }
  static Ints lift(Ints sum) { return vshlq_n_s32(sum, kLift); }
  INLINE static void store_gates(int16_t* y, const Ints* sums) {
    for (int i = 0; i < 4; ++i)
      vst1q_s16(y + 8 * i, vcombine_s16(vqmovn_s32(sums[2 * i]), vqmovn_s32(sums[2 * i + 1])));
  }
  static void look_up(const uint8_t* x, uint8_t* y, int64_t n, const uint8_t* table) {
    for (int64_t i = 0; i < n; ++i) y[i] = table[x[i]];
  }

  static uint8x16_t raw(Ints v) { return vreinterpretq_u8_s32(v); }
  static Ints from_raw(uint8x16_t v) { return vreinterpretq_s32_u8(v); }
  template <bool IsLower>
  static Ints upper_half(Ints packed) {
    return from_raw(IsLower ? vshlq_n_u8(raw(packed), 4) : vandq_u8(raw(packed), vdupq_n_u8(0xf0)));
  }
  static Ints sixteenth(Ints sum) { return vshrq_n_s32(sum, 4); }
  static Ints sixteen(const int8_t* p) { return weights(p); }
  static Ints at(Ints values, Ints places) { return from_raw(vqtbl1q_u8(raw(values), raw(places))); }
  template <int Shift, int Mask>
  static Ints bits(Ints packed) {
    return from_raw(vandq_u8(vshlq_u8(raw(packed), vdupq_n_s8(-Shift)), vdupq_n_u8(Mask)));
  }
  static Ints either(const int8_t* bits, int8_t zero, int8_t one) {
    const uint8x16_t spread = vcombine_u8(vdup_n_u8(uint8_t(bits[0])), vdup_n_u8(uint8_t(bits[1])));
    const uint8x16_t own = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201));
    return vreinterpretq_s32_s8(vbslq_s8(vtstq_u8(spread, own), vdupq_n_s8(one), vdupq_n_s8(zero)));
  }
  static Ints word(const uint8_t* p) {
    int32_t four;
    memcpy(&four, p, sizeof four);
    return vdupq_n_s32(four);
  }
  static Ints count_differing(Ints sum, Ints a, Ints b) {
    const uint16x8_t pairs = vpaddlq_u8(vcntq_u8(raw(veorq_s32(a, b))));
    return vaddq_s32(sum, vreinterpretq_s32_u32(vpaddlq_u16(pairs)));
  }
  static Ints less_twice(Ints a, Ints b) { return vsubq_s32(a, vaddq_s32(b, b)); }
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
namespace {
constexpr unsigned long kDotProduct = 1ul << 20;  // HWCAP_ASIMDDP
}
const InstructionSet kNeon{
    "neon-sdot", [] { return (getauxval(AT_HWCAP) & kDotProduct) != 0; }, Isa::kIsSigned, false, run, multiply_registers};
}  // namespace hwprof

// The steps, written once over the few operations that an instruction set (`Isa`) defines before including this.
//
//   Ints                   kLanes accumulators of 32 bits
//   Bytes                  4 * kLanes activations, as `dot` wants them
//   dot(sum, bytes, w)     each lane: sum + four products
//   Whole                  broadcast, weights and dot for weights in [-128, 127]; kIsSigned: multiplies bytes less 128
//   every(i)               the same integer in every lane
//   broadcast(p)           the same four bytes in every lane
//   interleave(rows, b)    4 rows of 4 * kLanes bytes -> 4 Bytes, each lane holding a channel's four rows; channels
//                          go lane by 128-bit lane: b[i] has 16 L + 4 i + 0..3 in its lane L
//   pairs(x, x2, valid, p) 4 * kLanes bytes of x, and of x2 where it is not null -> 4 Ints in the order of `interleave`,
//                          a byte of x in the lower half of each lane and one of x2 in the upper
//   of_pairs(a, b)         each lane: the sum of both halves' products, of 16 bits with their signs
//   shifted(a, places)     each lane to the right
//   Scale(m, s, zero)      of kLanes channels; apply(sum) is zero + the rescaled sum
//   store_row              kPanel columns, 32 / kLanes Ints in sequence
//   store_channels         4 Ints in the order of `interleave`
//
// Everything has internal linkage: code for one instruction set must not be linked into that of another.
#include <cstring>
#include <iterator>
#include <type_traits>
#include <utility>

#include "plan.h"

namespace hwprof {
namespace {

constexpr int kLanes = Isa::kLanes;
constexpr int kVectors = kPanel / kLanes;   // of a row of a panel
constexpr int kChunk = kQuad * kLanes;      // channels of a depthwise convolution at a time
constexpr int kChunks = kDepthwiseBlock / kChunk;

using Ints = Isa::Ints;
using Bytes = Isa::Bytes;
using Scale = Isa::Scale;

template <int Value>
using Constant = std::integral_constant<int, Value>;

template <typename Function, int... I>
INLINE inline void each(std::integer_sequence<int, I...>, [[maybe_unused]] Function function) {
  (function(Constant<I>{}), ...);
}

// function(0), function(1), ... with indices that are constants: sums in arrays then stay in registers, where a loop
// that is unrolled only late leaves them in memory.
template <int Count, typename Function>
INLINE inline void unrolled(Function function) {
  each(std::make_integer_sequence<int, Count>{}, function);
}

inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

struct Range {
  int64_t begin, end;
};

// The share of [0, n), cut at multiples of `grain`.
inline Range part(int64_t n, int64_t grain, const Share& share) {
  const int64_t grains = ceil_div(n, grain);
  const int64_t begin = grains * share.index / share.count * grain;
  const int64_t end = grains * (share.index + 1) / share.count * grain;
  return {least(begin, n), least(end, n)};
}

inline void copy_bytes(uint8_t* to, const uint8_t* from, int64_t n) {
  if (n >= 64) {
    int64_t i = 0;
    for (; i + 64 <= n; i += 64) __builtin_memcpy(to + i, from + i, 64);
    if (i < n) __builtin_memcpy(to + n - 64, from + n - 64, 64);
  } else if (n >= 32) {
    __builtin_memcpy(to, from, 32);
    __builtin_memcpy(to + n - 32, from + n - 32, 32);
  } else if (n >= 16) {
    __builtin_memcpy(to, from, 16);
    __builtin_memcpy(to + n - 16, from + n - 16, 16);
  } else if (n >= 8) {
    __builtin_memcpy(to, from, 8);
    __builtin_memcpy(to + n - 8, from + n - 8, 8);
  } else {
    for (int64_t i = 0; i < n; ++i) to[i] = from[i];
  }
}

inline uint8_t clipped(int64_t value, int32_t low, int32_t high) {
  return uint8_t(value < low ? low : value > high ? high : value);
}

inline int64_t rescaled(int64_t sum, int32_t multiplier, int32_t shift) {
  return (sum * multiplier + (int64_t(1) << (shift - 1))) >> shift;
}

#include "lines.inl"
#include "product.inl"
#include "depthwise.inl"
#include "lstm.inl"
#include "activations.inl"
#include "gru.inl"
#include "rows.inl"

// -- element-wise ----------------------------------------------------------------------------------------------

constexpr int64_t kLong = 1024;  // elements of a line that is made of short ones

// line(x, x2, is_one, y, n) for every line, of whose x2 there is but one element where `is_one`.
template <typename X, typename X2, typename Y, typename Line>
INLINE inline void zip(const Step& s, const Share& share, Line line) {
  const int64_t rows = s.extent[1], n = s.extent[2], outer = s.from[0], inner = s.from[1];
  const bool is_one = s.from[2] == 0;
  const auto* x = reinterpret_cast<const X*>(s.x);
  const auto* second = reinterpret_cast<const X2*>(s.x2);
  auto* y = reinterpret_cast<Y*>(s.y);
  if (!is_one && inner == n && outer == rows * n) {  // of one shape
    const Range own = part(s.extent[0] * rows * n, 64, share);
    line(x + own.begin, second + own.begin, false, y + own.begin, own.end - own.begin);
    return;
  }
  const Range own = part(s.extent[0] * rows, 1, share);
  const bool repeats = !is_one && inner == 0 && n <= kLong / 2;  // lines whose x2 is the same: several at once
  X2 repeated[kLong];
  for (int64_t i = own.begin, end; i < own.end; i = end) {
    const X2* x2 = second + i / rows * outer + i % rows * inner;
    end = repeats ? least(i + kLong / n, least(i - i % rows + rows, own.end)) : i + 1;
    for (int64_t k = 0; repeats && k < end - i; ++k)
      copy_bytes(reinterpret_cast<uint8_t*>(repeated + k * n), reinterpret_cast<const uint8_t*>(x2), n * sizeof(X2));
    line(x + i * n, repeats ? repeated : x2, is_one, y + i * n, (end - i) * n);
  }
}

// y[i] = function(x[i], x2[i]). Compiled once for each function: as vectors its loop is long. A function holds integers
// of 32 bits as such: the compiler then knows that a product has 64.
template <typename X, typename X2, typename Y, typename Function>
NOINLINE void each_element(Function function, const X* x, const X2* x2, Y* __restrict__ y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = function(x[i], x2[i]);
}

// y[i] = function(x[i], x2[i or 0]). Everything in locals: bytes that are written might be the step's own otherwise.
template <typename X, typename X2, typename Y, typename Function>
INLINE inline void zip_elements(const Step& s, const Share& share, Function function) {
  zip<X, X2, Y>(s, share, [=](const X* x, const X2* x2, bool is_one, Y* y, int64_t n) NOINLINE {
    if (!is_one) return each_element(function, x, x2, y, n);
    X2 same[kLong];
    for (int64_t i = 0; i < least(kLong, n); ++i) same[i] = *x2;
    for (int64_t i = 0; i < n; i += kLong) each_element(function, x + i, same, y + i, least(kLong, n - i));
  });
}

// The types of both operands and of the result, by `wide`.
template <template <typename, typename, typename> class Operation>
void zip_typed(const Step& s, const Share& share) {
  using Function = void (*)(const Step&, const Share&);
  using B = uint8_t;
  using W = int16_t;
  constexpr Function kByTypes[] = {Operation<B, B, B>::run, Operation<W, B, B>::run, Operation<B, W, B>::run,
                                   Operation<W, W, B>::run, Operation<B, B, W>::run, Operation<W, B, W>::run,
                                   Operation<B, W, W>::run, Operation<W, W, W>::run};
  kByTypes[s.wide](s, share);
}

template <typename X, typename X2, typename Y>
struct Sum {
  static void run(const Step& s, const Share& share) {
    const int64_t offset = s.from_offset;
    const int32_t factor = s.factor, factor2 = s.factor2, places = s.places, low = s.low, high = s.high;
    zip_elements<X, X2, Y>(s, share, [=](X a, X2 b) {
      const int64_t sum = (a * int64_t(factor) + b * int64_t(factor2) + offset) >> places;
      return Y(sum < low ? low : sum > high ? high : sum);
    });
  }
};

// Of bytes alone in 32 bits, which hold it.
template <>
struct Sum<uint8_t, uint8_t, uint8_t> {
  static void run(const Step& s, const Share& share) {
    const int32_t low = s.low, high = s.high, places = s.places;
    const auto both = int32_t(uint32_t(s.factor2) << 16 | (uint32_t(s.factor) & 0xffff));  // of a pair
    const auto added = int32_t(s.from_offset);
    zip<uint8_t, uint8_t, uint8_t>(
        s, share, [=, &s](const uint8_t* x, const uint8_t* x2, bool is_one, uint8_t* y, int64_t n) {
          const Ints factors = Isa::every(is_one ? s.factor : both);
          const Ints offset = Isa::every(added + (is_one ? *x2 * s.factor2 : 0));
          for (int64_t i = 0; i < n; i += kChunk) {
            const int valid = int(least(kChunk, n - i));
            Ints sum[kQuad];
            Isa::pairs(x + i, is_one ? nullptr : x2 + i, valid, sum);
            unrolled<kQuad>([&](auto q) INLINE {
              sum[q] = Isa::shifted(Isa::add(Isa::of_pairs(sum[q], factors), offset), places);
            });
            Isa::store_channels(y + i, sum, low, high, valid);
          }
        });
  }
};

void add(const Step& s, const Share& share) { zip_typed<Sum>(s, share); }

template <typename X, typename X2, typename Y>
struct ElementProduct {
  static void run(const Step& s, const Share& share) {
    const int64_t rounding = int64_t(1) << (*s.shift - 1);
    const int32_t multiplier = *s.multiplier, shift = *s.shift, zero_y = s.zero_y;
    const int32_t zero_x = s.zero_x, zero_x2 = s.zero_x2, low = s.low, high = s.high;
    zip_elements<X, X2, Y>(s, share, [=](X a, X2 b) {
      const int64_t product = int64_t((a - zero_x) * (b - zero_x2));
      const int64_t value = zero_y + ((product * int64_t(multiplier) + rounding) >> shift);
      return Y(value < low ? low : value > high ? high : value);
    });
  }
};

// Of bytes, by a shift that `Scale` knows.
void multiply_bytes(const Step& s, const Share& share) {
  int32_t multipliers[kLanes], shifts[kLanes];
  for (int i = 0; i < kLanes; ++i) multipliers[i] = *s.multiplier, shifts[i] = *s.shift;
  const Scale scale(multipliers, shifts, s.zero_y);
  const int32_t low = s.low, high = s.high;
  const Ints less_x = Isa::every(-s.zero_x & 0xffff), less_x2 = Isa::every(-s.zero_x2);  // the first: half of a pair
  zip<uint8_t, uint8_t, uint8_t>(
      s, share, [=](const uint8_t* x, const uint8_t* x2, bool is_one, uint8_t* y, int64_t n) {
        Ints second[kQuad];
        unrolled<kQuad>([&](auto q) INLINE { second[q] = Isa::every(*x2); });
        for (int64_t i = 0; i < n; i += kChunk) {
          const int valid = int(least(kChunk, n - i));
          Ints product[kQuad];
          Isa::pairs(x + i, nullptr, valid, product);
          if (!is_one) Isa::pairs(x2 + i, nullptr, valid, second);
          unrolled<kQuad>([&](auto q) INLINE {
            const Ints factor = Isa::add(second[q], less_x2);
            product[q] = Isa::add(Isa::of_pairs(product[q], factor), Isa::of_pairs(less_x, factor));
            product[q] = scale.apply(product[q]);
          });
          Isa::store_channels(y + i, product, low, high, valid);
        }
      });
}

void multiply(const Step& s, const Share& share) {
  if (s.wide || *s.shift < 32) return zip_typed<ElementProduct>(s, share);
  multiply_bytes(s, share);
}

void table(const Step& s, const Share& share) {
  const Range own = part(s.extent[0], 64, share);
  if (!(s.wide & kWideY)) return Isa::look_up(s.x + own.begin, s.y + own.begin, own.end - own.begin, s.table);
  const uint8_t* x = s.x;
  const auto* of = reinterpret_cast<const int16_t*>(s.table);
  auto* __restrict__ y = reinterpret_cast<int16_t*>(s.y);
  for (int64_t i = own.begin; i < own.end; ++i) y[i] = of[x[i]];
}

// kMore: how many bounds one upper byte of x may hold; -1 where the step says it.
template <typename Y, int kMore>
void drawn(const Step& s, const Share& share) {
  const Range own = part(s.extent[0], 64, share);
  const auto* x = reinterpret_cast<const int16_t*>(s.x);
  const auto* first = reinterpret_cast<const int32_t*>(s.table);
  const auto* offsets = reinterpret_cast<const int64_t*>(s.weight);
  const int32_t *bounds = s.bias, *slopes = s.multiplier, low = s.low, high = s.high;
  const int32_t more = kMore < 0 ? s.channels : kMore, places = s.places;
  auto* __restrict__ y = reinterpret_cast<Y*>(s.y);
  for (int64_t i = own.begin; i < own.end; ++i) {
    const int32_t at = x[i];
    int32_t line = first[(at + 32768) >> 8];
    for (int32_t k = 0; k < more; ++k) line += at >= bounds[line];
    const int64_t value = (int64_t(at) * slopes[line] + offsets[line]) >> places;
    y[i] = Y(value < low ? low : value > high ? high : value);
  }
}

template <typename Y>
void drawn_of(const Step& s, const Share& share) {
  // Looking for more of them than there are changes nothing, and loops of a known length become vectors.
  if (s.channels <= 1) return drawn<Y, 1>(s, share);
  s.channels <= 4 ? drawn<Y, 4>(s, share) : drawn<Y, -1>(s, share);
}

void lines(const Step& s, const Share& share) {
  s.wide & kWideY ? drawn_of<int16_t>(s, share) : drawn_of<uint8_t>(s, share);
}

// -- pooling ---------------------------------------------------------------------------------------------------

// The part of a window inside the image.
struct Reach {
  int64_t begin, end;  // of kernel positions that lie inside
};

inline Reach reach(int64_t at, int64_t kernel, int64_t dilation, int64_t size) {
  const int64_t begin = at < 0 ? ceil_div(-at, dilation) : 0;
  const int64_t last = at >= size ? 0 : ceil_div(size - at, dilation);
  return {begin, least(kernel, last)};
}

// The pixels under a window, and one line of channels at a time of them.
struct Pooled {
  const uint8_t* first;  // the window's first pixel, which may lie outside
  int64_t line, pixel;   // bytes from one of the window's lines and pixels to the next
  Reach down, across;

  int64_t count() const {
    const bool is_empty = down.begin >= down.end || across.begin >= across.end;
    return is_empty ? 0 : (down.end - down.begin) * (across.end - across.begin);
  }
  template <typename Function>
  INLINE void each(int64_t channel, Function function) const {
    for (int64_t i = down.begin; i < down.end; ++i)
      for (int64_t j = across.begin; j < across.end; ++j) function(first + i * line + j * pixel + channel);
  }
};

inline Pooled pooled(const Step& s, int64_t index) {
  const int64_t line = index / s.out_width, width = int64_t(s.width) * s.channels;
  const int64_t top = line % s.out_height * s.stride_h - s.pad_top;
  const int64_t left = index % s.out_width * s.stride_w - s.pad_left;
  return {s.x + (line / s.out_height * s.height + top) * width + left * s.channels,
          s.dilation_h * width,
          int64_t(s.dilation_w) * s.channels,
          reach(top, s.kernel_h, s.dilation_h, s.height),
          reach(left, s.kernel_w, s.dilation_w, s.width)};
}

// function(channel, count) for all channels, `count` of them at once.
template <typename Function>
INLINE inline void each_channels(int64_t channels, Function function) {
  int64_t c = 0;
  const auto at_once = [&](auto count) INLINE {
    for (; c + count <= channels; c += count) function(c, count);
  };
  at_once(Constant<64>{});
  at_once(Constant<16>{});
  at_once(Constant<1>{});
}

void max_pool(const Step& s, const Share& share) {
  const Range pixels = part(pixels_out(s), 1, share);
  for (int64_t index = pixels.begin; index < pixels.end; ++index) {
    const Pooled window = pooled(s, index);
    uint8_t* y = s.y + index * s.channels;
    each_channels(s.channels, [&](int64_t c, auto count) INLINE {
      uint8_t most[count] = {};
      window.each(c, [&](const uint8_t* x) INLINE {
        for (int k = 0; k < count; ++k) most[k] = x[k] > most[k] ? x[k] : most[k];
      });
      __builtin_memcpy(y + c, most, count);
    });
  }
}

void average_pool(const Step& s, const Share& share) {
  const Range pixels = part(pixels_out(s), 1, share);
  const int64_t zero_x = s.zero_x, zero_y = s.zero_y;
  const int32_t low = s.low, high = s.high;
  for (int64_t index = pixels.begin; index < pixels.end; ++index) {
    const Pooled window = pooled(s, index);
    const int64_t inside = window.count();
    const int64_t count_all = s.counts_padding ? int64_t(s.kernel_h) * s.kernel_w : inside;
    const int32_t multiplier = s.multiplier[count_all], shift = s.shift[count_all];
    uint8_t* y = s.y + index * s.channels;
    each_channels(s.channels, [&](int64_t c, auto count) INLINE {
      int32_t sums[count] = {};
      window.each(c, [&](const uint8_t* x) INLINE {
        for (int k = 0; k < count; ++k) sums[k] += x[k];
      });
      for (int k = 0; k < count; ++k)
        y[c + k] = clipped(zero_y + rescaled(sums[k] - inside * zero_x, multiplier, shift), low, high);
    });
  }
}

#include "wide_convolution.inl"

// -- moving ----------------------------------------------------------------------------------------------------

void copy_axis(const Step& s, int axis, const uint8_t* x, uint8_t* y) {
  const int64_t n = s.extent[axis], from = s.from[axis], to = s.to[axis];
  if (axis < kAxes - 1) {
    for (int64_t i = 0; i < n; ++i) copy_axis(s, axis + 1, x + i * from, y + i * to);
  } else if (from == 1 && to == 1) {
    memcpy(y, x, size_t(n));
  } else {
    for (int64_t i = 0; i < n; ++i) y[i * to] = x[i * from];
  }
}

void copy(const Step& s, const Share& share) {
  if (share.index == 0) copy_axis(s, 0, s.x + s.from_offset, s.y + s.to_offset);
}

void fill(const Step& s, const Share& share) {
  if (share.index == 0) memset(s.y, s.zero_y, size_t(s.extent[0]));
}

void embedding(const Step& s, const Share& share) {
  const Range own = part(s.extent[0], 1, share);
  const auto* rows = reinterpret_cast<const int32_t*>(s.x);
  for (int64_t i = own.begin; i < own.end; ++i) {
    const int64_t row = rows[i] < 0 ? 0 : least(rows[i], s.height - 1);  // never outside, for any index
    memcpy(s.y + i * s.channels, s.weight + row * s.channels, size_t(s.channels));
  }
}

void run(const Step& s, const Share& share) {
  using Function = void (*)(const Step&, const Share&);
  constexpr Function kFunctions[] = {convolution, depthwise, add, multiply, table, max_pool, average_pool,
                                      copy, fill, gates, lstm, product_of_activations, softmax, normalization,
                                      embedding, gru, lines, wide_convolution};
  kFunctions[s.kind](s, share);
}

// The peak: dot products on registers alone. The compiler takes each weight for a new one; products of one that stays
// the same would be computed once.
[[maybe_unused]] int64_t multiply_registers(int64_t rounds) {
#if defined(HWPROF_SUMS_PARTS)
  return multiply_pairs_of_registers(rounds);
#else
  constexpr int kSums = Isa::kRows * kVectors;
  uint8_t four[kQuad] = {1, 2, 3, 4};
  int8_t column[kChunk] = {};
  Ints sums[kSums];
  const Bytes row = Isa::broadcast(four);
  Ints w = Isa::weights(column);
  unrolled<kSums>([&](auto i) INLINE { sums[i] = Isa::nothing(); });
  for (int64_t round = 0; round < rounds; ++round)
    unrolled<kSums>([&](auto i) INLINE {
      Isa::keep(w);
      sums[i] = Isa::dot(sums[i], row, w);
      Isa::keep(sums[i]);
    });
  return rounds * kSums * kChunk;
#endif
}

}  // namespace
}  // namespace hwprof

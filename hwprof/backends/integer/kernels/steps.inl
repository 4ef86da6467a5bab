// The steps, written once over the few operations that an instruction set (`Isa`) defines before including this, and
// with HWPROF_TILES over AMX's tiles besides.
//
//   Ints                   kLanes accumulators of 32 bits
//   Bytes                  4 * kLanes activations, as `dot` wants them
//   dot(sum, bytes, w)     each lane: sum + four products
//   Whole                  broadcast, weights and dot for weights in [-128, 127]; kIsSigned: multiplies bytes less 128
//   every(i)               the same integer in every lane
//   broadcast(p)           the same four bytes in every lane
//   interleave(rows, b)    4 rows of 4 * kLanes bytes -> 4 Bytes, each lane holding a channel's four rows; channels
//                          go lane by 128-bit lane: b[i] has 16 L + 4 i + 0..3 in its lane L
//   Scale(m, s, zero)      of kLanes channels; apply(sum) is zero + the rescaled sum
//   store_row              kPanel columns, 32 / kLanes Ints one behind the other
//   store_channels         4 Ints in the order of `interleave`
//
// Everything has internal linkage: code for one instruction set must not be linked into that of another.
#include <cstring>
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

template <typename Function, int... I>
INLINE inline void each(std::integer_sequence<int, I...>, [[maybe_unused]] Function function) {
  (function(std::integral_constant<int, I>{}), ...);
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

#include "product.inl"
#include "lstm.inl"
#include "activations.inl"
#include "gru.inl"
#include "rows.inl"

// -- depthwise convolution -------------------------------------------------------------------------------------

struct Channels {
  const int8_t* weight;  // of this chunk's block, each quad of taps [4][16][4]
  const int32_t *bias, *multiplier, *shift;
  int64_t tap_quads, channel;
  int valid, zero, low, high;
};

// One chunk of channels of `pixels` output pixels. The taps of the first lie at taps[0 .. 4 * tap_quads), those of each
// further one `step` bytes on.
void depthwise_chunk(const uint8_t* const* taps, int64_t pixels, int64_t step, const Channels& c, uint8_t* y,
                     int64_t y_stride) {
  constexpr int kRow = kDepthwiseBlock / kQuad;  // integers of a quad of channels
  const Scale scale[kQuad] = {Scale(c.multiplier, c.shift, c.zero),
                              Scale(c.multiplier + kRow, c.shift + kRow, c.zero),
                              Scale(c.multiplier + 2 * kRow, c.shift + 2 * kRow, c.zero),
                              Scale(c.multiplier + 3 * kRow, c.shift + 3 * kRow, c.zero)};
  for (int64_t i = 0; i < pixels; ++i, y += y_stride) {
    const int64_t at = i * step + c.channel;
    Ints sum[kQuad];
    unrolled<kQuad>([&](auto q) INLINE { sum[q] = Isa::load(c.bias + q * kRow); });
    for (int64_t t = 0; t < c.tap_quads; ++t) {
      const uint8_t* const* rows = taps + t * kQuad;
      const int8_t* w = c.weight + t * kQuad * kDepthwiseBlock;
      Bytes bytes[kQuad];
      Isa::interleave(rows[0] + at, rows[1] + at, rows[2] + at, rows[3] + at, c.valid, bytes);
      unrolled<kQuad>([&](auto q) INLINE { sum[q] = Isa::dot(sum[q], bytes[q], Isa::weights(w + q * kDepthwiseBlock)); });
    }
    unrolled<kQuad>([&](auto q) INLINE { sum[q] = scale[q].apply(sum[q]); });
    Isa::store_channels(y, sum, c.low, c.high, c.valid);
  }
}

// All channels of the output pixels [column, column + count) of a line, whose taps lie in one distance each.
void depthwise_run(const Step& s, const uint8_t* const* taps, int64_t tap_quads, int64_t count, uint8_t* y) {
  for (int64_t channel = 0; channel < s.channels; channel += kChunk) {
    const int64_t block = channel / kDepthwiseBlock, inside = channel % kDepthwiseBlock / kQuad;
    const int64_t constants = block * kDepthwiseBlock + inside;
    const Channels own{s.weight + block * tap_quads * kQuad * kDepthwiseBlock + inside * kQuad,
                       s.bias + constants,
                       s.multiplier + constants,
                       s.shift + constants,
                       tap_quads,
                       channel,
                       int(least(kChunk, s.channels - channel)),
                       s.zero_y,
                       s.low,
                       s.high};
    depthwise_chunk(taps, count, int64_t(s.stride_w) * s.channels, own, y + channel, s.channels);
  }
}

void depthwise(const Step& s, const Share& share) {
  const int64_t kernel = int64_t(s.kernel_h) * s.kernel_w, tap_quads = ceil_div(kernel, kQuad);
  const int64_t line_bytes = int64_t(s.width) * s.channels;
  uint8_t* padding = share.scratch;
  memset(padding, s.zero_x, size_t(s.channels));
  auto** taps = reinterpret_cast<const uint8_t**>(share.scratch + ceil_div(s.channels, 64) * 64);
  const Range lines = part(int64_t(s.batch) * s.out_height, 1, share);
  for (int64_t line = lines.begin; line < lines.end; ++line) {
    const int64_t top = line % s.out_height * s.stride_h - s.pad_top;
    const uint8_t* image = s.x + line / s.out_height * s.height * line_bytes;
    const bool is_inside = top >= 0 && top + (s.kernel_h - 1) * int64_t(s.dilation_h) < s.height;
    int64_t column = 0;
    while (column < s.out_width) {
      const int64_t left = column * s.stride_w - s.pad_left;
      const int64_t room = s.width - 1 - (s.kernel_w - 1) * int64_t(s.dilation_w) - left;
      // Pixels whose windows lie in the image are one run; each other one is a run of its own.
      const int64_t count = is_inside && left >= 0 && room >= 0 ? least(room / s.stride_w + 1, s.out_width - column) : 1;
      const uint8_t** at = taps;
      for (int64_t i = 0; i < s.kernel_h; ++i)
        for (int64_t j = 0; j < s.kernel_w; ++j) {
          const int64_t y = top + i * s.dilation_h, x = left + j * s.dilation_w;
          const bool is_there = y >= 0 && y < s.height && x >= 0 && x < s.width;
          *at++ = is_there ? image + y * line_bytes + x * s.channels : padding;
        }
      for (int64_t t = kernel; t < tap_quads * kQuad; ++t) *at++ = taps[0];  // its weights are 0
      depthwise_run(s, taps, tap_quads, count, s.y + (line * s.out_width + column) * s.channels);
      column += count;
    }
  }
}

// -- element-wise ----------------------------------------------------------------------------------------------

// y[i] = function(x[i], x2[i or 0]). Everything in locals: bytes that are written might be the step's own otherwise.
template <typename X, typename X2, typename Y, typename Function>
INLINE inline void zip_line(const X* x, const X2* x2, bool is_one, Y* __restrict__ y, int64_t n, Function function) {
  if (is_one) {
    const X2 other = *x2;
    for (int64_t i = 0; i < n; ++i) y[i] = function(x[i], other);
  } else {
    for (int64_t i = 0; i < n; ++i) y[i] = function(x[i], x2[i]);
  }
}

template <typename X, typename X2, typename Y, typename Function>
INLINE inline void zip(const Step& s, const Share& share, Function function) {
  const int64_t rows = s.extent[1], n = s.extent[2], outer = s.from[0], inner = s.from[1];
  const bool is_one = s.from[2] == 0;
  const auto* x = reinterpret_cast<const X*>(s.x);
  const auto* x2 = reinterpret_cast<const X2*>(s.x2);
  auto* y = reinterpret_cast<Y*>(s.y);
  if (!is_one && inner == n && outer == rows * n) {  // of one shape
    const Range own = part(s.extent[0] * rows * n, 64, share);
    zip_line(x + own.begin, x2 + own.begin, false, y + own.begin, own.end - own.begin, function);
    return;
  }
  const Range own = part(s.extent[0] * rows, 1, share);
  for (int64_t i = own.begin; i < own.end; ++i)
    zip_line(x + i * n, x2 + i / rows * outer + i % rows * inner, is_one, y + i * n, n, function);
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

// Of bytes alone in 32 bits.
template <typename X, typename X2, typename Y>
struct Sum {
  using Wide = std::conditional_t<sizeof(X) + sizeof(X2) + sizeof(Y) == 3, int32_t, int64_t>;
  static void run(const Step& s, const Share& share) {
    const int32_t factor = s.factor, factor2 = s.factor2, places = s.places, low = s.low, high = s.high;
    const auto offset = Wide(s.from_offset);
    zip<X, X2, Y>(s, share, [=](X a, X2 b) {
      const Wide sum = (Wide(a) * factor + Wide(b) * factor2 + offset) >> places;
      return Y(sum < low ? low : sum > high ? high : sum);
    });
  }
};

void add(const Step& s, const Share& share) { zip_typed<Sum>(s, share); }

template <typename X, typename X2, typename Y>
struct ElementProduct {
  static void run(const Step& s, const Share& share) {
    const int64_t rounding = int64_t(1) << (*s.shift - 1), zero_y = s.zero_y;
    const int64_t multiplier = *s.multiplier, shift = *s.shift;
    const int32_t zero_x = s.zero_x, zero_x2 = s.zero_x2, low = s.low, high = s.high;
    zip<X, X2, Y>(s, share, [=](X a, X2 b) {
      const int64_t product = int64_t((a - zero_x) * (b - zero_x2));
      const int64_t value = zero_y + ((product * multiplier + rounding) >> shift);
      return Y(value < low ? low : value > high ? high : value);
    });
  }
};

void multiply(const Step& s, const Share& share) { zip_typed<ElementProduct>(s, share); }

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

// The part of a window that lies in the image.
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

constexpr int kPooledAtOnce = 64;

void max_pool(const Step& s, const Share& share) {
  const Range pixels = part(pixels_out(s), 1, share);
  const int64_t channels = s.channels;
  for (int64_t index = pixels.begin; index < pixels.end; ++index) {
    const Pooled window = pooled(s, index);
    uint8_t* y = s.y + index * channels;
    int64_t c = 0;
    for (; c + kPooledAtOnce <= channels; c += kPooledAtOnce) {
      uint8_t most[kPooledAtOnce] = {};
      window.each(c, [&](const uint8_t* x) INLINE {
        for (int k = 0; k < kPooledAtOnce; ++k) most[k] = x[k] > most[k] ? x[k] : most[k];
      });
      __builtin_memcpy(y + c, most, kPooledAtOnce);
    }
    for (; c < channels; ++c) {
      uint8_t most = 0;
      window.each(c, [&](const uint8_t* x) INLINE { most = *x > most ? *x : most; });
      y[c] = most;
    }
  }
}

void average_pool(const Step& s, const Share& share) {
  const Range pixels = part(pixels_out(s), 1, share);
  const int64_t channels = s.channels, zero_x = s.zero_x, zero_y = s.zero_y;
  const int32_t low = s.low, high = s.high;
  for (int64_t index = pixels.begin; index < pixels.end; ++index) {
    const Pooled window = pooled(s, index);
    const int64_t inside = window.count();
    const int64_t count = s.counts_padding ? int64_t(s.kernel_h) * s.kernel_w : inside;
    const int32_t multiplier = s.multiplier[count], shift = s.shift[count];
    uint8_t* y = s.y + index * channels;
    const auto finished = [=](int32_t sum) INLINE {
      return clipped(zero_y + rescaled(sum - inside * zero_x, multiplier, shift), low, high);
    };
    int64_t c = 0;
    for (; c + kPooledAtOnce <= channels; c += kPooledAtOnce) {
      int32_t sums[kPooledAtOnce] = {};
      window.each(c, [&](const uint8_t* x) INLINE {
        for (int k = 0; k < kPooledAtOnce; ++k) sums[k] += x[k];
      });
      for (int k = 0; k < kPooledAtOnce; ++k) y[c + k] = finished(sums[k]);
    }
    for (; c < channels; ++c) {
      int32_t sum = 0;
      window.each(c, [&](const uint8_t* x) INLINE { sum += *x; });
      y[c] = finished(sum);
    }
  }
}

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
    const int64_t row = rows[i] < 0 ? 0 : least(rows[i], s.height - 1);  // never outside, whatever stands there
    memcpy(s.y + i * s.channels, s.weight + row * s.channels, size_t(s.channels));
  }
}

void run(const Step& s, const Share& share) {
  using Function = void (*)(const Step&, const Share&);
  constexpr Function kFunctions[] = {convolution, depthwise, add, multiply, table, max_pool, average_pool,
                                      copy, fill, gates, lstm, product_of_activations, softmax, normalization,
                                      embedding, gru, lines};
  kFunctions[s.kind](s, share);
}

// Dot products on registers alone.
[[maybe_unused]] int64_t multiply_registers(int64_t rounds) {
  constexpr int kSums = Isa::kRows * kVectors;
  uint8_t four[kQuad] = {1, 2, 3, 4};
  int8_t column[kChunk] = {};
  Ints sums[kSums];
  const Bytes row = Isa::broadcast(four);
  const Ints w = Isa::weights(column);
  unrolled<kSums>([&](auto i) INLINE { sums[i] = Isa::nothing(); });
  for (int64_t round = 0; round < rounds; ++round)
    unrolled<kSums>([&](auto i) INLINE {
      sums[i] = Isa::dot(sums[i], row, w);
      Isa::keep(sums[i]);
    });
  return rounds * kSums * kChunk;
}

}  // namespace
}  // namespace hwprof

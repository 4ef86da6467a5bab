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

// -- convolution and matrix product ---------------------------------------------------------------------------

struct Panel {
  const int8_t* weight;  // [quads][32][4]
  const int32_t *bias, *multiplier, *shift;
  int64_t quads;
  int columns, zero, low, high;
  const int16_t* more;  // what is added to gates, [rows]
  int64_t more_stride;
  const int32_t* rows = nullptr;  // what is added to every sum of a row, [rows]
};

// What a product is written as: bytes; gates of 16 bits; gates with others added to them; bytes of a product with an
// activation, to each row of which a number of its own is added.
enum class Output { kBytes, kGates, kAddedGates, kSummedBytes };
constexpr bool is_bytes(Output kind) { return kind == Output::kBytes || kind == Output::kSummedBytes; }

// Rows rows of a product: y[r][0..columns) for activations a[r][0..4 * quads). Strides are in bytes but for `more`.
template <Output Kind, int Rows>
void tile(const uint8_t* a, int64_t a_stride, const Panel& p, uint8_t* y, int64_t y_stride) {
  // Few rows alone would wait for each dot product to end before the next is added to it.
  constexpr int kSets = Rows * kVectors <= 4 ? 4 : Rows * kVectors <= 8 ? 2 : 1;
  using Micro = std::conditional_t<Kind == Output::kSummedBytes, Isa::Whole, Isa>;
  Ints sum[kSets][Rows][kVectors];
  unrolled<Rows>([&](auto r) INLINE {
    unrolled<kVectors>([&](auto v) INLINE {
      sum[0][r][v] = Isa::load(p.bias + v * kLanes);
      if constexpr (Kind == Output::kSummedBytes) sum[0][r][v] = Isa::add(sum[0][r][v], Isa::every(p.rows[r]));
      unrolled<kSets - 1>([&](auto set) INLINE { sum[set + 1][r][v] = Isa::nothing(); });
    });
  });
  const int8_t* w = p.weight;
  const auto multiply_quad = [&](auto set) INLINE {
    decltype(Micro::weights(w)) column[kVectors];
    unrolled<kVectors>([&](auto v) INLINE { column[v] = Micro::weights(w + (set * kVectors + v) * kChunk); });
    unrolled<Rows>([&](auto r) INLINE {
      const auto row = Micro::broadcast(a + r * a_stride + set * kQuad);
      unrolled<kVectors>([&](auto v) INLINE { sum[set][r][v] = Micro::dot(sum[set][r][v], row, column[v]); });
    });
  };
  int64_t k = p.quads;
  for (; k >= kSets; k -= kSets, a += kSets * kQuad, w += kSets * kPanel * kQuad) unrolled<kSets>(multiply_quad);
  if constexpr (kSets > 1)
    for (; k > 0; --k, a += kQuad, w += kPanel * kQuad) multiply_quad(std::integral_constant<int, 0>{});
  unrolled<kVectors>([&](auto v) INLINE {
    const Scale scale(p.multiplier + v * kLanes, p.shift + v * kLanes, p.zero);
    unrolled<Rows>([&](auto r) INLINE {
      unrolled<kSets - 1>([&](auto set) INLINE { sum[0][r][v] = Isa::add(sum[0][r][v], sum[set + 1][r][v]); });
      if constexpr (!is_bytes(Kind)) sum[0][r][v] = Isa::lift(sum[0][r][v]);
      sum[0][r][v] = scale.apply(sum[0][r][v]);
    });
  });
  unrolled<Rows>([&](auto r) INLINE {
    if constexpr (is_bytes(Kind)) {
      Isa::store_row(y + r * y_stride, sum[0][r], p.low, p.high, p.columns);
    } else {
      constexpr int16_t kNothing[kPanel] = {};
      const int16_t* more = Kind == Output::kGates ? kNothing : p.more + r * p.more_stride;
      Isa::store_gates(reinterpret_cast<int16_t*>(y + r * y_stride), sum[0][r], more);
    }
  });
}

using Tile = void (*)(const uint8_t*, int64_t, const Panel&, uint8_t*, int64_t);

template <Output Kind, typename Rows>
struct Tiles;
template <Output Kind, int... Rows>
struct Tiles<Kind, std::integer_sequence<int, Rows...>> {
  static constexpr Tile kOf[] = {tile<Kind, Rows + 1>...};  // by the number of rows, less one
};
template <Output Kind>
constexpr const Tile* kTiles = Tiles<Kind, std::make_integer_sequence<int, Isa::kRows>>::kOf;

template <Output Kind>
constexpr int kBytes = is_bytes(Kind) ? 1 : 2;  // of an element

// The activations under the window of each output pixel in [first, last), one row of `row_bytes` each.
void gather(const Step& s, int group, int64_t first, int64_t last, int64_t row_bytes, uint8_t* to) {
  const int64_t channels = s.channels / s.groups, line = int64_t(s.width) * s.channels;
  const bool is_dense = s.groups == 1 && s.dilation_w == 1;
  int64_t column = first % s.out_width, row = first / s.out_width % s.out_height;
  int64_t image = first / s.out_width / s.out_height;
  for (int64_t pixel = first; pixel < last; ++pixel, to += row_bytes) {
    const int64_t left = column * s.stride_w - s.pad_left;
    const bool is_inside = left >= 0 && left + (s.kernel_w - 1) * int64_t(s.dilation_w) < s.width;
    uint8_t* at = to;
    for (int i = 0; i < s.kernel_h; ++i) {
      const int64_t y = row * s.stride_h - s.pad_top + int64_t(i) * s.dilation_h;
      if (y < 0 || y >= s.height) {
        memset(at, s.zero_x, size_t(s.kernel_w * channels));
        at += s.kernel_w * channels;
        continue;
      }
      const uint8_t* source = s.x + (image * s.height + y) * line + group * channels;
      if (is_dense && is_inside) {
        copy_bytes(at, source + left * s.channels, s.kernel_w * channels);
        at += s.kernel_w * channels;
        continue;
      }
      for (int j = 0; j < s.kernel_w; ++j, at += channels) {
        const int64_t x = left + int64_t(j) * s.dilation_w;
        if (x < 0 || x >= s.width)
          memset(at, s.zero_x, size_t(channels));
        else
          copy_bytes(at, source + x * s.channels, channels);
      }
    }
    for (uint8_t* end = to + row_bytes; at < end; ++at) *at = 0;
    if (++column == s.out_width) {
      column = 0;
      if (++row == s.out_height) row = 0, ++image;
    }
  }
}

// Rows [0, rows) of activations by every panel in the range, a tile at a time.
template <Output Kind>
void multiply_rows(const uint8_t* a, int64_t a_stride, int64_t rows, Panel panel, Range panels, int64_t all_columns,
                   uint8_t* y, int64_t y_stride) {
  const int64_t tiles = ceil_div(rows, Isa::kRows);
  for (int64_t i = panels.begin; i < panels.end; ++i) {
    Panel own = panel;
    own.weight += i * panel.quads * kPanel * kQuad;
    own.bias += i * kPanel;
    own.multiplier += i * kPanel;
    own.shift += i * kPanel;
    own.columns = int(least(kPanel, all_columns - i * kPanel));
    for (int64_t t = 0; t < tiles; ++t) {  // tiles as even as they come: the last is no small rest
      const int64_t begin = rows * t / tiles, end = rows * (t + 1) / tiles;
      uint8_t* to = y + begin * y_stride + i * kPanel * kBytes<Kind>;
      if constexpr (Kind == Output::kAddedGates) own.more = panel.more + i * kPanel + begin * panel.more_stride;
      if constexpr (Kind == Output::kSummedBytes) own.rows = panel.rows + begin;
      kTiles<Kind>[end - begin - 1](a + begin * a_stride, a_stride, own, to, y_stride);
    }
  }
}

template <Output Kind>
void product(const Step& s, const Share& share) {
  const int64_t channels = s.channels / s.groups, columns = s.out_channels / s.groups;
  const int64_t panels = ceil_div(columns, kPanel), quads = ceil_div(depth(s), kQuad), rows = pixels_out(s);
  const bool splits_rows = rows >= int64_t(share.count) * Isa::kRows || panels < share.count;
  const Share whole{0, 1, share.scratch};
  const Range own_rows = part(rows, Isa::kRows, splits_rows ? share : whole);
  const Range own_panels = part(panels, 1, splits_rows ? whole : share);
  const bool is_direct = s.kernel_h == 1 && s.kernel_w == 1 && s.stride_h == 1 && s.stride_w == 1 &&
                         s.pad_top == 0 && s.pad_left == 0 && s.out_height == s.height && s.out_width == s.width &&
                         channels % kQuad == 0;
  const int64_t block = gathered_rows(s);
  for (int64_t begin = own_rows.begin; begin < own_rows.end; begin += block) {
    const int64_t end = least(begin + block, own_rows.end);
    for (int g = 0; g < s.groups; ++g) {
      const int64_t constants = g * panels * kPanel;
      const Panel panel{s.weight + g * panels * quads * kPanel * kQuad,
                        s.bias + constants,
                        s.multiplier + constants,
                        s.shift + constants,
                        quads,
                        0,
                        s.zero_y,
                        s.low,
                        s.high,
                        nullptr,
                        0};
      const int64_t y_stride = s.out_channels * int64_t(kBytes<Kind>);
      uint8_t* y = s.y + begin * y_stride + g * columns;
      if (is_direct) {
        multiply_rows<Kind>(s.x + begin * s.channels + g * channels, s.channels, end - begin, panel, own_panels,
                            columns, y, y_stride);
      } else {
        gather(s, g, begin, end, quads * kQuad, share.scratch);
        multiply_rows<Kind>(share.scratch, quads * kQuad, end - begin, panel, own_panels, columns, y, y_stride);
      }
    }
  }
}

void convolution(const Step& s, const Share& share) { product<Output::kBytes>(s, share); }
void gates(const Step& s, const Share& share) { product<Output::kGates>(s, share); }

// -- LSTM ------------------------------------------------------------------------------------------------------

// tanh(x * 4 / (64 << places)), of 15 bits behind the point; constant beyond 4.
inline int16_t tanh_of(int32_t x, int places, const int16_t* knots) {
  const int32_t far = (kSegments << places) - 1, magnitude = x < 0 ? -x : x;
  const int32_t at = magnitude < far ? magnitude : far;
  const int32_t share = (at & ((1 << places) - 1)) << (15 - places), segment = at >> places;
  const int32_t value = knots[segment] + ((knots[kSegments + segment] * share + (1 << 14)) >> 15);
  return int16_t(x < 0 ? -value : value);
}

inline int32_t half_up(int32_t a, int32_t b) { return (a * b + (1 << 14)) >> 15; }
inline int32_t saturated(int32_t v) { return v < -32768 ? -32768 : v > 32767 ? 32767 : v; }

// What turns 32 units' gates [4][32] and cell states into new states, and h as bytes: `recurrent.step` of the
// reference.
struct Cells {
  const int16_t* knots;
  int32_t factor, offset, places, low, high;

  void step(const int16_t* gate, int16_t* cell, uint8_t* h) const {
    for (int k = 0; k < kPanel; ++k) {
      const auto sigmoid = [&](int which) { return (tanh_of(gate[which * kPanel + k], 9, knots) >> 1) + (1 << 14); };
      const int32_t in = sigmoid(0), out = sigmoid(1), forget = sigmoid(2);
      const int32_t fresh = (half_up(in, tanh_of(gate[3 * kPanel + k], 8, knots)) + 8) >> 4;
      cell[k] = int16_t(saturated(half_up(forget, cell[k]) + fresh));
      const int32_t value = (half_up(out, tanh_of(cell[k], 7, knots)) * factor + offset) >> places;
      h[k] = uint8_t(value < low ? low : value > high ? high : value);
    }
  }
};

// The recurrence is one thread's: its steps are too short to be divided.
void lstm(const Step& s, const Share& share) {
  if (share.index != 0) return;
  const int64_t units = ceil_div(s.channels, kPanel) * kPanel, blocks = units / kPanel;
  const int64_t quads = ceil_div(s.channels, kQuad), gate_count = units * kGateCount;
  uint8_t* before = share.scratch;  // h, [batch][units]
  uint8_t* after = before + s.batch * units;
  auto* cell = reinterpret_cast<int16_t*>(after + s.batch * units);
  auto* gate = cell + s.batch * units;  // of a tile: [rows][4][32]
  memset(before, s.zero_x, size_t(s.batch * units));
  memset(cell, 0, size_t(s.batch * units) * sizeof(int16_t));
  const Cells cells{reinterpret_cast<const int16_t*>(s.table), s.factor, s.offset, s.places, s.low, s.high};
  const auto* from_x = reinterpret_cast<const int16_t*>(s.x);
  for (int64_t t = 0; t < s.height; ++t, from_x += s.batch * gate_count) {
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t first = block * kGateCount * kPanel;
      const int64_t valid = least(kPanel, s.channels - block * kPanel);
      for (int64_t begin = 0; begin < s.batch; begin += Isa::kRows) {
        const int64_t rows = least(Isa::kRows, s.batch - begin);
        const Panel panel{s.weight + first * quads * kQuad,
                          s.bias + first,
                          s.multiplier + first,
                          s.shift + first,
                          quads,
                          kPanel,
                          0,
                          0,
                          0,
                          from_x + begin * gate_count + first,
                          gate_count};
        constexpr int64_t kTileStride = kGateCount * kPanel * sizeof(int16_t);
        multiply_rows<Output::kAddedGates>(before + begin * units, units, rows, panel, {0, kGateCount},
                                           kGateCount * kPanel, reinterpret_cast<uint8_t*>(gate), kTileStride);
        for (int64_t r = begin; r < begin + rows; ++r) {
          uint8_t* h = after + r * units + block * kPanel;
          Isa::step(cells, gate + (r - begin) * kGateCount * kPanel, cell + r * units + block * kPanel, h);
          memcpy(s.y + (t * s.batch + r) * s.channels + block * kPanel, h, size_t(valid));
        }
      }
    }
    std::swap(before, after);
  }
}

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
template <typename Function>
INLINE inline void zip_line(const uint8_t* x, const uint8_t* x2, bool is_one, uint8_t* __restrict__ y, int64_t n,
                            Function function) {
  if (is_one) {
    const uint8_t other = *x2;
    for (int64_t i = 0; i < n; ++i) y[i] = function(x[i], other);
  } else {
    for (int64_t i = 0; i < n; ++i) y[i] = function(x[i], x2[i]);
  }
}

template <typename Function>
INLINE inline void zip(const Step& s, const Share& share, Function function) {
  const int64_t rows = s.extent[1], n = s.extent[2], outer = s.from[0], inner = s.from[1];
  const bool is_one = s.from[2] == 0;
  if (!is_one && inner == n && outer == rows * n) {  // of one shape
    const Range own = part(s.extent[0] * rows * n, 64, share);
    zip_line(s.x + own.begin, s.x2 + own.begin, false, s.y + own.begin, own.end - own.begin, function);
    return;
  }
  const Range own = part(s.extent[0] * rows, 1, share);
  const uint8_t *x = s.x, *x2 = s.x2;
  uint8_t* y = s.y;
  for (int64_t i = own.begin; i < own.end; ++i)
    zip_line(x + i * n, x2 + i / rows * outer + i % rows * inner, is_one, y + i * n, n, function);
}

void add(const Step& s, const Share& share) {
  const int32_t factor = s.factor, factor2 = s.factor2, offset = s.offset, places = s.places, low = s.low, high = s.high;
  zip(s, share, [=](uint8_t a, uint8_t b) {
    const int32_t sum = (a * factor + b * factor2 + offset) >> places;
    return uint8_t(sum < low ? low : sum > high ? high : sum);
  });
}

void multiply(const Step& s, const Share& share) {
  const int64_t rounding = int64_t(1) << (*s.shift - 1), zero_y = s.zero_y;
  const int64_t multiplier = *s.multiplier, shift = *s.shift;
  const int32_t zero_x = s.zero_x, zero_x2 = s.zero_x2, low = s.low, high = s.high;
  zip(s, share, [=](uint8_t a, uint8_t b) {
    const int64_t product = int64_t((a - zero_x) * (b - zero_x2));
    return clipped(zero_y + ((product * multiplier + rounding) >> shift), low, high);
  });
}

void table(const Step& s, const Share& share) {
  const Range own = part(s.extent[0], 64, share);
  Isa::look_up(s.x + own.begin, s.y + own.begin, own.end - own.begin, s.table);
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
                                      embedding, gru};
  kFunctions[s.kind](s, share);
}

// Dot products on registers alone.
int64_t multiply_registers(int64_t rounds) {
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

// Convolution and matrix product. Part of steps.inl.

struct Panel {
  const int8_t* weight;  // [lines][quads][32][4], or as its format has it
  const int32_t *bias, *multiplier, *shift;
  int64_t quads;
  int columns, zero, low, high;
  const int16_t* more;  // what is added to gates, [rows]
  int64_t more_stride;
  const int32_t* rows = nullptr;  // what is added to every sum of a row, [rows]
  int32_t format = kInt8;
  const int8_t* dictionary = nullptr;  // [16]
  const int32_t* starts = nullptr;     // of kSparse: the first block of each panel
  const int32_t* places = nullptr;     // and the quad of each block
  int64_t lines = 1, line_bytes = 0;   // of a window, and from one to the next
};

}  // namespace
}  // namespace hwprof

#include "low_bit.inl"

namespace hwprof {
namespace {

// What a product is written as: bytes; gates of 16 bits; gates with others added to them; bytes of a product with an
// activation, to each row of which a number of its own is added.
enum class Output { kBytes, kGates, kAddedGates, kSummedBytes };
constexpr bool is_bytes(Output kind) { return kind == Output::kBytes || kind == Output::kSummedBytes; }

// Rows rows of a product: y[r][0..columns) for activations a[r][0..4 * quads). Strides are in bytes but for `more`.
// Vectors: of a panel's columns, the first of which are multiplied; all of them or half.
template <typename Format, Output Kind, int Vectors, int Rows>
void tile(const uint8_t* a, int64_t a_stride, const Panel& p, uint8_t* y, int64_t y_stride) {
  // Few rows alone would wait for each dot product to end before the next is added to it.
  constexpr int kSets = Rows * Vectors <= 4 ? 4 : Rows * Vectors <= 8 ? 2 : 1;
  constexpr int kStep = kSets > Format::kQuads ? kSets : Format::kQuads;
  const Format format(p);
  Ints sum[kSets][Rows][kVectors];
  unrolled<Rows>([&](auto r) INLINE {
    unrolled<Vectors>([&](auto v) INLINE {
      sum[0][r][v] = Format::kCounts ? Isa::nothing() : Isa::load(p.bias + v * kLanes);
      if constexpr (Kind == Output::kSummedBytes) sum[0][r][v] = Isa::add(sum[0][r][v], Isa::every(p.rows[r]));
      unrolled<kSets - 1>([&](auto set) INLINE { sum[set + 1][r][v] = Isa::nothing(); });
    });
  });
  const int8_t* w = p.weight;
  const int32_t* place = p.places;
  const auto multiply_quad = [&](auto quad) INLINE {
    constexpr int kSet = quad % kSets, kBlock = quad / Format::kQuads;
    decltype(format.template column<0, 0>(w)) column[Vectors];
    unrolled<Vectors>([&](auto v) INLINE {
      column[v] = format.template column<quad % Format::kQuads, v>(w + kBlock * Format::kBytes);
    });
    const int64_t at = Format::kIsSparse ? place[quad] : quad;
    unrolled<Rows>([&](auto r) INLINE {
      const auto row = Format::broadcast(a + r * a_stride + at * kQuad);
      unrolled<Vectors>([&](auto v) INLINE { sum[kSet][r][v] = Format::dot(sum[kSet][r][v], row, column[v]); });
    });
  };
  const auto advance = [&](int64_t quads) INLINE {
    w += quads / Format::kQuads * Format::kBytes;
    if constexpr (Format::kIsSparse)
      place += quads;
    else
      a += quads * kQuad;
  };
  for (int64_t line = 0; line < p.lines; ++line, a += p.line_bytes - p.quads * kQuad) {
    int64_t k = p.quads;
    for (; k >= kStep; k -= kStep, advance(kStep)) unrolled<kStep>(multiply_quad);
    if constexpr (kStep > Format::kQuads)
      for (; k > 0; k -= Format::kQuads, advance(Format::kQuads)) unrolled<Format::kQuads>(multiply_quad);
  }
  unrolled<Vectors>([&](auto v) INLINE {
    const Scale scale(p.multiplier + v * kLanes, p.shift + v * kLanes, p.zero);
    unrolled<Rows>([&](auto r) INLINE {
      unrolled<kSets - 1>([&](auto set) INLINE { sum[0][r][v] = Isa::add(sum[0][r][v], sum[set + 1][r][v]); });
      sum[0][r][v] = Format::finished(sum[0][r][v], p.bias + v * kLanes);
      if constexpr (!is_bytes(Kind)) sum[0][r][v] = Isa::lift(sum[0][r][v]);
      sum[0][r][v] = scale.apply(sum[0][r][v]);
    });
  });
  const int low = p.low, high = p.high, columns = p.columns;  // bytes that are written might be the panel's otherwise
  unrolled<Rows>([&](auto r) INLINE {
    if constexpr (is_bytes(Kind)) {
      unrolled<kVectors - Vectors>([&](auto v) INLINE { sum[0][r][Vectors + v] = Isa::nothing(); });
      Isa::store_row(y + r * y_stride, sum[0][r], low, high, columns);
    } else {
      constexpr int16_t kNothing[kPanel] = {};
      const int16_t* more = Kind == Output::kGates ? kNothing : p.more + r * p.more_stride;
      Isa::store_gates(reinterpret_cast<int16_t*>(y + r * y_stride), sum[0][r], more);
    }
  });
}

using Tile = void (*)(const uint8_t*, int64_t, const Panel&, uint8_t*, int64_t);

template <typename Format, Output Kind, int Vectors, typename Rows>
struct Tiles;
template <typename Format, Output Kind, int Vectors, int... Rows>
struct Tiles<Format, Kind, Vectors, std::integer_sequence<int, Rows...>> {
  static constexpr Tile kOf[] = {tile<Format, Kind, Vectors, Rows + 1>...};  // by the number of rows, less one
};
using AllRows = std::make_integer_sequence<int, Isa::kRows>;
template <Output Kind>
using WholeFormat = std::conditional_t<Kind == Output::kSummedBytes, Activation, Int8>;
template <Output Kind>
constexpr const Tile* kTiles = Tiles<WholeFormat<Kind>, Kind, kVectors, AllRows>::kOf;
constexpr const Tile* kNarrowTiles = Tiles<Int8, Output::kBytes, kVectors / 2, AllRows>::kOf;

// Of a panel of int8 that is written as bytes.
inline const Tile* tiles_of(const Panel& panel) {
  return panel.columns <= kPanel / 2 ? kNarrowTiles : kTiles<Output::kBytes>;
}

constexpr int kLowBitRows = Isa::kRows < 4 ? Isa::kRows : 4;  // low bits pay where the rows are few
template <typename Format>
constexpr const Tile* kLowBitTiles =
    Tiles<Format, Output::kBytes, kVectors, std::make_integer_sequence<int, kLowBitRows>>::kOf;
constexpr const Tile* kTilesOf[kFormats] = {kTiles<Output::kBytes>,      kLowBitTiles<Int4>,        kLowBitTiles<Dictionary16>,
                                            kLowBitTiles<Dictionary4>, kLowBitTiles<Dictionary2>, kLowBitTiles<Sparse>,
                                            kLowBitTiles<Signs>};

template <Output Kind>
constexpr int kBytes = is_bytes(Kind) ? 1 : 2;  // of an element

// The activations under the window of each output pixel in [first, last), one row of `row_bytes` each. What lies behind
// a line of int8 is left as it is: its weights are 0.
void gather(const Step& s, int group, int64_t first, int64_t last, int64_t row_bytes, uint8_t* to) {
  const int64_t channels = s.channels / s.groups, line = int64_t(s.width) * s.channels;
  const int64_t line_padding = line_depth(s) - s.kernel_w * channels;
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
        at += s.kernel_w * channels + line_padding;
        continue;
      }
      const uint8_t* source = s.x + (image * s.height + y) * line + group * channels;
      if (is_dense && is_inside) {
        copy_bytes(at, source + left * s.channels, s.kernel_w * channels);
        at += s.kernel_w * channels + line_padding;
        continue;
      }
      for (int j = 0; j < s.kernel_w; ++j, at += channels) {
        const int64_t x = left + int64_t(j) * s.dilation_w;
        if (x < 0 || x >= s.width)
          memset(at, s.zero_x, size_t(channels));
        else
          copy_bytes(at, source + x * s.channels, channels);
      }
      at += line_padding;
    }
    for (uint8_t* end = to + row_bytes; at < end; ++at) *at = Isa::kIsSigned ? 128 : 0;  // counts as 0
    if (++column == s.out_width) {
      column = 0;
      if (++row == s.out_height) row = 0, ++image;
    }
  }
}

#if defined(HWPROF_TILES)
}  // namespace
}  // namespace hwprof

#include "amx.inl"

namespace hwprof {
namespace {
#endif

// function(panel, i) for every panel i in the range.
template <typename Function>
INLINE inline void each_panel(const Panel& first, Range panels, int64_t all_columns, Function function) {
  for (int64_t i = panels.begin; i < panels.end; ++i) {
    Panel own = first;
    if (first.format == kSparse) {
      own.weight += int64_t(first.starts[i]) * block_bytes(kSparse);
      own.places += first.starts[i];
      own.quads = first.starts[i + 1] - first.starts[i];
    } else {
      own.weight += i * first.lines * (first.quads / block_quads(first.format)) * block_bytes(first.format);
    }
    own.bias += i * kPanel;
    own.multiplier += i * kPanel;
    own.shift += i * kPanel;
    own.columns = int(least(kPanel, all_columns - i * kPanel));
    function(own, i);
  }
}

// Rows [0, rows) of activations by every panel in the range, a tile at a time.
template <Output Kind>
void multiply_rows(const uint8_t* a, int64_t a_stride, int64_t rows, const Panel& panel, Range panels,
                   int64_t all_columns, uint8_t* y, int64_t y_stride) {
  const bool is_plain = Kind != Output::kBytes || panel.format == kInt8;
#if defined(HWPROF_TILES)
  if constexpr (Kind != Output::kSummedBytes)
    if (is_plain && rows >= kLeastTiled)
      return multiply_tiles<Kind>(a, a_stride, rows, panel, panels, all_columns, y, y_stride);
#endif
  const int64_t tiles = ceil_div(rows, is_plain ? Isa::kRows : kLowBitRows);
  each_panel(panel, panels, all_columns, [&](Panel& own, int64_t i) INLINE {
    const Tile* of_rows = !is_plain ? kTilesOf[panel.format] : Kind == Output::kBytes ? tiles_of(own) : kTiles<Kind>;
    for (int64_t t = 0; t < tiles; ++t) {  // tiles as even as they come: the last is no small rest
      const int64_t begin = rows * t / tiles, end = rows * (t + 1) / tiles;
      uint8_t* to = y + begin * y_stride + i * kPanel * kBytes<Kind>;
      if constexpr (Kind == Output::kAddedGates) own.more = panel.more + i * kPanel + begin * panel.more_stride;
      if constexpr (Kind == Output::kSummedBytes) own.rows = panel.rows + begin;
      of_rows[end - begin - 1](a + begin * a_stride, a_stride, own, to, y_stride);
    }
  });
}

// Whether rows are what lies in memory.
bool is_direct(const Step& s) {
  return s.kernel_h == 1 && s.kernel_w == 1 && s.stride_h == 1 && s.stride_w == 1 && s.pad_top == 0 &&
         s.pad_left == 0 && s.out_height == s.height && s.out_width == s.width &&
         s.channels / s.groups % block_depth(s.format) == 0 && s.format != kSigns;
}

template <Output Kind>
void product(const Step& s, const Share& share) {
  const int64_t channels = s.channels / s.groups, columns = s.out_channels / s.groups;
  const int64_t panels = ceil_div(columns, kPanel), rows = pixels_out(s);
  const int64_t quads = blocks(s) * block_quads(s.format), row = row_bytes(s);
  const bool splits_rows = rows >= int64_t(share.count) * Isa::kRows || panels < share.count;
  const Share whole{0, 1, share.scratch};
  const Range own_rows = part(rows, Isa::kRows, splits_rows ? share : whole);
  const Range own_panels = part(panels, 1, splits_rows ? whole : share);
  const bool is_sparse = s.format == kSparse;
  const auto* starts = reinterpret_cast<const int32_t*>(s.x2);
  const int64_t block = gathered_rows(s);
  for (int64_t begin = own_rows.begin; begin < own_rows.end; begin += block) {
    const int64_t end = least(begin + block, own_rows.end);
    for (int g = 0; g < s.groups; ++g) {
      const int64_t constants = g * panels * kPanel;
      const Panel panel{s.weight + (is_sparse ? 0 : g * panels * blocks(s) * block_bytes(s.format)),
                        s.bias + constants,
                        s.multiplier + constants,
                        s.shift + constants,
                        quads,
                        0,
                        s.zero_y,
                        s.low,
                        s.high,
                        nullptr,
                        0,
                        nullptr,
                        s.format,
                        reinterpret_cast<const int8_t*>(s.x2),
                        is_sparse ? starts + g * panels : nullptr,
                        is_sparse ? starts + s.groups * panels + 1 : nullptr};
      const int64_t y_stride = s.out_channels * int64_t(kBytes<Kind>);
      uint8_t* y = s.y + begin * y_stride + g * columns;
      if (is_direct(s)) {
        multiply_rows<Kind>(s.x + begin * s.channels + g * channels, s.channels, end - begin, panel, own_panels,
                            columns, y, y_stride);
      } else {
        gather(s, g, begin, end, row, share.scratch);
        if (s.format == kSigns) pack_signs(share.scratch, (end - begin) * row, depth(s), row, s.zero_x2);
        multiply_rows<Kind>(share.scratch, quads * kQuad, end - begin, panel, own_panels, columns, y, y_stride);
      }
    }
  }
}

#if !defined(HWPROF_TILES)  // whose rows must be gathered
// A convolution whose rows are not gathered: those of a line of the output lie in one distance each.
void lined_convolution(const Step& s, const Share& share) {
  const int64_t panels = ceil_div(s.out_channels, kPanel), lines = int64_t(s.batch) * s.out_height;
  const bool splits_lines = lines >= 4 * int64_t(share.count) || panels < share.count;
  const Share whole{0, 1, share.scratch};
  const Range own_lines = part(lines, 1, splits_lines ? share : whole);
  const Range own_panels = part(panels, 1, splits_lines ? whole : share);
  const int64_t quads = line_depth(s) / kQuad, stride = int64_t(s.stride_w) * s.channels;
  const int64_t tiles = ceil_div(s.out_width, Isa::kRows);
  Panel panel{s.weight, s.bias, s.multiplier, s.shift, quads, 0, s.zero_y, s.low, s.high, nullptr, 0};
  panel.lines = s.kernel_h;
  const bool reads_more = s.kernel_w * int64_t(s.channels) % kQuad;  // than the last pixel
  each_stripe(s, own_lines, reads_more, share.scratch, [&](const Stripe& stripe) {
    panel.line_bytes = s.dilation_h * stripe.line_bytes;
    each_panel(panel, own_panels, s.out_channels, [&](const Panel& own, int64_t i) INLINE {
      const Tile* of_rows = tiles_of(own);
      for (int64_t line = stripe.begin; line < stripe.end; ++line)
        for (int64_t t = 0; t < tiles; ++t) {
          const int64_t first = s.out_width * t / tiles, last = s.out_width * (t + 1) / tiles;
          uint8_t* y = s.y + (line * s.out_width + first) * s.out_channels + i * kPanel;
          of_rows[last - first - 1](stripe.under(s, line) + first * stride, stride, own, y, s.out_channels);
        }
    });
  });
}
#endif

void convolution(const Step& s, const Share& share) {
#if !defined(HWPROF_TILES)
  // Not where the rows of a line make but small tiles, nor where all rows lie in one distance.
  if (is_lined(s) && s.out_width * 2 > Isa::kRows && !is_direct(s)) return lined_convolution(s, share);
#endif
  product<Output::kBytes>(s, share);
}
void gates(const Step& s, const Share& share) { product<Output::kGates>(s, share); }

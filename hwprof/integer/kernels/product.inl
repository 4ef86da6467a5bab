// Convolution and matrix product. Part of steps.inl.

struct Panel {  // the first of several in sequence
  const int8_t* weight;  // [lines][quads][32][4], or as its format has it
  const int32_t *bias, *multiplier, *shift;
  int64_t quads;
  int columns, zero, low, high;
  const int32_t* rows = nullptr;  // what is added to every sum of a row, [rows]
  int32_t format = kInt8;
  const int8_t* dictionary = nullptr;  // [16]
  const int32_t* starts = nullptr;     // of kSparse: the first block of each panel
  const int32_t* places = nullptr;     // and the quad of each block
  int64_t lines = 1, line_bytes = 0;   // of a window, and from one to the next
  const int32_t* modes = nullptr;      // of kParts, from this panel on; `starts` as well
  const int8_t* extras = nullptr;      // all blocks that `places` names: line and quad

  // The panel i places later. Field by field: a copy that is then changed would wait for all writes before it.
  Panel behind(int64_t i) const {
    const bool is_sparse = format == kSparse;
    const int64_t begin = is_sparse ? starts[i] : i * lines * (quads / block_quads(format));
    return {weight + begin * block_bytes(format), bias + i * kPanel, multiplier + i * kPanel, shift + i * kPanel,
            is_sparse ? starts[i + 1] - begin : quads, columns - int(i) * kPanel, zero, low, high, rows, format,
            dictionary, modes ? starts + i : starts, is_sparse ? places + begin : places, lines, line_bytes,
            modes ? modes + i : nullptr, extras};
  }
};

}  // namespace
}  // namespace hwprof

#include "low_bit.inl"

namespace hwprof {
namespace {

// What a product is written as: bytes; gates of 16 bits; bytes of a product with an activation, to each row of which a
// number of its own is added.
enum class Output { kBytes, kGates, kSummedBytes };
constexpr bool is_bytes(Output kind) { return kind == Output::kBytes || kind == Output::kSummedBytes; }
template <Output Kind>
constexpr int kBytes = is_bytes(Kind) ? 1 : 2;  // of an element

// Rows rows by as many vectors of columns, of half a panel or of whole ones: y[r][0..columns) for activations
// a[r][0..4 * quads). Strides are in bytes.
template <typename Format, Output Kind, int Rows, int Vectors>
void tile(const uint8_t* a, int64_t a_stride, const Panel& p, uint8_t* y, int64_t y_stride) {
  constexpr int kPanels = Vectors < kVectors ? 1 : Vectors / kVectors, kSums = Rows * Vectors;
  // Few sums alone would wait for each dot product to end before the next is added to it.
  constexpr int kSets = kSums <= 4 ? 4 : kSums <= 8 ? 2 : 1;
  constexpr int kStep = kSets > Format::kQuads ? kSets : Format::kQuads;
  const Format format(p);
  Ints sum[kSets][Rows][kPanels * kVectors];
  unrolled<Rows>([&](auto r) INLINE {
    unrolled<Vectors>([&](auto c) INLINE {
      sum[0][r][c] = Format::kCounts ? Isa::nothing() : Isa::load(p.bias + c * kLanes);
      if constexpr (Kind == Output::kSummedBytes) sum[0][r][c] = Isa::add(sum[0][r][c], Isa::every(p.rows[r]));
      unrolled<kSets - 1>([&](auto set) INLINE { sum[set + 1][r][c] = Isa::nothing(); });
    });
  });
  const int8_t* w = p.weight;
  const int64_t panel_bytes = p.lines * (p.quads / Format::kQuads) * Format::kBytes;
  const int32_t* place = p.places;
  const auto multiply_quad = [&](auto quad) INLINE {
    constexpr int kSet = quad % kSets, kBlock = quad / Format::kQuads;
    decltype(format.template column<0, 0>(w)) column[Vectors];
    unrolled<Vectors>([&](auto c) INLINE {
      const int8_t* block = w + c / kVectors * panel_bytes + kBlock * Format::kBytes;
      column[c] = format.template column<quad % Format::kQuads, c % kVectors>(block);
    });
    const int64_t at = Format::kIsSparse ? place[quad] : quad;
    unrolled<Rows>([&](auto r) INLINE {
      const auto row = Format::broadcast(a + r * a_stride + at * kQuad);
      unrolled<Vectors>([&](auto c) INLINE { sum[kSet][r][c] = Format::dot(sum[kSet][r][c], row, column[c]); });
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
  unrolled<Vectors>([&](auto c) INLINE {
    const Scale scale(p.multiplier + c * kLanes, p.shift + c * kLanes, p.zero);
    unrolled<Rows>([&](auto r) INLINE {
      unrolled<kSets - 1>([&](auto set) INLINE { sum[0][r][c] = Isa::add(sum[0][r][c], sum[set + 1][r][c]); });
      sum[0][r][c] = Format::finished(sum[0][r][c], p.bias + c * kLanes);
      if constexpr (!is_bytes(Kind)) sum[0][r][c] = Isa::lift(sum[0][r][c]);
      sum[0][r][c] = scale.apply(sum[0][r][c]);
    });
  });
  const int low = p.low, high = p.high, columns = p.columns;  // bytes that are written might be the panel's otherwise
  unrolled<Rows>([&](auto r) INLINE {
    unrolled<kPanels * kVectors - Vectors>([&](auto v) INLINE { sum[0][r][Vectors + v] = Isa::nothing(); });
    unrolled<kPanels>([&](auto i) INLINE {
      const Ints* sums = sum[0][r] + i * kVectors;
      uint8_t* to = y + r * y_stride + i * kPanel * kBytes<Kind>;
      if constexpr (is_bytes(Kind))
        Isa::store_row(to, sums, low, high, int(least(kPanel, columns - i * kPanel)));
      else
        Isa::store_gates(reinterpret_cast<int16_t*>(to), sums);
    });
  });
}

using Tile = void (*)(const uint8_t*, int64_t, const Panel&, uint8_t*, int64_t);

constexpr int kTogether = Isa::kRows < 4 ? Isa::kRows : 4;  // panels of one row at a time
template <typename Format, Output Kind, typename Rows, typename Panels>
struct Tiles;
template <typename Format, Output Kind, int... Rows, int... Panels>
struct Tiles<Format, Kind, std::integer_sequence<int, Rows...>, std::integer_sequence<int, Panels...>> {
  static constexpr Tile kOfRows[] = {tile<Format, Kind, Rows + 1, kVectors>...};  // by the number of rows, less one
  static constexpr Tile kOfPanels[] = {tile<Format, Kind, 1, (Panels + 1) * kVectors>...};  // of one row, by that of panels
};
struct TileSet {
  const Tile *of_rows, *of_panels;
};
template <typename Format, Output Kind, int Rows>
constexpr TileSet tile_set() {
  constexpr int kPanels = Format::kIsSparse ? 1 : kTogether;
  using Own = Tiles<Format, Kind, std::make_integer_sequence<int, Rows>, std::make_integer_sequence<int, kPanels>>;
  return {Own::kOfRows, Own::kOfPanels};
}
template <Output Kind>
using WholeFormat = std::conditional_t<Kind == Output::kSummedBytes, Activation, Int8>;
template <Output Kind>
constexpr TileSet kTiles = tile_set<WholeFormat<Kind>, Kind, Isa::kRows>();

template <typename Rows>
struct NarrowTiles;
template <int... Rows>
struct NarrowTiles<std::integer_sequence<int, Rows...>> {
  static constexpr Tile kOfRows[] = {tile<Int8, Output::kBytes, Rows + 1, kVectors / 2>...};
};
// By the number of rows, less one, of a panel of int8 that is written as bytes.
inline const Tile* tiles_of(const Panel& panel) {
  const bool is_narrow = panel.columns <= kPanel / 2;
  return is_narrow ? NarrowTiles<std::make_integer_sequence<int, Isa::kRows>>::kOfRows : kTiles<Output::kBytes>.of_rows;
}

constexpr int kLowBitRows = Isa::kRows < 4 ? Isa::kRows : 4;  // low bits pay where the rows are few
template <typename Format>
constexpr TileSet kLowBitTiles = tile_set<Format, Output::kBytes, kLowBitRows>();
constexpr TileSet kTilesOf[kFormats] = {kTiles<Output::kBytes>,      kLowBitTiles<Int4>,        kLowBitTiles<Dictionary16>,
                                        kLowBitTiles<Dictionary4>, kLowBitTiles<Dictionary2>, kLowBitTiles<Sparse>,
                                        kLowBitTiles<Signs>,       kTiles<Output::kBytes>};

// The activations under the window of each output pixel in [first, last), one row of `row_bytes` each. Bytes after a
// line of int8 are not written: their weights are 0.
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

template <Output Kind>
void multiply_rows(const uint8_t* a, int64_t a_stride, int64_t rows, const Panel& panel, Range panels, uint8_t* y,
                   int64_t y_stride);

#if defined(HWPROF_SUMS_PARTS)
#include "parts.inl"

// As `multiply_rows`, each panel by its mode.
template <Output Kind>
void multiply_parts(const uint8_t* a, int64_t a_stride, int64_t rows, const Panel& panel, Range panels, uint8_t* y,
                    int64_t y_stride) {
  for (int64_t i = panels.begin; i < panels.end; ++i, y += kPanel * kBytes<Kind>) {
    if (panel.modes[i] != kExact) {
      multiply_panel_of_parts<Kind>(a, a_stride, rows, panel, i, y, y_stride);
      continue;
    }
    Panel own = panel.behind(i);
    own.modes = nullptr;
    multiply_rows<Kind>(a, a_stride, rows, own, {0, 1}, y, y_stride);
  }
}
#endif

// Whether the weights of a panel are bytes as they lie in memory.
template <Output Kind>
bool is_int8(const Panel& panel) {
  return Kind != Output::kBytes || panel.format == kInt8 || panel.format == kParts;
}

// Rows [0, rows) of activations by every panel in the range, a tile at a time. y is where the first of them begins.
template <Output Kind>
void multiply_rows(const uint8_t* a, int64_t a_stride, int64_t rows, const Panel& panel, Range panels, uint8_t* y,
                   int64_t y_stride) {
#if defined(HWPROF_SUMS_PARTS)
  if constexpr (Kind != Output::kSummedBytes)
    if (panel.modes) return multiply_parts<Kind>(a, a_stride, rows, panel, panels, y, y_stride);
#endif
  const bool is_plain = is_int8<Kind>(panel);
  const TileSet& of = is_plain ? kTiles<Kind> : kTilesOf[panel.format];
  // Of one row each weight is used once: what counts is that memory is read without a break.
  const int64_t together = rows > 1 || panel.format == kSparse ? 1 : kTogether;
  for (int64_t i = panels.begin, count; i < panels.end; i += count) {
    count = least(together, panels.end - i);
    Panel own = panel.behind(i);
    uint8_t* to = y + (i - panels.begin) * kPanel * kBytes<Kind>;
    if (rows == 1) {
      of.of_panels[count - 1](a, a_stride, own, to, y_stride);
      continue;
    }
    const Tile* of_rows = is_plain && Kind == Output::kBytes ? tiles_of(own) : of.of_rows;
    const int64_t tiles = ceil_div(rows, is_plain ? Isa::kRows : kLowBitRows);
    for (int64_t t = 0; t < tiles; ++t) {  // tiles of even sizes: the last one is not a small rest
      const int64_t begin = rows * t / tiles, end = rows * (t + 1) / tiles;
      if constexpr (Kind == Output::kSummedBytes) own.rows = panel.rows + begin;
      of_rows[end - begin - 1](a + begin * a_stride, a_stride, own, to + begin * y_stride, y_stride);
    }
  }
}

// Whether memory holds the rows already.
bool is_direct(const Step& s) {
  return s.kernel_h == 1 && s.kernel_w == 1 && s.stride_h == 1 && s.stride_w == 1 && s.pad_top == 0 &&
         s.pad_left == 0 && s.out_height == s.height && s.out_width == s.width &&
         s.channels / s.groups % block_depth(s.format) == 0 && s.format != kSigns;
}

// The panel, which is the `first` of `all`, with what `x2` of a step of kParts says about it and those after it.
inline Panel with_parts(const Step& s, Panel panel, int64_t first, int64_t all) {
  if (s.format != kParts) return panel;
  const auto* modes = reinterpret_cast<const int32_t*>(s.x2);
  panel.modes = modes + first;
  panel.starts = modes + all + first;
  panel.places = modes + 2 * all + 1;
  panel.extras = s.weight + all * panel.lines * panel.quads * block_bytes(kParts);
  return panel;
}

// The first panel of a group, for rows that lie in memory as a whole.
inline Panel panel_of(const Step& s, int64_t group) {
  const int64_t panels = ceil_div(s.out_channels / s.groups, kPanel), first = group * panels, begin = first * kPanel;
  const bool is_sparse = s.format == kSparse;
  const auto* starts = reinterpret_cast<const int32_t*>(s.x2);
  Panel panel{s.weight + (is_sparse ? 0 : first * blocks(s) * block_bytes(s.format)),
              s.bias + begin,
              s.multiplier + begin,
              s.shift + begin,
              blocks(s) * block_quads(s.format),
              s.out_channels / s.groups,
              s.zero_y,
              s.low,
              s.high,
              nullptr,
              s.format,
              reinterpret_cast<const int8_t*>(s.x2),
              is_sparse ? starts + first : nullptr,
              is_sparse ? starts + s.groups * panels + 1 : nullptr};
  if (s.format == kParts) panel.lines = s.kernel_h, panel.line_bytes = line_depth(s), panel.quads = line_depth(s) / kQuad;
  return with_parts(s, panel, first, s.groups * panels);
}

using Multiply = decltype(&multiply_rows<Output::kBytes>);

template <Output Kind>
void product(const Step& s, const Share& share, Multiply multiply = multiply_rows<Kind>) {
  const int64_t channels = s.channels / s.groups, columns = s.out_channels / s.groups;
  const int64_t panels = ceil_div(columns, kPanel), rows = pixels_out(s);
  const int64_t quads = blocks(s) * block_quads(s.format), row = row_bytes(s);
  const bool splits_rows = rows >= int64_t(share.count) * Isa::kRows || panels < share.count;
  const Share whole{0, 1, share.scratch};
  const Range own_rows = part(rows, Isa::kRows, splits_rows ? share : whole);
  const Range own_panels = part(panels, 1, splits_rows ? whole : share);
  const int64_t block = rows_together(s);
  for (int64_t begin = own_rows.begin; begin < own_rows.end; begin += block) {
    const int64_t end = least(begin + block, own_rows.end);
    for (int g = 0; g < s.groups; ++g) {
      const Panel panel = panel_of(s, g);
      const int64_t y_stride = s.out_channels * int64_t(kBytes<Kind>);
      uint8_t* y = s.y + begin * y_stride + (g * columns + own_panels.begin * kPanel) * kBytes<Kind>;
      if (is_direct(s)) {
        multiply(s.x + begin * s.channels + g * channels, s.channels, end - begin, panel, own_panels, y, y_stride);
      } else {
        gather(s, g, begin, end, row, share.scratch);
        if (s.format == kSigns) pack_signs(share.scratch, (end - begin) * row, depth(s), row, s.zero_x2);
        multiply(share.scratch, quads * kQuad, end - begin, panel, own_panels, y, y_stride);
      }
    }
  }
}

// A convolution whose rows are not gathered: those of a line of the output lie in one distance each.
void lined_convolution(const Step& s, const Share& share) {
  const int64_t panels = ceil_div(s.out_channels, kPanel), lines = int64_t(s.batch) * s.out_height;
  const bool splits_lines = lines >= 4 * int64_t(share.count) || panels < share.count;
  const Share whole{0, 1, share.scratch};
  const Range own_lines = part(lines, 1, splits_lines ? share : whole);
  const Range own_panels = part(panels, 1, splits_lines ? whole : share);
  const int64_t quads = line_depth(s) / kQuad, stride = int64_t(s.stride_w) * s.channels;
  const int64_t tiles = ceil_div(s.out_width, Isa::kRows);
  Panel panel{s.weight, s.bias, s.multiplier, s.shift, quads, s.out_channels, s.zero_y, s.low, s.high};
  panel.lines = s.kernel_h;
  panel = with_parts(s, panel, 0, panels);
  const bool reads_more = s.kernel_w * int64_t(s.channels) % kQuad;  // than the last pixel
  each_stripe(s, own_lines, reads_more, share.scratch, [&](const Stripe& stripe) {
    panel.line_bytes = s.dilation_h * stripe.line_bytes;
    for (int64_t i = own_panels.begin; i < own_panels.end; ++i) {
      const Panel own = panel.behind(i);
      if (own.modes) {
        for (int64_t line = stripe.begin; line < stripe.end; ++line)
          multiply_rows<Output::kBytes>(stripe.under(s, line), stride, s.out_width, own, {0, 1},
                                        s.y + line * s.out_width * s.out_channels + i * kPanel, s.out_channels);
        continue;
      }
      const Tile* of_rows = tiles_of(own);
      for (int64_t line = stripe.begin; line < stripe.end; ++line)
        for (int64_t t = 0; t < tiles; ++t) {
          const int64_t first = s.out_width * t / tiles, last = s.out_width * (t + 1) / tiles;
          uint8_t* y = s.y + (line * s.out_width + first) * s.out_channels + i * kPanel;
          of_rows[last - first - 1](stripe.under(s, line) + first * stride, stride, own, y, s.out_channels);
        }
    }
  });
}

void convolution(const Step& s, const Share& share) {
  // Not where the rows of a line make but small tiles, nor where all rows lie in one distance.
  if (is_lined(s) && s.out_width * 2 > Isa::kRows && !is_direct(s)) return lined_convolution(s, share);
  product<Output::kBytes>(s, share);
}
void gates(const Step& s, const Share& share) { product<Output::kGates>(s, share); }

// A matrix product on AMX's tiles: 32 rows by the 32 columns of a panel, 16 quads at a time. All else is AVX-512's:
// include after avx512.inl. Only the functions marked TILES may hold AMX's instructions.
//
// Tiles 0 to 3 are the sums of two groups of rows by two groups of columns; 4 and 5 the rows, 6 and 7 the columns. A
// packed panel is what the instruction wants: 16 columns of a quad are one line of a tile, 128 bytes from the next.
// Processors with AMX were not at hand: what ran is this code with amx_stand_in.h in the instructions' place.
#pragma once

#if defined(HWPROF_STAND_IN)
#include "amx_stand_in.h"
#define TILES
#else
#define TILES __attribute__((target("amx-tile,amx-int8")))
#endif

namespace hwprof {
namespace {

constexpr int kTileRows = 16;
constexpr int kTileQuads = 16;
constexpr int kTileBytes = kTileQuads * kQuad;
constexpr int kLine = kPanel * kQuad;     // of a panel
constexpr int kLeastTiled = kTileRows;    // rows, from which tiles are used

// The compiler's intrinsics do not say which memory they read: what was written before must be there.
inline void settle() { asm volatile("" ::: "memory"); }

// Groups of `first` and `second` rows, each 1 to 16.
TILES inline void configure_tiles(int first, int second) {
  alignas(64) uint8_t config[64] = {1};  // the one palette there is
  const int rows[8] = {first, first, second, second, first, second, kTileQuads, kTileQuads};
  for (int i = 0; i < 8; ++i) config[16 + 2 * i] = kTileBytes, config[48 + i] = uint8_t(rows[i]);
  settle();
  _tile_loadconfig(config);
}

// Adds 16 quads of both groups of rows by both groups of columns.
TILES inline void multiply_tile(const uint8_t* first, const uint8_t* second, int64_t a_stride, const int8_t* w) {
  _tile_loadd(4, first, a_stride);
  _tile_loadd(6, w, kLine);
  _tile_dpbusd(0, 4, 6);
  _tile_loadd(7, w + kLine / 2, kLine);
  _tile_dpbusd(1, 4, 7);
  _tile_loadd(5, second, a_stride);
  _tile_dpbusd(2, 5, 6);
  _tile_dpbusd(3, 5, 7);
}

// The last quads of a panel and of rows, filled up with zeros: a tile would read past their ends.
struct Rest {
  alignas(64) int8_t weight[kTileQuads * kLine] = {};
  alignas(64) uint8_t rows[2 * kTileRows * kTileBytes] = {};
};

// The sums of `rows` rows, less the bias, [rows][32].
TILES inline void sum_tiles(const uint8_t* a, int64_t a_stride, int64_t rows, const Panel& p, Rest& rest,
                            int32_t* sums) {
  const int64_t half = rows - rows / 2, whole = p.quads / kTileQuads, left = p.quads % kTileQuads * kQuad;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t i = 0; i < whole; ++i) {
    const uint8_t* first = a + i * kTileBytes;
    multiply_tile(first, first + half * a_stride, a_stride, p.weight + i * kTileQuads * kLine);
  }
  if (left > 0) {
    for (int64_t r = 0; r < rows; ++r) memcpy(rest.rows + r * kTileBytes, a + r * a_stride + whole * kTileBytes, size_t(left));
    settle();
    multiply_tile(rest.rows, rest.rows + half * kTileBytes, kTileBytes, rest.weight);
  }
  constexpr int64_t kStride = kPanel * sizeof(int32_t);
  _tile_stored(0, sums, kStride);
  _tile_stored(1, sums + kPanel / 2, kStride);
  _tile_stored(2, sums + half * kPanel, kStride);
  _tile_stored(3, sums + half * kPanel + kPanel / 2, kStride);
}

// What `tile` makes of its sums.
template <Output Kind>
void finish_tiles(const int32_t* sums, int64_t rows, const Panel& p, uint8_t* y, int64_t y_stride) {
  const Scale scale[kVectors] = {{p.multiplier, p.shift, p.zero}, {p.multiplier + kLanes, p.shift + kLanes, p.zero}};
  for (int64_t r = 0; r < rows; ++r, sums += kPanel, y += y_stride) {
    Ints sum[kVectors];
    unrolled<kVectors>([&](auto v) INLINE {
      sum[v] = Isa::add(Isa::load(sums + v * kLanes), Isa::load(p.bias + v * kLanes));
      if constexpr (Kind != Output::kBytes) sum[v] = Isa::lift(sum[v]);
      sum[v] = scale[v].apply(sum[v]);
    });
    if constexpr (Kind == Output::kBytes)
      Isa::store_row(y, sum, p.low, p.high, int(least(kPanel, p.columns)));
    else
      Isa::store_gates(reinterpret_cast<int16_t*>(y), sum);
  }
}

// As `multiply_rows`, for int8 and at least kLeastTiled rows.
template <Output Kind>
TILES void multiply_tiles(const uint8_t* a, int64_t a_stride, int64_t rows, const Panel& panel, Range panels,
                          uint8_t* y, int64_t y_stride) {
  alignas(64) int32_t sums[2 * kTileRows * kPanel];
  Rest rest;
  const int64_t parts = ceil_div(rows, 2 * kTileRows), left = panel.quads % kTileQuads;
  int64_t configured = 0;
  for (int64_t i = panels.begin; i < panels.end; ++i) {
    const Panel own = panel.behind(i);
    if (left > 0) memcpy(rest.weight, own.weight + (panel.quads - left) * kLine, size_t(left * kLine));
    for (int64_t t = 0; t < parts; ++t) {
      const int64_t begin = rows * t / parts, count = rows * (t + 1) / parts - begin;
      if (count != configured) configure_tiles(int(count - count / 2), int(count / 2));
      configured = count;
      sum_tiles(a + begin * a_stride, a_stride, count, own, rest, sums);
      finish_tiles<Kind>(sums, count, own, y + begin * y_stride + (i - panels.begin) * kPanel * kBytes<Kind>, y_stride);
    }
  }
  _tile_release();
}

// As `multiply_rows`, on tiles where they can be used.
template <Output Kind>
void multiply_rows_on_tiles(const uint8_t* a, int64_t a_stride, int64_t rows, const Panel& panel, Range panels,
                            uint8_t* y, int64_t y_stride) {
  const bool is_tiled = is_int8<Kind>(panel) && rows >= kLeastTiled;
  (is_tiled ? multiply_tiles<Kind> : multiply_rows<Kind>)(a, a_stride, rows, panel, panels, y, y_stride);
}

// As `run`. Convolutions gather their rows, as tiles need many; recurrent layers never have enough of them at once.
void run_on_tiles(const Step& s, const Share& share) {
  static_assert(Isa::kRows < kLeastTiled);  // rows of a recurrent layer that are multiplied at once
  if (s.kind == kConvolution)
    product<Output::kBytes>(s, share, multiply_rows_on_tiles<Output::kBytes>);
  else if (s.kind == kGates)
    product<Output::kGates>(s, share, multiply_rows_on_tiles<Output::kGates>);
  else
    run(s, share);
}

// The peak: products of tiles that stay where they are.
TILES inline int64_t multiply_tiles_alone(int64_t rounds) {
  configure_tiles(kTileRows, kTileRows);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t round = 0; round < rounds; ++round) {
    _tile_dpbusd(0, 4, 6);
    _tile_dpbusd(1, 4, 7);
    _tile_dpbusd(2, 5, 6);
    _tile_dpbusd(3, 5, 7);
  }
  _tile_release();
  return rounds * 4 * kTileRows * (kPanel / 2) * kTileBytes;
}

}  // namespace
}  // namespace hwprof

// The tile instructions of AMX in plain C++, with the faults of the real ones: so the kernels can be tested anywhere.
//
// Intel, "Architecture Instruction Set Extensions Programming Reference", chapter 3. Names are those of the intrinsics.
#pragma once

#include <immintrin.h>
#undef _tile_dpbusd
#undef _tile_loadd
#undef _tile_stored
#undef _tile_zero

#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace hwprof {
namespace {

struct StandIn {
  struct Tile {
    int rows, bytes;  // 0: not configured
    uint8_t data[16][64];
  };
  Tile tile[8];
};
thread_local StandIn stand_in;

inline void fault_unless(bool is_right) {
  if (!is_right) abort();  // what the processor answers with SIGILL
}
inline StandIn::Tile& configured(int which) {
  fault_unless(which >= 0 && which < 8 && stand_in.tile[which].rows > 0);
  return stand_in.tile[which];
}
inline void _tile_loadconfig(const void* config) {
  uint8_t bytes[64];
  memcpy(bytes, config, sizeof bytes);
  fault_unless(bytes[0] == 1 && bytes[1] == 0);
  for (int i = 2; i < 16; ++i) fault_unless(bytes[i] == 0);
  stand_in = StandIn{};
  for (int i = 0; i < 8; ++i) {
    const int rows = bytes[48 + i], width = bytes[16 + 2 * i] | bytes[17 + 2 * i] << 8;
    fault_unless(rows <= 16 && width <= 64 && (rows == 0) == (width == 0));
    stand_in.tile[i].rows = rows, stand_in.tile[i].bytes = width;
  }
}
inline void _tile_release() { stand_in = StandIn{}; }
inline void _tile_zero(int which) { memset(configured(which).data, 0, sizeof configured(which).data); }
inline void _tile_loadd(int which, const void* base, int64_t stride) {
  StandIn::Tile& tile = configured(which);
  for (int r = 0; r < tile.rows; ++r)
    memcpy(tile.data[r], static_cast<const uint8_t*>(base) + r * stride, size_t(tile.bytes));
}
inline void _tile_stored(int which, void* base, int64_t stride) {
  const StandIn::Tile& tile = configured(which);
  for (int r = 0; r < tile.rows; ++r)
    memcpy(static_cast<uint8_t*>(base) + r * stride, tile.data[r], size_t(tile.bytes));
}
inline void _tile_dpbusd(int sums, int left, int right) {
  StandIn::Tile &c = configured(sums), &a = configured(left), &b = configured(right);
  fault_unless(sums != left && sums != right && left != right);
  fault_unless(a.bytes % 4 == 0 && b.bytes % 4 == 0 && c.bytes == b.bytes && c.rows == a.rows && a.bytes / 4 == b.rows);
  for (int m = 0; m < c.rows; ++m)
    for (int n = 0; n < c.bytes / 4; ++n) {
      uint32_t sum;  // wraps around
      memcpy(&sum, c.data[m] + 4 * n, sizeof sum);
      for (int k = 0; k < a.bytes; ++k) sum += uint32_t(a.data[m][k] * int8_t(b.data[k / 4][4 * n + k % 4]));
      memcpy(c.data[m] + 4 * n, &sum, sizeof sum);
    }
}

}  // namespace
}  // namespace hwprof

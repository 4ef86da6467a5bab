// The LSTM: the gates of all steps at once from the inputs, then step after step. Part of steps.inl.

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

// A layer of gated recurrent units: `gated.step` of the reference. Part of steps.inl.

struct GatedUnits {
  const int16_t* knots;
  int32_t factor, offset, places, low, high;

  int32_t sigmoid(int32_t gate) const { return (tanh_of(gate, 9, knots) >> 1) + (1 << 14); }
  uint8_t byte(int32_t value) const {
    const int32_t scaled = (value * factor + offset) >> places;
    return uint8_t(scaled < low ? low : scaled > high ? high : scaled);
  }
  // The new state; update has 15 bits behind the point.
  int16_t mixed(int32_t update, int32_t fresh_gate, int32_t state) const {
    const int32_t fresh = tanh_of(fresh_gate, 8, knots);
    return int16_t(saturated(fresh + half_up(update, state - fresh)));
  }
};

// One layer over all steps. Panels of a block of units: update, reset, fresh.
struct GruLayer {
  static constexpr int kGates = 3;
  static constexpr int kTile = kGates * kPanel;  // gates of a block
  const Step& s;
  int64_t units, quads;
  uint8_t *before, *after, *reset;  // as bytes, [batch][units]: h, the next h, h times the reset gate
  int16_t *state, *update, *gate;

  Panel panel(int64_t block, const int16_t* from_x) const {
    const int64_t first = block * kTile;
    return {s.weight + first * quads * kQuad, s.bias + first, s.multiplier + first, s.shift + first, quads, kPanel, 0,
            0, 0, from_x + first, units * kGates};
  }

  template <Output Kind>
  void gates(const uint8_t* h, int64_t begin, int64_t rows, const Panel& p, Range which) const {
    multiply_rows<Kind>(h + begin * units, units, rows, p, which, kTile, reinterpret_cast<uint8_t*>(gate),
                        kTile * int64_t(sizeof(int16_t)));
  }

  template <typename Function>
  void each_tile(Function function) const {
    for (int64_t block = 0; block < units / kPanel; ++block)
      for (int64_t begin = 0; begin < s.batch; begin += Isa::kRows)
        function(block, begin, least(Isa::kRows, s.batch - begin));
  }

  void write(int64_t t, int64_t block, int64_t r) const {
    const int64_t valid = least(kPanel, s.channels - block * kPanel);
    memcpy(s.y + (t * s.batch + r) * s.channels + block * kPanel, after + r * units + block * kPanel, size_t(valid));
  }

  // The reset gate is applied behind the product of h.
  void step_reset_behind(const GatedUnits& cell, int64_t t, const int16_t* from_x) const {
    each_tile([&](int64_t block, int64_t begin, int64_t rows) {
      Panel p = panel(block, from_x);
      p.more += begin * p.more_stride;
      gates<Output::kAddedGates>(before, begin, rows, p, {0, 2});
      gates<Output::kGates>(before, begin, rows, p, {2, 3});
      for (int64_t r = begin; r < begin + rows; ++r) {
        const int16_t *g = gate + (r - begin) * kTile, *given = p.more + (r - begin) * p.more_stride + 2 * kPanel;
        int16_t* h = state + r * units + block * kPanel;
        for (int k = 0; k < kPanel; ++k) {
          const int32_t fresh = given[k] + half_up(cell.sigmoid(g[kPanel + k]), g[2 * kPanel + k]);
          h[k] = cell.mixed(cell.sigmoid(g[k]), saturated(fresh), h[k]);
          after[r * units + block * kPanel + k] = cell.byte(h[k]);
        }
        write(t, block, r);
      }
    });
  }

  // The reset gate is applied in front: all of them must be known before the first product of the fresh gates.
  void step_reset_in_front(const GatedUnits& cell, int64_t t, const int16_t* from_x) const {
    each_tile([&](int64_t block, int64_t begin, int64_t rows) {
      Panel p = panel(block, from_x);
      p.more += begin * p.more_stride;
      gates<Output::kAddedGates>(before, begin, rows, p, {0, 2});
      for (int64_t r = begin; r < begin + rows; ++r)
        for (int k = 0; k < kPanel; ++k) {
          const int64_t at = r * units + block * kPanel + k;
          const int16_t* g = gate + (r - begin) * kTile + k;
          update[at] = int16_t(cell.sigmoid(g[0]));
          reset[at] = cell.byte(half_up(cell.sigmoid(g[kPanel]), state[at]));
        }
    });
    each_tile([&](int64_t block, int64_t begin, int64_t rows) {
      Panel p = panel(block, from_x);
      p.more += begin * p.more_stride;
      gates<Output::kAddedGates>(reset, begin, rows, p, {2, 3});
      for (int64_t r = begin; r < begin + rows; ++r) {
        for (int k = 0; k < kPanel; ++k) {
          const int64_t at = r * units + block * kPanel + k;
          state[at] = cell.mixed(update[at], gate[(r - begin) * kTile + 2 * kPanel + k], state[at]);
          after[at] = cell.byte(state[at]);
        }
        write(t, block, r);
      }
    });
  }
};

void gru(const Step& s, const Share& share) {
  if (share.index != 0) return;
  const int64_t units = ceil_div(s.channels, kPanel) * kPanel, size = s.batch * units;
  auto* words = reinterpret_cast<int16_t*>(share.scratch + 3 * size);
  GruLayer layer{s,    units, ceil_div(s.channels, kQuad), share.scratch, share.scratch + size, share.scratch + 2 * size,
                 words, words + size, words + 2 * size};
  memset(layer.before, s.zero_x, size_t(size));
  memset(layer.reset, s.zero_x, size_t(size));
  memset(layer.state, 0, size_t(size) * sizeof(int16_t));
  const GatedUnits cell{reinterpret_cast<const int16_t*>(s.table), s.factor, s.offset, s.places, s.low, s.high};
  const auto* from_x = reinterpret_cast<const int16_t*>(s.x);
  for (int64_t t = 0; t < s.height; ++t, from_x += s.batch * units * GruLayer::kGates) {
    if (s.resets_behind)
      layer.step_reset_behind(cell, t, from_x);
    else
      layer.step_reset_in_front(cell, t, from_x);
    std::swap(layer.before, layer.after);
  }
}

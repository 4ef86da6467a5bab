// A layer of gated recurrent units: `gated.step` of the reference. Part of steps.inl.

// One layer over all steps. Panels of a block of units: update, reset, fresh.
struct GruLayer {
  static constexpr int kGates = 3;
  static constexpr int kTile = kGates * kPanel;  // gates of a block
  const Step& s;
  const Words::Knots knots;
  const Panel panel;
  int64_t units;
  uint8_t *before, *after, *reset;  // as bytes, [batch][units]: h, the next h, h times the reset gate
  int16_t *state, *update, *gate;

  // function(unit, from_h, from_x) for every vector of units in every row: its place in [batch][units], and the places of
  // both operands' sums for its gates. For the gates in `which`, whose panels are multiplied by h.
  template <typename Function>
  void each_vector(const uint8_t* h, Range which, int64_t t, Function function) const {
    const auto* from_x = reinterpret_cast<const int16_t*>(s.x) + t * s.batch * units * kGates;
    const int64_t blocks = units / kPanel, together = cell_rows(s);
    for (int64_t i = 0; i < blocks; ++i) {
      const int64_t block = there_and_back(i, blocks, t, s.batch);
      for (int64_t begin = 0; begin < s.batch; begin += together) {
        const int64_t rows = least(together, s.batch - begin);
        multiply_rows<Output::kGates>(h + begin * units, units, rows, panel,
                                      {block * kGates + which.begin, block * kGates + which.end},
                                      reinterpret_cast<uint8_t*>(gate + which.begin * kPanel),
                                      kTile * int64_t(sizeof(int16_t)));
        for (int64_t r = begin; r < begin + rows; ++r)
          for (int k = 0; k < kPanel; k += Words::kLanes)
            function(r * units + block * kPanel + k, gate + (r - begin) * kTile + k,
                     from_x + (r * units + block * kPanel) * kGates + k);
      }
    }
  }

  static auto sum(const int16_t* from_h, const int16_t* from_x, int which) {
    return Words::add(Words::load(from_h + which * kPanel), Words::load(from_x + which * kPanel));
  }
  void renew(int64_t at, Words::Vector share, Words::Vector fresh) const {
    const auto h = Words::between(share, Words::tanh<8>(fresh, knots), Words::load(state + at));
    Words::store(state + at, h);
    Words::store_bytes(after + at, h, s);
  }

  // The reset gate is applied after the product of h.
  void step_reset_behind(int64_t t) const {
    each_vector(before, {0, kGates}, t, [&](int64_t at, const int16_t* from_h, const int16_t* from_x) INLINE {
      const auto share = Words::sigmoid(sum(from_h, from_x, 1), knots);
      const auto kept = Words::times(share, Words::load(from_h + 2 * kPanel));
      renew(at, Words::sigmoid(sum(from_h, from_x, 0), knots), Words::add(Words::load(from_x + 2 * kPanel), kept));
    });
  }

  // The reset gate is applied in front: all of them must be known before the first product of the fresh gates.
  void step_reset_in_front(int64_t t) const {
    each_vector(before, {0, 2}, t, [&](int64_t at, const int16_t* from_h, const int16_t* from_x) INLINE {
      Words::store(update + at, Words::sigmoid(sum(from_h, from_x, 0), knots));
      const auto share = Words::sigmoid(sum(from_h, from_x, 1), knots);
      Words::store_bytes(reset + at, Words::times(share, Words::load(state + at)), s);
    });
    each_vector(reset, {2, kGates}, t, [&](int64_t at, const int16_t* from_h, const int16_t* from_x) INLINE {
      renew(at, Words::load(update + at), sum(from_h, from_x, 2));
    });
  }
};

void gru(const Step& s, const Share& share) {
  if (share.index != 0) return;
  const int64_t units = ceil_div(s.channels, kPanel) * kPanel, size = s.batch * units;
  auto* words = reinterpret_cast<int16_t*>(share.scratch + 3 * size);
  const int gates = int(units) * GruLayer::kGates;
  const Panel panel = with_parts(
      s, {s.weight, s.bias, s.multiplier, s.shift, ceil_div(s.channels, kQuad), gates, 0, 0, 0}, 0, gates / kPanel);
  GruLayer layer{s, Words::Knots(reinterpret_cast<const int16_t*>(s.table)), panel, units, share.scratch,
                 share.scratch + size, share.scratch + 2 * size, words, words + size, words + 2 * size};
  memset(layer.before, s.zero_x, size_t(size));
  memset(layer.reset, s.zero_x, size_t(size));
  memset(layer.state, 0, size_t(size) * sizeof(int16_t));
  for (int64_t t = 0; t < s.height; ++t) {
    if (s.resets_behind)
      layer.step_reset_behind(t);
    else
      layer.step_reset_in_front(t);
    for (int64_t r = 0; r < s.batch; ++r)
      memcpy(s.y + (t * s.batch + r) * s.channels, layer.after + r * units, size_t(s.channels));
    std::swap(layer.before, layer.after);
  }
}

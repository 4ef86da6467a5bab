// The LSTM: the gates of all steps at once from the inputs, then step after step. Part of steps.inl.

using Words = Isa::Words;

// One row is multiplied at the rate at which weights are read. Where two walks over them go in opposite directions, the
// second begins with what the cache still holds of the first. Many rows wait for nothing, and the other way is slower.
inline int64_t there_and_back(int64_t i, int64_t count, int64_t walk, int64_t rows) {
  return rows == 1 && walk % 2 ? count - 1 - i : i;
}

// Rows of h that are multiplied at once. By parts, as many as there is memory for: each panel is read once for them.
inline int64_t cell_rows(const Step& s) {
  static_assert(Isa::kRows <= kCellRows);
  return s.format == kParts ? kCellRows : Isa::kRows;
}

// A block of units: what h and x add to their gates, [4][32] each, and the cell states make new states, and h as bytes.
// `recurrent.step` of the reference.
inline void step_cells(const Step& s, const Words::Knots& knots, const int16_t* from_h, const int16_t* from_x,
                       int16_t* cell, uint8_t* h) {
  for (int k = 0; k < kPanel; k += Words::kLanes) {
    const auto gate = [&](int i) INLINE {
      return Words::add(Words::load(from_h + i * kPanel + k), Words::load(from_x + i * kPanel + k));
    };
    const auto in = Words::sigmoid(gate(0), knots), out = Words::sigmoid(gate(1), knots);
    const auto forget = Words::sigmoid(gate(2), knots);
    const auto fresh = Words::rounded<4>(Words::times(in, Words::tanh<8>(gate(3), knots)));
    const auto state = Words::add(Words::times(forget, Words::load(cell + k)), fresh);
    Words::store(cell + k, state);
    Words::store_bytes(h + k, Words::times(out, Words::tanh<7>(state, knots)), s);
  }
}

// The recurrence is one thread's: its steps are too short to be divided.
void lstm(const Step& s, const Share& share) {
  if (share.index != 0) return;
  constexpr int kTile = kGateCount * kPanel;  // gates of a block
  const int64_t units = ceil_div(s.channels, kPanel) * kPanel, blocks = units / kPanel;
  const int64_t quads = ceil_div(s.channels, kQuad), gate_count = units * kGateCount;
  const int64_t together = cell_rows(s);
  uint8_t* before = share.scratch;  // h, [batch][units]
  uint8_t* after = before + s.batch * units;
  auto* cell = reinterpret_cast<int16_t*>(after + s.batch * units);
  auto* gate = cell + s.batch * units;  // of a tile: [rows][4][32]
  memset(before, s.zero_x, size_t(s.batch * units));
  memset(cell, 0, size_t(s.batch * units) * sizeof(int16_t));
  const Words::Knots knots(reinterpret_cast<const int16_t*>(s.table));
  const Panel panel = with_parts(s, {s.weight, s.bias, s.multiplier, s.shift, quads, int(gate_count), 0, 0, 0}, 0,
                                 gate_count / kPanel);
  const auto* from_x = reinterpret_cast<const int16_t*>(s.x);
  for (int64_t t = 0; t < s.height; ++t, from_x += s.batch * gate_count) {
    for (int64_t i = 0; i < blocks; ++i) {
      const int64_t block = there_and_back(i, blocks, t, s.batch);
      const int64_t valid = least(kPanel, s.channels - block * kPanel);
      for (int64_t begin = 0; begin < s.batch; begin += together) {
        const int64_t rows = least(together, s.batch - begin);
        multiply_rows<Output::kGates>(before + begin * units, units, rows, panel,
                                      {block * kGateCount, (block + 1) * kGateCount},
                                      reinterpret_cast<uint8_t*>(gate), kTile * int64_t(sizeof(int16_t)));
        for (int64_t r = begin; r < begin + rows; ++r) {
          uint8_t* h = after + r * units + block * kPanel;
          step_cells(s, knots, gate + (r - begin) * kTile, from_x + r * gate_count + block * kTile,
                     cell + r * units + block * kPanel, h);
          memcpy(s.y + (t * s.batch + r) * s.channels + block * kPanel, h, size_t(valid));
        }
      }
    }
    std::swap(before, after);
  }
}

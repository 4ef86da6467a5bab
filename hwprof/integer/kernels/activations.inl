// The product of two activations, neither of which is known before the network runs. Part of steps.inl.
//
// The second operand is packed into panels like a stored weight while it runs. A byte less its zero point does not fit
// into eight bits, so that 128 is subtracted instead and what that leaves out is added again. With w = b - 128 and
// c = 128 - zero_b, the sum over k of (a - zero_a) * (b - zero_b) is
//
//     sum(a * w)  -  zero_a * sum(w)  -  depth * zero_a * c  +  c * sum(a)
//
// of which the middle two belong to a column, the bias of a panel, and the last to a row. w may be -128, which stored
// weights never are: `Isa::Whole` is a dot product that is exact for it, too.

using Whole = Isa::Whole;

// Columns [0, columns) of b, [depth][columns] with strides `deep` and `across`, as a panel [quads][32][4].
void pack_panel(const uint8_t* b, int64_t deep, int64_t across, int64_t depth, int64_t columns, int8_t* panel) {
  constexpr uint8_t kSign = 0x80;
  const int64_t whole = depth / kQuad;
  int64_t quad = 0;
  if (columns < kPanel || whole * kQuad < depth) memset(panel, 0, size_t(ceil_div(depth, kQuad) * kPanel * kQuad));
  auto* to = reinterpret_cast<uint8_t*>(panel);
  if (deep == 1) {
    for (int64_t n = 0; n < columns; ++n) {
      const uint8_t* from = b + n * across;
      for (int64_t q = 0; q < whole; ++q) {
        uint32_t four;
        memcpy(&four, from + q * kQuad, sizeof four);
        four ^= 0x80808080u;
        memcpy(to + (q * kPanel + n) * kQuad, &four, sizeof four);
      }
    }
    quad = whole;
  } else if (across == 1 && columns == kPanel) {
    for (; quad < whole; ++quad) {
      const uint8_t* __restrict__ from = b + quad * kQuad * deep;
      uint8_t* __restrict__ at = to + quad * kPanel * kQuad;
      for (int n = 0; n < kPanel; ++n)
        for (int k = 0; k < kQuad; ++k) at[n * kQuad + k] = from[k * deep + n] ^ kSign;
    }
  }
  for (int64_t k = quad * kQuad; k < depth; ++k)
    for (int64_t n = 0; n < columns; ++n)
      to[(k / kQuad * kPanel + n) * kQuad + k % kQuad] = b[k * deep + n * across] ^ kSign;
}

// The bias of a packed panel: what its columns add to every row.
void bias_of_panel(const Step& s, const int8_t* panel, int64_t quads, int32_t* bias) {
  constexpr uint8_t kOne = Whole::kIsSigned ? 129 : 1;  // as `broadcast` takes it
  constexpr uint8_t kOnes[kQuad] = {kOne, kOne, kOne, kOne};
  Ints sum[kVectors];
  unrolled<kVectors>([&](auto v) INLINE { sum[v] = Isa::nothing(); });
  for (int64_t q = 0; q < quads; ++q)
    unrolled<kVectors>([&](auto v) INLINE {
      sum[v] = Whole::dot(sum[v], Whole::broadcast(kOnes), Whole::weights(panel + (q * kVectors + v) * kChunk));
    });
  int32_t columns[kPanel];
  memcpy(columns, sum, sizeof columns);
  const int32_t factor = (Whole::kIsSigned ? 128 : 0) - s.zero_x;
  const int32_t constant = s.channels * s.zero_x * (128 - s.zero_x2);
  for (int n = 0; n < kPanel; ++n) bias[n] = factor * columns[n] - constant;
}

// What each row of a, [rows][depth], adds to every column.
void sum_rows(const Step& s, const uint8_t* a, int32_t* sums) {
  const int32_t factor = 128 - s.zero_x2;
  for (int64_t r = 0; r < s.height; ++r) {
    int32_t sum = 0;
    for (int64_t k = 0; k < s.channels; ++k) sum += a[r * s.from[2] + k];
    sums[r] = factor * sum;
  }
}

// Threads share the panels of all products in the batch.
void product_of_activations(const Step& s, const Share& share) {
  const int64_t panels = ceil_div(s.out_channels, kPanel), quads = ceil_div(s.channels, kQuad), row = quads * kQuad;
  auto* packed = reinterpret_cast<int8_t*>(share.scratch);
  auto* bias = reinterpret_cast<int32_t*>(packed + quads * kPanel * kQuad);
  int32_t* sums = bias + kPanel;
  auto* gathered = reinterpret_cast<uint8_t*>(sums + s.height);
  const bool is_direct = s.channels % kQuad == 0;
  const Range own = part(s.extent[0] * s.extent[1] * panels, 1, share);
  for (int64_t i = own.begin; i < own.end; ++i) {
    const int64_t batch = i / panels, outer = batch / s.extent[1], inner = batch % s.extent[1];
    const int64_t first = i % panels * kPanel, columns = least(kPanel, s.out_channels - first);
    const uint8_t* a = s.x + outer * s.from[0] + inner * s.from[1];
    if (i == own.begin || first == 0) {
      sum_rows(s, a, sums);
      for (int64_t r = 0; !is_direct && r < s.height; ++r) {
        memcpy(gathered + r * row, a + r * s.from[2], size_t(s.channels));
        memset(gathered + r * row + s.channels, 0, size_t(row - s.channels));
      }
    }
    const uint8_t* b = s.x2 + outer * s.to[0] + inner * s.to[1] + first * s.to[3];
    pack_panel(b, s.to[2], s.to[3], s.channels, columns, packed);
    bias_of_panel(s, packed, quads, bias);
    const Panel panel{packed, bias, s.multiplier, s.shift, quads, int(columns), s.zero_y, s.low, s.high, sums};
    uint8_t* y = s.y + outer * s.from[3] + inner * s.from[4] + first;
    multiply_rows<Output::kSummedBytes>(is_direct ? a : gathered, is_direct ? s.from[2] : row, s.height, panel, {0, 1},
                                        y, s.from[5]);
  }
}

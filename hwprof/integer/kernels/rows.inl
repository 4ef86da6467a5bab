// What looks at a whole row before it writes the first of its elements: softmax and normalization. Part of steps.inl.

// The largest e with 2^e <= x, for x of at least 1.
inline int log2_of(int64_t x) { return 63 - __builtin_clzll(uint64_t(x)); }

// What the largest element is ahead of another by says which power the other has, of 256: `s.table`.
void softmax(const Step& s, const Share& share) {
  const int64_t n = s.extent[1];
  const Range rows = part(s.extent[0], 1, share);
  const auto* powers = reinterpret_cast<const uint16_t*>(s.table);
  auto* __restrict__ held = reinterpret_cast<uint16_t*>(share.scratch);
  const int32_t zero = s.zero_y, low = s.low, high = s.high;
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const uint8_t* x = s.x + row * n;
    uint8_t most = 0;
    for (int64_t i = 0; i < n; ++i) most = x[i] > most ? x[i] : most;
    int64_t total = 0;
    for (int64_t i = 0; i < n; ++i) {
      held[i] = powers[most - x[i]];
      total += held[i];
    }
    const int64_t ratio = (int64_t(*s.multiplier) << 31) / total;  // the one division of a row
    const int drop = log2_of(ratio) - 15;
    int places = 31 + *s.shift - drop;
    auto factor = uint32_t(ratio >> drop);
    if (places > 31) {
      factor = places - 31 < 17 ? factor >> (places - 31) : 0;
      places = 31;
    }
    const uint32_t rounding = uint32_t(1) << (places - 1);
    uint8_t* __restrict__ y = s.y + row * n;
    for (int64_t i = 0; i < n; ++i) {
      const int32_t value = zero + int32_t((held[i] * factor + rounding) >> places);
      y[i] = uint8_t(value < low ? low : value > high ? high : value);
    }
  }
}

// The integer below the square root.
inline int64_t square_root(int64_t x) {
  uint64_t left = uint64_t(x), root = 0;
  for (uint64_t bit = x > 0 ? uint64_t(1) << (log2_of(x) & ~1) : 0; bit; bit >>= 2) {
    const uint64_t next = root + bit, is_part = left >= next;  // no branch: which way it goes is chance
    left -= next & (0 - is_part);
    root = (root >> 1) + (bit & (0 - is_part));
  }
  return int64_t(root);
}

// values, a multiple of a panel of them, times the factor and then each by its multiplier: upper halves of both products.
inline void scale_twice(int32_t* values, int64_t n, int32_t factor, const int32_t* multiplier) {
  int32_t factors[kLanes], shifts[kLanes];
  for (int i = 0; i < kLanes; ++i) factors[i] = factor, shifts[i] = 32;
  const Scale all(factors, shifts, 0);
  for (int64_t i = 0; i < n; i += kLanes) {
    const Ints scaled = Scale(multiplier + i, shifts, 0).apply(all.apply(Isa::load(values + i)));
    memcpy(values + i, &scaled, sizeof scaled);
  }
}

// n * x - origin in units of the row's deviation, and what makes y of that. The squares of a row of bytes sum up to less
// than 2^31.
template <typename X, typename Y>
void normalized_rows(const Step& s, const Share& share) {
  using Sum = std::conditional_t<sizeof(X) == 1, int32_t, int64_t>;
  const int64_t n = s.extent[1];
  const Range rows = part(s.extent[0], 1, share);
  const int32_t *bias = s.bias, count = int32_t(n), low = s.low, high = s.high, places = s.places;
  const int64_t padded = ceil_div(n, kPanel) * kPanel;
  auto* __restrict__ held = reinterpret_cast<int32_t*>(share.scratch);
  for (int64_t i = n; i < padded; ++i) held[i] = 0;
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const X* x = reinterpret_cast<const X*>(s.x) + row * n;
    int32_t sum = 0;
    Sum squares = 0;
    for (int64_t i = 0; i < n; ++i) {
      sum += x[i];
      squares += x[i] * x[i];
    }
    const int32_t origin = s.is_centred ? sum : count * s.zero_x;
    // n^2 times the mean square around the origin
    const int64_t around = 2 * int64_t(sum) * origin - int64_t(origin) * origin;
    const int64_t square = n * squares - around + s.from_offset;
    const int root_bits = square > 0 ? int(least(kRootBits, (61 - log2_of(square)) / 2)) : kRootBits;
    const int64_t root = square_root(square << (2 * root_bits));
    const int64_t inverse = (int64_t(1) << 62) / (root > 0 ? root : 1);
    const int drop = log2_of(inverse) - 30;
    const auto factor = int32_t(inverse >> drop);
    const int lift = 32 - (kNormPlaces - root_bits - drop), drawn = lift < 0 ? -lift : 0;
    const auto raised = int32_t(uint32_t(1) << (lift < 0 ? 0 : lift));
    for (int64_t i = 0; i < n; ++i) held[i] = ((count * x[i] - origin) * raised) >> drawn;
    scale_twice(held, padded, factor, s.multiplier);
    Y* __restrict__ y = reinterpret_cast<Y*>(s.y) + row * n;
    const int32_t half = 1 << (places - 1);
    for (int64_t i = 0; i < n; ++i) {
      const int32_t value = (held[i] + bias[i] + half) >> places;
      y[i] = Y(value < low ? low : value > high ? high : value);
    }
  }
}

void normalization(const Step& s, const Share& share) {
  const bool is_wide_y = s.wide & kWideY;
  if (s.wide & kWideX)
    is_wide_y ? normalized_rows<int16_t, int16_t>(s, share) : normalized_rows<int16_t, uint8_t>(s, share);
  else
    is_wide_y ? normalized_rows<uint8_t, int16_t>(s, share) : normalized_rows<uint8_t, uint8_t>(s, share);
}

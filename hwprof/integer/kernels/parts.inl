// Products whose sums of 16 bits cannot overflow (`kParts`): for instruction sets without a dot product of 8 bits, whose
// vpmaddubsw adds two products of a byte and an int8 in 16 bits. Part of product.inl, for `Isa::kSumsParts`.
//
// 128 * 255 is below 2^15. So a sum of 16 bits holds the products of any bytes by weights of which the positive ones add
// up to 128 at most, and the negative ones to -128 at least. Weights in +-64 do so by twos. Sums of four of them mostly
// do, too, and two quads then take one instruction less to widen; what is too much in them is a block of its own, which
// is added afterwards. packing.py divides the weights so, and chooses a mode for each panel.

constexpr int kHalfPanel = kPanel / 2;
constexpr int kPartRows = 4;

// What rescales `Vectors` vectors of sums, for shifts above 32: the upper half of a product is then all that is read.
template <int Vectors>
struct UpperScale {
  Ints even[Vectors], odd[Vectors], added[Vectors], shift[Vectors];
  // m, s: from one vector to the next `step` integers.
  INLINE UpperScale(const int32_t* m, const int32_t* s, int zero_y, int step) {
    const Ints one = Isa::every(1), zero = Isa::every(zero_y);
    unrolled<Vectors>([&](auto c) INLINE {
      even[c] = Isa::load(m + c * step);
      odd[c] = _mm256_srli_epi64(even[c], 32);
      shift[c] = Isa::add(Isa::load(s + c * step), Isa::every(-32));
      const Ints half = _mm256_sllv_epi32(one, Isa::add(shift[c], Isa::every(-1)));
      added[c] = Isa::add(_mm256_sllv_epi32(zero, shift[c]), half);
    });
  }
  INLINE Ints apply(Ints sum, int c) const {
    const Ints low = _mm256_mul_epi32(sum, even[c]), high = _mm256_mul_epi32(_mm256_srli_epi64(sum, 32), odd[c]);
    const Ints upper = _mm256_blend_epi32(_mm256_srli_epi64(low, 32), high, 0xaa);
    return _mm256_srav_epi32(Isa::add(upper, added[c]), shift[c]);
  }
};

INLINE inline Ints part_at(const int8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const Ints*>(p)); }
INLINE inline Ints four_at(const uint8_t* p) {
  int32_t four;
  memcpy(&four, p, sizeof four);
  return _mm256_set1_epi32(four);
}
INLINE inline Ints widened(Ints sum, Ints words) {
  return Isa::add(sum, _mm256_madd_epi16(words, _mm256_set1_epi16(1)));
}

// Sixteen columns of one row or of two, from the sums of eight columns each.
INLINE inline void store_parts(const Ints* first, const Ints* second, uint8_t* y, uint8_t* y2, int low, int high,
                               int columns, int columns2) {
  const Ints words = _mm256_packs_epi32(first[0], first[1]);
  const Ints words2 = second ? _mm256_packs_epi32(second[0], second[1]) : words;
  const Ints order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  const Ints bytes = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(words, words2), order);
  const Ints clipped =
      _mm256_min_epu8(_mm256_max_epu8(bytes, _mm256_set1_epi8(char(low))), _mm256_set1_epi8(char(high)));
  Isa::store_sixteen(y, _mm256_castsi256_si128(clipped), columns);
  if (second && columns2 > 0) Isa::store_sixteen(y2, _mm256_extracti128_si256(clipped, 1), columns2);
}

// As `tile`, of half a panel, or of a whole one for one row.
template <Output Kind, bool InPairs, int Rows, int Vectors>
void part_tile(const uint8_t* a, int64_t a_stride, const Panel& p, const void* scales, uint8_t* y, int64_t y_stride) {
  constexpr int kQuadBytes = kPanel * kQuad;
  Ints sum[Rows][Vectors];
  unrolled<Rows>([&](auto r) INLINE {
    unrolled<Vectors>([&](auto c) INLINE { sum[r][c] = Isa::load(p.bias + c * kLanes); });
  });
  const int8_t* w = p.weight;
  const auto multiply = [&](const uint8_t* from, const int8_t* by, auto is_pair) INLINE {
    unrolled<Rows>([&](auto r) INLINE {
      const Ints near = four_at(from + r * a_stride), far = four_at(from + r * a_stride + is_pair * kQuad);
      unrolled<Vectors>([&](auto c) INLINE {
        Ints words = _mm256_maddubs_epi16(near, part_at(by + c * kChunk));
        if constexpr (is_pair)
          words = _mm256_add_epi16(words, _mm256_maddubs_epi16(far, part_at(by + kQuadBytes + c * kChunk)));
        sum[r][c] = widened(sum[r][c], words);
      });
    });
  };
  const uint8_t* line = a;
  for (int64_t i = 0; i < p.lines; ++i, line += p.line_bytes) {
    const uint8_t* from = line;
    int64_t k = p.quads;
    if constexpr (InPairs)
      for (; k >= 2; k -= 2, from += 2 * kQuad, w += 2 * kQuadBytes) multiply(from, w, std::true_type{});
    for (; k > 0; --k, from += kQuad, w += kQuadBytes) multiply(from, w, std::false_type{});
  }
  const int8_t* extra = p.extras + p.starts[0] * kQuadBytes;
  for (int32_t i = p.starts[0]; i < p.starts[1]; ++i, extra += kQuadBytes)
    multiply(a + p.places[2 * i] * p.line_bytes + p.places[2 * i + 1] * kQuad, extra, std::false_type{});
  const auto& scale = *static_cast<const UpperScale<Vectors>*>(scales);
  unrolled<Vectors>([&](auto c) INLINE {
    unrolled<Rows>([&](auto r) INLINE {
      if constexpr (!is_bytes(Kind)) sum[r][c] = Isa::lift(sum[r][c]);
      sum[r][c] = scale.apply(sum[r][c], c);
    });
  });
  const int low = p.low, high = p.high, columns = p.columns;
  if constexpr (!is_bytes(Kind)) {
    unrolled<Rows>([&](auto r) INLINE {
      unrolled<Vectors / 2>([&](auto h) INLINE {
        const Ints words = _mm256_packs_epi32(sum[r][2 * h], sum[r][2 * h + 1]);
        auto* to = reinterpret_cast<Ints*>(y + r * y_stride + h * kHalfPanel * kBytes<Kind>);
        _mm256_storeu_si256(to, _mm256_permute4x64_epi64(words, 0xd8));
      });
    });
  } else if constexpr (Vectors > 2) {
    store_parts(sum[0], sum[0] + 2, y, y + kHalfPanel, low, high, columns, columns - kHalfPanel);
  } else {
    unrolled<(Rows + 1) / 2>([&](auto i) INLINE {
      constexpr int r = 2 * i;
      uint8_t* to = y + r * y_stride;
      store_parts(sum[r], r + 1 < Rows ? sum[r + 1 < Rows ? r + 1 : r] : nullptr, to, to + y_stride, low, high, columns,
                  columns);
    });
  }
}

using PartTile = void (*)(const uint8_t*, int64_t, const Panel&, const void*, uint8_t*, int64_t);
template <Output Kind, bool InPairs>
constexpr PartTile kPartTiles[] = {part_tile<Kind, InPairs, 1, kVectors>, part_tile<Kind, InPairs, 2, kVectors / 2>,
                                   part_tile<Kind, InPairs, 3, kVectors / 2>, part_tile<Kind, InPairs, 4, kVectors / 2>};
template <Output Kind>
PartTile part_tile_of(const Panel& panel, int64_t rows) {
  return (*panel.modes == kInPairs ? kPartTiles<Kind, true> : kPartTiles<Kind, false>)[rows - 1];
}

// All rows by a panel whose mode is not kExact.
template <Output Kind>
void multiply_panel_of_parts(const uint8_t* a, int64_t a_stride, int64_t rows, Panel panel, uint8_t* y,
                             int64_t y_stride) {
  if (rows == 1) {
    const UpperScale<kVectors> scale(panel.multiplier, panel.shift, panel.zero, kLanes);
    return part_tile_of<Kind>(panel, 1)(a, a_stride, panel, &scale, y, y_stride);
  }
  const int64_t tiles = ceil_div(rows, kPartRows);
  for (int half = 0; half < 2 && panel.columns > 0; ++half) {
    const UpperScale<kVectors / 2> scale(panel.multiplier, panel.shift, panel.zero, kLanes);
    for (int64_t t = 0; t < tiles; ++t) {
      const int64_t begin = rows * t / tiles, end = rows * (t + 1) / tiles;
      part_tile_of<Kind>(panel, end - begin)(a + begin * a_stride, a_stride, panel, &scale, y + begin * y_stride, y_stride);
    }
    panel.weight += kHalfPanel * kQuad, panel.extras += kHalfPanel * kQuad;
    panel.bias += kHalfPanel, panel.multiplier += kHalfPanel, panel.shift += kHalfPanel;
    panel.columns -= kHalfPanel;
    y += kHalfPanel * kBytes<Kind>;
  }
}

// As `AsInt8`.
struct AsParts {
  using Bytes = Ints;
  using Scales = UpperScale<kQuad>;
  INLINE static void interleave(const uint8_t* const* rows, int valid, Bytes* bytes) {
    Isa::interleave_plain(rows[0], rows[1], rows[2], rows[3], valid, bytes);
  }
  INLINE static Ints dot(Ints sum, Bytes bytes, const int8_t* w) {
    return widened(sum, _mm256_maddubs_epi16(bytes, part_at(w)));
  }
};

// Products whose sums of 16 bits cannot overflow (`kParts`): for instruction sets without a dot product of 8 bits, whose
// vpmaddubsw adds two products of a byte and an int8 in 16 bits. Part of product.inl, for `Isa::kSumsParts`.
//
// 128 * 255 is below 2^15. So a sum of 16 bits holds the products of any bytes by weights of which the positive ones add
// up to 128 at most, and the negative ones to -128 at least. Weights in +-64 do so by twos. Sums of four of them mostly
// do, too, and two quads then take one instruction less to widen; what is too much in them is a block of its own, which
// is added afterwards. packing.py divides the weights so, and chooses a mode for each panel.

constexpr int kHalfPanel = kPanel / 2;
constexpr int kPartRows = 4;
constexpr int kAhead = 1024;  // bytes of weights that one row reads ahead

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
// The sum and the products of two adjacent quads.
INLINE inline Ints paired(Ints sum, Ints near, Ints far, Ints w, Ints far_w) {
  return widened(sum, _mm256_add_epi16(_mm256_maddubs_epi16(near, w), _mm256_maddubs_epi16(far, far_w)));
}

// Sixteen columns, or the first of them, of one row or of two, from the sums of eight columns each.
INLINE inline void store_parts(const Ints* first, const Ints* second, uint8_t* y, uint8_t* y2, int low, int high,
                               int columns) {
  const Ints words = _mm256_packs_epi32(first[0], first[1]);
  const Ints words2 = second ? _mm256_packs_epi32(second[0], second[1]) : words;
  const Ints order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  const Ints bytes = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(words, words2), order);
  const Ints clipped =
      _mm256_min_epu8(_mm256_max_epu8(bytes, _mm256_set1_epi8(char(low))), _mm256_set1_epi8(char(high)));
  Isa::store_sixteen(y, _mm256_castsi256_si128(clipped), columns);
  if (second) Isa::store_sixteen(y2, _mm256_extracti128_si256(clipped, 1), columns);
}

constexpr int kHalfBytes = kHalfPanel * kQuad;  // of a quad of half a panel
constexpr int kHalfVectors = kVectors / 2;
using HalfScale = UpperScale<kHalfVectors>;

// Half a panel of parts. Its weights are those of all quads in sequence.
struct Half {
  const int8_t *weight, *extras;  // the blocks of this panel, a panel's bytes from one to the next
  const int32_t* places;
  int64_t extra_count;
  const int32_t *bias, *multiplier, *shift;
  int columns;

  Half(const Panel& p, int64_t i, int h) {
    const int64_t column = i * kPanel + h * kHalfPanel, first = p.starts[i];
    weight = p.weight + (2 * i + h) * p.lines * p.quads * kHalfBytes;
    extras = p.extras + first * block_bytes(kParts) + h * kHalfBytes;
    places = p.places + 2 * first;
    extra_count = p.starts[i + 1] - first;
    bias = p.bias + column, multiplier = p.multiplier + column, shift = p.shift + column;
    columns = int(p.columns - column);
  }
};

// `tiles` times as many rows as a tile has by half a panel.
template <Output Kind, bool InPairs, int Rows>
void part_tiles(const uint8_t* a, int64_t a_stride, int64_t tiles, const Panel& p, const Half& half, uint8_t* y,
                int64_t y_stride) {
  const int low = p.low, high = p.high, columns = half.columns;
  const auto scale_of_half = [&]() INLINE { return HalfScale(half.multiplier, half.shift, p.zero, kLanes); };
  [[maybe_unused]] const HalfScale scale = scale_of_half();
  for (; tiles > 0; --tiles, a += Rows * a_stride, y += Rows * y_stride) {
    Ints sum[Rows][kHalfVectors];
    unrolled<Rows>([&](auto r) INLINE {
      unrolled<kHalfVectors>([&](auto c) INLINE { sum[r][c] = Isa::load(half.bias + c * kLanes); });
    });
    const auto multiply = [&](const uint8_t* from, const int8_t* by, auto is_pair) INLINE {
      unrolled<Rows>([&](auto r) INLINE {
        const Ints near = four_at(from + r * a_stride), far = four_at(from + r * a_stride + is_pair * kQuad);
        unrolled<kHalfVectors>([&](auto c) INLINE {
          const Ints w = part_at(by + c * kChunk);
          if constexpr (is_pair)
            sum[r][c] = paired(sum[r][c], near, far, w, part_at(by + kHalfBytes + c * kChunk));
          else
            sum[r][c] = widened(sum[r][c], _mm256_maddubs_epi16(near, w));
        });
      });
    };
    const int8_t* w = half.weight;
    const uint8_t* line = a;
    for (int64_t i = 0; i < p.lines; ++i, line += p.line_bytes) {
      const uint8_t* from = line;
      int64_t k = p.quads;
      if constexpr (InPairs)
        for (; k >= 2; k -= 2, from += 2 * kQuad, w += 2 * kHalfBytes) multiply(from, w, std::true_type{});
      for (; k > 0; --k, from += kQuad, w += kHalfBytes) {
        if constexpr (Rows == 1) _mm_prefetch(reinterpret_cast<const char*>(w + kAhead), _MM_HINT_T0);
        multiply(from, w, std::false_type{});
      }
    }
    for (int32_t i = 0; i < half.extra_count; ++i)
      multiply(a + half.places[2 * i] * p.line_bytes + half.places[2 * i + 1] * kQuad,
               half.extras + i * block_bytes(kParts), std::false_type{});
    const auto rescale = [&](const HalfScale& by) INLINE {
      unrolled<kHalfVectors>([&](auto c) INLINE {
        unrolled<Rows>([&](auto r) INLINE {
          sum[r][c] = by.apply(is_bytes(Kind) ? sum[r][c] : Isa::lift(sum[r][c]), c);
        });
      });
    };
    if constexpr (Rows == 1)
      rescale(scale_of_half());  // in registers
    else
      rescale(scale);
    if constexpr (!is_bytes(Kind)) {
      unrolled<Rows>([&](auto r) INLINE {
        const Ints words = _mm256_permute4x64_epi64(_mm256_packs_epi32(sum[r][0], sum[r][1]), 0xd8);
        _mm256_storeu_si256(reinterpret_cast<Ints*>(y + r * y_stride), words);
      });
    } else {
      unrolled<(Rows + 1) / 2>([&](auto i) INLINE {
        constexpr int kFirst = 2 * i, kSecond = kFirst + 1 < Rows ? kFirst + 1 : kFirst;
        uint8_t* to = y + kFirst * y_stride;
        store_parts(sum[kFirst], kSecond > kFirst ? sum[kSecond] : nullptr, to, to + y_stride, low, high, columns);
      });
    }
  }
}

using PartTiles = void (*)(const uint8_t*, int64_t, int64_t, const Panel&, const Half&, uint8_t*, int64_t);
template <Output Kind, bool InPairs>
constexpr PartTiles kPartTiles[] = {part_tiles<Kind, InPairs, 1>, part_tiles<Kind, InPairs, 2>,
                                    part_tiles<Kind, InPairs, 3>, part_tiles<Kind, InPairs, 4>};
static_assert(std::size(kPartTiles<Output::kBytes, true>) == kPartRows);

// All rows by panel i of those that follow `panel`, whose mode is not kExact.
template <Output Kind>
void multiply_panel_of_parts(const uint8_t* a, int64_t a_stride, int64_t rows, const Panel& panel, int64_t i, uint8_t* y,
                             int64_t y_stride) {
  const PartTiles* of_rows = panel.modes[i] == kInPairs ? kPartTiles<Kind, true> : kPartTiles<Kind, false>;
  const int64_t whole = rows / kPartRows, rest = rows % kPartRows, done = whole * kPartRows;
  for (int h = 0; h < 2 && panel.columns > i * kPanel + h * kHalfPanel; ++h, y += kHalfPanel * kBytes<Kind>) {
    const Half half(panel, i, h);
    if (whole > 0) of_rows[kPartRows - 1](a, a_stride, whole, panel, half, y, y_stride);
    if (rest > 0) of_rows[rest - 1](a + done * a_stride, a_stride, 1, panel, half, y + done * y_stride, y_stride);
  }
}

// As `multiply_registers`: of two quads at a time, which is the fastest that weights allow.
[[maybe_unused]] int64_t multiply_pairs_of_registers(int64_t rounds) {
  constexpr int kSums = kPartRows * kHalfVectors;
  Ints sums[kSums], w = Isa::nothing(), far_w = Isa::nothing();
  const Ints near = Isa::every(0x04030201), far = Isa::every(0x08070605);
  unrolled<kSums>([&](auto i) INLINE { sums[i] = Isa::nothing(); });
  for (int64_t round = 0; round < rounds; ++round)
    unrolled<kSums>([&](auto i) INLINE {
      Isa::keep(w);
      Isa::keep(far_w);
      sums[i] = paired(sums[i], near, far, w, far_w);
      Isa::keep(sums[i]);
    });
  return rounds * kSums * 2 * kChunk;
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

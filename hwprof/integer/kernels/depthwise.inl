// Depthwise convolution: the bytes of four taps are interleaved, so that each lane sums up one channel. Part of steps.inl.

// How a block of channels is multiplied.
struct AsInt8 {
  using Bytes = hwprof::Bytes;
  struct Scales {  // of four vectors, from one to the next `step` integers
    Scale each[kQuad];
    INLINE Scales(const int32_t* m, const int32_t* s, int zero, int step)
        : each{{m, s, zero}, {m + step, s + step, zero}, {m + 2 * step, s + 2 * step, zero}, {m + 3 * step, s + 3 * step, zero}} {}
    INLINE Ints apply(const Ints& sum, int i) const { return each[i].apply(sum); }
  };
  INLINE static void interleave(const uint8_t* const* rows, int valid, Bytes* bytes) {
    Isa::interleave(rows[0], rows[1], rows[2], rows[3], valid, bytes);
  }
  INLINE static Ints dot(const Ints& sum, const Bytes& bytes, const int8_t* w) {
    return Isa::dot(sum, bytes, Isa::weights(w));
  }
};

// A chunk of channels.
template <typename How>
struct Channels {
  static constexpr int kRow = kDepthwiseBlock / kQuad;  // integers of a quad of channels
  const int8_t* weight;  // of this chunk's block, each quad of taps [4][16][4]
  const int32_t* bias;
  typename How::Scales scales;
  int64_t first;
  int valid;
};

constexpr int kPixels = Isa::kRows >= 8 ? 4 : 2;  // that are multiplied by a weight at once

// Writes the sums of `Pixels` output pixels next to each other.
template <typename How, int Pixels>
INLINE inline void store_pixels(const Step& s, const Channels<How>& c, Ints (&sum)[Pixels][kQuad], uint8_t* y) {
  unrolled<kQuad>([&](auto q) INLINE {
    unrolled<Pixels>([&](auto p) INLINE { sum[p][q] = c.scales.apply(sum[p][q], q); });
  });
  const int low = s.low, high = s.high, valid = c.valid;  // bytes that are written might be these otherwise
  unrolled<Pixels>([&](auto p) INLINE { Isa::store_channels(y + p * s.channels, sum[p], low, high, valid); });
}

// Output pixels next to each other. taps: what each of them is ahead of the windows' first bytes, which lie at x and each
// one pixel's stride on.
template <typename How, int Pixels>
INLINE inline void depthwise_pixels(const Step& s, const Channels<How>& c, const int64_t* taps, const uint8_t* x, uint8_t* y) {
  const int64_t step = int64_t(s.stride_w) * s.channels;
  Ints sum[Pixels][kQuad];
  unrolled<kQuad>([&](auto q) INLINE {
    unrolled<Pixels>([&](auto p) INLINE { sum[p][q] = Isa::load(c.bias + q * c.kRow); });
  });
  const int8_t* w = c.weight;
  for (const int64_t* end = taps + tap_quads(s) * kQuad; taps < end; taps += kQuad, w += kQuad * kDepthwiseBlock)
    unrolled<Pixels>([&](auto p) INLINE {
      const uint8_t* at = x + p * step;
      const uint8_t* rows[kQuad] = {at + taps[0], at + taps[1], at + taps[2], at + taps[3]};
      typename How::Bytes bytes[kQuad];
      How::interleave(rows, c.valid, bytes);
      unrolled<kQuad>([&](auto q) INLINE { sum[p][q] = How::dot(sum[p][q], bytes[q], w + q * kDepthwiseBlock); });
    });
  store_pixels(s, c, sum, y);
}

// The same of windows that `has_columns`, `Stride` pixels apart: a column of the input is interleaved once for all of them.
template <typename How, int Stride, int Pixels>
INLINE inline void depthwise_columns(const Step& s, const Channels<How>& c, const int64_t* taps, const uint8_t* x, uint8_t* y) {
  Ints sum[Pixels][kQuad];
  unrolled<kQuad>([&](auto q) INLINE {
    unrolled<Pixels>([&](auto p) INLINE { sum[p][q] = Isa::load(c.bias + q * c.kRow); });
  });
  unrolled<(Pixels - 1) * Stride + kColumnTaps>([&](auto column) INLINE {
    const uint8_t* at = x + column * s.channels;
    const uint8_t* rows[kQuad] = {at, at + taps[1], at + taps[2], at + taps[2]};  // the weights of the last are 0
    typename How::Bytes bytes[kQuad];
    How::interleave(rows, c.valid, bytes);
    unrolled<Pixels>([&](auto p) INLINE {
      constexpr int kOfWindow = decltype(column)::value - decltype(p)::value * Stride;
      if constexpr (kOfWindow >= 0 && kOfWindow < kColumnTaps) {
        const int8_t* w = c.weight + kOfWindow * kQuad * kDepthwiseBlock;
        unrolled<kQuad>([&](auto q) INLINE { sum[p][q] = How::dot(sum[p][q], bytes[q], w + q * kDepthwiseBlock); });
      }
    });
  });
  store_pixels(s, c, sum, y);
}

// A line of the output, by a function of the number of pixels that are multiplied at once, where their windows begin and
// where their results are.
template <typename Function>
INLINE inline void each_pixels(const Step& s, const uint8_t* x, uint8_t* y, Function function) {
  const int64_t step = int64_t(s.stride_w) * s.channels;
  int64_t pixel = 0;
  for (; pixel + kPixels <= s.out_width; pixel += kPixels)
    function(Constant<kPixels>{}, x + pixel * step, y + pixel * s.channels);
  for (; pixel < s.out_width; ++pixel) function(Constant<1>{}, x + pixel * step, y + pixel * s.channels);
}

template <typename How>
void depthwise_line(const Step& s, const Channels<How>& c, const int64_t* taps, const uint8_t* x, uint8_t* y) {
  const auto by_columns = [&](auto stride) INLINE {
    each_pixels(s, x, y, [&](auto pixels, const uint8_t* from, uint8_t* to) INLINE {
      depthwise_columns<How, stride, pixels>(s, c, taps, from, to);
    });
  };
  if (has_columns(s) && s.dilation_w == 1 && s.stride_w == 1) return by_columns(Constant<1>{});
  if (has_columns(s) && s.dilation_w == 1 && s.stride_w == 2) return by_columns(Constant<2>{});
  each_pixels(s, x, y, [&](auto pixels, const uint8_t* from, uint8_t* to) INLINE {
    depthwise_pixels<How, pixels>(s, c, taps, from, to);
  });
}

// The lines of a stripe, of `kChunk` channels from `first` on.
template <typename How>
void depthwise_chunk(const Step& s, const Stripe& stripe, const int64_t* taps, int64_t first) {
  const int64_t block = first / kDepthwiseBlock, inside = first % kDepthwiseBlock / kQuad;
  const int64_t constants = block * kDepthwiseBlock + inside;
  const Channels<How> channels{s.weight + block * tap_quads(s) * kQuad * kDepthwiseBlock + inside * kQuad,
                               s.bias + constants,
                               {s.multiplier + constants, s.shift + constants, s.zero_y, Channels<How>::kRow},
                               first,
                               int(least(kChunk, s.channels - first))};
  for (int64_t line = stripe.begin; line < stripe.end; ++line)
    depthwise_line(s, channels, taps, stripe.under(s, line) + first, s.y + line * s.out_width * s.channels + first);
}

void depthwise(const Step& s, const Share& share) {
  const int64_t kernel = int64_t(s.kernel_h) * s.kernel_w, all = tap_quads(s) * kQuad;
  auto* taps = reinterpret_cast<int64_t*>(share.scratch + ceil_div(lines_bytes(s), 8) * 8);
  const Range lines = part(int64_t(s.batch) * s.out_height, 1, share);
  each_stripe(s, lines, false, share.scratch, [&](const Stripe& stripe) {
    for (int64_t t = 0; t < all; ++t) {  // where there is no tap, weights are 0
      const bool is_tap = has_columns(s) ? t % kQuad < kColumnTaps : t < kernel;
      const int64_t i = has_columns(s) ? t % kQuad : t / s.kernel_w, j = has_columns(s) ? t / kQuad : t % s.kernel_w;
      taps[t] = is_tap ? i * s.dilation_h * stripe.line_bytes + j * s.dilation_w * s.channels : 0;
    }
    for (int64_t first = 0; first < s.channels; first += kChunk) {
#if defined(HWPROF_SUMS_PARTS)
      if (s.format == kParts && reinterpret_cast<const int32_t*>(s.x2)[first / kDepthwiseBlock] != kExact) {
        depthwise_chunk<AsParts>(s, stripe, taps, first);
        continue;
      }
#endif
      depthwise_chunk<AsInt8>(s, stripe, taps, first);
    }
  });
}

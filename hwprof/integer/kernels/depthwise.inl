// Depthwise convolution: the bytes of four taps are interleaved, so that each lane sums up one channel. Part of steps.inl.

// A chunk of channels.
struct Channels {
  static constexpr int kRow = kDepthwiseBlock / kQuad;  // integers of a quad of channels
  const int8_t* weight;  // of this chunk's block, each quad of taps [4][16][4]
  const int32_t* bias;
  Scale scale[kQuad];
  int64_t first;
  int valid;
};

constexpr int kPixels = Isa::kRows >= 8 ? 4 : 2;  // that are multiplied by a weight at once

// `Pixels` output pixels next to each other. taps: what each of them is ahead of the windows' first bytes, which lie at
// x and each one pixel's stride on.
template <int Pixels>
INLINE inline void depthwise_pixels(const Step& s, const Channels& c, const int64_t* taps, const uint8_t* x, uint8_t* y) {
  const int64_t step = int64_t(s.stride_w) * s.channels;
  Ints sum[Pixels][kQuad];
  unrolled<kQuad>([&](auto q) INLINE {
    unrolled<Pixels>([&](auto p) INLINE { sum[p][q] = Isa::load(c.bias + q * c.kRow); });
  });
  const int8_t* w = c.weight;
  for (const int64_t* end = taps + tap_quads(s) * kQuad; taps < end; taps += kQuad, w += kQuad * kDepthwiseBlock)
    unrolled<Pixels>([&](auto p) INLINE {
      const uint8_t* at = x + p * step;
      Bytes bytes[kQuad];
      Isa::interleave(at + taps[0], at + taps[1], at + taps[2], at + taps[3], c.valid, bytes);
      unrolled<kQuad>([&](auto q) INLINE {
        sum[p][q] = Isa::dot(sum[p][q], bytes[q], Isa::weights(w + q * kDepthwiseBlock));
      });
    });
  unrolled<kQuad>([&](auto q) INLINE {
    const Scale scale = c.scale[q];  // in registers for all pixels
    unrolled<Pixels>([&](auto p) INLINE { sum[p][q] = scale.apply(sum[p][q]); });
  });
  const int low = s.low, high = s.high, valid = c.valid;  // bytes that are written might be these otherwise
  unrolled<Pixels>([&](auto p) INLINE { Isa::store_channels(y + p * s.channels, sum[p], low, high, valid); });
}

// A line of the output.
void depthwise_line(const Step& s, const Channels& c, const int64_t* taps, const uint8_t* x, uint8_t* y) {
  const int64_t step = int64_t(s.stride_w) * s.channels;
  int64_t pixel = 0;
  for (; pixel + kPixels <= s.out_width; pixel += kPixels)
    depthwise_pixels<kPixels>(s, c, taps, x + pixel * step, y + pixel * s.channels);
  for (; pixel < s.out_width; ++pixel) depthwise_pixels<1>(s, c, taps, x + pixel * step, y + pixel * s.channels);
}

void depthwise(const Step& s, const Share& share) {
  const int64_t kernel = int64_t(s.kernel_h) * s.kernel_w, all = tap_quads(s) * kQuad;
  auto* taps = reinterpret_cast<int64_t*>(share.scratch + ceil_div(lines_bytes(s), 8) * 8);
  const Range lines = part(int64_t(s.batch) * s.out_height, 1, share);
  each_stripe(s, lines, false, share.scratch, [&](const Stripe& stripe) {
    for (int64_t t = 0; t < all; ++t) {
      const int64_t i = t / s.kernel_w * s.dilation_h, j = t % s.kernel_w * s.dilation_w;
      taps[t] = t < kernel ? i * stripe.line_bytes + j * s.channels : 0;  // the weights after the last are 0
    }
    for (int64_t first = 0; first < s.channels; first += kChunk) {
      const int64_t block = first / kDepthwiseBlock, inside = first % kDepthwiseBlock / kQuad;
      const int64_t constants = block * kDepthwiseBlock + inside;
      const auto scale = [&](int q) INLINE {
        return Scale(s.multiplier + constants + q * Channels::kRow, s.shift + constants + q * Channels::kRow, s.zero_y);
      };
      const Channels channels{s.weight + block * all * kDepthwiseBlock + inside * kQuad,
                              s.bias + constants,
                              {scale(0), scale(1), scale(2), scale(3)},
                              first,
                              int(least(kChunk, s.channels - first))};
      for (int64_t line = stripe.begin; line < stripe.end; ++line)
        depthwise_line(s, channels, taps, stripe.under(s, line) + first, s.y + line * s.out_width * s.channels + first);
    }
  });
}

// Convolutions of int16 values by int8 weights, which are stored as int16. Part of steps.inl.

constexpr int64_t kShortSum = 256;  // products that 32 bits hold: 256 * 2^15 * 2^7 = 2^30

// The products of two lines, summed up. The inner loop is one that compilers make `pmaddwd` of.
inline int64_t summed_products(const int16_t* x, const int16_t* w, int64_t n) {
  int64_t total = 0;
  for (int64_t begin = 0; begin < n; begin += kShortSum) {
    const int64_t count = least(kShortSum, n - begin);
    int32_t sum = 0;
    for (int64_t i = 0; i < count; ++i) sum += int32_t(x[begin + i]) * int32_t(w[begin + i]);
    total += sum;
  }
  return total;
}

// As `wide_product.scaled`: the multiplier in two parts, so that a sum of 46 bits fits.
inline int64_t scaled_wide(int64_t sum, int32_t multiplier, int32_t shift) {
  const int64_t product = sum * (multiplier >> 15) + ((sum * (multiplier & 0x7fff)) >> 15);
  return (product + (int64_t(1) << (shift - 16))) >> (shift - 15);
}

template <typename Y>
void convolved_wide(const Step& s, const Share& share) {
  const int64_t inputs = s.channels / s.groups, outputs = s.out_channels / s.groups;
  const int64_t taps = int64_t(s.kernel_w) * inputs, window = s.kernel_h * taps;
  const auto* x = reinterpret_cast<const int16_t*>(s.x);
  const auto* weight = reinterpret_cast<const int16_t*>(s.weight);
  const auto* bias = reinterpret_cast<const int64_t*>(s.table);
  const bool has_one = s.constants == 1;
  const Range pixels = part(pixels_out(s), 1, share);
  for (int64_t index = pixels.begin; index < pixels.end; ++index) {
    const int64_t line = index / s.out_width, image = line / s.out_height;
    const int64_t top = line % s.out_height * s.stride_h - s.pad_top;
    const int64_t left = index % s.out_width * s.stride_w - s.pad_left;
    const Reach down = reach(top, s.kernel_h, s.dilation_h, s.height);
    const Reach across = reach(left, s.kernel_w, s.dilation_w, s.width);
    Y* y = reinterpret_cast<Y*>(s.y) + index * s.out_channels;
    for (int64_t out = 0; out < s.out_channels; ++out) {
      int64_t sum = bias[out];
      for (int64_t i = down.begin; i < down.end; ++i) {
        const int64_t row = ((image * s.height + top + i * s.dilation_h) * s.width + left) * s.channels +
                            out / outputs * inputs;
        const int16_t* w = weight + out * window + i * taps;
        if (s.dilation_w == 1 && s.groups == 1 && across.begin < across.end) {  // neighbours are side by side
          sum += summed_products(x + row + across.begin * s.channels, w + across.begin * inputs,
                                 (across.end - across.begin) * inputs);
          continue;
        }
        for (int64_t j = across.begin; j < across.end; ++j)
          sum += summed_products(x + row + j * s.dilation_w * s.channels, w + j * inputs, inputs);
      }
      const int64_t at = has_one ? 0 : out, value = s.zero_y + scaled_wide(sum, s.multiplier[at], s.shift[at]);
      y[out] = Y(value < s.low ? s.low : value > s.high ? s.high : value);
    }
  }
}

void wide_convolution(const Step& s, const Share& share) {
  s.wide & kWideY ? convolved_wide<int16_t>(s, share) : convolved_wide<uint8_t>(s, share);
}

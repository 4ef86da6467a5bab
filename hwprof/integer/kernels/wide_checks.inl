// The checks of steps on int16 values alone. Part of plan.cpp.

constexpr int64_t kLargestWideSum = int64_t(1) << 46;

const char* check_wide_convolution(const Step& s) {
  if (!(s.wide & kWideX) || s.wide & kWideX2) return "type";
  if (!has_window(s) || s.channels % s.groups || s.out_channels % s.groups) return "sizes";
  if (!fits(volume(s.batch, s.height, s.width, s.channels, 2), s.x_bytes)) return "source";
  if (!fits(volume(s.batch, s.out_height, s.out_width, s.out_channels, bytes_of(s, kWideY)), s.y_bytes))
    return "target";
  const int64_t window = volume(s.kernel_h, s.kernel_w, s.channels / s.groups);
  if (!fits(volume(s.out_channels, window, 2), s.weight_bytes)) return "weight";
  const auto* weight = reinterpret_cast<const int16_t*>(s.weight);
  for (int64_t i = 0; i < s.out_channels * window; ++i)
    if (weight[i] < -128 || weight[i] > 127) return "weight";
  const int64_t largest = kLargestWideSum - (int64_t(window) << 22);
  const auto* bias = reinterpret_cast<const int64_t*>(s.table);
  for (int64_t i = 0; i < s.out_channels; ++i)
    if (largest < 0 || bias[i] > largest || bias[i] < -largest) return "bias";
  if (s.constants != 1 && s.constants < s.out_channels) return "constants";
  return has_constants(s, s.constants, 17) ? nullptr : "constants";
}

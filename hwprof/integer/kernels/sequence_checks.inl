// The checks of the steps of sequences and attention. Part of plan.cpp.

const char* check_product(const Step& s) {
  if (s.height < 1 || s.channels < 1 || s.out_channels < 1) return "sizes";
  if (s.channels > kLargestDepth) return "depth";
  if (!fits(volume(s.extent[0], s.extent[1], s.height, s.out_channels), s.y_bytes)) return "target";
  const int64_t a[] = {s.extent[0], s.extent[1], s.height, s.channels};
  const int64_t b[] = {s.extent[0], s.extent[1], s.channels, s.out_channels};
  const int64_t y[] = {s.extent[0], s.extent[1], s.height, s.out_channels};
  const int64_t from_a[] = {s.from[0], s.from[1], s.from[2], 1}, to_y[] = {s.from[3], s.from[4], s.from[5], 1};
  if (!is_inside(a, from_a, 4, 0, s.x_bytes)) return "source";
  if (!is_inside(b, s.to, 4, 0, s.x2_bytes)) return "second operand";
  if (!is_inside(y, to_y, 4, 0, s.y_bytes)) return "target";
  return has_constants(s, kPanel, 32) && is_byte(s.zero_x2) ? nullptr : "constants";
}

bool has_rows(const Step& s, int64_t longest) {
  const int64_t x = volume(s.extent[0], s.extent[1], bytes_of(s, kWideX));
  const int64_t y = volume(s.extent[0], s.extent[1], bytes_of(s, kWideY));
  return s.extent[0] > 0 && s.extent[1] > 0 && s.extent[1] <= longest && fits(x, s.x_bytes) && fits(y, s.y_bytes);
}

const char* check_softmax(const Step& s) {
  if (!has_rows(s, 65535)) return "sizes";
  const auto* powers = reinterpret_cast<const uint16_t*>(s.table);
  for (int i = 0; i < 256; ++i)
    if (powers[i] > powers[0]) return "table";
  if (powers[0] != INT16_MAX) return "table";
  return has_constants(s, 1, 16) && *s.multiplier >= 1 << 30 ? nullptr : "constants";
}

const char* check_normalization(const Step& s) {
  if (!has_rows(s, kLargestDepth)) return "sizes";
  if (s.constants < ceil_div(s.extent[1], kPanel) * kPanel) return "constants";
  for (int64_t i = 0; i < s.extent[1]; ++i)
    if (s.bias[i] > 1 << 29 || s.bias[i] < -(1 << 29)) return "constants";
  if ((s.is_centred != 0 && s.is_centred != 1) || s.places < 1 || s.places > 16) return "constants";
  return s.from_offset >= 0 && s.from_offset <= int64_t(1) << (s.wide & kWideX ? 58 : 44) ? nullptr : "constants";
}

const char* check_embedding(const Step& s) {
  if (s.height < 1 || s.channels < 1 || s.extent[0] < 1) return "sizes";
  if (!fits(volume(s.extent[0], 4), s.x_bytes)) return "source";
  if (!fits(volume(s.extent[0], s.channels), s.y_bytes)) return "target";
  return fits(volume(s.height, s.channels), s.weight_bytes) ? nullptr : "weight";
}

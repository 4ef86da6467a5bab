// Lines of an image with their padding, as convolutions read them without asking where the image ends. Part of steps.inl.

// Lines [begin, end) of the output of all images, which belong to one image, and the input under them.
struct Stripe {
  int64_t begin, end, line_bytes;
  const uint8_t* lines;

  // The windows' first line under a line of the output.
  const uint8_t* under(const Step& s, int64_t line) const { return lines + (line - begin) * s.stride_h * line_bytes; }
};

// `count` lines of an image from `first` on, `bytes` of each: as far as the windows reach.
inline void pad_lines(const Step& s, const uint8_t* image, int64_t first, int64_t count, int64_t bytes, uint8_t* to) {
  const int64_t line = int64_t(s.width) * s.channels, left = least(int64_t(s.pad_left) * s.channels, bytes);
  const int64_t inside = least(line, bytes - left);
  for (int64_t y = first; y < first + count; ++y, to += bytes) {
    if (y < 0 || y >= s.height) {
      memset(to, s.zero_x, size_t(bytes));
      continue;
    }
    memset(to, s.zero_x, size_t(left));
    memcpy(to + left, image + y * line, size_t(inside));
    memset(to + left + inside, s.zero_x, size_t(bytes - left - inside));
  }
}

// function(stripe) for all of the lines. Where windows leave the image or `copies`, what it reads is a copy in `scratch`.
template <typename Function>
INLINE inline void each_stripe(const Step& s, Range lines, bool copies, uint8_t* scratch, Function function) {
  const Lines under = lines_of(s);
  const int64_t line = int64_t(s.width) * s.channels;
  const bool is_inside = s.pad_top == 0 && s.pad_left == 0 && under.bytes <= line &&
                         (s.out_height - 1) * int64_t(s.stride_h) + under.reach <= s.height;
  for (int64_t begin = lines.begin, end; begin < lines.end; begin = end) {
    const int64_t row = begin % s.out_height, top = row * s.stride_h - s.pad_top;
    end = least(begin + least(under.together, s.out_height - row), lines.end);
    const uint8_t* image = s.x + begin / s.out_height * s.height * line;
    if (is_inside && !copies) {
      function(Stripe{begin, end, line, image + top * line});
    } else {
      pad_lines(s, image, top, (end - begin - 1) * s.stride_h + under.reach, under.bytes, scratch);
      function(Stripe{begin, end, under.bytes, scratch});
    }
  }
}

// Where a network's floats end and begin again. A library of its own, so that the kernels' holds no float.
#include <cstdint>
#include <cstdlib>  // says which C library this is
#include <limits>

namespace {

constexpr int64_t kBlock = 256;  // pixels that are quantized before they are put in their places

struct Edge {
  float* real;       // [batch][channels][pixels]; null where the network's own type is 8 bits
  uint8_t* held;     // [batch][pixels][channels]
  int64_t batch, channels, pixels;
  float scale;
  int32_t zero;
  const float* reals;  // of an output: the real number for each integer; null where scale and zero define it
  int32_t is_wide;     // held is int16, not uint8
};

#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__)
#define WIDEST __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define WIDEST
#endif

// As QuantizeLinear is defined: a division, rounded half to even. Adding and subtracting 1.5 * 2^23 rounds a small
// number so, and unlike nearbyint everywhere as a vector.
template <typename Held>
inline Held quantized(float real, float scale, float zero) {
  constexpr float kRound = 12582912.0f, kFar = 65536.0f;
  constexpr float kLow = std::numeric_limits<Held>::min(), kHigh = std::numeric_limits<Held>::max();
  float step = real / scale;
  step = step > -kFar ? step : -kFar;  // not a number becomes the lowest
  step = step < kFar ? step : kFar;
  step = (step + kRound) - kRound + zero;
  step = step > kLow ? step : kLow;
  return Held(int32_t(step < kHigh ? step : kHigh));
}

WIDEST void quantize_line(const float* real, uint8_t* held, int64_t n, float scale, float zero) {
  for (int64_t i = 0; i < n; ++i) held[i] = quantized<uint8_t>(real[i], scale, zero);
}

WIDEST void quantize_line(const float* real, int16_t* held, int64_t n, float scale, float zero) {
  for (int64_t i = 0; i < n; ++i) held[i] = quantized<int16_t>(real[i], scale, zero);
}

template <typename Held>
void quantize(const Edge& e) {
  const float zero = float(e.zero);
  auto* all = reinterpret_cast<Held*>(e.held);
  if (e.channels == 1) {
    quantize_line(e.real, all, e.batch * e.pixels, e.scale, zero);
    return;
  }
  Held block[kBlock];
  for (int64_t n = 0; n < e.batch; ++n)
    for (int64_t begin = 0; begin < e.pixels; begin += kBlock) {
      const int64_t count = e.pixels - begin < kBlock ? e.pixels - begin : kBlock;
      Held* held = all + (n * e.pixels + begin) * e.channels;
      for (int64_t c = 0; c < e.channels; ++c) {
        const float* real = e.real + (n * e.channels + c) * e.pixels + begin;
        quantize_line(real, block, count, e.scale, zero);
        for (int64_t i = 0; i < count; ++i) held[i * e.channels + c] = block[i];
      }
    }
}

template <typename Held>
void dequantize(const Edge& e) {
  constexpr int32_t kLow = std::numeric_limits<Held>::min();
  for (int64_t n = 0; n < e.batch; ++n)
    for (int64_t c = 0; c < e.channels; ++c) {
      float* __restrict__ real = e.real + (n * e.channels + c) * e.pixels;
      const Held* held = reinterpret_cast<const Held*>(e.held) + n * e.pixels * e.channels + c;
      if (e.reals) {
        for (int64_t i = 0; i < e.pixels; ++i) real[i] = e.reals[held[i * e.channels] - kLow];
        continue;
      }
      for (int64_t i = 0; i < e.pixels; ++i) real[i] = float(int32_t(held[i * e.channels]) - e.zero) * e.scale;
    }
}

}  // namespace

#define EXPORTED extern "C" __attribute__((visibility("default")))

EXPORTED int32_t hwprof_edge_bytes() { return int32_t(sizeof(Edge)); }

// One inference in one call: quantizes what comes in, runs the plan, dequantizes what goes out.
EXPORTED void hwprof_infer(void (*run)(void*), void* plan, const Edge* in, int32_t n_in, const Edge* out, int32_t n_out) {
  for (int32_t i = 0; i < n_in; ++i) in[i].is_wide ? quantize<int16_t>(in[i]) : quantize<uint8_t>(in[i]);
  run(plan);
  for (int32_t i = 0; i < n_out; ++i) out[i].is_wide ? dequantize<int16_t>(out[i]) : dequantize<uint8_t>(out[i]);
}

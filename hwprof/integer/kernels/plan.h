// What a plan is made of: steps on memory that the caller owns, and the functions that an instruction set brings.
#pragma once

#include <cstddef>
#include <cstdint>

// The vector code must end up in one function, or its registers become memory.
#define INLINE __attribute__((always_inline))
#define NOINLINE __attribute__((noinline))

namespace hwprof {

enum Kind : int32_t {
  kConvolution = 0,
  kDepthwise = 1,
  kAdd = 2,
  kMultiply = 3,
  kTable = 4,
  kMaxPool = 5,
  kAveragePool = 6,
  kCopy = 7,
  kFill = 8,
  kGates = 9,
  kLstm = 10,
  kProduct = 11,
  kSoftmax = 12,
  kNormalization = 13,
  kEmbedding = 14,
  kGru = 15,
  kLines = 16,
  kWideConvolution = 17,
};

// Bits of `wide`: which operands of a step are int16.
enum Wide : int32_t { kWideX = 1, kWideX2 = 2, kWideY = 4 };

// How a convolution's weight is stored. What it computes is the same; only kSigns reads activations otherwise.
enum Format : int32_t {
  kInt8 = 0,
  kInt4 = 1,          // in +-7
  kDictionary16 = 2,  // 4-bit places in a table of 16 values
  kDictionary4 = 3,   // 2-bit places: ternary
  kDictionary2 = 4,   // 1-bit places: binary
  kSparse = 5,        // int8, without the blocks of 32 columns by 4 neighbours that are 0
  kSigns = 6,         // +-1, by activations that count as +1 from zero_x2 on and as -1 below
  kParts = 7,         // int8, divided so that sums of 16 bits hold the products: see parts.inl. Not only of convolutions
};
constexpr int kFormats = 8;

// How the products of a panel, or of a block of a depthwise convolution, are summed up where the format is kParts.
enum Mode : int32_t {
  kExact = 0,    // as where it is kInt8: any weights
  kSingly = 1,   // two products of a quad in 16 bits
  kInPairs = 2,  // those of two quads next to each other
};

constexpr int kAxes = 6;           // of a copy
constexpr int kPanel = 32;         // columns of a packed weight matrix that lie together
constexpr int kDepthwiseBlock = 64;  // channels of a depthwise convolution that lie together
constexpr int kQuad = 4;           // neighbours that one dot product sums up
constexpr int kGateCount = 4;      // of an LSTM: input, output, forget, cell
constexpr int kGruGateCount = 3;   // of a gated recurrent unit: update, reset, fresh
constexpr int kLift = 4;           // bits by which the sums of gates are raised, so that larger factors fit
constexpr int kSegments = 64;      // of the piecewise-linear tanh
constexpr int kLargestDepth = 16384;  // whose sums of products of two bytes, with their corrections, fit into 32 bits
constexpr int kRootBits = 8;       // fractional bits of a deviation, or as many as 62 bits leave
constexpr int kNormPlaces = 41;    // 62 of an inverse, less 21 of the normalized value

// One operation. Fields that a kind does not name are not read by it.
//
// Images are [batch, height, width, channels] and dense. Sizes in bytes are checked once, by `check`.
//   kConvolution  weight: [groups][panels][quads][32][4], constants [groups][panels * 32]; quads is
//                 kernel_h * ceil(kernel_w * channels / groups / 4); other formats: see low_bit.inl. x2 is the dictionary,
//                 int8 [16], or where kSparse blocks lie: int32 [groups * panels + 1], the first block of each panel,
//                 and int32 [blocks], the quad of each. kParts: [2][quads][16][4] in a panel
//                 whose mode is not kExact, blocks of [32][4] after all panels, and x2 as int32: the
//                 mode of each panel, its first block, [groups * panels + 1], and the line and quad of each block
//   kDepthwise    weight: [blocks][ceil(taps / 4)][4][16][4], constants [blocks][4][16]: see `Isa::interleave`; the taps
//                 of 3 x 3 by columns, each with a fourth that is 0. kParts: x2 is the mode of each block, int32
//                 [blocks], kExact or kSingly
//   kAdd          y = clip((x * factor + x2 * factor2 + from_offset) >> places); factors may be negative
//   kMultiply     y = clip(zero_y + rescaled (x - zero_x) * (x2 - zero_x2)); one multiplier
//                 kAdd, kMultiply: y and x are dense [extent 0..2]; x2 has the strides `from`
//   kTable        y = table[x], `extent[0]` elements; table: [256] of y's type
//   kLines        y = clip((x * multiplier[i] + offsets[i]) >> places), `extent[0]` elements; x: int16; weight is the
//                 offsets, int64; i counts the bounds, bias, of which the last is beyond all x, up to x: table, int32
//                 [256], counts them for each upper byte of x, and `channels` more at most lie within one
//   kAveragePool  multiplier, shift: [kernel_h * kernel_w + 1], by the number of pixels in the window
//   kCopy         y[to_offset + i . to] = x[from_offset + i . from]
//   kFill         y = zero_y, `extent[0]` elements
//   kGates        a matrix product [batch * height, channels] by [channels, out_channels] whose y is int16; every 32
//                 units of an LSTM have a panel for each of their gates
//   kLstm         x: int16 [height][batch][gates] as kGates leaves them, y: [height][batch][channels]; weight, bias,
//                 multiplier and shift are the recurrent ones, table is int16 [2][64], the tanh's knots and slopes;
//                 y = (h * factor + offset) >> places, the first h is zero_x
//   kProduct      x: [extent 0, extent 1][height][channels] with the strides from[0..2], x2: [..][channels]
//                 [out_channels] with to[0..3], y: [..][height][out_channels] with from[3..5]; 32 equal constants
//   kSoftmax      rows [extent 0] of [extent 1]; table: uint16 [256], the powers; multiplier / 2^shift is 1 / y's scale
//   kNormalization  rows [extent 0] of [extent 1]; multiplier and bias for each element, up to a multiple of 32; around
//                 the mean or, where not is_centred, around zero_x; from_offset is added to extent[1]^2 times the
//                 variance; places: fractional bits of the bias
//   kEmbedding    y: [extent 0][channels] = weight[x], x: int32 [extent 0], weight: [height][channels]
//   kGru          as kLstm, with three gates
//   kWideConvolution  x: int16; weight: int16 [out_channels][kernel_h][kernel_w][channels / groups], in [-128, 127];
//                 table: int64 [out_channels], the bias; as many multipliers and shifts, or one
struct Step {
  int32_t kind;
  int32_t batch, height, width, channels;
  int32_t out_height, out_width, out_channels;
  int32_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
  int32_t groups;
  int32_t zero_x, zero_x2, zero_y, low, high;
  int32_t factor, factor2, offset, places;
  int32_t counts_padding, format, is_centred, resets_behind, wide;
  int64_t extent[kAxes];
  int64_t from[kAxes];
  int64_t to[kAxes];
  int64_t from_offset, to_offset;
  const uint8_t* x;
  const uint8_t* x2;
  uint8_t* y;
  const int8_t* weight;
  const int32_t* bias;
  const int32_t* multiplier;
  const int32_t* shift;
  const uint8_t* table;
  int64_t x_bytes, x2_bytes, y_bytes, weight_bytes;
  int64_t constants;  // how many of bias, multiplier and shift
};

// Which share of a step a thread does, and memory of its own.
struct Share {
  int index, count;
  uint8_t* scratch;
};

struct InstructionSet {
  const char* name;
  bool (*runs_here)();
  bool is_signed;  // activations are multiplied as int8: 128 less, which the bias makes good
  bool sums_parts;  // runs steps of kParts, whose panels and blocks are signed only where their mode is kExact
  void (*run)(const Step&, const Share&);
  int64_t (*multiply)(int64_t rounds);  // the peak: dot products on registers; returns multiply-adds
};

extern const InstructionSet kScalar;
#if defined(__x86_64__)
extern const InstructionSet kAvx2;
extern const InstructionSet kAvxVnni;
extern const InstructionSet kAvx512Vnni;
extern const InstructionSet kAmx;
#elif defined(__aarch64__)
extern const InstructionSet kNeon;
#endif

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t bytes_of(const Step& s, Wide operand) { return s.wide & operand ? 2 : 1; }
inline int64_t pixels_out(const Step& s) { return int64_t(s.batch) * s.out_height * s.out_width; }

// Quads of a row, or words of 32 signs, that lie together in a packed weight, and the bytes of 32 columns of them.
constexpr int block_quads(int32_t format) { return format == kDictionary4 ? 2 : 1; }
constexpr int kBlockBytes[kFormats] = {kPanel * kQuad, kPanel * kQuad / 2, kPanel * kQuad / 2, kPanel * kQuad / 2,
                                       kPanel * kQuad / 8, kPanel * kQuad, kPanel * kQuad, kPanel * kQuad};
constexpr int block_bytes(int32_t format) { return kBlockBytes[format]; }
// Activations of a row for one block.
constexpr int block_depth(int32_t format) { return format == kSigns ? 32 : kQuad * block_quads(format); }
// Whether weights are bytes, in quads that do not reach over the lines of a window.
inline bool is_plain(const Step& s) { return s.format == kInt8 || s.format == kParts; }
// Activations of a row under one line of a window. Those of int8 are whole quads, and can be read where they lie.
inline int64_t line_depth(const Step& s) {
  const int64_t taps = int64_t(s.kernel_w) * (s.channels / s.groups);
  return is_plain(s) ? ceil_div(taps, kQuad) * kQuad : taps;
}
inline int64_t depth(const Step& s) { return s.kernel_h * line_depth(s); }
inline int64_t blocks(const Step& s) { return ceil_div(depth(s), block_depth(s.format)); }
inline int64_t row_bytes(const Step& s) { return blocks(s) * block_depth(s.format); }

// Rows of a convolution's input that are gathered before they are multiplied: parts of one size, each of which stays
// in the second-level cache while it is multiplied by all columns.
constexpr int64_t kGatheredBytes = 256 * 1024;
constexpr int64_t kNearBytes = 24 * 1024, kLeastNear = 48;
inline int64_t gathered_rows(const Step& s) {
  const int64_t rows = pixels_out(s), parts = ceil_div(rows * row_bytes(s), kGatheredBytes);
  return ceil_div(ceil_div(rows, parts), 12) * 12;  // whole tiles of most instruction sets
}
// As many as are multiplied by all columns before the next. Where the weights are quickly read, by parts, they and their
// results stay in the first-level cache.
inline int64_t rows_together(const Step& s) {
  const int64_t most = gathered_rows(s), near = kNearBytes / (row_bytes(s) + s.out_channels) / 4 * 4;
  const int64_t rows = near > kLeastNear ? near : kLeastNear;
  return s.format != kParts || rows > most ? most : rows;
}

// Lines of the input with their padding: `bytes` of each, those under one line of the output (`reach`), and lines of the
// output that are done together, as long as their inputs stay in the second-level cache.
struct Lines {
  int64_t bytes, reach, together;
};
constexpr int64_t kLargestReach = 1 << 30;  // bytes under one line of the output
inline Lines lines_of(const Step& s) {
  const int64_t reach = (s.kernel_h - 1) * int64_t(s.dilation_h) + 1;
  const int64_t width = (s.out_width - 1) * int64_t(s.stride_w) + (s.kernel_w - 1) * int64_t(s.dilation_w) + 1;
  // Asked before they are multiplied, as any step may come here: no bytes stand for too many.
  if (width > kLargestReach / s.channels || reach > kLargestReach / (width * s.channels)) return {0, reach, 0};
  const int64_t bytes = width * s.channels, more = kGatheredBytes / bytes - reach;
  return {bytes, reach, more > 0 ? more / s.stride_h + 1 : 1};
}
inline int64_t lines_bytes(const Step& s) {
  const Lines under = lines_of(s);
  return ((under.together - 1) * s.stride_h + under.reach) * under.bytes;
}
// Whether a convolution's activations under a line of a window lie together, and those of all its lines in the cache.
inline bool is_lined(const Step& s) {
  const Lines under = lines_of(s);
  return is_plain(s) && s.groups == 1 && s.dilation_w == 1 && under.bytes > 0 &&
         under.reach * under.bytes <= kGatheredBytes;
}
inline int64_t tap_quads(const Step& s) { return ceil_div(int64_t(s.kernel_h) * s.kernel_w, kQuad); }
// Whether the taps of a depthwise convolution are stored by the columns of its window, each with a fourth that is 0.
constexpr int kColumnTaps = 3;
inline bool has_columns(const Step& s) { return s.kernel_h == kColumnTaps && s.kernel_w == kColumnTaps; }

constexpr int kCellRows = 16;  // of a recurrent layer, that are multiplied at once: not more

// The memory that a thread needs in addition to the operands, bytes.
inline int64_t scratch_bytes(const Step& s) {
  if (s.kind == kLstm) {
    const int64_t units = ceil_div(s.channels, kPanel) * kPanel;
    return s.batch * (2 * units + 2 * units) + kCellRows * kPanel * kGateCount * 2 + 256;
  }
  if (s.kind == kGru) {
    const int64_t units = ceil_div(s.channels, kPanel) * kPanel;
    return s.batch * 7 * units + kCellRows * kPanel * kGruGateCount * 2 + 256;
  }
  if (s.kind == kProduct) {
    const int64_t row = ceil_div(s.channels, kQuad) * kQuad;
    return row * kPanel + 4 * (kPanel + int64_t(s.height)) + (row > s.channels ? s.height * row : 0);
  }
  if (s.kind == kSoftmax) return 2 * s.extent[1];
  if (s.kind == kNormalization) return 4 * ceil_div(s.extent[1], kPanel) * kPanel;
  if (s.kind == kConvolution || s.kind == kGates) {
    const int64_t gathered = gathered_rows(s) * row_bytes(s), lined = is_lined(s) ? lines_bytes(s) + kQuad : 0;
    return gathered > lined ? gathered : lined;
  }
  if (s.kind == kDepthwise) return lines_bytes(s) + 8 + tap_quads(s) * kQuad * int64_t(sizeof(int64_t));
  return 0;
}

}  // namespace hwprof

// How the columns of a packed weight are read: a few bits of each, which become int8 in registers.
//
//   Int8           [quads][32][4]
//   Int4           [quads][64]: byte j has the weight of place j in its lower and that of place 64 + j in its upper half,
//                  places being those of [32][4]. Sums are 16 times as large: the upper half of a byte needs no shift.
//   Dictionary16   as Int4, of places in the dictionary
//   Dictionary4    [pairs of quads][64]: bits 2 i, 2 i + 1 of byte j are of place 64 i + j of [2][32][4]
//   Dictionary2    [quads][16]: bit i of byte j is of place 8 j + i
//   Sparse         as Int8, but for the blocks that are all 0
//   Signs          [words][32] of 32 bits: 1 for a weight of +1. Padding is 0 in weights and activations.
//
// A Format has `column<Quad, V>(block)`: vector V of a quad of a block; `dot`, by what `broadcast` reads of a row;
// `finished`: what has been summed up as the accumulator.
#pragma once

namespace hwprof {
namespace {

struct Int8 {
  static constexpr int kQuads = block_quads(kInt8), kBytes = block_bytes(kInt8);
  static constexpr bool kIsSparse = false, kCounts = false;
  explicit Int8(const Panel&) {}
  template <int, int V>
  INLINE Ints column(const int8_t* block) const {
    return Isa::weights(block + V * kChunk);
  }
  INLINE static Bytes broadcast(const uint8_t* p) { return Isa::broadcast(p); }
  INLINE static Ints dot(Ints sum, const Bytes& row, Ints w) { return Isa::dot(sum, row, w); }
  INLINE static Ints finished(Ints sum, const int32_t*) { return sum; }
};

// Weights that are activations: -128 is among them.
struct Activation : Int8 {
  using Int8::Int8;
  using Whole = Isa::Whole;
  using Column = decltype(Whole::weights(nullptr));
  using Row = decltype(Whole::broadcast(nullptr));
  template <int, int V>
  INLINE Column column(const int8_t* block) const {
    return Whole::weights(block + V * kChunk);
  }
  INLINE static Row broadcast(const uint8_t* p) { return Whole::broadcast(p); }
  INLINE static Ints dot(Ints sum, const Row& row, const Column& w) { return Whole::dot(sum, row, w); }
};

struct Sparse : Int8 {
  static constexpr bool kIsSparse = true;
  using Int8::Int8;
};

constexpr int kHalf = kVectors / 2;  // vectors of 64 places

struct Int4 : Int8 {
  static constexpr int kBytes = block_bytes(kInt4);
  using Int8::Int8;
  template <int, int V>
  INLINE Ints column(const int8_t* block) const {
    return Isa::template upper_half<V / kHalf == 0>(Isa::weights(block + V % kHalf * kChunk));
  }
  INLINE static Ints finished(Ints sum, const int32_t*) { return Isa::sixteenth(sum); }
};

struct Dictionary16 : Int8 {
  static constexpr int kBytes = block_bytes(kDictionary16);
  const Ints values;
  explicit Dictionary16(const Panel& p) : Int8(p), values(Isa::sixteen(p.dictionary)) {}
  template <int, int V>
  INLINE Ints column(const int8_t* block) const {
    const Ints packed = Isa::weights(block + V % kHalf * kChunk);
    return Isa::at(values, Isa::template bits<4 * (V / kHalf), 15>(packed));
  }
};

struct Dictionary4 : Int8 {
  static constexpr int kQuads = block_quads(kDictionary4), kBytes = block_bytes(kDictionary4);
  const Ints values;
  explicit Dictionary4(const Panel& p) : Int8(p), values(Isa::sixteen(p.dictionary)) {}
  template <int Quad, int V>
  INLINE Ints column(const int8_t* block) const {
    const Ints packed = Isa::weights(block + V % kHalf * kChunk);
    return Isa::at(values, Isa::template bits<4 * Quad + 2 * (V / kHalf), 3>(packed));
  }
};

struct Dictionary2 : Int8 {
  static constexpr int kBytes = block_bytes(kDictionary2);
  const int8_t zero, one;
  explicit Dictionary2(const Panel& p) : Int8(p), zero(p.dictionary[0]), one(p.dictionary[1]) {}
  template <int, int V>
  INLINE Ints column(const int8_t* block) const {
    return Isa::either(block + V * kChunk / 8, zero, one);
  }
};

struct Signs : Int8 {
  static constexpr int kBytes = block_bytes(kSigns);
  static constexpr bool kCounts = true;  // places that differ
  using Int8::Int8;
  INLINE static Ints broadcast(const uint8_t* p) { return Isa::word(p); }
  INLINE static Ints dot(Ints sum, Ints row, Ints w) { return Isa::count_differing(sum, row, w); }
  INLINE static Ints finished(Ints sum, const int32_t* bias) { return Isa::less_twice(Isa::load(bias), sum); }
};

// Rows of bytes become rows of bits, in the same place: 1 where `least` is reached, 0 after the depth.
inline void pack_signs(uint8_t* rows, int64_t bytes, int64_t depth, int64_t row_bytes, int32_t least) {
  uint8_t* to = rows;
  for (int64_t at = 0; at < bytes; at += 32, to += 4) {
    const int64_t left = depth - at % row_bytes;
    uint32_t bits = Isa::reaches(rows + at, least);
    if (left < 32) bits &= (uint32_t(1) << left) - 1;
    memcpy(to, &bits, sizeof bits);
  }
}

}  // namespace
}  // namespace hwprof

// The C interface: checks steps against the memory that they name, and runs them with as many threads as are asked for.
#include "plan.h"

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

namespace hwprof {
namespace {

const InstructionSet* const kSets[] = {
    &kScalar,
#if defined(__x86_64__)
    &kAvx2, &kAvxVnni, &kAvx512Vnni, &kAmx,
#elif defined(__aarch64__)
    &kNeon,
#endif
};

const InstructionSet* named(const char* name) {
  for (const InstructionSet* set : kSets)
    if (strcmp(set->name, name) == 0) return set;
  return nullptr;
}

// -- checks ----------------------------------------------------------------------------------------------------

// The product of sizes, or -1 if one is negative or it leaves the 62 bits that any memory has.
template <typename... Sizes>
int64_t volume(Sizes... sizes) {
  int64_t product = 1;
  for (const int64_t size : {int64_t(sizes)...}) {
    if (size < 0) return -1;
    if (size && product > (int64_t(1) << 62) / size) return -1;
    product *= size;
  }
  return product;
}

bool fits(int64_t wanted, int64_t given) { return wanted >= 0 && wanted <= given; }
bool is_byte(int32_t v) { return v >= 0 && v <= 255; }
bool is_short(int32_t v) { return v >= INT16_MIN && v <= INT16_MAX; }

bool has_window(const Step& s) {
  const int32_t positive[] = {s.batch,    s.height,   s.width,    s.channels,   s.out_height, s.out_width, s.out_channels,
                              s.kernel_h, s.kernel_w, s.stride_h, s.stride_w, s.dilation_h, s.dilation_w, s.groups};
  for (const int32_t v : positive)
    if (v < 1) return false;
  return s.pad_top >= 0 && s.pad_left >= 0;
}

bool has_images(const Step& s) {
  return has_window(s) && fits(volume(s.batch, s.height, s.width, s.channels), s.x_bytes) &&
         fits(volume(s.batch, s.out_height, s.out_width, s.out_channels), s.y_bytes);
}

// Shifts in [least, 54], multipliers not negative: what the vector code's 64-bit sums hold.
bool has_constants(const Step& s, int64_t count, int least) {
  if (count < 0 || count > s.constants) return false;
  for (int64_t i = 0; i < count; ++i)
    if (s.shift[i] < least || s.shift[i] > 54 || s.multiplier[i] < 0) return false;
  return is_byte(s.zero_y);
}

// Blocks of each panel follow those of the one before, and are inside the weight and the rows.
bool has_blocks(const Step& s, int64_t panels) {
  const int64_t bytes = int64_t(sizeof(int32_t)), known = s.x2_bytes / bytes - (panels + 1);
  if (known < 0) return false;
  const auto* starts = reinterpret_cast<const int32_t*>(s.x2);
  const int32_t* places = starts + panels + 1;
  if (starts[0] != 0) return false;
  for (int64_t i = 0; i < panels; ++i)
    if (starts[i + 1] < starts[i]) return false;
  const int64_t count = starts[panels];
  if (count > known || !fits(volume(count, block_bytes(kSparse)), s.weight_bytes)) return false;
  for (int64_t i = 0; i < count; ++i)
    if (places[i] < 0 || places[i] >= blocks(s)) return false;
  return true;
}

// The modes of panels, the blocks of each, which follow those of the one before, and their places, inside the rows.
bool has_parts(const Step& s, int64_t panels, int64_t lines, int64_t quads) {
  const int64_t bytes = int64_t(sizeof(int32_t)), known = s.x2_bytes / bytes - (2 * panels + 1);
  if (known < 0) return false;
  const auto* modes = reinterpret_cast<const int32_t*>(s.x2);
  const int32_t *starts = modes + panels, *places = starts + panels + 1;
  if (starts[0] != 0) return false;
  for (int64_t i = 0; i < panels; ++i)
    if (modes[i] < kExact || modes[i] > kInPairs || starts[i + 1] < starts[i]) return false;
  const int64_t count = starts[panels], whole = volume(panels, lines, quads);
  if (count > known / 2 || whole < 0 || !fits(volume(whole + count, block_bytes(kParts)), s.weight_bytes)) return false;
  for (int64_t i = 0; i < count; ++i)
    if (places[2 * i] < 0 || places[2 * i] >= lines || places[2 * i + 1] < 0 || places[2 * i + 1] >= quads) return false;
  return true;
}

bool has_weight(const Step& s, int64_t panels) {
  if (s.format < 0 || s.format >= kFormats) return false;
  if (s.format == kParts) return has_parts(s, panels, s.kernel_h, line_depth(s) / kQuad);
  if (s.format == kSparse) return has_blocks(s, panels);
  const bool has_dictionary = s.format == kDictionary16 || s.format == kDictionary4 || s.format == kDictionary2;
  if (has_dictionary && s.x2_bytes < 16) return false;
  return fits(volume(panels, blocks(s), block_bytes(s.format)), s.weight_bytes);
}

const char* check_convolution(const Step& s) {
  if (!has_images(s) || s.channels % s.groups || s.out_channels % s.groups) return "sizes";
  const int64_t panels = volume(s.groups, ceil_div(s.out_channels / s.groups, kPanel));
  const int64_t taps = volume(s.kernel_h, s.kernel_w, s.channels / s.groups);
  if (taps < 0 || taps > INT32_MAX || panels < 0 || !has_weight(s, panels)) return "weight";
  if (volume(pixels_out(s), row_bytes(s)) < 0) return "sizes";
  if (s.format == kSigns && !is_byte(s.zero_x2)) return "sign";
  return has_constants(s, volume(panels, kPanel), 32) ? nullptr : "constants";
}

bool has_gate_weight(const Step& s, int64_t gates) {
  const int64_t quads = ceil_div(s.channels, kQuad);
  if (s.format == kParts) return has_parts(s, gates / kPanel, 1, quads);
  return fits(volume(gates, quads * kQuad), s.weight_bytes);
}

// As a convolution one pixel wide, with results of two bytes.
const char* check_gates(const Step& s) {
  if (!has_window(s) || s.kernel_h != 1 || s.kernel_w != 1 || s.groups != 1 || s.width != 1 || s.out_width != 1 ||
      s.height != s.out_height || s.out_channels % kPanel || s.pad_top || s.pad_left)
    return "sizes";
  if (!fits(volume(s.batch, s.height, s.channels), s.x_bytes)) return "source";
  if (!fits(volume(s.batch, s.height, s.out_channels, 2), s.y_bytes)) return "target";
  if (!has_gate_weight(s, s.out_channels)) return "weight";
  return has_constants(s, s.out_channels, 32) && s.zero_y == 0 ? nullptr : "constants";
}

// A recurrent layer, of whose units each has `count` gates.
const char* check_recurrence(const Step& s, int count) {
  if (s.batch < 1 || s.height < 1 || s.channels < 1) return "sizes";
  const int64_t gates = ceil_div(s.channels, kPanel) * kPanel * count;
  if (!fits(volume(s.batch, s.height, gates, 2), s.x_bytes)) return "source";
  if (!fits(volume(s.batch, s.height, s.channels), s.y_bytes)) return "target";
  if (!has_gate_weight(s, gates)) return "weight";
  constexpr int32_t kLargest = (1 << 15) - 1;
  if (s.factor < 0 || s.factor > kLargest || s.places < 1 || s.places > 22 || s.offset < 0 || s.offset > 1 << 30)
    return "constants";
  return has_constants(s, gates, 32) ? nullptr : "constants";
}

const char* check_depthwise(const Step& s) {
  if (!has_images(s) || s.channels != s.out_channels) return "sizes";
  const int64_t channels = ceil_div(s.channels, kDepthwiseBlock) * kDepthwiseBlock;
  const int64_t taps = volume(s.kernel_h, s.kernel_w);
  if (taps < 0 || !fits(volume(channels, ceil_div(taps, kQuad) * kQuad), s.weight_bytes)) return "weight";
  if (lines_of(s).bytes == 0) return "reach";
  if (s.format == kParts && !fits(channels / kDepthwiseBlock * int64_t(sizeof(int32_t)), s.x2_bytes)) return "modes";
  return has_constants(s, channels, 32) ? nullptr : "constants";
}

// The first and last offset that a walk over extents with strides reaches; false where it may wrap around.
bool is_inside(const int64_t* extent, const int64_t* stride, int axes, int64_t offset, int64_t bytes) {
  int64_t low = offset, high = offset;
  for (int i = 0; i < axes; ++i) {
    if (extent[i] < 1 || stride[i] == INT64_MIN) return false;
    const int64_t reach = volume(extent[i] - 1, stride[i] < 0 ? -stride[i] : stride[i]);
    if (reach < 0) return false;
    if (__builtin_sub_overflow(low, stride[i] < 0 ? reach : 0, &low)) return false;
    if (__builtin_add_overflow(high, stride[i] < 0 ? 0 : reach, &high)) return false;
  }
  return low >= 0 && high < bytes;
}

const char* check_zip(const Step& s) {
  const int64_t size = volume(s.extent[0], s.extent[1], s.extent[2]);
  if (size < 1 || (s.from[2] != 0 && s.from[2] != 1)) return "sizes";
  if (!fits(volume(size, bytes_of(s, kWideX)), s.x_bytes) || !fits(volume(size, bytes_of(s, kWideY)), s.y_bytes))
    return "sizes";
  return is_inside(s.extent, s.from, 3, 0, s.x2_bytes / bytes_of(s, kWideX2)) ? nullptr : "second operand";
}

const char* check_add(const Step& s) {
  const int32_t largest = s.wide ? (1 << 30) - 1 : (1 << 15) - 1;
  const int64_t farthest = int64_t(1) << (s.wide ? 60 : 30);
  if (s.factor < -largest || s.factor > largest || s.factor2 < -largest || s.factor2 > largest) return "factors";
  if (s.places < 1 || s.places > (s.wide ? 44 : 22)) return "constants";
  if (s.from_offset > farthest || s.from_offset < -farthest) return "constants";
  return check_zip(s);
}

const char* check_multiply(const Step& s) {
  if (!has_constants(s, 1, 1) || !is_byte(s.zero_x) || !is_byte(s.zero_x2)) return "constants";
  return check_zip(s);
}

const char* check_pool(const Step& s) {
  if (!has_images(s) || s.channels != s.out_channels) return "sizes";
  if (s.kind == kMaxPool) return nullptr;
  const int64_t taps = volume(s.kernel_h, s.kernel_w);
  return taps >= 0 && taps <= INT32_MAX / 255 && has_constants(s, taps + 1, 1) ? nullptr : "constants";
}

const char* check_function(const Step& s) {
  const int64_t size = s.extent[0];
  if (!fits(volume(size, bytes_of(s, kWideX)), s.x_bytes) || !fits(volume(size, bytes_of(s, kWideY)), s.y_bytes))
    return "sizes";
  if (s.kind == kTable) return s.wide & kWideX ? "sizes" : nullptr;
  if (!(s.wide & kWideX) || s.channels < 0 || s.channels > 256 || s.places < 1 || s.places > 31) return "constants";
  if (s.constants < 1 || s.weight_bytes / int64_t(sizeof(int64_t)) < s.constants) return "constants";
  if (s.bias[s.constants - 1] != INT32_MAX) return "bounds";
  const auto* offsets = reinterpret_cast<const int64_t*>(s.weight);
  for (int64_t i = 0; i < s.constants; ++i)
    if (offsets[i] > int64_t(1) << 60 || offsets[i] < -(int64_t(1) << 60)) return "constants";
  const auto* first = reinterpret_cast<const int32_t*>(s.table);
  for (int i = 0; i < 256; ++i)
    if (first[i] < 0 || first[i] >= s.constants) return "table";
  return nullptr;
}

const char* check_moving(const Step& s) {
  if (s.kind == kFill) return is_byte(s.zero_y) && fits(s.extent[0], s.y_bytes) ? nullptr : "sizes";
  // Strides of 0 would let a walk be longer than what it is on.
  if (!fits(volume(s.extent[0], s.extent[1], s.extent[2], s.extent[3], s.extent[4], s.extent[5]), s.y_bytes))
    return "sizes";
  if (!is_inside(s.extent, s.from, kAxes, s.from_offset, s.x_bytes)) return "source";
  return is_inside(s.extent, s.to, kAxes, s.to_offset, s.y_bytes) ? nullptr : "target";
}

#include "sequence_checks.inl"
#include "wide_checks.inl"

const char* check(const Step& s) {
  constexpr int32_t kWithWide = 1 << kAdd | 1 << kMultiply | 1 << kTable | 1 << kLines | 1 << kNormalization |
                               1 << kWideConvolution;
  if (s.kind < 0 || s.kind > kWideConvolution) return "kind";
  if (s.wide && (s.wide < 0 || s.wide > 7 || !(kWithWide >> s.kind & 1))) return "type";
  const auto is_bound = s.wide & kWideY ? is_short : is_byte;
  if (!is_byte(s.zero_x) || !is_bound(s.low) || !is_bound(s.high)) return "bounds";
  constexpr int32_t kWithParts = 1 << kConvolution | 1 << kDepthwise | 1 << kGates | 1 << kLstm | 1 << kGru;
  if (s.format != kInt8 && s.kind != kConvolution && !(s.format == kParts && kWithParts >> s.kind & 1)) return "format";
  switch (s.kind) {
    case kConvolution: return check_convolution(s);
    case kDepthwise: return check_depthwise(s);
    case kGates: return check_gates(s);
    case kLstm: return check_recurrence(s, kGateCount);
    case kGru: return check_recurrence(s, kGruGateCount);
    case kProduct: return check_product(s);
    case kSoftmax: return check_softmax(s);
    case kNormalization: return check_normalization(s);
    case kEmbedding: return check_embedding(s);
    case kAdd: return check_add(s);
    case kWideConvolution: return check_wide_convolution(s);
    case kMultiply: return check_multiply(s);
    case kMaxPool:
    case kAveragePool: return check_pool(s);
    case kTable:
    case kLines: return check_function(s);
    case kCopy:
    case kFill: return check_moving(s);
    default: return "kind";
  }
}

// -- threads ---------------------------------------------------------------------------------------------------

constexpr int kSpins = 4000;  // some tens of microseconds: longer than a small step, shorter than a time slice

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  asm volatile("yield");
#endif
}

// Each thread does its share of every step and then waits for the others.
class Barrier {
 public:
  explicit Barrier(int count) : count_(count), left_(count) {}
  void wait() {
    const int round = round_.load(std::memory_order_acquire);
    if (left_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      left_.store(count_, std::memory_order_relaxed);
      round_.store(round + 1, std::memory_order_release);
      return;
    }
    for (int spin = 0; round_.load(std::memory_order_acquire) == round; ++spin)
      if (spin < kSpins)
        pause();
      else
        std::this_thread::yield();
  }

 private:
  const int count_;
  std::atomic<int> left_;
  std::atomic<int> round_{0};
};

class Plan {
 public:
  Plan(const Step* steps, int count, const InstructionSet* set, int threads)
      : steps_(steps, steps + count), set_(set), threads_(threads), barrier_(threads) {
    int64_t bytes = 64;
    for (const Step& s : steps_) bytes = std::max(bytes, scratch_bytes(s));
    for (int i = 0; i < threads; ++i) {
      void* memory = nullptr;
      if (posix_memalign(&memory, 64, size_t(ceil_div(bytes, 64) * 64))) throw std::bad_alloc();
      scratch_.push_back(static_cast<uint8_t*>(memory));
    }
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { serve(i); });
  }

  ~Plan() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      is_closing_ = true;
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
    for (uint8_t* memory : scratch_) free(memory);
  }

  void run(int begin, int end) {
    if (threads_ == 1) return work(0, begin, end);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      begin_ = begin, end_ = end, ++runs_;
    }
    wake_.notify_all();
    work(0, begin, end);
  }

  int size() const { return int(steps_.size()); }

 private:
  void work(int index, int begin, int end) {
    const Share share{index, threads_, scratch_[size_t(index)]};
    for (int i = begin; i < end; ++i) {
      set_->run(steps_[size_t(i)], share);
      if (threads_ > 1) barrier_.wait();
    }
  }

  void serve(int index) {
    int64_t seen = 0;
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      wake_.wait(lock, [&] { return is_closing_ || runs_ != seen; });
      if (is_closing_) return;
      seen = runs_;
      const int begin = begin_, end = end_;
      lock.unlock();
      work(index, begin, end);
      lock.lock();
    }
  }

  const std::vector<Step> steps_;
  const InstructionSet* const set_;
  const int threads_;
  std::vector<uint8_t*> scratch_;
  Barrier barrier_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool is_closing_ = false;
  int begin_ = 0, end_ = 0;
  int64_t runs_ = 0;
  std::vector<std::thread> workers_;
};

}  // namespace
}  // namespace hwprof

#define EXPORTED extern "C" __attribute__((visibility("default")))

// The size of a step: a library and a caller that disagree on it do not fit together.
EXPORTED int32_t hwprof_step_bytes() { return int32_t(sizeof(hwprof::Step)); }

// 1: runs on this processor; 0: does not; -1: is not in this library.
EXPORTED int32_t hwprof_instruction_set(const char* name) {
  const hwprof::InstructionSet* set = hwprof::named(name);
  return set ? set->runs_here() : -1;
}

EXPORTED int32_t hwprof_is_signed(const char* name) {
  const hwprof::InstructionSet* set = hwprof::named(name);
  return set && set->is_signed;
}

EXPORTED int32_t hwprof_sums_parts(const char* name) {
  const hwprof::InstructionSet* set = hwprof::named(name);
  return set && set->sums_parts;
}

// What is wrong with a step, in a word; null where nothing is.
EXPORTED const char* hwprof_check(const hwprof::Step* step) { return hwprof::check(*step); }

// Copies the steps, not the memory that they name. Null where one is wrong, the instruction set does not run here or
// memory or threads are not to be had.
EXPORTED void* hwprof_open(const hwprof::Step* steps, int32_t count, const char* name, int32_t threads) {
  const hwprof::InstructionSet* set = hwprof::named(name);
  if (!set || !set->runs_here() || count < 0 || threads < 1) return nullptr;
  for (int32_t i = 0; i < count; ++i)
    if (hwprof::check(steps[i]) || (steps[i].format == hwprof::kParts && !set->sums_parts)) return nullptr;
  try {
    return new hwprof::Plan(steps, count, set, threads);
  } catch (const std::exception&) {
    return nullptr;
  }
}

EXPORTED void hwprof_run(void* plan) {
  auto* opened = static_cast<hwprof::Plan*>(plan);
  opened->run(0, opened->size());
}

EXPORTED void hwprof_run_step(void* plan, int32_t index) {
  auto* opened = static_cast<hwprof::Plan*>(plan);
  if (index >= 0 && index < opened->size()) opened->run(index, index + 1);
}

EXPORTED void hwprof_close(void* plan) { delete static_cast<hwprof::Plan*>(plan); }

// Runs `rounds` of the densest loop that the instruction set allows. Returns its multiply-adds.
EXPORTED int64_t hwprof_multiply(const char* name, int64_t rounds) {
  const hwprof::InstructionSet* set = hwprof::named(name);
  return set && set->runs_here() ? set->multiply(rounds) : -1;
}

// AVX-512 with VNNI: Intel from Ice Lake on, AMD from Zen 4 on. Compiled with -mavx512{f,bw,vl,vnni}.
// AMX: matrix products of many rows on tiles, all else as with AVX-512 and the same machine code. Intel from Sapphire
// Rapids on. With HWPROF_STAND_IN the tiles are plain C++ and run without AMX.
#include "avx512.inl"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "amx.inl"

namespace hwprof {
namespace {

bool has_avx512_vnni() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
}

// The processor has it, the system saves its registers, and this process is allowed to use them: each is needed.
bool has_amx() {
#if defined(HWPROF_STAND_IN)
  return has_avx512_vnni();
#else
  constexpr unsigned kTile = 1u << 24, kInt8 = 1u << 25;        // of CPUID 7.0, EDX
  constexpr unsigned kSaved = 1u << 17 | 1u << 18;              // of XCR0: the configuration and the tiles
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (!has_avx512_vnni() || !__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return false;
  if ((edx & (kTile | kInt8)) != (kTile | kInt8)) return false;
  unsigned low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & kSaved) == kSaved && syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#endif
}

}  // namespace
const InstructionSet kAvx512Vnni{"avx512-vnni", has_avx512_vnni, Isa::kIsSigned, false, run, multiply_registers};
const InstructionSet kAmx{"amx", has_amx, Isa::kIsSigned, false, run_on_tiles, multiply_tiles_alone};
}  // namespace hwprof

// AMX: matrix products of many rows on tiles, all else as with AVX-512. Intel from Sapphire Rapids on. Compiled with
// -mamx-tile -mamx-int8 and what AVX-512 VNNI needs; with HWPROF_STAND_IN the tiles are plain C++ and run without AMX.
#define HWPROF_TILES
#if defined(HWPROF_STAND_IN)
#include "amx_stand_in.h"
#endif
#include "avx512.inl"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace hwprof {
namespace {

// The processor has it, the system saves its registers, and this process is allowed to use them: each is needed.
bool runs_here() {
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
const InstructionSet kAmx{"amx", runs_here, Isa::kIsSigned, run, multiply_tiles_alone};
}  // namespace hwprof

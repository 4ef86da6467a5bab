// AVX-512 with VNNI: Intel from Ice Lake on, AMD from Zen 4 on. Compiled with -mavx512{f,bw,vl,vnni}.
#include "avx512.inl"

namespace hwprof {
const InstructionSet kAvx512Vnni{"avx512-vnni", has_avx512_vnni, Isa::kIsSigned, run, multiply_registers};
}

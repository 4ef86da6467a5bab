"""A runtime for quantized networks that computes with integers only, between the input and the output of a network.

    lowering   a Q/DQ Graph -> a Program, in which scales have become multipliers and shifts
    reference  runs a Program with NumPy: what the kernels are checked against
    engine     runs a Program with the C++ kernels of `kernels/`, one instruction set of which a device names

Numerics: activations are uint8 with a zero point, or int16 without one where no product reads them; weights symmetric
int8 in [-127, 127] with a scale for each output channel, accumulators int32. Images lie in memory with the channels
last. `weight_formats` stores weights in fewer bits where their values allow it; INT4 weights of a network keep their 4
bits.

Kernels were run on scalar, AVX2 and AVX-512 VNNI hardware. Those for AVX-VNNI were run with the same dot product in
AVX-512's encoding, those for AMX with plain C++ in place of the tile instructions (`make sanitize`); neither on a
processor of its own. So "best" takes AVX-512 VNNI where AMX is there, too.
"""

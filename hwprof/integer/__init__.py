"""An engine for quantized networks: it computes with integers only, from the network's inputs to its outputs.

    lowering   turns a Q/DQ Graph into a Program, in which scales have become multipliers and shifts
    reference  runs a Program with NumPy; the kernels are checked against it
    engine     runs a Program with the C++ kernels of `kernels/`, one of whose instruction sets a device names

Numerics: activations are uint8 with a zero point, or int16 without one where no product reads them. Weights are
symmetric int8 in [-127, 127] with one scale per output channel. Accumulators are int32. Images are stored with the
channels last. `weight_formats` stores weights in fewer bits where their values allow it; INT4 weights keep their 4
bits.

The kernels were run on scalar, AVX2 and AVX-512 VNNI hardware. The AVX-VNNI kernels were run with the same dot product
in AVX-512's encoding, the AMX kernels with plain C++ in place of the tile instructions (`make sanitize`); neither ran
on a processor that has them. So "best" chooses AVX-512 VNNI on a processor with AMX, too.
"""

"""A runtime for quantized networks that computes with integers only, between the input and the output of a network.

    lowering   a Q/DQ Graph -> a Program, in which scales have become multipliers and shifts
    reference  runs a Program with NumPy: what the kernels are checked against
    engine     runs a Program with the C++ kernels of `kernels/`, one instruction set of which a device names

Numerics: activations are uint8 with a zero point, weights symmetric int8 in [-127, 127] with a scale for each
output channel, accumulators int32. Images lie in memory with the channels last.
"""

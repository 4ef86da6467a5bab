"""Classes of AArch64 instructions, derived from the instruction word.

Source: Arm Architecture Reference Manual for A-profile (DDI 0487), chapter C4 "A64 Instruction Set Encoding".
"""

from __future__ import annotations

from dataclasses import dataclass

from hwprof.instructions import CLASSES


@dataclass(frozen=True, slots=True)
class Rule:
    """Words belong to the class if their bits in `mask` equal `value`."""

    mask: int
    value: int
    kind: str

    def matches(self, word: int) -> bool:
        return word & self.mask == self.value


# The first rule that matches decides.
RULES = (
    # products of four int8 pairs, and of int8 matrices, added to int32
    Rule(0x9F20FC00, 0x0E009400, "dot"),  # SDOT, UDOT, vector
    Rule(0xBF20FC00, 0x0E009C00, "dot"),  # USDOT, vector
    Rule(0x9F00F400, 0x0F00E000, "dot"),  # SDOT, UDOT, by element
    Rule(0xBF40F400, 0x0F00F000, "dot"),  # USDOT, SUDOT, by element
    Rule(0x9F20F400, 0x0E00A400, "dot"),  # SMMLA, UMMLA, USMMLA
    # floating-point multiply-add
    Rule(0xBF20FC00, 0x0E20CC00, "fma"),  # FMLA, FMLS, vector
    Rule(0xBF60FC00, 0x0E400C00, "fma"),  # the same in half precision
    Rule(0xBF80B400, 0x0F801000, "fma"),  # FMLA, FMLS, by element
    Rule(0xBFC0B400, 0x0F001000, "fma"),
    Rule(0xFF80B400, 0x5F801000, "fma"),  # scalar
    Rule(0xFFC0B400, 0x5F001000, "fma"),
    Rule(0xFF000000, 0x1F000000, "fma"),  # FMADD, FMSUB, FNMADD, FNMSUB
    # other arithmetic of the vector unit
    Rule(0x5F000000, 0x1E000000, "float"),  # scalars
    Rule(0x0E000000, 0x0E000000, "simd"),
    # memory
    Rule(0x3A400000, 0x08400000, "load"),  # exclusive, acquire, LD1 to LD4
    Rule(0x3A400000, 0x08000000, "store"),  # exclusive, release, ST1 to ST4
    Rule(0x3B000000, 0x18000000, "load"),  # relative to the program counter
    Rule(0x3EC00000, 0x18000000, "store"),  # release, unscaled
    Rule(0x3E000000, 0x18000000, "load"),  # acquire, unscaled
    Rule(0x3A400000, 0x28400000, "load"),  # pairs
    Rule(0x3A400000, 0x28000000, "store"),
    Rule(0x3F200C00, 0x38200000, "load"),  # atomic read-modify-write
    Rule(0x3EC00000, 0x38000000, "store"),  # a general register
    Rule(0x3E000000, 0x38000000, "load"),  # the same, sign-extended, prefetch
    Rule(0x3E400000, 0x3C400000, "load"),  # a vector register
    Rule(0x3E400000, 0x3C000000, "store"),
    # the rest of a program
    Rule(0x7C000000, 0x14000000, "branch"),  # B, BL
    Rule(0x7C000000, 0x34000000, "branch"),  # CBZ, CBNZ, TBZ, TBNZ
    Rule(0xFE000000, 0x54000000, "branch"),  # B.cond
    Rule(0xFE000000, 0xD6000000, "branch"),  # BR, BLR, RET
    Rule(0x1C000000, 0x10000000, "integer"),  # immediate
    Rule(0x0E000000, 0x0A000000, "integer"),  # register
    Rule(0x00000000, 0x00000000, "other"),  # system instructions, hints
)


def class_of(word: int) -> str:
    """word: 32 bits."""
    return next(rule.kind for rule in RULES if rule.matches(word))


def table() -> str:
    """The rules as the counting plugin reads them."""
    return "".join(f"{r.mask:08x} {r.value:08x} {CLASSES.index(r.kind)}\n" for r in RULES)

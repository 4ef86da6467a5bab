"""Instruction words, assembled by LLVM 14 (`llvm-mc --arch=aarch64 -show-encoding`), and their classes."""

from __future__ import annotations

import pytest

from hwprof.backends.emulator.instruction_classes import RULES, class_of, table
from hwprof.instructions import CLASSES

WORDS = {
    "dot": {
        "sdot v0.4s, v1.16b, v2.16b": 0x4E829420,
        "udot v0.2s, v1.8b, v2.8b": 0x2E829420,
        "sdot v0.4s, v1.16b, v2.4b[3]": 0x4FA2E820,
        "usdot v0.4s, v1.16b, v2.16b": 0x4E829C20,
        "sudot v0.4s, v1.16b, v2.4b[1]": 0x4F22F020,
        "smmla v0.4s, v1.16b, v2.16b": 0x4E82A420,
    },
    "fma": {
        "fmla v0.4s, v1.4s, v2.4s": 0x4E22CC20,
        "fmls v0.2d, v1.2d, v2.2d": 0x4EE2CC20,
        "fmla v0.4s, v1.4s, v2.s[1]": 0x4FA21020,
        "fmla v0.8h, v1.8h, v2.8h": 0x4E420C20,
        "fmla v0.8h, v1.8h, v2.h[7]": 0x4F321820,
        "fmla s0, s1, v2.s[3]": 0x5FA21820,
        "fmadd s0, s1, s2, s3": 0x1F020C20,
        "fmla v9.2s, v1.2s, v30.2s": 0x0E3ECC29,
    },
    "simd": {
        "fmul v0.4s, v1.4s, v2.4s": 0x6E22DC20,
        "fadd v0.4s, v1.4s, v2.4s": 0x4E22D420,
        "fmul v0.4s, v1.4s, v2.s[1]": 0x4FA29020,
        "smull v0.8h, v1.8b, v2.8b": 0x0E22C020,
        "smlal v0.4s, v1.4h, v2.4h": 0x0E628020,
        "smlal v0.4s, v1.4h, v2.h[3]": 0x0F722020,
        "mla v0.4s, v1.4s, v2.4s": 0x4EA29420,
        "mla v0.4s, v1.4s, v2.s[1]": 0x6FA20020,
        "dup v0.4s, w1": 0x4E040C20,
        "movi v0.4s, #0": 0x4F000400,
        "sadalp v0.4s, v1.8h": 0x4E606820,
    },
    "float": {
        "fadd s0, s1, s2": 0x1E222820,
        "fcvtzs w0, s1": 0x1E380020,
        "scvtf s0, w1": 0x1E220020,
        "fcmp s0, s1": 0x1E212000,
        "fmov s0, w1": 0x1E270020,
    },
    "load": {
        "ldr x0, [x1]": 0xF9400020,
        "ldr x0, [x1, x2]": 0xF8626820,
        "ldr w0, [x1], #4": 0xB8404420,
        "ldrsw x0, [x1, #8]": 0xB9800820,
        "ldrb w0, [x1]": 0x39400020,
        "ldp x0, x1, [sp], #16": 0xA8C107E0,
        "ldp q0, q1, [x0]": 0xAD400400,
        "ldr q0, [x0, #16]": 0x3DC00400,
        "ldr s0, [x0], #4": 0xBC404400,
        "ldur x0, [x1, #-8]": 0xF85F8020,
        "ldr x0, #16": 0x58000080,
        "ld1 { v0.4s, v1.4s }, [x0], #32": 0x4CDFA800,
        "ld1r { v0.4s }, [x0]": 0x4D40C800,
        "ldxr x0, [x1]": 0xC85F7C20,
        "ldar w0, [x1]": 0x88DFFC20,
        "ldadd x0, x1, [x2]": 0xF8200041,
        "swpal x0, x1, [x2]": 0xF8E08041,
        "casal x0, x1, [x2]": 0xC8E0FC41,
        "ldapr x0, [x1]": 0xF8BFC020,
        "prfm pldl1keep, [x0]": 0xF9800000,
    },
    "store": {
        "stp x0, x1, [sp, #-16]!": 0xA9BF07E0,
        "stp q0, q1, [x0]": 0xAD000400,
        "str q0, [x0, #16]": 0x3D800400,
        "str s0, [x0, x1]": 0xBC216800,
        "str x0, [x1, #8]": 0xF9000420,
        "strb w0, [x1]": 0x39000020,
        "stur x0, [x1, #-8]": 0xF81F8020,
        "st1 { v0.4s }, [x0]": 0x4C007800,
        "st1 { v0.s }[1], [x0]": 0x0D009000,
        "stxr w2, x0, [x1]": 0xC8027C20,
        "stlr w0, [x1]": 0x889FFC20,
    },
    "integer": {
        "add x0, x1, #4": 0x91001020,
        "adr x0, #16": 0x10000080,
        "add x0, x1, x2": 0x8B020020,
        "mul x0, x1, x2": 0x9B027C20,
        "madd x0, x1, x2, x3": 0x9B020C20,
        "csel x0, x1, x2, eq": 0x9A820020,
        "mov x0, #1": 0xD2800020,
        "lsl x0, x1, x2": 0x9AC22020,
    },
    "branch": {
        "b #16": 0x14000004,
        "bl #16": 0x94000004,
        "b.eq #16": 0x54000080,
        "cbz x0, #16": 0xB4000080,
        "tbnz w0, #3, #16": 0x37180080,
        "ret": 0xD65F03C0,
        "br x0": 0xD61F0000,
        "blr x0": 0xD63F0000,
    },
    "other": {
        "svc #0": 0xD4000001,
        "nop": 0xD503201F,
        "dmb ish": 0xD5033BBF,
        "mrs x0, TPIDR_EL0": 0xD53BD040,
        "dc zva, x0": 0xD50B7420,
    },
}


@pytest.mark.parametrize("kind", CLASSES)
def test_the_words_of_a_class_are_told(kind):
    assert {text: class_of(word) for text, word in WORDS[kind].items()} == dict.fromkeys(WORDS[kind], kind)


def test_every_word_has_a_class():
    assert class_of(0x00000000) == class_of(0xFFFFFFFF) == "other" or RULES[-1].mask == 0


def test_the_plugin_reads_masks_values_and_numbers_of_classes():
    lines = [line.split() for line in table().splitlines()]
    assert len(lines) == len(RULES)
    assert lines[0] == ["9f20fc00", "0e009400", str(CLASSES.index("dot"))]
    assert lines[-1][:2] == ["00000000", "00000000"]

"""Counts the instructions that ONNX Runtime executes on an ARM core, emulated by qemu in user mode."""

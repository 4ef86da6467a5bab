"""Counts the instructions that ONNX Runtime executes on an ARM core that is not there, under qemu user emulation."""

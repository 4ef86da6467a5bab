"""The C++ kernels of the integer engine, one file per instruction set, and the script that compiles them."""

"""Encoders, one idea per file: graphs or architectures to arrays, as scikit-learn transformers.

An encoder does not know any device or predictor. The cost of a graph comes from `hwprof.cost`; an operator without a
rule raises an error, it never counts as zero.
"""

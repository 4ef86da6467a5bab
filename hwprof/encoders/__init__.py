"""Encoders, one idea per file: graphs or architectures to arrays, as scikit-learn transformers.

An encoder knows no device and no predictor. What a graph costs comes from `hwprof.cost`; an operator
without a rule raises, it never counts as zero.
"""

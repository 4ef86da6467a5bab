"""Predictors of latency, one family per file: scikit-learn regressors with intervals, saved without pickle.

A predictor opens no device. It learns from pairs of a network (a `Graph`, an architecture of a space, or a
row that an encoder made of one) and its latency in ms.
"""

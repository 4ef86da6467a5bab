"""Predictors of latency, one family per file: scikit-learn regressors with intervals, saved without pickle.

A predictor does not open a device. It learns from pairs of a network (a `Graph`, an architecture of a space, or a row
that an encoder made from one) and its latency in ms. The same models learn scores, such as accuracies: each
`XPredictor` is a `LatencyPredictor` and an `XRegressor`, which learns numbers of any sign.
"""

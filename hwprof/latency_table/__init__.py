"""Latency tables: measured rows keyed by operator and attributes, with their device, correction and error."""

from hwprof.latency_table.correction import Correction, Pattern
from hwprof.latency_table.operators import Attribute
from hwprof.latency_table.rows import Metadata, Row
from hwprof.latency_table.staircase import Axis, NumericAttribute, Staircase
from hwprof.latency_table.table import LatencyTable

Calibration, Grid = Correction, Staircase  # their names until 0.1

__all__ = [
    "Attribute",
    "Axis",
    "Calibration",
    "Correction",
    "Grid",
    "LatencyTable",
    "Metadata",
    "NumericAttribute",
    "Pattern",
    "Row",
    "Staircase",
]

"""Latency tables: measured rows keyed by operator and attributes, with their device, calibration and error."""

from hwprof.latency_table.calibration import Calibration, Pattern
from hwprof.latency_table.operators import Attribute
from hwprof.latency_table.rows import Metadata, Row
from hwprof.latency_table.staircase import Axis, Grid, NumericAttribute
from hwprof.latency_table.table import LatencyTable

__all__ = ["Attribute", "Axis", "Calibration", "Grid", "LatencyTable", "Metadata", "NumericAttribute", "Pattern", "Row"]

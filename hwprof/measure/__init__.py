"""The protocol of measurement, once for every backend: fresh processes, anchors, a stop on the interval."""

"""Small tables with latencies chosen by hand, and a small search space."""

from hwprof.builder import GraphBuilder
from hwprof.latency_table import LatencyTable, Metadata, NumericAttribute, Row

METADATA = Metadata(device="pixel", runtime="tflite", threads=1, batch=1, dtype="float32")


def staircase(granule=8.0):
    """Conv 3x3 over cout 8, 16, 24 at cin 4 and 8: 1, 3, 4 ms at cin 4, twice that at cin 8; 5x5 only at one point."""
    rows = [
        Row.of(
            "Conv", {"kernel": 3, "cin": cin, "cout": cout}, ms * cin / 4, (ms * cin / 4 * 0.9, ms * cin / 4 * 1.1), 50
        )
        for cin in (4, 8)
        for cout, ms in ((8, 1.0), (16, 3.0), (24, 4.0))
    ]
    rows.append(Row.of("Conv", {"kernel": 5, "cin": 4, "cout": 8}, 7.0))
    return LatencyTable(METADATA, tuple(rows), (NumericAttribute("cin"), NumericAttribute("cout", granule)))


def choices(ms):
    """ms: for each position the latencies of its choices."""
    return LatencyTable(
        METADATA,
        tuple(
            Row.of("choice", {"position": i, "choice": c}, t)
            for i, options in enumerate(ms)
            for c, t in enumerate(options)
        ),
    )


class Space:
    """Two convolutions of 4, 8 or 16 channels."""

    choices = (3, 3)

    def graph(self, arch):
        b = GraphBuilder("tiny")
        x = b.input((1, 3, 8, 8))
        for choice in arch:
            x = b.relu(b.conv(x, 4 * 2**choice, 3))
        return b.build(x)

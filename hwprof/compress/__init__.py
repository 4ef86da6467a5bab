"""Compression: shrinks a given network and keeps what it has learned.

`method` says what a compression method is; `int8`, `magnitude` and `low_rank` are methods, one per file. `loop` is the
one loop that all of them share, from a network and a latency to a file that is measured; `layer_table` and `projection`
decide for it which choices reach the latency, `aim` what the next round asks of them; `screening` says which methods
can help at all; `networks` opens what is compressed and exports what becomes of it. `soft` prices choices that are
still being learned, `costs` counts bytes and multiply-adds. `prox_connect`, `ana`, `foothill` and `stq` train weights
of one or two bits, with what `low_bit` offers them; `gradient_ratio` tells beforehand whether such a training can work.
`integer` has what networks for the integer engine need.

A training loop of one's own needs the method alone:

    from hwprof.compress.method import load

    method = load("magnitude")
    hooks = method.attach(network, cost)  # in the loop: loss + hooks.penalty(progress)
    small = method.finish(method.choices())
"""

import numpy as np

from hwprof.integer.lowering import lowering
from hwprof.integer.program.program import reads
from hwprof.integer.run import memory
from hwprof.variants.weights import load_weights
from tests.integer.programs import small_network


def placed():
    graph = small_network()
    program = lowering.lower(graph, load_weights(graph))
    return program, memory.place(program)


def test_places_are_used_again():
    _, values = placed()
    assert values.arena_bytes < sum(array.nbytes for array in values.arrays.values())


def test_an_operation_never_writes_over_what_it_reads():
    program, values = placed()
    for operation in program.operations:
        if type(operation).__name__ != "Reshape":
            for name in reads(operation):
                assert not np.shares_memory(values.arrays[name], values.arrays[operation.y])


def test_a_reshape_moves_nothing():
    program, values = placed()
    reshape = next(o for o in program.operations if type(o).__name__ == "Reshape")
    assert np.shares_memory(values.arrays[reshape.x], values.arrays[reshape.y])

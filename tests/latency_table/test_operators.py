from hwprof import onnx_io
from hwprof.builder import GraphBuilder
from hwprof.latency_table import operators


def small():
    b = GraphBuilder("small")
    x = b.input((1, 3, 8, 8))
    x = b.relu(b.conv(x, 4, 3, 2))
    x = b.add(x, b.conv(x, 4, 3))
    return b.build(b.gemm(b.flatten(x), 10))


def test_a_convolution_is_keyed_by_what_decides_its_latency():
    key = operators.of(small())[0].attributes
    wanted = {
        "batch": 1,
        "cin": 3,
        "cout": 4,
        "h": 8,
        "w": 8,
        "kernel": 3,
        "stride": 2,
        "groups": 1,
        "dtype": "float32",
    }
    assert wanted.items() <= key.items()


def test_a_matrix_product_is_keyed_by_rows_and_channels():
    key = operators.of(small())[-1].attributes
    assert (key["rows"], key["cin"], key["cout"]) == (1, 64, 10)


def test_the_batch_is_part_of_a_key():
    def conv(batch):
        b = GraphBuilder("b")
        return operators.of(b.build(b.conv(b.input((batch, 3, 8, 8)), 4, 3)))[0].key

    assert conv(1) != conv(8)


def test_pairs_count_who_reads_whom():
    assert operators.pairs(small())[("Conv", "Relu")] == 1
    assert operators.pairs(small())[("Relu", "Add")] == 1
    assert operators.pairs(small())[("Relu", "Conv")] == 1


def test_every_operator_stands_alone_as_a_network_that_onnx_accepts():
    graph = small()
    found = operators.distinct([graph, graph])
    assert [o.op for o, _ in found] == ["Conv", "Relu", "Conv", "Add", "Flatten", "Gemm"]
    for operator, single in found:
        onnx_io.to_model(single)  # checks the model
        assert len(single.nodes) == 1
        assert operators.of(single)[0].key == operator.key

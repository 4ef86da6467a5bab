from hwprof.backends.torch.compiled_code import Unit, units

# As torch.compile writes it for a GPU: kernels are defined first, then called.
CODE = """
# kernel path: /tmp/torchinductor/k.py
# Topologically Sorted Source Nodes: [n1, n2], Original ATen: [aten.relu, aten.tanh]
# Source node to ATen node mapping:
#   n1 => relu
triton_poi_fused_relu_tanh_0 = async_compile.triton('triton_poi_fused_relu_tanh_0', '''
def triton_poi_fused_relu_tanh_0(in_ptr0, out_ptr0, xnumel):
    pass
''')

class Runner:
    def call(self, args):
        assert_size_stride(arg0_1, (8, 16), (16, 1), 'torch.ops.aten.mm.default')
        with torch.cuda._DeviceGuard(0):
            buf0 = empty_strided_cuda((8, 16), (16, 1), torch.float32)
            # Topologically Sorted Source Nodes: [n0], Original ATen: [aten.mm]
            extern_kernels.mm(arg0_1, arg1_1, out=buf0)
            # Topologically Sorted Source Nodes: [n1, n2_1], Original ATen: [aten.relu, aten.tanh]
            stream0 = get_raw_stream(0)
            triton_poi_fused_relu_tanh_0.run(buf0, buf1, 128, stream=stream0)
            # Topologically Sorted Source Nodes: [n3, conv2d], Original ATen: [aten._cudnn_rnn]
            buf2 = torch.ops.aten._cudnn_rnn.default(buf1)
            triton_poi_fused_relu_tanh_0.run(buf2, buf3, 128, stream=stream0)
        return (buf3, )
"""


def test_calls_stand_in_their_order_with_the_operators_that_they_compute():
    assert units(CODE) == [
        Unit("aten::mm", frozenset({0})),
        Unit("triton_poi_fused_relu_tanh_0", frozenset({1, 2})),
        Unit("aten::_cudnn_rnn", frozenset({3})),
        Unit("triton_poi_fused_relu_tanh_0", frozenset({1, 2})),
    ]


def test_unknown_code_has_no_calls():
    assert units("def forward(x):\n    return x\n") == []

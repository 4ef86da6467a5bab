import numpy as np
import pytest

from hwprof.errors import InputError
from hwprof.integer.program.program import Entry, Exit
from hwprof.integer.run import border


def test_an_image_is_quantized_and_its_channels_are_last():
    entry = Entry("x", (1, 2, 1, 2), "x", scale=0.5, zero=10, is_image=True)
    held = border.quantize(entry, np.array([[[[0.0, 0.5]], [[1.0, -100.0]]]], np.float32))
    assert held.dtype == np.uint8
    assert held.tolist() == [[[[10, 12], [11, 0]]]]


def test_an_int8_input_is_held_128_higher():
    entry = Entry("x", (3,), "x", scale=None, zero=0, is_image=False, is_signed=True)
    assert border.quantize(entry, np.array([-128, 0, 127], np.int8)).tolist() == [0, 128, 255]


def test_an_index_outside_of_its_table_is_named():
    entry = Entry("tokens", (2,), "tokens", scale=None, zero=0, is_image=False, rows=5)
    assert border.quantize(entry, np.array([0, 4])).dtype == np.int32
    with pytest.raises(InputError, match="input 'tokens' holds 5; it takes integers from 0 to 4"):
        border.quantize(entry, np.array([0, 5]))


def test_an_output_is_dequantized_to_the_order_of_onnx():
    leaving = Exit("y", (1, 2, 1, 1), "y", scale=0.5, zero=10, is_image=True)
    real = border.dequantize(leaving, np.array([[[[12, 8]]]], np.uint8))
    assert real.dtype == np.float32
    assert real.tolist() == [[[[1.0]], [[-1.0]]]]


def test_an_output_without_a_scale_stays_an_integer():
    leaving = Exit("y", (2,), "y", scale=None, zero=0, is_image=False, is_signed=True)
    held = border.dequantize(leaving, np.array([0, 255], np.uint8))
    assert held.dtype == np.int8
    assert held.tolist() == [-128, 127]


def test_a_function_before_the_output_is_looked_up():
    leaving = Exit("y", (2,), "y", None, 0, is_image=False, reals=np.arange(256, dtype=np.float32) ** 2)
    assert border.dequantize(leaving, np.array([3, 10], np.uint8)).tolist() == [9.0, 100.0]

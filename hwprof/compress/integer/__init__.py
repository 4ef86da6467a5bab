"""Networks for the backend `integer`: scales from data, and fine-tuning that computes what its kernels compute.

`calibration` turns a trained network and some of its inputs into a Q/DQ model that runs with integers only;
`simulation` computes the integers of such a model in PyTorch, with gradients; `training` trains both the float
network and the simulation; `recurrent` is the LSTM classifier that iRNN (arXiv 2109.09828) stands for here.
"""

from hwprof.variants.calibration import calibrate

__all__ = ["calibrate"]

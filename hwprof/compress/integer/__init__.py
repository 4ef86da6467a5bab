"""Networks for the backend `integer`: scales from data, and fine-tuning that computes what its kernels compute.

`calibrate` turns a trained network and some of its inputs into a Q/DQ model that runs with integers only;
`simulation` computes the integers of such a model in PyTorch, with gradients; `training` has the settings with which
`hwprof.training.fit` trains the float network and then the simulation; `recurrent` has the LSTM classifier on which
the method of iRNN (arXiv 2109.09828) is shown.
"""

from hwprof.variants.calibration import calibrate

__all__ = ["calibrate"]

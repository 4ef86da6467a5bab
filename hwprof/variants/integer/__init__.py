"""The variant `integer`: a float network quantized everywhere, on ranges observed on data."""

"""The cost model fitted to this machine and judged on it.

sample      random kernels, measured
calibrate   a calibration measured and fitted
fidelity    the model's predictions against measured kernels
charts      bandwidth curves and predictions, drawn
"""

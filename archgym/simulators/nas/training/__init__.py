"""Cells trained here, which needs scikit-learn and PyTorch.

digits      the task: noisy images of digits
train       a cell's network, trained with several seeds side by side
zero_cost   scores of a network before it is trained
"""

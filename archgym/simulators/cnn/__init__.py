"""Plain convolutional networks of variable depth on the noisy digits task.

layers      their space
costs       parameters, multiply-adds and peak activation memory
network     a network in PyTorch
train       its training
generate    the table of all networks
tabular     TabularCnn: networks looked up in the table
live        TrainedCnn: networks trained at every query
fidelity    the table's noise, and networks trained again
growth      GrownCnn: networks grown along a path
"""

"""Vision transformers from macro spaces: parameters, multiply-adds, peak memory of activations, and latency
on a fixed accelerator.
"""

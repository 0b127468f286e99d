"""Training plans of a transformer on a cluster: step time, memory and communication of tensor, pipeline and
data parallelism.
"""

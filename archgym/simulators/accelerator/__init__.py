"""DNN accelerators: dataflow templates, attention and heterogeneous chips, in closed form and checked
against real simulators.
"""

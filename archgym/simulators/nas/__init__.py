"""Neural architectures that were really trained: cells of NAS-Bench-201 and networks of NAS-Bench-Macro.

cells          strings of cells, and which cells are the same function
costs          parameters, multiply-adds and layers of a cell's network
tabular        NasCell: cells looked up in an accuracy table
macro          NasMacro: networks of NAS-Bench-Macro, looked up
live           TrainedCell: cells trained at every query
tables/        accuracy tables, and their import from published benchmarks
training/      the digits task, the training of a cell, scores without training
generate       python -m archgym.simulators.nas.generate: the table that ships
requirements   what to do where a table is not installed
findings       the line of `archgym doctor` on accuracy tables
"""

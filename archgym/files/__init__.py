"""What archgym reads and writes: paths, whole files, archives of arrays, columns, CSV, results by key,
charts.
"""

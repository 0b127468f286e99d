"""Studies: many searches from one file, run so that none is lost, stored one Parquet file each."""

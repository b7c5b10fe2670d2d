"""Parquet files joined without decoding a value."""

"""The sessions of AIT42: JSON histories and both database schemas."""

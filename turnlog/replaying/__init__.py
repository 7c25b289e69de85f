"""Events that were written out, replayed into a log: lines of NDJSON, through a transform if there is one."""

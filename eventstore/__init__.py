"""The truth: what happened, in order, for ever."""

"""From conversations to the log, and back to certainty: plan, write, verify, report, undo."""

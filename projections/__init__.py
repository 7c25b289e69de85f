"""The meaning: disposable views, rebuilt from the log."""

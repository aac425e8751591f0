"""Who writes: the log adapters, submitting and opening a log. Knows neither agents nor metrics."""

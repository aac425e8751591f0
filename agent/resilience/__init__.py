"""What is done when a call fails, and what keeps it from being made too often. No model, no tool, no log."""

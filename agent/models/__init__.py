"""Who answers: the model port and its adapters. No log, no state."""

"""What an agent can do: functions as tools, their schemas, arguments and results. No log, no state."""

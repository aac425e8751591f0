"""What is said: events, requests, run state and its fold, codec, ports, errors, settings. No I/O, no clocks, no ids."""

"""The demo: a small bicycle shop, its scripted agents and the runs that show them. Needs no key and no server."""

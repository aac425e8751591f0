"""Who looks: the command line, the web pages and the composition of processes."""

"""Published methods to measure LTD against, one paper a file, our own code."""

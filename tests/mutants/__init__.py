"""Changes one operator, constant or return value of a function at a time, and runs the tests that should notice it."""

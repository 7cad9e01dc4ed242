"""Each parser of foreign data gets damaged copies of real samples: `python -m tests.fuzz COUNT PARSER...`."""

"""How good is it, and what does it cost? Datasets, runs, measures, systems to compare."""

"""What the compressed search of a collection gives up, and what giving up less would cost.

`auditing` conducts, `made_queries` makes queries, `measuring` measures a setting, `choosing` says
which to measure and which to take; `values` are what comes out. Nothing is stored and nothing is
shown here.
"""

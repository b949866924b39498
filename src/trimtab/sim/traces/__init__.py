"""Traces of real traffic as arrivals: a row a request, or a row a step of time with a count or a rate.

`read` takes a CSV file (also gzip'd), finds out which of both it is by its header, and tells of every flaw that it
mends: rows out of order, steps told twice, gaps. What cannot be mended raises `Invalid` with the line.
"""

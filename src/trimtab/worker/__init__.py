"""The process beside the model: load it, answer requests for it, report on it.

main      the steps from a fresh process to a served model
process   what a child must shed and put on: session, descriptors, environment, limits
logfile   stdout and stderr as a bounded file
report    what the worker says of itself
attendant the thread that answers control, also while the model computes
serve     the loop that answers gateways; connection: one of them; streams: answers that go on
loading   which model this is, and how it is brought up; script, plain, flavors/, models/: the ways
codecs    bodies to arrays and back; context: what handlers may ask
"""

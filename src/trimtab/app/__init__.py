"""Builds the whole system from Config: every part of each process. Nothing else picks implementations.

serving.py     `trimtab serve`: claims the folder, takes the port, becomes the supervisor
__main__.py    `python -m trimtab.app PROCESS`: what the supervisor starts
processes.py   nursery, gateway, queues and consumer
control/       the control process, a file for each subject
"""

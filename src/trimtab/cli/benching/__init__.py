"""The parts of `trimtab bench`: its load from options, its safety, and how results are shown."""

"""trimtab beside its peers: the same machine, model and load, one server at a time, in one run."""

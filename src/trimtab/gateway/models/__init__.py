"""Multi-model variants: a queue for each model, hosts that say where models are, lanes to their workers."""

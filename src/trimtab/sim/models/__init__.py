"""Multi-model endpoints: which replica holds which model, and requests that wait for one to be loaded."""

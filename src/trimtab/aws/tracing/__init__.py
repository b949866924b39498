"""OpenTelemetry traces of invocations, off unless an exporter is set by OpenTelemetry's own environment variables.

settings      whether, and whether what it takes is installed; imports nothing of OpenTelemetry
propagation   the caller's context in, the model's context out
spans         one invocation as spans
exporting     spans to whoever collects them: bounded, in a thread of its own
tracing       the three together, as the environment says
edge          the runtime edge that makes traced invocations
"""

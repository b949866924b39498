"""The sagemaker-runtime edge: invocations off the wire to gateway calls, and answers back. Loads no service model."""

from trimtab.aws.runtime.edge import RuntimeEdge

__all__ = ["RuntimeEdge"]

"""Default handlers of SageMaker's containers, one module for each flavor of `resources.runtime.Flavor`."""

"""The process that is one replica of a multi-model endpoint: loads models, each in a worker of its own."""

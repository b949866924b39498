"""An endpoint under its scaling policies: the metrics that they are told, and times in which nothing comes."""

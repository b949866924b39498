"""The process beside the model: load, predict, report. Imports neither the store nor the AWS edge."""

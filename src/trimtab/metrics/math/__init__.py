"""Metric math: expressions over time series, as GetMetricData and alarms use them. Pure."""

"""Traces of benchmarks/data, as rates or as single requests."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(__file__).parent / "data"
Floats = np.ndarray[Any, np.dtype[np.float64]]

RATES: dict[str, tuple[str, str, float, dict[str, str]]] = {
    # name: file, column, seconds of a row, rows that are meant
    "taxi": ("nab_nyc_taxi_30min.csv.gz", "count", 1800.0, {}),
    "twitter-amzn": ("nab_twitter_mentions_amzn_5min.csv.gz", "count", 300.0, {}),
    "twitter-goog": ("nab_twitter_mentions_goog_5min.csv.gz", "count", 300.0, {}),
    "aws-elb": ("nab_aws_elb_request_count_5min.csv.gz", "count", 300.0, {}),
    "nasa-day": ("nasa_1995-07-13_per_second.csv.gz", "requests", 1.0, {}),
    "nasa-weekend": ("nasa_weekend_1995-07-07.csv.gz", "requests", 60.0, {}),
    "nasa-minutes": ("nasa_1995_per_minute.csv.gz", "requests", 60.0, {}),
    "nasa-months": ("nasa_1995_hourly.csv.gz", "requests", 3600.0, {}),
    "m-large": ("servegen_rates_10min.csv.gz", "req_per_s", 600.0, {"model": "m-large"}),
    "m-mid": ("servegen_rates_10min.csv.gz", "req_per_s", 600.0, {"model": "m-mid"}),
    "deepseek-r1": ("servegen_rates_10min.csv.gz", "req_per_s", 600.0, {"model": "deepseek-r1"}),
    "mm-image": ("servegen_rates_10min.csv.gz", "req_per_s", 600.0, {"model": "mm-image"}),
}


def rows_of(file: str) -> list[dict[str, str]]:
    path = DATA / file
    data = path.read_bytes()
    text = gzip.decompress(data) if path.suffix == ".gz" else data
    return list(csv.DictReader(text.decode().splitlines()))


def column(name: str, other: str = "") -> tuple[Floats, float]:
    """A rate trace's values (or another column's), and the seconds of a row."""
    file, values, step_s, meant = RATES[name]
    rows = [row for row in rows_of(file) if all(row[key] == value for key, value in meant.items())]
    return np.array([float(row[other or values]) for row in rows]), step_s


def hourly(name: str) -> Floats:
    """Means of whole hours, in units of the trace."""
    values, step_s = column(name)
    per_hour = round(3600 / step_s)
    whole = len(values) // per_hour * per_hour
    means: Floats = values[:whole].reshape(-1, per_hour).mean(axis=1)
    return means
